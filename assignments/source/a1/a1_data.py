"""The scenes of assignment 1: drawn pictures from a drone, other ones for each student."""

from functools import cache

import numpy as np

from seglab.checks import seed_of
from seglab.labels import DRONE
from seglab.samples import draw_aerial

#: The 23 classes of the drone pictures in six groups.
GROUPS = {
    "ground": ["paved-area", "dirt", "gravel", "rocks"],
    "plants": ["grass", "vegetation", "tree", "bald-tree"],
    "water": ["water", "pool"],
    "building": ["roof", "wall", "window", "door", "fence", "fence-pole"],
    "vehicle": ["car", "bicycle"],
    "alive": ["person", "dog"],
}
#: Of each of the 23 class ids the number of its group; 255 for what is in none.
GROUP_OF = np.full(len(DRONE.classes), 255, np.uint8)
for _number, _names in enumerate(GROUPS.values()):
    for _name in _names:
        GROUP_OF[DRONE.classes.index(_name)] = _number


def scenes(student, split):
    """The pictures of a student: a list of (image, mask).

    student: the name, str. split: "train" (16 pictures) or "test" (8).
    image: (160, 240, 3) uint8, RGB. mask: (160, 240) uint8, ids of the 23 classes.
    """
    return [(image.copy(), mask.copy()) for image, mask in _drawn(seed_of(student), split)]


@cache
def _drawn(seed, split):
    return [draw_aerial(seed, index) for index in {"train": range(16), "test": range(100, 108)}[split]]
