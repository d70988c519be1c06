"""Checks about large kernels: strips, what they cost and how large they are, and what a place of a map uses."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.checks.networks import module_of
from seglab.models import GlobalConvBlock
from seglab.models.gcn import default_kernel


def same_weights(model: nn.Module) -> None:
    """Weights that depend on a parameter's shape and on the part of the network that it is in, and on nothing else.

    So they are the same for every right answer, in whatever order it makes its layers.
    """
    if not list(model.parameters()):
        raise RefusedError("its layers are not registered: make them in __init__, as attributes: self.… = nn.…")
    with torch.no_grad():
        for name, value in model.named_parameters():
            parts = name.split(".")
            where = ".".join(parts[:2]) if parts[0] in {"large", "refine", "finish", "backbone"} else ""
            seed = zlib.crc32(f"{where} {[*value.shape]}".encode())
            fan = max(1, value[0].numel()) if value.ndim > 1 else 1
            noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed))
            value.copy_(noise / math.sqrt(fan) + (0.3 if value.ndim == 1 else 0))


def map_of(model: nn.Module, *args: Any) -> dict[str, Any]:
    """What is compared of a part of a network with known weights: how many parameters it has, and what it makes."""
    same_weights(model)
    found = model.eval()(*args)
    if found is None:
        raise RefusedError("forward returns nothing. Is there a `return`?")
    if not isinstance(found, Tensor):
        raise RefusedError(f"forward returns a {type(found).__name__}, and should return a tensor")
    if not found.requires_grad:
        raise RefusedError("no gradient reaches its weights, so that it cannot learn: torch.no_grad(), or detach()?")
    return {"parameters": sum(value.numel() for value in model.parameters()), "shape of the map": list(found.shape),
            "map": found}


def _block_of(answer: Callable[..., Any], in_channels: int, out_channels: int, k: int) -> dict[str, Any]:
    model = module_of(answer, in_channels, out_channels, k)
    if k > 1 and any(isinstance(one, nn.Conv2d) and min(one.kernel_size) > 1 for one in model.modules()):
        raise RefusedError("it has a full k×k convolution. Build it from strips, with kernel_size=(k, 1) and (1, k)")
    parts = dict(model.named_children())
    if list(model.parameters()) and not {"left", "right"} <= parts.keys():
        raise RefusedError(f"its parts are called {', '.join(parts)}. Call the two ways self.left and self.right")
    maps = torch.randn(2, in_channels, k + 2, k + 4, generator=torch.Generator().manual_seed(1))
    return map_of(model, maps)


class _Strips(nn.Module):
    """The right answer, with what can be wrong about it."""

    def __init__(self, in_channels: int, out_channels: int, k: int, *, pad: bool = True, bias: bool = True,
                 between: Callable[[], nn.Module] = nn.Identity, after: Callable[[Tensor], Tensor] = lambda x: x,
                 join: Callable[[Tensor, Tensor], Tensor] = lambda a, b: a + b, middle: int = 0, ways: str = "xy yx",
                 ) -> None:
        super().__init__()
        middle = middle or out_channels

        def strip(before: int, behind: int, way: str) -> nn.Conv2d:
            size = {"x": (k, 1), "y": (1, k)}[way]
            return nn.Conv2d(before, behind, size, padding=(size[0] // 2 * pad, size[1] // 2 * pad), bias=bias)

        left, right = ways.split()
        self.left = nn.Sequential(strip(in_channels, middle, left[0]), between(), *(
            strip(middle, out_channels, one) for one in left[1:]))
        self.right = nn.Sequential(strip(in_channels, middle, right[0]), between(), *(
            strip(middle, out_channels, one) for one in right[1:]))
        self.join, self.after = join, after

    def forward(self, maps: Tensor) -> Tensor:
        return self.after(self.join(self.left(maps), self.right(maps)))


global_conv_block = Exercise(
    "global_conv_block",
    [Case("6 channels in, 4 out, k = 7", (6, 4, 7), ""), Case("5 channels in, 2 out, k = 3", (5, 2, 3), "")],
    right=_Strips, run=_block_of,
    mistakes={
        "There is a ReLU between the strips. Without one, the block is a single linear kernel, and that is wanted.":
            lambda *a: _Strips(*a, between=nn.ReLU),
        "Only the left way is returned. Add both: self.left(maps) + self.right(maps).":
            lambda *a: _Strips(*a, join=lambda left, right: left),
        "Only the right way is returned. Add both: self.left(maps) + self.right(maps).":
            lambda *a: _Strips(*a, join=lambda left, right: right),
        "The map is smaller than before. A strip of k×1 needs padding=(k // 2, 0), one of 1×k padding=(0, k // 2).":
            lambda *a: _Strips(*a, pad=False),
        "The two ways are multiplied. Add them.": lambda *a: _Strips(*a, join=lambda left, right: left * right),
        "This is the mean of the two ways. Add them.": lambda *a: _Strips(*a, join=lambda a, b: (a + b) / 2),
        "The two ways are concatenated, which doubles the channels. Add them.":
            lambda *a: _Strips(*a, join=lambda left, right: torch.cat([left, right], 1)),
        "Both ways have their strips in the same order. One begins with k×1, the other with 1×k.": [
            lambda *a: _Strips(*a, ways="xy xy"), lambda *a: _Strips(*a, ways="yx yx")],
        "A way has two strips of the same direction, so that it sees a strip and no square. k×1 is followed by 1×k.": [
            lambda *a: _Strips(*a, ways="xx yy"), lambda *a: _Strips(*a, ways="yy xx")],
        "Each way has one strip alone. Two are wanted: k×1, then 1×k; and 1×k, then k×1.": [
            lambda i, o, k: _Strips(i, o, k, ways="x y"), lambda i, o, k: _Strips(i, o, k, ways="y x")],
        "Between the strips there are as many channels as come in. There should be out_channels, which is cheaper.":
            lambda i, o, k: _Strips(i, o, k, middle=i),
        "The strips have no bias. Leave it at nn.Conv2d's default.": lambda *a: _Strips(*a, bias=False),
        "There is a ReLU behind the sum. Scores may be negative.": lambda *a: _Strips(*a, after=F.relu),
        "One way is subtracted from the other. Add them.":
            lambda *a: _Strips(*a, join=lambda left, right: left - right)},
    errors={"must match the size": "The two ways make maps of different sizes. A strip of k×1 needs "
                                   "padding=(k // 2, 0), one of 1×k padding=(0, k // 2).",
            "channels, but got": "The second strip of a way gets out_channels. And each way gets the maps themselves: "
                                 "self.left(maps) + self.right(maps).",
            "'tuple' object is not callable": "A comma at the end of the line makes a tuple of the layers.",
            "is not a Module subclass": "nn.Sequential wants layers one after another, and not in a list.",
            "has no attribute 'left'": "Call the two ways self.left and self.right."},
    hints=("kernel_size may be a pair, (rows, columns), and so may padding. How many rows does a strip of k×1 need "
           "above and below, so that the map keeps its size?",
           "self.left = nn.Sequential(nn.Conv2d(in_channels, out_channels, (k, 1), padding=(k // 2, 0)), then "
           "nn.Conv2d(out_channels, out_channels, (1, k), padding=(0, k // 2))). self.right has the other order. "
           "forward adds both.",
           "class GlobalConvBlock(nn.Module):\n    def __init__(self, in_channels, out_channels, k):\n"
           "        super().__init__()\n        down, across = (k // 2, 0), (0, k // 2)\n"
           "        self.left = nn.Sequential(nn.Conv2d(in_channels, out_channels, (k, 1), padding=down),\n"
           "                                  nn.Conv2d(out_channels, out_channels, (1, k), padding=across))\n"
           "        self.right = nn.Sequential(nn.Conv2d(in_channels, out_channels, (1, k), padding=across),\n"
           "                                   nn.Conv2d(out_channels, out_channels, (k, 1), padding=down))\n\n"
           "    def forward(self, maps):\n        return self.left(maps) + self.right(maps)"))


def _counts(in_channels: int, out_channels: int, k: int, *, ways: int = 2, bias: tuple[int, int] = (1, 1),
            second: int = 0, full: int = 2) -> tuple[int, int]:
    strips = ways * (k * in_channels * out_channels + k * (second or out_channels) * out_channels
                     + 2 * bias[0] * out_channels)
    return strips, k**full * in_channels * out_channels + bias[1] * out_channels


count_parameters = Exercise(
    "count_parameters",
    [Case("8 channels in, 8 out, k = 7", (8, 8, 7)), Case("20 channels in, 3 out, k = 5", (20, 3, 5)),
     Case("k = 1: strips are dearer", (16, 4, 1)), Case("2,048 channels in, 21 out, k = 15", (2048, 21, 15))],
    right=_counts,
    mistakes={
        "The biases are missing: each of the four strips has one for each channel that it makes, and so has the full "
        "kernel.": lambda *a: _counts(*a, bias=(0, 0)),
        "The biases of the strips are missing: four times out_channels.": lambda *a: _counts(*a, bias=(0, 1)),
        "The bias of the full kernel is missing: one for each channel that it makes.":
            lambda *a: _counts(*a, bias=(1, 0)),
        "Only one of the two ways is counted. There are four strips.": lambda *a: _counts(*a, ways=1),
        "The second strip of a way gets out_channels, not in_channels.":
            lambda i, o, k: _counts(i, o, k, second=i),
        "A full kernel has k·k weights for each pair of channels, not k.": lambda *a: _counts(*a, full=1),
        "The two are exchanged: first the strips, then the full kernel.": lambda *a: _counts(*a)[::-1]},
    hints=("A convolution has (rows · columns of its kernel) · (channels in) · (channels out) weights, and a bias for "
           "each channel out.",
           "A way has k·in·out + out numbers in its first strip and k·out·out + out in its second. There are two ways. "
           "The full kernel has k·k·in·out + out.",
           "strips = 2 * (k * in_channels * out_channels + out_channels + k * out_channels * out_channels "
           "+ out_channels)\nfull = k * k * in_channels * out_channels + out_channels\nreturn strips, full"))


def _reach(heat: Tensor, share: float, *, corner: bool = False, radius: bool = False, whole: bool = True,
           area: bool = False) -> int:
    y, x = (0, 0) if corner else (heat.shape[0] // 2, heat.shape[1] // 2)
    total = heat.sum() if whole else 1.0
    for r in range(max(heat.shape) + 1):
        part = heat[max(0, y - r):y + r + 1, max(0, x - r):x + r + 1]
        if part.sum() >= share * total - 1e-6:
            return r if radius else (2 * r + 1) ** 2 if area else 2 * r + 1
    return 2 * max(heat.shape) + 1


def _peak(height: int, width: int, values: Mapping[tuple[int, int], float], rest: float = 0.0) -> Tensor:
    heat = torch.full((height, width), rest)
    for place, value in values.items():
        heat[place] = value
    return heat


_BUMP = torch.exp(-((torch.arange(41.0)[:, None] - 20) ** 2 + (torch.arange(41.0)[None] - 20) ** 2) / 50)
reach = Exercise(
    "reach",
    [Case("all of it in the middle", (_peak(5, 5, {(2, 2): 1.0}), 0.5)),
     Case("a little in the middle, the rest beside it", (_peak(7, 7, {(3, 3): 0.2, (3, 4): 0.8}), 0.5)),
     Case("a map that is wider than high", (_peak(5, 9, {(2, 4): 1.0, (2, 7): 3.0}), 0.5)),
     Case("the same everywhere: 25×25 places", (torch.ones(25, 25), 0.5), "25×25 ones, share 0.5"),
     Case("nine tenths of a bump of 41×41 places", (3 * _BUMP, 0.9), "a bump, share 0.9")],
    right=_reach,
    mistakes={
        "This is how far the square goes to each side. Return its side, 2 · r + 1.":
            lambda *a: _reach(*a, radius=True),
        "This is the area. Return the side of the square.": lambda *a: _reach(*a, area=True),
        "The sum in the square is compared with share itself. Compare it with share · heat.sum().":
            lambda *a: _reach(*a, whole=False),
        "The square grows from the upper left corner. Its middle is the place (H // 2, W // 2).":
            lambda *a: _reach(*a, corner=True),
        "The square is one too small: the end of a slice is not in it, heat[y - r:y + r + 1].":
            lambda heat, share: _reach(heat, share) - 1,
        "This is the next larger square. Return the smallest that holds the share.":
            lambda heat, share: _reach(heat, share) + 2,
        "The share is not used: it is not always a half.": lambda heat, share: _reach(heat, 0.5),
        "Row and column of the middle are exchanged: heat[H // 2, W // 2].":
            lambda heat, share: _reach(heat.T[: heat.shape[0], : heat.shape[1]] if heat.shape[0] != heat.shape[1]
                                       else heat, share)},
    errors={"cannot unpack": "heat.shape is (H, W).",
            "indices must be integers": "Use whole numbers: // divides without a rest."},
    hints=("Let a square grow around the middle, one place to each side in each step. When do you stop?",
           "y, x = H // 2, W // 2. For r = 0, 1, 2, … the square is heat[y - r:y + r + 1, x - r:x + r + 1], with "
           "max(0, …) where it would begin before the map. Stop when its sum is at least share · heat.sum().",
           "y, x = heat.shape[0] // 2, heat.shape[1] // 2\nr = 0\n"
           "while heat[max(0, y - r):y + r + 1, max(0, x - r):x + r + 1].sum() < share * heat.sum():\n    r += 1\n"
           "return 2 * r + 1"))


kernel_for_size = Exercise(
    "kernel_for_size",
    [Case("512 pixels: 16 places", (512, 32)), Case("256 pixels: 8 places", (256, 32)),
     Case("224 pixels: 7 places", (224, 32)), Case("256 pixels, a map of stride 16", (256, 16)),
     Case("96 pixels: 3 places", (96, 32)), Case("a single place", (32, 32))],
    right=lambda size, stride: default_kernel(size, stride),
    mistakes={
        "This is the number of places. The kernel should be smaller than the map.":
            lambda size, stride: size // stride,
        "This is one less than the number of places, which may be even. k is odd: subtract 1 from an even one.": [
            lambda size, stride: size // stride - 1, lambda size, stride: max(1, size // stride - 1)],
        "A single place leaves k = 1, and not less.":
            lambda size, stride: (k := size // stride - 1) - (1 - k % 2),
        "An even number is made odd by adding 1, so that the kernel is as large as the map. Subtract 1.":
            lambda size, stride: max(1, (k := size // stride - 1) + (1 - k % 2)),
        "The stride is left out: it is not always 32.": lambda size, stride: default_kernel(size),
        "This is twice as large as the map: the kernel that every place sees the whole map with.":
            lambda size, stride: 2 * (size // stride) - 1,
        "This is for the pixels of the picture. How many places has the map?":
            lambda size, stride: size - 1 - size % 2},
    hints=("How many places has a side of the map? Which is the largest odd number below that?",
           "places = size // stride. k = places - 1, and one less if that is even; at least 1.",
           "k = size // stride - 1\nreturn max(1, k if k % 2 else k - 1)"))


def _kernel(block: Any, *, ways: str = "left right", order: str = "io", plus: str = "sum") -> Tensor:
    found = []
    for way in ways.split():
        first, second = (conv.weight.detach() for conv in getattr(block, way))  # (M, I, k, 1), (O, M, 1, k), or turned
        first, second = first.flatten(2), second.flatten(2)  # (M, I, k), (O, M, k)
        form = {"left": "omx,miy->oiyx", "right": "omy,mix->oiyx"}[way]
        if plus == "first":
            first, second = first[:1], second[:, :1]
        found.append(torch.einsum(form, second, first))
    kernel = torch.stack(found).sum(0)
    return kernel.transpose(0, 1) if order == "oi" else kernel


def _kernel_of(answer: Callable[..., Any], in_channels: int, out_channels: int, k: int) -> Any:
    block = GlobalConvBlock(in_channels, out_channels, k)
    same_weights(block)
    with torch.no_grad():
        for name, value in block.named_parameters():
            if name.endswith("bias"):
                value.zero_()
    found = answer(block)
    if isinstance(found, nn.Conv2d):
        found = found.weight
    return found.detach() if isinstance(found, Tensor) else found


full_kernel = Exercise(
    "full_kernel",
    [Case("1 channel in, 1 out, k = 3", (1, 1, 3), ""), Case("2 channels in, 3 out, k = 5", (2, 3, 5), "")],
    right=_kernel, run=_kernel_of,
    mistakes={
        "Only the left way is in it. Add the kernel of the right one.": lambda block: _kernel(block, ways="left"),
        "Only the right way is in it. Add the kernel of the left one.": lambda block: _kernel(block, ways="right"),
        "Rows and columns of the kernel are exchanged: the strip of k×1 gives the rows.":
            lambda block: _kernel(block).transpose(2, 3),
        "Rows and columns of the right way are exchanged: its first strip is 1×k, and gives the columns.":
            lambda block: _kernel(block, ways="left") + _kernel(block, ways="right").transpose(2, 3),
        "The first two axes are exchanged: a kernel is (out_channels, in_channels, k, k).":
            lambda block: _kernel(block, order="oi"),
        "Only the first channel between the strips is used. Sum over all of them.":
            lambda block: _kernel(block, plus="first"),
        "The kernel is turned by 180°. PyTorch's convolution does not flip its kernel.":
            lambda block: _kernel(block).flip(2, 3),
        "This is the mean of the two ways. Add them.": lambda block: _kernel(block) / 2},
    errors={"einsum()": "In left, the first weight is (out, in, k, 1) and the second (out, out, 1, k). Take out the "
                        "sides of length 1, and write for example \"omx,miy->oiyx\".",
            "must match the size": "A row and a column give a whole k×k kernel: column[:, None] * row[None, :]."},
    hints=("With one channel, a column times a row is a k×k matrix: kernel[y, x] = column[y] · row[x]. And with "
           "several channels between the strips?",
           "For each pair of channels (o, i): the sum over the channels m between the strips. torch.einsum(\"omx,miy->"
           "oiyx\", row, column) does it for the left way. In the right way, the row comes first.",
           "(down, across), (across2, down2) = block.left, block.right\n"
           "kernel = torch.einsum(\"omx,miy->oiyx\", across.weight[:, :, 0], down.weight[..., 0])\n"
           "kernel = kernel + torch.einsum(\"omy,mix->oiyx\", down2.weight[..., 0], across2.weight[:, :, 0])\n"
           "return kernel"))
