"""Checks about borrowing a network: its new head, and the body that stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError


class _Classifier(nn.Module):
    """A small classifier of ten classes, whose last layer has a name of its own."""

    def __init__(self, last: str, features: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, features, 3), nn.BatchNorm2d(features)
        self.last = last
        setattr(self, last, nn.Linear(features, 10))

    def forward(self, images: Tensor) -> Tensor:
        return getattr(self, self.last)(F.relu(self.bn(self.conv(images))).mean((2, 3)))  # (N, D) -> (N, C)


def _swapped(answer: Callable[..., Any], last: str, features: int, num_classes: int) -> dict[str, Any]:
    """What is compared of a network with a new head: what trains, and the logits with known weights in it."""
    found = answer(_Classifier(last, features), last, num_classes)
    if found is None:
        raise RefusedError("it returns nothing. The last line should be: return model")
    if not isinstance(found, nn.Module):
        raise RefusedError(f"it returns a {type(found).__name__}, and should return the network")
    if isinstance(found, nn.Linear):
        raise RefusedError("it returns the new layer alone. Return the whole network: return model")
    if not hasattr(found, last):
        raise RefusedError(f"the network that it returns has no layer called {last}. Exchange the layer in the given "
                           "one")
    pictures = torch.linspace(0, 1, 2 * 3 * 25).reshape(2, 3, 5, 5)
    found.eval()
    with torch.no_grad():
        found(pictures)  # some layers have no parameters before
        trains = [value for value in found.parameters() if value.requires_grad]
        for value in trains:  # the same weights, however they were drawn
            value.copy_(torch.linspace(-1, 1, value.numel()).reshape(value.shape))
        logits = found(pictures)
    return {"parameters that train": sum(value.numel() for value in trains), "shape of the logits": list(logits.shape),
            "logits": logits}


def _swap(model: Any, name: str, num_classes: int, *, frozen: Callable[[Tensor], bool] = lambda value: True,
          last: bool = False, bias: bool = True, to: str | None = None,
          layer: Callable[[nn.Module, nn.Module], nn.Module] = lambda old, new: new) -> Any:
    old = getattr(model, name)
    new = layer(old, nn.Linear(10 if last else old.in_features, num_classes, bias=bias))
    for value in model.parameters():
        value.requires_grad = not frozen(value)
    setattr(model, to or name, new)
    return model


def _all_frozen(model: Any, name: str, num_classes: int) -> Any:
    return _swap(model, name, num_classes).requires_grad_(False)


swap_head = Exercise(
    "swap_head",
    [Case("the last layer is called fc; 4 features, 2 classes", ("fc", 4, 2), ""),
     Case("the last layer is called classifier; 6 features, 5 classes", ("classifier", 6, 5), "")],
    right=lambda model, name, num_classes: _swap(model, name, num_classes), run=_swapped,
    mistakes={
        "Nothing is frozen. Set value.requires_grad = False for each value of model.parameters(), or call "
        "model.requires_grad_(False), with the underscore.": lambda *a: _swap(*a, frozen=lambda value: False),
        "The new layer is frozen, too. Freeze first, and then put in the new layer.": _all_frozen,
        "The old layer still gives the answer, as model.name = … makes an attribute that is called name. "
        "setattr(model, name, layer) is meant.": lambda *a: _swap(*a, to="name_of_no_layer"),
        "It always puts the new layer into model.fc. The layer's name comes as an argument: setattr(model, name, "
        "layer).": lambda *a: _swap(*a, to="fc"),
        "It always puts the new layer into model.classifier. The layer's name comes as an argument: setattr(model, "
        "name, layer).": lambda *a: _swap(*a, to="classifier"),
        "The new layer has no bias.": lambda *a: _swap(*a, bias=False),
        "Only the weights are frozen; the biases still train.": lambda *a: _swap(*a, frozen=lambda x: x.ndim > 1),
        "BatchNorm's weights and biases still train. Freeze all parameters.":
            lambda model, name, n: _swap(model, name, n, frozen=lambda x: all(x is not p for p in [
                *model.bn.parameters()])),
        "The new layer stands behind the old one. Put it in the old one's place.":
            lambda *a: _swap(*a, last=True, layer=nn.Sequential),
        "It always makes two classes: use num_classes.": lambda model, name, n: _swap(model, name, 2),
        "There is a softmax behind the new layer. The network should give logits: the loss has the softmax in it.":
            lambda *a: _swap(*a, layer=lambda old, new: nn.Sequential(new, nn.Softmax(1))),
        "There is no new layer: out_features is only a note, and the old weights stay. Make a new nn.Linear.":
            lambda model, name, n: model.requires_grad_(False)},
    errors={"shapes cannot be multiplied": "The new layer takes another number of features than the old one did: "
                                           "getattr(model, name).in_features.",
            "has no attribute 'fc'": "The last layer has another name here. getattr(model, name) gives the layer.",
            "has no attribute 'classifier'": "The last layer has another name here. getattr(model, name) gives it.",
            "has no attribute 'name'": "getattr(model, name) gives the layer whose name is in the variable name."},
    hints=("First freeze everything, then make the new layer: a new layer trains. How many features does the old layer "
           "take?",
           "model.requires_grad_(False) freezes all. old = getattr(model, name) is the old layer, old.in_features the "
           "number of its features, and setattr(model, name, layer) puts a layer in its place.",
           "model.requires_grad_(False)\nold = getattr(model, name)\n"
           "setattr(model, name, nn.Linear(old.in_features, num_classes))\nreturn model"))


class _Frozen(nn.Module):
    """The right answer, with what can be wrong about it."""

    def __init__(self, body: nn.Module, gradients: Callable[[str], bool] = lambda name: False,
                 kept: tuple[type[nn.Module], ...] = (nn.Module,), momentum: float | None = None) -> None:
        super().__init__()
        self.body, self.kept = body, kept
        for name, value in body.named_parameters():
            value.requires_grad = gradients(name)
        for layer in body.modules():
            if isinstance(layer, nn.BatchNorm2d) and momentum is not None:
                layer.momentum = momentum

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)

    def train(self, mode: bool = True) -> _Frozen:
        super().train(mode)
        for layer in self.body.modules():
            if isinstance(layer, self.kept):
                layer.training = False
        return self


def _steps_on(answer: Callable[..., Any], modes: Sequence[bool]) -> dict[str, Any]:
    """What is left of a body, and what a head on it has learned, after a step in each of some modes."""
    if isinstance(answer, nn.Module):
        raise RefusedError("pass the class itself, without brackets, instead of a network that was made of it")
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten())
    images, labels = torch.rand(6, 3, 5, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    part = answer(body)
    if not isinstance(part, nn.Module):
        raise RefusedError(f"it makes a {type(part).__name__}, which is no nn.Module: class …(nn.Module)")
    if not isinstance(part.train(), nn.Module):
        raise RefusedError("train returns nothing. As in every module, its last line should be: return self")
    head = nn.Linear(4, 3)
    model = nn.Sequential(part, head)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for mode in modes:
        model.train(mode)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return {"parameters of the body that train": sum(p.numel() for p in body.parameters() if p.requires_grad),
            "BatchNorm layers in train mode": int(body[1].training),
            "Dropout layers in train mode": int(body[3].training), "running means": body.state_dict()["1.running_mean"],
            "biases of the head": head.bias.detach()}


_TRAINS = True, True
frozen = Exercise(
    "frozen",
    [Case("two steps in train mode", (_TRAINS,), ""), Case("tested in eval mode, then back in train mode", (
        (True, False, True),), "")],
    right=_Frozen, run=_steps_on,
    mistakes={
        "BatchNorm is in train mode: whoever calls model.train() puts every layer into it. In your train, call "
        "super().train(mode) first, and then self[0].eval().": lambda body: _Frozen(body, kept=()),
        "The body's parameters still train. In __init__: body.requires_grad_(False).":
            lambda body: _Frozen(body, lambda name: True),
        "Nothing is frozen: neither the parameters, in __init__, nor BatchNorm, in train.":
            lambda body: _Frozen(body, lambda name: True, kept=()),
        "Dropout is still at work: it sets some features to 0 at random. Put the whole body into eval mode.":
            lambda body: _Frozen(body, kept=(nn.BatchNorm2d,)),
        "BatchNorm's means stay, but in train mode it normalises with those of the batch. Put the body into eval "
        "mode.": lambda body: _Frozen(body, kept=(), momentum=0.0),
        "BatchNorm's own weights and biases still train. Freeze all parameters of the body.":
            lambda body: _Frozen(body, lambda name: name.startswith("1.")),
        "The biases of the body still train. Freeze all of its parameters.":
            lambda body: _Frozen(body, lambda name: name.endswith("bias"))},
    errors={"maximum recursion depth": "train calls itself without end. self.eval() calls self.train(False): write "
                                       "super().train(mode), and self[0].eval() for the body.",
            "train() takes 1 positional": "Leave the lines with `def` as they are given: train(self, mode=True).",
            "'super' object has no attribute": "super().train(mode), with its brackets."},
    hints=("Two things are to be stopped: gradients, once and for all, and BatchNorm, each time that somebody calls "
           "train().",
           "In __init__: body.requires_grad_(False). In train: first what every module does, super().train(mode), and "
           "then self[0].eval(), the body's. Return self.",
           "class Frozen(nn.Sequential):\n    def __init__(self, body):\n        super().__init__(body)\n"
           "        body.requires_grad_(False)\n\n"
           "    def train(self, mode=True):\n        super().train(mode)\n        self[0].eval()\n"
           "        return self"))
