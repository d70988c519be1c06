"""Checks about borrowing a network: its new head, the body that stays as it is, and a learning rate for each part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.checks.networks import module_of


class _Classifier(nn.Module):
    """A small classifier of ten classes, whose last layer has a name of its own."""

    def __init__(self, last: str, features: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, features, 3), nn.BatchNorm2d(features)
        nn.init.uniform_(self.bn.weight)  # so that it matters
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
        "There is a ReLU behind the new layer. The network should give logits, which may be negative.":
            lambda *a: _swap(*a, layer=lambda old, new: nn.Sequential(new, nn.ReLU())),
        "The new layer has as many classes as the old one. Make it with num_classes.":
            lambda model, name, n: _swap(model, name, 10),
        "There is no new layer in the network. Make an nn.Linear, and put it in the old one's place: setattr(model, "
        "name, layer). (A new value for the variable, or for out_features, changes nothing.)": [
            lambda model, name, n: model.requires_grad_(False), lambda model, name, n: model]},
    errors={"shapes cannot be multiplied": "The new layer takes another number of features than the old one did: "
                                           "nn.Linear(getattr(model, name).in_features, num_classes).",
            "'str' object has no attribute": "name is only a text, such as \"fc\". The layer is getattr(model, name).",
            "subscriptable": "A network has no brackets for its layers: getattr(model, name).",
            "item assignment": "A network has no brackets for its layers: setattr(model, name, layer).",
            "attribute name must be string": "The model comes first, and then the name: setattr(model, name, layer).",
            "'generator' object has no attribute": "Each parameter has its own switch: for value in "
                                                   "model.parameters(): value.requires_grad = False.",
            "'method' object is not iterable": "parameters wants its brackets: model.parameters().",
            "argument 'requires_grad'": "nn.Linear takes no requires_grad. A new layer trains anyway.",
            "as child module": "What is put in its place must be a layer: nn.Linear(features, num_classes).",
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
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten())
    images, labels = torch.rand(6, 3, 5, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    part = module_of(answer, body)
    if (found := part.train()) is not part:
        raise RefusedError("as in every module, the last line of train should be: return self. It returns "
                           + ("nothing" if found is None else f"a {type(found).__name__}"))
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
            "train() missing 1": "Leave the lines with `def` as they are given: train(self, mode=True).",
            "'super'": "super().train(mode), with its brackets.",
            "has no attribute 'body'": "In train, the body is self[0].",
            "'body' is not defined": "body is known in __init__ alone. In train, it is self[0].",
            "'generator' object has no attribute": "Each parameter has its own switch: body.requires_grad_(False) sets "
                                                   "all of them.",
            "is out of range": "super().__init__(body) makes the body self[0]. Leave that line as it is given."},
    hints=("Two things are to be stopped: gradients, once and for all, and BatchNorm, each time that somebody calls "
           "train().",
           "In __init__: body.requires_grad_(False). In train: first what every module does, super().train(mode), and "
           "then self[0].eval(), the body's. Return self.",
           "class Frozen(nn.Sequential):\n    def __init__(self, body):\n        super().__init__(body)\n"
           "        body.requires_grad_(False)\n\n"
           "    def train(self, mode=True):\n        super().train(mode)\n        self[0].eval()\n"
           "        return self"))


def _rates_of(answer: Callable[..., Any], sizes: Sequence[int], lr: float, decay: float) -> dict[str, Any]:
    """The rate that an optimizer gives to each part."""
    parts = [[nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(1))] for size in sizes]
    firsts = [id(part[0]) for part in parts]
    found = answer(parts, lr, decay)
    if found is None:
        raise RefusedError("it returns nothing. Is there a `return`?")
    if not isinstance(found, Iterable):
        raise RefusedError(f"it returns a {type(found).__name__}, and should return a list of dictionaries")
    groups = list(found)
    if [id(part[0]) if part else 0 for part in parts] != firsts:
        raise RefusedError("it changes the list `parts`, which is used again. Work on a copy, as reversed(parts) or "
                           "parts[::-1] make one")
    if not all(isinstance(group, dict) and {"params", "lr"} <= group.keys() for group in groups):
        raise RefusedError('each group should be a dictionary: {"params": …, "lr": …}')
    if not all(isinstance(group["lr"], (int, float, np.number, Tensor)) for group in groups):
        raise RefusedError('each "lr" should be one number')
    rates = {id(value): group["lr"] for group in torch.optim.SGD(groups, lr=99.0).param_groups
             for value in group["params"]}
    return {"parameters that have a rate": len(rates),
            "rates": [float(rates.get(id(part[0]), torch.nan)) for part in parts]}


def _rates(parts: Sequence[Sequence[nn.Parameter]], rate: Callable[[int], float]) -> list[dict[str, Any]]:
    """A group for each part; `rate` is called with the steps from the head, 0 for the head itself."""
    return [{"params": part, "lr": rate(len(parts) - 1 - number)} for number, part in enumerate(parts)]


layer_rates = Exercise(
    "layer_rates",
    [Case("two parts, the head the last", ((3, 4), 0.1, 0.5), "lr 0.1, decay 0.5"),
     Case("four parts", ((2, 2, 2, 2), 0.01, 0.7), "lr 0.01, decay 0.7"),
     Case("decay 1: the same rate for all", ((3, 4, 5), 0.1, 1.0), "lr 0.1, decay 1")],
    right=lambda parts, lr, decay: _rates(parts, lambda steps: lr * decay**steps), run=_rates_of,
    mistakes={
        "The rates fall in the wrong direction. The last part, the head, has the largest.":
            [lambda parts, lr, decay, more=more: _rates(parts, lambda steps: lr * decay ** (len(parts) - more - steps))
             for more in (1, 0)],
        "The head's rate is lr itself, and is multiplied once too often here.":
            lambda parts, lr, decay: _rates(parts, lambda steps: lr * decay ** (steps + 1)),
        "All parts have the same rate.": lambda parts, lr, decay: _rates(parts, lambda steps: lr),
        "All parts below the head have one and the same rate. It falls from part to part.":
            lambda parts, lr, decay: _rates(parts, lambda steps: lr * decay ** min(steps, 1)),
        "The rates grow from the head to the picture. Multiply by decay, instead of dividing by it.":
            lambda parts, lr, decay: _rates(parts, lambda steps: lr / decay**steps),
        "The rate is multiplied by decay and by the number of steps. It is decay to the power of the steps: **.":
            [lambda parts, lr, decay, head=head: _rates(parts, lambda steps: lr * (decay * steps if steps else head))
             for head in (1, 0)],
        "lr is raised to a power, too. Only decay is: lr * decay**steps.":
            lambda parts, lr, decay: _rates(parts, lambda steps: (lr * decay) ** steps),
        "lr is missing. The last part has lr itself: lr * decay**steps.":
            lambda parts, lr, decay: _rates(parts, lambda steps: decay**steps),
        "The first part has lr itself, and the rates grow from it. It is the last part, the head, that has lr.":
            lambda parts, lr, decay: _rates(parts, lambda steps: lr / decay ** (len(parts) - 1 - steps)),
        "The steps are taken off evenly. Each rate is decay times the next one.":
            lambda parts, lr, decay: _rates(parts, lambda steps: lr * (1 - (1 - decay) * steps)),
        "Only the head has a group.": lambda parts, lr, decay: _rates(parts, lambda steps: lr)[-1:],
        "The head has no group.": lambda parts, lr, decay: _rates(parts, lambda steps: lr * decay**steps)[:-1],
        "The first part has no group.": lambda parts, lr, decay: _rates(parts, lambda steps: lr * decay**steps)[1:],
        "Each part has one parameter in its group. Give the whole list: \"params\": part.":
            lambda parts, lr, decay: _rates([part[:1] for part in parts], lambda steps: lr * decay**steps)},
    errors={"empty parameter list": "There is no group.",
            "can't optimize": '"params" should be the list of a part\'s parameters.',
            "can only optimize Tensors": '"params" should be the list of one part\'s parameters: "params": part.',
            "'int' object is not iterable": '"params" should be the list of a part\'s parameters: "params": part.',
            "more than one parameter group": "All groups have the same parameters. Make a new dictionary in each round "
                                             'of the loop: groups.append({"params": part, "lr": rate}).'},
    hints=("The last part gets lr. How many steps is each of the others away from it?",
           "steps = len(parts) - 1 - number is 0 for the last part. Its rate is lr * decay**steps. A group is "
           '{"params": part, "lr": rate}.',
           "groups = []\nfor number, part in enumerate(parts):\n    steps = len(parts) - 1 - number\n"
           '    groups.append({"params": part, "lr": lr * decay**steps})\nreturn groups'))
