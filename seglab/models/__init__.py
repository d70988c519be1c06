"""Models, written out to be read, behind one function that builds them by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from seglab.errors import ArgumentError
from seglab.models.single_conv import SingleConv

_MODELS: dict[str, Callable[..., nn.Module]] = {"single_conv": SingleConv}

__all__ = ["SingleConv", "build", "list_models"]


def list_models() -> list[str]:
    """The names that `build` knows."""
    return sorted(_MODELS)


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Build a segmentation model by name; it returns {"out": (N, C, H, W)} at the input's size.

    Args:
        name: one of `list_models()`.
        num_classes: the number of classes C.
        options: the model's own arguments.

    Raises:
        ArgumentError: an unknown name, fewer than one class, or an option that the model does not have.

    Example:
        >>> build("single_conv", 23, relu=True)
        SingleConv(
          (conv): Conv2d(3, 23, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          (relu): ReLU()
        )
    """
    if name not in _MODELS:
        raise ArgumentError("model", found=repr(name), expected=" or ".join(list_models()))
    if num_classes < 1:
        raise ArgumentError("num_classes", found=num_classes, expected="1 or more")
    try:
        model = _MODELS[name](num_classes=num_classes, **options)
    except TypeError as error:
        raise ArgumentError(f"options of {name}", found=options, expected=str(error)) from error
    # What it takes to build it again; checkpoints carry it.
    model.recipe = {"name": name, "num_classes": num_classes, **options}
    return model
