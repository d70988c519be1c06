"""What the auxiliary head and the poly schedule are worth: lesson 4's recipe without the one, and without the other.

`python -m seglab.recipes.ablation` trains nine small networks in a quarter of an hour on two CPU cores. What it wrote
for the lesson lies in `recorded/`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seglab.recipes.coco import CocoRecipe
from seglab.recipes.records import write_record

#: The recipe, and what is changed in each way.
WAYS: dict[str, dict[str, Any]] = {"as published": {}, "without aux": {"aux": False}, "constant rate": {"power": 0.0}}


def ablation(seeds: Sequence[int] = (0, 1, 2), epochs: int = 3, data: Path | None = None,
             progress: bool = True) -> tuple[list[dict[str, Any]], str]:
    """Train each way with each seed and score the last weights on the test split.

    Returns:
        a row a run, {"way", "seed", "miou", "iou" (a class)}; and a line about the pictures.
    """
    rows = []
    for seed in seeds:
        for way, changes in WAYS.items():
            recipe = replace(CocoRecipe("ablation"), **changes)
            _, scores, splits = recipe.train(data=data, epochs=epochs, seed=seed, num_workers=0, progress=False)
            rows.append({"way": way, "seed": seed, "miou": scores.miou, "iou": scores.iou.tolist()})
            if progress:
                print(f"seed {seed}, {way}: mIoU {scores.miou:.3f}", flush=True)
    return rows, f"{splits}, {epochs} epochs"


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("deeplabv3_ablation.json"))
    out = parser.parse_args().out
    rows, pictures = ablation()
    write_record(out, "python -m seglab.recipes.ablation", pictures, rows)


if __name__ == "__main__":
    main()
