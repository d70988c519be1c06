"""Tensors out of PyTorch's own files (.pt, .pth), by an interpreter of pickles that can build nothing else.

A pickle is a program. Here it can make numbers, strings, lists, tuples, dicts, and tensors whose numbers lie in the
same file; whatever else it asks for ends the reading. PyTorch's own readers are not called: `torch.jit.load` runs code
of the file, and those for weights believe the sizes that the file states.
"""

from __future__ import annotations

import math
import mmap
import pickle
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seglab.errors import CheckpointError, first_line

_MAGIC = 0x1950A86A20F9469CFC6C  # begins files of PyTorch before 1.6
_DTYPES = {"DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
           "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
           "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
           "BoolStorage": torch.bool}
#: Of pickle's instructions those that `torch.save` writes. None of them finds a class but by `find_class`, and none
#: hashes anything but strings and whole numbers: the hash of tuples in tuples can overflow the stack.
_INSTRUCTIONS = {code[0] for code in (
    pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1,
    pickle.BININT2, pickle.LONG1, pickle.BINFLOAT, pickle.BINUNICODE, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1,
    pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.BINPUT,
    pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET, pickle.GLOBAL, pickle.REDUCE, pickle.BINPERSID)}


def read_pickle(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .pth file, without running any code that is in it.

    It holds a state dict, or one under "model", "model_state", "model_state_dict" or "state_dict". Checksums, which
    files of PyTorch 1.6 and later have, are compared.

    Raises:
        CheckpointError: missing, damaged, without tensors, TorchScript, or a pickle that asks for more than tensors
            and numbers.

    Source: `torch/serialization.py`; the opcodes are described in Python's `pickletools`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "weights.pth"
        >>> torch.save(torch.nn.Linear(2, 1).state_dict(), path)
        >>> {name: tuple(tensor.shape) for name, tensor in read_pickle(path).items()}
        {'weight': (1, 2), 'bias': (1,)}
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: weights", found="no such file", expected="a .pth file", fix="Check the path.")
    try:
        with open(path, "rb") as file:
            content, stored = (_from_zip if file.read(2) == b"PK" else _from_legacy)(path)
        for key in ("model", "model_state", "model_state_dict", "state_dict"):  # of training checkpoints
            if isinstance(content, dict) and isinstance(content.get(key), dict):
                content = content[key]
        if isinstance(content, dict) and content and all(
                type(name) is str and type(one) is _Stated for name, one in content.items()):
            return {name: _tensor(stated, stored) for name, stated in content.items()}
    except _RefusedError as error:
        found, expected, fix = error.args if len(error.args) == 3 else (
            f"no tensors, or a pickle that asks to run code or build objects: {first_line(error)}",
            "tensors, numbers, strings, lists and dicts, written whole by torch.save",
            "Where you trust the file, load it there and save model.state_dict() again.")
        raise CheckpointError(f"{path}: refused", found=found, expected=expected, fix=fix) from error
    except Exception as error:
        # All of them: on damaged files zipfile, pickle and PyTorch raise what they come upon.
        raise CheckpointError(f"{path}: weights", found=f"{type(error).__name__}: {first_line(error)} "
                              f"({path.stat().st_size:,} bytes)", expected="a whole .pth file, written by torch.save",
                              fix="Copy or download it again.") from error
    raise CheckpointError(f"{path}: weights", found=f"{type(content).__name__.strip('_').lower()} without a state dict",
                          expected="a state dict: names and tensors", fix="Save model.state_dict().")


class _RefusedError(Exception):
    """A file that asks for what is not to be done."""


class _Storage(NamedTuple):
    """Numbers of a file that tensors are made of."""

    key: str
    dtype: torch.dtype
    numbers: int


class _Stated(NamedTuple):
    """A tensor as the pickle states it."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Dict(dict[Any, Any]):
    """A dict that a pickle makes."""


#: Python's own, not that of C, which takes as much memory as a file states; typeshed knows little of it.
_Base: Any = pickle._Unpickler


class _Unpickler(_Base):  # type: ignore[misc]
    """See the module."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.dtypes: dict[str, torch.dtype] = {}  # of the storages, by key

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch._utils" and name in {"_rebuild_tensor_v2", "_rebuild_parameter"}:
            return _stated if name == "_rebuild_tensor_v2" else _parameter
        raise _RefusedError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, *view = pid
        if kind != "storage" or type(key) is not str or type(count) is not int or any(view):
            raise ValueError("a storage that PyTorch does not write")
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"numbers of the type {dtype!r}")
        self.dtypes[key] = dtype
        return _Storage(key, dtype, count)

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self.stack[-1] |= _checked(items[::2], items[1::2])

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1] |= _checked([key], [value])

    def load_build(self) -> None:
        self.stack.pop()  # what else belongs to an object: of a state dict, versions of its modules
        if type(self.stack[-1]) is not _Dict:
            raise _RefusedError("an object with attributes")

    def load_refused(self) -> None:
        raise _RefusedError("an instruction that torch.save does not write")

    dispatch = (dict.fromkeys(_Base.dispatch, load_refused)
                | {code: _Base.dispatch[code] for code in _INSTRUCTIONS}
                | {pickle.SETITEM[0]: load_setitem, pickle.SETITEMS[0]: load_setitems, pickle.BUILD[0]: load_build})


def _checked(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    if not all(type(key) in {str, int} for key in keys):
        raise _RefusedError("keys of a dict that are neither strings nor whole numbers")
    return dict(zip(keys, values, strict=True))


def _stated(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Stated:
    numbers = (offset, *size, *stride)
    if not (type(storage) is _Storage and len(size) == len(stride) <= 8
            and all(type(number) is int and number >= 0 for number in numbers)):
        raise ValueError("a tensor without storage, size or stride")
    return _Stated(storage, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _from_zip(path: Path) -> tuple[Any, dict[str, bytearray]]:
    """Of PyTorch 1.6 and later: a zip that is not compressed, whose checksums zipfile compares."""
    with zipfile.ZipFile(path) as archive:
        records, names = archive.infolist(), archive.namelist()
        if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
            raise _RefusedError("a TorchScript archive, which holds code", "a state dict, written by torch.save",
                                "Where you trust the file: torch.save(torch.jit.load(path).state_dict(), "
                                "'weights.pth').")
        if any(record.compress_type != zipfile.ZIP_STORED for record in records) or (
                sum(record.file_size for record in records) > path.stat().st_size):
            raise ValueError("a zip that holds more than its size")
        (top,) = (name.removesuffix("data.pkl") for name in names if name.endswith("data.pkl"))
        if f"{top}byteorder" in names and archive.read(f"{top}byteorder") != b"little":
            raise ValueError("numbers in big-endian order")
        content = (reader := _Unpickler(BytesIO(archive.read(f"{top}data.pkl")))).load()
        return content, {key: bytearray(archive.read(f"{top}data/{key}")) for key in reader.dtypes}


def _from_legacy(path: Path) -> tuple[Any, dict[str, bytearray]]:
    """Before PyTorch 1.6: five pickles, then the numbers of each storage, after how many there are. No checksums."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if _Unpickler(data).load() != _MAGIC:
            raise _RefusedError("it does not begin as torch.save writes it")
        _, system = _Unpickler(data).load(), _Unpickler(data).load()
        if not system["little_endian"]:
            raise ValueError("numbers in big-endian order")
        content, stored = (reader := _Unpickler(data)).load(), {}
        for key in _Unpickler(data).load():
            count = int.from_bytes(data.read(8), "little") * reader.dtypes[key].itemsize
            stored[key] = bytearray(data.read(min(count, len(data))))
    return content, stored


def _tensor(stated: _Stated, stored: dict[str, bytearray]) -> Tensor:
    """The numbers of a tensor, which are all in its storage, each once."""
    (key, dtype, count), offset, size, stride = stated
    data = stored[key]
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"{len(data):,} bytes for {count:,} numbers")
    if 0 in size:
        return torch.zeros(size, dtype=dtype)
    stride = tuple(1 if side == 1 else step for side, step in zip(size, stride, strict=True))
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if last >= count or math.prod(size) > count:
        raise ValueError(f"a tensor of {size} in {count:,} numbers")
    return torch.frombuffer(data, dtype=dtype).as_strided(size, stride, offset)
