"""Write a checkpoint in half precision, without what only a training needs: `python -m tools.half CHECKPOINT OUT`.

The networks that ship with seglab are stored in this way.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from seglab.checkpoint import load_checkpoint, save_checkpoint
from seglab.models import Card


def halve(checkpoint: Path, target: Path, card: Card | None = None) -> None:
    """The weights and the card, its own or another one, with floating-point numbers of 16 bits."""
    content = load_checkpoint(checkpoint)
    weights = {name: t.half() if t.is_floating_point() else t for name, t in content["model"].items()}
    save_checkpoint(target, {"card": (card or Card.parse(content, checkpoint)).to_dict(), "model": weights})


def main() -> None:
    """Read, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    halve(arguments.checkpoint, arguments.out)


if __name__ == "__main__":
    main()
