"""Downloads go on where they ended, and archives cannot write outside of their folder. The server is our own."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from seglab.datasets.download import GoneError, fetch, unpack
from seglab.errors import DataError
from tests.datasets.local_server import serving

CONTENT = bytes(range(256)) * 40_000  # 10 MB
MD5 = hashlib.md5(CONTENT).hexdigest()
NAME = "/images.tar.gz"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("SEGLAB_OFFLINE")
    with serving({NAME: CONTENT}) as server:
        yield server


def get(server, folder, md5=MD5, **options) -> Path:
    return fetch(server.url + NAME, folder / "images.tar.gz", md5, **{"pause": 0, "progress": False, **options})


def test_a_whole_file_arrives_once(server, tmp_path):
    path = get(server, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT and not path.with_name("images.tar.gz.part").exists()
    assert get(server, tmp_path / "new" / "folder") == path
    assert server.ranges_of(NAME) == [None], "what is there is not fetched again"


def test_a_broken_transfer_goes_on_by_itself(server, tmp_path):
    server.cuts[NAME] = [3_000_000, 10]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges_of(NAME) == [None, "bytes=3000000-", "bytes=3000010-"]


def test_what_arrived_is_kept_and_the_next_call_goes_on(server, tmp_path):
    server.cuts[NAME] = [1_000_000, 500_000]
    with pytest.raises(DataError, match=r"(?s)1,500,000 of 10,240,000 bytes.*1,500,000 bytes are in.*goes on"):
        get(server, tmp_path, attempts=2)
    assert (tmp_path / "images.tar.gz.part").stat().st_size == 1_500_000
    assert not (tmp_path / "images.tar.gz").exists()
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges_of(NAME)[-1] == "bytes=1500000-"


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.ranges, server.cuts[NAME] = False, [2_000_000]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges_of(NAME) == [None, "bytes=2000000-"]


@pytest.mark.parametrize("extra", [b"", b"too much"])
def test_a_part_that_is_as_long_as_the_file_or_longer(server, tmp_path, extra):
    (tmp_path / "images.tar.gz.part").write_bytes(CONTENT + extra)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == (2 if extra else 1)


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(DataError, match=f"(?s)found: *MD5 {MD5}.*expected: MD5 {'0' * 32}"):
        get(server, tmp_path, md5="0" * 32)
    assert not list(tmp_path.glob("images*"))


def test_another_check_than_a_checksum(server, tmp_path):
    with pytest.raises(DataError, match="(?s)found: *10240000.*expected: 5.*was removed"):
        get(server, tmp_path, md5=lambda path: (str(path.stat().st_size), "5"))
    assert not list(tmp_path.glob("images*"))
    assert get(server, tmp_path, md5=lambda path: None).read_bytes() == CONTENT


def test_a_file_of_yours_with_that_name_is_left_alone(server, tmp_path):
    (tmp_path / "images.tar.gz").write_text("mine")
    with pytest.raises(DataError, match="(?s)not the file.*replaces no file"):
        get(server, tmp_path)
    assert (tmp_path / "images.tar.gz").read_text() == "mine" and server.asked == []


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (503, 3)])
def test_only_errors_that_may_pass_are_tried_again(server, tmp_path, status, attempts):
    server.status[NAME] = status
    with pytest.raises(DataError, match=f"the server answers {status}"):
        get(server, tmp_path, attempts=3)
    assert len(server.asked) == attempts


def test_what_the_server_does_not_have_is_an_error_of_its_own(server, tmp_path):
    server.status[NAME] = 410
    with pytest.raises(GoneError, match="the server answers 410 Gone"):
        get(server, tmp_path)


@pytest.mark.parametrize("length", ["abc", "-5", "²".encode().decode("latin-1"), "9" * 5000, ""])
def test_a_length_that_is_none_is_passed_over(server, tmp_path, length):
    server.headers[NAME] = {"Content-Length": length, "Connection": "close"}
    assert get(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("found", ["bytes 5-9/10", "nonsense", "bytes 1000000-"])
def test_a_server_that_sends_another_part_than_asked_for(server, tmp_path, found):
    (tmp_path / "images.tar.gz.part").write_bytes(CONTENT[:500])
    server.headers[NAME] = {"Content-Range": found}
    assert get(server, tmp_path, attempts=2).read_bytes() == CONTENT, "all of it, in a second attempt"
    assert server.ranges_of(NAME) == ["bytes=500-", None]


def test_what_does_not_end_is_not_the_file(server, tmp_path):
    with pytest.raises(DataError, match="more than 1,000,000 bytes"):
        get(server, tmp_path, most_bytes=1_000_000)
    assert not list(tmp_path.glob("images*"))


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", NAME, "http://[", "http://a:b",
                                "http://" + "a" * 99])
def test_redirects_that_lead_nowhere(server, tmp_path, to):
    server.status[NAME], server.headers[NAME] = 302, {"Location": to}
    with pytest.raises(DataError, match=r"images\.tar\.gz: download\n  found:    .*\n  expected: the file from"):
        get(server, tmp_path, attempts=1)
    assert not list(tmp_path.glob("images*"))


def test_redirects_to_the_file(server, tmp_path):
    server.files["/there"] = CONTENT
    server.status[NAME], server.headers[NAME] = 301, {"Location": "/there"}
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_only_addresses_of_the_web(tmp_path, monkeypatch):
    monkeypatch.delenv("SEGLAB_OFFLINE")
    (tmp_path / "mine").write_text("mine")
    for url in ((tmp_path / "mine").as_uri(), "ftp://127.0.0.1/x", "data:,x", "nonsense"):
        with pytest.raises(DataError, match="unknown url type"):
            fetch(url, tmp_path / "x.tar", MD5, attempts=1, progress=False)


def test_pauses_grow(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr("seglab.datasets.download.time.sleep", pauses.append)
    server.status[NAME] = 503
    with pytest.raises(DataError, match="4 attempts"):
        get(server, tmp_path, attempts=4, pause=1)
    assert pauses == [1, 2, 4]


def test_nobody_answers(tmp_path, monkeypatch):
    monkeypatch.delenv("SEGLAB_OFFLINE")
    with pytest.raises(DataError, match="refused"):
        fetch("http://127.0.0.1:9/x.tar", tmp_path / "x.tar", MD5, attempts=2, pause=0, progress=False)


def test_offline_says_what_from_where_how_large_and_what_else(tmp_path):
    with pytest.raises(DataError, match=r"(?s)x.tar: download.*SEGLAB_OFFLINE.*9 MB from http://a/x.tar.*Use the sam"):
        fetch("http://a/x.tar", tmp_path / "x.tar", MD5, about="9 MB", instead="Use the sample.", progress=False)


def archive(path: Path, *members: tuple[str, bytes | str, bytes]) -> Path:
    """A tar.gz of (name, content, type); for links the content is where they point."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content
            data = content if isinstance(content, bytes) else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


FILE = ("images/a.jpg", b"a", tarfile.REGTYPE)


def test_unpacks_all_or_one_folder_of_it(tmp_path):
    path = archive(tmp_path / "x.tar.gz", ("images", b"", tarfile.DIRTYPE), FILE,
                   ("images/deep/b.jpg", b"b", tarfile.REGTYPE), ("./._images", b"mac", tarfile.REGTYPE))
    (tmp_path / "images").mkdir()  # empty
    unpack(path, tmp_path / "images", top="images", progress=False)
    unpack(path, tmp_path / "all", progress=False)
    for folder in ("images", "all/images"):
        assert (tmp_path / folder / "a.jpg").read_bytes() == b"a"
        assert (tmp_path / folder / "deep" / "b.jpg").read_bytes() == b"b"
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["a.jpg", "deep"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all", "images", "x.tar.gz"]


@pytest.mark.parametrize("bad", [
    ("images/..\\..\\evil", b"e", tarfile.REGTYPE), ("images/evil", "a.jpg", tarfile.SYMTYPE),
    ("images/evil", "images/a.jpg", tarfile.LNKTYPE), ("images/evil", "images/gone", tarfile.LNKTYPE),
    ("images/evil", b"e", b"Z"), ("images/evil", b"e", tarfile.GNUTYPE_SPARSE),
    ("/etc/evil", b"e", tarfile.REGTYPE), ("../evil", b"e", tarfile.REGTYPE), ("C:\\evil", b"e", tarfile.REGTYPE),
    ("images/../../evil", b"", tarfile.REGTYPE), ("images/evil", "../../outside", tarfile.SYMTYPE),
    ("images/evil", "/etc/passwd", tarfile.SYMTYPE), ("images/evil", "../../outside", tarfile.LNKTYPE),
    ("images/evil", b"", tarfile.CHRTYPE), ("images/evil", b"", tarfile.FIFOTYPE)])
@pytest.mark.parametrize("top", [None, "images"])
def test_refuses_what_leaves_the_folder_and_leaves_nothing(tmp_path, bad, top):
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "work").mkdir()
    path = archive(tmp_path / "work" / "x.tar.gz", FILE, bad)
    with pytest.raises(DataError, match="evil"):
        unpack(path, tmp_path / "work" / "images", top=top, progress=False)
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["x.tar.gz"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outside", "work"]
    assert (tmp_path / "outside").read_text() == "mine"


def test_links_that_lead_out_by_a_path_too_long_to_follow(tmp_path):
    """CVE-2025-4517: the filter of tarfile, where it is not mended, lets a chain of links write anywhere."""
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "work").mkdir()
    long, steps, path = "d" * 247, "abcdefghijklmnop", ""
    with tarfile.open(tmp_path / "work" / "x.tar", "w") as tar:

        def add(name: str, kind: bytes, link: str = "", data: bytes = b"") -> None:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(data)
            tar.addfile(info, io.BytesIO(data))

        for step in steps:
            add(f"{path}{long}", tarfile.DIRTYPE)
            add(f"{path}{step}", tarfile.SYMTYPE, long)
            path += f"{long}/"
        add(f"{'/'.join(steps)}/{'l' * 254}", tarfile.SYMTYPE, "../" * len(steps))
        add("escape", tarfile.SYMTYPE, f"{'/'.join(steps)}/{'l' * 254}/../..")
        add("evil", tarfile.LNKTYPE, "escape/outside")
        add("evil", tarfile.REGTYPE, data=b"theirs")
    with pytest.raises(DataError, match="'a' -> 'd.*no plain file"):
        unpack(tmp_path / "work" / "x.tar", tmp_path / "work" / "all", progress=False)
    assert (tmp_path / "outside").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["outside", "work", "x.tar"]


def raw_tar(path: Path, kind: bytes, size: int, data: bytes = b"") -> Path:
    """A tar.gz of one member that says it has this size, however much follows."""
    info = tarfile.TarInfo("images/evil")
    info.type, info.size = kind, size
    with gzip.open(path, "wb", 1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + data)
    return path


@pytest.mark.parametrize(("kind", "size", "words"), [
    (tarfile.REGTYPE, 1 << 32, "200,000,000 bytes"), (tarfile.REGTYPE, -512, "no plain file"),
    (tarfile.XHDTYPE, 1 << 30, "a header of"), (tarfile.GNUTYPE_LONGNAME, -512, "a header of")])
def test_what_would_fill_the_disk_or_the_memory(tmp_path, kind, size, words):
    path = raw_tar(tmp_path / "x.tar.gz", kind, size, bytes(1 << 20))
    with pytest.raises(DataError, match=words):
        unpack(path, tmp_path / "all", progress=False, most_bytes=200_000_000)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar.gz"]


@pytest.mark.parametrize("limits", [{"most_files": 9}, {"most_bytes": 20_000}])
def test_an_archive_of_more_or_larger_files_than_expected(tmp_path, limits):
    path = archive(tmp_path / "x.tar.gz", *((f"images/{i}", bytes(3000), tarfile.REGTYPE) for i in range(10)))
    with pytest.raises(DataError, match="more than .* files or .* bytes, at 'images/"):
        unpack(path, tmp_path / "all", top="images", progress=False, **limits)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar.gz"]
    unpack(path, tmp_path / "all", progress=False)


def test_pictures_may_be_a_tenth_in_the_archive_but_not_a_hundredth(tmp_path, monkeypatch):
    zeros = raw_tar(tmp_path / "x.tar.gz", tarfile.REGTYPE, 110_000_000, bytes(1 << 20))
    with pytest.raises(DataError, match="or 100,0.* bytes"):
        unpack(zeros, tmp_path / "all", progress=False)


def test_damaged_headers_are_errors_that_say_so(tmp_path):
    rng = random.Random(0)
    tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT).close()
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a", "ä" * 120):
            info = tarfile.TarInfo(name)
            info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "size": "-1"} if name == "a" else {}
            tar.addfile(info)
    whole = (tmp_path / "x.tar").read_bytes()
    for number in range(100):
        damaged = bytearray(whole)
        for place in rng.choices(range(4096), k=number % 9):
            damaged[place] = rng.randrange(256)
        (tmp_path / "x.tar").write_bytes(damaged)
        with suppress(DataError):
            unpack(tmp_path / "x.tar", tmp_path / f"all{number}", progress=False)


def test_nothing_is_overwritten(tmp_path):
    path = archive(tmp_path / "x.tar.gz", FILE)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_text("mine")
    with pytest.raises(DataError, match="already there"):
        unpack(path, tmp_path / "images", top="images", progress=False)
    assert (tmp_path / "images" / "a.jpg").read_text() == "mine"


@pytest.mark.parametrize("cut", [0, 40, 2_000])
def test_a_damaged_archive_leaves_nothing(tmp_path, cut):
    path = archive(tmp_path / "x.tar.gz", FILE, ("images/b.jpg", hashlib.sha256(b"").digest() * 500, tarfile.REGTYPE),
                   *((f"images/{i}", hashlib.sha256(bytes([i])).digest(), tarfile.REGTYPE) for i in range(99)))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="a whole tar archive"):
        unpack(path, tmp_path / "images", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar.gz"]


def test_a_checksum_behind_the_last_file_is_compared(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name in ("a", "b"):
            archive.addfile(tarfile.TarInfo(name))
    data = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(data[:-6] + bytes([data[-6] ^ 1]) + data[-5:])
    with pytest.raises(DataError, match=r"a\.tar\.gz: cannot be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()
