"""Where seglab keeps its files, and writes that are either whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from seglab.errors import ArgumentError


def data_home() -> Path:
    """The folder for samples, caches and downloads.

    It is `$SEGLAB_HOME` if that is set, else `data/` of the checkout that the package runs from, else
    `~/.cache/seglab`.
    """
    if home := os.environ.get("SEGLAB_HOME"):
        return Path(home).expanduser()
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file() and (checkout / "data").is_dir():
        return checkout / "data"
    return Path.home() / ".cache" / "seglab"


def check_free(path: str | Path, argument: str = "out", overwrite: bool = False) -> Path:
    """The path, if nothing is there or it may be replaced.

    Raises:
        ArgumentError: something is there, and `overwrite` is False.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise ArgumentError(argument, found=f"{path} is there already", expected="a new file",
                            fix="Choose another name, or pass overwrite=True (--overwrite on the command line).")
    return path


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, whatever happens in between.

    The bytes go to a temporary file beside it, are flushed to the disk, and then take its name in one step. The
    temporary name is fixed: what a killed writer left is overwritten by the next one. One writer at a time.

    Raises:
        OSError: the disk is full or the folder cannot be written. The old file is as it was.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Write a file that appears under its name only when it is complete.

    Yields a temporary path beside `path`, with the same ending. It takes the name at the end of the block; if the
    block fails, it is removed and the old file is as it was.

    Raises:
        OSError: as for `atomic_write`.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_file(target) as new:
        ...     _ = new.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name itself must reach the disk too; Windows has no call for that
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Fill a folder that appears under its name only when it is complete.

    Yields a temporary folder beside `path`. It takes the name at the end of the block; if the block fails, it is
    removed. If another process has finished the same folder first, that one stays and ours is removed.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "set"
        >>> with atomic_folder(target) as folder:
        ...     _ = (folder / "a.txt").write_text("1")
        >>> [p.name for p in target.iterdir()]
        ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    temporary.chmod(0o777 & ~_umask())  # mkdtemp makes it private; a shared data folder must stay shared
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def file_digests(paths: Sequence[Path], memory: Path) -> list[str]:
    """Hashes of the contents of files. A file is read again only if its size or one of its times changed.

    Args:
        paths: the files.
        memory: a JSON file that remembers hashes, sizes and times. One writer at a time.

    Raises:
        OSError: a file cannot be read, or the memory not be written.
    """
    try:
        known = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    except ValueError:
        known = {}  # only a memory: what is lost is the time to hash again
    fresh = {}

    def digest(path: Path) -> str:
        stat = path.stat()
        signature = f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"
        entry = known.get(str(path.resolve()))
        if entry is None or entry[0] != signature:
            entry = fresh[str(path.resolve())] = [signature, _digest(path)]
        return entry[1]

    with ThreadPoolExecutor(4) as pool:
        result = list(pool.map(digest, paths))
    if fresh:
        atomic_write(memory, json.dumps({**known, **fresh}).encode())
    return result


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
