"""Checks about the loops: an epoch of training, a test, and a learning rate for each part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError


class _Watched(nn.Module):
    """A small classifier with BatchNorm, which notes how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bn, self.last = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.graphs = self.trained = 0

    def forward(self, rows: Tensor) -> Tensor:
        self.graphs += torch.is_grad_enabled()
        self.trained += self.bn.training
        return self.last(F.relu(self.bn(self.first(rows))))


def _loader(count: int, batch_size: int = 4) -> DataLoader[Any]:
    rows = torch.randn(count, 4) + torch.arange(count)[:, None] / 4
    return DataLoader(TensorDataset(rows, (torch.arange(count) * 5 // 3) % 3), batch_size)


def _epochs_of(answer: Callable[..., Any], count: int, momentum: float) -> dict[str, Any]:
    """Two epochs of a small network that a test has left in eval mode: the losses, and what is left of it."""
    torch.manual_seed(0)
    model, loader = _Watched().eval(), _loader(count)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=momentum)
    losses = [answer(model, optimizer, loader) for _ in range(2)]
    if any(isinstance(loss, Tensor) and loss.requires_grad for loss in losses):
        raise RefusedError("the loss is returned, or summed up, with all that it was computed from, which fills "
                           "memory. Take the plain number: loss.item()")
    return {"the first epoch's loss": losses[0], "the second epoch's loss": losses[1],
            "the last layer's biases": model.last.bias.detach(),
            "BatchNorm's means": model.state_dict()["bn.running_mean"]}


def _epoch(model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader[Any], *, training: bool = True,
           order: str = "zero backward step", once: bool = False, weight: str = "pictures", batches: int | None = None,
           change: Callable[[Tensor], Tensor] = lambda x: x, reduction: str = "mean") -> float:
    """An epoch in parts, so that some can be left out or exchanged."""
    if training:
        model.train()
    total, seen, losses = 0.0, 0, []
    for number, (rows, labels) in enumerate(loader):
        if number == batches:
            break
        loss = F.cross_entropy(change(model(rows)), labels, reduction=reduction)
        for part in order.split():
            if part == "zero" and not (once and number):
                optimizer.zero_grad()
            elif part == "backward":
                loss.backward()
            elif part == "step":
                optimizer.step()
        losses.append(loss.item())
        total, seen = total + loss.item() * len(labels), seen + len(labels)
    return {"pictures": total / seen, "batches": sum(losses) / len(losses), "last": losses[-1], "sum": sum(losses),
            "total": total, "full": total / (4 * len(losses)), "equal": 4 * sum(losses) / seen,
            "short": sum(losses) / seen, "long": total / len(losses)}[weight]


train_epoch = Exercise(
    "train_epoch",
    [Case("two batches of four", (8, 0.0), ""), Case("the last batch is smaller: four, four, two", (10, 0.0), ""),
     Case("an optimizer with momentum", (10, 0.9), "")],
    right=lambda model, optimizer, loader: _epoch(model, optimizer, loader), run=_epochs_of,
    mistakes={
        "The network stays in eval mode, in which the last test left it. Begin with model.train().":
            lambda *a: _epoch(*a, training=False),
        "Gradients add up from step to step: optimizer.zero_grad() is missing, or its brackets are.":
            lambda *a: _epoch(*a, order="backward step"),
        "Gradients are cleared once an epoch. Clear them before every step: zero_grad() belongs into the loop.":
            lambda *a: _epoch(*a, once=True),
        "The weights stay as they are: loss.backward() or optimizer.step() is missing, or the gradients are cleared "
        "between the two.": [lambda *a: _epoch(*a, order="zero backward"),
                             lambda *a: _epoch(*a, order="backward zero step")],
        "This is the mean of the batches' losses. The last batch is smaller: weight each loss by the number of its "
        "pictures.": lambda *a: _epoch(*a, weight="batches"),
        "This is the loss of the last batch. Return the mean over all pictures of the epoch.":
            lambda *a: _epoch(*a, weight="last"),
        "This is the sum of the batches' losses. Return the mean over the pictures.":
            lambda *a: _epoch(*a, weight="sum"),
        "This is the sum over the pictures. Divide it by their number.": lambda *a: _epoch(*a, weight="total"),
        "This divides by batches times batch size. The last batch is smaller: divide by the number of pictures.":
            lambda *a: _epoch(*a, weight="full"),
        "Every batch counts as a full one. The last is smaller: multiply by the number of its pictures, len(labels).":
            lambda *a: _epoch(*a, weight="equal"),
        "The batches' mean losses are divided by the number of pictures. Multiply each by its number of pictures "
        "first.": lambda *a: _epoch(*a, weight="short"),
        "The sum over the pictures is divided by the number of batches. Divide by the number of pictures: "
        "len(loader.dataset).": lambda *a: _epoch(*a, weight="long"),
        "The softmax is taken twice: F.cross_entropy has one in it, and wants plain logits.":
            lambda *a: _epoch(*a, change=lambda x: x.softmax(1)),
        "The gradient is that of a sum. F.cross_entropy should take the mean of the batch, as it does by itself.":
            lambda *a: _epoch(*a, reduction="sum"),
        "Only the first batch is used. Is `return` inside of the loop?": lambda *a: _epoch(*a, batches=1),
        "The last batch is left out.":
            lambda model, optimizer, loader: _epoch(model, optimizer, loader, batches=len(loader) - 1)},
    errors={"class probabilities, got": "F.cross_entropy wants the logits first, and then the labels."},
    hints=("The step is that of lesson 1, for every batch of the loader. What must be summed, so that a smaller batch "
           "counts less?",
           "model.train() first. In the loop: zero_grad, logits, F.cross_entropy, backward, step. Then total += "
           "loss.item() * len(labels), as the loss is a mean over the batch. At the end divide by the number of "
           "pictures.",
           "model.train()\ntotal = 0.0\nfor images, labels in loader:\n    optimizer.zero_grad()\n"
           "    loss = F.cross_entropy(model(images), labels)\n    loss.backward()\n    optimizer.step()\n"
           "    total += loss.item() * len(labels)\nreturn total / len(loader.dataset)"))


def _tested(answer: Callable[..., Any], count: int, training: bool) -> dict[str, Any]:
    """What a test says of a network that was in some mode, how it called it, and in which mode it left it."""
    torch.manual_seed(1)  # with which the last batch has a right answer
    model, loader = _Watched(), _loader(count)
    for rows, _ in loader:
        model(rows)  # statistics that are not those of a single batch
    model.train(training)
    model.graphs = model.trained = 0
    found = answer(model, loader)
    if found is None:
        raise RefusedError("it returns nothing. Is there a `return`?")
    return {"accuracy": found, "batches in train mode": model.trained, "batches with gradients": model.graphs,
            "in train mode afterwards": int(model.training)}


def _test(model: nn.Module, loader: DataLoader[Any], *, mode: bool = False, graph: bool = False,
          back: bool | None = None, weight: str = "pictures", keep: slice = slice(None)) -> float:
    before = model.training
    model.train(mode)
    hits, sizes = [], []
    with torch.set_grad_enabled(graph):
        for rows, labels in loader:
            hits.append((model(rows).argmax(1) == labels).sum().item())
            sizes.append(len(labels))
    model.train(before if back is None else back)
    kept, counts = hits[keep], sizes[keep]
    return {"pictures": sum(kept) / sum(counts), "count": sum(kept), "full": sum(kept) / (4 * len(kept)),
            "batches": sum(h / n for h, n in zip(kept, counts, strict=True)) / len(kept),
            "wrong": 1 - sum(kept) / sum(counts), "long": sum(kept) / len(kept)}[weight]


test_accuracy = Exercise(
    "test_accuracy",
    [Case("two batches of four, after training", (8, True), ""), Case("the last batch is smaller", (10, True), ""),
     Case("a network that was in eval mode before", (10, False), "")],
    right=lambda model, loader: _test(model, loader), run=_tested,
    mistakes={
        "The network is tested in train mode: BatchNorm takes the means of the batch. Call model.eval() first.":
            [lambda model, loader: _test(model, loader, mode=model.training), lambda *a: _test(*a, mode=True)],
        "The graph for a backward pass is kept, which nobody needs here. Test in torch.no_grad().":
            lambda *a: _test(*a, graph=True),
        "Neither eval nor no_grad: call model.eval(), and test in torch.no_grad().":
            lambda model, loader: _test(model, loader, mode=model.training, graph=True),
        "The network stays in eval mode. Put it back into the mode it was in: was = model.training at the beginning, "
        "model.train(was) at the end.": lambda *a: _test(*a, back=False),
        "The graph for a backward pass is kept (use torch.no_grad()), and the network stays in eval mode (put it back "
        "into the mode it was in).": lambda *a: _test(*a, graph=True, back=False),
        "It is in train mode afterwards, and was not before. Keep the mode: was = model.training, and at the end "
        "model.train(was).": lambda *a: _test(*a, back=True),
        "This is the mean of the batches' accuracies. The last batch is smaller: count the right answers of all "
        "batches, and divide once.": lambda *a: _test(*a, weight="batches"),
        "This divides by batches times batch size. Divide by the number of pictures.":
            lambda *a: _test(*a, weight="full"),
        "This is the number of right answers. Divide it by the number of pictures.":
            lambda *a: _test(*a, weight="count"),
        "This is the share of wrong answers.": lambda *a: _test(*a, weight="wrong"),
        "The number of right answers is divided by the number of batches. Divide by the number of pictures: "
        "len(loader.dataset).": lambda *a: _test(*a, weight="long"),
        "Only the last batch is counted.": lambda *a: _test(*a, keep=slice(-1, None)),
        "Only the first batch is counted. Is `return` inside of the loop?": lambda *a: _test(*a, keep=slice(1)),
        "The last batch is left out.": lambda *a: _test(*a, keep=slice(-1))},
    errors={"must match the size": "Logits are (N, C). The best class of each picture is logits.argmax(dim=1)."},
    hints=("Switch to eval mode, and record no gradients. Count right answers in all batches, then divide once.",
           "was = model.training; model.eval(). In torch.no_grad(), add (model(images).argmax(dim=1) == labels).sum() "
           "for each batch. At the end model.train(was), and divide by len(loader.dataset).",
           "was = model.training\nmodel.eval()\nhits = 0\nwith torch.no_grad():\n    for images, labels in loader:\n"
           "        hits += (model(images).argmax(dim=1) == labels).sum().item()\nmodel.train(was)\n"
           "return hits / len(loader.dataset)"))


def _rates_of(answer: Callable[..., Any], sizes: Sequence[int], lr: float, decay: float) -> dict[str, Any]:
    """The rate that an optimizer gives to each part."""
    parts = [[nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(1))] for size in sizes]
    found = answer(parts, lr, decay)
    if found is None:
        raise RefusedError("it returns nothing. Is there a `return`?")
    groups = list(found)
    if not all(isinstance(group, dict) and {"params", "lr"} <= group.keys() for group in groups):
        raise RefusedError('each group should be a dictionary: {"params": …, "lr": …}')
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
            lambda parts, lr, decay: _rates(parts, lambda steps: lr * decay ** (len(parts) - 1 - steps)),
        "The head's rate is lr itself, and is multiplied once too often here.":
            lambda parts, lr, decay: _rates(parts, lambda steps: lr * decay ** (steps + 1)),
        "All parts have the same rate.": lambda parts, lr, decay: _rates(parts, lambda steps: lr),
        "All parts below the head have one and the same rate. It falls from part to part.":
            lambda parts, lr, decay: _rates(parts, lambda steps: lr * decay ** min(steps, 1)),
        "The rates grow from the head to the picture. Multiply by decay, instead of dividing by it.":
            lambda parts, lr, decay: _rates(parts, lambda steps: lr / decay**steps),
        "The rate is multiplied by decay and by the number of steps. It is decay to the power of the steps: **.":
            lambda parts, lr, decay: _rates(parts, lambda steps: lr * (decay * steps if steps else 1)),
        "The steps are taken off evenly. Each rate is decay times the next one.":
            lambda parts, lr, decay: _rates(parts, lambda steps: lr * (1 - (1 - decay) * steps)),
        "Only the head has a group.": lambda parts, lr, decay: _rates(parts, lambda steps: lr)[-1:],
        "The head has no group.": lambda parts, lr, decay: _rates(parts, lambda steps: lr * decay**steps)[:-1],
        "The first part has no group.": lambda parts, lr, decay: _rates(parts, lambda steps: lr * decay**steps)[1:],
        "Each part has one parameter in its group. Give the whole list: \"params\": part.":
            lambda parts, lr, decay: _rates([part[:1] for part in parts], lambda steps: lr * decay**steps)},
    errors={"empty parameter list": "There is no group.",
            "can't optimize": '"params" should be the list of a part\'s parameters.'},
    hints=("The last part gets lr. How many steps is each of the others away from it?",
           "steps = len(parts) - 1 - number is 0 for the last part. Its rate is lr * decay**steps. A group is "
           '{"params": part, "lr": rate}.',
           "groups = []\nfor number, part in enumerate(parts):\n    steps = len(parts) - 1 - number\n"
           '    groups.append({"params": part, "lr": lr * decay**steps})\nreturn groups'))
