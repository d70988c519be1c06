"""Checks about small networks: one convolution, two, and what they see."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError


class _Convolution(nn.Module):
    """The right answer, with what can be wrong about it."""

    def __init__(self, num_classes: int, size: int = 3, padding: int = 1, bias: bool = True,
                 after: Callable[[Tensor], Tensor] = lambda x: x, channels: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, num_classes if channels is None else channels, size, padding=padding, bias=bias)
        self.after = after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.conv(images))


def module_of(answer: Callable[..., Any], *args: Any) -> nn.Module:
    """The network that a learner's class makes; RefusedError if the answer or what it makes is something else."""
    if isinstance(answer, nn.Module):
        raise RefusedError("pass the class itself, without brackets, instead of a network that was made of it")
    model = answer(*args)
    if not isinstance(model, nn.Module):
        raise RefusedError(f"it makes a {type(model).__name__}, which is no nn.Module: class …(nn.Module)")
    return model


def _logits_of(answer: Callable[..., Any], num_classes: int, shape: tuple[int, int, int, int]) -> dict[str, Any]:
    """What is compared of a network: what it has, and what it makes of a picture with known weights."""
    model = module_of(answer, num_classes)
    pictures = torch.linspace(0, 1, math.prod(shape)).reshape(shape)
    with torch.no_grad():
        model(pictures)  # some layers have no parameters before
        if not (parameters := list(model.parameters())):
            raise RefusedError("it has no parameters: make its layers in __init__, as attributes: self.conv = …")
        for value in parameters:  # the same weights, however they were drawn
            value.copy_(torch.linspace(-1, 1, value.numel()).reshape(value.shape))
    found = model(pictures)
    if found is None:
        raise RefusedError("forward returns nothing. Is there a `return`?")
    if not isinstance(found, Tensor):
        raise RefusedError(f"forward returns a {type(found).__name__}, and should return the tensor of logits")
    if found.requires_grad:
        found.sum().backward()
    if found.is_floating_point() and any(value.grad is None for value in parameters):
        raise RefusedError("no gradient reaches its weights, so that it cannot learn: torch.no_grad(), or detach()?")
    return {"parameters": sum(value.numel() for value in parameters),
            "shape of the logits": list(found.shape), "logits": found}


single_conv = Exercise(
    "single_conv",
    [Case("5 classes, two pictures of 6×7", (5, (2, 3, 6, 7)), ""),
     Case("23 classes, one picture of 8×5", (23, (1, 3, 8, 5)), "")],
    right=_Convolution, run=_logits_of,
    mistakes={
        "The logits are smaller than the picture: a 3×3 window needs a frame of one pixel, padding=1.":
            lambda n: _Convolution(n, padding=0),
        "The convolution has no bias.": lambda n: _Convolution(n, bias=False),
        "The window is 1×1 and sees no neighbours: kernel_size=3.": lambda n: _Convolution(n, size=1, padding=0),
        "The window is 5×5: kernel_size=3.": lambda n: _Convolution(n, size=5, padding=2),
        "There is a softmax behind the convolution. Logits are plain scores: the loss has the softmax in it.":
            lambda n: _Convolution(n, after=lambda x: x.softmax(1)),
        "There is a log-softmax behind the convolution. Logits are plain scores: the loss has the softmax in it.":
            lambda n: _Convolution(n, after=lambda x: x.log_softmax(1)),
        "There is a ReLU behind the convolution. Logits may be negative; leave them as they are.":
            lambda n: _Convolution(n, after=F.relu),
        "There is a sigmoid behind the convolution. Leave the scores as they are.":
            lambda n: _Convolution(n, after=torch.sigmoid),
        "It returns the best class instead of a score for each class.":
            lambda n: _Convolution(n, after=lambda x: x.argmax(1)),
        "It makes 3 scores a pixel, whatever the number of classes.": lambda n: _Convolution(n, channels=3),
        "It makes 23 scores a pixel, whatever the number of classes: use num_classes.":
            lambda n: _Convolution(n, channels=23),
        "It makes one score too many: 255 is not a class.":
            lambda n: _Convolution(n, channels=n + 1)},
    hints=("One layer is all: a convolution from 3 channels to num_classes. How much padding does it need, so that the "
           "output is as large as the input?",
           "In __init__: self.conv = nn.Conv2d(3, num_classes, kernel_size=3, padding=1), after super().__init__(). "
           "In forward: return what the layer makes of the pictures.",
           "class SingleConv(nn.Module):\n    def __init__(self, num_classes):\n        super().__init__()\n"
           "        self.conv = nn.Conv2d(3, num_classes, kernel_size=3, padding=1)\n\n"
           "    def forward(self, images):\n        return self.conv(images)"))

window = Exercise(
    "window",
    [Case("one 3×3 convolution", ([3],)), Case("two of them", ([3, 3],)), Case("1×1 after 3×3", ([3, 1],)),
     Case("two of 2×2", ([2, 2],)), Case("5×5, 3×3, 7×7", ([5, 3, 7],)), Case("no layer: the pixel itself", ([],))],
    right=lambda kernel_sizes: 1 + sum(size - 1 for size in kernel_sizes),
    mistakes={
        "The sizes are multiplied. Each layer only adds size - 1 pixels.":
            lambda kernel_sizes: int(np.prod(kernel_sizes)),
        "The sizes are added. Two 3×3 layers overlap in their middle: a layer adds size - 1.": sum,
        "Only the largest layer counts.": lambda kernel_sizes: max(kernel_sizes, default=1),
        "Only one side of each layer is added: a layer adds (size - 1) / 2 on both sides.":
            lambda kernel_sizes: 1 + sum((size - 1) // 2 for size in kernel_sizes),
        "The pixel itself is missing: begin with 1.": lambda kernel_sizes: sum(size - 1 for size in kernel_sizes),
        "Only the first layer counts. Is `return` inside of the loop?":
            lambda kernel_sizes: kernel_sizes[0] if kernel_sizes else 1,
        "Every layer is counted as a 3×3 one.": lambda kernel_sizes: 1 + 2 * len(kernel_sizes),
        "Only the last layer counts.": lambda kernel_sizes: kernel_sizes[-1] if kernel_sizes else 1,
        "This is the area, in pixels. Return the side.":
            lambda kernel_sizes: (1 + sum(size - 1 for size in kernel_sizes)) ** 2},
    hints=("A pixel behind two layers sees a 3×3 patch of what the first layer made. What does the patch see?",
           "A layer of size k makes the window k - 1 pixels larger, whatever lies before it. Without a layer it is 1.",
           "return 1 + sum(size - 1 for size in kernel_sizes)"))


class _Two(nn.Module):
    """Two convolutions, with what can be wrong about them."""

    def __init__(self, num_classes: int, channels: int = 16, padding: int = 1, second: int = 3,
                 between: Callable[[Tensor], Tensor] = F.relu, after: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=padding)
        self.second = nn.Conv2d(channels, num_classes, second, padding=padding * (second // 2))
        self.between, self.after = between, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.second(self.between(self.first(images))))


two_convs = Exercise(
    "two_convs",
    [Case("5 classes, two pictures of 6×7", (5, (2, 3, 6, 7)), ""),
     Case("23 classes, one picture of 8×7", (23, (1, 3, 8, 7)), "")],
    right=_Two, run=_logits_of,
    mistakes={
        "There is no ReLU between the two. Two convolutions without one are a single, larger convolution.":
            lambda n: _Two(n, between=lambda x: x),
        "There is also a ReLU after the second convolution. Remove that one: logits may be negative.":
            lambda n: _Two(n, after=F.relu),
        "The ReLU stands behind the second convolution instead of between the two.":
            lambda n: _Two(n, between=lambda x: x, after=F.relu),
        "The logits are smaller than the picture: both convolutions need padding=1.": lambda n: _Two(n, padding=0),
        "There are 32 channels between the two. There should be 16.": lambda n: _Two(n, channels=32),
        "There are 8 channels between the two. There should be 16.": lambda n: _Two(n, channels=8),
        "The second convolution is 1×1: kernel_size=3.": lambda n: _Two(n, second=1),
        "There is a softmax behind the second convolution. Logits are plain scores.":
            lambda n: _Two(n, after=lambda x: x.softmax(1))},
    hints=("Two layers like that of SingleConv. What comes between them, and nowhere else?",
           "nn.Conv2d(3, 16, kernel_size=3, padding=1), F.relu, nn.Conv2d(16, num_classes, kernel_size=3, padding=1)",
           "class TwoConvs(nn.Module):\n    def __init__(self, num_classes):\n        super().__init__()\n"
           "        self.first = nn.Conv2d(3, 16, kernel_size=3, padding=1)\n"
           "        self.second = nn.Conv2d(16, num_classes, kernel_size=3, padding=1)\n\n"
           "    def forward(self, images):\n        return self.second(F.relu(self.first(images)))"))
