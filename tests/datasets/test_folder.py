from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from seglab.datasets import CamVid, SegmentationFolder, SemanticDrone, choose_split, pair_files
from seglab.datasets.io import fitted_size, read_image, read_mask
from seglab.errors import ArgumentError, DataError
from seglab.labels import CAMVID, DRONE
from seglab.samples import write_drone_sample
from tests.conftest import COLOURS, write_pair

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
MASK = RNG.integers(0, 3, (20, 30), dtype=np.uint8)


def one(root: Path, **options) -> SegmentationFolder:
    return SegmentationFolder(pair_files(root / "images", root / "masks"), COLOURS, **options)


def test_items_are_uint8_tv_tensors(drone_train):
    image, mask = drone_train[0]
    assert isinstance(image, tv_tensors.Image)
    assert isinstance(mask, tv_tensors.Mask)
    assert image.shape == (3, 48, 72)
    assert mask.shape == (48, 72)
    assert image.dtype == mask.dtype == torch.uint8


def test_joint_transforms_move_both(tmp_path):
    write_pair(tmp_path, "a", Image.fromarray(np.repeat(MASK[..., None] * 80, 3, axis=2)), MASK)
    data = one(tmp_path, transforms=v2.Compose([v2.RandomHorizontalFlip(1.0), v2.RandomCrop((10, 10))]))
    torch.manual_seed(0)
    image, mask = data[0]
    assert torch.equal(image[0], mask * 80)
    assert not torch.equal(mask, torch.from_numpy(MASK[:10, :10]))


def test_both_drone_layouts_give_the_same(tmp_path):
    settings = {"count": 5, "size": (32, 48), "progress": False}
    ids = SemanticDrone(write_drone_sample(tmp_path / "a", layout="ids", **settings), split="all")
    colours = SemanticDrone(write_drone_sample(tmp_path / "b", layout="colours", **settings), split="all")
    assert (ids.encoding, colours.encoding) == ("ids", "colours")
    for (image, mask), (image2, mask2) in zip(ids, colours, strict=True):
        assert torch.equal(image, image2)
        assert torch.equal(mask, mask2)


def test_drone_is_found_below_the_root(tmp_path, drone_root):
    deep = tmp_path / "archive" / "dataset" / "semantic_drone_dataset"
    deep.parent.mkdir(parents=True)
    deep.symlink_to(drone_root)
    assert len(SemanticDrone(tmp_path, split="all")) == 12


def test_another_class_table_is_refused(tmp_path):
    root = write_drone_sample(tmp_path / "a", count=3, size=(32, 48), progress=False)
    table = next(root.glob("class_dict*.csv"))
    table.write_text(table.read_text().replace("paved-area", "asphalt"))
    with pytest.raises(DataError, match="asphalt.*paved-area"):
        SemanticDrone(root)


def test_conflicting_is_ignored(tmp_path):
    root = write_drone_sample(tmp_path / "a", count=3, size=(32, 48), progress=False)
    path = sorted((root / "label_images_semantic").glob("*.png"))[0]
    mask = np.array(Image.open(path))
    mask[:4] = 23
    Image.fromarray(mask).save(path)
    assert (SemanticDrone(root, split="all")[0][1][:4] == 255).all()


def test_splits_are_disjoint_complete_and_the_same_everywhere(drone_root):
    splits = {s: SemanticDrone(drone_root, split=s).names for s in ("train", "val", "test", "all")}
    assert [len(splits[s]) for s in ("train", "val", "test")] == [9, 1, 2]
    assert sorted(splits["train"] + splits["val"] + splits["test"]) == splits["all"]
    # Written down, so that a change of the rule on any machine shows.
    pairs = [(Path(f"{i:03d}.jpg"), Path(f"{i:03d}.png")) for i in range(10)]
    assert [p[0].stem for p in choose_split(pairs, "test")] == TEST_OF_TEN
    assert choose_split(pairs[::-1], "test") == choose_split(pairs, "test")
    assert choose_split(pairs, "test", seed=1) != choose_split(pairs, "test")


TEST_OF_TEN = ["000", "002"]


def test_split_arguments():
    pairs = [(Path("a"), Path("a"))] * 5
    with pytest.raises(ArgumentError, match="'dev'"):
        choose_split(pairs, "dev")
    with pytest.raises(ArgumentError, match="add up"):
        choose_split(pairs, "train", fractions=(0.5, 0.1, 0.1))
    with pytest.raises(DataError, match="2 pictures"):
        choose_split(pairs[:2], "train")


def test_camvid_void_is_never_scored(tmp_path):
    for split, count in (("train", 20), ("val", 3)):
        for i in range(count):
            for folder, array in ((split, PICTURE), (f"{split}annot", np.where(MASK == 2, 11, MASK).astype(np.uint8))):
                (tmp_path / folder).mkdir(exist_ok=True)
                Image.fromarray(array).save(tmp_path / folder / f"{split}{i:02d}.png")
    splits = {s: CamVid(tmp_path, split=s) for s in ("train", "val", "test")}
    assert [len(d) for d in splits.values()] == [18, 2, 3]
    assert not set(splits["train"].names) & set(splits["val"].names)
    assert splits["test"].names == ["val00", "val01", "val02"]
    mask = splits["train"][0][1].numpy()
    assert splits["train"].label_set is CAMVID
    assert np.array_equal(mask == 255, MASK == 2)
    assert mask[mask != 255].max() < 11


@pytest.mark.parametrize(("images", "masks", "ending"), [
    ("train", "train_labels", "_L"), ("train/images", "train/masks", ""), ("images/train", "masks/train", "_mask")])
def test_common_layouts_with_a_class_table(tmp_path, images, masks, ending):
    for split in ("train", "val"):
        for folder, end, array in ((images, "", PICTURE), (masks, ending, COLOURS.colourise(MASK))):
            place = tmp_path / folder.replace("train", split)
            place.mkdir(parents=True, exist_ok=True)
            for name in "abc":
                Image.fromarray(array).save(place / f"{name}{end}.png")
    with pytest.raises(DataError, match=r"class_dict\.csv"):
        SegmentationFolder.from_root(tmp_path, "train")
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nred,255,0,0\ngreen,0,255,0\nblue,0,0,255\n")
    data = SegmentationFolder.from_root(tmp_path, "train")
    assert data.label_set.classes == COLOURS.classes
    assert np.array_equal(data[0][1].numpy(), MASK)


# ------------------------------------------------------------------------------------------------ kinds of pictures

def test_every_kind_of_picture_becomes_rgb(tmp_path):
    rgb = Image.fromarray(PICTURE)
    wide = (np.asarray(rgb.convert("L")).astype(np.uint16)) * 257
    kinds = {"gray.png": rgb.convert("L"), "wide.png": Image.fromarray(wide), "cmyk.jpg": rgb.convert("CMYK"),
             "rgba.png": rgb.convert("RGBA"), "palette.png": rgb.quantize(64), "la.png": rgb.convert("LA"),
             "one.png": rgb.convert("1")}
    for name, image in kinds.items():
        image.save(tmp_path / name)
        found = read_image(tmp_path / name)
        assert found.shape == (20, 30, 3), name
        assert found.dtype == np.uint8, name
    gray = np.asarray(rgb.convert("L"))
    for name in ("gray.png", "wide.png", "la.png"):
        assert np.array_equal(read_image(tmp_path / name), np.repeat(gray[..., None], 3, axis=2)), name
    assert np.array_equal(read_image(tmp_path / "rgba.png"), PICTURE)


def test_transparency_is_laid_on_black(tmp_path):
    rgba = np.dstack([PICTURE, np.zeros((20, 30), np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").max() == 0


def test_masks_of_every_kind(tmp_path):
    gray, palette = Image.fromarray(MASK), Image.fromarray(MASK)
    palette.putpalette(COLOURS.palette.tobytes())
    kinds = {"l.png": gray, "p.png": palette, "rgb.png": Image.merge("RGB", [gray] * 3),
             "wide.png": Image.fromarray(MASK.astype(np.uint16)), "int.tif": Image.fromarray(MASK.astype(np.int32))}
    for name, image in kinds.items():
        image.save(tmp_path / name)
        assert np.array_equal(read_mask(tmp_path / name, COLOURS), MASK), name
    # A palette file may also be meant by its colours, in another order than the ids.
    assert np.array_equal(read_mask(tmp_path / "p.png", COLOURS, encoding="colours"), MASK)


def test_a_black_and_white_mask_is_zero_and_one(tmp_path):
    Image.fromarray(MASK > 0).save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png", COLOURS), MASK > 0)


def test_scaling_down_keeps_the_aspect_and_invents_no_class(tmp_path):
    mask = np.zeros((400, 600), np.uint8)
    mask[:, 300:] = 2
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert fitted_size((400, 600), (100, 100)) == (67, 100)
    small = read_mask(tmp_path / "m.png", COLOURS, fit=(100, 100))
    assert small.shape == (67, 100)
    assert set(np.unique(small)) == {0, 2}
    assert (small == 2).mean() == 0.5


@pytest.mark.parametrize("kind", ["ids", "palette", "three equal channels", "16 bits", "colours"])
@pytest.mark.parametrize("pair", [(0, 22), (0, 2), (3, 255), (0, 15)])
def test_a_mask_scaled_down_holds_the_nearest_ids_only(tmp_path, kind, pair):
    """Between 0 and 22 lie ids that exist; between 0 and 2, a mean would be rounded back."""
    mask = np.random.default_rng(0).choice(np.array(pair, np.uint8), (60, 90))
    stored = Image.fromarray(mask)
    if kind == "palette":
        stored.putpalette(range(255))
        assert stored.mode == "P"
    elif kind == "three equal channels":
        stored = stored.convert("RGB")
    elif kind == "16 bits":
        stored = Image.fromarray(mask.astype(np.uint16))
    elif kind == "colours":
        stored = Image.fromarray(DRONE.colourise(mask))
    stored.save(tmp_path / "m.png")
    found = read_mask(tmp_path / "m.png", DRONE, encoding="colours" if kind == "colours" else "ids", fit=(20, 30))
    assert np.array_equal(found, mask[1::3, 1::3])  # the middle of each 3×3


def test_reduced_jpeg_decoding_is_close_to_the_full_one(tmp_path):
    y, x = np.mgrid[:800, :1200]
    smooth = np.stack([x / 1200 * 255, y / 800 * 255, 128 + 90 * np.sin(x / 60)], axis=2).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    full = Image.open(tmp_path / "a.jpg").resize((120, 80), Image.Resampling.BICUBIC)
    difference = np.abs(read_image(tmp_path / "a.jpg", fit=(80, 120)).astype(int) - np.asarray(full))
    assert difference.mean() < 1
    assert difference.max() < 8


# ------------------------------------------------------------------------------------------------------- bad input

def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        SemanticDrone(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"original_images/ \+ label_images_semantic/"):
        SemanticDrone(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        SegmentationFolder.from_root(tmp_path, "train", COLOURS)
    with pytest.raises(DataError, match="layout"):
        SegmentationFolder.from_root(tmp_path / "images", "train", COLOURS)


def test_pictures_without_mask_are_counted_and_named(tmp_path):
    for name in "abc":
        write_pair(tmp_path, name, Image.fromarray(PICTURE), MASK)
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3: b\.png"):
        one(tmp_path)


def test_masks_without_picture_are_left_out_with_a_warning(tmp_path):
    for name in "abc":
        write_pair(tmp_path, name, Image.fromarray(PICTURE), MASK)
    (tmp_path / "images" / "b.png").unlink()
    with pytest.warns(UserWarning, match="1 masks have no picture"):
        assert one(tmp_path).names == ["a", "c"]


def test_two_files_of_one_name(tmp_path):
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), MASK)
    Image.fromarray(PICTURE).save(tmp_path / "images" / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png"):
        one(tmp_path)


def test_mask_of_another_size(tmp_path):
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), MASK.T)
    with pytest.raises(DataError, match=r"a\.png.*\n.*20×30.*\n.*30×20"):
        one(tmp_path)[0]


def test_class_id_outside_the_label_set(tmp_path):
    bad = MASK.copy()
    bad[0, 0], bad[0, 1] = 7, 9
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), bad)
    with pytest.raises(DataError, match=r"a\.png.*\n.*ids 7, 9.*\n.*0 to 2"):
        one(tmp_path)[0]
    assert one(tmp_path, ignore_ids=(7, 9))[0][1][0, :2].tolist() == [255, 255]


def test_wide_ids_do_not_wrap_around(tmp_path):
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), MASK.astype(np.uint16) + 256)
    with pytest.raises(DataError, match="ids 256, 257, 258"):
        one(tmp_path)[0]


def test_colours_where_ids_were_promised(tmp_path):
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), COLOURS.colourise(MASK))
    assert one(tmp_path).encoding == "colours"
    with pytest.raises(DataError, match="channels that differ"):
        one(tmp_path, encoding="ids")[0]


def test_colour_outside_the_palette(tmp_path):
    rgb = COLOURS.colourise(MASK).copy()
    rgb[3, 4] = (9, 9, 9)
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), rgb)
    with pytest.raises(DataError, match=r"a\.png.*\n.*\(9, 9, 9\)"):
        one(tmp_path)[0]


def test_truncated_and_foreign_files(tmp_path):
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), MASK)
    path = tmp_path / "images" / "a.png"
    path.unlink()
    Image.fromarray(PICTURE).resize((300, 200)).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    cut = tmp_path / "images" / "a.jpg"
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a\.jpg.*cannot be decoded"):
        read_image(cut)
    cut.write_bytes(b"this is no picture")
    with pytest.raises(DataError, match=r"a\.jpg.*cannot be decoded(.|\n)*18 bytes"):
        one(tmp_path)[0]
    with pytest.raises(DataError, match="nothing there"):
        read_image(tmp_path / "gone.jpg")


def test_encoding_and_split_arguments(tmp_path):
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), MASK)
    with pytest.raises(ArgumentError, match="'rgb'"):
        one(tmp_path, encoding="rgb")
    with pytest.raises(DataError, match="no pictures"):
        SegmentationFolder([], DRONE)


def test_a_box_larger_than_the_picture_enlarges_nothing(tmp_path):
    assert [fitted_size((20, 30), box) for box in ((40, 60), (20, 300), (10, 300))] == [(20, 30), (20, 30), (10, 15)]
    write_pair(tmp_path, "a", Image.fromarray(PICTURE), MASK)
    image, mask = one(tmp_path, fit=(40, 60))[0]
    assert image.shape == (3, 20, 30) and torch.equal(mask, torch.from_numpy(MASK))
