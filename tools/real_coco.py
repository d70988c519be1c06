"""What lesson 4 says about photographs of COCO: `python -m tools.real_coco COCO`, five minutes for 160 pictures.

COCO is a folder in the published layout, such as `seglab download coco` makes. What was written for the lesson lies in
`seglab/recorded/coco_photographs.json`; no picture is stored.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seglab.datasets import Coco, Samples
from seglab.inference import predict
from seglab.labels import IGNORE
from seglab.metrics import ConfusionMatrix, SizedIoU
from seglab.models import Model, build
from tools.records import write_record

NETWORKS = ("fcn", "deeplabv3", "gcn")
#: Of a picture: more of it than this called animal is a false alarm where there is none.
ALARM = 0.01


def ignored_shares(root: Path) -> list[dict[str, Any]]:
    """The share of ignored pixels for each rule of overlaps and crowds, all categories: a row a combination."""
    rows = []
    for overlap in ("ignore", "last", "max"):
        for crowd in ("ignore", "drop", "fill"):
            coco = Coco(root, min_pixels=None, overlap=overlap, crowd=crowd)
            masks = [coco.mask(entry) for entries in coco.splits.values() for entry in entries]
            rows.append({"overlap": overlap, "crowd": crowd, "ignored": sum(
                int((mask == IGNORE).sum()) for mask in masks) / sum(mask.size for mask in masks)})
    return rows


def scores(root: Path, name: str, model: Model) -> dict[str, Any]:
    """How a network that knows cats and dogs does on all pictures, those without a cat or a dog apart.

    Returns:
        {"network", "pixel_accuracy", "iou" (a class), "sizes" ({size: IoU of cat and of dog, and objects of both}),
        "without" (pictures without a cat or a dog), "alarms" (of them, those with more than `ALARM` called animal)}.
    """
    data = Samples(Coco(root, categories=["cat", "dog"], min_pixels=None), "all", progress=False)
    matrix, sized, without, alarms = ConfusionMatrix(data.label_set), SizedIoU(data.label_set), 0, 0
    for i in range(len(data)):
        image, truth = data[i]
        found = predict(model, image).mask
        matrix.update(found, truth)
        sized.update(found, truth, *(data.objects(i) or ()))
        if not ((truth > 0) & (truth < IGNORE)).any():
            without += 1
            alarms += bool((found > 0).mean() > ALARM)
    all_pixels, by_size = matrix.compute(), sized.compute()
    # None, not NaN, which is no JSON: of objects that do not occur.
    sizes = {size: {"iou": [None if value.isnan() else value.item() for value in by_size.iou[1:, place]],
                    "objects": by_size.objects[1:, place].tolist()}
             for place, size in enumerate(by_size.buckets[:-1])}
    return {"network": name, "pixel_accuracy": all_pixels.pixel_accuracy, "iou": all_pixels.iou.tolist(),
            "sizes": sizes, "without": without, "alarms": alarms}


def described(root: Path) -> str:
    """How many pictures there are, and what of them is annotated, as a line."""
    every, pets = Coco(root, min_pixels=None), Coco(root, categories=["cat", "dog"], min_pixels=None)
    objects, crowds, shown, animals = 0, 0, 0, 0
    for split, entries in every.splits.items():
        for entry, again in zip(entries, pets.splits[split], strict=True):
            found, ours = every.annotations(entry), pets.annotations(again)
            objects, crowds = objects + len(found), crowds + sum(one["iscrowd"] for one in found)
            shown, animals = shown + bool(ours), animals + len(ours)
    count = " + ".join(str(len(entries)) for entries in every.splits.values())
    return (f"{count} photographs of COCO 2017 with {objects:,} objects, {crowds} of them crowds; {shown} pictures "
            f"show {animals} cats or dogs")


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("coco", type=Path, help="the folder of COCO")
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS), help="of those that ship")
    parser.add_argument("--out", type=Path, default=Path("coco_photographs.json"))
    arguments = parser.parse_args()
    rows = ignored_shares(arguments.coco)
    rows += [scores(arguments.coco, name, build(name, weights="bundled")) for name in arguments.networks]
    write_record(arguments.out, "python -m tools.real_coco COCO", described(arguments.coco), rows)


if __name__ == "__main__":
    main()
