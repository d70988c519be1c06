"""Widgets that a learner touches: they run in the browser, without the kernel, and leave a true picture elsewhere."""

from __future__ import annotations

from seglab.widgets.mask_viewer import MaskViewer

__all__ = ["MaskViewer"]
