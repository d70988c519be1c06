"""BatchNorm folded into the convolution before it: the same answers, sooner."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_Model = TypeVar("_Model", bound=nn.Module)


@torch.no_grad()
def fold_batch_norm(model: _Model, example: Tensor) -> _Model:
    """A copy of a model, for eval mode only, without the BatchNorm layers that directly follow a convolution.

    With stored statistics BatchNorm is y = a·x + b for each channel, and a convolution can do that itself: its weights
    are multiplied by a, and b goes to its bias (Jacob et al. 2018, arXiv 1712.05877, section 3.2). Answers differ by
    rounding only. `example` is one small input, to watch in which order the layers run: the maps that a BatchNorm takes
    from a convolution must go nowhere else, as is usual.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> picture = torch.randn(1, 3, 8, 8)
        >>> folded = fold_batch_norm(net, picture)
        >>> torch.allclose(folded(picture), net(picture), atol=1e-5), type(folded[1]).__name__
        (True, 'Identity')
    """
    folded = copy.deepcopy(model).eval()
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensor is kept, so that its id stays its own
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    uses: dict[nn.Module, int] = {}

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        uses[module] = uses.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            made[id(output)] = (module, output)
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    layers = [m for m in folded.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    hooks = [layer.register_forward_hook(watch) for layer in layers]
    folded(example)
    for hook in hooks:
        hook.remove()
    replacements: dict[nn.Module, nn.Module] = {}
    for conv, norm in pairs:
        alone = uses[conv] == uses[norm] == 1 == sum(other is conv for other, _ in pairs)
        if alone and norm.track_running_stats:
            replacements[conv] = fuse_conv_bn_eval(conv, norm)
            # timm's BatchNormAct2d also drops and activates.
            rest = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
            replacements[norm] = nn.Sequential(*rest) if rest else nn.Identity()
    for parent in list(folded.modules()):
        for name, child in list(parent.named_children()):
            if child in replacements:
                setattr(parent, name, replacements[child])
    return folded
