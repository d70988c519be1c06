"""Things: people, cars, houses, trees; every one is drawn at a place on the ground."""

from __future__ import annotations

import cv2
import numpy as np

from seglab.samples.aerial.canvas import LOOKS, ROOFING, Scene


def oval(at: np.ndarray, long: float, wide: float, heading: float = 0.0, rough: float = 0.0,
          rng: np.random.Generator | None = None) -> np.ndarray:
    """An ellipse of half axes long and wide, (28, 2) metres; rough bends it into a blob."""
    t = np.arange(28) * (2 * np.pi / 28)
    waves = np.array([[2.0], [3.0], [5.0]])
    r = 1.0 if rng is None else 1 + rough * (np.cos(waves * t + rng.uniform(0, 6.3, (3, 1))) / waves).sum(axis=0)
    return _turned(np.stack([np.cos(t) * long * r, np.sin(t) * wide * r], axis=1), at, heading)


def box(at: np.ndarray, long: float, wide: float, heading: float = 0.0, cut: float = 0.0) -> np.ndarray:
    """A rectangle of half sides long and wide, its corners cut off by so many metres, (8, 2) metres."""
    a, b = long - cut, wide - cut
    corners = [(a, -wide), (long, -b), (long, b), (a, wide), (-a, wide), (-long, b), (-long, -b), (-a, -wide)]
    return _turned(np.array(corners), at, heading)


def _turned(points: np.ndarray, at: np.ndarray | float, heading: float) -> np.ndarray:
    c, s = np.cos(heading), np.sin(heading)
    return points @ np.array([[c, s], [-s, c]]) + at


_CLOTHES = ((40, 44, 60), (176, 40, 44), (222, 222, 218), (60, 92, 146), (120, 122, 120), (196, 168, 70), (56, 84, 60))
_PAINT = ((226, 226, 224), (150, 152, 156), (44, 46, 50), (96, 98, 102), (130, 30, 32), (40, 62, 110))


def person(s: Scene, at: np.ndarray) -> None:
    turn, top, legs = s.rng.uniform(0, 6.3), *s.rng.choice(_CLOTHES, 2)
    s.block(oval(at, 0.27, 0.17, turn), 1.35, "person", tuple(top), tuple(legs))
    for side in (-0.27, 0.27):  # arms
        hand = _turned(np.array([[side, 0.0], [side * 1.2, 0.22]]), at, turn)
        s.fill(s.project(hand, np.array([1.3, 1.0])), "person", tuple(top), light=0.85, width=0.11)
    hair = s.rng.choice([(52, 38, 28), (120, 88, 52), (196, 160, 112), (90, 88, 86)])
    s.fill(s.project(oval(at, 0.12, 0.14, turn), 1.62), "person", tuple(hair))


def dog(s: Scene, at: np.ndarray) -> None:
    turn, coat = s.rng.uniform(0, 6.3), tuple(s.rng.choice([(66, 46, 32), (166, 126, 82), (40, 38, 36)]))
    s.block(oval(at, 0.36, 0.13, turn), 0.5, "dog", coat)
    parts = _turned(np.array([[0.42, 0.0], [-0.3, 0.0], [-0.62, 0.14]]), at, turn)
    s.fill(s.project(oval(parts[0], 0.15, 0.10, turn), 0.55), "dog", coat, light=1.15)
    s.fill(s.project(parts[1:], 0.5), "dog", coat, width=0.06)


def car(s: Scene, at: np.ndarray, turn: float | None = None) -> None:
    turn = s.rng.uniform(0, 6.3) if turn is None else turn
    paint = tuple(s.rng.choice(_PAINT) + s.rng.integers(-8, 9))
    s.shadow(box(at, 1.9, 0.8, turn), 0.0, 1.4)
    s.block(box(at, 2.15, 0.88, turn, 0.3), 0.8, "car", paint)
    rear = at + _turned(np.array([[-0.25, 0.0]]), 0.0, turn)[0]
    s.fill(s.project(box(rear, 1.35, 0.76, turn, 0.16), 0.95), "car", (34, 40, 46))  # the windows all around
    s.fill(s.project(box(rear, 0.82, 0.66, turn, 0.1), 1.45), "car", paint, light=1.12)
    for side in (-0.6, 0.6):
        lamp = _turned(np.array([[2.0, side]]), at, turn)[0]
        s.fill(s.project(box(lamp, 0.1, 0.16, turn), 0.75), "car", (236, 234, 216))


def bicycle(s: Scene, at: np.ndarray) -> None:
    turn, paint = s.rng.uniform(0, 6.3), tuple(s.rng.choice(_CLOTHES))
    for shadow in (True, False):
        for x in (-0.52, 0.52):
            wheel = oval(at + _turned(np.array([[x, 0.0]]), 0.0, turn)[0], 0.34, 0.26, turn)
            ring = np.concatenate([wheel, wheel[:1]])
            if shadow:
                s.shadow(ring, 0.0, 0.25, width=0.06)
            else:
                s.ground(ring, "bicycle", (32, 32, 34), width=0.06)
    frame = np.array([[-0.52, 0], [-0.1, -0.05], [0.38, 0.3], [-0.2, 0.38], [-0.1, -0.05], [0.38, 0.3], [0.52, 0],
                      [0.34, 0.44], [0.5, 0.56]])
    s.ground(_turned(frame, at, turn), "bicycle", paint, width=0.06)


def marker(s: Scene, at: np.ndarray) -> None:
    turn = s.rng.uniform(0, 6.3)
    for half, colour in ((0.34, (238, 238, 236)), (0.26, (22, 22, 24))):
        s.ground(box(at, half, half, turn), "ar-marker", colour)
    for cell in s.rng.permutation(9)[:4]:
        place = _turned(np.array([[cell // 3 - 1.0, cell % 3 - 1.0]]) * 0.13, at, turn)[0]
        s.ground(box(place, 0.07, 0.07, turn), "ar-marker", (238, 238, 236))


def obstacle(s: Scene, at: np.ndarray) -> None:
    turn, kind, colour = s.rng.uniform(0, 6.3), s.rng.integers(4), tuple(s.rng.choice(_CLOTHES))
    if kind == 0:  # a parasol in eight panels
        s.shadow(oval(at, 1.4, 1.4), 2.1, 2.2)
        rim = s.project(oval(at, 1.4, 1.4, turn)[::3][:9], 2.1)
        tip = s.project(at[None], 2.5)
        for k in range(len(rim)):
            s.fill(np.concatenate([tip, rim[[k, (k + 1) % len(rim)]]]), "obstacle", colour, light=(1.0, 1.15)[k % 2])
    elif kind == 1:  # a table with chairs
        for x, y in ((-0.5, -0.7), (0.5, -0.7), (-0.5, 0.7), (0.5, 0.7)):
            chair = _turned(np.array([[x, y]]), at, turn)[0]
            s.block(box(chair, 0.24, 0.24, turn, 0.05), 0.45, "obstacle", colour)
        s.block(box(at, 1.0, 0.5, turn), 0.75, "obstacle", "wood")
    else:  # a bin, a box, a planter
        s.block(box(at, 0.45, 0.35, turn, 0.06), s.rng.uniform(0.5, 1.1), "obstacle", colour)


def junk(s: Scene, at: np.ndarray) -> None:
    """A garden hose or a tarpaulin: things that the label set has no word for."""
    if s.rng.random() < 0.5:
        hose = np.cumsum(s.rng.normal(0, 0.25, (30, 2)), axis=0)
        s.ground(at + cv2.blur(hose, (1, 5)), "unlabeled", (60, 130, 70), width=0.06)
    else:
        s.ground(box(at, 0.8, 0.5, s.rng.uniform(0, 6.3)), "unlabeled", (60, 100, 150))


def rock(s: Scene, at: np.ndarray) -> None:
    for _ in range(s.rng.integers(1, 5)):
        r = s.rng.uniform(0.15, 0.55)
        s.block(oval(at + s.rng.normal(0, 0.6, 2), r, 0.75 * r, s.rng.uniform(0, 6.3), 0.25, s.rng), 0.5 * r,
                "rocks", "rock")


def _crown(s: Scene, at: np.ndarray, radius: float, z: float, name: str, look: str, shadow: bool = True) -> None:
    """A crown of leaves: many small clumps, the low outer ones first, lit from the sun's side."""
    if shadow:
        s.shadow(oval(at, radius, radius, 0.0, 0.15, s.rng), 0.3 * z, 0.8 * z)
    count = int(6 + 8 * min(radius, 2.5))
    away = np.sqrt((np.arange(count)[::-1] + 0.5) / count)  # outer first
    shape = oval(np.zeros(2), 0.36 * radius, 0.33 * radius, 0.0, 0.22, s.rng)
    turn = np.arange(count) * 2.4 + s.rng.uniform(0, 6.3)  # the golden angle fills a disc evenly
    for r, t in zip(away, turn, strict=True):
        spoke = np.array([np.cos(t), np.sin(t)])
        high = z * (0.55 + 0.45 * (1 - r * r) + s.rng.uniform(-0.05, 0.05))
        light = 0.9 + 0.25 * (1 - r * r) - 0.28 * r * float(spoke @ s.sun) + s.rng.uniform(-0.1, 0.1)
        place = at + radius * 0.8 * r * spoke + s.rng.normal(0, 0.06 * radius, 2)
        clump = _turned(shape, place, t)
        s.fill(s.project(clump + 0.05 * radius * s.sun, high), name, LOOKS[look].dark, light=1.25 * light)
        s.fill(s.project(clump, high), name, look, light=light)


def bush(s: Scene, at: np.ndarray) -> None:
    r = s.rng.uniform(0.4, 1.1)
    _crown(s, at, r, 1.1 * r, "vegetation", "leaves" if s.rng.random() < 0.9 else "autumn leaves")


def tree(s: Scene, at: np.ndarray) -> None:
    r, z = s.rng.uniform(1.2, 2.4), s.rng.uniform(3.0, 5.0)
    s.fill(s.project(np.stack([at, at]), np.array([0.0, 0.5 * z])), "tree", (84, 66, 50), width=0.25)
    _crown(s, at, r, z, "tree", "autumn leaves" if s.rng.random() < 0.12 else "tree leaves")


def bald_tree(s: Scene, at: np.ndarray) -> None:
    """A trunk and three generations of branches, each with its thin shadow."""
    branches = [(at, at, 0.0, 1.2)]  # from, to, and their heights
    for length, number in ((1.1, 6), (0.7, 4), (0.4, 3)):
        for _, start, _, z in branches[-number * 6:]:
            for t in s.rng.uniform(0, 6.3, number):
                end = start + length * s.rng.uniform(0.6, 1.1) * np.array([np.cos(t), np.sin(t)])
                branches.append((start, end, z, z + 0.5 * length))
    for start, end, low, high in branches:
        s.shadow(np.stack([start, end]), low, high, width=0.06)
    for start, end, low, high in branches:
        s.fill(s.project(np.stack([start, end]), np.array([low, high])), "bald-tree", (124, 110, 96),
               width=0.16 - 0.03 * high, light=s.rng.uniform(0.8, 1.2))


def upright(s: Scene, start: np.ndarray, end: np.ndarray, kind: str) -> None:
    """A fence with its poles, a garden wall or a hedge between two places."""
    run = end - start
    length, turn = float(np.hypot(*run)), float(np.arctan2(run[1], run[0]))
    if kind == "hedge":
        s.shadow(box((start + end) / 2, length / 2, 0.6, turn), 0.0, 1.1)
        for k in np.arange(0, length, 0.7):
            _crown(s, start + run * k / length, 0.75, 1.2, "vegetation", "leaves", shadow=False)
        return
    thick, z, look = (0.16, s.rng.uniform(0.6, 1.6), "plaster") if kind == "wall" else (0.05, 1.3, "wood")
    s.block(box((start + end) / 2, length / 2, thick, turn), z, kind, look)
    for k in np.arange(0, length, 2.2) if kind == "fence" else ():
        s.block(box(start + run * k / length, 0.09, 0.09, turn), z + 0.15, "fence-pole", (150, 146, 140))


def house(s: Scene, corner: np.ndarray, sign: np.ndarray) -> None:
    """A house with a gable or hipped roof that stretches from one corner outwards, out of the picture."""
    rng = s.rng
    long, wide, eave, ridge = rng.uniform(4.5, 6.5), rng.uniform(3.2, 4.2), 3.0, rng.uniform(4.0, 5.0)
    at = corner + sign * (long, wide)
    look, hip = str(rng.choice(ROOFING)), float(rng.choice([0.0, 1.8]))
    s.ground(box(at, long + 0.9, wide + 0.9), "gravel", "gravel")  # the strip that keeps the walls dry
    s.shadow(box(at, long, wide), 0.0, eave)
    s.shadow(box(at, long, 0.4), 0.0, ridge)
    walls = box(at, long, wide)[[0, 2, 4, 6]]
    for k in range(4):
        a, b = walls[k], walls[(k + 1) % 4]
        outward = (a + b) / 2 - at
        light = 0.8 - 0.25 * float(outward @ s.sun) / float(np.hypot(*outward))
        foot, heights = np.stack([a, b, b, a]), np.array([0, 0, 1, 1])
        s.fill(s.project(foot, heights * eave), "wall", "plaster", light=light)
        for n, t in enumerate((0.12, 0.38, 0.64, 0.86)):
            name, low, half = ("door", 0.0, 0.5) if n == k % 3 else ("window", 0.9, 0.6)
            along = (b - a) / np.hypot(*(b - a)) * half
            p = a + (b - a) * t
            opening = s.project(np.stack([p - along, p + along, p + along, p - along]), low + heights * (2.1 - low))
            s.fill(opening, name, (112, 76, 50) if name == "door" else (52, 62, 74))
    e = box(at, long + 0.25, wide + 0.25)[[0, 2, 4, 6]]  # the eaves: +u-v, +u+v, -u+v, -u-v
    top = np.stack([at + np.array((long + 0.25 - hip, 0)), at - (long + 0.25 - hip, 0)])
    outline, crest = s.project(e, eave), s.project(top, ridge)
    for face, outward in (((0, 1, 4), (1, 0)), ((2, 3, 5), (-1, 0)), ((1, 2, 5, 4), (0, 1)), ((3, 0, 4, 5), (0, -1))):
        corners = np.concatenate([outline, crest])[list(face)]
        light = 1.0 - 0.26 * float(np.array(outward) @ s.sun)
        s.fill(corners, "roof" if hip or len(face) == 4 else "wall", look if hip or len(face) == 4 else "plaster",
               light=light)
    s.fill(crest, "roof", (150, 140, 132), width=0.16)
    for x in rng.uniform(-0.7, 0.7, 2) * long:  # skylights, half way up
        pane = box(at + np.array((x, -sign[1] * 0.5 * wide)), 0.4, 0.55)
        s.fill(s.project(pane, (eave + ridge) / 2), "window", (70, 84, 100))
    chimney = box(at + np.array((-0.4 * long * sign[0], 0.3)), 0.3, 0.3)
    for z in (ridge - 0.2, ridge, ridge + 0.2, ridge + 0.4):
        s.fill(s.project(chimney, z), "roof", "clinker", light=0.7 + 0.3 * (z > ridge + 0.3))


def pool(s: Scene, at: np.ndarray) -> None:
    long, wide = s.rng.uniform(2.2, 3.8), s.rng.uniform(1.3, 2.0)
    s.ground(box(at, long + 0.4, wide + 0.4), "paved-area", "terrace")
    s.ground(box(at, long, wide, 0.0, 0.3), "pool", (70, 120, 140))
    s.ground(box(at + s.sun * 0.12, long - 0.12, wide - 0.12, 0.0, 0.3), "pool", "pool")


def pond(s: Scene, at: np.ndarray) -> None:
    s.ground(oval(at, 1.9, 1.4, s.rng.uniform(0, 6.3), 0.2, s.rng), "gravel", "gravel")
    shore = oval(at, 1.6, 1.1, s.rng.uniform(0, 6.3), 0.2, s.rng)
    s.ground(shore, "water", "pond")
    for place in shore[::4]:
        r = s.rng.uniform(0.12, 0.35)
        s.block(oval(place, r, 0.8 * r, 0.0, 0.2, s.rng), 0.4 * r, "rocks", "rock")
