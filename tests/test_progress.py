"""Bars are drawn where somebody watches; in a log there is one line an epoch."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import tqdm.notebook

from seglab import progress
from seglab.progress import progress_bar
from tests.training.runs import train

PACKAGE = Path(progress.__file__).parent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown", "drawn"), [
    (Terminal, True, True), (Terminal, False, False), (io.StringIO, True, False), (io.StringIO, False, False)])
def test_a_bar_is_drawn_in_a_terminal_and_never_in_a_file(stream, shown, drawn):
    file = stream()
    assert list(progress_bar(range(3), shown=shown, desc="reading", file=file)) == [0, 1, 2]
    assert ("reading" in file.getvalue()) == drawn
    assert drawn or file.getvalue() == ""


def test_a_bar_is_drawn_in_a_notebook(monkeypatch):
    """There standard error is no terminal, and tqdm draws a widget."""
    monkeypatch.setattr(progress, "tqdm", tqdm.notebook.tqdm)
    assert not progress_bar(total=3, display=False).disable
    assert progress_bar(total=3, shown=False, display=False).disable


def test_a_training_writes_one_line_an_epoch_into_a_log(tmp_path, capsys):
    train(tmp_path, epochs=3, progress=True)
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert len(lines) == 3
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(rf"epoch {number}/3  loss \d\.\d{{4}}  pixel accuracy [01]\.\d{{4}}  miou [01]\.\d{{4}}  "
                            r"\d+ images/s  \d+\.\d s", line)


def test_every_bar_of_the_package_is_such_a_bar():
    calls = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")
             if re.search(r"\btqdm\((?!\))|trange\(", path.read_text(encoding="utf-8"))}
    assert calls == {"progress.py"}
