from __future__ import annotations

import pytest
import torch
from torch import nn

from seglab.datasets import Coco, Samples
from seglab.errors import ArgumentError
from seglab.inference import evaluate, evaluate_by_size
from tests.datasets.coco.files import box, content, thing, write


class Reddish(nn.Module):
    """Class 1 where red is strong; else background."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        red = images[:, :1] * self.weight
        return {"out": torch.cat([0.5 - red, red - 0.5, torch.full_like(red, -9)], 1)}


@pytest.fixture
def data(tmp_path, monkeypatch) -> Samples:
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path / "home"))
    things = [thing(1, box(0, 0, 20, 20), area=600.0), thing(2, box(20, 0, 20, 20), area=450.0),
              thing(3, box(40, 30, 9, 9), category=18)]
    images, path = write(tmp_path, content(things, images=2))
    return Samples(Coco(tmp_path, images=images, annotations=path, categories=["cat", "dog"]), "all", progress=False)


def test_sizes_add_up_to_the_whole_and_objects_that_touch_stay_apart(data):
    model = Reddish().train()
    sized, whole = evaluate_by_size(model, data, bounds=(420, 1000)), evaluate(model, data).compute()
    assert model.training
    assert sized.hits.sum(1)[1:].tolist() == whole.matrix.diag()[1:].tolist()
    assert sized.objects[1].tolist()[:3] == [0, 2, 0], "areas are those of the annotation, 600 and 450, not 400 pixels"
    assert sized.false_positives[1, -1] > 0, "the second picture shows no cat"


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_in_eval_mode_and_then_as_it_was(data, training):
    class Watched(Reddish):
        def forward(self, images):
            modes.append((self.training, torch.is_grad_enabled()))
            return super().forward(images)

    modes, model = [], Watched().train(training)
    evaluate_by_size(model, data)
    assert modes == [(False, False)] * len(data) and model.training == training


def test_without_objects_regions_count(data):
    class Plain(torch.utils.data.Dataset):
        label_set = data.label_set

        def __len__(self) -> int:
            return len(data)

        def __getitem__(self, index):
            return data[index]

    sized = evaluate_by_size(Reddish(), Plain())
    assert sized.objects[1].tolist()[:3] == [1, 0, 0], "two cats that touch are one region, of 800 pixels"


def test_objects_must_lie_on_the_pictures(data):
    with pytest.raises(ArgumentError, match="without within, size and transforms"):
        evaluate_by_size(Reddish(), Samples(data.reader, "all", within=(30, 40), progress=False))
    with pytest.raises(ArgumentError, match="1 or more"):
        evaluate_by_size(Reddish(), data.subset([]))
