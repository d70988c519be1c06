"""Where drawn animals live: rooms and gardens with a floor that recedes, and what stands behind and before the animals.

Places are drawn at half the size of the picture, so they are a little out of focus, as behind a real animal.
"""

from __future__ import annotations

import cv2
import numpy as np

from seglab.samples.animals.textures import (
    CLOTHS,
    GREENS,
    SKIES,
    WALLS,
    WOODS,
    boards,
    bricks,
    carpet,
    near,
    photo,
    tiles,
    tinted,
)


class Place:
    """A picture of a room or a garden, to paint animals on.

    Args:
        rng: what is random about it.
        height, width: of the picture, in pixels; even.

    Attributes:
        picture: (height, width, 3) uint8 RGB.
        horizon: the row in pixels where the floor ends; feet are below it.
        indoors: whether it is a room.
    """

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng, self.indoors = rng, bool(rng.random() < 0.5)
        self.h, self.w = height // 2, width // 2
        self.edge = int(self.h * rng.uniform(0.3, 0.58))
        self.small = np.zeros((self.h, self.w, 3), np.uint8)
        (self._room if self.indoors else self._garden)()
        light = 1 + 0.22 * (np.linspace(0.5, -0.5, self.w, dtype=np.float32)[None] * rng.uniform(0.2, 1)
                            + np.linspace(-0.4, 0.3, self.h, dtype=np.float32)[:, None] * rng.uniform(-0.5, 1))
        lit = [np.clip(plane * light, 0, 255).astype(np.uint8) for plane in cv2.split(self.small)]
        soft = cv2.GaussianBlur(cv2.merge(lit), (0, 0), rng.uniform(0.4, 1.6))
        self.picture = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
        self.horizon = 2 * self.edge

    # Rooms

    def _room(self) -> None:
        rng = self.rng
        wall = near(rng, WALLS)
        kind = rng.integers(4)
        top = self.small[:self.edge]
        if kind == 0:
            self._tile(top, bricks(), wall, 0.45)
        elif kind == 1:  # wallpaper
            stripes = ((np.arange(self.w) // max(3, self.w // int(rng.integers(10, 24)))) % 2)[None, :, None]
            top[:] = np.clip(wall * (1 - 0.1 * stripes), 0, 255)
        else:
            top[:] = wall
        if kind == 3 and self.edge > 12:  # panels below
            rail = int(self.edge * rng.uniform(0.45, 0.65))
            self.small[rail:self.edge] = np.clip(wall * rng.uniform(0.6, 1.15), 0, 255)
            self._box(0, rail, self.w, rail + 2, wall * 1.2)
        self._floor()
        skirting = max(2, self.h // 26)
        if rng.random() < 0.7:
            self._box(0, self.edge - skirting, self.w, self.edge, np.minimum(wall * 1.22, 240), under=True)
        self._box(0, self.edge, self.w, self.edge + 1, wall * 0.45)
        for _ in range(rng.integers(1, 4)):
            (self._window, self._frame, self._sofa, self._shelf, self._plant, self._lamp,
             self._curtain)[rng.integers(7)]()
        if rng.random() < 0.45:
            self._rug()
        if rng.random() < 0.4:
            self._sunlight()

    def _floor(self) -> None:
        rng, kind = self.rng, self.rng.integers(4)
        ground = self.small[self.edge:]
        if kind <= 1:
            self._ground(ground, boards(), near(rng, WOODS), 2.4)
        elif kind == 2:
            self._ground(ground, carpet(), near(rng, CLOTHS), 3.0, 0.4)  # carpet
        else:
            self._ground(ground, tiles(), near(rng, WALLS), 2.4)

    def _window(self) -> None:
        x, side = self._across(0.22, 0.42)
        top, bottom = int(-0.1 * self.edge), int(self.edge * self.rng.uniform(0.5, 0.72))
        sky = np.array(SKIES[self.rng.integers(len(SKIES))], float)
        self._box(x - 3, top, x + side + 3, bottom + 3, (236, 232, 224), shadow=True)
        self._box(x, top, x + side, bottom, sky.mean(0) * 1.08)
        view = self.small[max(top, 0):bottom, max(x, 0):max(x + side, 0)]
        for at in (0.2, 0.55, 0.95):
            bush = int(at * side) - max(-x, 0), view.shape[0]
            cv2.circle(view, bush, int(side * self.rng.uniform(0.2, 0.36)), (near(self.rng, GREENS) * 0.9).tolist(), -1)
        self._box(x - 3, bottom, x + side + 3, bottom + 4, (236, 232, 224), under=True)
        self._box(x + side // 2 - 1, top, x + side // 2 + 1, bottom, (236, 232, 224))

    def _frame(self) -> None:
        x, side = self._across(0.1, 0.24)
        top = int(self.edge * self.rng.uniform(0.1, 0.35))
        bottom = min(top + int(side * self.rng.uniform(0.7, 1.3)), self.edge - 6)
        self._box(x, top, x + side, bottom, near(self.rng, WOODS) * 0.7, shadow=True)
        self._box(x + 2, top + 2, x + side - 2, bottom - 2, (232, 228, 216))
        self._box(x + 4, top + 4, x + side - 4, bottom - 4, near(self.rng, CLOTHS))

    def _sofa(self) -> None:
        x, side = self._across(0.4, 0.7)
        cloth, tall = near(self.rng, CLOTHS), int(0.42 * side)
        floor = self.edge + max(3, int(0.12 * tall))
        self._shade(x - 4, floor - 3, x + side + 6, floor + 5)
        self._round(x, floor - tall, x + side, floor - tall // 4, cloth * 0.92)
        seat = floor - tall // 2
        for k in (0, 1):
            left = x + 4 + k * (side // 2 - 3)
            self._round(left, seat - 3, left + side // 2 - 4, floor - tall // 5, cloth * 1.06)
        self._round(x, seat, x + side, floor - 2, cloth * 0.8)
        for k in (x - side // 14, x + side - side // 14):
            self._round(k, seat - tall // 6, k + side // 7, floor, cloth)
        if self.rng.random() < 0.6:
            self._round(x + side // 6, seat - tall // 4, x + side // 3, seat + 2, near(self.rng, CLOTHS))

    def _shelf(self) -> None:
        rng = self.rng
        x, side = self._across(0.25, 0.4)
        wood, top = near(rng, WOODS), int(self.edge * rng.uniform(0.0, 0.4))
        floor = self.edge + 3
        self._shade(x - 2, floor - 2, x + side + 5, floor + 4)
        self._box(x, top, x + side, floor, wood, shadow=True)
        step = max(10, (floor - top) // int(rng.integers(2, 4)))
        for y in range(top + 2, floor - 4, step):
            bottom = min(y + step - 3, floor - 3)
            self._box(x + 2, y, x + side - 2, bottom, wood * 0.5)
            left = x + 3
            while left < x + side - 5 and rng.random() < 0.9:
                thick, tall = int(rng.integers(2, 5)), rng.uniform(0.5, 0.9)
                self._box(left, int(bottom - tall * (bottom - y)), left + thick, bottom, near(rng, CLOTHS))
                left += thick + int(rng.random() < 0.3)

    def _plant(self) -> None:
        rng = self.rng
        x, side = self._across(0.06, 0.12)
        floor = self.edge + max(2, side // 4)
        middle, pot = x + side // 2, floor - side
        self._shade(x - 2, floor - 2, x + side + 6, floor + 3)
        green = near(rng, GREENS) * 0.8
        for angle in np.radians(np.linspace(-75, 75, int(rng.integers(6, 11))) + rng.uniform(-8, 8)):
            length = side * rng.uniform(1.6, 2.8)
            tip = np.array([middle + length * np.sin(angle), pot - length * np.cos(angle)])
            bow = np.array([0.18 * length * np.cos(angle), 0.18 * length * np.sin(angle)])
            mid = np.array([0.45 * middle + 0.55 * tip[0], 0.45 * pot + 0.55 * tip[1]])
            leaf = np.rint([(middle, pot), mid + bow, tip, mid - bow]).astype(np.int32)
            cv2.fillPoly(self.small, [leaf], np.clip(green * rng.uniform(0.7, 1.3), 0, 255).tolist(), cv2.LINE_AA)
        body = np.array([(x, pot), (x + side, pot), (x + side - side // 6, floor), (x + side // 6, floor)], np.int32)
        clay = near(rng, WALLS) * 0.85
        cv2.fillPoly(self.small, [body], clay.tolist(), cv2.LINE_AA)
        self._box(x - 1, pot - 1, x + side + 1, pot + max(2, side // 6), clay * 1.1)

    def _lamp(self) -> None:
        x, side = self._across(0.1, 0.16)
        top, floor = int(self.edge * self.rng.uniform(-0.1, 0.3)), self.edge + 3
        self._box(x + side // 2 - 1, top, x + side // 2 + 1, floor, (60, 56, 54))
        self._box(x + side // 4, floor - 2, x + 3 * side // 4, floor + 1, (60, 56, 54))
        shade = [(x + side // 4, top), (x + 3 * side // 4, top), (x + side, top + side), (x, top + side)]
        light = np.minimum(near(self.rng, WALLS) * 1.15, 250).tolist()
        cv2.fillPoly(self.small, [np.array(shade, np.int32)], light, cv2.LINE_AA)

    def _curtain(self) -> None:
        x, side = self._across(0.12, 0.25)
        cloth = near(self.rng, CLOTHS)
        fold = 1 + 0.16 * np.sin(np.arange(self.w) * self.rng.uniform(0.5, 0.9))
        left, right = max(0, x), min(self.w, x + side)
        self.small[:self.edge, left:right] = np.clip(cloth * fold[None, left:right, None], 0, 255)

    def _rug(self) -> None:
        rng = self.rng
        depth = self.h - self.edge
        top, bottom = self.edge + int(depth * rng.uniform(0.12, 0.35)), self.edge + int(depth * rng.uniform(0.7, 1.2))
        x, side = self._across(0.5, 1.0)
        lean = side * 0.12
        edge = np.array([(x + lean, top), (x + side - lean, top), (x + side + lean, bottom), (x - lean, bottom)])
        cloth, middle = near(rng, CLOTHS), edge.mean(0)
        for share, colour in ((1.0, cloth), (0.9, cloth * 1.3), (0.84, cloth * 0.9)):
            cv2.fillPoly(self.small, [np.rint(middle + share * (edge - middle)).astype(np.int32)],
                         np.clip(colour, 0, 250).tolist(), cv2.LINE_AA)

    def _sunlight(self) -> None:
        rng, light = self.rng, np.zeros((self.h, self.w), np.uint8)
        x, depth = int(rng.uniform(0, 0.7) * self.w), self.h - self.edge
        for k in (0, 1):
            left = x + k * self.w // 7
            top, bottom = self.edge + depth // 8, self.edge + int(depth * 0.75)
            pane = [(left, top), (left + self.w // 8, top), (left + self.w // 4, bottom), (left + self.w // 10, bottom)]
            cv2.fillPoly(light, [np.array(pane, np.int32)], 255)
        glow = cv2.GaussianBlur(light, (0, 0), 2)[..., None] * np.array((0.22, 0.19, 0.13), np.float32)
        self.small[:] = cv2.add(self.small, glow.astype(np.uint8))

    # Gardens

    def _garden(self) -> None:
        rng = self.rng
        high, low = np.array(SKIES[rng.integers(len(SKIES))], float)
        t = np.linspace(0, 1, self.edge)[:, None]
        self.small[:self.edge] = (high + t * (low - high))[:, None]
        for _ in range(rng.integers(0, 4)):
            self._cloud()
        kind = rng.integers(4)
        if kind == 0:
            self._hills()
        if kind in (0, 1):
            for _ in range(rng.integers(1, 4)):
                self._tree()
        if kind == 2:
            self._fence()
        if kind == 3:
            top = int(self.edge * rng.uniform(0.05, 0.5))
            clay = near(rng, ((170, 104, 82), (176, 160, 140), (150, 140, 132)))
            self._tile(self.small[top:self.edge], bricks(), clay, 0.5)
            self._box(0, top, self.w, top + 3, (150, 144, 136))
        if rng.random() < 0.65:
            self._hedge(int(self.edge * rng.uniform(0.45, 0.85)))
        green = near(rng, GREENS)
        ground = self.small[self.edge:]
        if rng.random() < 0.75:
            self._ground(ground, photo("grass"), green, 3.0, 0.75)
            if rng.random() < 0.4:
                self._path()
        else:
            stone = near(rng, ((176, 168, 152), (150, 146, 142), (186, 162, 130)))
            self._ground(ground, photo("gravel") if rng.random() < 0.5 else tiles(), stone, 3.0, 0.6)
        self._box(0, self.edge - 1, self.w, self.edge + 1, green * 0.5)
        if rng.random() < 0.5:
            self._flowers()

    def _cloud(self) -> None:
        rng = self.rng
        x, y, r = rng.uniform(0, self.w), rng.uniform(0, 0.6 * self.edge), self.h * rng.uniform(0.03, 0.09)
        for k in range(-2, 3):
            at = int(x + 1.3 * k * r), int(y + 0.2 * r * rng.uniform(-1, 1))
            axes = int(1.5 * r), int(r * (0.9 - 0.16 * abs(k)))
            cv2.ellipse(self.small, at, axes, 0, 0, 360, (240, 240, 240), -1, cv2.LINE_AA)

    def _hills(self) -> None:
        x = np.arange(self.w + 1)
        for k, tone in ((0.5, (134, 156, 152)), (0.75, (108, 138, 108))):
            wave = np.sin(x / self.w * self.rng.uniform(3, 7) + self.rng.uniform(0, 6)) * 0.1 * self.h
            top = np.stack([x, self.edge * k + wave], 1)
            hill = np.rint([*top, (self.w, self.edge), (0, self.edge)]).astype(np.int32)
            cv2.fillPoly(self.small, [hill], tone, cv2.LINE_AA)

    def _tree(self) -> None:
        rng = self.rng
        x, r = int(rng.uniform(0, self.w)), int(self.h * rng.uniform(0.1, 0.24))
        cv2.line(self.small, (x, self.edge), (x, self.edge - 2 * r), (86, 66, 50), max(2, r // 4))
        crown = np.zeros((self.h, self.w), np.uint8)
        for _ in range(9):
            at = int(x + r * rng.uniform(-0.8, 0.8)), int(self.edge - 2 * r + r * rng.uniform(-0.9, 0.4))
            cv2.circle(crown, at, int(r * rng.uniform(0.4, 0.65)), 255, -1)
        self._leaves(crown, near(rng, GREENS) * 0.75)

    def _hedge(self, top: int) -> None:
        x = np.linspace(0, self.w, 40)
        line = np.stack([x, top + self.rng.uniform(-1, 1, 40) * self.h * 0.02], 1)
        hedge = np.zeros((self.h, self.w), np.uint8)
        cv2.fillPoly(hedge, [np.rint([*line, (self.w, self.edge), (0, self.edge)]).astype(np.int32)], 255)
        self._leaves(hedge, near(self.rng, GREENS) * 0.65)

    def _leaves(self, stencil: np.ndarray, colour: np.ndarray) -> None:
        left, top, width, height = cv2.boundingRect(stencil)
        if width and height:
            window = np.s_[top:top + height, left:left + width]
            part = np.empty((height, width, 3), np.uint8)
            self._tile(part, photo("grass"), colour, 0.95)
            cv2.copyTo(part, stencil[window], self.small[window])

    def _fence(self) -> None:
        wood, top = near(self.rng, (*WOODS, (222, 218, 208))), int(self.edge * self.rng.uniform(0.2, 0.6))
        for y in (0.25, 0.75):
            row = int(top + y * (self.edge - top))
            self._box(0, row, self.w, row + 3, wood * 0.75)
        wide = max(5, self.w // 22)
        for x in range(-int(self.rng.integers(wide)), self.w, wide + 2):
            slat = [(x, self.edge), (x, top + wide // 2), (x + wide // 2, top), (x + wide, top + wide // 2),
                    (x + wide, self.edge)]
            tone = np.clip(wood * self.rng.uniform(0.88, 1.08), 0, 250).tolist()
            cv2.fillPoly(self.small, [np.array(slat, np.int32)], tone)

    def _path(self) -> None:
        x = self.rng.uniform(0.1, 0.9, 2) * self.w
        wide = self.w * 0.2
        edge = [(x[0] - 0.25 * wide, self.edge), (x[0] + 0.25 * wide, self.edge), (x[1] + 1.4 * wide, self.h),
                (x[1] - 1.4 * wide, self.h)]
        stencil = np.zeros((self.h, self.w), np.uint8)
        cv2.fillPoly(stencil, [np.rint(edge).astype(np.int32)], 255)
        path = np.empty((self.h - self.edge, self.w, 3), np.uint8)
        self._ground(path, photo("gravel"), near(self.rng, ((190, 176, 150), (160, 156, 150))), 3.0, 0.5)
        cv2.copyTo(path, stencil[self.edge:], self.small[self.edge:])

    def _flowers(self) -> None:
        rng = self.rng
        petals = ((226, 90, 96), (238, 200, 84), (234, 232, 226), (160, 120, 200), (238, 150, 180))
        for _ in range(rng.integers(6, 22)):
            depth = rng.uniform(0.02, 0.5)
            at = int(rng.uniform(0, self.w)), int(self.edge + depth * (self.h - self.edge))
            cv2.circle(self.small, at, int(1 + 3 * depth), petals[rng.integers(len(petals))], -1, cv2.LINE_AA)

    # Tools

    def _across(self, low: float, high: float) -> tuple[int, int]:
        side = int(self.w * self.rng.uniform(low, high))
        return int(self.rng.uniform(-0.15, 0.95) * self.w - 0.3 * side), side

    def _box(self, left: int, top: int, right: int, bottom: int, colour: np.ndarray | tuple[int, int, int],
             shadow: bool = False, under: bool = False) -> None:
        if shadow:
            self._shade(left + 3, top + 3, right + 4, bottom + 4)
        if under:
            self._shade(left, bottom, right, bottom + 3)
        left, top = max(left, 0), max(top, 0)
        if left < right and top < bottom:
            self.small[top:bottom, left:right] = np.clip(colour, 0, 255)

    def _shade(self, left: int, top: int, right: int, bottom: int) -> None:
        part = self.small[max(top, 0):max(bottom, 0), max(left, 0):max(right, 0)]
        part[:] = (part * np.float32(0.7)).astype(np.uint8)

    def _round(self, left: int, top: int, right: int, bottom: int, colour: np.ndarray) -> None:
        """A cushion: a rectangle with round corners, lit from above."""
        r = max(1, min(right - left, bottom - top) // 4)
        tint = np.clip(colour, 0, 250).tolist()
        for dark, inset in ((0.8, 0), (1.0, 1)):
            shade = (np.array(tint) * dark).tolist()
            cv2.rectangle(self.small, (left + r, top + inset), (right - r, bottom - inset), shade, -1)
            cv2.rectangle(self.small, (left + inset, top + r), (right - inset, bottom - r), shade, -1)
            for x in (left + r, right - r):
                for y in (top + r, bottom - r):
                    cv2.circle(self.small, (x, y), r - inset, shade, -1, cv2.LINE_AA)

    def _tile(self, part: np.ndarray, texture: np.ndarray, colour: np.ndarray, depth: float) -> None:
        """Fill with a texture seen from straight before it."""
        height, width = part.shape[:2]
        side = int(self.rng.uniform(0.6, 0.95) * 512)
        across, down = (side, side * height // width) if width > height else (side * width // height, side)
        top, left = (int(self.rng.integers(0, 512 - n + 1)) for n in (down, across))
        cut = texture[top:top + max(down, 1), left:left + max(across, 1)]
        part[:] = tinted(cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA), colour, depth)

    def _ground(self, part: np.ndarray, texture: np.ndarray, colour: np.ndarray, fine: float,
                depth: float = 0.5) -> None:
        """Fill with a texture that recedes towards the upper edge; the nearest row shows 1 / fine of it."""
        height, width = part.shape[:2]
        if height < 2:
            part[:] = colour
            return
        wide = 1126 / fine
        x, far = self.rng.uniform(200, 300), wide * 2.4
        source = np.array([(x - far, 0), (x + far, 0), (x + wide / 2, 512), (x - wide / 2, 512)], np.float32)
        target = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
        grey = cv2.warpPerspective(texture, cv2.getPerspectiveTransform(source, target), (width, height),
                                   flags=cv2.INTER_AREA, borderMode=cv2.BORDER_WRAP)
        part[:] = tinted(grey, colour, depth)
