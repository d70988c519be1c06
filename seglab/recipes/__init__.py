"""Training recipes by name: what a lesson does in cells, the command line does in one call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seglab.datasets import Normalize, Splits, load
from seglab.datasets.folder import SPLITS
from seglab.errors import ArgumentError, CheckpointError
from seglab.metrics import ClassificationScores, SegmentationScores
from seglab.models import Classifier, build, list_models, load_model
from seglab.recipes.transfer import TransferRecipe, evaluate_classifier
from seglab.training import History, evaluate, fit, load_checkpoint


@dataclass(frozen=True)
class Recipe:
    """A model, its data and how it is trained.

    Attributes:
        summary: one line.
        dataset: the name for `seglab.datasets.load`.
        fit: (height, width) that pictures are scaled down to fit into.
        model: the name for `seglab.models.build`, and its options.
        learning_rate: of Adam.
        normalize: "dataset" measures mean and deviation on the training split, "unit" leaves pictures in [0, 1].
        batch_size, epochs: as they say.
    """

    summary: str
    dataset: str
    fit: tuple[int, int]
    model: str
    model_options: dict[str, Any]
    learning_rate: float
    normalize: str
    batch_size: int
    epochs: int

    def train(self, *, data: str | Path | None = None, folder: str | Path | None = None, epochs: int | None = None,
              seed: int = 0, progress: bool = True, resume: bool = True) -> tuple[History, SegmentationScores, Splits]:
        """Train, and score the last weights on the test split; see `seglab.recipes.train`."""
        splits = load(self.dataset, root=data, fit=self.fit, progress=progress)
        normalize = Normalize.of(splits.train) if self.normalize == "dataset" else Normalize()
        torch.manual_seed(seed)
        model = build(self.model, len(splits.label_set), **self.model_options)
        adam = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        history = fit(model, splits.train, splits.val, optimizer=adam, epochs=epochs or self.epochs,
                      batch_size=self.batch_size, normalize=normalize, folder=folder, seed=seed, progress=progress,
                      resume=resume)
        return history, evaluate(model, splits.test, normalize=normalize, progress=progress).compute(), splits


RECIPES: dict[str, Recipe | TransferRecipe] = {
    "single-conv": Recipe("lesson 1, mended: plain logits, normalised pictures, larger steps", "drone", (400, 600),
                          "single_conv", {"relu": False}, 0.03, "dataset", batch_size=6, epochs=5),
    "single-conv-published": Recipe("lesson 1, as published: a ReLU on the logits, pictures in [0, 1]", "drone",
                                    (400, 600), "single_conv", {"relu": True}, 0.003, "unit", batch_size=6, epochs=5),
    "transfer-catdog": TransferRecipe("lesson 3: a linear head on frozen ImageNet features"),
    "transfer-catdog-finetune": TransferRecipe("lesson 3: the same, then the layers from stage c4 on with it",
                                               finetune_epochs=2),
}


def recipe(name: str) -> Recipe | TransferRecipe:
    """The recipe of a name; raises ArgumentError for one that is not there."""
    if name not in RECIPES:
        raise ArgumentError("recipe", found=repr(name), expected=", ".join(RECIPES))
    return RECIPES[name]


def train(name: str, *, data: str | Path | None = None, folder: str | Path | None = None, epochs: int | None = None,
          seed: int = 0, progress: bool = True,
          resume: bool = True) -> tuple[History, SegmentationScores | ClassificationScores, Splits]:
    """Train a recipe and score it on the test split.

    Args:
        name: a key of `RECIPES`.
        data: a real dataset's folder; by default `$SEGLAB_DATA`, else the built-in sample.
        folder: for checkpoints and history; a run that is there already goes on.
        epochs: instead of the recipe's.
        seed: of weights and order.
        progress: show bars and lines.
        resume: see `seglab.fit`.

    Returns:
        (history, scores on the test split, the dataset).
    """
    return recipe(name).train(data=data, folder=folder, epochs=epochs, seed=seed, progress=progress, resume=resume)


def evaluate_checkpoint(path: str | Path, *, data: str | Path | None = None, split: str = "test",
                        progress: bool = True) -> tuple[SegmentationScores | ClassificationScores, Splits]:
    """Score a checkpoint on a split of a dataset with the same classes.

    Raises:
        ArgumentError: an unknown split.
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
        return evaluate_classifier(model, Path(path), data, split, progress)
    splits = load("drone", root=data, progress=progress)
    if settings["classes"] != list(splits.label_set.classes):
        raise CheckpointError(f"{path}: classes", found=f"{len(settings['classes'] or [])}: {settings['classes']}",
                              expected=f"those of {splits.name}: {list(splits.label_set.classes)}",
                              fix="Evaluate it on a dataset with the classes that it was trained on.")
    normalize = Normalize(**model.normalize)
    return evaluate(model, getattr(splits, split), normalize=normalize, progress=progress).compute(), splits
