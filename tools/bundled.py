"""How the bundled networks were trained: `python -m tools.bundled DATA [--model NAME]`, on two CPU cores.

DATA holds two copies of the Oxford-IIIT Pet dataset (Parkhi et al. 2012, CC BY-SA 4.0): `pets/` with some breeds at
full size (`images/`, `annotations/trimaps/`, `annotations/trainval.txt`), and `pets128/` with all breeds at 128 pixels
(`train/images/N.jpg`, `train/trimaps/N.png`, the same for `test`). Only training pictures are trained on.

The small copy does not say which pictures show a cat and which a dog. Labels come from an ImageNet classifier's odds
(`guess_species`). Where they leave it open, the mask says "a pet", and the loss asks for the sum of both probabilities.

DeepLabV3 learns from drawn scenes, too, so that lesson 4 can open it on its sample. They are of another seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from seglab.checkpoint import load_checkpoint
from seglab.datasets import Pets, Samples
from seglab.datasets.protocols import Sample
from seglab.inference import predict
from seglab.labels import DRONE, IGNORE, PETS, LabelSet
from seglab.metrics import ConfusionMatrix, SegmentationScores
from seglab.models import BUNDLED, Card, DeepLabV3, build, imagenet_classifier, load_model, load_weights
from seglab.models.backbones import stage_modules
from seglab.models.grid import GridModel
from seglab.models.weights import load_imagenet
from seglab.samples import coco as coco_sample
from seglab.samples import draw_aerial
from seglab.training import History, fit, parameter_groups
from tools.half import halve

CAT, DOG, SOME_PET = 1, 2, 3  # ids in training masks; SOME_PET is no class of the network
MIN_SIZE, SHORT_SIDE = 224, 256  # what a network makes of pictures that are smaller or larger
#: Shorter side and zoom of DeepLabV3: it looks at twice the size, up to 320 pixels, as its maps are coarse. Chosen on
#: further drawn scenes and on validation pictures: see its card.
ENLARGED = (160, 2.0)
_CAT_CLASSES, _DOG_CLASSES = slice(281, 286), slice(151, 269)  # of ImageNet

Pair = tuple[np.ndarray, np.ndarray]  # (H, W, 3) uint8, (H, W) uint8: trimap classes 0 background, 1 pet, 255 border


@dataclass(frozen=True)
class Stage:
    """Settings of a stage: epochs, size of the crops, least share of a picture in one, share of mosaics, rates."""

    epochs: int
    size: int
    least_area: float
    mosaics: float
    backbone_rate: float
    rate: float


#: Learn on small crops of all kinds, then refine on larger ones that look like whole pictures. The GCN and DeepLabV3
#: take over the FCN's backbone, which has seen all of these pictures; its first layers stay as they are, which saves a
#: third of the time.
STAGES = {"fcn_skip": (Stage(22, 160, 0.25, 0.15, 5e-4, 2e-3), Stage(7, 192, 0.5, 0.05, 1.5e-4, 5e-4)),
          "gcn": (Stage(5, 192, 0.4, 0.1, 2e-4, 2e-3),),
          "deeplabv3": (Stage(4, 192, 0.3, 0.25, 2e-4, 2e-3),)}
_HOW = (Image.Resampling.BICUBIC, Image.Resampling.NEAREST)  # of pictures and of masks
_OPTIONS: dict[str, dict[str, Any]] = {"fcn_skip": {}, "gcn": {"k": 5, "size": 192, "channels": 16},
                                       "deeplabv3": {"output_stride": 16, "rates": (3, 6, 9), "channels": 128}}
#: Drawn scenes for DeepLabV3, and their seed; the sample's is 0.
SCENES, SCENES_SEED = 600, 11


class PetCrops(Dataset[Sample]):
    """Training pictures in memory, cut, scaled, turned and coloured anew each time; sometimes four in one.

    Args:
        pairs: pictures, and masks with the training ids.
        size: height and width of what comes out.
        least_area: how much of a picture is kept at least, as a share.
        mosaics: share of samples that are four pictures in one.
        augment: False gives the pictures as they are.
    """

    label_set: LabelSet = PETS

    def __init__(self, pairs: Sequence[Pair], size: int = 160, least_area: float = 0.25, mosaics: float = 0.15,
                 augment: bool = True) -> None:
        self.pairs, self.mosaics, self.augment = list(pairs), mosaics, augment
        fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE}
        self.transforms = v2.Compose([
            v2.RandomApply([v2.RandomRotation(15, v2.InterpolationMode.BILINEAR, fill=fill)], 0.2),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.35, 0.35, 0.35, 0.05)], 0.8),
            v2.RandomGrayscale(0.05),
            v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], 0.15),
        ])
        self.crop = v2.RandomResizedCrop(size, scale=(least_area, 1.0), ratio=(0.75, 1.33))
        self.quarter = v2.RandomResizedCrop(size // 2, scale=(0.5, 1.0), ratio=(0.75, 1.33))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        if not self.augment:
            return _sample(self.pairs[index])
        if torch.rand(()) > self.mosaics:
            image, mask = self.crop(*_sample(self.pairs[index]))
        else:  # four pictures at half the size: small pets, cats beside dogs
            others = [index, *torch.randint(len(self), (3,)).tolist()]
            quarters = [self.quarter(*_sample(self.pairs[i])) for i in others]
            image, mask = (torch.cat([torch.cat(row, -1) for row in (parts[:2], parts[2:])], -2)
                           for parts in zip(*quarters, strict=True))
        return self.transforms(tv_tensors.Image(image), tv_tensors.Mask(mask))


def _sample(pair: Pair) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    return tv_tensors.Image(torch.from_numpy(pair[0]).permute(2, 0, 1)), tv_tensors.Mask(torch.from_numpy(pair[1]))


def pet_loss(output: dict[str, Tensor], masks: Tensor) -> Tensor:
    """Cross-entropy that accepts SOME_PET: there, the probability of a pet is that of a cat plus that of a dog.

    Shapes:
        {"out": (N, 3, H, W)} logits, (N, H, W) uint8 masks -> scalar; 255 is ignored.
    """
    scores = output["out"].log_softmax(1)  # (N, 3, H, W)
    scores = torch.cat([scores, scores[:, CAT:].logsumexp(1, keepdim=True)], 1)  # (N, 4, H, W)
    return F.nll_loss(scores, masks.long(), ignore_index=IGNORE)


def read_small(root: Path, split: str) -> list[Pair]:
    """`pets128/`, "trainval" or "test", in the order of the numbers; what has no pet is left out."""
    data = _foreground(root, split)
    return [data.read(i) for i in sorted(range(len(data)), key=lambda i: int(data.names[i]))]


def _foreground(root: Path, split: str) -> Samples:
    """The pictures of "test", or all others: "trainval"."""
    reader = Pets(root, target="foreground")
    reader.splits = {"test": reader.splits["test"]} if split == "test" else {"train": reader.splits["train"]}
    return Samples(reader, "test" if split == "test" else "all")


def read_large(root: Path, split: str, side: int | None = 256) -> tuple[list[Pair], list[int]]:
    """`pets/` with this shorter side (None: as published), and the species by name: cats' breeds are capitalised."""
    data = _foreground(root, split)
    pairs = [(_scaled(image, side, _HOW[0]), _scaled(mask, side, _HOW[1]))
             for image, mask in map(data.read, range(len(data)))]
    return pairs, [CAT if name[0].isupper() else DOG for name in data.names]


def _scaled(array: np.ndarray, side: int | None, how: Image.Resampling) -> np.ndarray:
    scale = 1.0 if side is None else side / min(array.shape[:2])
    size = [round(v * scale) for v in array.shape[1::-1]]
    return array if scale == 1 else np.array(Image.fromarray(array).resize(size, how))


@torch.no_grad()
def guess_species(pictures: Sequence[np.ndarray], side: int = 192) -> list[int]:
    """CAT, DOG or SOME_PET for each picture, from what an ImageNet classifier says about it.

    ImageNet has 5 classes of cats and 118 of dogs, so its odds lean to dogs. But we know that 2,371 of the dataset's
    7,349 pictures show cats: that share with the highest odds is called cats, and a tenth around the border is left
    open.
    """
    classifier = imagenet_classifier()
    found = []
    for picture in pictures:
        pixels = np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
        logits = classifier((torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - 127) / 128)[0]  # (1000,)
        found.append(logits[_CAT_CLASSES].logsumexp(0) - logits[_DOG_CLASSES].logsumexp(0))
    odds = torch.stack(found)
    dogs = 1 - 2371 / 7349
    low, high = odds.quantile(dogs - 0.06), odds.quantile(dogs + 0.04)
    return [CAT if o > high else DOG if o < low else SOME_PET for o in odds]


def _with_species(pair: Pair, species: int) -> Pair:
    return pair[0], np.where(pair[1] == 1, np.uint8(species), pair[1])


def training_data(data: Path) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, masks with CAT, DOG and SOME_PET, and pairs to watch the training with."""
    small, (large, known) = read_small(data / "pets128", "trainval"), read_large(data / "pets", "trainval")
    species = guess_species([p[0] for p in small])
    print(f"small pictures: {species.count(CAT)} cats, {species.count(DOG)} dogs, {species.count(SOME_PET)} either")
    small = [_with_species(pair, s) for pair, s in zip(small, species, strict=True)]
    large = [_with_species(pair, s) for pair, s in zip(large, known, strict=True)]
    # Scenes without a pet, so that "background" is not only what lies behind pets.
    scenes = [draw_aerial(7, i, (200, 300)) for i in range(120)]
    empty = [(image, np.where(mask == DRONE.id("dog"), np.uint8(IGNORE), np.uint8(0))) for image, mask in scenes]
    val = [(image, np.where(mask == SOME_PET, np.uint8(IGNORE), mask)) for image, mask in small[::20]]
    return [*(pair for i, pair in enumerate(small) if i % 20), *(4 * large), *empty], val


def drawn_scenes(count: int = SCENES) -> list[Pair]:
    """Scenes like those of the COCO sample, of another seed: balls are background, herds and overlaps are ignored."""
    ids = {coco_sample.CAT: CAT, coco_sample.DOG: DOG, coco_sample.BALL: 0}
    pairs = []
    for index in range(count):
        picture, objects = coco_sample.draw_scene(index, SCENES_SEED)
        mask, covered = np.zeros(picture.shape[:2], np.uint8), np.zeros(picture.shape[:2], int)
        for category, shape, crowd in objects:
            mask[shape] = IGNORE if crowd else ids[category]
            covered += shape
        mask[covered > 1] = IGNORE
        pairs.append((picture, mask))
    return pairs


def train_stage(pairs: Sequence[Pair], val: Sequence[Pair], folder: Path, stage: Stage, name: str = "fcn_skip",
                seed: int = 0, start: Path | None = None, num_workers: int = 1) -> History:
    """One stage, into a folder of checkpoints; a run that is there goes on.

    Args:
        pairs, val: see `training_data`.
        folder: for checkpoints.
        stage: its settings.
        name: of the model, a key of `STAGES`.
        seed: of weights, order and augmentation.
        start: a checkpoint to start from; by default ImageNet's weights for the FCN, and its backbone for others.
        num_workers: loader processes.
    """
    torch.manual_seed(seed)
    # Small crops are not to be enlarged: the network shall see pets of many sizes.
    model = build(name, len(PETS), backbone="efficientnet_lite0", **_OPTIONS[name])
    assert isinstance(model, GridModel | DeepLabV3)
    if start is not None:
        load_weights(model, start)
    elif name == "fcn_skip":
        load_imagenet(model.backbone, "efficientnet_lite0")
    else:
        model.backbone.load_state_dict(load_model(BUNDLED).get_submodule("backbone").state_dict())
        stages = stage_modules(model.backbone)
        for module in (*stages["c1"], *stages["c2"]):
            module.requires_grad_(False)
    model = model.to(memory_format=torch.channels_last)
    crops = PetCrops(pairs, stage.size, stage.least_area, stage.mosaics)
    rates = [stage.backbone_rate, stage.rate]
    optimizer = torch.optim.AdamW(parameter_groups(model, rates[1], rates[0] / rates[1]), weight_decay=0.01)
    steps = stage.epochs * -(-len(crops) // 16)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.15)
    return fit(model, crops, PetCrops(val, augment=False), optimizer=optimizer, scheduler=schedule,
               epochs=stage.epochs, batch_size=16, loss=pet_loss,
               folder=folder, seed=seed, num_workers=num_workers)


def export(checkpoint: Path, target: Path) -> None:
    """Write the weights that ship: half precision, with all that `load_model` needs to know."""
    card = Card.parse(load_checkpoint(checkpoint), checkpoint)
    card.label_set, card.short_side = PETS, SHORT_SIDE
    if card.architecture["name"] == "deeplabv3":
        card.short_side, card.zoom = ENLARGED
    else:
        card.architecture["min_size"] = MIN_SIZE
    halve(checkpoint, target, card)


def score(model: nn.Module, pairs: Sequence[Pair], species: Sequence[int] | None = None,
          **options: Any) -> SegmentationScores:
    """Pet against background, border ignored; with known species, background, cat and dog.

    Args:
        model: as for `predict`.
        pairs: pictures and masks as `read_small` and `read_large` give them.
        species: CAT or DOG of each picture.
        options: for `predict`, for instance `flip=True`.
    """
    matrix = ConfusionMatrix(2 if species is None else len(PETS))
    for number, (image, mask) in enumerate(pairs):
        (prediction,) = predict(model, [image], **options)
        found = prediction.mask
        if species is None:
            found = (found > 0).astype(np.uint8)
        else:
            mask = _with_species((image, mask), species[number])[1]
        matrix.update(torch.from_numpy(found)[None], torch.from_numpy(mask.copy())[None])
    return matrix.compute()


def main() -> None:
    """Train, write the weights and print the figures of the card."""
    parser = argparse.ArgumentParser(description="Train the network that ships with seglab.")
    parser.add_argument("data", type=Path, help="the folder that holds pets/ and pets128/")
    parser.add_argument("--model", choices=list(STAGES), default="fcn_skip")
    parser.add_argument("--folder", type=Path, default=Path("runs/bundled"), help="for checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the file to write; by default weights.safetensors in the folder")
    parser.add_argument("--threads", type=int, help="of PyTorch; by default one a core")
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads or torch.get_num_threads())
    pairs, val = training_data(arguments.data)
    if arguments.model == "deeplabv3":
        pairs += drawn_scenes()
    start = None
    for number, stage in enumerate(STAGES[arguments.model], start=1):
        folder = arguments.folder / f"stage{number}"
        train_stage(pairs, val, folder, stage, arguments.model, arguments.seed, start, arguments.workers)
        start = folder / "last.safetensors"
    out = arguments.out or arguments.folder / "weights.safetensors"
    export(folder / "last.safetensors", out)
    report(load_model(out), arguments.data)


def report(model: nn.Module, data: Path) -> None:
    """Print the scores on all pictures that were not trained on, plain and averaged with the mirrored picture."""
    for flip, how in ((False, ""), (True, ", with flips")):
        _line(f"128 px{how}", score(model, read_small(data / "pets128", "test"), flip=flip))
        for side, what in ((None, "as published"), (1080, "enlarged to a shorter side of 1080 px")):
            large, species = read_large(data / "pets", "test", side)
            _line(what + how, score(model, large, flip=flip))
            _line(f"{what}{how}, by species", score(model, large, species, flip=flip))


def _line(what: str, scores: SegmentationScores) -> None:
    print(f"{what}: pixel accuracy {scores.pixel_accuracy:.4f}, mIoU {scores.miou:.4f}, "
          f"IoU {', '.join(f'{v:.4f}' for v in scores.iou)}", flush=True)


if __name__ == "__main__":
    main()
