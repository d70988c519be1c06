"""The pictures of assignment 3: drawn cats and dogs, other ones for each student; and what a network sees in them."""

from functools import cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from seglab.checks import seed_of
from seglab.models import classifier
from seglab.samples.animals import draw_animal

NAMES = ("cat", "dog")
SIDE = 96  # of a picture, in pixels
#: Of each split: the number of its first drawing of a cat, which is also that of a dog, and how many pictures it has.
_SPLITS = {"train": (0, 80), "val": (1000, 80), "test": (2000, 80)}
_MORE = 24  # pictures of somebody else
_EXTRA = 10_000  # where the numbers of `draw_more` begin


def pictures(student, split):
    """The pictures of a student, and their labels.

    student: the name, str. split: "train", "val", "test" (80 pictures each) or "more" (24).
    Returns pictures, a (N, 96, 96, 3) uint8 array, RGB; and labels, a (N,) int64 tensor: 0 for a cat, 1 for a dog.
    """
    found, labels = _more(seed_of(student)) if split == "more" else _drawn(seed_of(student), *_SPLITS[split])
    return found.copy(), labels.clone()


def draw_more(student, count):
    """As many new pictures as you want, in the form of `pictures`; they are in none of the splits."""
    found, labels = _drawn(seed_of(student), _EXTRA, count)
    return found.copy(), labels.clone()


def gray(picture):
    """The brightness of a picture: (H, W, 3) uint8 -> (H, W) uint8."""
    return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)


def features_of(pictures):
    """The features of pictures: what ImageNet's EfficientNet-Lite0 sees in them.

    pictures: (N, H, W, 3) uint8. Returns an (N, 1280) float32 tensor.
    """
    pictures = np.ascontiguousarray(pictures, dtype=np.uint8)
    return _features(pictures.tobytes(), pictures.shape).clone()


def train_head(features, labels, steps=300):
    """A linear head that is trained on features; it begins at 0, so it is the same each time.

    features: (N, D) float32 tensor. labels: (N,) int64 tensor. Returns an nn.Linear: (N, D) -> logits (N, 2).
    """
    head = nn.Linear(features.shape[1], 2)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(steps):
        loss = F.cross_entropy(head(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.requires_grad_(False)


@cache
def _drawn(seed, first, count):
    """Cats and dogs in turn."""
    found = [draw_animal(("cats", "dogs")[i % 2], first + i // 2, seed, (SIDE, SIDE)) for i in range(count)]
    return np.stack(found), torch.arange(count) % 2


@cache
def _more(seed):
    rng = np.random.default_rng((seed, 3))
    copies = int(rng.integers(6, 11))
    known, known_labels = _drawn(seed, *_SPLITS["train"])
    new, new_labels = _drawn(seed, 3000, _MORE - copies)
    chosen = rng.permutation(len(known))[:copies]
    order = rng.permutation(_MORE)
    found = np.concatenate([np.stack([_edited(known[i], rng) for i in chosen]), new])
    return found[order], torch.cat([known_labels[chosen], new_labels])[order]


def _edited(picture, rng):
    """The picture smaller, stored as a poor JPEG, larger again, and with other light."""
    side = int(rng.integers(56, 80))
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    _, stored = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 50])
    large = cv2.resize(cv2.imdecode(stored, cv2.IMREAD_COLOR), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.clip(large * rng.uniform(0.8, 1.15) + rng.uniform(-12, 12), 0, 255).astype(np.uint8)


@cache
def _network():
    return classifier("efficientnet_lite0", 2).eval()


@cache
def _features(data, shape):
    images = torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape).copy()).permute(0, 3, 1, 2)
    network = _network()
    with torch.no_grad():
        return torch.cat([network.features(network.card.normalize(part)) for part in images.split(6)])
