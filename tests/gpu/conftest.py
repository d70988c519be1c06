"""What all GPU tests share: their marker, and settings that make two devices comparable."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.gpu)
    # Drivers and libraries of the machine warn of things that no test can change, also on first use of a feature.
    item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture
def exact() -> Iterator[None]:
    """Convolutions in float32, not in TF32, by algorithms that repeat themselves."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


@pytest.fixture
def repeatable(exact: None) -> Iterator[None]:
    """The same for all operations that have such an algorithm; those without (the sum of a loss) warn."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _nothing_pending() -> Iterator[None]:
    """An error of the device shows in the test that caused it, not in a later one."""
    yield
    torch.cuda.synchronize()
