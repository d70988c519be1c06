"""Figures: masks in colour, overlays, errors, class shares, curves.

Every function draws into Matplotlib axes or returns a figure, and never calls `show`, so that it works in a notebook,
in a script and in a test.
"""

from __future__ import annotations

from seglab.viz.diagrams import Map, draw_network
from seglab.viz.live import LiveCurve, draw_history
from seglab.viz.palettes import as_drawn
from seglab.viz.pictures import (
    IGNORED,
    RIGHT,
    WRONG,
    add_legend,
    as_picture,
    class_patches,
    error_map,
    heat_overlay,
    overlay,
    show_pictures,
    show_samples,
)
from seglab.viz.plots import (
    plot_bands,
    plot_calibration,
    plot_confusion,
    plot_history,
    plot_iou,
    plot_learning_curves,
    plot_shares,
    plot_sizes,
)

__all__ = ["IGNORED", "RIGHT", "WRONG", "LiveCurve", "Map", "add_legend", "as_drawn", "as_picture",
           "class_patches", "draw_history", "draw_network", "error_map", "heat_overlay", "overlay", "plot_bands",
           "plot_calibration", "plot_confusion", "plot_history", "plot_iou", "plot_learning_curves", "plot_shares",
           "plot_sizes", "show_pictures", "show_samples"]
