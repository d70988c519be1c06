"""The data of assignment 5: drawn pets with trimaps, other ones for each student, and what three programs say of them.
"""

from functools import cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from seglab.checks import seed_of
from seglab.models import build_backbone, load_imagenet
from seglab.samples.pets import draw_pet


def answers(student):
    """The 16 pets of a student, and what two programs say: a list of (picture, trimap, wide, narrow).

    picture: (H, W, 3) uint8, RGB. trimap: (H, W) uint8, 1 pet, 2 background, 3 border.
    wide, narrow: (H, W) bool, where the program sees the pet.
    """
    return [tuple(part.copy() for part in _answered(student, index)) for index in range(16)]


@cache
def _answered(student, index):
    picture, trimap = draw_pet(index, seed_of(student))
    rng = np.random.default_rng((seed_of(student), index))
    to_pet, to_background = (cv2.distanceTransform((trimap != value).astype(np.uint8), cv2.DIST_L2,
                                                   cv2.DIST_MASK_PRECISE) for value in (1, 2))
    wobble = cv2.GaussianBlur(rng.normal(0, 1, (2, *trimap.shape)).transpose(1, 2, 0), (0, 0), 6) * 60
    inside = to_background - to_pet  # 0 in the middle of the border
    return picture, trimap, inside + wobble[..., 0] > -4, inside + wobble[..., 1] > 4


def refine_data(student, split):
    """Coarse scores, fine maps and trimaps of a student's pets.

    student: the name, str. split: "train" (60 pets) or "test" (32 others).
    coarse: (N, 1, 10, 10) float, above 0 where a coarse program sees the pet; one place for 16×16 pixels.
    fine: (N, 24, 40, 40) float, early maps of a backbone; one place for 4×4 pixels.
    trimaps: (N, 160, 160) int64, 1 pet, 2 background, 3 border.
    """
    return tuple(part.clone() for part in _refine_data(student, split))


@cache
def _refine_data(student, split):
    maps, trimaps = _maps(seed_of(student), {"train": range(24, 84), "test": range(100, 132)}[split])
    weights = _coarse_weights()
    scores = maps["c4"].permute(0, 2, 3, 1) @ weights[:-1] + weights[-1]
    return 4 * scores[:, None] + 0.5, maps["c2"], trimaps


@cache
def _coarse_weights():
    """Weights for the scores of the maps at stride 16, found by least squares on pets that are nobody's own."""
    maps, trimaps = _maps(0, range(200, 248))
    wanted = 2 * F.avg_pool2d((trimaps != 2)[:, None].double(), 16).flatten() - 1
    values = maps["c4"].permute(0, 2, 3, 1).reshape(-1, maps["c4"].shape[1]).double()  # (places, channels)
    values = torch.cat([values, torch.ones(len(values), 1, dtype=torch.float64)], dim=1)
    square = values.T @ values + 10 * torch.eye(values.shape[1], dtype=torch.float64)
    return torch.linalg.solve(square, values.T @ wanted).float()


def _maps(seed, indices):
    """The maps of a backbone, at strides 4 and 16, of the middle 160×160 pixels of pets; and their trimaps."""
    backbone, pictures, trimaps = _backbone(), [], []
    for index in indices:
        picture, trimap = draw_pet(index, seed)
        top, left = (trimap.shape[0] - 160) // 2, (trimap.shape[1] - 160) // 2
        pictures.append(picture[top:top + 160, left:left + 160])
        trimaps.append(trimap[top:top + 160, left:left + 160])
    mean, std = (torch.tensor(backbone.normalize[name])[:, None, None] for name in ("mean", "std"))
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        found = [backbone((one[None] - mean) / std) for one in pixels]
    return ({name: torch.cat([one[name] for one in found]) for name in ("c2", "c4")},
            torch.from_numpy(np.stack(trimaps)).long())


@cache
def _backbone():
    """EfficientNet-Lite0 with the weights of ImageNet, up to its maps at stride 16."""
    backbone = build_backbone("efficientnet_lite0", {"c2": "c2", "c4": "c4"}).eval()
    load_imagenet(backbone, "efficientnet_lite0")
    return backbone


def pet_iou(scores, trimaps):
    """The IoU of the pet over all pictures together, with the border as the pet.

    scores: (N, 1, h, w) float, enlarged to the size of the trimaps; above 0 is the pet. trimaps: (N, H, W) int64.
    """
    with torch.no_grad():
        found = F.interpolate(scores, trimaps.shape[1:], mode="bilinear", align_corners=False)[:, 0] > 0
    true = trimaps != 2
    return float((found & true).sum() / (found | true).sum())
