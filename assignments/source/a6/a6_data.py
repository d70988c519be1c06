"""The data of assignment 6: drawn pictures from a drone, other ones for each student, with annotations of several."""

from functools import cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from seglab.checks import seed_of
from seglab.labels import DRONE
from seglab.models import build_backbone, load_imagenet
from seglab.samples import draw_aerial

#: The classes of this assignment, and which of the 23 classes of the drone pictures they join. All others are 255.
CLASSES = {
    "ground": ["paved-area", "dirt", "gravel", "rocks"],
    "plants": ["grass", "vegetation", "tree", "bald-tree"],
    "building": ["roof", "wall", "window", "door"],
}
#: The colours in which a program for annotation shows them, (3, 3) uint8: red, green, blue of each class.
COLOURS = np.array([[128, 64, 128], [64, 128, 64], [128, 64, 64]], np.uint8)
_CLASS_OF = np.full(256, 255, np.uint8)
for _number, _names in enumerate(CLASSES.values()):
    for _name in _names:
        _CLASS_OF[DRONE.classes.index(_name)] = _number
_SIZE = (128, 192)
_POOL = 36  # pictures
_WRONG = 6  # of them with a mask that is wrong


@cache
def _drawn(student, index):
    """A picture (128, 192, 3) uint8, and its mask (128, 192) uint8: classes or 255."""
    picture, mask = draw_aerial(seed_of(student), index, _SIZE)
    return picture, _CLASS_OF[mask]


def exported(student):
    """A mask as a program for annotation exports it: (128, 192, 3) uint8, the colours of the classes.

    Pixels of no class are white. The program draws outlines smoothly.
    """
    index = max(range(500, 512), key=lambda i: len(np.unique(_drawn(student, i)[1])))
    table = np.full((256, 3), 255, np.uint8)
    table[:len(COLOURS)] = COLOURS
    large = cv2.resize(table[_drawn(student, index)[1]], None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    return cv2.resize(large, _SIZE[::-1], interpolation=cv2.INTER_AREA)


def annotators(student):
    """Eight pictures, and what three people say that they show.

    Returns pictures, (8, 128, 192, 3) uint8; and {name: masks}, with masks (8, 128, 192) uint8: 0 (ground), 1 (plants),
    2 (building), or 255 where this person gave no class.
    """
    found = [_drawn(student, index) for index in range(600, 608)]
    true = np.stack([mask for _, mask in found])
    rng = np.random.default_rng((seed_of(student), 61))
    near, coarse = true.copy(), true.copy()
    for mask, other, rough in zip(true, near, coarse, strict=True):
        rows, columns = rng.integers(1, 4, 2)
        other[:] = np.roll(mask, (rows, columns), (0, 1))
        seen = other.copy()
        seen[other == 255] = 0
        kernel = np.ones((3, 3), np.uint8)
        other[cv2.dilate(seen, kernel) != cv2.erode(seen, kernel)] = 255  # nobody dared to say what is at the outline
        small = mask[8::16, 8::16]
        rough[:] = cv2.resize(small, mask.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.stack([picture for picture, _ in found]), {"Anna": true, "Ben": near, "Cleo": coarse}


def old_program(student):
    """A picture, (128, 192, 3) uint8, and what an old program made of it for its network, (1, 3, 128, 192) float32."""
    rng = np.random.default_rng((seed_of(student), 62))
    picture = _drawn(student, 600)[0]
    order = rng.permutation(3)
    mean, std = rng.uniform(0.35, 0.6, 3).round(3), rng.uniform(0.15, 0.3, 3).round(3)
    return picture.copy(), ((picture[..., order] / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)


@cache
def _backbone():
    """EfficientNet-Lite0 with the weights of ImageNet, up to its maps with 40 channels."""
    backbone = build_backbone("efficientnet_lite0", {"c3": "c3"}).eval()
    load_imagenet(backbone, "efficientnet_lite0")
    return backbone


@cache
def _seen(student, first, count):
    """Maps (count, 40, 16, 24), and right masks (count, 16, 24): the class in the middle of each 8×8 pixels."""
    backbone = _backbone()
    mean, std = (torch.tensor(backbone.normalize[name])[:, None, None] for name in ("mean", "std"))
    found = [_drawn(student, index) for index in range(first, first + count)]
    pictures = torch.from_numpy(np.stack([picture for picture, _ in found])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        maps = torch.cat([backbone((part - mean) / std)["c3"] for part in pictures.split(4)])
    return maps, np.stack([mask[4::8, 4::8] for _, mask in found])


def pool(student, part=0):
    """36 pictures that somebody annotated, six of them wrongly.

    Returns maps (36, 40, 16, 24) float32, from a backbone that was trained on ImageNet: 40 channels for each 8×8 pixels
    of the pictures; masks (36, 16, 24), uint8: one class for each 8×8 pixels, or 255; and the numbers of the six wrong
    masks, a sorted list of int.
    """
    maps, masks = _seen(student, 1000 * part, _POOL)
    rng = np.random.default_rng((seed_of(student), 63, part))
    made, wrong = masks.copy(), []
    for kind in (_exchanged, _mirrored, _of_another) * (_WRONG // 3):
        # A mask that hardly changes would still be nearly right: at least 60 % of it, or what comes closest to that.
        trials = [(number, kind(masks, number, rng)) for number in rng.permutation(_POOL) if number not in wrong]
        number, mask = max(trials, key=lambda one: min(0.6, (one[1] != masks[one[0]]).mean()))  # the first of the best
        made[number] = mask
        wrong.append(int(number))
    return maps.clone(), torch.from_numpy(made), sorted(wrong)


def _exchanged(masks, number, _):
    """The two most frequent classes are exchanged."""
    mask = masks[number].copy()
    first, second = np.argsort(-np.bincount(mask[mask != 255], minlength=3), kind="stable")[:2]
    mask[masks[number] == first], mask[masks[number] == second] = second, first
    return mask


def _mirrored(masks, number, _):
    return masks[number][:, ::-1]


def _of_another(masks, number, rng):
    return masks[(number + 1 + rng.integers(len(masks) - 1)) % len(masks)]


def two_networks(student):
    """How an old and a new network do on 40 test pictures.

    Returns old and new, each (40, 3, 3) int64: the confusion matrix of each picture, rows: truth, columns: prediction;
    and picks, (1000, 40) int64, numbers of pictures.
    """
    old, new = (_matrices(student, count) for count in (6, 36))
    picks = np.random.default_rng((seed_of(student), 64)).integers(0, len(old), (1000, len(old)))
    return old.copy(), new.copy(), picks


@cache
def _matrices(student, count):
    """The confusion matrices of a network that was trained on so many pictures."""
    maps, masks = _seen(student, 0, _POOL)
    weights = _least_squares(maps[:count], masks[:count])
    tests, truths = _seen(student, 100, 40)
    made = np.zeros((len(truths), 3, 3), np.int64)
    for matrix, one, truth in zip(made, tests, truths, strict=True):
        found = (weights @ F.pad(one.double().flatten(1), (0, 0, 0, 1), value=1.0)).argmax(0).numpy()
        known = truth.ravel() != 255
        np.add.at(matrix, (truth.ravel()[known], found[known]), 1)
    return made


def _least_squares(maps, masks):
    """The weights of a 1×1 convolution, (3, 41) float64, with its bias in the last column."""
    x = F.pad(maps.double().flatten(2).transpose(1, 2).flatten(0, 1), (0, 1), value=1.0)
    known = torch.from_numpy(masks.ravel() != 255)
    y = F.one_hot(torch.from_numpy(masks.ravel())[known].long(), 3).double()
    x = x[known]
    return torch.linalg.solve(x.T @ x + 0.01 * len(x) * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y).T
