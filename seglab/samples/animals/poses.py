"""How cats and dogs sit, walk, lie, rest, stretch and turn away: skeletons, in the units of `skeleton`."""

from __future__ import annotations

import numpy as np

from seglab.samples.animals.skeleton import CAT, DOG, HEAD, Build, Head, Tube

#: How often an animal is drawn so, be it a cat or a dog.
POSES = {"sit": 0.2, "sit side": 0.16, "walk": 0.2, "lie": 0.14, "lie front": 0.1, "rest": 0.05, "stretch": 0.05,
         "sit away": 0.06, "walk away": 0.04}
Body = tuple[list[Tube], Head]


def posed(rng: np.random.Generator, name: str, is_cat: bool) -> Body:
    """The tubes of a body, without its head, and where the head is."""
    b = CAT if is_cat else DOG
    plump = rng.uniform(0.92, 1.12)
    b = b._replace(chest=b.chest * plump, waist=b.waist * plump, rump=b.rump * plump,
                   leg=b.leg * rng.uniform(0.9, 1.06), long=b.long * rng.uniform(0.94, 1.08),
                   tail=b.tail * rng.uniform(0.85, 1.1))
    return _POSES[name](rng, b, is_cat)


def _by(point: np.ndarray, dx: float, dy: float) -> np.ndarray:
    return point + np.array((dx, dy))


def _tube(part: str, points: object, radii: object, z: float = 0.0, look: str = "side") -> Tube:
    return Tube(part, np.array(points, float), np.array(radii, float), z, look)


def _leg(b: Build, points: object, radii: object, z: float) -> Tube:
    """A leg; radii are of a kind whose legs are neither thin nor thick."""
    return _tube("leg", points, b.limb * np.array(radii), z)


def _tail(b: Build, root: tuple[float, float], headings: tuple[float, ...], z: float = -0.2, side: int = 1) -> Tube:
    """A tail that leaves its root and takes these headings in turn, in degrees: 0 to the `side`, 90 upwards."""
    turn = np.radians(headings)
    steps = np.stack([side * np.cos(turn), -np.sin(turn)], 1) * b.tail / len(headings)
    points = np.concatenate([[root], root + np.cumsum(steps, 0)])
    points[1:, 1] = np.minimum(points[1:, 1], max(root[1], -b.thin))  # no tail is below the floor
    return Tube("tail", points, np.linspace(b.thick, b.thin, len(points)), z)


def _one(rng: np.random.Generator, *choices: tuple[float, ...]) -> tuple[float, ...]:
    return choices[rng.integers(len(choices))]


def _hind(b: Build, x: float, y: float, step: float, z: float) -> Tube:
    """A hind leg that carries, with its hip at (x, y) and its foot moved by `step`."""
    points = np.array([(0.0, 0.0), (0.5, 0.42), (-0.42, 0.7), (-0.3, 0.94), (0.0, 0.955)]) * (1, -y)
    points[:, 0] += step * (points[:, 1] / -y)
    return _leg(b, _by(points, x, y), (0.9, 0.6, 0.3, 0.28, 0.3), z)


def _fore(b: Build, x: float, y: float, step: float, z: float) -> Tube:
    points = np.array([(0.0, 0.0), (-0.15, 0.4), (0.05, 0.72), (0.0, 0.94), (0.3, 0.955)]) * (1, -y)
    points[:, 0] += step * (points[:, 1] / -y)
    return _leg(b, _by(points, x, y), (0.7, 0.42, 0.31, 0.28, 0.3), z)


def _neck(b: Build, root: np.ndarray, head: np.ndarray, z: float = 0.15, share: float = 0.85) -> Tube:
    return _tube("neck", [root, 0.5 * (root + head), head], [b.chest * share, b.neck * 1.1, b.neck], z)


def _view(rng: np.random.Generator) -> str:
    """A body seen from the side has its head so, too, or turned to the viewer."""
    return "front" if rng.random() < 0.5 else "profile"


def _walk(rng: np.random.Generator, b: Build, is_cat: bool) -> Body:
    step, back = rng.uniform(0.0, 0.9), -b.leg - 1.0
    radii = np.array([b.rump, b.waist, 0.5 * (b.waist + b.chest), b.chest])
    torso = np.stack([np.array([-1.0, -0.35, 0.4, 1.0]) * b.long, back + radii + (0.1, 0.22, 0.16, 0.0)], 1)
    hip, shoulder = -b.leg + 0.1, -b.leg + 0.15
    down = 0.0 if rng.random() < 0.75 else rng.uniform(0.4, 0.9)  # sniffs at the floor
    root = np.array([b.long + 0.1, back + 1.0])
    head = root + b.reach * np.array([0.85, -0.8 + 1.7 * down]) + (0.25, -0.35)
    headings = _one(rng, (120, 80, 95, 60), (120, 80, 95, 60), (205, 225, 250, 200), (170, 200, 220, 160)) if is_cat \
        else _one(rng, (140, 115, 95), (140, 115, 95), (165, 140, 110), (225, 250, 240))
    tubes = [_tail(b, (-b.long - 0.75, back + 0.75), headings),
             _hind(b, -b.long + 0.35, hip, -step, -1.0), _fore(b, b.long + 0.1, shoulder, -step, -1.0),
             _tube("torso", torso, radii), _neck(b, _by(root, -0.5, 0.0), head),
             _hind(b, -b.long + 0.1, hip, step, 0.45), _fore(b, b.long - 0.25, shoulder, step, 0.55)]
    return tubes, Head(head, _view(rng), rng.normal(0, 0.08) + 0.5 * down)


def _stretch(rng: np.random.Generator, b: Build, is_cat: bool) -> Body:
    """Chest on the floor, rump in the air."""
    hip, x = -b.leg + 0.2, b.long
    shoulder = np.array([x, -b.chest - 0.35])
    head = shoulder + b.reach * np.array([0.6, -0.5]) + (0.6, -0.45)
    paw = x + 0.5 * b.leg + 0.5
    torso = [(-x, hip - 0.1), (-0.25 * x, 0.72 * hip - 0.3), (0.45 * x, 0.4 * hip - 0.6), (x - 0.1, -b.chest - 0.1)]
    tubes = [_tail(b, (-x - 0.5, hip - 0.85), (115, 80, 100, 150) if is_cat else (130, 110, 85)),
             _hind(b, -x + 0.4, hip, 0.1, -1.0),
             _leg(b, [_by(shoulder, 0, 0.3), (x + 0.4, -0.5), (paw + 0.35, -0.42)], (0.6, 0.4, 0.3), -0.9),
             _tube("torso", torso, [b.rump, b.waist, 0.5 * (b.waist + b.chest), b.chest * 0.95]),
             _neck(b, _by(shoulder, -0.2, 0.1), head, share=0.8), _hind(b, -x + 0.15, hip, -0.2, 0.45),
             _leg(b, [_by(shoulder, -0.2, 0.2), (x + 0.1, -0.4), (paw, -0.28)], (0.66, 0.42, 0.32), 0.55)]
    return tubes, Head(head, _view(rng), rng.normal(0, 0.1))


def _sit_side(rng: np.random.Generator, b: Build, is_cat: bool) -> Body:
    top = 0.8 * b.leg + 1.1
    shoulder, foot = np.array([0.85, -top]), np.array([1.0, -0.24])
    head = shoulder + b.reach * np.array([0.45, -0.8]) + (0.15, -0.55)
    torso = [(-1.35, -0.95), (-1.15, -1.75), (-0.25, -0.62 * top - 0.4), (0.75, -top + 0.35)]
    headings = _one(rng, (190, 180, 160, 110), (190, 170, 20, 0)) if is_cat else \
        _one(rng, (170, 150, 120), (190, 180, 170))
    tubes = [_tail(b, (-1.9, -0.45), headings),
             _leg(b, [(1.0, -top + 0.6), (1.25, -1.4), _by(foot, 0.45, -0.1), _by(foot, 0.85, -0.1)],
                  (0.6, 0.4, 0.29, 0.3), -0.9),
             _tube("torso", torso, [b.rump * 1.15, b.rump * 1.25, b.waist * 1.12, b.chest * 0.95]),
             _neck(b, _by(shoulder, -0.15, 0.5), head),
             _leg(b, [(0.8, -top + 0.7), (0.85, -1.6), foot, _by(foot, 0.4, 0.0)], (0.72, 0.42, 0.3, 0.31), 0.5),
             _leg(b, [(-0.75, -0.3), (0.55, -0.26)], (0.32, 0.32), 0.75),
             _tube("leg", [(-1.05, -1.0), (-0.35, -1.2), (0.2, -0.75)], [1.0, 0.85, 0.5], 0.55)]
    return tubes, Head(head, _view(rng), rng.normal(0, 0.1))


def _sit(rng: np.random.Generator, b: Build, is_cat: bool) -> Body:
    top, side, lean = 0.8 * b.leg + 1.1, int(rng.choice((-1, 1))), rng.uniform(-0.25, 0.25)
    head = np.array([lean * 1.4 + rng.uniform(-0.1, 0.1), -top - 0.75 * b.reach - 0.35])
    headings = _one(rng, (0, 15, 60, 120), (0, 0, 30, 80)) if is_cat else _one(rng, (20, 50, 80), (10, 30, 50))
    tubes = [_tail(b, (side * 0.9, -0.4), headings, -0.8, side),
             _tube("torso", [(0, -1.0), (lean * 0.5, -0.55 * top), (lean, -top + 0.35)],
                   [(1.35 if is_cat else 1.2) * b.rump, 1.16 * b.waist, b.chest * 0.95], 0, "front"),
             _tube("neck", [(lean, -top + 0.4), head], [b.chest * 0.85, b.neck], 0.5, "front")]
    for s in (-1, 1):
        tubes += [_tube("leg", [(s * 1.0, -1.25), (s * 1.22, -0.75), (s * 1.2, -0.35)], [0.75, 0.7, 0.4], 0.3),
                  _leg(b, [(s * 1.15, -0.3), (s * 1.4, -0.24)], (0.34, 0.3), 0.8),
                  _leg(b, [(s * 0.52 + lean, -top + 0.8), (s * 0.5 + 0.3 * lean, -1.5), (s * 0.47, -0.35),
                           (s * 0.5, -0.22)], (0.52, 0.38, 0.32, 0.37), 0.95)]
    return tubes, Head(head, "front", rng.normal(0, 0.12))


def _sit_away(rng: np.random.Generator, b: Build, is_cat: bool) -> Body:
    top, side, lean = 0.8 * b.leg + 1.1, int(rng.choice((-1, 1))), rng.uniform(-0.25, 0.25)
    head = np.array([lean * 1.5, -top - 0.7 * b.reach - 0.3])
    tubes = [*(_tube("leg", [(s * 1.1, -0.45), (s * 1.45, -0.22)], [0.5, 0.34], -0.3) for s in (-1, 1)),
             _tube("neck", [(lean, -top + 0.4), head], [b.chest * 0.85, b.neck * 1.1], 0.0, "back"),
             _tube("torso", [(0, -1.12), (0.2 * lean, -1.9), (lean * 0.7, -0.65 * top), (lean, -top + 0.3)],
                   [1.3 * b.rump, 1.3 * b.rump, 1.12 * b.waist, b.chest * 0.92], 0, "back"),
             _tail(b, (side * 0.15, -0.45), (-5, 5, 40, 110) if is_cat else (5, 40, 70), 0.9, side)]
    view = "profile" if rng.random() < 0.5 else "back"  # some look aside
    return tubes, Head(head, view, rng.normal(0, 0.1))


def _walk_away(rng: np.random.Generator, b: Build, is_cat: bool) -> Body:
    step, side, hip = rng.uniform(-0.25, 0.25), int(rng.choice((-1, 1))), -b.leg - 0.05
    head = np.array([-side * rng.uniform(0.2, 0.5), hip - 1.9 - 0.45 * b.reach])
    tubes = [_tube("neck", [(0.3 * head[0], hip - 0.6), head], [b.chest * 0.8, b.neck * 0.95], -1.9, "back"),
             _tube("torso", [(0, hip + 0.1), (0.0, hip - 0.3)], [1.15 * b.rump, 1.3 * b.rump], 0, "back"),
             _tail(b, (0.1 * side, hip - 0.7), (100, 85, 95, 60) if is_cat else (60, 40, 55), 1.2, side)]
    for s in (-1, 1):
        x = 0.45 * s - 0.2 * side
        near = [(s * 0.6, hip), (s * 0.85, 0.55 * hip), (s * 0.66, 0.27 * hip), (s * 0.68, -0.25 + s * step)]
        tubes += [_leg(b, [(x, hip), (x, 0.5 * hip), (x, -0.5)], (0.5, 0.32, 0.32), -1.6),
                  _leg(b, near, (0.85, 0.52, 0.3, 0.36), 0.25)]
    return tubes, Head(head, "back", rng.normal(0, 0.1), -2.8)


def _lie(rng: np.random.Generator, b: Build, is_cat: bool) -> Body:
    reach, x = (0.7 if rng.random() < 0.35 else 0.55 * b.leg + 0.4), 0.8 * b.long
    shoulder, paw = np.array([x, -b.chest - 0.35]), np.array([x + reach, -0.3])
    head = shoulder + b.reach * np.array([0.6, -0.75]) + (0.35, -0.35)
    headings = _one(rng, (180, 185, 170, 140), (200, 180, 10, 0), (180, 190, 200, 150)) if is_cat else \
        _one(rng, (180, 170, 150), (190, 185, 180))
    tubes = [_tail(b, (-b.long - 0.6, -0.5), headings),
             _leg(b, [_by(shoulder, 0.1, 0.5), (x + 0.45, -0.5), _by(paw, 0.35, -0.18)], (0.6, 0.4, 0.3), -0.9),
             _tube("torso", [(-b.long, -b.rump - 0.05), (-0.25 * x, -b.waist - 0.18), (0.94 * x, -b.chest - 0.1)],
                   [b.rump * 1.05, b.waist * 1.1, b.chest]),
             _neck(b, _by(shoulder, -0.2, 0), head, share=0.8),
             _leg(b, [(0.94 * x, -1.0), (x, -0.42), paw], (0.66, 0.42, 0.32), 0.6),
             _leg(b, [(-b.long + 0.2, -0.28), (-b.long + 1.7, -0.26)], (0.33, 0.33), 0.8),
             _tube("leg", [(-b.long + 0.25, -1.0), (-b.long + 0.9, -1.1), (-b.long + 1.35, -0.65)],
                   [0.95, 0.75, 0.42], 0.55)]
    return tubes, Head(head, _view(rng), rng.normal(0, 0.1))


def _lie_front(rng: np.random.Generator, b: Build, is_cat: bool) -> Body:
    side = int(rng.choice((-1, 1)))  # where the hips are
    hips = np.array([side * rng.uniform(0.6, 1.5), -1.25])
    head = np.array([rng.uniform(-0.15, 0.15), -b.chest - 0.75 - 0.6 * b.reach])
    tubes = [_tail(b, (hips[0] + side * 0.5, -0.4), (0, -5, 20, 70) if is_cat else (10, 30, 40), -1.0, side),
             _tube("torso", [hips, _by(0.5 * hips, 0, -0.75), (0, -b.chest)],
                   [b.rump * 1.15, b.waist * 1.15, b.chest], -0.4),
             _tube("leg", [_by(hips, side * 0.3, 0.3), _by(hips, side * 0.35, 0.8)], [0.85, 0.42], -0.1),
             _leg(b, [_by(hips, side * 0.5, 0.98), _by(hips, side * 0.1, 1.04)], (0.33, 0.32), 0.4),
             _tube("neck", [(0, -b.chest), head], [b.chest * 0.9, b.neck * 1.1], 0.5, "front")]
    spread, reach = rng.uniform(0.5, 0.75), 0.05 + 0.12 * b.leg
    for s in (-1, 1):
        paw = [(s * 0.62, -1.0), (s * (spread + 0.2), -0.42), (s * spread, reach - 0.3)]
        tubes.append(_leg(b, paw, (0.55, 0.4, 0.38), 0.9))
    return tubes, Head(head, "front", rng.normal(0, 0.12))


def _rest(rng: np.random.Generator, b: Build, is_cat: bool) -> Body:
    """On its side, legs stretched out, the head on the floor."""
    x, reach = b.long, 0.5 * b.leg
    head = np.array([x + 0.75 + 0.6 * b.reach, -0.95])
    headings = _one(rng, (190, 205, 190, 150), (170, 190, 200, 180)) if is_cat else \
        _one(rng, (190, 200, 185), (170, 180, 190))
    tubes = [_tail(b, (-x - 0.6, -1.0), headings),
             _leg(b, [(x - 0.4, -0.7), (x + 0.2, -0.1), (x + 0.2 + reach, 0.0), (x + 0.55 + reach, -0.05)],
                  (0.6, 0.4, 0.29, 0.3), -0.7),
             _leg(b, [(-x, -0.7), (-x + 0.7, -0.05), (-x - 0.3, 0.1), (-x - 0.9 * reach, 0.05)],
                  (0.8, 0.5, 0.3, 0.3), -0.7),
             _tube("torso", [(-x, -1.0), (-0.2 * x, -1.0), (0.85 * x, -1.05)],
                   [b.rump, b.waist * 1.08, b.chest * 0.95]),
             _neck(b, np.array([0.8 * x, -1.05]), head, 0.1, 0.8),
             _leg(b, [(x - 0.4, -0.9), (x - 0.1, 0.15), (x + 0.1 + reach, 0.5), (x + 0.45 + reach, 0.48)],
                  (0.66, 0.42, 0.31, 0.32), 0.4),
             _leg(b, [(-x + 0.1, -0.85), (-x + 0.95, 0.1), (-x + 0.1, 0.5), (-x - 0.75 * reach, 0.6)],
                  (0.9, 0.6, 0.32, 0.32), 0.4)]
    return tubes, Head(head, _view(rng), rng.uniform(0.0, 0.35))


_POSES = {"sit": _sit, "sit side": _sit_side, "walk": _walk, "lie": _lie, "lie front": _lie_front, "rest": _rest,
          "stretch": _stretch, "sit away": _sit_away, "walk away": _walk_away}


def head_tubes(rng: np.random.Generator, head: Head, is_cat: bool, hanging: bool) -> list[Tube]:
    """The tubes of a head, with ears that hang or stand."""
    tall = rng.uniform(0.9, 1.12)
    build = _profile if head.view == "profile" else _frontal
    tubes = build(rng, head, is_cat, [] if hanging else [tall])
    if hanging:
        tubes += [_tube("ear", [(0.1, -0.45), (-0.18, 0.05), (-0.02, 0.8 * tall)], [0.2, 0.36, 0.28], 0.05),
                  _tube("ear", [(-0.3, -0.45), (-0.58, 0.05), (-0.42, 0.8 * tall)], [0.2, 0.36, 0.28], 1.0)] \
            if head.view == "profile" else \
            [_tube("ear", [(s * 0.62, -0.58), (s * 0.98, -0.2), (s * 1.0, 0.62 * tall)], [0.22, 0.36, 0.27], 1.75)
             for s in (-1, 1)]
    return [tube._replace(points=head.place(tube.points), radii=HEAD * tube.radii, z=tube.z + head.z) for tube in tubes]


def _profile(rng: np.random.Generator, _: Head, is_cat: bool, upright: list[float]) -> list[Tube]:
    roots = ((0.42, -0.5), (-0.08, -0.42)) if is_cat else ((0.1, -0.45), (-0.3, -0.45))  # of the far ear, the near one
    ears = [_tube("ear", [(x, y), (x - 0.05, y - 0.5 * tall), (x, y - 1.02 * tall)], [0.46, 0.27, 0.03], z)
            for tall in upright for (x, y), z in zip(roots, (-0.5, 0.45), strict=True)]
    if is_cat:
        return [*ears, _tube("head", [(-0.1, 0.0), (0.22, 0.05)], [0.92, 0.84], 0.3),
                _tube("muzzle", [(0.4, 0.25), (0.86, 0.36)], [0.52, 0.32], 0.5)]
    long = rng.uniform(1.45, 1.95)
    return [*ears, _tube("head", [(-0.15, -0.05), (0.25, 0.05)], [0.86, 0.74], 0.3),
            _tube("muzzle", [(0.35, 0.12), (0.75 * long, 0.3), (long, 0.28)], [0.56, 0.4, 0.3], 0.45)]


def _frontal(rng: np.random.Generator, head: Head, is_cat: bool, upright: list[float]) -> list[Tube]:
    """From before or from behind."""
    root, tip, wide = ((0.6, -0.3), (0.88, -1.4), 0.5) if is_cat else ((0.46, -0.45), (0.68, -1.62), 0.4)
    ears = [np.array([root, np.add(root, (tip[0], tip[1] * tall)) / 2, (tip[0], tip[1] * tall)]) for tall in upright]
    tubes = [_tube("ear", ear * (s, 1), [wide, 0.64 * wide, 0.03], 0.8) for ear in ears for s in (-1, 1)]
    if is_cat:
        tubes += [_tube("head", [(-0.22, -0.08), (0.22, -0.08)], [0.84, 0.84], 1.3, head.view),
                  _tube("head", [(-0.5, 0.22), (0.5, 0.22)], [0.56, 0.56], 1.3, head.view)]
    else:
        tubes += [_tube("head", [(0, -0.24), (0, 0.16)], [0.9, 0.8], 1.3, head.view)]
    if head.view == "front":
        long = rng.uniform(0.85, 1.1)
        tubes += [_tube("muzzle", [(-0.2, 0.42), (0.2, 0.42)], [0.3, 0.3], 2.1)] if is_cat else \
            [_tube("muzzle", [(0, 0.1), (0, 0.62 * long), (0, 0.86 * long)], [0.4, 0.48, 0.4], 2.2)]
    return tubes
