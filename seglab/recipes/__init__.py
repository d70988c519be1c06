"""Training recipes by name: what a lesson does in cells, the command line does in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from seglab.datasets import Coco, Normalize, Pets, Splits, open_dataset
from seglab.datasets.splits import SPLITS
from seglab.errors import ArgumentError, CheckpointError
from seglab.labels import PETS
from seglab.metrics import ClassificationScores, SegmentationScores, SizedScores
from seglab.models import Classifier, build, list_models, load_model
from seglab.recipes.coco import CocoRecipe
from seglab.recipes.pets import PetsRecipe
from seglab.recipes.transfer import TransferRecipe, evaluate_classifier
from seglab.samples.coco import SAMPLE_CATEGORIES
from seglab.training import History, evaluate, evaluate_by_size, fit, load_checkpoint


@dataclass(frozen=True)
class Recipe:
    """A model, its data and how it is trained.

    Attributes:
        summary: one line.
        dataset: the name for `seglab.datasets.open_dataset`.
        within: (height, width) that pictures are scaled down to fit into.
        model: the name for `seglab.models.build`, and its options.
        learning_rate: of Adam.
        normalize: "dataset" measures mean and deviation on the training split, "unit" leaves pictures in [0, 1].
        batch_size, epochs: as they say.
    """

    summary: str
    dataset: str
    within: tuple[int, int]
    model: str
    model_options: dict[str, Any]
    learning_rate: float
    normalize: str
    batch_size: int
    epochs: int

    def train(self, *, data: str | Path | None = None, folder: str | Path | None = None, epochs: int | None = None,
              seed: int = 0, progress: bool = True, resume: bool = True, ignore_ids: Sequence[int] = (),
              problems: str = "error") -> tuple[History, SegmentationScores, Splits]:
        """Train, and score the last weights on the test split; see `seglab.recipes.train`.

        Args:
            data, folder, epochs, seed, progress, resume: as there.
            ignore_ids: see `Folder`. problems: see `Samples`.
        """
        options: dict[str, Any] = {"ignore_ids": ignore_ids} if ignore_ids else {}
        splits = open_dataset(self.dataset, root=data, within=self.within, problems=problems, progress=progress,
                              **options)
        normalize = Normalize.of(splits.train) if self.normalize == "dataset" else Normalize()
        torch.manual_seed(seed)
        model = build(self.model, len(splits.label_set), **self.model_options)
        adam = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        history = fit(model, splits.train, splits.val, optimizer=adam, epochs=epochs or self.epochs,
                      batch_size=self.batch_size, normalize=normalize, folder=folder, seed=seed, progress=progress,
                      resume=resume)
        return history, evaluate(model, splits.test, normalize=normalize, progress=progress).compute(), splits


AnyRecipe = Recipe | TransferRecipe | CocoRecipe | PetsRecipe

RECIPES: dict[str, AnyRecipe] = {
    "single-conv": Recipe("lesson 1, mended: plain logits, normalised pictures, larger steps", "drone", (400, 600),
                          "single_conv", {"relu": False}, 0.03, "dataset", batch_size=6, epochs=5),
    "single-conv-published": Recipe("lesson 1, as published: a ReLU on the logits, pictures in [0, 1]", "drone",
                                    (400, 600), "single_conv", {"relu": True}, 0.003, "unit", batch_size=6, epochs=5),
    "transfer-catdog": TransferRecipe("lesson 3: a linear head on frozen ImageNet features"),
    "transfer-catdog-finetune": TransferRecipe("lesson 3: the same, then the layers from stage c4 on with it",
                                               finetune_epochs=2),
    "deeplabv3-coco": CocoRecipe("lesson 4: DeepLabV3 on categories of COCO, with a backbone that suits CPUs"),
    "deeplabv3-coco-resnet50": CocoRecipe("the same with the published backbone, for GPUs; downloads its weights",
                                          backbone="resnet50", output_stride=8),
    "gcn-pets": PetsRecipe("lesson 5: GCN on the Oxford pets, today's training, with a backbone that suits CPUs"),
    "gcn-pets-published": PetsRecipe("lesson 5, as published: ResNet-50, 512×512, SGD, for GPUs; downloads its weights",
                                     backbone="resnet50", model_options={}, size=512, how="crop-or-pad", loss="ce",
                                     optimizer="sgd", schedule="plateau", learning_rate=0.01, backbone_factor=1.0,
                                     weight_decay=1e-4, epochs=300),
}


def recipe(name: str) -> AnyRecipe:
    """The recipe of a name; raises ArgumentError for one that is not there."""
    if name not in RECIPES:
        raise ArgumentError("recipe", found=repr(name), expected=", ".join(RECIPES))
    return RECIPES[name]


def train(name: str, *, data: str | Path | None = None, folder: str | Path | None = None, epochs: int | None = None,
          seed: int = 0, progress: bool = True, resume: bool = True,
          **options: Any) -> tuple[History, SegmentationScores | ClassificationScores, Splits]:
    """Train a recipe and score it on the test split.

    Args:
        name: a key of `RECIPES`.
        data: a real dataset's folder; by default `$SEGLAB_DATA`, else the built-in sample.
        folder: for checkpoints and history; a run that is there already goes on.
        epochs: instead of the recipe's.
        seed: of weights and order.
        progress: show bars and lines.
        resume: see `seglab.fit`.
        options: of this recipe alone, such as `categories`; see its `train`.

    Returns:
        (history, scores on the test split, the dataset).

    Raises:
        ArgumentError: an unknown recipe, or an option that it does not have.
    """
    run = recipe(name).train
    if unknown := sorted(options.keys() - signature(run).parameters.keys()):
        having = [other for other, one in RECIPES.items() if unknown[0] in signature(one.train).parameters]
        raise ArgumentError(f"options of {name}", found=", ".join(unknown), expected="none of them for this recipe",
                            fix=f"Recipes with {unknown[0]!r}: {', '.join(having) or 'none'}.")
    return run(data=data, folder=folder, epochs=epochs, seed=seed, progress=progress, resume=resume, **options)


def evaluate_checkpoint(path: str | Path, *, data: str | Path | None = None, split: str = "test",
                        by_size: bool = False, ignore_ids: Sequence[int] = (), progress: bool = True
                        ) -> tuple[SegmentationScores | ClassificationScores | SizedScores, Splits]:
    """Score a checkpoint on a split of a dataset with the same classes.

    Args:
        path: of the checkpoint.
        data: as for `train`.
        split: "train", "val" or "test".
        by_size: of a segmentation, score small, medium and large objects apart.
        ignore_ids: values in masks that are not scored; see `Folder`.
        progress: show bars.

    Raises:
        ArgumentError: an unknown split, or `by_size` for a classifier.
        CheckpointError: unreadable, not of a model that `build` knows, or trained on other classes.
    """
    if split not in SPLITS:
        raise ArgumentError("split", found=repr(split), expected=" or ".join(SPLITS))
    settings = load_checkpoint(path)["settings"]
    if settings["model"].get("name") not in list_models():
        raise CheckpointError(f"{path}: model", found=settings["model"].get("name"),
                              expected=" or ".join(list_models()),
                              fix="Build your model in Python, then load_weights(model, path) and evaluate it.")
    model = load_model(path)
    if isinstance(model, Classifier):
        if by_size:
            raise ArgumentError("by_size", found="a classifier", expected="a segmentation model")
        return evaluate_classifier(model, Path(path), data, split, progress)
    root = data or os.environ.get("SEGLAB_DATA") or None
    splits = _splits_for(settings["classes"] or [], settings.get("labels", settings.get("name")), root, ignore_ids,
                         progress)
    if settings["classes"] != list(splits.label_set.classes):
        raise CheckpointError(f"{path}: classes", found=f"{len(settings['classes'] or [])}: {settings['classes']}",
                              expected=f"those of {splits.name}: {list(splits.label_set.classes)}",
                              fix="Evaluate it on a dataset with the classes that it was trained on.")
    normalize, pictures = Normalize(**(model.normalize or {})), splits[split]
    if by_size:
        return evaluate_by_size(model, pictures, normalize=normalize, progress=progress), splits
    return evaluate(model, pictures, normalize=normalize, progress=progress).compute(), splits


def _splits_for(classes: list[str], labels: str | None, root: str | Path | None, ignore_ids: Sequence[int],
                progress: bool) -> Splits:
    """The dataset in a folder, or the built-in one, that a model with these classes was made for.

    Args:
        classes: of the model.
        labels: the name of its label set, if the checkpoint says; COCO and the pets may have the same classes.
    """
    things = classes[1:] if classes[:1] == ["background"] else []
    if str(labels).startswith(PETS.name) and (root is None or Pets.find(Path(root), asked=True) is not None):
        target = {PETS.classes: "species", ("background", "pet"): "foreground"}.get(tuple(classes), "breed")
        return open_dataset("pets", root=root, target=target, progress=progress)
    is_coco = set(things) <= SAMPLE_CATEGORIES if root is None else Coco.find(Path(root)) is not None
    if things and is_coco:
        return open_dataset("coco", root=root, categories=things, progress=progress)
    options: dict[str, Any] = {"ignore_ids": ignore_ids} if ignore_ids else {}
    return open_dataset("drone", root=root, progress=progress, **options)
