"""Losses that leave ignored pixels out: cross-entropy, Dice, IoU, Lovász, and sums of them.

All take (a model's output, uint8 masks) and return a scalar, so that each fits into `fit(loss=...)`. They compute in
float32 whatever the logits are (a sum over 512 × 512 pixels overflows fp16), and in float64 if the logits are that. On
a GPU they never wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seglab.errors import ArgumentError
from seglab.labels import IGNORE


def cross_entropy(output: dict[str, Tensor] | Tensor, masks: Tensor, aux_weight: float = 0.5,
                  class_weights: Sequence[float] | Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the pixels that are not ignored; an auxiliary output counts half.

    Unlike PyTorch's own mean, a batch without one valid pixel gives 0, not NaN.

    Args:
        output: logits (N, C, H, W), or a model's {"out": logits, "aux": logits}.
        masks: (N, H, W) uint8 class ids, 255 = ignore. For a classifier's logits (N, C): labels (N,).
        aux_weight: the weight of "aux".
        class_weights: C numbers from 0. A pixel counts as much as its class; the sum is divided by the weights of the
            valid pixels, so that only their ratios matter, as in PyTorch.

    Returns:
        a scalar, in nats per pixel.

    Raises:
        ArgumentError: logits of another height or width than the masks; on the CPU, ids that are no class.

    Example:
        >>> loss = cross_entropy(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.uint8))
        >>> math.isclose(loss.item(), math.log(4), rel_tol=1e-6)
        True
    """
    def one(logits: Tensor) -> Tensor:
        target = masks.long()  # only here, on the device, do masks become int64
        if class_weights is None:
            weights, total = None, (masks != IGNORE).sum().clamp(min=1)
        else:
            weights = _class_weights(class_weights, logits)  # (C,)
            valid = masks != IGNORE
            total = (weights[target.masked_fill(~valid, 0)] * valid).sum()
            total = torch.where(total > 0, total, 1)
        return F.cross_entropy(logits, target, weights, ignore_index=IGNORE, reduction="sum") / total

    return _with_aux(one, output, masks, aux_weight)


def dice_loss(output: dict[str, Tensor] | Tensor, masks: Tensor, aux_weight: float = 0.5,
              smooth: float = 1e-5) -> Tensor:
    """Soft Dice loss: 1 - the mean over classes of 2 I / (P + T).

    P sums the probabilities of a class over the valid pixels of the whole batch, T its true pixels, and I the
    probabilities at its true pixels. Every class counts the same, however few its pixels.

    The mean is over the classes that occur in the masks. A class that does not has I = 0: whatever the model says, its
    Dice would be 0, a constant that hides the others. What is wrongly taken for such a class still costs, because those
    pixels' own classes lose it.

    Args:
        output, masks, aux_weight: as for `cross_entropy`.
        smooth: in pixels, 0 or more; added above and below. Larger values spare small classes.

    Returns:
        a scalar, 0 to 1 (without "aux"); 0 if no pixel is valid.

    Raises:
        ArgumentError: as for `cross_entropy`.

    Source: Milletari, Navab and Ahmadi, "V-Net" (2016), arXiv 1606.04797, section 3, here without the squares below
    the fraction, as most use it since.

    Example:
        >>> masks = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
        >>> sure = 100 * torch.tensor([[[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]])
        >>> f"{dice_loss(sure, masks):.3f} {dice_loss(0 * sure, masks):.3f} {dice_loss(-sure, masks):.3f}"
        '0.000 0.500 1.000'
    """
    def one(logits: Tensor) -> Tensor:
        shared, predicted, true = _soft_counts(logits, masks)  # (C,) each
        return _mean_of_present(2 * shared + smooth, predicted + true + smooth, true > 0)

    return _with_aux(one, output, masks, aux_weight)


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
    def one(logits: Tensor) -> Tensor:
        shared, predicted, true = _soft_counts(logits, masks)  # (C,) each
        return _mean_of_present(shared + smooth, predicted + true - shared + smooth, true > 0)

    return _with_aux(one, output, masks, aux_weight)


def lovasz_loss(output: dict[str, Tensor] | Tensor, masks: Tensor, aux_weight: float = 0.5) -> Tensor:
    """Lovász-Softmax loss: 1 - IoU of each class that occurs, continued from hard predictions to probabilities.

    Of all convex functions of a class's errors that equal 1 - IoU for hard predictions, it is the tightest. The batch
    counts as one picture. It sorts all pixels once a class, which on a CPU takes longer than the other losses.

    Args:
        output, masks, aux_weight: as for `cross_entropy`.

    Returns:
        a scalar, 0 to 1 (without "aux"); 0 if no pixel is valid.

    Raises:
        ArgumentError: as for `cross_entropy`.

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
    lost = true.cumsum(0)  # int64: exact for any number of pixels
    shared = true.sum() - lost
    union = shared + torch.arange(1, len(true) + 1, device=true.device)  # = true pixels + false ones so far
    growth = torch.where(true, 1.0, shared.to(errors.dtype) / (union - 1).clamp(min=1)) / union.clamp(min=1)
    return (errors.clamp(min=0) * growth).sum(), true.any()


#: The losses by the names that `make_loss` and `CombinedLoss` know.
LOSSES: dict[str, Callable[..., Tensor]] = {"ce": cross_entropy, "dice": dice_loss, "iou": iou_loss,
                                            "lovasz": lovasz_loss}
_LONG_NAMES = {"cross_entropy": "ce"}


class CombinedLoss:
    """A weighted sum of losses, by name; two of the same terms are equal, and it can be pickled.

    Args:
        terms: {name: weight}, names from `LOSSES` ("ce" may be written "cross_entropy"), weights above 0.

    Attributes:
        terms: ((name, weight), ...) in the order of `LOSSES`.
        name: such as "0.5*ce+dice"; `make_loss(name)` gives the same loss.

    Raises:
        ArgumentError: no term, a name twice or unknown, or a weight out of range.

    Example:
        >>> loss = CombinedLoss({"cross_entropy": 0.5, "dice": 1})
        >>> loss, loss == make_loss("dice + 0.5*ce")
        (CombinedLoss({'ce': 0.5, 'dice': 1.0}), True)
        >>> value = loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]], dtype=torch.uint8))
        >>> math.isclose(value, math.log(2) / 2 + 1 / 2, rel_tol=1e-4)
        True
    """

    def __init__(self, terms: Mapping[str, float]) -> None:
        found = [(_LONG_NAMES.get(name, name), float(weight)) for name, weight in terms.items()]
        known = dict(found)
        if not found or len(known) < len(found) or known.keys() - LOSSES.keys():
            raise ArgumentError("loss", found=", ".join(map(repr, terms)) or "no term",
                                expected=f"different ones of {', '.join(LOSSES)}",
                                fix='Write them as in "ce+dice" or "0.5*ce+dice".')
        if not all(weight > 0 and math.isfinite(weight) for weight in known.values()):
            raise ArgumentError("loss", found=f"the weights {known}", expected="numbers above 0")
        self.terms = tuple((name, known[name]) for name in LOSSES if name in known)

    @property
    def name(self) -> str:
        return "+".join(name if weight == 1 else f"{weight!r}*{name}" for name, weight in self.terms)

    def __call__(self, output: dict[str, Tensor] | Tensor, masks: Tensor, aux_weight: float = 0.5) -> Tensor:
        """The sum, as each of the losses is called."""
        first, *others = (weight * LOSSES[name](output, masks, aux_weight) for name, weight in self.terms)
        return sum(others, first)

    def __eq__(self, other: object) -> bool:
        return self.terms == other.terms if isinstance(other, CombinedLoss) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.terms)

    def __repr__(self) -> str:
        return f"CombinedLoss({dict(self.terms)})"


def make_loss(text: str) -> CombinedLoss:
    """The loss that a text names: terms joined by +, each a name from `LOSSES`, perhaps with a weight before it.

    Raises:
        ArgumentError: an unknown name, a name twice, or a weight that is no number above 0.

    Example:
        >>> make_loss("ce+dice").terms, make_loss("0.5*ce + lovasz").name
        ((('ce', 1.0), ('dice', 1.0)), '0.5*ce+lovasz')
    """
    terms: dict[str, float] = {}
    for term in text.split("+"):
        weight, _, name = term.rpartition("*")
        name = name.strip()
        if name in terms:
            raise ArgumentError(f"loss {text!r}", found=f"{name!r} twice", expected="each loss once")
        try:
            terms[name] = float(weight) if weight else 1.0
        except ValueError:
            raise ArgumentError(f"loss {text!r}", found=f"the weight {weight!r}",
                                expected='a number, as in "0.5*ce+dice"') from None
    return CombinedLoss(terms)


def _with_aux(loss: Callable[[Tensor], Tensor], output: dict[str, Tensor] | Tensor, masks: Tensor,
              aux_weight: float) -> Tensor:
    """A loss of the logits, plus that of the auxiliary ones; here all that comes in is checked."""
    if isinstance(output, Tensor):
        output = {"out": output}
    if "out" not in output:
        raise ArgumentError("model output", found=f"a dict of {sorted(output)}", expected='logits as "out"')
    losses = {}
    for name in ("out", "aux"):
        if name in output:
            logits = output[name]
            _check(name, logits, masks)
            losses[name] = loss(logits if logits.dtype == torch.float64 else logits.float())
    return losses["out"] + aux_weight * losses["aux"] if "aux" in losses else losses["out"]


def _check(name: str, logits: Tensor, masks: Tensor) -> None:
    if masks.ndim > 1 and logits.shape[-2:] != masks.shape[-2:]:
        raise ArgumentError(f"model output {name!r}", found=f"height and width {tuple(logits.shape[-2:])}",
                            expected=f"those of the masks, {tuple(masks.shape[-2:])}",
                            fix="Upsample the logits to the input's size at the end of the model.")
    if logits.ndim < 2 or (logits.shape[0], *logits.shape[2:]) != tuple(masks.shape):
        raise ArgumentError(f"model output {name!r}", found=f"{tuple(logits.shape)} for masks {tuple(masks.shape)}",
                            expected="logits (N, C, H, W) and masks (N, H, W)")
    _check_ids(masks, logits.shape[1])


def _check_ids(masks: Tensor, classes: int) -> None:
    """Name the ids that are no class. On a GPU, looking would mean waiting: there it is CUDA that stops."""
    if masks.device.type != "cpu":
        return
    is_byte = masks.dtype == torch.uint8  # which compares with no number above 255
    strays = (masks >= (min(classes, IGNORE) if is_byte else classes)) & (masks != IGNORE)
    if not is_byte:
        strays |= masks < 0
    if strays.any():
        ids, counts = masks[strays].unique(return_counts=True)
        listed = [f"{i} (pixels: {n})" for i, n in zip(ids.tolist(), counts.tolist(), strict=True)]
        more = f" and {len(listed) - 8} more ids" if len(listed) > 8 else ""
        raise ArgumentError("masks: ids that are no class", found="id " + ", ".join(listed[:8]) + more,
                            expected=f"0 to {classes - 1}, the model's classes, or {IGNORE} to ignore",
                            fix="Build the model with num_classes=len(dataset.label_set), and check how the masks were "
                                "made.")


def _soft_counts(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By class, (C,) each: probabilities at its true pixels, at all valid pixels, and the number of true ones."""
    probabilities = logits.softmax(1)  # (N, C, H, W)
    ids = torch.arange(logits.shape[1], device=masks.device).view(-1, *[1] * (logits.ndim - 2))  # (C, 1, 1)
    true = masks.unsqueeze(1) == ids  # (N, C, H, W); 255 is the id of none
    dims = [0, *range(2, logits.ndim)]
    # No matrix product would do: under autocast that is computed in half precision.
    shared = (probabilities * true).sum(dims)
    predicted = (probabilities * (masks != IGNORE).unsqueeze(1)).sum(dims)
    return shared, predicted, true.sum(dims)


def _mean_of_present(above: Tensor, below: Tensor, present: Tensor) -> Tensor:
    """1 - the mean of above / below over the present classes, (C,) each; 0 with a gradient of 0 if there is none."""
    scores = above / torch.where(present, below, 1)  # an absent class may have 0 / 0, whose gradient is NaN
    return ((1 - scores) * present).sum() / present.sum().clamp(min=1)


def _class_weights(weights: Sequence[float] | Tensor, logits: Tensor) -> Tensor:
    """Weights, (C,), checked, in the dtype and on the device of the logits."""
    found = weights
    if isinstance(weights, Tensor):
        found = weights.tolist() if weights.device.type == "cpu" else [1.0] * weights.numel()  # looking means waiting
    if len(found) != logits.shape[1] or not all(weight >= 0 and math.isfinite(weight) for weight in found):
        raise ArgumentError("class_weights", found=f"{len(found)}: {list(found)}",
                            expected=f"{logits.shape[1]} numbers from 0, one a class")
    return torch.as_tensor(weights, dtype=logits.dtype).to(logits.device, non_blocking=True)
