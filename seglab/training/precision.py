"""In which precision a network computes."""

from __future__ import annotations

import torch

from seglab.errors import ArgumentError


def choose_precision(precision: str) -> str:
    """ "auto" -> "bf16" on a GPU that computes in it, else "no": on most CPUs bf16 is several times slower."""
    if precision not in {"auto", "no", "bf16"}:
        raise ArgumentError("precision", found=repr(precision), expected='"auto", "no" or "bf16"')
    if precision != "auto":
        return precision
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False) else "no"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Where computing in bf16 is asked for, a context in which PyTorch does it; else one that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
