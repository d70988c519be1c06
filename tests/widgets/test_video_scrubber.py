from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seglab.errors import ArgumentError, DataError
from seglab.inference import Prediction
from seglab.labels import PETS, LabelSet
from seglab.metrics import confusion_matrix, scores
from seglab.models import Card
from seglab.samples import sample_frames, write_video_sample
from seglab.viz.palettes import colour_blind_safe
from seglab.widgets.video_scrubber import VideoScrubber

TWO = LabelSet("two", ("dark", "bright"), ((0, 0, 0), (255, 255, 255)))


class Brightness(nn.Module):
    card = Card(label_set=TWO)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(10.0))
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        grey = images.mean(1, keepdim=True)
        return {"out": torch.cat([torch.full_like(grey, 0.5), grey], 1) * self.weight}


def film(count=5, height=24, width=40) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames that grow brighter; a cat as many columns wide as the number of the frame times five."""
    frames = [np.full((height, width, 3), 40 * i, np.uint8) for i in range(count)]
    masks = [np.zeros((height, width), np.uint8) for _ in range(count)]
    for i, mask in enumerate(masks):
        mask[:, : 5 * i] = 1
    return frames, masks


def part(widget: VideoScrubber, name: str, number: int) -> bytes:
    start, end = np.frombuffer(widget.film["offsets"][name], "<u4")[number: number + 2]
    return getattr(widget, name)[start:end]


def numbers(data: bytes, widget: VideoScrubber) -> np.ndarray:
    return np.frombuffer(data, "<f4").reshape(widget.film["count"], len(widget.film["classes"]))


def test_frames_and_masks_travel_one_by_one():
    frames, masks = film()
    widget = VideoScrubber(frames, masks, PETS, truth=masks[::-1])
    assert widget.film["size"] == [40, 24] and widget.film["count"] == 5
    for number, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        picture = np.asarray(Image.open(io.BytesIO(part(widget, "jpegs", number))))
        assert np.abs(picture.astype(int) - frame).max() <= 3
        assert zlib.decompress(part(widget, "ids", number)) == mask.tobytes()
        assert zlib.decompress(part(widget, "truth_ids", number)) == masks[4 - number].tobytes()
    assert widget.nbytes == len(widget.jpegs) + len(widget.ids) + len(widget.truth_ids)


def test_shares_are_those_of_each_frame():
    frames, masks = film()
    masks[4][0] = 255
    widget = VideoScrubber(frames, masks, PETS)
    assert [one["name"] for one in widget.film["classes"]] == ["background", "cat", "ignored"]
    shares = numbers(widget.film["shares"]["prediction"], widget)
    assert shares[:4, 1] == pytest.approx(np.arange(4) / 8) and shares.sum(1) == pytest.approx(np.ones(5))
    assert widget.film["iou"] == b"" and not widget.film["truth"]


def test_iou_is_the_one_of_the_metrics():
    rng = np.random.default_rng(0)
    masks, truth = rng.integers(0, 3, (2, 3, 8, 9), np.uint8)
    truth[0, :2], truth[1][truth[1] == 2], masks[1][masks[1] == 2] = 255, 0, 0
    widget = VideoScrubber(np.zeros((3, 8, 9, 3), np.uint8), masks, PETS, truth=truth)
    expected = [scores(confusion_matrix(mask, true, PETS)) for mask, true in zip(masks, truth, strict=True)]
    assert numbers(widget.film["iou"], widget)[:, :3] == pytest.approx(
        np.array([one.iou for one in expected]), nan_ok=True)
    assert np.frombuffer(widget.film["accuracy"], "<f4") == pytest.approx([one.pixel_accuracy for one in expected])


def test_an_ignored_prediction_counts_as_wrong():
    truth = np.zeros((1, 2, 2), np.uint8)
    mask = np.array([[[0, 0], [0, 255]]], np.uint8)
    widget = VideoScrubber(np.zeros((1, 2, 2, 3), np.uint8), mask, PETS, truth=truth)
    assert numbers(widget.film["iou"], widget)[0, 0] == 0.75


@pytest.mark.parametrize("kind", ["tensors", "predictions", "generator"])
def test_every_kind_of_frame_gives_the_same_film(kind):
    frames, masks = film()
    plain = VideoScrubber(frames, masks, PETS)
    other = {"tensors": lambda: VideoScrubber(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2),
                                              torch.from_numpy(np.stack(masks)).long(), PETS),
             "predictions": lambda: VideoScrubber([Prediction(f, m, PETS, None, 0.1, 0.1)
                                                   for f, m in zip(frames, masks, strict=True)]),
             "generator": lambda: VideoScrubber(iter(frames), iter(masks), PETS)}[kind]()
    assert other.jpegs == plain.jpegs and other.ids == plain.ids and other.summary() == plain.summary()


@pytest.mark.parametrize("settings", [{}, {"safe_colours": True}, {"hidden": [1]}, {"hidden": [0, 1]},
                                      {"shown": "truth"}, {"shown": "errors"}])
def test_the_picture_shows_four_frames_as_set(settings):
    frames, masks = film(7)
    truth = [np.zeros_like(mask) for mask in masks]
    truth[6][:] = 255
    drawn = VideoScrubber(frames, masks, PETS, truth=truth, opacity=1.0, **settings).picture()
    assert drawn.shape[1] <= 900 and drawn.dtype == np.uint8
    left = [drawn[60, 3 + column * (160 + 6)].tolist() for column in range(4)]  # at a cat, but in the first frame
    cat, frame = colour_blind_safe(3, True)[1].tolist(), [[40 * i] * 3 for i in (0, 2, 4, 6)]
    expected = {"[1]": [[0, 0, 0], *frame[1:]], "[0, 1]": frame, "truth": frame,
                "errors": [[0, 114, 178], [230, 159, 0], [230, 159, 0], [235, 235, 235]]}
    assert left == expected.get(str(next(iter(settings.values()), "")), [frame[0], cat, cat, cat])


def test_the_picture_of_a_short_film_and_of_a_wide_one_fit():
    frames, masks = film(1)
    assert VideoScrubber(frames, masks, PETS).picture().shape[1] <= 900
    frames, masks = film(4, 4, 900)
    assert VideoScrubber(frames, masks, PETS).picture().shape[1] <= 900


def test_it_says_what_it_shows():
    frames, masks = zip(*sample_frames(3, size=(64, 96)), strict=True)
    widget = VideoScrubber(frames, masks, PETS, fps=2, truth=masks)
    assert repr(widget) == widget.label == "VideoScrubber(3 frames, 96×64, 1.5 s: background, cat, dog, with truth)"
    data, _ = widget._repr_mimebundle_()
    assert data["text/plain"] == widget.label and data["image/png"].startswith("iVBOR")


def test_a_video_is_read_and_segmented(tmp_path):
    video = write_video_sample(tmp_path / "in.webm", count=9, size=(96, 128), fps=10, progress=False)
    model = Brightness()
    widget = VideoScrubber.of(model, video, size=(64, 64), max_frames=4, step=2, every=3, batch_size=1, progress=False,
                              loop=False)
    assert widget.film["size"] == [64, 48] and widget.film["count"] == 4 and widget.film["fps"] == pytest.approx(5)
    assert model.seen == 2 and not widget.loop
    assert part(widget, "ids", 0) == part(widget, "ids", 2) != part(widget, "ids", 3)
    smooth = VideoScrubber.of(model, video, size=(64, 64), smoothing=0.99, progress=False)
    assert smooth.film["count"] == 9
    first, last = (np.frombuffer(zlib.decompress(part(smooth, "ids", i)), np.uint8) for i in (0, 8))
    plain = VideoScrubber.of(model, video, size=(64, 64), progress=False)
    end = np.frombuffer(zlib.decompress(part(plain, "ids", 8)), np.uint8)
    assert (first != last).mean() < (first != end).mean(), "what came before stays"


@pytest.mark.parametrize(("change", "message"), [
    ({"frames": []}, "frames"), ({"masks": 4}, "5, one a frame"), ({"truth": 3}, "3 masks"), ({"fps": 0}, "fps"),
    ({"fps": float("nan")}, "fps"), ({"masks": None}, "only Predictions"), ({"label_set": None}, "label set"),
    ({"max_bytes": 1000}, "max_bytes"), ({"frame": 5}, "0 to 4"), ({"opacity": 2}, "opacity"),
    ({"hidden": [3]}, "id 3"), ({"shown": "truth"}, "no true masks"), ({"chart": "iou"}, "no true masks"),
    ({"shown": "all"}, "'all'"),
    ({"speed": 3.0}, "0.25, 0.5"), ({"volume": 1}, "argument volume")])
def test_bad_arguments_say_what_to_do(change, message):
    frames, masks = film()
    given = {"frames": frames, "masks": masks, "label_set": PETS, **change}
    for name in ("masks", "truth"):
        if isinstance(given.get(name), int):
            given[name] = masks[: given[name]]
    with pytest.raises(ArgumentError, match=message):
        VideoScrubber(**given)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("frames", np.zeros((24, 41, 3), np.uint8), "frame 3.*41×24.*40×24"),
    ("frames", np.zeros((24, 40, 3), np.float32), "frame 3.*float32"),
    ("frames", np.zeros((24, 40), np.uint8), "frame 3"),
    ("masks", np.zeros((24, 41), np.uint8), "frame 3"),
    ("masks", np.full((24, 40), 7, np.uint8), "frame 3.*class id 7"),
    ("truth", np.full((24, 40), 7, np.uint8), "frame 3, truth")])
def test_a_bad_frame_is_named(name, value, message):
    frames, masks = film()
    given = {"frames": frames, "masks": masks, "truth": list(masks)}
    given[name][3] = value
    with pytest.raises(ArgumentError, match=f"(?s){message}"):
        VideoScrubber(label_set=PETS, **given)


@pytest.mark.parametrize("change", [{"max_frames": 0}, {"step": 0}, {"every": 0}, {"batch_size": 0}, {"smoothing": 1}])
def test_bad_numbers_for_a_video(tmp_path, change):
    with pytest.raises(ArgumentError, match=next(iter(change))):
        VideoScrubber.of(Brightness(), tmp_path / "none.webm", **change)


def test_no_video(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        VideoScrubber.of(Brightness(), tmp_path / "none.webm")
