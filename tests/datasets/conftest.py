from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches and samples of each test lie in a folder of its own."""
    place = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SEGLAB_HOME", str(place))
    return place


@pytest.fixture
def caches(home: Path):
    """How many caches there are."""
    return lambda: len([path for path in (home / "cache").iterdir() if path.is_dir()])
