"""Start a program that is not trusted: without a network, with its own files alone, and with limits.

Run as a script, `python confine.py '{"write": …}' PROGRAM …`, with nothing but the standard library. What the system
cannot do is left out, and `available` says what it can:

- files (Linux 5.13 and newer, Landlock): it reads libraries and the folders that are named, and writes one folder;
  with user namespaces, it also cannot change whose the others are, and who may read them;
- network (Linux, user namespaces): there is none, not even to this machine, and no socket that is a file;
- processes (the same): all that it started ends with it, and it sees no other; there are not too many of them;
- memory, size of a file (Linux, macOS): limits of the process (POSIX rlimits).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import stat
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_NEWUSER, _NEWPID, _NEWNET, _NEWIPC, _NEWNS = 0x10000000, 0x20000000, 0x40000000, 0x08000000, 0x00020000
_BIND, _RECURSIVE, _PRIVATE, _PLAIN_FILES = 0x1000, 0x4000, 0x40000, 0b1110  # flags of mount(2)
_READ_ONLY, _BELOW = 1, 0x8000  # of mount_setattr(2)
#: Landlock's rights of files: 0 execute, 2 read a file, 3 read a folder; the others change something.
_READ, _ALL = 0b1101, {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
_OF_FILES = 0b1 | 0b10 | 0b100 | 1 << 14  # rights that a file can have: execute, write, read, truncate
#: Threads that it may have, in all processes together; not where the user is root. And files that a process may have
#: open: what is on its way through a socket is in no other limit.
_THREADS, _OPEN = 512, 1024
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys")
#: Of /dev, these alone: the user at the desk may read the camera there, and root the whole disk.
_DEVICES = ("/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def available() -> dict[str, bool]:
    """What this system can do: {"files", "network", "memory": whether}; tried in a process of its own."""
    if not hasattr(os, "fork"):
        return {"files": False, "network": False, "memory": False}
    return {"files": _landlock_version() > 0, "network": _in_child(_leave_network), "memory": True}


def confine(write: Path, read: Sequence[Path], memory: float, size: float) -> None:
    """Confine this process for the rest of its life.

    Args:
        write: the folder that it may write; it must be there.
        read: folders that it may read, besides the system's and Python's.
        memory: GB that it may take.
        size: GB that a file may have.
    """
    with contextlib.suppress(ImportError):  # Windows
        import resource

        for limit, value in ((resource.RLIMIT_DATA, int(memory * 1e9)), (resource.RLIMIT_FSIZE, int(size * 1e9)),
                             (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, _OPEN)):
            most = resource.getrlimit(limit)[1]  # only root may raise it
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(limit, (value, value))
    # Not all of sys.path: a clone that a package is installed from may hold the course and its graders as well.
    ours = {Path(sys.prefix), Path(sys.base_prefix), Path(os.path.realpath(sys.executable)).parent,
            *(Path(place) for place in sys.path if Path(place).name in {"site-packages", "dist-packages"})}
    seen = [*map(Path, (*_SYSTEM, *_DEVICES)), *ours, *read]
    if hasattr(os, "fork"):
        _end_with_parent()
        with contextlib.suppress(OSError, AttributeError):  # macOS has no unshare
            _leave_network([*seen, write])
            resource.setrlimit(resource.RLIMIT_NPROC, (_THREADS, _THREADS))
            _fork()  # into the first process of its own
            with contextlib.suppress(OSError):  # a system that closes mounts: rights of other files are not protected
                _only_one_folder(write)
            _fork()
            os.environ["JPY_PARENT_PID"] = "1"  # the parent, as it is called here: a kernel ends if it has another one
    if _landlock_version() > 0:
        _only_files(seen, [write, Path("/dev/null"), Path("/dev/shm")])


def _landlock_version() -> int:
    """Of the kernel; 0 where it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, ctypes.CDLL(None).syscall(444, None, 0, 1))


def _only_files(read: Sequence[Path], write: Sequence[Path]) -> None:
    """Landlock: from now on this process and its children read and write nothing else."""
    libc, rights = ctypes.CDLL(None, use_errno=True), _ALL[min(3, _landlock_version())]
    rules = libc.syscall(444, struct.pack("Q", rights), 8, 0)
    for places, allowed in ((read, _READ), (write, rights)):
        for place in places:
            try:
                handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
            except OSError:  # not there, or closed to us as well
                continue
            known = allowed if stat.S_ISDIR(os.fstat(handle).st_mode) else allowed & rights & _OF_FILES
            if libc.syscall(445, rules, 1, struct.pack("=Qi", known, handle), 0):
                raise OSError(ctypes.get_errno(), f"landlock_add_rule for {place}")
            os.close(handle)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges: Landlock asks for it
    if libc.syscall(446, rules, 0):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")


def _leave_network(kept: Sequence[Path] = ()) -> None:
    """Into namespaces without a network; the next child is the first process of its own.

    A socket that is a file, such as Docker's, can be reached from there, and Landlock does not look at it. So of the
    folders at the root, only the system's stay, and what is kept below the others.
    """
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(_NEWUSER | _NEWNET | _NEWPID | _NEWIPC | _NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    places = sorted({Path(os.path.realpath(place)) for place in kept if place.exists()})
    places = [one for one in places if not any(other in one.parents for other in places)]
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    _mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1g")  # for arrays that processes share
    for top in sorted(Path("/").iterdir()):
        if str(top) in (*_SYSTEM, "/dev") or top.is_symlink() or not top.is_dir() or top in places:
            continue
        handles = {place: os.open(place, os.O_PATH) for place in places if top in place.parents}
        _mount("tmpfs", top, "tmpfs", 0, "size=1m,mode=755")
        for place, handle in handles.items():
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                place.mkdir(parents=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            _mount(f"/proc/self/fd/{handle}", place, None, _BIND | _RECURSIVE)
            os.close(handle)


def _mount(source: str, target: str | Path, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [text and os.fsencode(text) for text in (source, target, kind)]
    if ctypes.CDLL(None, use_errno=True).mount(*texts, ctypes.c_ulong(flags), data and data.encode()):
        raise OSError(ctypes.get_errno(), f"mount {target}")


def _only_one_folder(write: Path) -> None:
    """The rights, owners and times of all other files stay as they are: Landlock does not look at them.

    And of /proc only what is about the own processes, where the system lets us mount it.
    """
    with contextlib.suppress(OSError):
        _mount("proc", "/proc", "proc", _PLAIN_FILES)
    _mount(str(write), write, None, _BIND)
    os.chdir(Path.cwd())  # the same folder, where it is mounted now
    libc = ctypes.CDLL(None, use_errno=True)
    for place, flags, add, drop in (("/", _BELOW, _READ_ONLY, 0), (write, 0, 0, _READ_ONLY),
                                    ("/dev/shm", 0, 0, _READ_ONLY)):
        if libc.syscall(442, -100, os.fsencode(place), flags, struct.pack("4Q", add, drop, 0, 0), 32):
            raise OSError(ctypes.get_errno(), f"mount_setattr {place}")


def _fork() -> None:
    """Go on in a child; when it ends, this process does, and as the first of its namespace it ends all others there.

    The program is a child of that first process, and not the process itself, or it could outlive the grader: it may
    take back `_end_with_parent`.
    """
    if child := os.fork():
        for one in (signal.SIGINT, signal.SIGTERM):  # the child gets them, too: they go to the group
            signal.signal(one, signal.SIG_IGN)
        while True:  # the first process is the parent of all that have lost theirs
            ended, status = os.wait()
            if ended == child:
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    _end_with_parent()


def _end_with_parent() -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _in_child(function: object) -> bool:
    child = os.fork()
    if not child:
        with contextlib.suppress(OSError, AttributeError):
            function()  # type: ignore[operator]
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def main() -> NoReturn:
    """Confine this process, and become the program."""
    settings, *program = sys.argv[1:]
    known = json.loads(settings)
    confine(Path(known["write"]), [Path(one) for one in known["read"]], known["memory"], known["size"])
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
