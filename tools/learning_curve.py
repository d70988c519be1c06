"""Accuracy against the number of training pictures: frozen, fine-tuned, and from scratch.

`python -m tools.learning_curve [DATA]` measures it in half an hour on two CPU cores. What it wrote for the
lesson lies in `seglab/recorded/`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from seglab.datasets import Samples, Splits, open_dataset
from seglab.inference import evaluate
from seglab.metrics import classification_scores
from seglab.models import Classifier, classifier
from seglab.recipes import augmented
from seglab.training import extract_features, fit
from seglab.training.features import accuracy, choose_pictures, train_head
from tools.records import write_record

WAYS = ("frozen", "fine-tuned", "from scratch")
_BATCH = 16


def learning_curve(splits: Splits, counts: Sequence[int] = (20, 100, 500),
                   seeds: Sequence[int] = (0, 1, 2), *, backbone: str = "efficientnet_lite0",
                   effort: float = 1.0, progress: bool = True) -> list[dict[str, float | str]]:
    """Train on few and on many pictures, in three ways, and score each on the whole test split.

    "frozen" trains a linear head on the features of ImageNet. "fine-tuned" goes on from there with the stages from c4
    on. "from scratch" starts all layers from random numbers. The number of steps, of 16 pictures each, grows with the
    square root of the number of pictures, and training from scratch gets five times as many as fine-tuning. No
    validation split is used: the last weights are scored.

    Args:
        splits: of `open_dataset("catdog", size=…)`.
        counts: training pictures a class; chosen at random, anew for each seed, the same for all ways.
        seeds: one run each; they choose pictures, weights and order.
        backbone: see `seglab.models.classifier`.
        effort: multiplies the number of steps of fine-tuning and from scratch; a head always takes 200.
        progress: print a line a run.

    Returns:
        a row a run: {"way", "pictures" (a class), "seed", "accuracy"}.
    """
    model = classifier(backbone, len(splits.label_set))
    features = {name: extract_features(model, getattr(splits, name), progress=False) for name in ("train", "test")}
    rows: list[dict[str, float | str]] = []
    for count in counts:
        for seed in seeds:
            chosen = choose_pictures(features["train"].labels, count, seed)
            few = splits.train.subset(chosen)
            torch.manual_seed(seed)
            model = classifier(backbone, len(splits.label_set), keep_statistics=True)
            train_head(model, features["train"].subset(chosen), seed)
            found = {"frozen": accuracy(model, features["test"])}
            model.freeze("until:c3")
            steps = round(5 * effort * math.sqrt(len(few)))
            _train(model, few, model.parameter_groups(1e-4, decay=0.7), steps, seed)
            found["fine-tuned"] = _score(model, splits.test)
            torch.manual_seed(seed)
            model = classifier(backbone, len(splits.label_set), freeze="none", weights=None)
            _train(model, few, model.parameter_groups(2e-3), 5 * steps, seed)
            found["from scratch"] = _score(model, splits.test)
            rows += [{"way": way, "pictures": count, "seed": seed, "accuracy": found[way]} for way in WAYS]
            if progress:
                print(f"{count:4d} a class, seed {seed}: "
                      + ", ".join(f"{way} {value:.3f}" for way, value in found.items()), flush=True)
    return rows


def _train(model: Classifier, data: Samples, groups: list[dict[str, Any]], steps: int, seed: int) -> None:
    each = math.ceil(len(data) / _BATCH)
    epochs = max(1, round(steps / each))
    adam = torch.optim.AdamW(groups)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs * each)
    fit(model, augmented(data), optimizer=adam, scheduler=cosine, epochs=epochs, batch_size=_BATCH, seed=seed,
        progress=False)


def _score(model: Classifier, data: Samples) -> float:
    return classification_scores(evaluate(model, data, batch_size=8).matrix()).accuracy


def main() -> None:
    """Measure, and write the rows as JSON, with all that one needs to measure again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="folder with train/ and test/, a folder a class in each; "
                                                           "without it the built-in drawings")
    parser.add_argument("--out", type=Path, default=Path("learning_curve.json"))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--effort", type=float, default=1.0)
    options = parser.parse_args()
    splits = open_dataset("catdog", source="real" if options.data else "sample", root=options.data, size=options.size)
    command = f"python -m tools.learning_curve{' DATA' * bool(options.data)}"
    write_record(options.out, f"{command} --size {options.size} --effort {options.effort:g}", str(splits),
                 learning_curve(splits, effort=options.effort))


if __name__ == "__main__":
    main()
