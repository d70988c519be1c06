"""Diagrams of networks: what they make of a picture, and by which steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from seglab.errors import ArgumentError

_FILL, _EDGE, _ARROW = "#dbe9f6", "#3b6ea5", "0.35"


class Map(NamedTuple):
    """A tensor in a diagram.

    Attributes:
        column, row: its place, counted from 0, from the left and from the top; fractions are allowed.
        shape: what stands in the box under the name, such as "23 × H × W".
        stride: pixels of the picture for one place of the map. The larger it is, the smaller the box.
    """

    column: float
    row: float
    shape: str
    stride: int = 1


def draw_network(maps: Mapping[str, Map], steps: Sequence[tuple[str, str, str]], width: float = 8.4) -> Figure:
    """Draw a network as boxes, its maps by name, and labelled arrows, its steps.

    Args:
        maps: {name: where and what it is}.
        steps: (name of a map, name of the map that is made of it, what is done).
        width: of the figure, in inches.

    Raises:
        ArgumentError: no maps, or a step between maps that are not there.

    Example:
        >>> figure = draw_network({"picture": Map(0, 0, "3 × H × W"), "logits": Map(1, 0, "23 × H × W")},
        ...                       [("picture", "logits", "conv 3×3")])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['conv 3×3', 'picture\\n3 × H × W', 'logits\\n23 × H × W']
    """
    strangers = [name for step in steps for name in step[:2] if name not in maps]
    if strangers or not maps:
        raise ArgumentError("steps" if maps else "maps", found=repr(strangers[0]) if strangers else "none",
                            expected=", ".join(maps) or "one or more")
    columns, rows = ([getattr(one, side) for one in maps.values()] for side in ("column", "row"))
    across, down = max(columns) - min(columns) + 0.7, max(rows) - min(rows) + 0.9
    figure, axis = plt.subplots(figsize=(width, max(1.1, width * 0.5 * down / across)), layout="constrained")
    sizes = {name: (0.23 + 0.07 * _share(one.stride), 0.2 + 0.18 * _share(one.stride)) for name, one in maps.items()}
    for start, end, text in steps:
        a, b = maps[start], maps[end]
        aside = a.column != b.column
        toward = (1 if b.column > a.column else -1) if aside else (1 if b.row > a.row else -1)
        at = [(one.column + (side * toward * sizes[name][0] if aside else 0),
               one.row + (0 if aside else side * toward * sizes[name][1]))
              for name, one, side in ((start, a, 1), (end, b, -1))]
        axis.add_patch(FancyArrowPatch(*at, arrowstyle="-|>", mutation_scale=11, color=_ARROW, shrinkA=1, shrinkB=1))
        x, y = ((p + q) / 2 for p, q in zip(*at, strict=True))
        axis.text(x + (0 if aside else 0.03), y - (0.04 if aside else 0), text, fontsize=8, color="0.2",
                  ha="center" if aside else "left", va="bottom" if aside else "center")
    for name, one in maps.items():
        half, high = sizes[name]
        axis.add_patch(FancyBboxPatch((one.column - half, one.row - high), 2 * half, 2 * high, facecolor=_FILL,
                                      edgecolor=_EDGE, boxstyle="round,pad=0,rounding_size=0.04"))
        axis.text(one.column, one.row, f"{name}\n{one.shape}", fontsize=8.5, ha="center", va="center")
    axis.set_xlim(min(columns) - 0.35, max(columns) + 0.35)
    axis.set_ylim(max(rows) + 0.45, min(rows) - 0.45)  # rows count from the top
    axis.set_axis_off()
    return figure


def _share(stride: int) -> float:
    """1 for a map as large as the picture, down to 0 for one at stride 32."""
    return max(0.0, 1 - log2(stride) / 5)
