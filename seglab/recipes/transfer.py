"""Transfer learning: a head on frozen features, and then, if wished, a gentle change of the layers below it."""

from __future__ import annotations

import math
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torchvision.transforms import v2

from seglab.datasets import Normalize, Samples, Splits, open_dataset
from seglab.errors import CheckpointError
from seglab.files import atomic_write
from seglab.metrics import ClassificationScores, classification_scores
from seglab.models import Classifier, classifier
from seglab.training import History, evaluate, extract_features, fit, load_weights


@dataclass(frozen=True)
class TransferRecipe:
    """A classifier on a pretrained backbone: its head is trained on cached features, then perhaps the rest with it.

    Training the head first, and only then what lies below, keeps a random head from destroying good features in the
    first steps (Kumar et al. 2022, arXiv 2202.10054).

    Attributes:
        summary: one line.
        backbone: for `seglab.models.classifier`.
        size: side of the pictures.
        epochs, batch_size, learning_rate: of the head, by Adam.
        finetune_epochs: passes over the pictures afterwards; 0 leaves the backbone as it is.
        finetune_rate, decay: the head's rate then, and how much less each part before it gets.
        freeze: what stays frozen then.
        dataset: the name for `seglab.datasets.open_dataset`.
    """

    summary: str
    backbone: str = "efficientnet_lite0"
    size: int = 224
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    finetune_epochs: int = 0
    finetune_rate: float = 3e-5
    decay: float = 0.7
    freeze: str = "until:c3"
    dataset: Literal["catdog"] = "catdog"

    def train(self, *, data: str | Path | None = None, folder: str | Path | None = None, epochs: int | None = None,
              seed: int = 0, progress: bool = True,
              resume: bool = True) -> tuple[History, ClassificationScores, Splits]:
        """Train, keep what is best on val, and score it on test; see `seglab.recipes.train`.

        Fine-tuned weights are kept only if they beat the head alone on val; otherwise `best.safetensors` is the head's.
        `epochs` are those of the last stage: of the fine-tuning if there is one, else of the head.
        """
        splits = open_dataset(self.dataset, root=data, size=self.size, progress=progress)
        with ExitStack() as stack:
            if folder is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
            folder = Path(folder)
            head_epochs = self.epochs if epochs is None or self.finetune_epochs else epochs
            model, history = self._train_head(splits, folder / "head" if self.finetune_epochs else folder, head_epochs,
                                              seed, progress, resume)
            if self.finetune_epochs:
                head = history
                history = self._finetune(model, splits, folder, epochs or self.finetune_epochs, seed, progress, resume)
                reached = math.nan if history.best_value is None else history.best_value  # NaN is never better
                if not head.monitor.is_better(reached, head.best_value):
                    atomic_write(folder / "best.safetensors", (folder / "head" / "best.safetensors").read_bytes())
                    if progress:
                        print(f"kept the head alone: fine-tuning reached {reached:.4f} on val, "
                              f"the head {head.best_value:.4f}")
            load_weights(model, folder / "best.safetensors")
        return history, score_classifier(model, splits.test, progress=progress), splits

    def _train_head(self, splits: Splits, folder: Path, epochs: int, seed: int,
                    progress: bool, resume: bool) -> tuple[Classifier, History]:
        torch.manual_seed(seed)
        model = classifier(self.backbone, len(splits.label_set), keep_statistics=True)
        features = [extract_features(model, split, progress=progress) for split in (splits.train, splits.val)]
        adam = torch.optim.Adam(model.parameter_groups(self.learning_rate))
        history = fit(model, *features, optimizer=adam, epochs=epochs, batch_size=self.batch_size,
                      normalize=torch.nn.Identity(), folder=folder, seed=seed, progress=progress, resume=resume)
        return load_weights(model, folder / "best.safetensors"), history

    def _finetune(self, model: Classifier, splits: Splits, folder: Path, epochs: int,
                  seed: int, progress: bool, resume: bool) -> History:
        model.freeze(self.freeze)
        train = augmented(splits.train)
        adam = torch.optim.AdamW(model.parameter_groups(self.finetune_rate, self.decay))
        steps = epochs * -(-len(train) // (self.batch_size // 2))
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        return fit(model, train, splits.val, optimizer=adam, scheduler=cosine, epochs=epochs,
                   batch_size=self.batch_size // 2, normalize=Normalize(**model.normalize), folder=folder, seed=seed,
                   progress=progress, resume=resume)


def augmented(data: Samples) -> Samples:
    """The same pictures, mirrored at random and cut to between half of their area and all of it."""
    return data.with_transforms(v2.Compose([
        v2.RandomHorizontalFlip(), v2.RandomResizedCrop(data.size, scale=(0.5, 1.0), antialias=True)]))


def score_classifier(model: Classifier, data: Samples, *, batch_size: int = 8,
                     progress: bool = False) -> ClassificationScores:
    """Scores of a classifier on a dataset, with the pictures normalised as its weights want them."""
    matrix = evaluate(model, data, batch_size=batch_size, normalize=Normalize(**model.normalize), progress=progress)
    return classification_scores(matrix.matrix())


def evaluate_classifier(model: Classifier, path: Path, data: str | Path | None, split: str,
                        progress: bool) -> tuple[ClassificationScores, Splits]:
    """Score a classifier's checkpoint on a split of a dataset with the same classes.

    Raises:
        CheckpointError: it was trained on other classes.
    """
    splits = open_dataset("catdog", root=data, size=model.size or 224, progress=progress)
    known = list(model.label_set.classes) if model.label_set is not None else None
    if known != list(splits.label_set.classes):
        raise CheckpointError(f"{path}: classes", found=known or "none named in it",
                              expected=f"those of {splits.name}: {list(splits.label_set.classes)}",
                              fix="Evaluate it on a dataset with the classes that it was trained on.")
    return score_classifier(model, splits[split], progress=progress), splits
