"""Checks about pictures and films: overlays, flicker, the VOC colours, tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.labels import IGNORE


def _mixed(image: np.ndarray, mask: np.ndarray, palette: np.ndarray, alpha: float) -> np.ndarray:
    return (1 - alpha) * image + alpha * palette[mask].astype(float)  # (H, W, 3)


def _overlay(image: np.ndarray, mask: np.ndarray, palette: np.ndarray, alpha: float, *, background: bool = False,
             ignored: bool = False) -> np.ndarray:
    painted = (background | (mask != 0)) & (ignored | (mask != IGNORE))
    return np.where(painted[..., None], _mixed(image, mask, palette, alpha), image).astype(np.uint8)


def _checked(answer: Callable[..., np.ndarray], *args: Any) -> np.ndarray:
    found = answer(*args)
    if found is not None and not isinstance(found, np.ndarray):
        raise RefusedError(f"it returns a {type(found).__name__}, and should return a NumPy array")
    if isinstance(found, np.ndarray) and found.dtype != np.uint8 and found.shape == np.shape(args[0]):
        raise RefusedError(f"it returns {found.dtype}, and should return bytes: .astype(np.uint8)")
    return found


def _picture(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.array([colours], np.uint8)  # (1, W, 3)


_COLOURS = np.zeros((256, 3), np.uint8)
_COLOURS[:4] = (0, 0, 0), (200, 40, 0), (0, 80, 240), (120, 120, 0)
_COLOURS[20] = 40, 200, 160
_COLOURS[IGNORE] = 224, 224, 192
_ROW = _picture((100, 20, 60), (40, 40, 80))
overlay = Exercise(
    "overlay",
    [Case("two pixels, classes 1 and 2, half and half", (_ROW, np.array([[1, 2]], np.uint8), _COLOURS, 0.5)),
     Case("bright colours: the sum of two bytes can be larger than 255", (
         _picture((250, 200, 0), (60, 220, 248)), np.array([[1, 2]], np.uint8), _COLOURS, 0.5)),
     Case("a quarter of the class's colour", (_ROW, np.array([[3, 1]], np.uint8), _COLOURS, 0.25)),
     Case("background (class 0) is not painted", (_ROW, np.array([[0, 1]], np.uint8), _COLOURS, 0.5)),
     Case("ignored pixels are not painted", (_ROW, np.array([[2, IGNORE]], np.uint8), _COLOURS, 0.5)),
     Case("two rows, and a class with a larger id", (np.concatenate([_ROW, _ROW + 40]), np.array(
         [[0, 1], [20, IGNORE]], np.uint8), _COLOURS, 0.5))],
    right=_overlay, run=_checked,
    mistakes={
        "The sum of two bytes overflows: 250 + 200 is 194 in bytes. Compute with floats, and convert at the end.": [
            lambda image, mask, palette, alpha: np.where(((mask != 0) & (mask != IGNORE))[..., None],
                                                         (image + palette[mask]) // 2, image),
            lambda image, mask, palette, alpha: np.where(((mask != 0) & (mask != IGNORE))[..., None], (
                (image + palette[mask]) * alpha).astype(np.uint8), image)],
        "Background is painted, too: its black makes the picture dark. Paint only where mask != 0.":
            lambda *a: _overlay(*a, background=True),
        "Ignored pixels are painted. Leave the picture as it is where the mask is 255.":
            lambda *a: _overlay(*a, ignored=True),
        "Background and ignored pixels are painted. Paint only where the mask is neither 0 nor 255.":
            lambda *a: _overlay(*a, background=True, ignored=True),
        "The two shares are exchanged: alpha is that of the colours, 1 - alpha that of the picture.":
            lambda image, mask, palette, alpha: _overlay(image, mask, palette, 1 - alpha),
        "alpha is left out: both count half.":
            lambda image, mask, palette, alpha: _overlay(image, mask, palette, 0.5),
        "The classes hide the picture. Mix the colours with it.": [
            lambda image, mask, palette, alpha: _overlay(image, mask, palette, 1.0),
            lambda image, mask, palette, alpha: palette[mask]],
        "Where nothing is painted it is black. Show the picture there.":
            lambda image, mask, palette, alpha: _overlay(image, mask, palette, alpha) * (
                (mask != 0) & (mask != IGNORE))[..., None],
        "Nothing is painted. result[painted] = … writes into an array; an index alone does not.":
            lambda image, mask, palette, alpha: image,
        "The colours are added to the picture without the share of the picture, 1 - alpha.":
            lambda image, mask, palette, alpha: np.where(
                ((mask != 0) & (mask != IGNORE))[..., None],
                (image + alpha * palette[mask]).clip(0, 255), image).astype(np.uint8)},
    errors={"boolean index did not match": "palette[mask] is a picture, (H, W, 3), and palette is (256, 3): index the "
                                           "picture of colours with the painted pixels.",
            "could not be broadcast": "A mask is (H, W), a picture (H, W, 3): index both with the same boolean (H, W) "
                                      "array, or use mask[..., None].",
            "could not broadcast": "A mask is (H, W), a picture (H, W, 3): index both with the same boolean (H, W) "
                                   "array, or use mask[..., None].",
            "operands could not": "A mask is (H, W), a picture (H, W, 3): mask[..., None] adds the axis.",
            "Cannot cast ufunc": "A float cannot be written into an array of bytes in place. Compute into a new array, "
                                 "then .astype(np.uint8)."},
    hints=("palette[mask] is a picture of the classes' colours. Mix it with the photograph, but only at some pixels.",
           "painted = (mask != 0) & (mask != 255) is (H, W). mixed = (1 - alpha) * image + alpha * palette[mask] is "
           "float. Copy the image and replace the painted pixels: result[painted] = mixed[painted].",
           "painted = (mask != 0) & (mask != 255)\nmixed = (1 - alpha) * image + alpha * palette[mask]\n"
           "result = image.copy()\nresult[painted] = mixed[painted].round().astype(np.uint8)\nreturn result"))

_Masks = Sequence[np.ndarray]


def _flicker(masks: _Masks, rule: Callable[..., np.ndarray] = lambda a, b, c: (a == c) & (a != b)) -> float:
    return float(np.mean([rule(*three).mean() for three in zip(masks, masks[1:], masks[2:], strict=False)]))


def _film(*rows: list[int]) -> list[np.ndarray]:
    return [np.array([row], np.uint8) for row in rows]


flicker = Exercise(
    "flicker",
    [Case("nothing changes", (_film([0, 1], [0, 1], [0, 1]),)),
     Case("a pixel of two changes and changes back", (_film([0, 1], [0, 0], [0, 1]),)),
     Case("something moves: its pixels change once", (_film([1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]),)),
     Case("a pixel changes twice, to a third class", (_film([0, 1], [1, 1], [2, 1]),)),
     Case("four frames: 2 of 4 pixels flicker in the second, 1 in the third",
          ([one.reshape(2, 2) for one in _film([0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0])],)),
     Case("five frames, changes to and fro", (_film([0, 0], [1, 0], [0, 0], [1, 1], [1, 0]),))],
    right=_flicker,
    mistakes={
        "Every change is counted. What moves changes, too: count a pixel only if it has its old class again in the "
        "next frame.": [
            lambda masks: float(np.mean([(a != b).mean() for a, b in pairwise(masks)])),
            lambda masks: _flicker(masks, lambda a, b, c: a != b)],
        "Two changes in a row are counted, also to a third class. It must be the old class that comes back.":
            lambda masks: _flicker(masks, lambda a, b, c: (a != b) & (b != c)),
        "Pixels that never change are counted. The frame between must differ.":
            lambda masks: _flicker(masks, lambda a, b, c: a == c),
        "This divides by all frames. The first and the last have no frame on both sides: divide by len(masks) - 2.":
            lambda masks: _flicker(masks) * (len(masks) - 2) / len(masks),
        "This is the sum over the frames. Take their mean.": lambda masks: _flicker(masks) * (len(masks) - 2),
        "These are numbers of pixels. Divide by the number of pixels of a frame.": [
            lambda masks: _flicker(masks) * masks[0].size,
            lambda masks: _flicker(masks) * masks[0].size * (len(masks) - 2)],
        "This divides by len(masks) - 1. The first and the last frame have no frame on both sides: divide by "
        "len(masks) - 2.": lambda masks: _flicker(masks) * (len(masks) - 2) / (len(masks) - 1),
        "Pixels are counted that differ from the first frame. Compare with the frame before.":
            lambda masks: float(np.mean([(one != masks[0]).mean() for one in masks])),
        "Only the first three frames are counted. Is `return` inside of the loop?": lambda masks: _flicker(masks[:3]),
        "Only the last three frames are counted.": lambda masks: _flicker(masks[-3:])},
    errors={"list index out of range": "The last frame has no next one: go up to len(masks) - 2."},
    hints=("Look at three frames in a row: before, now, after. When does a pixel flicker now?",
           "(before == after) & (before != now) is True where it flickers; its mean is the share. zip(masks, "
           "masks[1:], masks[2:]) gives all three in a row. Return the mean of the shares.",
           "shares = [((before == after) & (before != now)).mean()\n"
           "          for before, now, after in zip(masks, masks[1:], masks[2:])]\nreturn np.mean(shares)"))


def _voc(class_id: int, *, places: Sequence[int] = range(7, -1, -1), step: int = 3, order: str = "rgb") -> list[int]:
    found = dict.fromkeys("rgb", 0)
    for place in places:
        for number, channel in enumerate("rgb"):
            found[channel] |= (class_id >> number & 1) << place
        class_id >>= step
    return [found[channel] for channel in order]


voc_colour = Exercise(
    "voc_colour",
    [Case("0, background", (0,)), Case("1, aeroplane", (1,)), Case("2, bicycle", (2,)), Case("5, bottle", (5,)),
     Case("8, cat", (8,)), Case("12, dog", (12,)), Case("20, tvmonitor", (20,)), Case("64", (64,)),
     Case("255", (255,))],
    right=_voc,
    mistakes={
        "The first bits go to the lowest places. Begin at place 7, which is worth 128.":
            lambda class_id: _voc(class_id, places=range(8)),
        "Red and blue are exchanged: the lowest bit goes to red.": lambda class_id: _voc(class_id, order="bgr"),
        "Only the lowest three bits are used. Go on with the next three, one place lower.":
            lambda class_id: _voc(class_id, places=(7,)),
        "The id moves on by one bit a round. Three bits are used up: class_id >>= 3.":
            lambda class_id: _voc(class_id, step=1),
        "The id is not shifted: class_id >>= 3 after each round.": lambda class_id: _voc(class_id, step=0),
        "Only the last bit of each colour is kept. `|=` adds a bit to those that are there; `=` replaces them.": [
            lambda class_id: _voc(class_id >> 21, places=(0,)), lambda class_id: _voc(class_id >> 6, places=(5,))],
        "The place stays at 7. It moves down by one in each round.":
            lambda class_id: _voc(class_id, places=(7, 7, 7)),
        "The first place is 8, which is worth 256. A byte's highest place is 7.":
            lambda class_id: _voc(class_id, places=range(8, 0, -1)),
        "The first place is 6, which is worth 64. A byte's highest place is 7.":
            lambda class_id: _voc(class_id, places=range(6, -1, -1))},
    hints=("Take the lowest three bits of the id: one each for red, green and blue, at the highest place of the byte. "
           "Then the next three bits, one place lower.",
           "class_id & 1 is the lowest bit, class_id >> 1 & 1 the next. `bit << place` puts a bit to a place of the "
           "byte; `|=` adds it. After each round class_id >>= 3. The places are 7, 6, 5, …",
           "red = green = blue = 0\nfor place in range(7, -1, -1):\n    red |= (class_id & 1) << place\n"
           "    green |= (class_id >> 1 & 1) << place\n    blue |= (class_id >> 2 & 1) << place\n"
           "    class_id >>= 3\nreturn red, green, blue"))

tile_starts = Exercise(
    "tile_starts",
    [Case("100 pixels in tiles of 40, no overlap", (100, 40, 0)),
     Case("100 pixels in tiles of 40 that share 10 with their neighbour", (100, 40, 10)),
     Case("they fit exactly", (120, 40, 0)), Case("they fit exactly, with overlap", (160, 64, 16)),
     Case("one tile is enough", (30, 40, 8)), Case("a picture smaller than the overlap", (20, 64, 32)),
     Case("24 pixels more than a tile", (536, 512, 64))],
    right=lambda length, tile, overlap: list(range(0, max(1, length - overlap), tile - overlap)),
    mistakes={
        "The tiles do not overlap: a tile begins tile - overlap after the one before it.":
            lambda length, tile, overlap: list(range(0, length, tile)),
        "The last tile lies in the one before it. Stop when the picture is covered: start + tile >= length.": [
            lambda length, tile, overlap: list(range(0, length, tile - overlap)),
            lambda length, tile, overlap: list(range(0, length + 1, tile - overlap))],
        "The end of the picture is not covered: the last tile may be shorter than the others.": [
            lambda length, tile, overlap: list(range(0, length - tile + 1, tile - overlap)) or [0],
            lambda length, tile, overlap: list(range(0, length - tile + 1, tile - overlap)),
            lambda length, tile, overlap: list(range(0, length - tile, tile - overlap)),
            lambda length, tile, overlap: list(range(0, max(1, length - tile), tile - overlap))],
        "One tile is there in any case, also if the picture is smaller than the overlap.":
            lambda length, tile, overlap: list(range(0, length - overlap, tile - overlap)),
        "The tiles lie too far apart: the overlap is subtracted from the step, not added.":
            lambda length, tile, overlap: list(range(0, length, tile + overlap)),
        "These are the places where tiles end. Return where they begin.":
            lambda length, tile, overlap: [min(length, start + tile) for start in range(
                0, max(1, length - overlap), tile - overlap)],
        "The first tile begins at 0.":
            lambda length, tile, overlap: list(range(tile - overlap, max(1, length - overlap), tile - overlap)),
        "The last tile is moved back so that it is as large as the others. Here it is simply shorter.": [
            lambda length, tile, overlap: [max(0, min(start, length - tile)) for start in range(
                0, max(1, length - overlap), tile - overlap)]]},
    errors={"arg 3 must not be zero": "The step must not be 0: it is tile - overlap."},
    hints=("How far is it from the start of one tile to the start of the next? When is the picture covered?",
           "Tiles begin at 0, tile - overlap, 2 · (tile - overlap), … A tile that begins at length - overlap or later "
           "has nothing new in it. One tile is there in any case.",
           "return list(range(0, max(1, length - overlap), tile - overlap))"))
