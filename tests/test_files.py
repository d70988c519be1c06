"""Files and folders appear under their names whole: written beside, on the disk, and then renamed."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from seglab import files
from seglab.errors import ArgumentError, DataError, SeglabError, WriteError
from seglab.files import (
    atomic_file,
    atomic_folder,
    atomic_write,
    check_free,
    file_digests,
    output_folder,
    read_memory,
    read_text,
)
from tests import processes
from tests.conftest import room

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


def write_often(path, letter):
    for _ in range(200):
        atomic_write(path, letter * 10_000)


@pytest.mark.slow
def test_processes_that_write_one_file_at_once_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.txt"
    writers = [processes.prepared().Process(target=write_often, args=(path, letter)) for letter in (b"a", b"b", b"c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert path.read_bytes() in {letter * 10_000 for letter in (b"a", b"b", b"c")} and os.listdir(tmp_path) == ["a.txt"]


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


@there_or_not
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_a_disk_that_is_full_is_noticed_though_the_encoder_is_silent(tmp_path, ending, old):
    picture = Image.effect_noise((200, 200), 90)
    picture.save(tmp_path / f"whole{ending}")
    for missing in (1, 5000):
        with pytest.raises(WriteError, match="cannot be written(.|\n)*Free some space") as caught, \
                room((tmp_path / f"whole{ending}").stat().st_size - missing), atomic_file(tmp_path / "a.txt") as new:
            picture.save(new, format=Image.registered_extensions()[ending])
        assert caught.value.errno == errno.EFBIG and isinstance(caught.value, SeglabError)
        with pytest.raises(WriteError), room(5000), atomic_folder(tmp_path / "set") as folder:
            picture.save(folder / f"a{ending}")
    assert os.listdir(tmp_path) == [f"whole{ending}"]


def test_a_folder_that_is_none_and_a_name_that_is_too_long(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.txt", tmp_path / "gone" / "a.txt", tmp_path / f"a.{'x' * 300}"):
        with pytest.raises(WriteError, match="cannot be written"):
            atomic_write(path, b"whole")
    atomic_write(tmp_path / ("ä" * 124 + ".txt"), b"whole")  # as long as a name can be: the temporary one is shorter
    with pytest.raises(WriteError), atomic_folder(tmp_path / "file" / "set"):
        pass


KILLED = """
import os, sys
from seglab.files import Path, atomic_file, atomic_folder
path = Path(sys.argv[1])
with atomic_folder(path / "set") as folder, atomic_file(path / "a.txt") as new:
    (folder / "deep").mkdir()
    new.write_bytes(b"ha")
    os._exit(9)
"""


def test_what_a_killed_process_left_is_removed_by_the_next_one_that_writes_there(tmp_path):
    with subprocess.Popen([sys.executable, "-c", KILLED, tmp_path]) as writer:
        assert writer.wait() == 9
    gone = {path.name: path for path in tmp_path.iterdir()}
    assert len(gone) == 2
    alive = {name.replace(f"-{writer.pid}-", f"-{os.getpid()}-") for name in gone}
    far = {name.replace(f".{files._machine()}-", ".01234567-") for name in gone}
    others = {".last.123.tmp.txt", ".mine.tmp", "a.01234567-1-01234567.tmp"}
    for name in alive | far | others:
        (tmp_path / name).mkdir()
    old = tmp_path / ".old.01234567-1-01234567.tmp"
    (old / "deep").mkdir(parents=True)
    for path in (old / "deep", old):
        os.utime(path, (0, 0))
    atomic_write(tmp_path / "b.txt", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == alive | far | others | {"b.txt"}


def test_where_a_file_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert check_free(tmp_path / "new.txt") == tmp_path / "new.txt"
    assert check_free(tmp_path / "file", overwrite=True) == tmp_path / "file"
    assert check_free(tmp_path, overwrite=True, folder=True) == tmp_path
    before = sorted(tmp_path.iterdir())
    for path, options, words in (
            (tmp_path / "file", {}, "is there already"), (tmp_path / "dangling", {}, "is there already"),
            (tmp_path, {}, "a folder"), (tmp_path, {"overwrite": True}, "a folder"),
            (tmp_path / "pipe", {"overwrite": True}, "a file or device"),
            (tmp_path / "file", {"overwrite": True, "folder": True}, "a file or device"),
            (tmp_path / "gone" / "a", {}, "no folder .*gone"), (tmp_path / "file" / "a", {}, "Not a directory"),
            (tmp_path / ("a" * 300), {}, "too long")):
        with pytest.raises(ArgumentError, match=words):
            check_free(path, **options)
    with room(9), pytest.raises(ArgumentError, match="too large(.|\n)*Free some space"):
        check_free(tmp_path / "new.txt")
    for folder in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(ArgumentError, match="can be made"):
            output_folder(folder)
    assert sorted(tmp_path.iterdir()) == before


KOREAN = "배경\n균열\n도로_1\n차량\n횡단보도\n뱀\n콘크리트 박리\n"
FRENCH = "forêt,0\nbâtiment,1\nvéhicule,2\nrivière,3\narrière-plan,4\nforêts denses\n"
GERMAN = "Straße;0\nGebäude;1\nFußgänger;2\nÖl;3\nÜbergang;4\nHimmel;5\n"


@pytest.mark.parametrize(("text", "encodings"), [
    (KOREAN, "utf-8 utf-8-sig utf-16 cp949 euc_kr"), (FRENCH, "utf-8 utf-16 cp1252 latin-1"),
    (GERMAN, "utf-8-sig utf-16 cp1252 latin-1"), ("señal\nárbol\nmontaña\n", "cp1252"), ("", "utf-8 utf-16"),
    ("背景\n道路\n", "utf-8 utf-16"), ("name,r,g,b\r\n", "ascii utf-16")])
def test_text_in_an_encoding_beyond_doubt(tmp_path, text, encodings):
    for encoding in encodings.split():
        (tmp_path / "a.csv").write_bytes(text.encode(encoding))
        assert read_text(tmp_path / "a.csv") == text, encoding


@pytest.mark.parametrize(("text", "encoding"), [
    ("背景\n道路\n車\n亀裂\n", "cp932"), ("背景\n道路\n建物\n正常\n異常\n", "euc_jp"),
    ("背景\n裂缝\n道路\n车辆\n天空\n", "gbk"),
    ("背景\n裂縫\n道路\n", "big5"), ("фон\nдорога\nВОДА\n", "cp1251"), ("δρόμος\n", "cp1253"), ("ağaç\nyol\n",
    "cp1254"),
    ("silnice\nřeka\nčlověk\n", "cp1250"), ("zakręt\nliść\n", "cp1250"), ("erdő\nfelhő\n", "cp1250"), ("pădure\n",
    "cp1250"),
    ("Straße\nGebäude\n", "cp850"), ("Straße\n", "cp850"), ("forêt\nvéhicule\n", "mac_roman"), ("뼈\n", "cp949"),
    ("Öl\n", "cp1252"),
    ("녹\n", "cp949"), ("name,r,g,b\n", "utf-16-le"), ("name\0\n", "utf-8"), ("°C\n", "cp1252")])
def test_text_in_doubt_is_no_wrong_words(tmp_path, text, encoding):
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=r"a\.csv: class table in an unknown encoding\n.*byte (.|\n)*Save it as UTF-8"):
        read_text(tmp_path / "a.csv", "class table")


def test_text_that_is_none(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "a.csv"
    for _ in range(300):
        path.write_bytes(rng.randbytes(32))
        with pytest.raises(DataError, match="byte"):
            read_text(path)
    path.write_bytes(b"name\nroad\xff\n")
    with pytest.raises(DataError, match="byte 0xff at position 9, line 2"):
        read_text(path)
    for bad in (tmp_path, tmp_path / "gone.csv"):
        with pytest.raises(DataError, match="readable file"):
            read_text(bad)


@pytest.mark.parametrize("damage", [
    b"5", b"[]", b"{", b"null", b"[" * 5000, b"\xff", json.dumps({"a": 5}).encode(), json.dumps({"a": [1, 2]}).encode(),
    json.dumps({"a": ["1-1-1", "../other"]}).encode(), json.dumps({"a": {"b": []}}).encode()])
def test_a_damaged_memory_of_hashes_is_made_again(tmp_path, damage):
    path, memory = tmp_path / "a.txt", tmp_path / "digests.json"
    path.write_text("text")
    expected = file_digests([path], memory)
    assert read_memory(memory, dict[str, tuple[str, str]])[os.path.realpath(path)][1] == expected[0]
    text = damage.replace(b'"a"', json.dumps(os.path.realpath(path)).encode())
    memory.write_bytes(files._checksum(text) + b"\n" + text)
    assert file_digests([path], memory) == expected and b"..other" not in memory.read_bytes()


def test_text_of_one_long_word_is_read_at_once(tmp_path):
    """Each letter was tried as the beginning of a word."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * 300_000 + b" \xff\xfe\n")
    with pytest.raises(DataError, match="byte 0xff"):
        read_text(path)
    with pytest.raises(DataError, match="readable file"):
        read_text("a\0b")
