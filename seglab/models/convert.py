"""Torchvision's checkpoints as safetensors files that seglab reads, compared with the original before they count."""

from __future__ import annotations

import re
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
from seglab.models.pickles import read_pickle
from seglab.models.weights import COCO, cache_path, check_sha256, coco_weights, published_sha256

#: How far logits may differ from the original's, absolutely and relatively.
TOLERANCE = 1e-5


def convert(source: str | Path, target: str | Path, overwrite: bool = False) -> str:
    """Turn weights of torchvision's FCN or DeepLabV3 into a checkpoint for `load_model`.

    Their names may have a prefix ("module.", "model.", "net."). Tensors beside the network's, as of a loss, are left
    out, and so is an auxiliary head of another number of classes. Torchvision's network and ours get the weights,
    strictly, and must give the same logits for a random picture of odd size. Only then is the file written.

    Args:
        source: see `read_pickle`.
        target: the .safetensors file to write; `overwrite` replaces one that is there.

    Returns:
        one line that says what it was and how far the logits differ.

    Raises:
        CheckpointError: unreadable, of another model, not finite, or the logits differ.
        ArgumentError: `target` is there already, or has another ending; or the network has one output channel.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise ArgumentError("target", found=target.name, expected="a name ending in .safetensors")
    check_free(target, "target", overwrite)
    if source.is_file() and source.name in {cache_path(coco_weights(name, one)).name for name in COCO
                                            for one in COCO[name]}:
        check_sha256(source, published_sha256(source.name), "Download it again.")
    name, recipe, weights, about = _recognise(read_pickle(source), source)
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
    ours.card.label_set = VOC if recipe["num_classes"] == len(VOC) else None
    save_checkpoint(target, {"card": ours.card.to_dict(), "model": weights})
    return f"{name}, {about}: logits differ by at most {worst:.1g} from torchvision's; written to {target}"


def _recognise(found: dict[str, Tensor], source: Path) -> tuple[str, dict[str, Any], dict[str, Tensor], str]:
    """Torchvision's name, our recipe, the network's own tensors under their names, and a line about it."""
    prefix = min((key.removesuffix("classifier.4.weight") for key in found if
                  re.search(r"(^|\.)classifier\.4\.weight$", key)), key=len, default="")
    weights = {key.removeprefix(prefix): tensor for key, tensor in found.items()
               if key.startswith((f"{prefix}backbone.", f"{prefix}classifier.", f"{prefix}aux_classifier."))}
    blocks = {int(m[1]) for key in weights if (m := re.match(r"backbone\.layer3\.(\d+)\.", key))}
    backbone = {6: "resnet50", 23: "resnet101"}.get(len(blocks)) if "backbone.layer1.0.conv3.weight" in weights else (
        "mobilenet_v3_large" if "backbone.16.0.weight" in weights else None)
    # Both heads end in classifier.4; only DeepLabV3's begins with several convolutions side by side.
    name = "deeplabv3" if "classifier.0.convs.0.0.weight" in weights else "fcn"
    head, aux = weights.get("classifier.4.weight"), weights.get("aux_classifier.4.weight")
    if head is None or backbone not in COCO[name]:
        names = [f"{name}_{backbone}" for name, backbones in COCO.items() for backbone in backbones]
        raise CheckpointError(f"{source}: architecture",
                              found=f"{len(found)} tensors: {', '.join(list(found)[:3])} …",
                              expected=f"torchvision's {', '.join(names[:-1])} or {names[-1]}",
                              fix="For your own model, save_file(model.state_dict(), path) of safetensors will do.")
    if head.ndim != 4 or len(head) > 254:
        raise CheckpointError(f"{source}: classes", found=f"classifier.4.weight of the shape {tuple(head.shape)}",
                              expected="(classes, channels, 1, 1), with 2 to 254 classes",
                              fix="Masks hold 254 classes at most.")
    if len(head) == 1:
        raise ArgumentError(f"{source}: classes", found="one output channel",
                            expected="two channels, background and object: a pixel's class is its highest score",
                            fix="With logit x, [0, x] says the same: put a row of zeros before classifier.4.weight and "
                                "classifier.4.bias.")
    with_aux, others = aux is not None and len(aux) == len(head), len(found) - len(weights)
    about = f"{len(head)} classes, {'with' if with_aux else 'without'} aux"
    if aux is not None and not with_aux:
        about += f" (that in the file has {len(aux)})"
        weights = {key: tensor for key, tensor in weights.items() if not key.startswith("aux_classifier.")}
    about += f", without {others} tensors of other parts" * bool(others)
    recipe = {"name": name, "num_classes": len(head), "backbone": backbone, "aux": with_aux}
    return f"{name}_{backbone}", recipe, weights, about
