"""Instant checks for what learners write: `check.iou(iou)` says what passed, or what is wrong; with hints.

In a lesson, `from seglab import checks as check`.
"""

from __future__ import annotations

from seglab.checks.atrous import atrous_conv, poly_rate, weights_on_map
from seglab.checks.confidence import calibration_error, suspects
from seglab.checks.deeplab import aspp, deeplabv3, layer_getter
from seglab.checks.epochs import test_accuracy, train_epoch
from seglab.checks.evidence import cam, grad_cam
from seglab.checks.exercise import Case, Exercise, Verdict
from seglab.checks.fcn import fcn_head, skip_decoder, to_convolution
from seglab.checks.features import features_once, read_map
from seglab.checks.kernels import count_parameters, full_kernel, global_conv_block, kernel_for_size, reach
from seglab.checks.losses import cross_entropy, loss_with_aux, training_step
from seglab.checks.maps import enlarge, receptive_field
from seglab.checks.masks import class_shares, class_weights, colourise, constant_rule
from seglab.checks.networks import single_conv, two_convs, window
from seglab.checks.objects import category_to_class, crop_and_flip, merge_objects
from seglab.checks.outlines import polygon_area, polygon_to_mask, read_counts, read_run_lengths
from seglab.checks.own_data import agreement, ignore_rim, picture_losses, split_by_place, write_mask
from seglab.checks.pets import (
    band_accuracy,
    best_epoch,
    fold_border,
    per_picture_accuracy,
    plateau_rates,
    trimap_to_mask,
)
from seglab.checks.pictures import flicker, overlay, tile_starts, voc_colour
from seglab.checks.program import differing_pixels, measure_speed, preprocess, quantise, to_ppm
from seglab.checks.refinement import boundary_refinement, gcn
from seglab.checks.regions import dice_loss, iou_loss
from seglab.checks.scores import confusion_matrix, iou
from seglab.checks.transfer import frozen, layer_rates, swap_head
from seglab.checks.visible import WrongAnswer, expect, seed_of, student
from seglab.errors import ArgumentError

__all__ = ["EXERCISES", "Case", "Exercise", "Verdict", "WrongAnswer", "agreement", "aspp", "atrous_conv",
           "band_accuracy", "best_epoch", "boundary_refinement", "calibration_error", "cam", "category_to_class",
           "class_shares", "class_weights", "colourise", "confusion_matrix", "constant_rule", "count_parameters",
           "crop_and_flip", "cross_entropy", "deeplabv3", "dice_loss", "differing_pixels", "enlarge", "expect",
           "fcn_head", "features_once", "flicker", "fold_border", "frozen", "full_kernel", "gcn", "global_conv_block",
           "grad_cam", "hint", "ignore_rim", "iou", "iou_loss", "kernel_for_size", "layer_getter", "layer_rates",
           "loss_with_aux", "measure_speed", "merge_objects", "overlay", "per_picture_accuracy", "picture_losses",
           "plateau_rates", "poly_rate", "polygon_area", "polygon_to_mask", "preprocess", "quantise", "reach",
           "read_counts", "read_map", "read_run_lengths", "receptive_field", "seed_of", "single_conv", "skip_decoder",
           "solution", "split_by_place", "student", "suspects", "swap_head", "test_accuracy", "tile_starts",
           "to_convolution", "to_ppm", "train_epoch", "training_step", "trimap_to_mask", "two_convs", "voc_colour",
           "weights_on_map", "window", "write_mask"]

#: By name, in the lessons' order.
EXERCISES = {one.name: one for one in (colourise, class_shares, single_conv, cross_entropy, training_step,
                                       confusion_matrix, iou, constant_rule, window, class_weights, two_convs,
                                       to_convolution, receptive_field, fcn_head, skip_decoder, loss_with_aux, overlay,
                                       flicker, voc_colour, tile_starts, enlarge,
                                       read_map, swap_head, frozen, train_epoch, test_accuracy, features_once, cam,
                                       layer_rates, calibration_error, suspects, grad_cam,
                                       polygon_to_mask, read_run_lengths, category_to_class, merge_objects,
                                       crop_and_flip, polygon_area, read_counts,
                                       atrous_conv, aspp, layer_getter, deeplabv3, poly_rate, weights_on_map,
                                       reach, global_conv_block, count_parameters, kernel_for_size,
                                       boundary_refinement, gcn, full_kernel,
                                       trimap_to_mask, dice_loss, iou_loss, best_epoch, per_picture_accuracy,
                                       fold_border, band_accuracy, plateau_rates,
                                       measure_speed, split_by_place, write_mask, agreement, picture_losses, ignore_rim,
                                       preprocess, differing_pixels, to_ppm, quantise)}
_given: dict[str, int] = {}


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
