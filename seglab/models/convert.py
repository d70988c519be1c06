"""Torchvision's checkpoints as safetensors files that seglab reads, compared with the original before they count."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from seglab.checkpoint import check_weights, save_checkpoint
from seglab.errors import ArgumentError, CheckpointError
from seglab.files import check_free
from seglab.labels import VOC
from seglab.models import build
from seglab.models.weights import COCO

#: How far logits may differ from the original's, absolutely and relatively.
TOLERANCE = 1e-5


def read_pickle(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .pth file or a TorchScript archive, without running any code that is in it.

    A state dict, or a training checkpoint that holds one under "model", "model_state" or "state_dict"; the prefixes
    "module." (DataParallel) and "_orig_mod." (torch.compile) are taken off.

    Raises:
        CheckpointError: missing, cut off, without tensors, or a pickle that asks for more than tensors and numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: weights", found="no such file", expected="a .pth file or TorchScript archive",
                              fix="Check the path.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old formats: nothing that our user could do about them
        content = _read_torchscript(path) if _is_torchscript(path) else _read_state(path)
    for key in ("model", "model_state", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path}: weights", found=f"{type(content).__name__} without a state dict",
                              expected="a state dict: names and tensors", fix="Save model.state_dict().")
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name): tensor for name, tensor in content.items()}


def _read_torchscript(path: Path) -> Any:
    try:  # TorchScript's own reader makes tensors and TorchScript objects; it knows no Python
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
    except RuntimeError as error:
        raise _unreadable(path, error) from error


def _read_state(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # A file that is no pickle at all fails in the same way, only later.
        raise CheckpointError(f"{path}: refused",
                              found="no tensors, or a pickle that asks to run code or build objects",
                              expected="tensors, numbers, strings, lists and dicts, written whole by torch.save",
                              fix="Where you trust the file, load it there and save model.state_dict() again."
                              ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error


def convert(source: str | Path, target: str | Path, overwrite: bool = False) -> str:
    """Turn weights of torchvision's FCN or DeepLabV3 into a checkpoint for `load_model`.

    Torchvision's network and ours get the weights, strictly, and must give the same logits for a random picture of odd
    size. Only then is the file written.

    Args:
        source: see `read_pickle`.
        target: the .safetensors file to write.
        overwrite: replace `target` if it is there.

    Returns:
        one line that says what it was and how far the logits differ.

    Raises:
        CheckpointError: unreadable, of another model, not finite, or the logits differ.
        ArgumentError: `target` is there already, or has another ending.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise ArgumentError("target", found=target.name, expected="a name ending in .safetensors")
    check_free(target, "target", overwrite)
    weights = read_pickle(source)
    name, recipe = _recognise(weights, source)
    with torch.device("meta"):  # no random numbers, which take seconds, where all of them come from the file
        ours = build(**recipe).eval()
        theirs = torchvision.models.get_model(name, weights=None, weights_backbone=None, aux_loss=recipe["aux"],
                                              num_classes=recipe["num_classes"]).eval()
    check_weights(ours, weights, source)
    needed = ours.state_dict()
    filled = {key: tensor.to(needed[key].dtype) for key, tensor in weights.items()}  # float32, of half precision too
    for network in (ours, theirs):
        network.load_state_dict(filled, assign=True)
    picture = torch.randn(1, 3, 97, 131, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = theirs(picture), ours(picture)
    worst = max(float(((found[key] - expected[key]).abs() / (1 + expected[key].abs())).max()) for key in expected)
    if not worst <= TOLERANCE:
        raise CheckpointError(f"{source}: logits", found=f"a difference of {worst:.2g} from torchvision's {name}",
                              expected=f"at most {TOLERANCE}", fix="Please report this: nothing was written.")
    classes = VOC if recipe["num_classes"] == len(VOC) else None
    settings = {"model": recipe, "normalize": ours.normalize, "classes": list(classes.classes) if classes else None}
    save_checkpoint(target, {"settings": settings, "model": weights})
    return (f"{name}, {recipe['num_classes']} classes, {'with' if recipe['aux'] else 'without'} aux: logits differ by "
            f"at most {worst:.1g} from torchvision's; written to {target}")


def _recognise(weights: dict[str, Tensor], source: Path) -> tuple[str, dict[str, Any]]:
    """Torchvision's name and our recipe, from the names of the tensors."""
    blocks = {int(m[1]) for key in weights if (m := re.match(r"backbone\.layer3\.(\d+)\.", key))}
    backbone = {6: "resnet50", 23: "resnet101"}.get(len(blocks)) if "backbone.layer1.0.conv3.weight" in weights else (
        "mobilenet_v3_large" if "backbone.16.0.weight" in weights else None)
    # Both heads end in classifier.4; only DeepLabV3's begins with several convolutions side by side.
    name = "deeplabv3" if "classifier.0.convs.0.0.weight" in weights else "fcn"
    head = weights.get("classifier.4.weight")
    if head is None or backbone not in COCO[name]:
        names = [f"{name}_{backbone}" for name, backbones in COCO.items() for backbone in backbones]
        raise CheckpointError(f"{source}: architecture",
                              found=f"{len(weights)} tensors: {', '.join(list(weights)[:3])} …",
                              expected=f"torchvision's {', '.join(names[:-1])} or {names[-1]}",
                              fix="For your own model, save_file(model.state_dict(), path) of safetensors will do.")
    aux = any(key.startswith("aux_classifier.") for key in weights)
    return f"{name}_{backbone}", {"name": name, "num_classes": head.shape[0], "backbone": backbone, "aux": aux}


def _is_torchscript(path: Path) -> bool:
    """True for the zip archives of torch.jit.save: they hold code, and a file of constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    return CheckpointError(f"{path}: weights", found=f"{first} ({path.stat().st_size:,} bytes)",
                           expected="a whole .pth file or TorchScript archive", fix="Copy or download it again.")
