"""Scenes as a drone sees them from straight above, drawn by code.

Every picture is a small scene in metres. The ground is painted first, then everything that stands on it, from low to
high. `Scene.fill` writes the picture and the mask with one and the same stencil: that is why the two fit to the pixel.
"""

from seglab.samples.aerial.scenes import VERSION, draw_aerial

__all__ = ["VERSION", "draw_aerial"]
