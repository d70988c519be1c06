"""The data of assignment 4: drawn scenes with cats and dogs, other ones for each student, and maps of a backbone."""

from functools import cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from seglab.checks import seed_of
from seglab.models import build_backbone, load_imagenet
from seglab.samples.coco import draw_scene

#: {category id of COCO: class id}. Balls (37) are background.
CLASSES = {17: 1, 18: 2}


@cache
def _drawn(student, index):
    picture, drawn = draw_scene(3 * index, seed_of(student))  # every third scene has 160×208 pixels
    # The outlines are drawn by hand, one pixel too wide, so that neighbours share a seam.
    wide = [(CLASSES[category], cv2.dilate(shape.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, crowd)
            for category, shape, crowd in drawn if category in CLASSES and shape.sum() >= 12]
    return picture, wide


def scenes(student):
    """The 24 scenes of a student: a list of (picture, objects).

    picture: (160, 208, 3) uint8, RGB. objects: from back to front, a list of (class_id, shape, crowd): 1 (cat) or
    2 (dog), (160, 208) bool, bool.
    """
    return [_copied(_drawn(student, index)) for index in range(24)]


def _copied(scene):
    picture, objects = scene
    return picture.copy(), [(class_id, shape.copy(), crowd) for class_id, shape, crowd in objects]


def animal_maps(student, split):
    """The maps of a backbone that was trained on ImageNet, and the masks that belong to them.

    student: the name, str. split: "train" (the 24 scenes) or "test" (16 others).
    Returns maps (N, 40, 20, 26), float, at output stride 8; and masks (N, 160, 208), int64: 1 in animals, 255 in
    crowds, where nobody outlined them one by one, and 0 elsewhere.
    """
    found = [_drawn(student, index) for index in {"train": range(24), "test": range(100, 116)}[split]]
    backbone = _backbone()
    pictures = torch.from_numpy(np.stack([picture for picture, _ in found])).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(backbone.normalize[name])[:, None, None] for name in ("mean", "std"))
    masks = torch.zeros(len(found), *pictures.shape[2:], dtype=torch.int64)
    for mask, (_, objects) in zip(masks, found, strict=True):
        for _, shape, crowd in objects:
            mask[torch.from_numpy(shape)] = 255 if crowd else 1
    with torch.no_grad():
        return torch.cat([backbone((picture[None] - mean) / std)["c3"] for picture in pictures]), masks


@cache
def _backbone():
    """EfficientNet-Lite0 with the weights of ImageNet, up to its maps with 40 channels."""
    backbone = build_backbone("efficientnet_lite0", {"c3": "c3"}).eval()
    load_imagenet(backbone, "efficientnet_lite0")
    return backbone


def animal_iou(head, maps, masks):
    """The IoU of class 1 over all pictures together; ignored pixels (255) are left out.

    head: maps (N, 40, 20, 26) -> logits (N, 2, 20, 26), which are enlarged to the size of the masks. It is switched to
    eval mode.
    """
    head.eval()
    with torch.no_grad():
        found = F.interpolate(head(maps), masks.shape[1:], mode="bilinear", align_corners=False).argmax(dim=1) == 1
    true, known = masks == 1, masks != 255
    return float((found & true & known).sum() / ((found | true) & known).sum())


def linear_head(maps, masks):
    """One 1×1 convolution, nn.Conv2d(40, 2, 1), whose weights are found by least squares on these maps.

    The middle pixel of each place of the map says what is there; places whose middle is 255 are left out.
    """
    step = masks.shape[1] // maps.shape[2]
    truth = masks[:, step // 2::step, step // 2::step]
    values = maps.permute(0, 2, 3, 1)[truth != 255].double()  # (places, 40)
    values = torch.cat([values, torch.ones(len(values), 1, dtype=torch.float64)], dim=1)
    wanted = 2.0 * (truth[truth != 255] == 1).double() - 1
    weights = torch.linalg.solve(values.T @ values + torch.eye(41, dtype=torch.float64), values.T @ wanted).float()
    head = torch.nn.Conv2d(40, 2, 1)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.weight[1, :, 0, 0], head.bias[1] = weights[:40], weights[40]
    return head
