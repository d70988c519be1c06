"""Pictures side by side, as one picture: what a widget leaves behind on a page without a kernel."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP = 6


def sheet(pictures: Sequence[np.ndarray], titles: Sequence[str], columns: int = 3, width: int = 760) -> np.ndarray:
    """Pictures in rows, a title above each, on white: (H, W, 3) uint8, at most `width` wide.

    Small ones are enlarged by a whole number, four times at most, large ones shrunk by averaging; all cells are as wide
    as the widest. Pictures are (H, W, 3) uint8, of any sizes; titles take no room if all are empty.

    Example:
        >>> sheet([np.zeros((30, 40, 3), np.uint8)] * 2, ["a", "b"], columns=2).shape
        (142, 326, 3)
    """
    columns = max(1, min(columns, len(pictures)))
    widest = max(picture.shape[1] for picture in pictures)
    scale = min((width - (columns - 1) * _GAP) / columns / widest, 4)
    scale, way = (int(scale), cv2.INTER_NEAREST) if scale >= 1 else (scale, cv2.INTER_AREA)
    cells = [cv2.resize(picture, [max(1, round(side * scale)) for side in picture.shape[1::-1]], interpolation=way)
             for picture in pictures]
    font = ImageFont.load_default(13)
    head = 22 if any(titles) else 0
    step = max(cell.shape[1] for cell in cells) + _GAP
    heights = [head + max(map(len, cells[i:i + columns])) + _GAP for i in range(0, len(cells), columns)]
    canvas = Image.new("RGB", (columns * step - _GAP, sum(heights) - _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for number, (cell, text) in enumerate(zip(cells, titles, strict=True)):
        left, top = number % columns * step, sum(heights[:number // columns])
        canvas.paste(Image.fromarray(cell), (left, top + head))
        draw.text((left + 1, top + head / 2), text, fill=(40, 40, 40), font=font, anchor="lm")
    return np.array(canvas)  # (H, W, 3)


def add_words(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture with a paragraph below it, on white: (H, W, 3) uint8, higher than before.

    Example:
        >>> add_words(np.zeros((30, 200, 3), np.uint8), "two lines of words, as they do not fit on one").shape
        (82, 200, 3)
    """
    font, pad, high = ImageFont.load_default(13), 6, 20
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= picture.shape[1] - 2 * pad else [*lines, word]
    strip = Image.new("RGB", (picture.shape[1], pad + high * len(lines) + pad), "white")
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((pad, pad + high * (number + 0.5)), line, fill=(40, 40, 40), font=font, anchor="lm")
    return np.concatenate([picture, np.asarray(strip)])  # (H + strip, W, 3)
