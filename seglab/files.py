"""Where seglab keeps its files, and writes that are either whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import msgspec

from seglab.errors import ArgumentError, DataError, WriteError

Memory = TypeVar("Memory", bound=dict[str, Any])
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


def data_home() -> Path:
    """The folder for samples, caches and downloads.

    `$SEGLAB_HOME` if that is set, else `data/` of the checkout that the package runs from, else `~/.cache/seglab`.
    """
    if home := os.environ.get("SEGLAB_HOME"):
        return Path(home).expanduser()
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file() and (checkout / "data").is_dir():
        return checkout / "data"
    return Path.home() / ".cache" / "seglab"


#: The syllables that most Korean text and class names consist of, about a fifth of those that KS X 1001 has. Chinese
#: and Japanese in the encodings GB 2312 and EUC-JP are the same bytes as Hangul, but spread over all of them.
_COMMON_SYLLABLES = frozenset(
    "가각간갈감갑값강갖같개객갱거건걸검겁것게겨격견결경계고곡곤골곳공과관광괴교구국군굴권귀규균그극근글금급기긴길김까깨꼬꽃끝나낙난"
    "날남납낮내냉너널넓네녀년념노녹논농높뇌누눈뉴느는늘능니님다단달담답당대댐더덕던덩데도독돌동되된두둑둥뒤드득든들등디딩따땅때떨또"
    "뚜라락란람랑래랙량러럭런럼레려력련렬령례로록론료루류률르른를름릉리린림립릿마막만말망매맥맨머먼멀멍메면명모목몰못무묵문물미민밀"
    "바박반받발밝밤방밭배백밴뱀버번벌범법벚벤벼벽변별병보복본볼봄봇봉부북분불붕브블비빈빌빛빨뼈사삭산살삼삽상새색생샤서석선설섬성세센"
    "셀소속손솔송수순술숨숲쉬스슬습승시식신실심십싱쓰씨아악안않알암압앙앞애액야약양어억언얼엄업없에여역연열염엽영예오옥온올옷와완왕외"
    "요욕용우운울움원월위유육율융으은을음응의이인일임입있잎자작잔잘잠잡장재저적전절점접정제져조족존종좌죄주준줄중즈증지직진질짐집짓차착"
    "찬참창채책처척천철첨첩청체초촉촌총최추축춘출충취측층치칙친칠침카칸칼캠커컨컴컵케켜코콘쿠크큰클키타탁탄탈탐탑탕태택터턴털테텍토톤통"
    "투트특튼티틀팀파판팔팟팩팽퍼페편평폐포폭폰표풀품풍프플피필하학한할함합항해핵행향허헌험헤혈현협형혜호혹혼홀홈홍화확환활황회획횡효후"
    "훈휴흐흑흔흙흡흥희흰히힘않왼긁찍룩캔")
#: One accented letter beside a plain one. Only letters that mean the same in the code pages of western (1252) and
#: central (1250) Europe and Turkey (1254), and others between letters that no word of the other languages has; no á
#: where DOS (850) has ß.
_WESTERN_WORD = re.compile(
    r"[A-Za-z]*(?:(?:[ÁÂÄÇÉËÍÎÓÔÖÚÜßâäçéëíîóôöúü]|(?<![aeouy])(?<!ei)á|(?<=[bcdfghjlmnpqrtvzi])è(?=(?:[bcdfglmnprstvz]|"
    r"[bcdgptv]r|gl|gn|qu|ch)es?(?![a-z]))|(?<=[or]r)ê(?=ts?(?![a-z]))|(?<=[tnhpv])ê(?=(?:tre|te|ne|che|me)s?(?![a-z]))|(?<=[aeiou])ñ(?=[aeou])"
    r"|ã(?=os?(?![a-z]))|õ(?=es(?![a-z])))[A-Za-z]*)*")


def read_text(path: str | Path, what: str = "text file") -> str:
    """The text of a file, which messages call `what`: UTF-8, UTF-16 with its mark, or what else it is beyond doubt.

    A Korean (cp949) or western European (cp1252) file is read if all its words are ones of these languages. Other
    encodings, and the few words from which no one can tell, are an error: a wrong guess gives wrong class names.

    Raises:
        DataError: the file is missing or cannot be read, is no text, or is in another encoding.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a path with a byte 0 is a ValueError
        raise DataError(f"{path}: {what}", found=getattr(error, "strerror", None) or str(error),
                        expected="a readable file") from error
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
        bad = text.find("\0")
        found = f"byte 0 at position {bad}"
    except UnicodeDecodeError as error:
        known = None if wide else _korean(data) or _western(data)
        if known is not None:
            return known
        bad = error.start
        found = f"byte 0x{data[bad]:02x} at position {bad}, line {data.count(10, 0, bad) + 1}"
    if bad < 0:
        return text
    raise DataError(f"{path}: {what} in an unknown encoding", found=found, expected="UTF-8",
                    fix="Save it as UTF-8: in an editor, \"Save as\" and the encoding UTF-8; in a spreadsheet, "
                        "\"CSV UTF-8\".")


def _korean(data: bytes) -> str | None:
    """cp949 if that is beyond doubt: whole words of Hangul, three syllables or more, three quarters common ones."""
    try:
        text = data.decode("euc_kr")  # cp949 without the syllables that hardly occur
    except UnicodeDecodeError:
        return None
    if _CONTROL.search(text) or re.search(r"[^\x00-\x7f가-힣]|[A-Za-z][가-힣]|[가-힣][A-Za-z]", text):
        return None
    syllables = re.findall("[가-힣]", text)
    common = sum(s in _COMMON_SYLLABLES for s in syllables)
    return text if len(syllables) >= 3 and 4 * common >= 3 * len(syllables) else None


def _western(data: bytes) -> str | None:
    """cp1252 if that is beyond doubt: single accented letters in words of plain ones, not all of them very short."""
    text = data.decode("cp1252", errors="replace")
    words = [word for word in re.findall(r"(?:[^\W\d_]|[^\x00-\x7f])+", text) if not word.isascii()]
    doubtful = _CONTROL.search(text) or max(map(len, words)) < 4 or any(
        not _WESTERN_WORD.fullmatch(word) or re.search(r"[^\x00-\x7f]{2}|^[^\x00-\x7f]$", word) for word in words)
    return None if doubtful else text


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def check_free(path: str | Path, argument: str = "out", overwrite: bool = False, folder: bool = False) -> Path:
    """The path, if a file (or a folder) can be written there, which is tried: for use before the work.

    Raises:
        ArgumentError: something is there, and `overwrite` is False or it is of another kind; or the folder above is
            missing, cannot be written or has no room.
    """
    path = Path(path).expanduser()
    kind = "folder" if folder else "file"
    try:
        if path.exists() and not (path.is_dir() if folder else path.is_file()):
            raise ArgumentError(argument, found=f"{path}, a {'folder' if path.is_dir() else 'file or device'}",
                                expected=f"the name of a {kind}")
        if os.path.lexists(path) and not overwrite:  # a link that leads nowhere, too
            raise ArgumentError(argument, found=f"{path} is there already", expected=f"a new {kind}",
                                fix="Choose another name, or pass overwrite=True (--overwrite on the command line).")
        trial = _temporary(path)
        try:
            trial.write_bytes(_BLOCK)
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        raise ArgumentError(argument, found=f"no folder {path.parent}" if gone else f"{path.parent}: {error.strerror}",
                            expected="a folder that is there and can be written", fix=write_fix(error)) from error
    return path


def output_file(out: str | Path, name: str, endings: Iterable[str], overwrite: bool = False,
                source: Path | None = None, argument: str = "out") -> Path:
    """Where one file is to be written, checked before the work begins; its folder is made.

    Args:
        out: the file, or a folder for it: one that exists, or a text that ends in a slash.
        name: of the file in such a folder.
        endings: that it may have, such as ".png".
        overwrite: whether it may be there already.
        source: the file that is read, which is never replaced.
        argument: what errors call the file.

    Raises:
        ArgumentError: another ending, a file that must stay, or a folder that cannot be made or written.

    Example:
        >>> output_file("", "photo_overlay.png", [".png", ".jpg"]).name
        'photo_overlay.png'
    """
    path = Path(out).expanduser()
    if path.is_dir() or str(out).endswith(("/", os.sep)):
        path = path / name
    if path.suffix.lower() not in endings:
        raise ArgumentError(argument, found=path.name, expected=f"an ending {', '.join(sorted(endings))}",
                            fix=f"For instance {path.parent / path.stem}{Path(name).suffix}; a new folder ends in /.")
    if source is not None and path.exists() and path.samefile(source):
        raise ArgumentError(argument, found=f"{path}, the file that is read", expected="another file")
    output_folder(path.parent, argument)
    return check_free(path, argument, overwrite)


def output_folder(folder: str | Path, argument: str = "out") -> Path:
    """The folder, made if it is missing; ArgumentError if it cannot be, or nothing can be written into it."""
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(argument, found=f"{folder}: {error.strerror}",
                            expected="a folder that is there or can be made", fix=write_fix(error)) from error
    check_free(_temporary(folder / "x"), argument)
    return folder


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write a file as `atomic_file` does; of several processes that write it at once, the last one's bytes stay."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Write a file so that a reader sees the old bytes or the new ones, whatever happens in between.

    Yields a temporary path beside `path`, with the same ending. At the end of the block it is flushed to the disk and
    takes the name; if the block fails, or the disk, it is removed and the old file is as it was. What a killed process
    left is removed by the next one that writes into the folder.

    Raises:
        WriteError: in place of any OSError. A disk that is full is noticed even if what wrote the file did not say so.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_file(target) as new:
        ...     _ = new.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path).expanduser()
    _sweep(path.parent.absolute())
    temporary = _temporary(path)
    with _as_write_error(path):
        try:
            yield temporary
            _check_room(temporary)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):  # where nothing could be made, nothing is to be removed
                temporary.unlink()
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
    removed. If another process has finished the same folder first, that one stays and ours is removed. What a killed
    process left is removed by the next one that writes beside it.

    Raises:
        WriteError: in place of any OSError, as `atomic_file` does.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "set"
        >>> with atomic_folder(target) as folder:
        ...     _ = (folder / "a.txt").write_text("1")
        >>> [p.name for p in target.iterdir()]
        ['a.txt']
    """
    path = Path(path)
    _sweep(path.parent.absolute())
    temporary = _temporary(path)
    with _as_write_error(path):
        temporary.mkdir(parents=True)  # not mkdtemp, which makes it private: a shared data folder must stay shared
        try:
            yield temporary
            room = temporary / ".room"
            room.touch()
            _check_room(room)
            room.unlink()
            try:
                temporary.rename(path)
            except OSError:
                if not path.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_fix(error: OSError) -> str:
    """What to do about a file that could not be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "Free some space, or choose a place on another disk."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "Choose a folder that you may write to."
    return "Check the path, or choose another one."


@contextmanager
def _as_write_error(path: Path) -> Iterator[None]:
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        ours = WriteError(f"{path}: cannot be written", found=error.strerror or str(error),
                          expected="a folder with room that can be written", fix=write_fix(error))
        ours.errno, ours.strerror = error.errno, error.strerror or str(error)
        raise ours from error


_BLOCK = os.urandom(1 << 17)  # more than a block of any file system; zeros might be stored as nothing


def _check_room(path: Path) -> None:
    """Flush a file to the disk; an OSError if the disk is full.

    Pillow's encoders do not notice when only a part of the last bytes, or none, could be written. Then the disk is
    full, and nothing can be appended.
    """
    with open(path, "rb+") as file:
        end = file.seek(0, os.SEEK_END)
        file.write(_BLOCK)
        file.truncate(end)
        os.fsync(file.fileno())


#: What `_temporary` makes: a machine, a process and a random number.
_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})-(\d{1,9})-[0-9a-f]{8}\.tmp(?:\..*)?")
_DAY = 86_400  # seconds


@cache
def _machine() -> str:
    """Stands for this machine, or this container: where numbers of processes are unique."""
    numbers = Path("/proc/self/ns/pid")
    space = numbers.stat().st_ino if numbers.exists() else 0
    return hashlib.blake2b(f"{platform.node()} {space}".encode(), digest_size=4).hexdigest()


def _temporary(path: Path) -> Path:
    """A name beside the path, and with its ending, that no other process or thread has."""
    return path.with_name(f".{path.stem[:20]}.{_machine()}-{os.getpid()}-{uuid4().hex[:8]}.tmp{path.suffix}")


@cache
def _sweep(folder: Path) -> None:
    """Remove the temporaries that killed processes left in a folder; once a process, as folders may be large."""
    try:
        names = os.listdir(folder)
    except OSError:  # the writer will say why
        return
    for path in (folder / name for name in names if _TEMPORARY.fullmatch(name)):
        with suppress(OSError):  # another process removes it, too, or it is not ours
            if _is_abandoned(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_abandoned(path: Path) -> bool:
    """Whether the process that made a temporary is gone.

    On another machine that cannot be asked, nor on Windows: there one that nobody has changed for a day is.
    """
    machine, process = _TEMPORARY.fullmatch(path.name).groups()  # type: ignore[union-attr] # it has such a name
    if machine != _machine() or os.name != "posix":
        return time.time() - max(one.lstat().st_mtime for one in (path, *path.rglob("*"))) > _DAY
    try:
        os.kill(int(process), 0)  # sends nothing
    except ProcessLookupError:
        return True
    return False  # somebody else's is a PermissionError, which `_sweep` passes over


def file_digests(paths: Sequence[Path], memory: Path) -> list[str]:
    """Hashes of the contents of files. A file is read again only if its size or one of its times changed.

    The memory is a file that remembers hashes, sizes and times, with one writer at a time.

    Raises:
        DataError: a file cannot be read.
        OSError: the memory cannot be written.
    """
    known = read_memory(memory, dict[str, tuple[str, Digest]])
    fresh: dict[str, tuple[str, Digest]] = {}

    def digest(path: Path) -> str:
        try:
            stat, name = path.stat(), os.path.realpath(path)
            signature = f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"
            entry = known.get(name)
            if entry is None or entry[0] != signature:
                entry = fresh[name] = signature, _digest(path)
        except OSError as error:
            raise DataError(f"{path}: file", found=error.strerror or str(error), expected="a file that can be read",
                            fix="Check its rights and the disk.") from error
        return entry[1]

    with ThreadPoolExecutor(4) as pool:  # parts, as a call of its own costs as much as a look at a file
        parts = pool.map(lambda start: [*map(digest, paths[start:start + 64])], range(0, len(paths), 64))
        result = [one for part in parts for one in part]
    if fresh:
        write_memory(memory, known | fresh)
    return result


def read_memory(path: Path, kind: type[Memory]) -> Memory:
    """What was remembered in a JSON file, of this type of dict.

    An empty one if there is no file, or it holds anything else: then it is found out again.
    """
    try:
        checksum, _, text = path.read_bytes().partition(b"\n")
        return msgspec.convert(json.loads(text), kind) if checksum == _checksum(text) else kind()
    except (FileNotFoundError, ValueError, RecursionError):
        return kind()


def write_memory(path: Path, known: dict[str, Any]) -> None:
    """Remember this in a JSON file, behind a line with a checksum. One writer at a time."""
    text = json.dumps(known).encode()
    atomic_write(path, _checksum(text) + b"\n" + text)


def _checksum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).hexdigest().encode()


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
