"""Training recipes by name, and one call for each of train and evaluate: what the command line does."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from seglab.datasets import Reader, Splits, open_dataset
from seglab.datasets.sources import SAMPLES, find_dataset, open_reader
from seglab.datasets.splits import SPLITS
from seglab.errors import ArgumentError, CheckpointError, DataError
from seglab.inference import evaluate, evaluate_by_size
from seglab.metrics import ClassificationScores, SegmentationScores, SizedScores, classification_scores
from seglab.models import Card, Classifier, load_model
from seglab.recipes.recipe import Recipe, Trained, augmented, check_settings, run, settle
from seglab.samples import sample_folder
from seglab.training.processes import processes
from seglab.training.profiler import Profile

__all__ = ["LARGEST_PICTURE", "PRESETS", "Recipe", "Trained", "augmented", "evaluate_checkpoint", "open_for", "preset",
           "settle", "train"]

#: Pictures whose shorter side is longer are scaled down to `SHORT_SIDE`, unless a recipe or the user says otherwise.
LARGEST_PICTURE, SHORT_SIDE = 720, 512

_SINGLE = Recipe("lesson 1, mended: plain logits, normalised pictures, larger steps", model="single_conv",
                 backbone=None, weights=None, options={"relu": False}, short_side=400, crops=False, size=0, loss="ce",
                 optimizer="adam", weight_decay=0.0, schedule="constant", lr=0.03, batch=6, epochs=5)
_DEEPLAB = Recipe("lesson 4: DeepLabV3, trained as torchvision published it, with a backbone that suits CPUs",
                  model="deeplabv3", options={"output_stride": 16, "aux": True}, loss="ce", optimizer="sgd",
                  schedule="poly", lr=0.01, backbone_factor=1.0, aux_factor=10.0, weight_decay=1e-4, batch=8, epochs=30,
                  size=None, dataset="coco", data_options={"categories": ("cat", "dog")})
_GCN = Recipe("lesson 5: GCN, today's training, with a backbone that suits CPUs", options={"channels": 16},
              loss="ce+dice", batch=8, epochs=20, dataset="pets")
_TRANSFER = Recipe("lesson 3: a linear head on frozen ImageNet features", model="classifier", options={}, size=224,
                   optimizer="adam", weight_decay=0.0, schedule="constant", lr=1e-3, batch=32, dataset="catdog",
                   monitor="accuracy")

#: By name. "light" is taken where none is named, for pictures with masks, and "transfer" for those with one class each.
PRESETS: dict[str, Recipe] = {
    "light": Recipe("GCN with a light backbone on random crops: good on a CPU, for pictures of any kind",
                    options={"channels": 32, "fine": True, "norm": True}, scale=(0.75, 2.0), zoom=1.375, jitter=0.3,
                    monitor="epoch"),
    "transfer": _TRANSFER,
    "single-conv": _SINGLE,
    "single-conv-published": _SINGLE.changed(summary="lesson 1, as published: a ReLU on the logits, pictures in [0, 1]",
                                             options={"relu": True}, unit=True, lr=0.003),
    "transfer-catdog": _TRANSFER,
    "transfer-catdog-finetune": _TRANSFER.changed(summary="lesson 3: the same, then the layers from stage c4 on with "
                                                  "it", finetune_epochs=2),
    "deeplabv3-coco": _DEEPLAB,
    "deeplabv3-coco-resnet50": _DEEPLAB.changed(summary="the same with the published backbone, for GPUs; downloads "
                                                "its weights", backbone="resnet50", size=480, base=520,
                                                options={"output_stride": 8, "aux": True}),
    "gcn-pets": _GCN,
    "gcn-pets-published": _GCN.changed(summary="lesson 5, as published: ResNet-50, 512×512, SGD, for GPUs; downloads "
                                       "its weights", backbone="resnet50", options={"channels": None}, size=512,
                                       crops=False, loss="ce", optimizer="sgd", schedule="plateau", lr=0.01,
                                       backbone_factor=1.0, weight_decay=1e-4, epochs=300),
}


def preset(name: str) -> Recipe:
    """The recipe of a name; raises ArgumentError for one that is not there."""
    if name not in PRESETS:
        raise ArgumentError("recipe", found=repr(name), expected=", ".join(PRESETS))
    return PRESETS[name]


def train(recipe: str | Recipe | None = None, *, data: str | Path | None = None, folder: str | Path | None = None,
          seed: int = 0, progress: bool = True, resume: bool = True, problems: str = "error",
          data_options: Mapping[str, Any] | None = None, at_once: int | Literal["auto"] | None = None,
          num_workers: int | None = None, profile: Profile | None = None, **settings: Any) -> Trained:
    """Train any model on any dataset, and score it.

    The weights that are best on val are scored on the test split, or on val where there is none.

    Args:
        recipe: a preset's name, or a recipe; by default "light", or "transfer" for pictures with one class each.
        data: the folder of a dataset; by default `$SEGLAB_DATA`, else the recipe's built-in sample.
        folder: for checkpoints, history and `curve.png`; a run that is there already goes on, see `resume` of `fit`.
        seed: of weights, order and augmentation.
        progress: show bars and lines: first two that say what follows from the data.
        problems: what happens to files that cannot be used, see `Samples`.
        data_options: of the dataset, such as COCO's `categories`.
        at_once: pictures in memory at a time; gradients add up until a batch is full. None takes the whole batch,
            "auto" tries what fits.
        num_workers: loader processes; None measures which number is fastest here, and takes 0 without a GPU.
        profile: measures where the time goes, of a recipe that fine-tunes in that stage; a classifier's features are
            computed before.
        settings: of the recipe, changed: `epochs`, `size`, `loss`, `model` …, see `Recipe`. Of a recipe that
            fine-tunes, `epochs` are those of the fine-tuning.

    Returns:
        (model, history, scores, splits).

    Raises:
        ArgumentError: an unknown recipe, or a setting or option that does not fit the model or the dataset.
        DataError: no dataset, or nothing to train on.

    Example:
        >>> model, history, scores, splits = train("single-conv", epochs=1, batch=8, progress=False)
        >>> len(history), scores.pixel_accuracy > 0.2
        (1, True)
    """
    progress = progress and processes().is_main_process
    chosen = recipe if isinstance(recipe, Recipe) else preset(recipe or "light")
    if chosen.finetune_epochs and "epochs" in settings:
        settings["finetune_epochs"] = settings.pop("epochs")
    chosen = chosen.changed(**settings)
    splits, labelled = open_for(chosen, data, data_options, problems=problems, progress=progress)
    if recipe is None and "model" not in settings and labelled:
        chosen = preset("transfer").changed(**settings)
        splits, _ = open_for(chosen, data, data_options, problems=problems, progress=progress)
    check_settings(chosen, settings)
    return run(chosen, splits, folder=folder, seed=seed, resume=resume, progress=progress, at_once=at_once,
               num_workers=num_workers, profile=profile)


def open_for(recipe: Recipe, data: str | Path | None = None, given: Mapping[str, Any] | None = None, *,
             problems: str = "error", progress: bool = True) -> tuple[Splits, bool]:
    """Open a dataset as a recipe wants it: (the splits, whether pictures have one class each).

    The recipe's `data_options` count where the dataset has them and `given` has no others.
    """
    name, folder, where = _place(recipe.dataset, data, progress, recipe.classifies)
    own = Reader.kinds[name].options()
    options = {**{key: value for key, value in recipe.data_options.items() if key in own}, **(given or {})}
    reader = open_reader(name, folder, **options)
    entries = [entry for part in reader.splits.values() for entry in part if entry.image not in reader.bad]
    labelled = bool(entries) and isinstance(entries[0].target, int)
    if labelled:
        options |= {"size": recipe.size or 224}
    elif recipe.size and not recipe.crops:
        options |= {"size": recipe.size, "how": "crop-or-pad"}
    elif within := recipe.short_side if recipe.short_side is not None else _fitting_side(reader, entries):
        options |= {"within": within}
    return open_dataset(name, **where, problems=problems, progress=progress, **options), labelled


def evaluate_checkpoint(path: str | Path, *, data: str | Path | None = None, split: str = "test",
                        by_size: bool = False, data_options: Mapping[str, Any] | None = None, progress: bool = True
                        ) -> tuple[SegmentationScores | ClassificationScores | SizedScores, Splits]:
    """Score a checkpoint on a split of a dataset with the same classes, opened as for its training.

    Args:
        path: of the checkpoint.
        data: a dataset's folder; by default `$SEGLAB_DATA`, else the built-in sample that it was trained on.
        split: "train", "val" or "test".
        by_size: of a segmentation, score small, medium and large objects apart.
        data_options: of the dataset, instead of those of the training.

    Raises:
        ArgumentError: an unknown split, other classes, or `by_size` for a classifier.
        CheckpointError: unreadable, or not of a model that `build` knows.
        DataError: no dataset, or not this split.
    """
    if split not in SPLITS:
        raise ArgumentError("split", found=repr(split), expected=" or ".join(SPLITS))
    model = load_model(path)
    if by_size and isinstance(model, Classifier):
        raise ArgumentError("by_size", found="a classifier", expected="a segmentation model")
    splits = _splits_for(model.card, path, data, data_options or {}, progress)
    pictures = splits[split]
    if (known := model.card.label_set) is not None and known.classes != splits.label_set.classes:
        raise ArgumentError(f"{path}: classes", found=f"{len(known)}, from its training: {', '.join(known.classes)}",
                            expected=f"the {len(splits.label_set)} classes of the dataset {splits.name}: "
                                     f"{', '.join(splits.label_set.classes)}",
                            fix="Evaluate it on a dataset with its classes. Where only names differ, load it in "
                                "Python, set model.card.label_set = data.label_set, and call "
                                "seglab.evaluate(model, data).")
    if by_size:
        return evaluate_by_size(model, pictures, progress=progress), splits
    matrix = evaluate(model, pictures, batch_size=8 if pictures.labelled else 1, progress=progress)
    return classification_scores(matrix.matrix()) if pictures.labelled else matrix.compute(), splits


def _splits_for(card: Card, path: str | Path, data: str | Path | None, given: Mapping[str, Any],
                progress: bool) -> Splits:
    """The dataset for a model: opened as it was for the training, as far as it has the same options."""
    labels = card.label_set
    if labels is None:
        raise CheckpointError(f"{path}: card of the model", found="no classes on it", expected="those of its training",
                              fix="Load it in Python, set model.card.label_set, and call seglab.evaluate(model, data).")
    name, _, where = _place(card.trained_on.get("layout") or labels.name, data, progress, card.size is not None)
    kind, known = Reader.kinds[name].options(), card.trained_on.get("options", {})
    options = {key: value for key, value in known.items() if key in (*kind, "within", "size", "how")}
    if "categories" in kind and labels.classes[0] == "background":
        options["categories"] = list(labels.classes[1:])
    if "target" in kind and "target" not in known:
        options["target"] = {("background", "cat", "dog"): "species", ("background", "pet"): "foreground"}.get(
            labels.classes, "breed")
    if card.size is not None:
        options["size"] = card.size
    return open_dataset(name, **where, progress=progress, **{**options, **given})


def _place(sample: str, data: str | Path | None, progress: bool, classes: bool) -> tuple[str, Path, dict[str, Any]]:
    """(name of the layout, folder, both for `open_dataset`) of the user's dataset, or of a built-in one.

    A classifier takes the pets' breeds for classes, and where nothing else is found, the message is about folders.
    """
    if root := data or os.environ.get("SEGLAB_DATA"):
        nothing = classes and not any(kind.find(Path(root).expanduser()) for kind in Reader.kinds.values())
        name, folder = find_dataset(root, "catdog" if nothing else None)
        if classes and name == "pets":
            name, folder = find_dataset(root, "catdog")
        return name, folder, {"root": folder, "source": "real"}
    if sample not in SAMPLES:
        raise DataError("dataset", found="no folder, and no built-in sample with these classes",
                        expected="the folder of a dataset", fix="Pass --data, or set SEGLAB_DATA.")
    return sample, sample_folder(sample, progress), {"source": "sample"}


def _fitting_side(reader: Reader, entries: Sequence[Any]) -> int | None:
    """The shorter side that pictures are scaled down to, if they are large; from up to 50 of them."""
    sides = []
    for entry in entries[::1 + len(entries) // 50]:
        try:
            sides.append(min(reader.size(entry)))
        except DataError:  # said when the dataset is opened
            continue
    return SHORT_SIDE if sides and statistics.median(sides) > LARGEST_PICTURE else None
