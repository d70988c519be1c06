"""Memory on the CPU: of a training step, and of pictures of many sizes.

Importing this sets two environment variables, unless they are set. PyTorch's CPU convolutions keep a plan for each
layer and each size of picture, up to 1,024 of them, and oneDNN below as many again. In a network of 80 layers,
pictures of different sizes soon fill both, and since the plans lie between the maps, the heap grows: evaluating 120
such pictures took 800 MB over the model, and 200 with 64 plans, in the same time. A training step with crops of one
size stays as fast. PyTorch reads the variables at its first convolution.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of the GNU C library

for _name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "64")


def keep_freed_memory() -> bool:
    """Tell the C library to keep the memory of freed tensors for the next step; True if it does.

    Activations of some 20 MB are freed and wanted again in every step. By default glibc hands such blocks back to the
    system, or not, depending on what was allocated before, and the system then clears them again page by page: we have
    seen 33,000 page faults and 97 ms in a step that otherwise has none and takes 33. The process keeps its peak memory
    afterwards. Other systems than Linux with glibc are left alone.

    Source: mallopt(3).

    Example:
        >>> keep_freed_memory() in (True, False)
        True
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return bool(mallopt and mallopt(_M_MMAP_THRESHOLD, 1 << 30) and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
