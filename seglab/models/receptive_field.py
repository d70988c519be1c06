"""How far a pixel sees: what its answer could depend on, and what it does depend on.

The *theoretical* receptive field belongs to the architecture: every input pixel from which a path leads to the answer.
The *effective* one belongs to the trained network and the picture: how strongly each input pixel moves the answer.
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seglab.datasets.transforms import Normalize
from seglab.errors import ArgumentError, CheckpointError

#: Of the picture. One of 1280×853 takes an FCN on EfficientNet-Lite0 1.2 GB, and some seconds on two cores.
MAX_PIXELS = 2_500_000

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Sigmoid,
                nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh)
#: Operations that pass on a positive influence as a positive one, as long as all numbers are positive: sums, products,
#: means, enlargements, and those that move numbers about. The names are PyTorch's own (ATen's).
_MONOTONE = frozenset(re.findall(r"\w+", """
    convolution mm addmm bmm baddbmm add add_ mul mul_ sum mean cat stack _adaptive_avg_pool2d avg_pool2d
    upsample_bilinear2d upsample_nearest2d _upsample_nearest_exact2d constant_pad_nd reflection_pad2d replication_pad2d
    relu relu_ gelu silu silu_ leaky_relu leaky_relu_ hardswish hardswish_ elu elu_ softplus mish sigmoid tanh
    sigmoid_ tanh_ hardsigmoid hardsigmoid_ hardtanh hardtanh_
    view _unsafe_view reshape _reshape_alias permute transpose t expand slice select unsqueeze squeeze split
    split_with_sizes unbind clone contiguous copy_ _to_copy detach alias flip roll index pixel_shuffle pixel_unshuffle
    as_strided im2col ones_like ones zeros_like zeros empty_like full_like full new_zeros new_ones new_full empty fill_
    arange scalar_tensor lift_fresh heaviside
"""))
#: Where these stop rising: beyond, they pass nothing on. None: what the call says.
_FLAT_FROM = {"sigmoid": 15.0, "tanh": 8.0, "hardsigmoid": 3.0, "hardtanh": None}
#: Functions that take a tensor's shape only, and the one that `_Restart` is made of.
_NO_FLOW = {"zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_full", "new_empty",
            "heaviside"}


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The input pixels that one output pixel can depend on.

    Attributes:
        map: (H, W) bool, True for each pixel that has an influence. Dilated convolutions leave holes.
        place: (y, x) of the output pixel, None for a network that gives one answer a picture.
        box: (top, left, bottom, right), the smallest rectangle around them; bottom and right are the first row and
            column behind it. Four zeros if no pixel has an influence.
    """

    map: np.ndarray
    place: tuple[int, int] | None
    box: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the box in pixels."""
        top, left, bottom, right = self.box
        return bottom - top, right - left

    @property
    def share(self) -> float:
        """Share of the box's pixels that have an influence, 0 to 1; below 1 there are holes."""
        height, width = self.size
        return float(self.map.sum() / max(1, height * width))

    @property
    def whole(self) -> bool:
        """True if the box is the whole picture."""
        return self.size == self.map.shape

    def __repr__(self) -> str:
        height, width = self.size
        whole = ", the whole picture" if self.whole else ""
        return f"ReceptiveField({height}×{width} pixels{whole}, {self.share:.0%} of them seen)"


def receptive_field(model: nn.Module, size: tuple[int, int], place: tuple[int, int] | None = None) -> ReceptiveField:
    """Which pixels of the input can change one pixel of the output, whatever the weights.

    It is measured, by one forward and one backward pass through a copy of the network in which nothing can cancel and
    nothing can be dead: all weights are positive, each convolution takes means, activations and normalisation pass
    everything on, max pooling is average pooling, dropout is off. A gradient then reaches exactly the pixels from which
    a path leads to the output. After each layer it is set back to 0 or 1, so that it does not fade either.
    Normalisation that takes its statistics from the picture (GroupNorm, InstanceNorm) sees the whole plane.

    The copy runs on the CPU: its convolutions give exact zeros. It costs as much time as some three to eight
    predictions of that size, and at most the memory of a training step on one picture.

    Args:
        model: (N, 3, H, W) -> {"out": (N, C, h, w)}, (N, C, h, w), or (N, C). It is not changed.
        size: (H, W) of the input in pixels; at most 2.5 million pixels.
        place: (y, x) of the pixel of the output, by default its middle. Without effect for outputs (N, C).

    Raises:
        ArgumentError: a place outside of the output, a size out of range, or a network with something whose influence
            is not certain, such as a softmax or a difference: the message names it, and where it is.

    Source: Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks" (NIPS),
    arXiv 1701.04128, section 2.

    Example:
        >>> from seglab.models import build
        >>> field = receptive_field(build("single_conv", 23), (32, 48), (10, 20))
        >>> field, field.box
        (ReceptiveField(3×3 pixels, 100% of them seen), (9, 19, 12, 22))
    """
    found, places = _reached(model, size, [place])
    rows, columns = np.flatnonzero(found[0].any(1)), np.flatnonzero(found[0].any(0))
    box = (0, 0, 0, 0) if not rows.size else (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    return ReceptiveField(found[0], places[0], box)


def receptive_reach(model: nn.Module, size: tuple[int, int]) -> tuple[int | None, int | None, int | None, int | None]:
    """How many pixels (up, left, down, right) an output pixel sees beyond itself; None for up to the picture's edge.

    Measured at two opposite corners, where most of the reach in two directions each fits into the picture. Elsewhere it
    differs by up to one output stride, since the pixels between two places of a coarse map share what they see.

    Args:
        model: as for `receptive_field`; the output must have the input's size.
        size: (H, W) of the input in pixels.

    Raises:
        ArgumentError: as for `receptive_field`, or an output of another size.

    Example:
        >>> from seglab.models import build
        >>> receptive_reach(build("single_conv", 23), (32, 48))
        (1, 1, 1, 1)
    """
    (first, last), places = _reached(model, size, [(0, 0), (-1, -1)])
    height, width = size
    if places[1] != (height - 1, width - 1):
        raise ArgumentError("model", found="scores of another size than the picture's", expected=f"{height}×{width}")
    reach: list[int | None] = []
    for axis in (1, 0):  # rows, then columns
        length = size[1 - axis]
        behind, before = np.flatnonzero(first.any(axis)), np.flatnonzero(last.any(axis))
        far, near = (int(behind[-1]), length - 1 - int(before[0])) if behind.size and before.size else (0, 0)
        reach += [None if near >= length - 1 else near, None if far >= length - 1 else far]
    up, down, left, right = reach
    return up, left, down, right


def effective_receptive_field(model: nn.Module, image: np.ndarray | Tensor, place: tuple[int, int] | None = None,
                              class_id: int | None = None, normalize: nn.Module | None = None) -> np.ndarray:
    """How strongly each pixel of this picture moves one score: |d logit / d input|, summed over the colours.

    One forward and one backward pass, on the device that the model is on. The model stays as it is: its modes are put
    back, and its parameters get no gradients.

    Args:
        model: (N, 3, H, W) -> {"out": (N, C, h, w)}, (N, C, h, w), or (N, C).
        image: (H, W, 3) uint8 array or (3, H, W) uint8 tensor, of the size that the model shall see.
        place: (y, x) of the pixel of the output, by default its middle. Without effect for outputs (N, C).
        class_id: whose score; by default that of the highest one at this pixel.
        normalize: what happens to uint8 pictures first; by default what the model's weights ask for, else [0, 1].

    Returns:
        (H, W) float32 in [0, 1], the largest value is 1; all zeros if no pixel moves the score.

    Raises:
        ArgumentError: a picture of another shape or type, a place outside of the output, or an unknown class.
        CheckpointError: the gradient is not finite.

    Source: Luo et al. 2016, arXiv 1701.04128, section 2. Their measure averages over pictures; this is one of them.

    Example:
        >>> from seglab.models import build
        >>> heat = effective_receptive_field(build("single_conv", 3), np.zeros((9, 9, 3), np.uint8), (4, 2))
        >>> heat.shape, np.argwhere(heat > 0).min(0).tolist(), np.argwhere(heat > 0).max(0).tolist()
        ((9, 9), [3, 1], [5, 3])
    """
    pixels = _pixels(image)
    if normalize is None:
        known = getattr(model, "normalize", None)
        normalize = Normalize(**known) if known else Normalize()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            inputs = normalize.to(device)(pixels.to(device)[None]).detach().requires_grad_()  # (1, 3, H, W)
            scores, _ = _scores_at(model(inputs), place)  # (C,)
            if class_id is not None and not 0 <= class_id < len(scores):
                raise ArgumentError("class_id", found=class_id, expected=f"0 to {len(scores) - 1}")
            chosen = scores.argmax() if class_id is None else class_id
            gradient = torch.autograd.grad(scores[chosen], inputs)[0]
    finally:
        for module, mode in modes:
            module.training = mode
    heat = gradient[0].abs().sum(0).float().cpu()  # (1, 3, H, W) -> (H, W)
    if not heat.isfinite().all():
        raise CheckpointError(f"model {type(model).__name__}", found="a gradient that is NaN or infinite",
                              expected="finite numbers", fix="Its weights are damaged or its training diverged.")
    return (heat / heat.max().clamp_min(torch.finfo(torch.float32).tiny)).numpy()


def _pixels(image: Any) -> Tensor:
    """(3, H, W) uint8 of a picture."""
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        image = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
    if not (isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3 and image.dtype == torch.uint8
            and image.numel()):
        raise ArgumentError("image", found=f"{type(image).__name__}, shape {tuple(getattr(image, 'shape', ()))}, "
                            f"{getattr(image, 'dtype', None)}",
                            expected="an (H, W, 3) uint8 array or a (3, H, W) uint8 tensor",
                            fix="inference.as_image makes such an array of any picture.")
    return image


def _scores_at(output: Any, place: tuple[int, int] | None) -> tuple[Tensor, tuple[int, int] | None]:
    """The scores (C,) of one place of what a model returns, and the place; -1 is the last row or column."""
    scores = output["out"] if isinstance(output, dict) else output
    if not isinstance(scores, Tensor) or scores.ndim not in {2, 4}:
        raise ArgumentError("model", found=f"an output of type {type(scores).__name__}",
                            expected='{"out": (N, C, h, w)}, (N, C, h, w) or (N, C)')
    if scores.ndim == 2:
        return scores[0], None
    height, width = scores.shape[-2:]
    y, x = (height // 2, width // 2) if place is None else (
        side - 1 if i == -1 else i for i, side in zip(place, (height, width), strict=True))
    if not (0 <= y < height and 0 <= x < width):
        raise ArgumentError("place", found=f"row {y}, column {x}",
                            expected=f"rows 0 to {height - 1} and columns 0 to {width - 1}")
    return scores[0, :, y, x], (int(y), int(x))


# ------------------------------------------------------------------------------------ the copy in which nothing cancels
def _reached(model: nn.Module, size: tuple[int, int], places: list[tuple[int, int] | None]
             ) -> tuple[list[np.ndarray], list[tuple[int, int] | None]]:
    """For each place of the output, the (H, W) bool map of the input pixels that reach it, and the place itself."""
    if len(size) != 2 or min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise ArgumentError("size", found=tuple(size), expected=f"(H, W) of 1 to {MAX_PIXELS:,} pixels together",
                            fix="Measure at a smaller size: a receptive field that fits into it is the same there.")
    net, watch = _positive(model), _Watch()
    hooks = [hook for module in net.modules() for hook in (module.register_forward_pre_hook(watch.enter),
                                                           module.register_forward_hook(watch.leave))]
    maps, found = [], []
    try:
        with torch.inference_mode(False), torch.enable_grad():
            inputs = torch.ones(1, 3, *size, requires_grad=True)
            with _Flow(watch), watch:
                output = net(_Restart.apply(inputs))
            for place in places:
                scores, where = _scores_at(output, place)
                # No path at all leaves no gradient.
                gradient = torch.autograd.grad(scores.sum(), inputs, retain_graph=True, allow_unused=True)[0] \
                    if scores.requires_grad else None
                reached = torch.zeros(size, dtype=torch.bool) if gradient is None else (gradient[0] > 0).any(0)
                maps.append(reached.numpy())  # (H, W)
                found.append(where)
    finally:
        for hook in hooks:
            hook.remove()
    return maps, found


class _Restart(torch.autograd.Function):
    """Forward, all numbers become 1 (0 stays 0: nothing comes from there); backward, all influences become 1."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return torch.heaviside(x, x.new_zeros(()))

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return torch.heaviside(gradient, gradient.new_zeros(()))


class _Pass(nn.Module):
    """In the place of normalisation: what comes in, and, if it measures statistics, its means over these dimensions."""

    def __init__(self, *dims: int, groups: int = 0) -> None:
        super().__init__()
        self.dims, self.groups = dims, groups

    def forward(self, x: Tensor) -> Tensor:
        if self.groups:
            parts = x.reshape(len(x), self.groups, -1)  # (N, C, …) -> (N, G, C / G · …)
            x = (parts + parts.mean(2, keepdim=True)).reshape(x.shape)
        elif self.dims:
            x = x + x.mean(self.dims, keepdim=True)
        return _Restart.apply(x + 1)  # it has a bias: no zero is left


def _positive(model: nn.Module) -> nn.Module:
    """A copy on the CPU, in eval mode, in which each influence is positive."""
    net = copy.deepcopy(model).to("cpu", torch.float32).eval()
    net = net.to(memory_format=torch.contiguous_format)  # channels-last pooling goes ways of its own
    for parameter in net.parameters():
        parameter.requires_grad_(False)
        # Means over what flows into an output; biases and scales of channels are 1.
        parameter.fill_(1 / math.prod(parameter.shape[1:]) if parameter.ndim > 1 else 1.0)
    for buffer in net.buffers():
        if buffer.is_floating_point():
            buffer.abs_()  # fixed filters keep their zeros
    if (replacement := _replacement(net)) is not None:
        return replacement
    for parent in list(net.modules()):
        if isinstance(parent, _ConvNd | nn.Linear):
            parent.register_forward_hook(lambda module, inputs, output: _Restart.apply(output))
        for name, child in list(parent.named_children()):
            if (replacement := _replacement(child)) is not None:
                setattr(parent, name, replacement)
    return net


def _replacement(module: nn.Module) -> nn.Module | None:
    """What stands for a layer in the copy; None if it stays."""
    kind = type(module)
    if kind in _ACTIVATIONS:
        return nn.Identity()
    if isinstance(module, _BatchNorm) or kind.__name__.startswith("FrozenBatchNorm"):
        # timm's BatchNormAct2d also activates. Without stored statistics, the picture's own are taken.
        return _Pass() if getattr(module, "running_mean", None) is not None else _Pass(2, 3)
    if isinstance(module, _InstanceNorm):
        return _Pass() if module.running_mean is not None else _Pass(2, 3)
    if isinstance(module, nn.GroupNorm):
        return _Pass(groups=module.num_groups)
    if isinstance(module, nn.LayerNorm) and kind.__name__ in {"LayerNorm", "LayerNorm2d"}:
        # Over the channels of (N, C, h, w), or over the last dimensions, as the layer says.
        return _Pass(1) if kind.__name__ == "LayerNorm2d" else _Pass(*range(-len(module.normalized_shape), 0))
    if type(module) is nn.MaxPool2d and module.dilation in {1, (1, 1)} and not module.return_indices:
        return nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
    if type(module) is nn.AdaptiveMaxPool2d and not module.return_indices:
        return nn.AdaptiveAvgPool2d(module.output_size)
    return None


class _Watch(TorchDispatchMode):
    """Stops a forward pass at the first operation whose influence is not certain."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)  # without hints; mypy excuses it by its name, which super() hides
        self.inside: list[str] = []  # types of the modules that are running, the outermost first

    def enter(self, module: nn.Module, _: Any) -> None:
        self.inside.append(type(module).__name__)

    def leave(self, *_: Any) -> None:
        self.inside.pop()

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = op._schema.name.split("::")[1]
        if name not in _MONOTONE:
            raise self.unknown(f"the operation {name!r}")
        if kwargs.get("alpha", 1) < 0:
            raise self.unknown("a difference")
        if (plain := name.rstrip("_")) in _FLAT_FROM:
            limit = _FLAT_FROM[plain] or (args[2] if len(args) > 2 else 1.0)
            if args[0].max() >= limit:
                raise self.unknown(f"{name} of a number that may be too large for it")
        result = op(*args, **kwargs)
        for part in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(part, Tensor) and part.is_floating_point() and name not in {"empty", "empty_like"} \
                    and part.numel() and not (part.min() >= 0 and part.max().isfinite()):
                raise self.unknown("numbers below 0 or without bound")
        return result

    def unknown(self, what: str) -> ArgumentError:
        return ArgumentError("receptive_field", found=f"{what} in {' > '.join(self.inside[-3:])}",
                             expected="convolutions, pooling, normalisation, activations, enlargements, sums, products",
                             fix="Replace that module in a copy of the network, or measure the parts around it.")


class _Flow(TorchFunctionMode):
    """Stops a forward pass where a gradient is cut off, as by `detach`, `no_grad` or a comparison."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def flows(values: Any) -> bool:
            return any(isinstance(v, Tensor) and v.requires_grad for v in tree_leaves(values))

        entered, result = flows((args, kwargs)), function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", str(function))
        if entered and isinstance(result, Tensor) and not result.requires_grad and name not in _NO_FLOW:
            raise self.watch.unknown(f"{name!r}, which cuts gradients off,")
        return result
