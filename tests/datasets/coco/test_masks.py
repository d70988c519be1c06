from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from seglab.datasets.coco.masks import outline_length, rle_counts, semantic_mask, to_rle
from tests.datasets.coco.files import box
from tests.properties import examples


def reference(segmentations: list, classes: list[int], size: tuple[int, int]) -> np.ndarray:
    """Object by object, stacked, the maximum, overlaps 255: the rule of torchvision's references/segmentation."""
    maps = []
    for one in segmentations:
        decoded = coco_mask.decode(coco_mask.frPyObjects(one, *size))
        maps.append(torch.as_tensor(decoded.reshape(*size, -1)).any(dim=2))
    stack = torch.stack(maps)
    target = (stack * torch.tensor(classes, dtype=torch.uint8)[:, None, None]).max(dim=0).values
    target[stack.sum(0) > 1] = 255
    return target.numpy()


@st.composite
def pictures(draw):
    """Objects of one to three polygons, or run lengths, some of them far outside."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    number = st.floats(-10, 50, allow_nan=False).map(lambda v: round(v, 2))
    polygon = st.integers(3, 7).flatmap(lambda n: st.lists(number, min_size=2 * n, max_size=2 * n))
    runs = st.lists(st.integers(0, 30), min_size=1, max_size=9).map(
        lambda lengths: {"size": [height, width], "counts": _filled(lengths, height * width)})
    objects = draw(st.lists(st.one_of(st.lists(polygon, min_size=1, max_size=3), runs), min_size=1, max_size=6))
    classes = draw(st.lists(st.integers(1, 254), min_size=len(objects), max_size=len(objects)))
    return objects, classes, (height, width)


def _filled(lengths: list[int], total: int) -> list[int]:
    kept = []
    for length in lengths:
        kept.append(min(length, total - sum(kept)))
    return [*kept, total - sum(kept)]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(pictures())
def test_ignore_is_the_reference_conversion_bit_for_bit(picture):
    objects, classes, size = picture
    rles = [to_rle(one, *size) for one in objects]
    found = semantic_mask(rles, classes, [False] * len(rles), size)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    assert np.array_equal(found, reference(objects, classes, size))


@settings(max_examples=60, deadline=None)
@given(pictures())
def test_last_and_max_follow_their_rules(picture):
    objects, classes, size = picture
    rles = [to_rle(one, *size) for one in objects]
    maps = [coco_mask.decode(rle).astype(bool) for rle in rles]
    last, highest = np.zeros(size, int), np.zeros(size, int)
    for covered, class_id in zip(maps, classes, strict=True):
        last[covered] = class_id
        highest[covered] = np.maximum(highest[covered], class_id)
    crowds = [False] * len(rles)
    assert np.array_equal(semantic_mask(rles, classes, crowds, size, overlap="last"), last)
    assert np.array_equal(semantic_mask(rles, classes, crowds, size, overlap="max"), highest)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_counts_read_by_hand_are_those_of_pycocotools(height, width, share, seed):
    shape = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    counts = rle_counts(coco_mask.encode(np.asfortranarray(shape))["counts"])
    assert counts.sum() == height * width
    assert np.array_equal(np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T, shape)


@pytest.mark.parametrize("overlap", ["ignore", "last", "max"])
def test_crowds(overlap):
    size = (10, 20)
    rles = [to_rle([box(0, 0, 10, 10)], *size), to_rle([box(5, 0, 10, 10)], *size)]
    masks = {crowd: semantic_mask(rles, [1, 2], [False, True], size, crowd=crowd, overlap=overlap)[0]
             for crowd in ("ignore", "drop", "fill")}
    assert masks["drop"].tolist() == [1] * 10 + [0] * 10
    assert masks["ignore"].tolist() == [1] * 5 + [255] * 10 + [0] * 5
    both = 255 if overlap == "ignore" else 2
    assert masks["fill"].tolist() == [1] * 5 + [both] * 5 + [2] * 5 + [0] * 5


@pytest.mark.parametrize("counts", [[0, 0, 0, 12], [3, 0, 4, 0, 5], [0, 4, 0, 4, 4], [12, 0], [0, 12, 0],
                                    [2, 3, 0, 0, 7]])
@pytest.mark.parametrize("compressed", [False, True])
def test_empty_runs_mean_nothing(counts, compressed):
    """pycocotools decodes them well, but its merge reads and writes past its memory."""
    shape = {"size": [4, 3], "counts": counts}
    expected = np.repeat(np.arange(len(counts)) % 2, counts).reshape(3, 4).T
    rle = to_rle(coco_mask.frPyObjects(shape, 4, 3) if compressed else shape, 4, 3)
    other = to_rle([box(1, 1, 1, 2)], 4, 3)
    assert np.array_equal(coco_mask.decode(rle), expected)
    for _ in range(20):
        assert np.array_equal(coco_mask.decode(coco_mask.merge([rle, other])), expected | coco_mask.decode(other))


def test_many_objects_are_joined_in_groups():
    rles = [to_rle([box(i % 20, i // 20, 1.5, 1)], 30, 40) for i in range(300)]
    maps = coco_mask.decode(rles).sum(axis=2)
    assert np.array_equal(semantic_mask(rles, [3] * 300, [False] * 300, (30, 40)),
                          np.where(maps > 1, 255, 3 * maps))


@pytest.mark.parametrize("shape", [
    {"size": [4, 5], "counts": [25]}, {"size": [5, 5], "counts": [3, 4]}, {"size": [5, 5], "counts": [-5, 30]},
    {"size": [5, 5], "counts": ""}, {"size": [5, 5], "counts": "0000"}, {"size": [5, 5], "counts": "\x7f"},
    {"size": [5, 5], "counts": "P" * 30}, {"size": [5, 5], "counts": b"11"}, {"size": [5, 5], "counts": []},
    {"size": [5, 5], "counts": [2**33, 25 - 2**33]},
    {"size": [5, 5], "counts": [2**63 - 1, 2**63 - 1, 27]}, {"size": [5, 5], "counts": [2**64]},
    {"size": [5, 5], "counts": [[25]]}, {"size": [5, 5], "counts": [12.5, 12.5]}, {"size": [5, 5], "counts": ["a"]}])
def test_run_lengths_that_do_not_fill_the_picture_are_refused(shape):
    """pycocotools decodes short ones to whatever lies in memory."""
    with pytest.raises(ValueError, match="run lengths"):
        to_rle(shape, 5, 5)


def stacked(boxes: np.ndarray, classes: list[int], crowds: list[bool], size: tuple[int, int], crowd: str,
            overlap: str) -> np.ndarray:
    """Object by object, pixel by pixel: the rules as they are written down."""
    found, depth, ignored = np.zeros(size, int), np.zeros(size, int), np.zeros(size, bool)
    for (x, y), value, is_crowd in zip(boxes.tolist(), classes, crowds, strict=True):
        place = np.s_[y:y + 3, x:x + 4]
        if is_crowd and crowd != "fill":
            ignored[place] |= crowd == "ignore"
            continue
        depth[place] += 1
        found[place] = np.maximum(found[place], value) if overlap == "max" else value
    if overlap == "ignore":
        found[depth > 1] = 255
    found[ignored] = 255
    return found


@pytest.mark.parametrize(("count", "modes"), [
    (10_000, [("ignore", "ignore")]),
    (300, [(crowd, overlap) for crowd in ("ignore", "drop", "fill") for overlap in ("ignore", "last", "max")])])
def test_more_objects_than_a_byte_counts(count, modes):
    rng, size = np.random.default_rng(count), (170, 190)
    boxes = rng.integers(0, 160, (count, 2))
    rles = [to_rle([box(x, y, 4, 3)], *size) for x, y in boxes.tolist()]
    classes, crowds = rng.integers(1, 255, count).tolist(), (rng.random(count) < 0.02).tolist()
    for crowd, overlap in modes:
        assert np.array_equal(semantic_mask(rles, classes, crowds, size, crowd=crowd, overlap=overlap),
                              stacked(boxes, classes, crowds, size, crowd, overlap)), (crowd, overlap)


def test_polygons_that_leave_the_picture_are_pycocotools_own():
    rng = np.random.default_rng(0)
    for spread in (30, 300, 3000, 30_000):
        for _ in range(10):
            polygon = rng.uniform(-spread, spread, 2 * rng.integers(3, 9)).round(2).tolist()
            assert to_rle([polygon], 30, 40) == coco_mask.frPyObjects([polygon], 30, 40)[0]


def test_outlines_that_would_take_gigabytes_are_refused():
    with pytest.raises(ValueError, match="pixels for 40×30"):
        to_rle([[999_998, 999_998, -999_998, -999_998] * 1000], 30, 40)
    with pytest.raises(ValueError, match="pixels for 1000000×1000000"):
        to_rle([box(0, 0, 9, 9)], 10**6, 10**6)


def test_empty_runs_of_a_huge_picture_take_no_pixels():
    """They were joined by decoding: half a gigabyte for each of these few bytes."""
    shape = {"size": [20_000, 25_000], "counts": [7, 0, 3, 5, 0, 499_999_985]}
    for _ in range(20):
        assert rle_counts(to_rle(shape, 20_000, 25_000)["counts"]).tolist() == [10, 499_999_990]


@st.composite
def strange_pictures(draw: st.DrawFn) -> tuple:
    """Objects as files hold them: outlines that are points, lines, cross themselves or lie outside, and run lengths."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    near = st.one_of(st.integers(-3, 27), st.floats(-3, 27, allow_nan=False), st.sampled_from([0, width, height, 0.5]))
    far = st.one_of(near, st.floats(-3000, 3000, allow_nan=False))
    point = st.tuples(st.one_of(near, far), st.one_of(near, far))

    def outline(points: list[tuple[float, float]], kind: str) -> list[float]:
        points = {"point": [points[0]] * len(points), "line": [points[0], points[-1], points[0]],
                  "tiny": [(points[0][0] + 0.1 * i, points[0][1] + 0.01 * i * i) for i in range(3)]}.get(kind, points)
        return [value for pair in points for value in pair]

    kinds = st.sampled_from(["any", "any", "point", "line", "tiny"])
    outlines = st.lists(st.builds(outline, st.lists(point, min_size=3, max_size=8), kinds), min_size=1, max_size=3)
    counts = st.lists(st.integers(0, 30), min_size=1, max_size=9).map(lambda runs: _filled(runs, height * width))
    plain = counts.map(lambda runs: {"size": [height, width], "counts": runs})
    packed = plain.map(lambda rle: coco_mask.frPyObjects(rle, height, width))
    text = packed.map(lambda rle: {**rle, "counts": rle["counts"].decode()})
    objects = draw(st.lists(st.one_of(outlines, plain, packed, text), min_size=1, max_size=5))
    classes = draw(st.lists(st.integers(1, 254), min_size=len(objects), max_size=len(objects)))
    crowds = draw(st.lists(st.booleans(), min_size=len(objects), max_size=len(objects)))
    return objects, classes, crowds, (height, width)


@examples(150)
@given(strange_pictures(), st.sampled_from(["ignore", "drop", "fill"]), st.sampled_from(["ignore", "last", "max"]))
def test_any_objects_give_what_pycocotools_covers_pixel_by_pixel_and_no_other_class(picture, crowd, overlap):
    objects, classes, crowds, size = picture
    rles = [to_rle(one, *size) for one in objects]
    covered = []
    for one in objects:  # of an object, what any of its outlines covers
        parts = coco_mask.frPyObjects([[float(v) for v in line] for line in one], *size) if isinstance(one, list) else [
            coco_mask.frPyObjects(one, *size) if isinstance(one["counts"], list) else one]
        covered.append(np.any([coco_mask.decode(part) for part in parts], axis=0))
    solid = [i for i in range(len(objects)) if crowd == "fill" or not crowds[i]]
    wanted = np.zeros(size, int)
    for y, x in np.ndindex(size):
        there = [classes[i] for i in solid if covered[i][y, x]]
        if there:
            one = overlap == "max" or len(there) == 1
            wanted[y, x] = there[-1] if overlap == "last" else max(there) if one else 255
        if crowd == "ignore" and any(covered[i][y, x] for i in range(len(objects)) if crowds[i]):
            wanted[y, x] = 255
    found = semantic_mask(rles, classes, crowds, size, crowd=crowd, overlap=overlap)
    assert np.array_equal(found, wanted) and found.dtype == np.uint8 and found.flags.c_contiguous
    assert set(np.unique(found).tolist()) <= {0, 255, *classes}


@examples(60)
@given(st.lists(st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000)), min_size=3, max_size=9))
def test_an_outlines_length_is_what_pycocotools_walks(points):
    sides = list(zip(points, [*points[1:], points[0]], strict=True))
    steps = sum(max(1.0, abs(a[0] - b[0]), abs(a[1] - b[1])) for a, b in sides)
    assert outline_length([np.array(points).ravel()]) == pytest.approx(steps)


@examples(100)
@given(st.binary(max_size=12) | st.text("0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ", max_size=8),
       st.integers(1, 6), st.integers(1, 6))
def test_any_string_is_run_lengths_that_fill_the_picture_or_is_refused(counts, height, width):
    try:
        rle = to_rle({"size": [height, width], "counts": counts}, height, width)
    except (ValueError, UnicodeEncodeError):  # as the reader expects; and no crash of pycocotools' C code
        return
    runs = rle_counts(rle["counts"])
    assert runs.sum() == height * width and coco_mask.decode(rle).shape == (height, width)
    again = to_rle(rle, height, width)
    assert np.array_equal(coco_mask.decode(again), coco_mask.decode(rle))
    assert np.array_equal(np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T, coco_mask.decode(rle))
