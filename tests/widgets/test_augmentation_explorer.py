"""The augmentation explorer in Python: what travels, what torchvision does with it, what it refuses."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from seglab.errors import ArgumentError
from seglab.labels import PETS, VOC
from seglab.viz.palettes import as_drawn
from seglab.widgets.augmentation_explorer import LOUD, MOST_PIXELS, AugmentationExplorer

#: Settings of every kind, alone and together.
SETTINGS = [{"flip_horizontal": True, "flip_vertical": True}, {"rotation": 33.3, "scale": 0.8, "shear": -12},
            {"translate_x": 0.13, "translate_y": -0.3}, {"crop": 0.55, "crop_x": 0.2, "crop_y": 1},
            {"brightness": 1.3, "contrast": 0.6, "saturation": 1.9, "hue": -0.13, "blur": 1.2},
            {"rotation": -70, "crop": 0.7, "flip_vertical": True, "hue": 0.5, "blur": 0.3, "picture_only": True}]


def sample(height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Noise under a smooth ramp, and a mask of the three pets classes with an ignored band."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1)
    picture = (ramp * 0.8 + rng.integers(0, 50, ramp.shape)).astype(np.uint8)  # (H, W, 3)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4: height // 2, width // 4: width // 2] = 2
    mask[height // 2: -6, width // 2: -9] = 1
    mask[3:5] = 255
    return picture, mask


def explorer(**settings: float | bool) -> AugmentationExplorer:
    return AugmentationExplorer(*sample(), PETS, **settings)


def test_picture_and_mask_travel_exactly() -> None:
    picture, mask = sample()
    content = AugmentationExplorer(picture.transpose(2, 0, 1), torch.from_numpy(mask).long(), PETS).content
    rows = np.frombuffer(zlib.decompress(content["pixels"]), np.uint8).reshape(-1, 64)
    channels = np.cumsum(rows, axis=0, dtype=np.uint8).reshape(3, 48, 64)
    assert (channels.transpose(1, 2, 0) == picture).all()
    assert zlib.decompress(content["ids"]) == mask.tobytes()
    assert content["size"] == [64, 48] and [entry["id"] for entry in content["classes"]] == [0, 1, 2, 255]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(settings))
def test_the_lines_of_code_do_what_apply_does(settings: dict) -> None:
    widget = explorer(**settings)
    names = {"image": widget.image, "mask": widget.mask}
    exec(widget.code(), names)
    image, mask = widget.apply()
    assert torch.equal(names["image"], image) and torch.equal(names["mask"], mask)
    assert isinstance(image, tv_tensors.Image) and isinstance(mask, tv_tensors.Mask)
    assert not torch.equal(image, widget.image)


def test_colours_leave_the_mask_and_geometry_moves_it() -> None:
    for settings, moves in (SETTINGS[4], False), (SETTINGS[1], True), (SETTINGS[1] | {"picture_only": True}, False):
        widget = explorer(**settings)
        assert torch.equal(widget.apply()[1], widget.mask) != moves


def test_padding_is_black_and_ignored() -> None:
    image, mask = explorer(translate_x=0.25).apply()
    assert (image[:, :, :16] == 0).all() and (mask[:, :16] == 255).all() and mask[30, 20] == 0


def test_settings_fit_any_other_picture() -> None:
    picture, mask = sample(30, 40)
    image, moved = explorer(flip_horizontal=True, crop=0.5).apply(picture, mask)
    assert image.shape == (3, 15, 20)
    assert (moved.numpy() == mask[:, ::-1][8:23, 10:30]).all()


@pytest.mark.parametrize("settings", [{"rotation": 17, "scale": 1.3}, {"rotation": 50, "flip_horizontal": True},
                                      {"shear": 20, "scale": 0.7, "crop": 0.8}], ids=str)
def test_invented_pixels_have_an_id_that_no_neighbour_has(settings: dict) -> None:
    widget = explorer(**settings)
    ids, invented = widget.interpolated()
    mask = F.horizontal_flip(widget.mask) if "flip_horizontal" in settings else widget.mask
    expected = np.zeros_like(invented)
    for value in np.unique(ids):
        # Bilinear weight of this id around each pixel, asked of torchvision: 0 if no neighbour has it.
        weight = F.affine((mask == value).float()[None], angle=settings.get("rotation", 0.0), translate=[0, 0],
                          scale=settings.get("scale", 1.0), shear=[settings.get("shear", 0.0), 0.0],
                          interpolation=InterpolationMode.BILINEAR, fill=float(value == 255))[0]
        weight = F.crop(weight, *widget._window(48, 64)).numpy()
        expected |= (ids == value) & (weight == 0)
    assert expected.sum() > 20
    assert (invented == expected).mean() > 0.999


def test_words_name_what_is_made_up() -> None:
    picture, mask = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 2
    widget = AugmentationExplorer(picture, mask, PETS, scale=2)
    # A quarter and three quarters of the way from 0 to 2 are 0.5 and 1.5: both round to an even id.
    assert widget.words() == "Bilinear invents nothing here."
    widget.scale = 3
    ids, invented = widget.interpolated()
    assert set(ids[invented]) == {1} and invented.sum() == 80
    assert widget.words() == ("Bilinear invents 80 pixels of 1 class that is not there: between background (0) and "
                              "dog (2) lies cat (1).")
    assert widget.words() in widget.summary() and "scale 3" in widget.summary()
    widget = AugmentationExplorer(picture, np.where(mask == 2, 255, 0), PETS, scale=3)
    assert "80 pixels of 2 ids that no class has" in widget.words() and "ignored (255)" in widget.words()


def test_a_mask_that_stays_is_wrong_by_a_known_share() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 2
    widget = AugmentationExplorer(np.zeros((40, 60, 3), np.uint8), mask, PETS, translate_x=0.1, picture_only=True)
    # 6 columns of padding, and 6 that are background now.
    assert widget.words().startswith("Only the picture moved: 20.0 % of the mask's pixels")


def test_the_first_look_teaches_and_reset_ends_it() -> None:
    widget = explorer()
    assert (widget.rotation, widget.scale) == (20, 1.1) and widget.interpolated()[1].any()
    assert explorer(hue=0.1).rotation == 0
    widget.blur, widget.flip_vertical = 2, True
    widget.reset()
    image, mask = widget.apply()
    assert torch.equal(image, widget.image) and torch.equal(mask, widget.mask)
    assert "nothing changed" in widget.summary()


def test_large_pictures_are_shrunk_and_masks_keep_their_ids() -> None:
    mask = np.zeros((600, 900), np.uint8)
    mask[:, 450:] = 20
    picture = np.zeros((600, 900, 3), np.uint8)
    picture[::2] = 200
    widget = AugmentationExplorer(picture, mask, VOC, rotation=10)
    _, height, width = widget.image.shape
    assert abs(height * width / MOST_PIXELS - 1) < 0.01 and width / height == pytest.approx(1.5, abs=0.01)
    assert widget.mask.unique().tolist() == [0, 20]
    assert widget.image.float().mean() == pytest.approx(100, abs=2)


@pytest.mark.parametrize("picture_only", [False, True])
def test_the_png_shows_the_three_panels(picture_only: bool) -> None:
    widget = explorer(rotation=20, scale=1.1, picture_only=picture_only)
    page = widget.picture()
    image, mask = widget.apply()
    factor = 3  # 64 pixels wide -> 192, with 6 between two panels
    colours = as_drawn(PETS).colourise(mask.numpy()).repeat(factor, 0).repeat(factor, 1)  # (144, 192, 3)
    top = next(y for y in range(page.shape[0] - 144) if (page[y: y + 144, 198: 390] == colours).all())
    panels = [page[top: top + 144: factor, i * 198: 192 + i * 198: factor] for i in range(3)]
    loud = (panels[2] == LOUD).all(-1)
    rest = (mask.numpy() == 0) | (mask.numpy() == 255)
    assert (panels[0][rest] == image.permute(1, 2, 0).numpy()[rest]).all(), "the background shows the picture"
    if picture_only:
        assert (loud == (explorer(rotation=20, scale=1.1).apply()[1].numpy() != mask.numpy())).all()
    else:
        assert (panels[0] == image.permute(1, 2, 0).numpy()).all()
        assert (loud == widget.interpolated()[1]).all() and loud.any()


def test_a_single_pixel_survives_every_setting() -> None:
    widget = AugmentationExplorer(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8), PETS, rotation=30,
                                  crop=0.1, blur=3, contrast=2, hue=0.2)
    image, mask = widget.apply()
    assert image.shape == (3, 1, 1) and mask.shape == (1, 1)


class Pairs:
    label_set = PETS

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        picture, mask = sample()
        return picture // (index + 1), mask


def test_a_dataset_gives_its_sample() -> None:
    widget = AugmentationExplorer.of(Pairs(), 1, hue=0.2)
    assert (widget.image.permute(1, 2, 0).numpy() == sample()[0] // 2).all() and widget.hue == 0.2
    with pytest.raises(ArgumentError, match="label_set"):
        AugmentationExplorer.of([sample()])
    with pytest.raises(ArgumentError, match="0 to 1"):
        AugmentationExplorer.of(Pairs(), 2)


@pytest.mark.parametrize(("image", "mask", "message"), [
    (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), r"picture's size \(4, 5\)"),
    (np.zeros((0, 5, 3), np.uint8), np.zeros((0, 5), np.uint8), "at least one pixel"),
    (np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), np.uint8), "uint8"),
    (np.zeros((4, 5, 3), np.uint8), np.full((4, 5), 3), "class id 3, without a colour"),
    (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5)), "integers")])
def test_pictures_and_masks_that_do_not_fit_are_refused(image: np.ndarray, mask: np.ndarray, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        AugmentationExplorer(image, mask, PETS)


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("rotation", 181, "-180 to 180"), ("scale", 0, "0.25 to 4"), ("hue", float("nan"), "-0.5 to 0.5"),
    ("blur", "much", "0 to 3"), ("blur", True, "a number"), ("flip_vertical", 1, "True or False"),
    ("seed", 0.5, "whole number")])
def test_settings_out_of_range_are_refused(name: str, value: object, expected: str) -> None:
    with pytest.raises(ArgumentError, match=rf"^{name}\b[\s\S]*{expected}"):
        explorer(**{name: value})
    widget = explorer()
    with pytest.raises(ArgumentError, match=expected):
        setattr(widget, name, value)


def test_an_unknown_setting_and_half_a_pair_are_refused() -> None:
    with pytest.raises(ArgumentError, match="rotatoin"):
        explorer(rotatoin=3)
    with pytest.raises(ArgumentError, match="both, or none"):
        explorer().apply(sample()[0])
