"""Instant checks for what learners write: `check.iou(iou)` says what passed, or what is wrong; with hints.

In a lesson, `from seglab import checks as check`. A check is imported when it is first used: what some of them need,
such as timm, takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from seglab.checks.exercise import Case, Exercise, Verdict
from seglab.checks.visible import WrongAnswer, expect, seed_of, student
from seglab.errors import ArgumentError

#: {exercise: its module}, in the lessons' order.
_MODULES = {name: module for module, names in (
    ("masks", "colourise class_shares"), ("networks", "single_conv"), ("losses", "cross_entropy training_step"),
    ("scores", "confusion_matrix iou"), ("masks", "constant_rule"), ("networks", "window"),
    ("masks", "class_weights"), ("networks", "two_convs"), ("fcn", "to_convolution"), ("maps", "receptive_field"),
    ("fcn", "fcn_head skip_decoder"), ("losses", "loss_with_aux"),
    ("pictures", "overlay flicker voc_colour tile_starts"), ("maps", "enlarge"), ("features", "read_map"),
    ("transfer", "swap_head frozen"), ("epochs", "train_epoch test_accuracy"), ("features", "features_once"),
    ("evidence", "cam"), ("transfer", "layer_rates"), ("confidence", "calibration_error suspects"),
    ("evidence", "grad_cam"), ("outlines", "polygon_to_mask read_run_lengths"),
    ("objects", "category_to_class merge_objects crop_and_flip"), ("outlines", "polygon_area read_counts"),
    ("atrous", "atrous_conv"), ("deeplab", "aspp layer_getter deeplabv3"), ("atrous", "poly_rate weights_on_map"),
    ("kernels", "reach global_conv_block count_parameters kernel_for_size"),
    ("refinement", "boundary_refinement gcn"), ("kernels", "full_kernel"), ("pets", "trimap_to_mask"),
    ("regions", "dice_loss iou_loss"),
    ("pets", "best_epoch per_picture_accuracy fold_border band_accuracy plateau_rates"),
    ("program", "measure_speed"), ("own_data", "split_by_place write_mask agreement picture_losses ignore_rim"),
    ("program", "preprocess differing_pixels to_ppm quantise"),
) for name in names.split()}
__all__ = ["EXERCISES", "Case", "Exercise", "Verdict", "WrongAnswer", "expect", "hint", "seed_of", "solution",
           "student", *_MODULES]


class _Exercises(Mapping[str, Exercise]):
    def __getitem__(self, name: str) -> Exercise:
        return getattr(import_module(f"seglab.checks.{_MODULES[name]}"), name)

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


#: By name, in the lessons' order.
EXERCISES: Mapping[str, Exercise] = _Exercises()
_given: dict[str, int] = {}


def __getattr__(name: str) -> Exercise:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return EXERCISES[name]


def __dir__() -> list[str]:
    return sorted(__all__)


def hint(name: str, level: int | None = None) -> None:
    """Print a hint for an exercise: the next one each time, or that of a level from 1, a nudge, to 3, nearly all.

    Raises:
        ArgumentError: no such exercise or level.

    Example:
        >>> hint("colourise", 3)
        Hint 3 of 3:
        return palette[mask]
    """
    hints = _exercise(name).hints
    level = min(_given.get(name, 0) + 1, len(hints)) if level is None else level
    if level not in range(1, len(hints) + 1):
        raise ArgumentError("level", found=repr(level), expected=f"1 to {len(hints)}")
    _given[name] = level
    print(f"Hint {level} of {len(hints)}:\n{hints[level - 1]}")


def solution(name: str) -> None:
    """Print the solution of an exercise, as the lesson has it.

    Raises:
        ArgumentError: no such exercise.
    """
    from seglab.editions import solution_of

    print(solution_of(_exercise(name).name))


def _exercise(name: str) -> Exercise:
    if name not in EXERCISES:
        raise ArgumentError("exercise", found=repr(name), expected=", ".join(EXERCISES))
    return EXERCISES[name]
