"""How many inputs property tests draw: few in the daily tests, and SEGLAB_EXAMPLES times as many where that is set."""

from __future__ import annotations

import os

from hypothesis import settings


def examples(count: int) -> settings:
    """The settings of a property test that draws so many inputs, and may take its time for each."""
    return settings(deadline=None, max_examples=count * int(os.environ.get("SEGLAB_EXAMPLES", "1")))
