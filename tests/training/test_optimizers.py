"""Optimizers and schedules by name, and which part of a network trains at which rate."""

from __future__ import annotations

import pytest
import torch

from seglab.errors import ArgumentError
from seglab.models import build
from seglab.training import OPTIMIZERS, SCHEDULES, make_optimizer, make_schedule, parameter_groups


@pytest.mark.parametrize(("name", "options"), [("gcn", {"k": 1}), ("fcn", {"aux": True}), ("deeplabv3", {"aux": True}),
                                               ("single_conv", {})])
def test_every_parameter_that_trains_is_in_one_group(name, options):
    backbone = {} if name == "single_conv" else {"backbone": "test_efficientnet"}
    model = build(name, 3, **backbone, **options)
    groups = parameter_groups(model, 0.1, backbone_factor=0.5, aux_factor=5)
    rates = {"backbone": 0.05, "head": 0.1, "aux": 0.5}
    assert all(group["lr"] == pytest.approx(rates[group["name"]]) for group in groups)
    assert ("aux" in [group["name"] for group in groups]) == bool(options.get("aux"))
    assert [id(p) for g in groups for p in g["params"]] == [id(p) for _, p in sorted(
        model.named_parameters(), key=lambda one: ["backbone", "head", "aux"].index(
            {"backbone": "backbone", "aux_classifier": "aux"}.get(one[0].partition(".")[0], "head")))]


def test_what_is_frozen_is_left_out():
    model = build("fcn", 3, backbone="test_efficientnet")
    model.backbone.requires_grad_(False)
    assert [group["name"] for group in parameter_groups(model, 0.1)] == ["head"]
    with pytest.raises(ArgumentError, match="frozen"):
        parameter_groups(model.requires_grad_(False), 0.1)
    for arguments, message in (((0,), "lr 0"), ((1, -1), "backbone_factor -1"), ((1, 1, 0), "aux_factor 0")):
        with pytest.raises(ArgumentError, match=message):
            parameter_groups(model, *arguments)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_pair_steps(name, schedule):
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = make_optimizer(name, [{"params": [weight], "lr": 0.1}], weight_decay=0.01)
    rates, scheduler = [], make_schedule(schedule, optimizer, steps=20)
    for _ in range(20):
        optimizer.zero_grad()
        weight.square().sum().backward()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None and schedule != "plateau":
            scheduler.step()
    assert weight.item() < 1
    ends = {"one-cycle": 1e-5, "poly": 1e-2, "cosine": 1e-2, "plateau": 0.1, "constant": 0.1}
    assert rates[-1] <= ends[schedule] and max(rates) == pytest.approx(0.1)


def test_the_published_plateau():
    optimizer = make_optimizer("sgd", [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.1}])
    plateau = make_schedule("plateau", optimizer, 10)
    assert (plateau.patience, plateau.factor, plateau.threshold, plateau.mode) == (10, 0.1, 1e-8, "max")


def test_names_that_are_unknown():
    with pytest.raises(ArgumentError, match="adamw or adam or sgd"):
        make_optimizer("lion", [])
    with pytest.raises(ArgumentError, match="one-cycle or poly"):
        make_schedule("steps", make_optimizer("sgd", [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.1}]), 3)
