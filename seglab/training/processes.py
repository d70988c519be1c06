"""The processes of one training, as torchrun starts them."""

from __future__ import annotations

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def processes() -> PartialState:
    """How many processes train together, which of them this is, and on which device; without a GPU, on the CPU.

    Accelerate itself would take those on a CPU for strangers, each of which trains alone.
    """
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())
