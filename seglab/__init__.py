"""seglab: a course in semantic segmentation that runs.

The public names are loaded when they are first used, so that `import seglab` is instant and imports no torch.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_WHERE = {
    "ConfusionMatrix": "seglab.metrics",
    "History": "seglab.training.history",
    "LabelSet": "seglab.labels",
    "SeglabError": "seglab.errors",
    "build": "seglab.models",
    "evaluate": "seglab.training.loop",
    "fit": "seglab.training.loop",
    "load_model": "seglab.models",
    "load_weights": "seglab.checkpoint",
}
_ROOMS = ("checkpoint", "cli", "datasets", "doctor", "errors", "files", "inference", "labels", "lessons", "metrics",
          "models", "recipes", "training", "viz", "widgets")

__all__ = ["__version__", *sorted(_WHERE), *_ROOMS]


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"seglab.{name}")
    raise AttributeError(f"module 'seglab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
