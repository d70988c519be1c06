"""Checks about losses of regions: Dice and IoU, which must survive half precision and batches without a valid pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.labels import IGNORE

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: x.softmax(1), "sigmoid": torch.sigmoid, "none": lambda x: x, "rows": lambda x: x.softmax(2),
    "pixels": lambda x: x.flatten(1).softmax(1).view(x.shape)}


def _region(logits: Tensor, masks: Tensor, *, kind: str = "dice", ignored: str = "out", classes: str = "present",
            dims: tuple[int, ...] = (0, 2, 3), activation: str = "softmax", one: float = 1.0, power: int = 1,
            double: float = 2.0, half: bool = False, empty: float = 0.0, first: int = 0) -> Tensor:
    """The right answer, with what can be wrong about it."""
    x = logits if half or logits.dtype == torch.float64 else logits.float()
    p = _ACTIVATIONS[activation](x)
    valid = (masks != IGNORE)[:, None]  # (N, 1, H, W)
    truth = F.one_hot(torch.where(masks == IGNORE, 0, masks).long(), x.shape[1]).permute(0, 3, 1, 2).to(x.dtype)
    if ignored != "background":
        truth = truth * valid
    if ignored == "out":
        p = p * valid
    shared, true = (p * truth).sum(dims), truth.sum(dims)  # (C,) each, or (N, C)
    total = (p**power).sum(dims) + true
    score = (double * shared / total if kind == "dice" else shared / (total - shared) if kind == "iou" else
             shared / total)
    seen = true > 0 if classes == "present" else torch.ones_like(true, dtype=torch.bool)
    seen[..., :first] = False
    kept = score[seen]
    if not len(kept):
        return 0 * logits.float().sum() + empty
    return one - kept.mean() if classes != "sum" else one * len(kept) - kept.sum()


def _loss_of(answer: Callable[..., Any], logits: Tensor, masks: Tensor) -> Any:
    """The loss, as a number, if a gradient of it comes back to the logits."""
    given = logits.clone().requires_grad_()
    found = answer(given, masks)
    if isinstance(found, float):
        raise RefusedError("it returns a plain number, which has no gradient. Return the tensor")
    if isinstance(found, Tensor) and found.numel() == 1:
        if found.requires_grad:
            (gradient,) = torch.autograd.grad(found.sum(), given, allow_unused=True)
            if gradient is not None and gradient.isnan().any() and not found.isnan().any():
                raise RefusedError("its gradient is NaN, though the loss is a number: leave absent classes out before "
                                   "you divide")
        elif (masks != IGNORE).any():
            raise RefusedError("no gradient comes back to the logits, so that nothing can be learned with it. Take the "
                               "probabilities themselves, without argmax, .item() or detach()")
        found = found.detach().float()
    return found


def _random(seed: int, classes: int, *shape: int) -> Tensor:
    return 2 * torch.randn(shape[0], classes, *shape[1:], generator=torch.Generator().manual_seed(seed))


_MASKS = torch.tensor([[[0, 0, 1, 1], [0, 2, 2, 1], [0, 0, 0, 1]], [[0, 0, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0]]]).byte()
_BORDER = torch.where(torch.arange(24).view(2, 3, 4) % 5 == 0, IGNORE, _MASKS).byte()
_LARGE = torch.zeros(1, 2, 512, 512, dtype=torch.float16)
_LARGE[:, 1] = 2
_LARGE_MASK = torch.ones(1, 512, 512, dtype=torch.uint8)
_LARGE_MASK[:, :100] = 0


def _cases(absent: str) -> list[Case]:
    return [Case("one picture of three pixels, classes 0 and 1", (
                torch.tensor([[[[2.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]]), torch.tensor([[[0, 1, 1]]]).byte())),
            Case("two pictures, three classes", (_random(0, 3, 2, 3, 4), _MASKS), ""),
            Case("pixels that nobody labelled", (_random(1, 3, 2, 3, 4), _BORDER), ""),
            Case(absent, (_random(2, 4, 2, 3, 4), _MASKS), "class 3 of 0 to 3 is in no mask"),
            Case("not one labelled pixel: the loss is 0", (
                _random(3, 3, 1, 2, 2), torch.full((1, 2, 2), IGNORE, dtype=torch.uint8)), "the mask is 255 all over"),
            Case("a picture of 512×512 in half precision", (_LARGE, _LARGE_MASK), "logits of torch.float16")]


_SHARED: dict[str, dict[str, Any]] = {
    "Ignored pixels count in the sum of the probabilities: set them to 0 where the mask is 255, probabilities * valid.":
        {"ignored": "sum"},
    "Ignored pixels are counted as class 0. Leave them out of the truth and of the probabilities.":
        {"ignored": "background"},
    "The mean is taken over all classes. One that is in no mask has no pixel to win: leave it out.": {"classes": "all"},
    "Without a labelled pixel, the loss is NaN, the mean of no class. It should be 0, with which a training can go on.":
        {"empty": torch.nan},
    "Without a labelled pixel, the loss is 1. It should be 0: there was nothing to get wrong.": {"empty": 1.0},
    "The sums are taken in half precision, whose largest number is 65,504: they overflow. First logits.float().":
        {"half": True},
    "Each picture is measured alone. Take the sums over all pixels of the batch, axes 0, 2 and 3.": {"dims": (2, 3)},
    "This is the score, which is high for good masks. A loss is 1 minus that.": {"one": 0.0},
    "The softmax is missing: these are sums of logits.": {"activation": "none"},
    "The probabilities come from a sigmoid. Use softmax over the classes, dim=1.": {"activation": "sigmoid"},
    "The softmax runs over the pixels. It belongs over the classes, dim=1.": {"activation": "pixels"},
    "The softmax runs along the height, dim=2. It belongs over the classes, dim=1.": {"activation": "rows"},
    "The losses of the classes are added up. Take their mean.": {"classes": "sum"},
    "The background, class 0, is left out. It counts like any other class.": {"first": 1}}


def _signed(options: dict[str, Any], kind: str) -> Callable[..., Tensor]:
    sign = -1 if options.get("one") == 0.0 else 1
    return lambda logits, masks: sign * _region(logits, masks, kind=kind, **options)


def _mistakes(kind: str) -> dict[str, Callable[..., Tensor]]:
    return {sentence: _signed(options, kind) for sentence, options in _SHARED.items()}


_NO_CLASS = "255 is no class: put 0 there before one_hot, and set the truth to 0 there after it."
_ERRORS = {"255 is out of bounds": _NO_CLASS, "Class values must be": _NO_CLASS,
           "applicable to index tensor": "F.one_hot wants int64: masks.long().",
           "must match the size": "F.one_hot puts the classes last, (N, H, W, C): .permute(0, 3, 1, 2). And a mask "
                                  "(N, H, W) needs an axis for the classes: mask[:, None].",
           "implemented for": "Masks are uint8, and probabilities are floats: .float()."}

dice_loss = Exercise(
    "dice_loss", _cases("a class that is in no mask"),
    right=_region, run=_loss_of,
    mistakes={
        "The factor 2 is missing: 2 · shared / total.": lambda *a: _region(*a, double=1.0),
        "This is the IoU: shared / (total - shared). Dice is 2 · shared / total.": lambda *a: _region(*a, kind="iou"),
        "The probabilities are squared in the denominator, as in the V-Net paper. Here they are summed as they are.":
            lambda *a: _region(*a, power=2),
        **_mistakes("dice")},
    errors=_ERRORS,
    hints=("Three sums a class, over all labelled pixels of the batch: of p · y, of p, and of y. What happens to "
           "pixels with 255, to classes without a pixel, and to half-precision logits?",
           "valid = (masks != 255)[:, None]. truth = F.one_hot(masks.where(masks != 255, 0).long(), C).permute(0, 3, "
           "1, 2) * valid, and p = logits.float().softmax(1) * valid. Sum over (0, 2, 3). Keep the classes whose truth "
           "has a pixel; if there is none, return 0 * logits.sum().",
           "valid = (masks != 255)[:, None]\n"
           "truth = F.one_hot(masks.where(masks != 255, 0).long(), logits.shape[1]).permute(0, 3, 1, 2) * valid\n"
           "p = logits.float().softmax(1) * valid\n"
           "shared, total = (p * truth).sum((0, 2, 3)), (p + truth).sum((0, 2, 3))\n"
           "present = truth.sum((0, 2, 3)) > 0\nif not present.any():\n    return 0 * logits.sum()\n"
           "return 1 - (2 * shared / total)[present].mean()"))

iou_loss = Exercise(
    "iou_loss", _cases("a class that is in no mask"),
    right=lambda logits, masks: _region(logits, masks, kind="iou"), run=_loss_of,
    mistakes={
        "This is the Dice loss. The union is total - shared, and there is no factor 2.": _region,
        "The union counts the shared part twice: subtract it once.": lambda *a: _region(*a, kind="sum"),
        "There is a factor 2 too many: IoU is shared / (total - shared).":
            lambda *a: 2 * _region(*a, kind="iou") - 1,
        **_mistakes("iou")},
    errors=_ERRORS,
    hints=("What changes against Dice? Only the fraction.",
           "The union is the sum of both minus what they share: shared / (total - shared).",
           "valid = (masks != 255)[:, None]\n"
           "truth = F.one_hot(masks.where(masks != 255, 0).long(), logits.shape[1]).permute(0, 3, 1, 2) * valid\n"
           "p = logits.float().softmax(1) * valid\n"
           "shared, total = (p * truth).sum((0, 2, 3)), (p + truth).sum((0, 2, 3))\n"
           "present = truth.sum((0, 2, 3)) > 0\nif not present.any():\n    return 0 * logits.sum()\n"
           "return 1 - (shared / (total - shared))[present].mean()"))
