"""Downloads that can be interrupted, and archives that cannot write where they should not."""

from __future__ import annotations

import http.client
import lzma
import os
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from filelock import FileLock
from torchvision.datasets.utils import calculate_md5

from seglab import __version__
from seglab.errors import DataError
from seglab.files import atomic_folder, write_fix
from seglab.progress import progress_bar

_BLOCK = 1 << 20
_TIMEOUT = 30  # seconds without a byte

#: Looks at a file that has arrived, or was there: None if it is right, else what it is and what it should be.
Check = Callable[[Path], "tuple[str, str] | None"]


class GoneError(DataError):
    """The server has no such file (any more)."""


def fetch(url: str, target: str | Path, check: str | Check, *, about: str = "", instead: str = "", attempts: int = 5,
          pause: float = 1.0, progress: bool = True, lock: bool = True, most_bytes: int = 1 << 31) -> Path:
    """Download a file, or go on with a download; the file appears under its name only when it is right.

    What has arrived lies in `NAME.part` beside it. A later attempt, or a later call, asks the server for the rest; a
    server that cannot do that sends all of it again. A file that is there and right is not fetched.

    Args:
        url, target: from where, and the file, whose path is returned.
        check: its MD5 checksum, 32 hexadecimal digits; or a function of a path that says what is wrong, see `Check`.
        about, instead: for the error without a network: how large the file is, and what one can do without, in words.
        attempts: how often to try, with pauses of `pause`, 2 · `pause`, 4 · `pause` … seconds.
        progress: show a bar.
        lock: False if the caller is `alone` with the folder already, and turns the disk's errors into ours.
        most_bytes: what is longer is not the file.

    Raises:
        DataError: the network or the server fails, or `SEGLAB_OFFLINE` is set (what has arrived is kept, and the
            message says how much); the file is not the right one (then nothing is kept); another file has the name
            already, or the disk is full. `GoneError` if the server has no such file.
    """
    target = Path(target)
    part = target.with_name(target.name + ".part")
    check = partial(_other_md5, md5=check) if isinstance(check, str) else check
    with alone(target) if lock else nullcontext():
        if target.exists():
            return _checked(target, target, check, url)
        _transfer(url, part, about, instead, attempts, pause, progress, most_bytes)
        _checked(part, target, check, url)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    return target


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """One process fills the target, the others wait for it; the disk's errors become ours. Makes its folder."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            yield
    except OSError as error:
        raise DataError(f"{target}: download", found=error.strerror or str(error),
                        expected="a folder with room that can be written",
                        fix=f"{write_fix(error)} Then call again: what has arrived is kept.") from error


def _transfer(url: str, part: Path, about: str, instead: str, attempts: int, pause: float, progress: bool,
              most_bytes: int) -> None:
    """Fill `part`; raises DataError when the attempts are used up, OSError if the disk fails."""
    if os.environ.get("SEGLAB_OFFLINE", "0") not in {"", "0"}:
        raise _broken(url, part, "SEGLAB_OFFLINE is set", about, f"Unset SEGLAB_OFFLINE. {instead}")
    for attempt in range(attempts):
        try:
            problem = _attempt(url, part, progress, most_bytes)
        except urllib.error.HTTPError as error:
            error.close()
            problem = f"the server answers {error.code} {' '.join(str(error.reason).split())}"
            if error.code == 416 and part.exists():  # nothing follows what we have: all is there, or too much is
                if error.headers.get("Content-Range") == f"bytes */{part.stat().st_size}":
                    return
                part.unlink()
            elif 300 <= error.code < 500 and error.code not in {408, 429}:  # a redirect that leads nowhere, too
                raise _broken(url, part, problem, about, f"Check the address. {instead}",
                              GoneError if error.code in {404, 410} else DataError) from error
        except _NetworkError as error:
            problem = str(error)
        if problem is None:
            return
        if attempt < attempts - 1:
            time.sleep(pause * 2 ** attempt)
    raise _broken(url, part, f"{problem} ({attempts} attempts)", about,
                  f"Call again when the network works: it goes on from there. {instead}")


#: Opens http and https alone: a server may send us on to any address.
_WEB = urllib.request.OpenerDirector()
for _kind in (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
              urllib.request.HTTPRedirectHandler, urllib.request.HTTPErrorProcessor,
              urllib.request.HTTPDefaultErrorHandler, urllib.request.UnknownHandler):
    _WEB.add_handler(_kind())


class _NetworkError(Exception):
    """The connection broke: unlike other OSErrors, it does not concern our disk."""


def _attempt(url: str, part: Path, progress: bool, most_bytes: int) -> str | None:
    """Ask for what is missing. None if all has arrived, else what went wrong."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"seglab/{__version__} (a course in semantic segmentation)",
               "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    request = _network(urllib.request.Request, url, headers=headers)
    with _network(_WEB.open, request, timeout=_TIMEOUT) as response:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            return f"the server sends {response.headers.get('Content-Range')!r} in place of bytes {have} to the end"
        if response.status != 206:
            have = 0  # it sends all again
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if re.fullmatch("[0-9]{1,15}", length) else None  # the check finds what is missing
        with (open(part, "ab" if have else "wb") as file,
              progress_bar(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True, unit_divisor=1024,
                           shown=progress) as bar):
            while have <= most_bytes and (block := _network(response.read1, _BLOCK)):
                file.write(block)
                have += len(block)
                bar.update(len(block))
    if have > most_bytes:
        part.unlink()
        raise _broken(url, part, f"more than {most_bytes:,} bytes", "", "Check the address.")
    return None if total is None or have == total else f"the connection ended after {have:,} of {total:,} bytes"


def _network(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    try:
        return call(*args, **options)
    except urllib.error.HTTPError:  # the server's answer
        raise
    except urllib.error.URLError as error:
        raise _NetworkError(str(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an address that is none
        raise _NetworkError(f"{type(error).__name__}: {error}") from error


def _checked(path: Path, target: Path, check: Check, url: str) -> Path:
    """The path, if the file is right; a download that is wrong is removed."""
    if (wrong := check(path)) is None:
        return path
    if path != target:
        path.unlink()
        fix = "It was removed. Call again; if it happens again, the file on the server has changed."
    else:
        fix = "Remove it, or give another folder; seglab replaces no file that it cannot tell."
    raise DataError(f"{path}: not the file that was published at {url}", found=wrong[0], expected=wrong[1], fix=fix)


def _other_md5(path: Path, md5: str) -> tuple[str, str] | None:
    found = calculate_md5(path)
    return None if found == md5 else (f"MD5 {found} ({path.stat().st_size:,} bytes)", f"MD5 {md5}")


def _broken(url: str, part: Path, problem: str, about: str, fix: str, kind: type[DataError] = DataError) -> DataError:
    arrived = f"; {part.stat().st_size:,} bytes are in {part}" if part.exists() else ""
    return kind(f"{part.with_suffix('')}: download", found=problem + arrived,
                expected=f"{about or 'the file'} from {url}", fix=fix.strip())


class _RefusedError(Exception):
    """What an archive must not hold, in words."""


class _Header(tarfile.TarInfo):
    """Refuses what tarfile would follow, or read whole into memory, before anybody sees the member."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise _RefusedError(f"{header.name!r}, a file with holes")
        if header.type in _EXTENDED and not 0 <= header.size <= 100_000:
            raise _RefusedError(f"a header of {header.size:,} bytes")
        return header


#: Headers that hold a long name, or other words about the member that follows.
_EXTENDED = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
             tarfile.SOLARIS_XHDTYPE}


def unpack(archive: str | Path, folder: str | Path, top: str | None = None, progress: bool = True, *,
           most_files: int = 100_000, most_bytes: int | None = None) -> Path:
    """Unpack a tar archive, compressed or not, into a folder, missing or empty, that appears whole or not at all.

    By default all is unpacked, with the archive's folders; else only what is in the folder `top` of the archive, which
    becomes the new folder. Nothing but files and folders is accepted: no links, with which an archive can write
    outside of its folder, and no devices. Returns the folder's path.

    Args:
        most_files: more members than that are refused.
        most_bytes: and more unpacked bytes; by default 100 MB and ten times the archive's size, as pictures hardly
            shrink. This and `most_files` end what would fill the disk.

    Raises:
        DataError: the folder holds something; the archive is damaged, or it has a member that would be written
            elsewhere (an absolute name, "..") or is no file or folder, or it is too large. The message names it, and
            nothing is left.
    """
    archive, folder = Path(archive), Path(folder)
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder}: already there", found="a file" if folder.is_file() else "a folder with files",
                        expected="nothing, or an empty folder", fix="Move it away, or give another folder.")
    try:
        most_bytes = 10 * archive.stat().st_size + 100_000_000 if most_bytes is None else most_bytes
        with atomic_folder(folder) as draft, tarfile.open(archive, tarinfo=_Header) as tar:
            members = progress_bar(tar, desc=f"unpacking {archive.name}", unit="file", shown=progress)
            for number, member in enumerate(members, 1):
                _check_member(member)
                if number > most_files or member.offset_data + member.size > most_bytes:
                    raise _RefusedError(f"more than {most_files:,} files or {most_bytes:,} bytes, at {member.name!r}")
                _extract(tar, member, draft, top)
            _read_on(tar, most_bytes)
            if folder.is_dir():
                folder.rmdir()  # empty, or it fails; Windows does not rename onto an empty folder
    except _RefusedError as error:
        raise DataError(f"{archive}: archive", found=error, expected="files and folders within the archive's own",
                        fix="Nothing was unpacked. Take the archive from its publisher; do not trust this one."
                        ) from error
    except OSError as error:
        raise DataError(f"{archive}: cannot be unpacked into {folder}", found=error.strerror or str(error),
                        expected="a whole tar archive, and a folder with room that can be written",
                        fix="Check the disk and the rights; else remove the archive and fetch it again.") from error
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, LookupError, RecursionError) as error:
        raise DataError(f"{archive}: cannot be unpacked", found=f"{type(error).__name__}: {error}",
                        expected="a whole tar archive", fix="Remove it and fetch it again.") from error
    return folder


def _read_on(tar: tarfile.TarFile, most: int) -> None:
    """Read what follows the last member: at its end, gzip, bzip2 and xz compare their checksums."""
    left = most
    while (block := tar.fileobj.read(_BLOCK)) and left > 0:
        left -= len(block)


def _check_member(member: tarfile.TarInfo) -> None:
    name = PureWindowsPath(member.name)  # knows both kinds of slashes
    link = f" -> {member.linkname!r}" if member.linkname else ""
    if name.anchor or ".." in name.parts:
        raise _RefusedError(f"{member.name!r}{link}: a name that leaves the folder")
    if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
        raise _RefusedError(f"{member.name!r}{link}: no plain file, and no folder")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, draft: Path, top: str | None) -> None:
    path = PurePosixPath(member.name)
    if top is not None and path.parts[:1] != (top,):
        return
    place = draft / (path if top is None else path.relative_to(top))
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
    elif (content := tar.extractfile(member)) is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with content, open(place, "wb") as file:
            shutil.copyfileobj(content, file)
