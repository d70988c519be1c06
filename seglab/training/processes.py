"""The processes of one training, as torchrun starts them."""

from __future__ import annotations

from contextlib import suppress

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import distributed


def processes() -> PartialState:
    """How many processes train together, which of them this is, and on which device; without a GPU, on the CPU.

    Accelerate itself would take those on a CPU for strangers, each of which trains alone.
    """
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())


def is_first_to_fail() -> bool:
    """Whether no other process of this training has asked before: one error is said once, by whoever meets it first.

    The others meet the same one, or that they have lost this process.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return True
    with suppress(RuntimeError):  # the store is lost, too
        return bool(distributed.distributed_c10d._get_default_store().add("seglab: errors", 1) == 1)
    return True


def has_lost_another(error: RuntimeError) -> bool:
    """Whether an error says that another process of the training has ended: NCCL's and gloo's own, the latter by text.

    Example:
        >>> has_lost_another(RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection closed by peer"))
        True
        >>> has_lost_another(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        False
    """
    return isinstance(error, getattr(distributed, "DistError", ())) or "gloo" in str(error).lower()
