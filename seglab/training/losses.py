"""Losses that leave ignored pixels out: cross-entropy, Dice, IoU, Lovász, and sums of them.

All take (a model's output, uint8 masks) and return a scalar, so that each fits into `fit(loss=...)`. They compute in
float32 whatever the logits are (a sum over 512 × 512 pixels overflows fp16), and in float64 if the logits are that. On
a GPU they never wait.

The arguments that all share:

- output: logits (N, C, H, W), or a model's {"out": logits, "aux": logits}; of a classifier, (N, C).
- masks: (N, H, W) uint8 class ids, 255 = ignore; of a classifier, labels (N,).
- aux_weight: of the loss of "aux", which is added.

An ArgumentError names logits of another size than the masks, and on the CPU ids that are no class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.errors import ArgumentError
from seglab.labels import IGNORE


def cross_entropy(output: dict[str, Tensor] | Tensor, masks: Tensor, aux_weight: float = 0.5,
                  class_weights: Sequence[float] | Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored, in nats a pixel; an auxiliary output counts half.

    Unlike PyTorch's own mean, a batch without one valid pixel gives 0, not NaN. With `class_weights`, C numbers from 0,
    the sum is divided by the weights of the valid pixels, as in PyTorch.

    Example:
        >>> f"{cross_entropy(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.uint8)):.4f}"  # log(4)
        '1.3863'
    """
    def one(logits: Tensor) -> Tensor:
        target, valid = masks.long(), masks != IGNORE  # only here, on the device, do masks become int64
        if class_weights is None:
            weights, total = None, valid.sum()
        else:
            weights = torch.as_tensor(class_weights, dtype=logits.dtype).to(logits.device, non_blocking=True)  # (C,)
            total = (weights[target.masked_fill(~valid, 0)] * valid).sum()
        return F.cross_entropy(logits, target, weights, ignore_index=IGNORE, reduction="sum") / total.clamp(min=1e-9)

    return _with_aux(one, output, masks, aux_weight)


def dice_loss(output: dict[str, Tensor] | Tensor, masks: Tensor, aux_weight: float = 0.5,
              smooth: float = 1e-5) -> Tensor:
    """Soft Dice loss: 1 - the mean of 2 I / (P + T) over the classes that occur in the masks; 0 to 1 without "aux".

    P sums the probabilities of a class over the valid pixels of the whole batch, T its true pixels, and I the
    probabilities at its true pixels. Every class counts the same, however few its pixels. A class that does not occur
    has I = 0: its Dice would be 0 whatever the model says. What is wrongly taken for it still costs, because those
    pixels' own classes lose it. `smooth`, in pixels, is added above and below; larger values spare small classes.

    Source: Milletari, Navab and Ahmadi, "V-Net" (2016), arXiv 1606.04797, section 3, here without the squares below
    the fraction, as most use it since.

    Example:
        >>> masks = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
        >>> sure = 100 * torch.tensor([[[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]])
        >>> f"{dice_loss(sure, masks):.3f} {dice_loss(0 * sure, masks):.3f} {dice_loss(-sure, masks):.3f}"
        '0.000 0.500 1.000'
    """
    return _region_loss(lambda shared, total: (2 * shared + smooth, total + smooth), output, masks, aux_weight)


def iou_loss(output: dict[str, Tensor] | Tensor, masks: Tensor, aux_weight: float = 0.5,
             smooth: float = 1e-5) -> Tensor:
    """Soft IoU (Jaccard) loss: 1 - the mean over classes of I / (P + T - I), else as `dice_loss`.

    For hard predictions it is 1 - mIoU of the batch, over the classes that occur.

    Source: Rahman and Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation" (2016).

    Example:
        >>> masks = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
        >>> f"{iou_loss(torch.zeros(1, 2, 1, 3), masks):.3f}"  # I = 0.5, P = T = 1
        '0.667'
    """
    return _region_loss(lambda shared, total: (shared + smooth, total - shared + smooth), output, masks, aux_weight)


def _region_loss(fraction: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], output: dict[str, Tensor] | Tensor,
                 masks: Tensor, aux_weight: float) -> Tensor:
    """1 - the mean over the classes that occur of a fraction, by class (C,): (above, below) of I and of P + T."""
    def one(logits: Tensor) -> Tensor:
        probabilities = logits.softmax(1)  # (N, C, H, W)
        ids = torch.arange(logits.shape[1], device=masks.device).view(-1, *[1] * (logits.ndim - 2))  # (C, 1, 1)
        true = masks.unsqueeze(1) == ids  # (N, C, H, W); 255 is the id of none
        dims = [0, *range(2, logits.ndim)]
        # No matrix product would do: under autocast that is computed in half precision.
        shared, count = (probabilities * true).sum(dims), true.sum(dims)  # (C,) each
        above, below = fraction(shared, (probabilities * (masks != IGNORE).unsqueeze(1)).sum(dims) + count)
        present = count > 0
        scores = above / torch.where(present, below, 1)  # an absent class may have 0 / 0, whose gradient is NaN
        return ((1 - scores) * present).sum() / present.sum().clamp(min=1)

    return _with_aux(one, output, masks, aux_weight)


def lovasz_loss(output: dict[str, Tensor] | Tensor, masks: Tensor, aux_weight: float = 0.5) -> Tensor:
    """Lovász-Softmax loss: 1 - IoU of each class that occurs, continued from hard predictions to probabilities.

    Of all convex functions of a class's errors that equal 1 - IoU for hard predictions, it is the tightest. The batch
    counts as one picture. It sorts all pixels once a class, which on a CPU takes longer than the other losses.

    Source: Berman, Rannen Triki and Blaschko, "The Lovász-Softmax loss" (2018), arXiv 1705.08790, equations 8 to 11.

    Example:
        >>> masks = torch.tensor([[[0, 0, 1, 255]]], dtype=torch.uint8)
        >>> found = 100 * torch.tensor([[[[1.0, 0.0, 0.0, 0.0]], [[0.0, 1.0, 1.0, 0.0]]]])  # says 0, 1, 1
        >>> f"{lovasz_loss(found, masks):.3f}"  # both have an IoU of 1/2
        '0.500'
    """
    def one(logits: Tensor) -> Tensor:
        probabilities = logits.softmax(1).transpose(0, 1).flatten(1)  # (N, C, H, W) -> (C, N*H*W)
        target = masks.flatten()  # (N*H*W,)
        # Looking at what occurs saves sorting on the CPU; on a GPU it would mean waiting, and sorting is fast.
        seen = target.unique().tolist() if target.device.type == "cpu" else range(len(probabilities))
        terms = [_lovasz_of_class(probabilities[c], target == c, target == IGNORE) for c in seen if c != IGNORE]
        if not terms:
            return 0 * probabilities.sum()
        losses, present = (torch.stack(each) for each in zip(*terms, strict=True))  # (classes,) each
        return (losses * present).sum() / present.sum().clamp(min=1)

    return _with_aux(one, output, masks, aux_weight)


def _lovasz_of_class(probability: Tensor, true: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of one class, and whether it occurs; all arguments are (pixels,)."""
    errors = torch.where(true, 1 - probability, probability).masked_fill(ignored, -1)
    errors, order = errors.sort(descending=True)  # ignored pixels come last, behind all that count
    true = true[order]
    # With the k largest errors made, I pixels of the class are still right, and U are the class or taken for it. A
    # step's 1 - IoU grows by 1/U if it loses a true pixel, and by I/(U-1) - I/U if it gains a false one. Subtracting
    # neighbouring values of 1 - IoU instead would leave few correct digits: they differ in the sixth one.
    shared = true.sum() - true.cumsum(0)  # int64: exact for any number of pixels
    union = shared + torch.arange(1, len(true) + 1, device=true.device)  # = true pixels + false ones so far
    growth = torch.where(true, 1.0, shared.to(errors.dtype) / (union - 1).clamp(min=1)) / union.clamp(min=1)
    return (errors.clamp(min=0) * growth).sum(), true.any()


#: The losses by the names that `make_loss` knows.
LOSSES: dict[str, Callable[..., Tensor]] = {"ce": cross_entropy, "dice": dice_loss, "iou": iou_loss,
                                            "lovasz": lovasz_loss}


@dataclass(frozen=True)
class NamedLoss:
    """The sum of some of `LOSSES`; checkpoints know it by its name. `make_loss` makes one."""

    name: str

    def __call__(self, output: dict[str, Tensor] | Tensor, masks: Tensor, aux_weight: float = 0.5) -> Tensor:
        return torch.stack([LOSSES[name](output, masks, aux_weight) for name in self.name.split("+")]).sum()


def make_loss(text: str) -> NamedLoss:
    """The loss of a name from `LOSSES`, or the sum of several, such as "ce+dice"; their order does not matter.

    Raises:
        ArgumentError: an unknown name, or a name twice.

    Example:
        >>> make_loss("dice + ce") == make_loss("ce+dice"), make_loss("ce+dice").name
        (True, 'ce+dice')
    """
    names = [name.strip() for name in text.split("+")]
    if set(names) - LOSSES.keys() or len(set(names)) < len(names):
        raise ArgumentError("loss", found=repr(text), expected=f'{", ".join(LOSSES)}, or a sum of them: "ce+dice"')
    return NamedLoss("+".join(name for name in LOSSES if name in names))


def _with_aux(loss: Callable[[Tensor], Tensor], output: dict[str, Tensor] | Tensor, masks: Tensor,
              aux_weight: float) -> Tensor:
    """A loss of the logits, plus that of the auxiliary ones; here all that comes in is checked."""
    output = {"out": output} if isinstance(output, Tensor) else output
    if "out" not in output:
        raise ArgumentError("model output", found=f"a dict of {sorted(output)}", expected='logits as "out"')
    losses = {}
    for name, logits in ((name, output[name]) for name in ("out", "aux") if name in output):
        if logits.ndim < 2 or (logits.shape[0], *logits.shape[2:]) != tuple(masks.shape):
            raise ArgumentError(f"model output {name!r}", found=f"{tuple(logits.shape)} for masks {tuple(masks.shape)}",
                                expected="logits (N, C, H, W) and masks (N, H, W)",
                                fix="Upsample the logits to the input's size at the end of the model.")
        if masks.device.type == "cpu":  # on a GPU, looking would mean waiting: there it is CUDA that stops
            _check_ids(masks, logits.shape[1])
        losses[name] = loss(logits if logits.dtype == torch.float64 else logits.float())
    return losses["out"] + aux_weight * losses["aux"] if "aux" in losses else losses["out"]


def _check_ids(masks: Tensor, classes: int) -> None:
    lowest, highest = masks.aminmax() if masks.numel() else (0, 0)
    if lowest >= 0 and highest < classes:  # a tenth of the time of the search below
        return
    strays = masks[(masks != IGNORE) & ((masks < 0) | (masks >= classes))]
    if len(strays):
        listed = [f"{i} (pixels: {int((strays == i).sum())})" for i in strays.unique().tolist()[:8]]
        raise ArgumentError("masks: ids that are no class", found=f"id {', '.join(listed)}",
                            expected=f"0 to {classes - 1}, the model's classes, or {IGNORE} to ignore",
                            fix="Build the model with num_classes=len(dataset.label_set), and check how the masks were "
                                "made.")
