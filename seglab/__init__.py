"""seglab: a course in semantic segmentation that runs.

The public names are loaded when they are first used, so that `import seglab` is instant and imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what checkers and editors see; a test compares it with the tables below
    from seglab import checkpoint as checkpoint
    from seglab import cli as cli
    from seglab import datasets as datasets
    from seglab import doctor as doctor
    from seglab import errors as errors
    from seglab import files as files
    from seglab import inference as inference
    from seglab import labels as labels
    from seglab import lessons as lessons
    from seglab import metrics as metrics
    from seglab import models as models
    from seglab import recipes as recipes
    from seglab import samples as samples
    from seglab import training as training
    from seglab import viz as viz
    from seglab import widgets as widgets
    from seglab.errors import SeglabError as SeglabError
    from seglab.history import History as History
    from seglab.inference.evaluate import evaluate as evaluate
    from seglab.labels import LabelSet as LabelSet
    from seglab.metrics import ConfusionMatrix as ConfusionMatrix
    from seglab.models import build as build
    from seglab.models import load_model as load_model
    from seglab.models import load_weights as load_weights
    from seglab.training.loop import fit as fit

__version__ = "0.1.0"

_WHERE = {
    "ConfusionMatrix": "seglab.metrics",
    "History": "seglab.history",
    "LabelSet": "seglab.labels",
    "SeglabError": "seglab.errors",
    "build": "seglab.models",
    "evaluate": "seglab.inference.evaluate",
    "fit": "seglab.training.loop",
    "load_model": "seglab.models",
    "load_weights": "seglab.models",
}
_ROOMS = ("checkpoint", "cli", "datasets", "doctor", "errors", "files", "inference", "labels", "lessons", "metrics",
          "models", "recipes", "samples", "training", "viz", "widgets")

__all__ = ["__version__", *sorted(_WHERE), *_ROOMS]


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"seglab.{name}")
    raise AttributeError(f"module 'seglab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
