"""Checks about the loops: an epoch of training, and a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError

_BATCHES = {"must be Tensor, not list": "A loader gives pairs: for images, labels in loader.",
            "got 1D input": "The network wants batches. Go through loader itself, not loader.dataset.",
            "'DataLoader' object is not callable": "A loader is no function: for images, labels in loader."}


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
           late: bool = False, change: Callable[[Tensor], Tensor] = lambda x: x, reduction: str = "mean",
           loss_of: Callable[..., Tensor] = F.cross_entropy) -> float:
    """An epoch in parts, so that some can be left out or exchanged."""
    if training:
        model.train()
    total, seen, losses = 0.0, 0, []
    for number, (rows, labels) in enumerate(loader):
        if number == batches:
            break
        loss = loss_of(change(model(rows)), labels, reduction=reduction)
        for part in order.split():
            if part == "zero" and not (once and number):
                optimizer.zero_grad()
            elif part == "backward":
                loss.backward()
            elif part == "step":
                optimizer.step()
        losses.append(loss.item())
        total, seen = total + loss.item() * len(labels), seen + len(labels)
    if late:
        optimizer.step()
    count, last = len(loader.dataset), len(labels)  # type: ignore[arg-type]
    return {"pictures": total / seen, "batches": sum(losses) / len(losses), "last": losses[-1], "sum": sum(losses),
            "total": total, "full": total / (4 * len(losses)), "equal": 4 * sum(losses) / seen,
            "short": sum(losses) / seen, "long": total / len(losses), "of all": total / count,
            "last of all": losses[-1] * last / count, "by the last": total / last}[weight]


train_epoch = Exercise(
    "train_epoch",
    [Case("two batches of four", (8, 0.0), ""), Case("the last batch is smaller: four, four, two", (10, 0.0), ""),
     Case("an optimizer with momentum", (10, 0.9), "")],
    right=lambda model, optimizer, loader: _epoch(model, optimizer, loader), run=_epochs_of,
    mistakes={
        "The network stays in eval mode, in which the last test left it. Begin with model.train().":
            [lambda *a: _epoch(*a, training=False), lambda model, *a: (_epoch(model, *a, training=False),
                                                                       model.train())[0]],
        "Gradients add up from step to step: optimizer.zero_grad() is missing, or its brackets are.":
            lambda *a: _epoch(*a, order="backward step"),
        "Gradients are cleared once an epoch. Clear them before every step: zero_grad() belongs into the loop.":
            lambda *a: _epoch(*a, once=True),
        "The weights stay as they are: loss.backward() or optimizer.step() is missing, or the gradients are cleared "
        "between the two.": [lambda *a: _epoch(*a, order="zero backward"),
                             lambda *a: _epoch(*a, order="backward zero step")],
        "There is one step an epoch. Take one for each batch: optimizer.step() belongs into the loop.": [
            lambda *a: _epoch(*a, order="zero backward", late=True),
            lambda *a: _epoch(*a, order="zero backward", once=True, late=True)],
        "This is the mean of the batches' losses. The last batch is smaller: weight each loss by the number of its "
        "pictures.": lambda *a: _epoch(*a, weight="batches"),
        "This is the loss of the last batch. Return the mean over all pictures of the epoch: add up with +=.":
            [lambda *a: _epoch(*a, weight="last"), lambda *a: _epoch(*a, weight="last of all")],
        "The sum is divided by the size of the last batch. Divide by the number of all pictures: "
        "len(loader.dataset).": lambda *a: _epoch(*a, weight="by the last"),
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
            [lambda *a: _epoch(*a, reduction="sum"), lambda *a: _epoch(*a, reduction="sum", weight="short")],
        "F.nll_loss takes the logits as they are. F.cross_entropy has the softmax in it.":
            lambda *a: _epoch(*a, loss_of=F.nll_loss),
        "Only the first batch is used. Is `return` inside of the loop?":
            [lambda *a: _epoch(*a, batches=1), lambda *a: _epoch(*a, batches=1, weight="of all")],
        "The last batch is left out.": [
            lambda model, optimizer, loader, w=w: _epoch(model, optimizer, loader, batches=len(loader) - 1, weight=w)
            for w in ("pictures", "of all")]},
    errors={"Boolean value of Tensor": "nn.CrossEntropyLoss(…) makes a loss function, and computes no loss. Write "
                                       "F.cross_entropy(logits, labels).",
            "class probabilities, got": "F.cross_entropy wants the logits first, not the classes of argmax, and then "
                                        "the labels.",
            "not implemented for 'Long'": "Are the arguments exchanged? The logits come first, then the labels.",
            "target dtype": "The labels are class numbers, int64. Leave them as they are.",
            **_BATCHES,
            "a second time": "backward was called before for the same loss. Call it once a batch, for the loss of that "
                             "batch alone.",
            "' object has no attribute 'backward'": "It is the loss that goes backward, as a tensor: loss.backward(), "
                                                    "before any .item().",
            "' object has no attribute 'step'": "It is the optimizer that takes the step: optimizer.step()."},
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
    if isinstance(found, Tensor) and found.numel() > 1:
        raise RefusedError("it returns a value for each picture of a batch. Count the right ones: .sum()")
    if not torch.is_grad_enabled():
        raise RefusedError("gradients are still off afterwards, so that nothing can be trained. with torch.no_grad(): "
                           "switches them off for its block alone")
    return {"accuracy": found, "batches in train mode": model.trained, "batches with gradients": model.graphs,
            "layers in train mode afterwards": sum(layer.training for layer in model.modules())}


def _test(model: nn.Module, loader: DataLoader[Any], *, mode: bool = False, graph: bool = False,
          back: bool | None = None, weight: str = "pictures", keep: slice = slice(None), flag: bool = False,
          said: Callable[[Tensor], Tensor] = lambda logits: logits.argmax(1)) -> float:
    before = model.training
    model.train(mode)
    hits, sizes = [], []
    with torch.set_grad_enabled(graph):
        for rows, labels in loader:
            hits.append((said(model(rows)) == labels).sum().item())
            sizes.append(len(labels))
    if flag:
        model.training = before
    else:
        model.train(before if back is None else back)
    kept, counts = hits[keep], sizes[keep]
    return {"pictures": sum(kept) / sum(counts), "count": sum(kept), "full": sum(kept) / (4 * len(kept)),
            "of all": sum(kept) / sum(sizes), "by the last": sum(kept) / sizes[-1],
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
        "model.training = … sets a note, and no layer's mode. Call model.train(was).": lambda *a: _test(*a, flag=True),
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
        "This is divided by the size of the last batch. Divide by the number of all pictures: len(loader.dataset).":
            lambda *a: _test(*a, weight="by the last"),
        "argmax() without an axis gives one number for the whole batch. The best class of each picture is "
        "logits.argmax(dim=1).": lambda *a: _test(*a, said=torch.argmax),
        "No answer counts as right. Compare classes with the labels: argmax(dim=1) gives classes, and "
        "max(dim=1).values the logits themselves. (And divide with /, as // gives whole numbers.)":
            lambda *a: _test(*a, said=lambda logits: logits.amax(1)),
        "Only the last batch is counted. Add up with +=.": [
            lambda *a, w=w: _test(*a, keep=slice(-1, None), weight=w) for w in ("pictures", "of all")],
        "Only the first batch is counted. Is `return` inside of the loop?": [
            lambda *a, w=w: _test(*a, keep=slice(1), weight=w) for w in ("pictures", "of all")],
        "The last batch is left out.": [
            lambda *a, w=w: _test(*a, keep=slice(-1), weight=w) for w in ("pictures", "of all")]},
    errors={"must match the size": "Logits are (N, C). The best class of each picture is logits.argmax(dim=1).",
            **_BATCHES,
            "context manager": "no_grad wants its brackets: with torch.no_grad():",
            "expected to be boolean": "The mode is model.training, True or False; model.train is the method that sets "
                                      "it.",
            "'bool' object is not callable": "model.training is True or False, without brackets.",
            "'bool' object has no attribute": "max(dim=1) gives a pair, of values and classes. Take the classes: "
                                              "argmax(dim=1).",
            "could not infer output dtype": "Count the right answers: (…).sum().item().",
            "tensor.detach().numpy()": "Call the network in torch.no_grad(), so that there are no gradients."},
    hints=("Switch to eval mode, and record no gradients. Count right answers in all batches, then divide once.",
           "was = model.training; model.eval(). In torch.no_grad(), add (model(images).argmax(dim=1) == labels).sum() "
           "for each batch. At the end model.train(was), and divide by len(loader.dataset).",
           "was = model.training\nmodel.eval()\nhits = 0\nwith torch.no_grad():\n    for images, labels in loader:\n"
           "        hits += (model(images).argmax(dim=1) == labels).sum().item()\nmodel.train(was)\n"
           "return hits / len(loader.dataset)"))
