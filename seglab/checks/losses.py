"""Checks about training: losses, and a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.labels import IGNORE


def _loss(logits: Tensor, mask: Tensor) -> Tensor:
    return F.cross_entropy(logits[None], mask[None].long(), ignore_index=IGNORE)


def _of_true(log_probability: Tensor, mask: Tensor) -> Tensor:
    """The values at the true classes of the labelled pixels: (C, H, W) -> (pixels,)."""
    labelled = mask != IGNORE
    return log_probability[:, labelled].gather(0, mask[labelled].long()[None])[0]


_LOGITS = torch.tensor([[[2.0, 0.0], [1.0, -1.0]], [[0.0, 0.5], [1.0, 3.0]], [[-1.0, 0.0], [0.0, 0.5]]])  # (3, 2, 2)
_SMALL = 1e-12, 1e-10, 1e-8, 1e-7
cross_entropy = Exercise(
    "cross_entropy",
    [Case("a network that knows nothing: ln 3", (torch.zeros(3, 2, 2), torch.tensor([[0, 1], [2, 0]]).byte())),
     Case("all pixels labelled", (_LOGITS, torch.tensor([[0, 1], [1, 2]]).byte())),
     Case("pixels that nobody labelled", (_LOGITS, torch.tensor([[0, 255], [1, 255]]).byte())),
     Case("large logits: exp(1000) is too large for a float", (
         500 * _LOGITS, torch.tensor([[2, 1], [1, 1]]).byte()))],
    right=_loss,
    mistakes={
        "Ignored pixels count in the mean that you divide by: divide by the number of labelled pixels.":
            lambda x, mask: -_of_true(x.log_softmax(0), mask).sum() / mask.numel(),
        "This is the sum over the pixels. Take their mean.": lambda x, mask: -_of_true(x.log_softmax(0), mask).sum(),
        "The sign is wrong: the logarithm of a probability is negative, and the loss is minus that.":
            lambda x, mask: _of_true(x.log_softmax(0), mask).mean(),
        "This is the mean of the true classes' probabilities, without the logarithm.":
            [lambda x, mask: _of_true(x.softmax(0), mask).mean(), lambda x, mask: -_of_true(x.softmax(0), mask).mean()],
        "This is 1 minus the mean probability of the true class. Take minus the mean of its logarithm.":
            lambda x, mask: 1 - _of_true(x.softmax(0), mask).mean(),
        "This is the logarithm of the mean. Take the logarithm at each pixel first, then the mean.":
            lambda x, mask: -_of_true(x.softmax(0), mask).mean().log(),
        "The logarithm is to base 2; the natural one is meant: torch.log.":
            lambda x, mask: _loss(x, mask) / np.log(2),
        "The logarithm is to base 10; the natural one is meant: torch.log.":
            lambda x, mask: _loss(x, mask) / np.log(10),
        "The softmax is missing: these are the logits of the true classes, not their probabilities.":
            lambda x, mask: -_of_true(x, mask).mean(),
        "The softmax runs along the height, dim=1. It belongs over the classes, dim=0.":
            lambda x, mask: -_of_true(x.log_softmax(1), mask).mean(),
        "The softmax runs along the width, dim=2. It belongs over the classes, dim=0.":
            lambda x, mask: -_of_true(x.log_softmax(2), mask).mean(),
        "The softmax is taken twice. F.cross_entropy wants plain logits.": lambda x, mask: _loss(x.softmax(0), mask),
        "The mean is taken over the classes, too: divide by the number of labelled pixels alone.":
            lambda x, mask: _loss(x, mask) / len(x),
        "This is the mean over all classes. Take the probability of the true class at each pixel.":
            lambda x, mask: -x.log_softmax(0)[:, mask != IGNORE].mean(),
        "The softmax runs over the pixels. It belongs over the classes, dim=0.":
            lambda x, mask: -_of_true(x.flatten(1).log_softmax(1).reshape(x.shape), mask).mean(),
        "log_probabilities[truth] takes the whole row of a class for each pixel. One value a pixel: "
        "log_probabilities[truth, torch.arange(len(truth))].":
            lambda x, mask: -x[:, mask != IGNORE].log_softmax(0)[mask[mask != IGNORE].long()].mean(),
        "Ignored pixels are counted as the last class. Leave them out: mask != 255.":
            lambda x, mask: _loss(x, mask.clamp(max=len(x) - 1)),
        "Ignored pixels are counted as class 0. Leave them out: mask != 255.":
            lambda x, mask: _loss(x, torch.where(mask == IGNORE, 0, mask)),
        "softmax rounds a small probability to 0, whose logarithm is infinite, and adding a small number only hides "
        "it. "
        "Use log_softmax.": [
            lambda x, mask: -_of_true(x.softmax(0), mask).log().mean(),
            *[lambda x, mask, e=e: -(_of_true(x.softmax(0), mask) + e).log().mean() for e in _SMALL],
            *[lambda x, mask, e=e: -_of_true(x.softmax(0), mask).clamp(min=e).log().mean() for e in _SMALL]],
        "Large logits overflow: exp(1000) is infinite, and infinity over infinity is NaN. Subtract the largest logit "
        "of each pixel (not of the whole picture) first, or use log_softmax.": [
            lambda x, mask: -_of_true((x.exp() / x.exp().sum(0)).log(), mask).mean(),
            lambda x, mask: -_of_true(((x - x.max()).exp() / (x - x.max()).exp().sum(0)).log(), mask).mean()]},
    hints=("Softmax over the classes gives probabilities. Take that of the true class at each labelled pixel. Return "
           "minus the mean of the logarithms.",
           "labelled = mask != 255. With scores = logits[:, labelled] (C, pixels) and truth = mask[labelled].long(), "
           "the true class's score at each pixel is scores[truth, torch.arange(len(truth))]. log_softmax does the "
           "first step and the logarithm at once, and never overflows.",
           "labelled = mask != 255\nlog_probabilities = logits[:, labelled].log_softmax(dim=0)  # (C, pixels)\n"
           "truth = mask[labelled].long()\nreturn -log_probabilities[truth, torch.arange(len(truth))].mean()"))


def _steps_of(answer: Callable[..., Any], momentum: float, ignored: bool) -> dict[str, Any]:
    """Two steps of a small network: the losses that come back, and the weights that are left."""
    torch.manual_seed(0)
    model = nn.Conv2d(3, 4, kernel_size=3, padding=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=momentum)
    images, masks = torch.rand(2, 3, 5, 6), torch.randint(0, 4, (2, 5, 6))
    if ignored:
        masks[0, :3] = IGNORE  # so that the pictures do not count the same
    losses = [answer(model, optimizer, images, masks) for _ in range(2)]
    graph = isinstance(losses[0], Tensor) and losses[0].requires_grad
    if graph and torch.allclose(model.weight, _steps_of(_step, momentum, ignored)["weights"], atol=1e-5):
        raise RefusedError("it returns the loss with all that it was computed from. Return a plain number: loss.item()")
    return {"the first loss": losses[0], "the second loss": losses[1], "weights": model.weight.detach(),
            "biases": model.state_dict()["bias"]}


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, masks: Tensor, *,
          order: str = "zero loss backward step", returned: str = "loss", ignore: bool = True,
          change: Callable[[Tensor], Tensor] = lambda x: x, reduction: str = "mean", divide: int = 1,
          by_picture: bool = False) -> Tensor:
    """A step in parts, so that some can be left out or exchanged."""
    def measure() -> Tensor:
        target = masks.long() if ignore else masks.long().clamp(max=3)
        if by_picture:
            return torch.stack([_loss(*pair) for pair in zip(model(images), masks, strict=True)]).mean()
        return F.cross_entropy(change(model(images / divide)), target, ignore_index=IGNORE, reduction=reduction)

    loss = torch.zeros(())
    for part in order.split():
        if part == "zero":
            optimizer.zero_grad()
        elif part == "loss":
            loss = measure()
        elif part == "backward":
            loss.backward()
        elif part == "step":
            optimizer.step()
    return (measure() if returned == "after" else loss * len(images) if returned == "sum" else loss).detach()


training_step = Exercise(
    "training_step",
    [Case("two steps of plain gradient descent", (0.0, False), ""),
     Case("pixels that nobody labelled", (0.0, True), ""),
     Case("an optimizer with momentum", (0.9, True), "")],
    right=_step, run=_steps_of,
    mistakes={
        "The weights stay as they are: there is no step, or the step has no gradients. First optimizer.zero_grad(), "
        "then loss.backward(), then optimizer.step(), each with its brackets.":
            lambda *a: _step(*a, order="zero loss backward"),
        "Gradients add up from step to step: optimizer.zero_grad() is missing, or its brackets are.":
            lambda *a: _step(*a, order="loss backward step"),
        "The step comes before the loss: it uses the gradients of the batch before.":
            lambda *a: _step(*a, order="step zero loss backward"),
        "It returns the loss after the step. Return the one whose gradient was used: another pass costs time.":
            lambda *a: _step(*a, returned="after"),
        "It returns the sum over the pictures. Return the mean over the pixels, as F.cross_entropy gives it.":
            lambda *a: _step(*a, returned="sum"),
        "The softmax is taken twice: F.cross_entropy has one in it, and wants plain logits.":
            lambda *a: _step(*a, change=lambda x: x.softmax(1)),
        "The loss is a sum over the pixels. Take the mean, which F.cross_entropy does by itself.":
            lambda *a: _step(*a, reduction="sum"),
        "The pictures are divided by 255 once more. They come in [0, 1] already.": lambda *a: _step(*a, divide=255),
        "This is the mean of the pictures' losses. Take the mean over all labelled pixels of the batch.":
            lambda *a: _step(*a, by_picture=True),
        "Two steps are taken in one call.":
            lambda *a: _step(*a, order="zero loss backward step zero loss backward step"),
        "Ignored pixels take part in the loss: F.cross_entropy(…, ignore_index=255).":
            lambda *a: _step(*a, ignore=False)},
    errors={"modified by an inplace operation": "The step comes before loss.backward(): it changes weights that the "
                                                "gradient still needs. optimizer.step() is the last of them.",
            "255 is out of bounds": "The loss meets 255: F.cross_entropy(…, ignore_index=255)."},
    hints=("Five lines: clear the old gradients, predict, measure, ask for the gradient, take a step.",
           "optimizer.zero_grad() · model(images) · F.cross_entropy(logits, masks.long(), ignore_index=255) · "
           "loss.backward() · optimizer.step(). Return loss.item(), a plain number.",
           "optimizer.zero_grad()\nlogits = model(images)\n"
           "loss = F.cross_entropy(logits, masks.long(), ignore_index=255)\nloss.backward()\noptimizer.step()\n"
           "return loss.item()"))


_Output = Mapping[str, Tensor]


def _with_aux(output: _Output, masks: Tensor, *, out: float = 1.0, aux: float = 0.5,
              change: Callable[[Tensor], Tensor] = lambda x: x, by_picture: bool = False) -> Tensor:
    def measure(logits: Tensor) -> Tensor:
        if by_picture:
            return torch.stack([_loss(*pair) for pair in zip(logits, masks, strict=True)]).mean()
        return F.cross_entropy(change(logits), masks.long(), ignore_index=IGNORE)

    weights = {"out": out, "aux": aux}
    return torch.stack([weights[name] * measure(logits) for name, logits in output.items()]).sum()


def _two_heads(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(2, 3, 2, 4, generator=generator) for name in ("out", "aux")}


_MASKS = torch.tensor([[[0, 1, 2, 0], [1, 1, 2, 2]], [[0, 0, 0, 1], [2, 1, 0, 0]]])
loss_with_aux = Exercise(
    "loss_with_aux",
    [Case("two heads", (_two_heads(0), _MASKS), ""),
     Case("a network without an auxiliary head: {\"out\": logits}", ({"out": _two_heads(1)["out"]}, _MASKS), ""),
     Case("pixels that nobody labelled", (
         _two_heads(2), torch.where(torch.arange(16).view(2, 2, 4) < 6, IGNORE, _MASKS)), "")],
    right=_with_aux,
    mistakes={
        "Both losses count the same. That of the auxiliary head counts half.": lambda *a: _with_aux(*a, aux=1.0),
        "This is the mean of both losses. It should be out + 0.5 · aux.":
            lambda output, masks: _with_aux(output, masks) if len(output) == 1 else _with_aux(
                output, masks, out=0.5, aux=0.5),
        "The auxiliary loss is left out.": lambda *a: _with_aux(*a, aux=0.0),
        "Only the auxiliary loss is counted.":
            lambda output, masks: _with_aux(output, masks, out=0.0 if len(output) == 2 else 1.0),
        "The halves are exchanged: the loss of \"out\" counts whole, that of \"aux\" half.":
            lambda output, masks: _with_aux(output, masks) if len(output) == 1 else _with_aux(
                output, masks, out=0.5, aux=1.0),
        "The auxiliary loss counts 0.4 here. It should be 0.5.": lambda *a: _with_aux(*a, aux=0.4),
        "Ignored pixels are counted as the last class: ignore_index=255.":
            lambda output, masks: _with_aux(output, masks.clamp(max=2)),
        "Ignored pixels are counted as class 0: ignore_index=255.":
            lambda output, masks: _with_aux(output, torch.where(masks == IGNORE, 0, masks)),
        "This is the sum over the pixels. Take the mean, which F.cross_entropy does by itself.":
            lambda output, masks: _with_aux(output, masks) * (masks != IGNORE).sum(),
        "The main loss is counted twice.": lambda *a: _with_aux(*a, out=2.0),
        "The softmax is taken twice: F.cross_entropy wants plain logits.":
            lambda *a: _with_aux(*a, change=lambda x: x.softmax(1)),
        "This is the mean of the pictures' losses. Take the mean over all labelled pixels of the batch.":
            lambda *a: _with_aux(*a, by_picture=True),
        "The logits of both heads are mixed, and one loss is measured. Measure two losses, and add them.": [
            lambda output, masks, w=w: F.cross_entropy(output["out"] + w * output.get(
                "aux", torch.zeros(())), masks.long(), ignore_index=IGNORE) for w in (0.5, 1.0)]},
    errors={"255 is out of bounds": "The loss meets 255: F.cross_entropy(…, ignore_index=255).",
            "Boolean value of Tensor": "`if \"aux\" in output` asks whether there is a second head. And "
                                       "nn.CrossEntropyLoss()(logits, masks) has two pairs of brackets.",
            "not NoneType": "Not every network has an auxiliary head: if \"aux\" in output.",
            "'aux'": "Not every network has an auxiliary head: if \"aux\" in output.",
            "not dict": "output is a dictionary: output[\"out\"] are the logits.",
            "does not require grad": "Return the loss. loss.backward() is called by the training step."},
    hints=("Measure the cross-entropy of each head against the same masks. How much does the second one count, if it "
           "is there?",
           "loss = F.cross_entropy(output[\"out\"], masks.long(), ignore_index=255), and if \"aux\" in output, add "
           "0.5 times the same of output[\"aux\"].",
           "loss = F.cross_entropy(output[\"out\"], masks.long(), ignore_index=255)\nif \"aux\" in output:\n"
           "    loss = loss + 0.5 * F.cross_entropy(output[\"aux\"], masks.long(), ignore_index=255)\nreturn loss"))
