"""MaskViewer without a browser: what travels, what the picture shows, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib

import ipywidgets
import numpy as np
import pytest
import torch
from anywidget._util import remove_buffers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors

from seglab import widgets
from seglab.errors import ArgumentError
from seglab.inference import Prediction
from seglab.labels import DRONE, PETS, VOC, LabelSet
from seglab.viz import overlay
from seglab.viz.palettes import colour_blind_safe
from seglab.viz.sheets import sheet
from seglab.widgets import MaskViewer
from seglab.widgets.base import PictureWidget
from seglab.widgets.mask_viewer import viewer_content
from seglab.widgets.wire import check_mask, encode, pack
from tools.palette import choose, least_difference, simulate


def scene(height=30, width=40):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[5:20, 10:30], mask[0] = 1, 255
    return image, mask


def prediction(soft=True):
    image, mask = scene()
    scores = np.full((3, *mask.shape), 0.1, np.float32)
    scores[0] = 0.8
    return Prediction(image, np.zeros_like(mask), PETS, scores if soft else None, 0.1, 0.1)


def inflate(data: bytes, shape) -> np.ndarray:
    return np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape)


def test_masks_travel_once_as_bytes():
    image, mask = scene()
    viewer = MaskViewer(image, {"truth": mask, "prediction": 1 - np.minimum(mask, 1)}, PETS)
    state, _, buffers = remove_buffers(viewer.get_state())
    assert len(buffers) == 3, "the picture and two masks"
    assert inflate(viewer.content["masks"][0]["ids"], mask.shape).tolist() == mask.tolist()
    state.pop("_esm"), state.pop("_css")
    assert len(json.dumps(state)) < 3000, "no pixels in JSON"


def test_the_wire_is_about_as_small_as_png():
    """Deflated ids against the PNG of the same mask, for masks from easy to hopeless."""
    rng, (height, width) = np.random.default_rng(0), (427, 640)
    y, x = np.mgrid[:height, :width]
    coarse = np.kron(rng.integers(0, 21, (31, 46)), np.ones((14, 14)))[:height, :width]
    for mask in (np.zeros((height, width)), (np.hypot(x - 320, y - 200) < 150), (x // 9 + y // 7) % 21, coarse,
                 rng.integers(0, 21, (height, width)), x % 2):
        mask = mask.astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(mask).save(buffer, format="PNG", optimize=True)
        assert len(pack(mask)) <= 1.5 * len(buffer.getvalue())


@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_smooth_packing_is_exact(height, width, seed):
    values = np.random.default_rng(seed).integers(0, 256, (2, height, width), dtype=np.uint8)
    steps = inflate(pack(values, smooth=True), (-1, width))
    assert np.array_equal(np.cumsum(steps, axis=0, dtype=np.uint8).reshape(values.shape), values)


def test_what_the_package_gives_is_taken():
    image, mask = scene()
    both = MaskViewer(prediction(), {"truth": mask})
    assert repr(both) == "MaskViewer(40×30: prediction, truth)"
    assert both.mask == "prediction" and both.content["truth"] == "truth"
    sure = np.cumsum(inflate(both.content["masks"][0]["confidence"], mask.shape), axis=0, dtype=np.uint8)
    assert set(sure.ravel().tolist()) == {80}
    assert both.content["masks"][1]["confidence"] is None
    item = (tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)), tv_tensors.Mask(torch.from_numpy(mask)))
    of_dataset = MaskViewer(item, {"prediction": prediction(soft=False)})
    assert repr(of_dataset) == "MaskViewer(40×30: truth, prediction)"
    assert inflate(of_dataset.content["masks"][0]["ids"], mask.shape).tolist() == mask.tolist()
    assert viewer_content(image, {"prediction": mask}, PETS)["truth"] == ""
    assert MaskViewer(image).content["masks"] == []


def test_the_stored_picture_is_what_is_seen(tmp_path):
    image, mask = scene()
    viewer = MaskViewer(image, {"prediction": mask}, PETS, opacity=0.25)
    data, _ = viewer._repr_mimebundle_()
    assert data["text/plain"] == "MaskViewer(40×30: prediction)"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))))
    only_cat = np.where(mask == 1, 1, 255).astype(np.uint8)
    expected = sheet([overlay(image, only_cat, PETS, 0.25)], ["prediction"])
    assert np.array_equal(shown[: expected.shape[0]], expected)
    viewer.hidden, viewer.opacity = [1], 1.0
    assert viewer.picture()[30, 2:-2].max() == 0, "switched on, the background is painted"
    viewer.hidden, viewer.opacity = [0], 0.25
    viewer.save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), shown)
    with pytest.raises(ArgumentError, match=r"\.png"):
        viewer.save(tmp_path / "a.jpg")
    with_truth = MaskViewer(image, {"truth": mask, "prediction": np.ones_like(mask)}, PETS).picture()
    for colour in ((0, 114, 178), (230, 159, 0)):
        assert (with_truth == colour).all(axis=2).sum() > 500, "errors stand in the picture too"


def test_the_background_is_switched_off_at_first_and_colours_are_those_of_the_overlay():
    image, mask = scene()
    viewer = MaskViewer(image, {"a": mask}, PETS)
    assert viewer.hidden == viewer.get_state()["hidden"] == [0] and MaskViewer(image, {"a": mask}, DRONE).hidden == []
    assert MaskViewer(image, {"a": mask}, PETS, hidden=[]).hidden == []
    whole = overlay(image, mask, PETS, alpha=1)
    entries = viewer.content["classes"]
    assert entries[1]["colour"] == whole[mask == 1][0].tolist()
    assert [one["name"] for one in entries if one["background"]] == ["background"]
    legend = viewer.picture()[-20:].reshape(-1, 3)
    assert (legend == entries[1]["colour"]).all(1).sum() > 20


def test_bad_input_is_named():
    image, mask = scene()
    other = LabelSet("one", ("a",), ((0, 0, 0),))
    for error, call in (
        (r"mask 'truth'(.|\n)*\(30, 40\)", lambda: MaskViewer(image, {"truth": mask[:, :9]}, PETS)),
        ("class id 1, without a colour", lambda: MaskViewer(image, {"truth": mask}, other)),
        ("at most 254", lambda: MaskViewer(image, {"truth": np.arange(1200).reshape(30, 40)}, VOC)),
        ("-1", lambda: MaskViewer(image, {"truth": mask.astype(int) - 1}, PETS)),
        ("argmax", lambda: MaskViewer(image, {"truth": mask / 2}, PETS)),
        ("0×0 pixels", lambda: MaskViewer(np.zeros((0, 0, 3), np.uint8))),
        ("uint8", lambda: MaskViewer(image / 255)),
        ("label_set", lambda: MaskViewer(image, {"truth": mask})),
        ("a dict of names", lambda: MaskViewer(image, mask, PETS)),
        ("opacity", lambda: MaskViewer(image, {"truth": mask}, PETS, opacity=2)),
        ("'guess'", lambda: MaskViewer(image, {"truth": mask}, PETS, compare="guess")),
        ("class id 7", lambda: MaskViewer(image, {"truth": mask}, PETS, hidden=[7])),
        ("alpha", lambda: MaskViewer(image, {"truth": mask}, PETS, alpha=0.3)),
        ("'guess'", lambda: MaskViewer(image, {"truth": mask}, PETS, truth="guess")),
        ("0 to 1", lambda: MaskViewer(image, {"a": mask}, PETS, confidence={"a": np.full(mask.shape, np.nan)})),
        ("name 'b'", lambda: MaskViewer(image, {"a": mask}, PETS, confidence={"b": np.ones(mask.shape)})),
        ("uint8", lambda: pack(np.zeros(3))),
    ):
        with pytest.raises(ArgumentError, match=error):
            call()
    viewer = MaskViewer(image, {"truth": mask}, PETS)
    with pytest.raises(ArgumentError, match="swipe"):
        viewer.swipe = -1
    assert viewer.swipe == 0.5, "a refused value changes nothing"
    with pytest.raises(TypeError, match="draws no picture"):
        PictureWidget().picture()


def test_another_picture_keeps_what_was_chosen_as_far_as_it_fits():
    picture, mask = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
    viewer = MaskViewer(picture, {"truth": mask, "a": mask, "b": mask}, PETS, mask="b", compare="a", swipe=0.2,
                        hidden=[1], errors=True, safe_colours=True, opacity=0.3)
    viewer.show((np.ones((3, 30, 40), np.uint8), mask[:30, :40]), {"b": mask[:30, :40] + 2})
    assert repr(viewer) == viewer.label == "MaskViewer(40×30: truth, b)" and viewer.content["size"] == [40, 30]
    assert (viewer.mask, viewer.compare, viewer.swipe, viewer.hidden) == ("b", "", 0.2, [1])
    assert (viewer.errors, viewer.safe_colours, viewer.opacity) == (True, True, 0.3)
    assert viewer.picture().shape[1] < 760
    before = viewer.content
    with pytest.raises(ArgumentError, match="class id 3"):
        viewer.show(picture, {"b": mask + 3})
    assert viewer.content is before and repr(viewer) == viewer.label, "a picture that is refused changes nothing"
    viewer.show(Prediction(picture, mask + 9, DRONE, None, 0.0, 0.0))
    assert (viewer.mask, viewer.hidden, viewer.opacity) == ("prediction", [], 0.3), "other classes begin anew"


def test_254_classes_have_their_colours():
    many = LabelSet("many", tuple(f"c{i}" for i in range(254)), tuple((i, 255 - i, i // 2) for i in range(254)))
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mask[mask == 254] = 255
    viewer = MaskViewer(np.zeros((16, 16, 3), np.uint8), {"all": mask}, many)
    assert len(viewer.content["classes"]) == 255
    assert check_mask(torch.from_numpy(mask), (16, 16), many).dtype == np.uint8


def test_pictures_are_encoded_whole():
    small = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(small)))), small)
    photo = np.tile(np.linspace(0, 255, 500, dtype=np.uint8)[None, :, None], (300, 1, 3))
    data = encode(photo)
    assert data[:2] == b"\xff\xd8"
    assert np.abs(np.asarray(Image.open(io.BytesIO(data))).astype(int) - photo).max() <= 3


def test_the_safe_palette_is_safe():
    for count in (2, 3, 8, 12, 21):
        for background in (False, True):
            colours = colour_blind_safe(count, background)
            assert colours.shape == (count, 3)
            assert least_difference(colours) > 10
    assert least_difference(colour_blind_safe(21, True)) > 5 * least_difference(VOC.palette[:21])
    grey = np.full((1, 3), 128, np.uint8)
    for vision in ("protanopia", "deuteranopia", "tritanopia"):
        assert np.abs(simulate(grey, vision).astype(int) - 128).max() <= 1, "grey is grey to everybody"
    for count in (0, 256):
        with pytest.raises(ArgumentError, match="count"):
            colour_blind_safe(count)
    assert np.array_equal(colour_blind_safe(255), choose(255)), "the table is what the program makes"


@pytest.mark.parametrize("name", widgets.__all__)
def test_browser_code_asks_nobody_for_anything(name):
    code = str(getattr(widgets, name)._esm).replace("http://www.w3.org/2000/svg", "")  # SVG's name, not an address
    assert not re.search(r"^import |import\(|https?:|innerHTML|\bfetch\(", code, re.MULTILINE)
    assert code.count("export default") == 1
    assert not re.search(r"@import|https?:|url\(", str(getattr(widgets, name)._css))


def test_a_widget_without_a_kernel_does_no_harm():
    """In a plain Python process there is no front end: state is kept, nothing is shown."""
    image, mask = scene()
    box = ipywidgets.VBox([MaskViewer(image, {"a": mask}, PETS)])
    box.children[0].opacity = 0.1
    assert box.children[0].opacity == 0.1
