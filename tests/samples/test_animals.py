"""The drawn cats and dogs: what tells them apart is shape alone, and a mask covers what is painted."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest

from seglab import samples
from seglab.samples.animals import MARKS, POSES, Animal, Place, before, set_down

MAGENTA = (255, 0, 255)  # no fur, eye or collar is


def alone(is_cat: bool, pose: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An animal on a surface without a texture: (240, 320, 3) uint8, and its outline."""
    animal = Animal(np.random.default_rng(seed), is_cat, pose=pose)
    picture = np.full((240, 320, 3), MAGENTA, np.uint8)
    left, top, right, bottom = animal.bounds
    scale = min(280 / (right - left), 210 / (bottom - top))
    return picture, animal.draw(picture, (160, 230), scale)


def test_chance_gives_cats_and_dogs_the_same_poses_and_coats():
    for seed in range(60):
        cat, dog = (Animal(np.random.default_rng(seed), is_cat) for is_cat in (True, False))
        assert (cat.pose, cat.marks) == (dog.pose, dog.marks)
        assert np.array_equal(cat.coat.colour, dog.coat.colour) and np.array_equal(cat.coat.second, dog.coat.second)
        assert (cat.collar is None) == (dog.collar is None)


def test_every_pose_and_coat_occurs_about_as_often_as_it_says():
    drawn = [Animal(np.random.default_rng(seed), bool(seed % 2)) for seed in range(400)]
    for pose, share in POSES.items():
        assert sum(animal.pose == pose for animal in drawn) / 400 == pytest.approx(share, abs=0.06)
    assert all(sum(animal.marks == marks for animal in drawn) > 40 for marks in MARKS)
    assert sum(POSES.values()) == pytest.approx(1)
    assert {animal.head.view for animal in drawn} == {"front", "profile", "back"}
    assert {animal.facing > 0 for animal in drawn} == {True, False}


def test_cats_and_dogs_are_of_one_size_in_pictures():
    """The larger part of a picture is no reason to call it a dog."""
    share = {True: [], False: []}
    for seed in range(150):
        for is_cat, shares in share.items():
            rng = np.random.default_rng(seed)
            place, animal = Place(rng, 160, 160), Animal(rng, is_cat)
            shares.append(np.mean(animal.draw(place.picture, *set_down(rng, animal, place, (0.6, 1.0))) > 0))
    assert np.mean(share[True]) == pytest.approx(np.mean(share[False]), rel=0.2)
    assert 0.12 < np.mean(share[True]) < 0.5


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("kind", ["cat", "dog"])
def test_the_outline_is_what_is_painted(kind, pose):
    for seed in range(3):
        picture, outline = alone(kind == "cat", pose, seed)
        painted = picture[..., 1] > 0  # a shadow leaves magenta without green
        inside = outline > 0
        assert painted[inside].mean() > 0.999
        thin = cv2.morphologyEx((painted & ~inside).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        assert thin.sum() == 0, "outside there are whiskers at most"
        if kind == "dog":
            assert (painted & ~inside).mean() < 2e-4
        count, _, sizes, _ = cv2.connectedComponentsWithStats(outline)
        assert count >= 2 and sizes[1:, cv2.CC_STAT_AREA].max() > 0.98 * inside.sum(), "one body, without seams"
        assert 0.05 < inside.mean() < 0.8


def test_a_shadow_is_on_the_floor_and_only_darkens():
    picture, outline = alone(False, "walk", 1)
    shadow = (picture[..., 0] < 250) & (outline == 0) & (picture[..., 1] == 0)
    rows = np.nonzero(shadow)[0]
    assert shadow.mean() > 0.005 and (picture[..., 0][shadow] == picture[..., 2][shadow]).all()
    assert np.median(rows) > 180  # feet are at row 230


def test_the_same_numbers_give_the_same_animal():
    (one, mask), (two, again), (three, _) = (alone(True, "lie", seed) for seed in (4, 4, 5))
    assert np.array_equal(one, two) and np.array_equal(mask, again) and not np.array_equal(one, three)


def test_some_animals_are_cut_by_the_frame_and_most_are_not():
    cut = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        place, animal = Place(rng, 160, 208), Animal(rng, bool(seed % 2))
        (x, y), scale = set_down(rng, animal, place, (0.5, 0.95))
        assert y > place.horizon and 0 < x < 208, "feet are on the floor"
        outline = animal.draw(place.picture, (x, y), scale) > 0
        cut += outline[0].any() or outline[-1].any() or outline[:, 0].any() or outline[:, -1].any()
        assert outline.any()
    assert 4 <= cut <= 28


def test_an_animal_out_of_the_picture_is_not_there():
    picture = np.full((64, 64, 3), MAGENTA, np.uint8)
    assert not Animal(np.random.default_rng(0), True).draw(picture, (900, 60), 10).any()
    assert (picture == MAGENTA).all()


@pytest.mark.parametrize("size", [(64, 64), (64, 130), (400, 90)])
def test_places_of_any_shape(size):
    indoors = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        place = Place(rng, *size)
        indoors.add(place.indoors)
        assert place.picture.shape == (*size, 3) and 0.2 * size[0] < place.horizon < 0.7 * size[0]
        assert place.picture.std() > 5, "not of one colour"
        old = place.picture.copy()
        stencil = before(rng, place)
        untouched = cv2.dilate(stencil, np.ones((5, 5), np.uint8)) == 0
        assert (place.picture[untouched] <= old[untouched]).all(), "what is no shadow is on the stencil"
    assert indoors == {True, False}


def test_an_old_sample_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLAB_HOME", str(tmp_path))
    version, write = samples._WRITERS["pets"]
    old = tmp_path / "samples" / f"pets-{version - 1}"
    old.mkdir(parents=True)
    (old / "sample.json").write_text('{"version": 1}')
    monkeypatch.setitem(samples._WRITERS, "pets", (version, partial(write, count=12)))
    for _ in range(2):  # drawn, then found
        assert samples.sample_folder("pets", progress=False).name == f"pets-{version}"
    assert [path.name for path in old.iterdir()] == ["sample.json"]
