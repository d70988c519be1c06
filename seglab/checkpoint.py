"""Checkpoints: one safetensors file each, written whole, read without ever unpickling.

A safetensors file is a table of tensors and a JSON header. Weights, optimizer state and history all fit into that, so
a checkpoint from a stranger can hold wrong numbers, but no code. A checksum shows damage: a weight with a flipped bit
is otherwise just another number.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialise_tensors
from torch import Tensor, nn

from seglab.errors import CheckpointError
from seglab.files import atomic_write, write_fix

_FORMAT = "seglab-checkpoint-2"
_BEFORE = "seglab-checkpoint-1"  # without a checksum
#: That are turned into each other when weights are loaded.
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def save_checkpoint(path: str | Path, content: dict[str, Any]) -> None:
    """Write a tree of dicts, lists, tensors and plain values; a reader sees the old file or the new one.

    Raises:
        CheckpointError: the disk is full or the folder is not writable; the old file is untouched.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    data = to_bytes(tensors, json.dumps(_pack(content, tensors, "")))
    try:
        atomic_write(path, data)
    except OSError as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be written", found=error.strerror,
                              expected=f"{len(data):,} bytes of room in a writable folder",
                              fix=f"{write_fix(error)} What was there is untouched.") from error


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, tensors on the CPU.

    Raises:
        CheckpointError: missing, cut off, or not a seglab checkpoint. Pickles (.pt, .pth) are recognised, not opened.
    """
    content, _ = _read(Path(path))
    if content is None:
        raise CheckpointError(f"{path}: checkpoint", found="a safetensors file that seglab did not write",
                              expected="last.safetensors or best.safetensors of a seglab run",
                              fix="For bare weights use load_weights(model, path).")
    return content


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(the content of a checkpoint, its weights); of a bare safetensors file, nothing and its tensors.

    Raises:
        CheckpointError: missing, cut off, a pickle, or without weights.
    """
    content, tensors = _read(Path(path))
    if content is None:
        return {}, tensors
    weights = content.get("model")
    if not isinstance(weights, dict) or not all(
            isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in weights.items()):
        raise CheckpointError(f"{path}: checkpoint", found="no weights in it", expected="those of a model",
                              fix="Copy it again, or train again.")
    return content, weights


def _read(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """The content of a checkpoint (None for bare weights) and the tensors of the file."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a 0 in the name
        raise CheckpointError(f"{path}: checkpoint", found=getattr(error, "strerror", None) or str(error),
                              expected="a file that fit wrote: last.safetensors or best.safetensors",
                              fix="Check the path.") from error
    # A safetensors file begins with the length of its header, which may spell a pickle's first two bytes (640 does).
    # The brace behind it tells the two apart.
    if data[8:9] != b"{" and data[:2] in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}:
        raise CheckpointError(f"{path}: checkpoint", found="a PyTorch pickle (.pt, .pth)",
                              expected="a seglab checkpoint (.safetensors)",
                              fix="Pickles can run code when they are opened, so seglab does not. Save the weights "
                                  "with safetensors.torch.save_file where they come from.")
    try:
        tensors, text = from_bytes(data)
        content = _unpack(json.loads(text), tensors) if text is not None else None
        if not isinstance(content, dict | None):
            raise ValueError(f"{type(content).__name__} instead of a dict")
        return content, tensors
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the checkpoint is damaged", found=f"{error} ({len(data):,} bytes)",
                              expected="a whole safetensors file",
                              fix="Copy it again, or delete it and train again.") from error


def to_bytes(tensors: dict[str, Tensor], text: str) -> bytes:
    """A safetensors file of tensors and a text, with a checksum of both; `from_bytes` reads it."""
    # One entry: the order of several is not fixed, and the same content is to be the same bytes.
    return serialise_tensors(tensors, metadata={_FORMAT: f"{_checksum(tensors, text)} {text}"})


def from_bytes(data: bytes) -> tuple[dict[str, Tensor], str | None]:
    """The tensors and the text of `to_bytes`; no text (None) of a safetensors file that seglab did not write.

    Raises:
        SafetensorError, ValueError: damaged.
    """
    tensors = parse_tensors(data)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8:8 + length]).get("__metadata__", {})  # parse_tensors leaves it out
    if not isinstance(metadata, dict) or _FORMAT not in metadata:
        return tensors, metadata.get(_BEFORE) if metadata else None
    checksum, _, text = metadata[_FORMAT].partition(" ")
    if checksum != _checksum(tensors, text):
        raise ValueError("other bytes than were written")
    return tensors, text


def _checksum(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name}\n{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # (bytes,)
    return digest.hexdigest()


def check_weights(model: nn.Module, weights: dict[str, Tensor], path: str | Path) -> None:
    """Raise a CheckpointError that says how weights differ from what a model needs, or which are not finite."""
    if others := [f"{name}: {type(one).__name__}" for name, one in weights.items() if not isinstance(one, Tensor)]:
        raise CheckpointError(f"{path}: weights", found=", ".join(others[:3]), expected="tensors",
                              fix="Copy it again, or train again.")
    needed = model.state_dict()
    if needed.keys() != weights.keys():
        missing = [name for name in needed if name not in weights]
        extra = sorted(name for name in weights if name not in needed)
        differences = [f"{', '.join(names[:3])} … {where}" for names, where in
                       ((missing, "missing"), (extra, "not in the model")) if names]
        raise CheckpointError(f"{path}: weights of another model than {type(model).__name__}",
                              found=f"{len(weights)} tensors, {_classes(weights)}; {'; '.join(differences)}",
                              expected=f"{len(needed)} tensors, {_classes(needed)}",
                              fix="Build the model that was trained: its name, its backbone, with or without aux.")
    for name, tensor in weights.items():
        if tensor.dtype != needed[name].dtype and not {tensor.dtype, needed[name].dtype} <= _FLOATS:
            raise CheckpointError(f"{path}: weights of another type", found=f"{name} {tensor.dtype}",
                                  expected=f"{needed[name].dtype}", fix="Save them as the model has them.")
        if tensor.shape != needed[name].shape:
            raise CheckpointError(f"{path}: weights of another size (another number of classes?)",
                                  found=f"{_classes(weights)}; {name} {tuple(tensor.shape)}",
                                  expected=f"{_classes(needed)}; {name} {tuple(needed[name].shape)}",
                                  fix="Build the model with the number of classes that it was trained for.")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{path}: weights that are not finite",
                                  found=f"{int((~tensor.isfinite()).sum())} of {tensor.numel()} numbers in {name} are "
                                        "NaN or infinite",
                                  expected="numbers", fix="The training diverged: use an earlier checkpoint.")


def _classes(weights: dict[str, Tensor]) -> str:
    """The number of classes: the length of the last bias that is neither auxiliary nor BatchNorm's."""
    biases = sorted(name for name, tensor in weights.items() if name.endswith("bias") and tensor.ndim == 1
                    and not name.startswith("aux") and f"{name.removesuffix('bias')}running_mean" not in weights)
    return f"{len(weights[biases[-1]])} classes" if biases else "an unknown number of classes"


def _pack(value: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """Replace each tensor by its name; dicts become lists of pairs, because JSON turns the keys 0, 1 into "0", "1"."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()  # clone: shared storage cannot be serialised
        return {"tensor": name}
    if isinstance(value, dict):
        if not all(type(k) in {str, int} for k in value):
            raise CheckpointError(f"checkpoint entry {name!r}", found=f"the keys {list(value)[:5]}",
                                  expected="strings or whole numbers")
        return {"dict": [[k, _pack(v, tensors, f"{name}.{k}" if name else str(k))] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_pack(v, tensors, f"{name}.{i}") for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CheckpointError(f"checkpoint entry {name!r}", found=type(value).__name__,
                          expected="tensors, numbers, strings, lists and dicts")


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """What `_pack` packed; ValueError for anything else."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case {"tensor": str(name), **rest} if not rest and name in tensors:
            return tensors[name]
        case {"dict": list(pairs), **rest} if not rest:
            return dict(_unpacked_pair(pair, tensors) for pair in pairs)
        case {"list": list(items), **rest} if not rest:
            return [_unpack(item, tensors) for item in items]
        case {"tuple": list(items), **rest} if not rest:
            return tuple(_unpack(item, tensors) for item in items)
    raise ValueError(f"no entry of a checkpoint: {str(value)[:80]}")


def _unpacked_pair(pair: Any, tensors: dict[str, Tensor]) -> tuple[str | int, Any]:
    key, value = msgspec.convert(pair, tuple[str | int, Any])
    return key, _unpack(value, tensors)


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """A model's state dict without the prefix that torch.compile puts before every name."""
    return {name.removeprefix("_orig_mod."): tensor for name, tensor in model.state_dict().items()}
