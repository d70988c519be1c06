"""Optimizers and schedules by name, and who trains at which rate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, PolynomialLR, ReduceLROnPlateau

from seglab.errors import ArgumentError

#: By name: parameter groups that have their rates -> an optimizer.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": partial(torch.optim.SGD, momentum=0.9)}
#: By name: (an optimizer, its number of steps) -> a schedule over them.
SCHEDULES: dict[str, Callable[[Optimizer, int], LRScheduler | None]] = {
    "one-cycle": lambda optimizer, steps: OneCycleLR(optimizer, [group["lr"] for group in optimizer.param_groups],
                                                     total_steps=steps, pct_start=0.15),
    "poly": partial(PolynomialLR, power=0.9),
    "cosine": CosineAnnealingLR,
    "plateau": lambda optimizer, _: ReduceLROnPlateau(optimizer, "max", patience=10, factor=0.1, threshold=1e-8),
    "constant": lambda optimizer, _: None}


def make_optimizer(name: str, groups: list[dict[str, Any]], weight_decay: float = 0.0) -> Optimizer:
    """An optimizer of `OPTIMIZERS` for parameter groups that have their rates; "sgd" has a momentum of 0.9.

    Example:
        >>> optimizer = make_optimizer("sgd", [{"params": nn.Linear(1, 1).parameters(), "lr": 0.1}])
        >>> optimizer.defaults["momentum"]
        0.9
    """
    if name not in OPTIMIZERS:
        raise ArgumentError("optimizer", found=repr(name), expected=" or ".join(OPTIMIZERS))
    return OPTIMIZERS[name](groups, weight_decay=weight_decay)


def make_schedule(name: str, optimizer: Optimizer, steps: int) -> LRScheduler | None:
    """A schedule of `SCHEDULES` over a number of optimizer steps.

    "one-cycle" goes up to the groups' rates for a seventh of the steps, then down to nothing; "poly" is rate · (1 −
    step / steps) ** 0.9; "cosine" half a wave down to nothing; "plateau", stepped by `fit` once an epoch, takes a tenth
    of the rate when validation has not improved for ten epochs (with a least change of 1e-8: published with GCN);
    "constant" is none.

    Source: Smith and Topin 2017, arXiv 1708.07120 (one cycle); Chen et al. 2017, arXiv 1706.05587, section 4.1 (poly);
    Loshchilov and Hutter 2017, arXiv 1608.03983 (cosine).

    Example:
        >>> sgd = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
        >>> poly = make_schedule("poly", sgd, steps=2)
        >>> sgd.step(); poly.step(); f"{poly.get_last_lr()[0]:.4f}"
        '0.0536'
    """
    if name not in SCHEDULES:
        raise ArgumentError("schedule", found=repr(name), expected=" or ".join(SCHEDULES))
    return SCHEDULES[name](optimizer, steps)


def parameter_groups(model: nn.Module, lr: float, backbone_factor: float = 1.0,
                     aux_factor: float = 1.0) -> list[dict[str, Any]]:
    """What trains, for an optimizer: a `backbone` and an `aux_classifier` at a factor of the rate.

    Raises:
        ArgumentError: a rate or factor that is not above 0, or nothing that trains.

    Example:
        >>> from seglab.models import build
        >>> [(g["name"], g["lr"]) for g in parameter_groups(build("fcn", 3, backbone="resnet18"), 0.04, 0.25)]
        [('backbone', 0.01), ('head', 0.04)]
    """
    factors = {"backbone": backbone_factor, "head": 1.0, "aux": aux_factor}
    if lr <= 0 or min(factors.values()) <= 0:
        raise ArgumentError("parameter_groups", found=f"lr {lr}, backbone_factor {backbone_factor}, aux_factor "
                            f"{aux_factor}", expected="numbers above 0")
    parts: dict[str, list[nn.Parameter]] = {name: [] for name in factors}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = {"backbone": "backbone", "aux_classifier": "aux"}.get(name.partition(".")[0], "head")
            parts[part].append(parameter)
    groups = [{"params": found, "lr": lr * factors[name], "name": name} for name, found in parts.items() if found]
    if not groups:
        raise ArgumentError("parameters", found="all of them frozen", expected="some that train",
                            fix="Leave at least the head free.")
    return groups
