"""Progress bars where somebody watches: in a terminal or a notebook, never in a log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm


def progress_bar(iterable: Iterable[Any] | None = None, *, shown: bool = True, **options: Any) -> tqdm:
    """A tqdm bar that is drawn only if `shown`, and only where standard error is a terminal, or in a notebook.

    A bar in a file or a pipe is a line for each of its states: hundreds of kilobytes for a long training.

    Args:
        iterable: what is counted while it is consumed; None if `update` is called by hand.
        shown: False for none at all.
        options: of `tqdm.tqdm`, such as `total`, `desc` and `unit`. The bar disappears at its end (`leave=False`).

    Example:
        >>> sum(progress_bar([1, 2, 3], desc="adding"))
        6
    """
    return tqdm(iterable, disable=None if shown else True, **({"leave": False} | options))  # None: tqdm looks itself
