"""Checks about data of one's own: splits without a leak, masks in files, annotators who differ, labels in doubt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seglab.checks.exercise import Case, Exercise
from seglab.checks.guard import RefusedError
from seglab.labels import IGNORE


def _pair(answer: Callable[..., Any], places: Sequence[str], count: int) -> dict[str, Any]:
    """The two lists of a split, in rising order."""
    found = answer(places, count)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise RefusedError("it returns nothing. The last line should be: return train, test" if found is None else
                           "it should return two lists: return train, test")
    try:
        train, test = (np.sort(np.asarray([*part], dtype=np.int64)) for part in found)
        both = {places[i] for i in train} & {places[i] for i in test}
    except (TypeError, ValueError, IndexError):
        raise RefusedError("the two lists should hold the numbers of the pictures, counted from 0") from None
    if both:
        raise RefusedError(f"pictures of the place {min(both)!r} are in train and in test: a leak. Places go whole "
                           "into one of the two")
    return {"test": test, "train": train}


def _split(places: Sequence[str], count: int, *, order: Callable[[list[str]], list[str]] = lambda names: names,
           enough: Callable[[int, int, int], bool] = lambda have, more, count: have >= count) -> tuple[list[int], ...]:
    """The right answer, with what can be wrong about it; `enough` gets pictures in test, of the next place, wanted."""
    taken: set[str] = set()
    for place in order([*dict.fromkeys(places)]):
        if enough(sum(one in taken for one in places), places.count(place), count):
            break
        taken.add(place)
    return tuple([i for i, one in enumerate(places) if (one in taken) == test] for test in (False, True))


def _by_number(places: Sequence[str], test: Sequence[int]) -> tuple[list[int], list[int]]:
    return [i for i in range(len(places)) if i not in test], [*test]


split_by_place = Exercise(
    "split_by_place",
    [Case("two pictures a place, test of two", (["north", "north", "east", "east", "south", "south"], 2)),
     Case("the first place is not the first in the alphabet", (["west", "west", "east", "south", "east"], 2)),
     Case("pictures of a place do not follow each other", (["b", "a", "c", "b", "a", "c", "b"], 4)),
     Case("a place has more pictures than are asked for", (["d", "d", "d", "a", "c"], 2)),
     Case("the first place has too few pictures", (["c", "a", "a", "a", "d"], 3))],
    right=lambda places, count: _split(places, count), run=_pair,
    mistakes={
        "The two lists are exchanged: return train, test.": lambda *a: _split(*a)[::-1],
        "The places are taken in the order of the alphabet. Take them in the order in which they occur first: "
        "dict.fromkeys(places), without sorted or set.": lambda *a: _split(*a, order=sorted),
        "The places are taken from the end. Begin with the first.": lambda *a: _split(*a, order=lambda x: x[::-1]),
        "The test has too few pictures. Take places until it has at least `count`.":
            lambda *a: _split(*a, enough=lambda have, more, count: have + more > count),
        "The test has a place too many. Stop as soon as it has `count` pictures.":
            lambda *a: _split(*a, enough=lambda have, more, count: have > count),
        "`count` counts places here. It is the number of pictures that the test should have.":
            lambda places, count: _by_number(places, [i for i, p in enumerate(places) if p in [*dict.fromkeys(places)][
                :count]]),
        "Only one place goes to the test, whatever its size. Go on until the test has `count` pictures.":
            lambda places, count: _split(places, 1),
        "Only the test is right. Train holds the pictures of all other places.":
            lambda places, count: ([], _split(places, count)[1])},
    errors={"has no attribute 'unique'": "places is a list. dict.fromkeys(places) has each place once, in order.",
            "unhashable": "dict.fromkeys(places) has each place once, in order. Put single places into the set."},
    hints=("Decide about places, not about pictures: first find the places that go to the test, then look up the place "
           "of each picture.",
           "dict.fromkeys(places) has each place once, in the order of the list. Add one place after the other to a "
           "list `chosen`, and stop as soon as the pictures of these places are `count` or more.",
           "chosen = []\nfor place in dict.fromkeys(places):\n"
           "    if sum(one in chosen for one in places) < count:\n        chosen.append(place)\n"
           "train = [i for i, place in enumerate(places) if place not in chosen]\n"
           "test = [i for i, place in enumerate(places) if place in chosen]\nreturn train, test"))


_PALETTE = np.random.default_rng(5).integers(0, 256, (256, 3)).astype(np.uint8)
_PALETTE[:3] = (0, 0, 0), (230, 159, 0), (86, 180, 233)


def _file_of(answer: Callable[..., Any], mask: np.ndarray) -> dict[str, Any]:
    """What is in the file that an answer writes: the numbers of its pixels, and their colours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coin.png"
        answer(path, mask, _PALETTE)
        if not path.is_file():
            others = ", ".join(sorted(one.name for one in Path(folder).iterdir()))
            raise RefusedError(f"there is no file coin.png afterwards, but {others}. Write to `path`" if others else
                               "there is no file afterwards. image.save(path) writes it")
        with Image.open(path) as image:
            if image.format != "PNG":
                raise RefusedError(f"the file is called .png, but holds a {image.format}. Give no other format to save")
            pixels, colours, kind = np.array(image), image.convert("RGB"), image.mode
            if kind not in {"P", "L"}:
                many = f"with {pixels[0, 0].size} numbers a pixel: they are colours, and no class ids"
                raise RefusedError(f"the pixels are stored as {kind}, " + (
                    many if pixels.ndim > 2 else "and class ids are one byte a pixel: uint8"))
            return {"shape": list(pixels.shape), "ids": pixels, "colours": np.array(colours)}


def _write(path: Path, mask: np.ndarray, palette: np.ndarray, *, ids: Callable[[np.ndarray], np.ndarray] = lambda x: x,
           colours: Callable[[np.ndarray], np.ndarray] | None = lambda x: x) -> None:
    image = Image.fromarray(np.ascontiguousarray(ids(mask)).astype(np.uint8))
    if colours is not None:
        image.putpalette(np.ascontiguousarray(colours(palette)).astype(np.uint8).tobytes())
    image.save(path)


def _scaled(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.float64) / max(1, mask.max()) * 255


write_mask = Exercise(
    "write_mask",
    [Case("two classes", (np.array([[0, 0, 1, 1], [0, 1, 1, 0]], np.uint8),), "a mask of 2×4 pixels, classes 0 and 1"),
     Case("three classes, and pixels that nobody labelled", (np.array([[0, 2], [1, 255], [2, 2]], np.uint8),),
          "a mask of 3×2 pixels, classes 0 to 2, and 255")],
    right=lambda path, mask, palette: _write(path, mask, palette), run=_file_of,
    mistakes={
        "The ids are right, but the file has no palette, so that it looks black. image.putpalette(…) adds it.":
            lambda path, mask, palette: _write(path, mask, palette, colours=None),
        "The ids were multiplied by 255 to be seen. Class 1 has become 255, which means \"nobody labelled this\". "
        "Write the ids as they are; the palette makes them visible.": [
            lambda *a: _write(*a, ids=lambda m: m * 255), lambda *a: _write(*a, ids=lambda m: m * 255, colours=None),
            lambda *a: _write(*a, ids=lambda m: np.minimum(m * 255., 255)),
            lambda *a: _write(*a, ids=lambda m: np.minimum(m * 255., 255), colours=None)],
        "The ids were stretched to 0 to 255 to be seen. Write them as they are; the palette makes them visible.": [
            lambda *a: _write(*a, ids=_scaled), lambda *a: _write(*a, ids=_scaled, colours=None)],
        "The pixels that nobody labelled have become class 0. They stay 255.":
            lambda *a: _write(*a, ids=lambda m: np.where(m == IGNORE, 0, m)),
        "Rows and columns are exchanged. Image.fromarray(mask) takes the array as it is.":
            lambda *a: _write(*a, ids=lambda m: m.T),
        "The colours of the palette are in another order. The three numbers of one class come first, then those of the "
        "next one: palette.tobytes(), or palette.flatten().": [
            lambda *a: _write(*a, colours=lambda p: p.T), lambda *a: _write(*a, colours=lambda p: p[:, ::-1]),
            lambda *a: _write(*a, colours=lambda p: p[::-1])],
        "The palette is scaled. Its numbers are 0 to 255 already.": [
            lambda *a: _write(*a, colours=lambda p: p / 255), lambda *a: _write(*a, colours=lambda p: p * 255)],
        "The palette has the colours of the first classes only. Give all 256: the one of 255 is needed, too.": [
            lambda *a, n=n: _write(*a, colours=lambda p: p[:n]) for n in (2, 3, 8)]},
    errors={"Cannot handle this data type": "Image.fromarray wants uint8: class ids are one byte a pixel.",
            "putpalette": "putpalette belongs to the image: image = Image.fromarray(mask); image.putpalette(…).",
            "has no attribute 'save'": "An array cannot be saved as a PNG: image = Image.fromarray(mask).",
            "invalid palette": "putpalette wants a flat list of numbers: palette.tobytes(), or palette.flatten()."},
    hints=("Image.fromarray(mask) is a grey picture whose grey values are the class ids. It lacks only the colours.",
           "image.putpalette(palette.tobytes()) gives each of the 256 values a colour: then the image holds the ids, "
           "and shows colours. image.save(path) writes it.",
           "from PIL import Image\nimage = Image.fromarray(mask)\nimage.putpalette(palette.tobytes())\n"
           "image.save(path)"))


def _counted(first: Sequence[np.ndarray], second: Sequence[np.ndarray], class_id: int,
             known: Callable[[np.ndarray, np.ndarray], Any] = lambda a, b: (a != IGNORE) & (b != IGNORE)
             ) -> list[tuple[float, ...]]:
    """For each picture: pixels in both, in one or both, in the first, in the second, and all that are labelled."""
    found = []
    for a, b in zip(first, second, strict=True):
        inside, of_a, of_b = known(a, b), a == class_id, b == class_id
        found.append(tuple(float((inside & what).sum()) for what in (of_a & of_b, of_a | of_b, of_a, of_b, a == b)))
    return found


def _iou(first: Sequence[np.ndarray], second: Sequence[np.ndarray], class_id: int, **how: Any) -> float:
    both, either, *_ = np.sum(_counted(first, second, class_id, **how), axis=0)
    return float(both / either)


def _of_counts(share: Callable[..., float]) -> Callable[..., float]:
    return lambda *a: share(*np.sum(_counted(*a), axis=0))


def _rows(*rows: str) -> np.ndarray:
    """A mask from digits; u is unlabelled."""
    return np.array([[IGNORE if one == "u" else int(one) for one in row] for row in rows], np.uint8)


_ANNOTATED = [_rows("0110", "0111", "0000"), _rows("1000", "1122")]
_AGAIN = [_rows("0010", "0111", "0001"), _rows("1100", "1022")]
agreement = Exercise(
    "agreement",
    [Case("one picture", (_ANNOTATED[:1], _AGAIN[:1], 1)),
     Case("two pictures of different sizes: their pixels are counted together", (_ANNOTATED, _AGAIN, 1)),
     Case("another class", (_ANNOTATED, _AGAIN, 2)),
     Case("pixels that one of the two did not label", ([_rows("u110", "0u11")], [_rows("1u10", "0101")], 1)),
     Case("class 0, with unlabelled pixels", ([_rows("u00", "011")], [_rows("00u", "101")], 0))],
    right=lambda first, second, class_id: _iou(first, second, class_id),
    mistakes={
        "Unlabelled pixels (255) are counted. Leave out a pixel that one of the two did not label.": [
            lambda *a: _iou(*a, known=lambda x, y: np.ones_like(x, bool)),
            lambda *a: _iou(*a, known=lambda x, y: x != IGNORE), lambda *a: _iou(*a, known=lambda x, y: y != IGNORE),
            lambda *a: _iou(*a, known=lambda x, y: (x != IGNORE) | (y != IGNORE))],
        "This is the mean over the pictures. Add up the pixels of all pictures first, then divide once.":
            lambda first, second, c: float(np.nanmean([b / e if e else np.nan for b, e, *_ in _counted(
                first, second, c)])),
        "This divides by the pixels of the first annotator. Divide by those that at least one of the two gave the "
        "class.": _of_counts(lambda both, either, a, b, same: both / a),
        "This divides by the pixels of the second annotator. Divide by those that at least one of the two gave the "
        "class.": _of_counts(lambda both, either, a, b, same: both / b),
        "This is the Dice coefficient. The IoU divides by the union, in which common pixels count once.":
            _of_counts(lambda both, either, a, b, same: 2 * both / (a + b)),
        "Common pixels count twice in the union. Subtract them once.":
            _of_counts(lambda both, either, a, b, same: both / (a + b)),
        "This is the share of all pixels on which the two agree. Count the pixels of the class only.": [
            lambda first, second, c: float(sum((a == b).sum() for a, b in zip(first, second, strict=True))
                                           / sum(a.size for a in first)),
            lambda first, second, c: float(
                sum(row[4] for row in _counted(first, second, c)) / sum(
                    ((a != IGNORE) & (b != IGNORE)).sum() for a, b in zip(first, second, strict=True)))],
        "It always looks at class 1. Use class_id.": lambda first, second, c: _iou(first, second, 1),
        "This is the IoU of the first picture only.": lambda first, second, c: _iou(first[:1], second[:1], c)},
    errors={"division by zero": "Use the class that is asked for: mask == class_id.",
            "could not be broadcast": "The pictures have different sizes: go through them one by one.",
            "inhomogeneous": "The pictures have different sizes: go through them one by one.",
            "has no attribute 'shape'": "first and second are lists of masks: zip(first, second) gives the pairs."},
    hints=("For a class, count two things over all pictures: pixels that both annotators gave it, and pixels that at "
           "least one of them did.",
           "For each pair (a, b) of masks, known = (a != 255) & (b != 255). Add ((a == class_id) & (b == class_id) & "
           "known).sum() to the one count, and the same with | to the other.",
           "both = either = 0\nfor a, b in zip(first, second):\n    known = (a != 255) & (b != 255)\n"
           "    both += ((a == class_id) & (b == class_id) & known).sum()\n"
           "    either += (((a == class_id) | (b == class_id)) & known).sum()\nreturn both / either"))


def _pixel_losses(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """-log p of each pixel, 0 where it is ignored, and which are labelled; both (N, H, W)."""
    return F.cross_entropy(logits, masks.long(), ignore_index=IGNORE, reduction="none"), masks != IGNORE


def _losses(logits: Tensor, masks: Tensor) -> Tensor:
    each, known = _pixel_losses(logits, masks)
    return each.sum((1, 2)) / known.sum((1, 2))


def _logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2


def _masks(*shape: int, classes: int, ignored: int = 0) -> Tensor:
    found = torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    found[0].view(-1)[:ignored] = IGNORE
    return found


_UNLABELLED = _masks(3, 2, 3, classes=2, ignored=2)
_UNLABELLED[1] = IGNORE
picture_losses = Exercise(
    "picture_losses",
    [Case("two pictures, two classes", (_logits(2, 2, 2, 3), _masks(2, 2, 3, classes=2)), "masks of 2×3 pixels"),
     Case("three pictures, four classes", (_logits(3, 4, 3, 2), _masks(3, 3, 2, classes=4)), "masks of 3×2 pixels"),
     Case("pixels that nobody labelled", (_logits(2, 3, 4, 4), _masks(2, 4, 4, classes=3, ignored=7)),
          "7 of the 16 pixels of the first mask are 255"),
     Case("a picture without any label: NaN", (_logits(3, 2, 2, 3), _UNLABELLED), "all pixels of the second mask are "
                                                                                  "255")],
    right=_losses,
    mistakes={
        "This is one mean over all pictures. Return one number for each: reduction=\"none\" gives the loss of each "
        "pixel.": [lambda x, y: F.cross_entropy(x, y.long(), ignore_index=IGNORE),
                   lambda x, y: F.cross_entropy(x, y.long(), ignore_index=IGNORE).expand(len(x))],
        "Ignored pixels count with a loss of 0. Divide by the number of labelled pixels of the picture.":
            lambda x, y: _pixel_losses(x, y)[0].mean((1, 2)),
        "This is the sum over the pixels. Divide by the number of labelled pixels of the picture.":
            lambda x, y: _pixel_losses(x, y)[0].sum((1, 2)),
        "This divides by the labelled pixels of all pictures together. Each picture has its own number.": [
            lambda x, y: _pixel_losses(x, y)[0].sum((1, 2)) / (y != IGNORE).sum(),
            lambda x, y: _pixel_losses(x, y)[0].sum((1, 2)) / (y != IGNORE).sum() * len(x)],
        "This is the loss of each pixel. Take the mean over those of a picture.":
            lambda x, y: _pixel_losses(x, y)[0],
        "The pixels that nobody labelled are taken for class 0. Leave them out.": lambda x, y: _losses(
            x, torch.where(y == IGNORE, 0, y)),
        "These are probabilities of the label, not losses. Take minus their logarithm.": lambda x, y: (
            x.softmax(1).gather(1, torch.where(y == IGNORE, 0, y)[:, None].long())[:, 0] * (y != IGNORE)).sum(
                (1, 2)) / (y != IGNORE).sum((1, 2)),
        "This is the logarithm of one mean. Take the logarithm at each pixel, then the mean.": lambda x, y: -((
            x.softmax(1).gather(1, torch.where(y == IGNORE, 0, y)[:, None].long())[:, 0] * (y != IGNORE)).sum(
                (1, 2)) / (y != IGNORE).sum((1, 2))).log(),
        "A softmax comes before F.cross_entropy, which has one in it. Give it the logits.":
            lambda x, y: _losses(x.softmax(1), y),
        "This is the share of wrong pixels. The loss also says how sure the network is.": lambda x, y: (
            (x.argmax(1) != y) & (y != IGNORE)).sum((1, 2)) / (y != IGNORE).sum((1, 2)),
        "This compares with the network's own answer, not with the label.": lambda x, y: _losses(
            x, torch.where(y == IGNORE, IGNORE, x.argmax(1))),
        "A picture without any label gets 0, as if it were perfect. It has no loss: NaN, which 0 / 0 gives in "
        "PyTorch.": lambda x, y: _losses(x, y).nan_to_num(0)},
    errors={"Target 255 is out of bounds": "255 is not a class: F.cross_entropy(…, ignore_index=255).",
            "Expected target size": "The classes of the logits are their second axis, as F.cross_entropy wants it: "
                                    "leave the axes as they are."},
    hints=("F.cross_entropy can give the loss of each pixel instead of one mean. What is left is a mean over those "
           "pixels of each picture that have a label.",
           "F.cross_entropy(logits, masks.long(), ignore_index=255, reduction=\"none\") is (N, H, W), with 0 where the "
           "mask is 255. Add up over the axes 1 and 2, and divide by the number of labelled pixels.",
           "each = F.cross_entropy(logits, masks.long(), ignore_index=255, reduction=\"none\")\n"
           "return each.sum(dim=(1, 2)) / (masks != 255).sum(dim=(1, 2))"))


def _rim(mask: np.ndarray, width: int, *, pad: str | None = "edge", all_sides: bool = True, ignored: bool = False,
         disc: bool = False, value: int = IGNORE) -> np.ndarray:
    """The right answer, with what can be wrong about it."""
    height, wide = mask.shape
    padded = np.pad(mask, width, mode="edge") if pad == "edge" else np.pad(mask, width)
    near = np.zeros(mask.shape, bool)
    for dy in range(-width, width + 1):
        for dx in range(-width, width + 1):
            if disc and dy * dy + dx * dx > width * width:
                continue
            other = padded[width + dy:width + dy + height, width + dx:width + dx + wide]
            differs = other != mask if all_sides else other < mask
            near |= differs & (ignored | (other != IGNORE))
    return np.where(near, np.uint8(value), mask)


_SQUARE = np.zeros((7, 8), np.uint8)
_SQUARE[2:5, 3:7] = 1
_THREE = np.repeat(np.array([[0, 0, 0, 1, 1, 1, 2, 2, 2]], np.uint8), 5, axis=0)
_PARTLY = np.zeros((6, 9), np.uint8)
_PARTLY[:, 4:], _PARTLY[0, 0], _PARTLY[5, 8] = 1, IGNORE, IGNORE
ignore_rim = Exercise(
    "ignore_rim",
    [Case("a square of class 1, width 1", (_SQUARE, 1)), Case("three classes side by side, width 1", (_THREE, 1)),
     Case("width 2", (_SQUARE, 2)), Case("pixels that nobody labelled, far from the outline", (_PARTLY, 1)),
     Case("a picture of one class has no outline", (np.ones((4, 5), np.uint8), 1))],
    right=lambda mask, width: _rim(mask, width),
    mistakes={
        "Only pixels inside the object are ignored. The rim has two sides: ignore those of the background, too.":
            lambda *a: _rim(*a, all_sides=False),
        "The edge of the picture counts as an outline. Compare with pixels inside the picture only.":
            lambda *a: _rim(*a, pad=None),
        "Neighbours of unlabelled pixels are ignored, too. 255 is not a class: it makes no outline.":
            lambda *a: _rim(*a, ignored=True),
        "The neighbourhood is round, or a cross. Take the square of 2 · width + 1 pixels around each pixel.":
            lambda *a: _rim(*a, disc=True),
        "It always takes a width of 1. Use width.": lambda mask, width: _rim(mask, 1),
        "The rim is too wide: it takes 2 · width pixels to each side.": lambda mask, width: _rim(mask, 2 * width),
        "The rim becomes background. It should become 255: neither trained nor scored.":
            lambda *a: _rim(*a, value=0),
        "The rim is kept, and all else is ignored. It is the other way round.":
            lambda mask, width: np.where(_rim(mask, width) == IGNORE, mask, IGNORE),
        "This is True where the rim is. Return the mask, with 255 there.":
            lambda mask, width: _rim(mask, width) != mask},
    errors={"could not be broadcast": "Parts of different sizes are compared. Padding first (np.pad) keeps the size.",
            "not implemented for 'Byte'": "Max pooling wants floats: torch.from_numpy(mask).float()."},
    hints=("A pixel is near an outline if the largest or the smallest class id in its neighbourhood is not its own. "
           "Dilation and erosion, or max pooling, give these.",
           "cv2.dilate(mask, kernel) is the largest id in the neighbourhood of each pixel, cv2.erode(mask, kernel) the "
           "smallest, with kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8). Unlabelled pixels must not win: "
           "set them to 0 before dilate, and leave them 255 before erode.",
           "import cv2\nkernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)\n"
           "largest = cv2.dilate(np.where(mask == 255, 0, mask).astype(np.uint8), kernel)\n"
           "smallest = cv2.erode(mask, kernel)\n"
           "return np.where((mask != 255) & (largest != smallest), 255, mask).astype(np.uint8)"))
