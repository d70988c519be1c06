from __future__ import annotations

import numpy as np
import pytest

from seglab.errors import ArgumentError, DataError
from seglab.labels import CAMVID, COCO_CATEGORIES, DRONE, PETS, VOC, LabelSet, coco_subset, voc_palette


def test_voc_palette_is_the_published_one():
    assert len(VOC) == 21
    assert VOC.colours[VOC.id("cat")] == (64, 0, 0)
    assert VOC.colours[VOC.id("person")] == (192, 128, 128)
    assert VOC.colours[VOC.id("tvmonitor")] == (0, 64, 128)
    assert voc_palette()[255].tolist() == [224, 224, 192]


def test_drone_classes():
    assert len(DRONE) == 23
    assert DRONE.colours[DRONE.id("person")] == (255, 22, 96)
    assert DRONE.id("obstacle") == 22
    assert len(set(DRONE.colours)) == 23


def test_classes_of_voc_keep_their_colours():
    assert PETS.colours == ((0, 0, 0), (64, 0, 0), (64, 0, 128))  # background, cat, dog, as published
    for label_set in (VOC, PETS):
        assert label_set.colours[label_set.id("cat")] == (64, 0, 0)
        assert label_set.colours[label_set.id("dog")] == (64, 0, 128)


def test_other_sets():
    assert len(CAMVID) == 11
    assert CAMVID.classes[8] == "car"
    assert PETS.classes == ("background", "cat", "dog")
    assert len(COCO_CATEGORIES) == 80
    assert coco_subset([0, 17, 18]).classes == coco_subset(["cat", "dog"]).classes == ("background", "cat", "dog")


@pytest.mark.parametrize("label_set", [VOC, DRONE, PETS, CAMVID])
def test_colourise_equals_a_look_up_in_the_palette(label_set):
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 256, (37, 53), dtype=np.uint8)
    assert np.array_equal(label_set.colourise(mask), label_set.palette[mask])
    assert np.array_equal(label_set.colourise(mask.T), label_set.palette[mask.T])


@pytest.mark.parametrize("label_set", [VOC, DRONE, PETS])
def test_colours_read_back_as_ids(label_set):
    rng = np.random.default_rng(1)
    mask = rng.choice([*range(len(label_set)), 255], (20, 30)).astype(np.uint8)
    assert np.array_equal(label_set.ids_from_colours(label_set.colourise(mask)), mask)


def test_a_colour_outside_the_palette_is_named():
    rgb = DRONE.colourise(np.full((4, 5), 3, np.uint8)).copy()
    rgb[2, 3] = (1, 102, 0)
    with pytest.raises(DataError, match=r"x\.png.*\n.*\(1, 102, 0\) at x=3, y=2; 1 of 20.*\n.*grass"):
        DRONE.ids_from_colours(rgb, where="x.png")


@pytest.mark.parametrize("mask", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8)])
def test_colourise_refuses_what_is_no_mask(mask):
    with pytest.raises(ArgumentError, match="uint8"):
        PETS.colourise(mask)


def test_empty_mask():
    assert PETS.colourise(np.zeros((0, 4), np.uint8)).shape == (0, 4, 3)


def test_bad_label_sets():
    with pytest.raises(ArgumentError, match="more than once"):
        LabelSet("x", ("a", "a"), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ArgumentError, match="1 colours"):
        LabelSet("x", ("a", "b"), ((0, 0, 0),))
    with pytest.raises(ArgumentError, match="0 classes"):
        LabelSet("x", (), ())
    with pytest.raises(ArgumentError, match="300"):
        LabelSet("x", ("a",), ((0, 300, 0),))
    with pytest.raises(ArgumentError, match="'lion'"):
        PETS.id("lion")
    with pytest.raises(ArgumentError, match="12"):
        coco_subset([17, 12])


def test_class_table(tmp_path):
    path = tmp_path / "class_dict.csv"
    path.write_text("name, r, g, b\nroad, 1, 2, 3\nsky, 4, 5, 6\nvoid, 0, 0, 0\n", encoding="utf-8-sig")
    table = LabelSet.from_csv(path, ignore=("void",))
    assert (table.classes, table.colours, table.ignore_colour) == (("road", "sky"), ((1, 2, 3), (4, 5, 6)), (0, 0, 0))
    with pytest.raises(DataError, match="middle"):
        LabelSet.from_csv(path, ignore=("sky",))
    path.write_text("name,r,g,b\nroad,1,2\n")
    with pytest.raises(DataError, match="line 2"):
        LabelSet.from_csv(path)
    with pytest.raises(DataError, match="nothing"):
        LabelSet.from_csv(tmp_path / "nothing.csv")


def test_of_two_with_one_colour_the_first_class_wins_and_any_class_wins_over_ignore():
    labels = LabelSet("shared", ("road", "kerb", "void"), ((9, 9, 9), (9, 9, 9), (0, 0, 0)), ignore_colour=(0, 0, 0))
    assert labels.ids_from_colours(np.array([[(9, 9, 9), (0, 0, 0)]], np.uint8)).tolist() == [[0, 2]]
