"""The film of assignment 2, another one for each student, and the network that segments it."""

from functools import cache
from itertools import islice

import numpy as np

import seglab
from seglab.checks import seed_of
from seglab.samples import sample_frames

#: The frames of the film that "somebody has labelled": those from which section 7 may learn.
LABELLED = (2, 8, 14, 20)


def film(student):
    """The film of a student, with the truth.

    student: the name, str.
    Returns frames (24, 128, 224, 3) uint8, RGB, and truths (24, 128, 224) uint8: 0 background, 1 cat, 2 dog.
    """
    frames, truths = _drawn(seed_of(student))
    return frames.copy(), truths.copy()


@cache
def _drawn(seed):
    found = islice(sample_frames(48, size=(128, 224), seed=seed), 12, 36)
    frames, truths = zip(*found, strict=True)
    return np.stack(frames), np.stack(truths)


def pretrained():
    """The FCN of lesson 2, which was trained on photographs of cats and dogs; in eval mode.

    (N, 3, H, W) float, normalised -> {"out": (N, 3, H, W) logits}.
    """
    network = seglab.build("fcn", weights="bundled").eval()
    network.min_size = 0  # it takes the frames at their size; enlarging them is three times as slow
    return network
