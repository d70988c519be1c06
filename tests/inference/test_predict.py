from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seglab.errors import ArgumentError, CheckpointError, DataError
from seglab.inference import Prediction, as_image, predict, predict_folder
from seglab.inference.segmenter import Segmenter
from seglab.inference.tiles import edge_weights, tile_starts, tiled
from seglab.labels import PETS, LabelSet
from seglab.models import Card, build

RGB = LabelSet("rgb", ("red", "green", "blue"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


class Colours(nn.Module):
    """Class = the strongest channel, with enough weight to be sure. It keeps count of what it is called with."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(20.0))
        self.card = Card(label_set=RGB)
        self.sizes = []

    def forward(self, images):
        assert not self.training
        self.sizes.append(tuple(images.shape))
        return {"out": images * self.weight}


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (37, 53, 3), dtype=np.uint8)


def test_every_kind_of_picture_gives_the_same(picture, tmp_path):
    Image.fromarray(picture).save(tmp_path / "a.png")
    chw = picture.transpose(2, 0, 1)
    kinds = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(picture), picture, torch.from_numpy(picture),
             torch.from_numpy(chw.copy()), chw, chw / 255, torch.from_numpy(chw / 255).float(),
             Image.fromarray(picture).convert("RGBA"), np.dstack([picture, np.full((37, 53), 255, np.uint8)])]
    model = Colours().train()
    for kind in kinds:
        found = predict(model, kind)
        assert isinstance(found, Prediction)
        np.testing.assert_array_equal(found.image, picture)
        np.testing.assert_array_equal(found.mask, picture.argmax(2))
        assert found.mask.dtype == np.uint8 and 0 < found.forward_seconds <= found.seconds
    assert model.training  # as it was
    many = predict(model, kinds[:4])
    assert len(many) == 4 and all((one.mask == many[0].mask).all() for one in many)
    assert len(predict(model, torch.from_numpy(np.stack([chw, chw])))) == 2


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"flip": True}, {"tile": 64}])
def test_prediction_neither_drops_out_nor_learns_statistics(picture, options, training):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Conv2d(8, 3, 1)).train(training)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
        expected = copy.deepcopy(model).eval()(pixels).softmax(1)[0].numpy()
    found = predict(model, picture, label_set=RGB, probabilities=True, **options).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training == training for module in model.modules())


def test_grey_pictures_and_single_pixels():
    assert as_image(np.full((4, 6), 7, np.uint8)).shape == (4, 6, 3)
    assert as_image(Image.fromarray(np.full((4, 6), 7, np.uint8))).shape == (4, 6, 3)
    assert as_image(torch.zeros(1, 4, 6)).shape == (4, 6, 3)
    assert predict(Colours(), np.array([[[0, 9, 0]]], np.uint8)).mask.tolist() == [[1]]
    skip = build("fcn_skip", 3, channels=8, min_size=32)
    assert predict(skip, np.zeros((1, 1, 3), np.uint8)).mask.shape == (1, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_obeyed(picture, tmp_path, orientation):
    upright = Image.fromarray(picture)
    undo = {2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
            5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE],
            8: [Image.Transpose.ROTATE_270]}
    stored = upright
    for step in undo.get(orientation, []):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(as_image(tmp_path / "a.png"), picture)
    np.testing.assert_array_equal(as_image(Image.open(tmp_path / "a.png")), picture)


@pytest.mark.parametrize(("bad", "message"), [
    (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)"), (np.zeros((4, 5, 2), np.uint8), r"\(4, 5, 2\)"),
    (np.zeros((5, 4, 4, 2), np.uint8)[0], "shape"), (np.zeros((4, 5, 3), np.int64), "int64"),
    (np.full((4, 5, 3), 200.0), "Divide by 255"), (np.full((4, 5, 3), np.nan), "nan"),
    (np.full((4, 5, 3), -1.0), "not normalise"), (3, "int"), (None, "NoneType")])
def test_what_is_no_picture_is_named(bad, message):
    with pytest.raises(ArgumentError, match=message):
        predict(Colours(), bad)


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"not a picture")
    for name in ("a.jpg", "missing.jpg"):
        with pytest.raises(DataError, match=name):
            predict(Colours(), tmp_path / name)


def test_probabilities_confidence_and_shares(picture):
    found = predict(Colours(), picture, probabilities=True)
    assert found.probabilities.shape == (3, 37, 53) and found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities.sum(0), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.probabilities.argmax(0), found.mask)
    np.testing.assert_array_equal(found.confidence, found.probabilities.max(0))
    assert sum(found.shares().values()) == pytest.approx(1)
    with pytest.raises(ArgumentError, match="probabilities=True"):
        _ = predict(Colours(), picture).confidence


def test_flip_and_scales_average_probabilities(picture):
    torch.manual_seed(0)
    model = build("single_conv", 3).eval()
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        straight = model(pixels)["out"].softmax(1)
        mirrored = model(pixels.flip(-1))["out"].flip(-1).softmax(1)
    found = predict(model, picture, flip=True, probabilities=True).probabilities
    np.testing.assert_allclose(found, ((straight + mirrored) / 2)[0].numpy(), atol=1e-6)
    colours = Colours()
    predict(colours, picture, scales=(0.5, 1.0, 2.0), flip=True)
    assert [s[2:] for s in colours.sizes] == [(18, 26)] * 2 + [(37, 53)] * 2 + [(74, 106)] * 2


@pytest.mark.parametrize("turn", [lambda a: a, lambda a: a.swapaxes(0, 1)])
def test_a_picture_of_one_column_is_scaled_as_one_of_one_row(turn):
    """PyTorch's antialiasing gives a column the values of its first pixel."""
    line = np.zeros((16, 1, 3), np.uint8)
    line[:8, :, 0] = line[8:, :, 2] = 255  # red above, blue below
    found = predict(Colours(), turn(line), scales=(0.5,)).mask
    assert np.array_equal(found, turn(np.repeat([0, 2], 8)[:, None]))


def test_short_side_scales_down_only(picture):
    model = Colours()
    model.card.short_side = 20
    assert predict(model, picture).mask.shape == (37, 53)
    predict(model, picture, short_side=None)
    predict(model, picture, short_side=99)
    assert [s[2:] for s in model.sizes] == [(20, 29), (37, 53), (37, 53)]


def test_a_zoom_scales_what_the_network_sees_and_the_scores_back(picture):
    model = Colours()
    model.card.short_side, model.card.zoom = 20, 1.5
    assert predict(model, picture).mask.shape == (37, 53)
    predict(model, picture, short_side=None)
    predict(model, picture, scales=(2.0,))
    assert [s[2:] for s in model.sizes] == [(30, 44), (56, 80), (60, 88)]
    seen = Segmenter(model).inside(np.array(picture)[None])
    assert seen.shape == (1, 30, 44, 3), "what the pixel probe shows"


def test_nan_scores_and_wrong_label_sets_are_errors(picture):
    broken = Colours()
    broken.weight.data.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="NaN"):
        predict(broken, picture)
    with pytest.raises(ArgumentError, match="21 classes|3, as"):
        predict(Colours(), picture, label_set=LabelSet("two", ("a", "b"), ((0, 0, 0), (1, 1, 1))))
    unnamed = Colours()
    unnamed.card.label_set = None
    assert predict(unnamed, picture).label_set.classes == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("options", [{"tile": 100}, {"tile": 32}, {"tile": 128, "overlap": 96},
                                     {"tile": 128, "overlap": 20}, {"scales": ()}, {"scales": (0,)},
                                     {"short_side": 0}, {"short_side": "big"}])
def test_arguments_out_of_range(picture, options):
    with pytest.raises(ArgumentError):
        predict(Colours(), picture, **options)


def test_a_huge_picture_asks_to_be_tiled():
    with pytest.raises(ArgumentError, match="tile=1024"):
        predict(Colours(), np.zeros((4000, 3000, 3), np.uint8))


@pytest.mark.parametrize("overlap", [0, 32, 64])
@pytest.mark.parametrize("length", [1, 31, 128, 129, 160, 161, 300, 1000])
def test_weights_of_tiles_sum_to_one(length, overlap):
    total = torch.zeros(length)
    for start in tile_starts(length, 128, overlap):
        stop = min(start + 128, length)
        assert stop - start > 0
        total[start:stop] += edge_weights(start, stop, length, overlap)
    torch.testing.assert_close(total, torch.ones(length))


@pytest.mark.parametrize("overlap", [32, 64])
@pytest.mark.parametrize("length", [129, 160, 161, 300, 1000])
def test_the_rim_of_a_tile_does_not_count(length, overlap):
    """In the outer quarter of an overlap the other tile counts alone; at the picture's border there is no other."""
    rim = overlap // 4
    for start in tile_starts(length, 128, overlap):
        stop = min(start + 128, length)
        weights = edge_weights(start, stop, length, overlap)
        assert (weights[:rim] == (0 if start > 0 else 1)).all()
        assert (weights[-rim:] == (0 if stop < length else 1)).all()
        assert (weights[rim:-rim] > 0).all()


@pytest.mark.parametrize(("height", "width"), [(96, 160), (200, 64), (131, 230)])
def test_what_disturbs_the_rim_of_tiles_is_not_seen(height, width):
    places = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([*places, places[0]]).to(torch.uint8)  # a tile can tell where it lies

    def disturbed(part):
        scores, rim = part.float(), 8  # a quarter of the overlap
        top, left = part[0, :2, 0, 0].tolist()
        scores[:, :, :rim if top > 0 else 0] = -1000
        scores[:, :, part.shape[2] - (rim if top + part.shape[2] < height else 0):] = -1000
        scores[..., :rim if left > 0 else 0] = -1000
        scores[..., part.shape[3] - (rim if left + part.shape[3] < width else 0):] = -1000
        return scores

    for top, band in tiled(disturbed, image, 64, 32):
        torch.testing.assert_close(band, image[:, top:top + band.shape[1]].float())


@pytest.mark.parametrize("size", [(37, 53), (200, 70), (131, 300), (256, 256)])
def test_tiles_of_a_pixelwise_model_equal_the_whole(size):
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    whole = predict(Colours(), picture, probabilities=True)
    cut = predict(Colours(), picture, probabilities=True, tile=64)
    np.testing.assert_allclose(cut.probabilities, whole.probabilities, atol=1e-5)
    np.testing.assert_array_equal(cut.mask, whole.mask)


@pytest.mark.slow
def test_tiles_of_a_network_equal_the_whole_where_the_overlap_covers_what_it_sees():
    """A real network: seams below 1e-3 in probability, anywhere, with tiles of 512 and the default overlap doubled."""
    model = build("fcn", weights="bundled")
    from seglab.samples import draw_aerial

    picture, _ = draw_aerial(3, 0, (600, 800))
    whole = predict(model, picture, probabilities=True, short_side=None)
    cut = predict(model, picture, probabilities=True, short_side=None, tile=512, overlap=256)
    difference = np.abs(cut.probabilities - whole.probabilities)
    assert difference.mean() < 2e-3
    assert (cut.mask == whole.mask).mean() > 0.998


def test_tiles_hold_one_row_in_memory():
    """However high the picture, what is kept is one row of tiles."""
    image = torch.zeros((3, 2000, 100), dtype=torch.uint8)
    bands = [(top, band.shape) for top, band in tiled(lambda part: part[:, :2].float(), image, 64, 0)]
    assert len(bands) == 32 and all(shape[1] <= 64 for _, shape in bands)
    assert sum(shape[1] for _, shape in bands) == 2000


def test_tiles_after_scaling_down(picture):
    model = Colours()
    large = np.kron(picture, np.ones((8, 8, 1), np.uint8))
    found = predict(model, large, short_side=100, tile=64, probabilities=True)
    assert found.mask.shape == large.shape[:2] and found.probabilities.shape == (3, *large.shape[:2])


def test_saved_masks_and_overlays(picture, tmp_path):
    found = predict(Colours(), picture)
    found.save_mask(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), found.mask)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), RGB.colourise(found.mask))
    found.save_overlay(tmp_path / "o.png")
    with Image.open(tmp_path / "o.png") as image:
        assert image.width == 53 and image.height > 37  # the legend is below
    assert found.overlay(legend=False).shape == (37, 53, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.png", "o.png"]


def test_a_mask_is_stored_in_the_published_colours_and_drawn_in_others(picture, tmp_path):
    found = Prediction(picture, (picture[..., 0] > 99).astype(np.uint8) * 2, PETS, None, 0.1, 0.1)
    found.save_mask(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as image:
        assert np.asarray(image.convert("RGB"))[found.mask == 2].max(0).tolist() == [64, 0, 128]
    drawn = found.overlay(alpha=1)
    dog, legend = drawn[:37][found.mask == 2], drawn[37:].reshape(-1, 3)
    assert (dog == dog[0]).all() and (legend == dog[0]).all(1).sum() > 20
    np.testing.assert_array_equal(drawn[:37][found.mask == 0], picture[found.mask == 0])
    assert not (legend == 0).all(1).sum() > 60, "the background is not painted, so the legend has no black square"
    nothing = Prediction(picture, np.zeros((37, 53), np.uint8), PETS, None, 0.1, 0.1)
    np.testing.assert_array_equal(nothing.overlay(), picture)


def test_a_folder_streams_and_reports_what_cannot_be_decoded(picture, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "a.jpg", "sub/b.png"):
        Image.fromarray(picture).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no")
    (folder / "notes.txt").write_text("no picture")
    found = dict(predict_folder(Colours(), folder, out, progress=False))
    assert {p.name: type(v).__name__ for p, v in found.items()} == {
        "a.png": "Prediction", "a.jpg": "Prediction", "b.png": "Prediction", "broken.jpg": "DataError"}
    written = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*"))
    assert written == ["a.jpg.png", "a.jpg_overlay.jpg", "a.png.png", "a.png_overlay.jpg", "sub/b.png",
                       "sub/b_overlay.jpg"]
    with pytest.raises(ArgumentError, match="there already"):
        list(predict_folder(Colours(), folder, out, progress=False))
    assert len(list(predict_folder(Colours(), folder, out, overwrite=True, progress=False))) == 4
    with pytest.raises(DataError, match="nowhere"):
        list(predict_folder(Colours(), tmp_path / "nowhere", progress=False))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        list(predict_folder(Colours(), tmp_path / "empty", progress=False))


def test_the_bundled_network_finds_the_cat_at_many_sizes():
    from skimage.data import chelsea

    model = build("fcn", weights="bundled")
    photo = Image.fromarray(chelsea())
    for width in (128, 451, 1920):
        sized = photo.resize((width, width * 300 // 451))
        shares = predict(model, sized).shares()
        assert shares.get("cat", 0) > 0.6 and shares.get("dog", 0) < 0.05, (width, shares)
    assert predict(model, chelsea()).label_set == PETS


def test_classes_of_a_large_picture_are_found_plane_by_plane(monkeypatch):
    """The same, without the scores of all classes at its size."""
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    model = build("fcn", weights="bundled")
    model.card.short_side = 64
    expected = predict(model, image).mask
    monkeypatch.setattr("seglab.inference.segmenter.MAX_PIXELS", 9000)
    assert np.array_equal(predict(model, image).mask, expected)
