"""Files and folders appear under their names whole: written beside, on the disk, and then renamed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seglab.files import atomic_file, atomic_folder, atomic_write

there_or_not = pytest.mark.parametrize("old", [None, b"old"])


def prepared(folder: Path, old: bytes | None) -> Path:
    path = folder / "a.txt"
    if old is not None:
        path.write_bytes(old)
    return path


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


@there_or_not
def test_a_file_is_written_beside_and_renamed(tmp_path, old):
    path = prepared(tmp_path, old)
    with atomic_file(path) as new:
        assert new != path and new.parent == path.parent and new.suffix == path.suffix
        for part in (b"ha", b"half", b"whole"):
            new.write_bytes(part)
            assert content(path) == old, "seen before it was complete"
        written = new.stat().st_ino
    assert path.read_bytes() == b"whole" and path.stat().st_ino == written, "copied, not renamed"
    assert os.listdir(tmp_path) == ["a.txt"]


@there_or_not
def test_bytes_are_never_half_written(tmp_path, monkeypatch, old):
    path = prepared(tmp_path, old)
    seen, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append(("sync", content(path))) or sync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: seen.append(("rename", Path(a).read_bytes(), Path(a).parent, b))
                        or replace(a, b))
    atomic_write(path, b"whole")
    assert seen[:2] == [("sync", old), ("rename", b"whole", tmp_path, path)]  # first on the disk, then named
    assert seen[2:] == ([("sync", b"whole")] if os.name == "posix" else [])  # and the name too
    assert path.read_bytes() == b"whole"


@there_or_not
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_writer_that_stops_half_way_leaves_the_old_file(tmp_path, monkeypatch, old, error):
    path = prepared(tmp_path, old)

    def stop(new):
        new.write_bytes(b"ha")
        raise error

    with pytest.raises(type(error)), atomic_file(path) as new:
        stop(new)

    def half(self, data):
        with open(self, "wb") as file:
            file.write(data[:2])
        raise error

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(type(error)):
        atomic_write(path, b"whole")
    assert content(path) == old and os.listdir(tmp_path) == ["a.txt"] * (old is not None)


def test_a_folder_is_filled_beside_and_renamed(tmp_path):
    path = tmp_path / "deep" / "set"
    with atomic_folder(path) as new:
        assert new.parent == path.parent and not path.exists()
        (new / "a.txt").write_text("1")
        assert not path.exists()
        written = new.stat().st_ino
    assert path.stat().st_ino == written, "copied, not renamed"
    assert os.listdir(path) == ["a.txt"] and os.listdir(path.parent) == ["set"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_that_stays_half_filled_never_appears(tmp_path, error):
    def stop(new):
        (new / "a.txt").write_text("1")
        raise error

    with pytest.raises(type(error)), atomic_folder(tmp_path / "set") as new:
        stop(new)
    assert os.listdir(tmp_path) == []


def test_of_two_writers_of_a_folder_the_first_stays(tmp_path):
    with atomic_folder(tmp_path / "set") as slow:
        (slow / "a.txt").write_text("slow")
        with atomic_folder(tmp_path / "set") as fast:
            (fast / "a.txt").write_text("fast")
    assert (tmp_path / "set" / "a.txt").read_text() == "fast" and os.listdir(tmp_path) == ["set"]
