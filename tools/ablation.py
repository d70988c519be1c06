"""What the parts of a recipe are worth: the same training without one, or with another, three seeds each.

`python -m tools.ablation deeplabv3` trains lesson 4's nine small networks in ten minutes on one CPU core,
`… gcn` lesson 5's eighteen in half an hour, `… single_conv` lesson 1's twenty-four in three minutes, `… drone` lesson
6's nine in 45 minutes, and `… kernels --data PETS` eighteen GCNs on photographs in two hours. What they wrote for the
lessons lies in `seglab/recorded/`. A study that was stopped goes on behind the runs that its file holds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seglab.inference import evaluate
from seglab.metrics import BandMatrix
from seglab.recipes import PRESETS, Recipe, Trained, train
from tools.records import write_record


@dataclass(frozen=True)
class Study:
    """A recipe, what is changed in each way, and for how many epochs it trains."""

    recipe: Recipe
    ways: Mapping[str, Mapping[str, Any]]
    epochs: int


STUDIES = {
    # Lesson 1 scores the last epoch.
    "single_conv": Study(PRESETS["single-conv"].changed(monitor="epoch"), {
        f"{'ReLU' if relu else 'no ReLU'}, {'[0, 1]' if unit else 'normalised'}, {lr:g}":
            {"options": {"relu": relu}, "unit": unit, "lr": lr}
        for lr in (0.003, 0.03) for unit in (True, False) for relu in (True, False)}, epochs=5),
    "deeplabv3": Study(PRESETS["deeplabv3-coco"], {
        "as published": {}, "without aux": {"options": {"aux": False}},
        "constant rate": {"schedule": "constant"}}, epochs=2),
    "gcn": Study(PRESETS["gcn-pets"], {
        "GCN": {}, "GCN, CE alone": {"loss": "ce"}, "GCN, Dice alone": {"loss": "dice"},
        "GCN, k = 1": {"options": {"channels": 16, "k": 1}},
        "FCN, stride 16": {"model": "fcn", "backbone": "efficientnet_lite0", "options": {"output_stride": 16}},
        "DeepLabV3, stride 16": {"model": "deeplabv3", "backbone": "efficientnet_lite0",
                                 "options": {"output_stride": 16, "rates": (2, 4, 6)}},
    }, epochs=5),
    # Lesson 6: the networks of the course on the drone pictures, trained alike.
    "drone": Study(PRESETS["light"], {
        "FCN": {"model": "fcn", "options": {"output_stride": 16}},
        "DeepLabV3": {"model": "deeplabv3", "options": {"output_stride": 16, "channels": 128}},
        "GCN": {}}, epochs=40),
    # Pictures of 256 pixels at output stride 16 have maps of 16×16, as those of 512 pixels in the paper.
    "kernels": Study(PRESETS["gcn-pets"].changed(size=256, base=256, short_side=256, scale=(0.75, 1.5)), {
        f"k = {k}, {'refined' if refine else 'plain'}":
            {"options": {"channels": 16, "k": k, "refine": refine, "output_stride": 16}}
        for refine in (True, False) for k in (1, 7, 15)}, epochs=8),
}


def ablation(study: str = "deeplabv3", seeds: Sequence[int] = (0, 1, 2), epochs: int | None = None,
             data: Path | None = None, progress: bool = True, rows: Sequence[dict[str, Any]] = ()
             ) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """Train each way with each seed and score it on the test split.

    Args:
        study: a key of `STUDIES`.
        seeds, epochs, data: as for the recipe.
        progress: print a line a run.
        rows: of runs that are done; they are not repeated.

    Yields:
        after each run, a row a run, {"way", "seed", "miou", "pixel_accuracy", "iou" (a class)}, and for the pets
        "bands" ({width in pixels: accuracy that close to an outline}) and "seconds" (of an epoch); and a line about the
        pictures.
    """
    plan, rows = STUDIES[study], list(rows)
    done = {(row["way"], row["seed"]) for row in rows}
    epochs = epochs or plan.epochs
    for seed in seeds:
        for way, changes in plan.ways.items():
            if (way, seed) in done:
                continue
            trained = train(plan.recipe, data=data, seed=seed, num_workers=0, progress=False,
                            **{**changes, "epochs": epochs})
            rows.append({"way": way, "seed": seed, **_row(trained, bands=study in {"gcn", "kernels"})})
            if progress:
                print(f"seed {seed}, {way}: mIoU {trained.scores.miou:.3f}", flush=True)
            yield rows, f"{trained.splits}, {epochs} epochs"


def _row(trained: Trained, bands: bool) -> dict[str, Any]:
    model, history, scores, splits = trained
    row = {"miou": scores.miou, "pixel_accuracy": scores.pixel_accuracy, "iou": scores.iou.tolist()}
    if not bands:
        return row
    found = evaluate(model, splits.test, metric=BandMatrix(splits.label_set)).compute()
    return row | {"bands": dict(zip(map(str, found.widths), found.pixel_accuracy, strict=True)),
                  "seconds": statistics.median(timing["seconds"] for timing in history.timings)}


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", choices=list(STUDIES), default="deeplabv3")
    parser.add_argument("--data", type=Path, help="the folder of a dataset; by default the recipe's sample")
    parser.add_argument("--out", type=Path, help="by default STUDY_ablation.json; a file that is there goes on")
    arguments = parser.parse_args()
    command = "python -m tools.ablation" + f" {arguments.study}" * (arguments.study != "deeplabv3")
    if arguments.data is not None:
        command += f" --data {arguments.data.name}"
    out = arguments.out or Path(f"{arguments.study}_ablation.json")
    before = json.loads(out.read_text(encoding="utf-8"))["rows"] if out.is_file() else []
    for rows, pictures in ablation(arguments.study, data=arguments.data, rows=before):
        write_record(out, command, pictures, rows)


if __name__ == "__main__":
    main()
