from __future__ import annotations

import gc
import os
import re
import struct
import threading
import time

import av
import cv2
import numpy as np
import pytest
import torch
from torch import nn

from seglab.datasets.video import VIDEO_SUFFIXES, VideoReader, open_writer
from seglab.errors import ArgumentError, DataError, WriteError
from seglab.inference import predict_video
from seglab.inference.video import Flicker, VideoResult
from seglab.labels import LabelSet
from seglab.models import Card
from seglab.samples.video import sample_frames, write_video_sample
from tests.conftest import room

TWO = LabelSet("two", ("dark", "bright"), ((0, 0, 0), (255, 255, 255)))


class Brightness(nn.Module):
    card = Card(label_set=TWO)

    def __init__(self, delay: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(10.0))
        self.batches, self.delay = [], delay

    def forward(self, images):
        self.batches.append(len(images))
        time.sleep(self.delay)
        grey = images.mean(1, keepdim=True)
        return {"out": torch.cat([torch.full_like(grey, 0.5), grey], 1) * self.weight}


def write(path, frames, fps=10):
    frames = list(frames)
    with open_writer(path, fps, frames[0].shape[:2]) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def grey(*values, size=(48, 64)):
    return [np.full((*size, 3), value, np.uint8) for value in values]


@pytest.mark.parametrize("ending", [".webm", ".mp4", ".avi"])
def test_frames_come_back(tmp_path, ending):
    path = write(tmp_path / f"v{ending}", grey(0, 80, 160, 240))
    reader = VideoReader(path)
    frames = list(reader)
    assert reader.frames == 4 and reader.fps == pytest.approx(10) and reader.size == (48, 64)
    assert [round(float(f.mean()), -1) for f in frames] == [0, 80, 160, 240]


@pytest.mark.parametrize("ending", [".webm", ".mp4", ".avi"])
@pytest.mark.parametrize("fps", [5, 12.5, 30, 60])
def test_a_video_keeps_its_frames_per_second(tmp_path, ending, fps):
    path = write(tmp_path / f"in{ending}", grey(0, 255, 0), fps)
    assert VideoReader(path).fps == pytest.approx(fps)
    predict_video(Brightness(), path, tmp_path / f"out{ending}", progress=False)
    reader = cv2.VideoCapture(str(tmp_path / f"out{ending}"))
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(fps)
    reader.release()


def test_the_sample_video_has_the_frames_per_second_asked_for(tmp_path):
    for fps in (8, 24):
        path = write_video_sample(tmp_path / "v.webm", count=2, size=(64, 64), fps=fps, progress=False)
        assert VideoReader(path).fps == pytest.approx(fps)


def test_colours_keep_their_order(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 220
    (frame,) = VideoReader(write(tmp_path / "v.avi", [red]))
    assert frame[..., 0].mean() > 200 and frame[..., 2].mean() < 20


@pytest.mark.parametrize(("source", "out"), [(".webm", ".webm"), (".mp4", ".webm"), (".avi", ".mp4")])
def test_every_frame_is_predicted_and_written(tmp_path, source, out):
    values = [0, 255] * 5 + [0]
    path = write(tmp_path / f"in{source}", grey(*values))
    model = Brightness()
    result = predict_video(model, path, tmp_path / f"out{out}", batch_size=4, alpha=1.0, progress=False)
    assert (result.frames, result.predicted, result.missing, result.stopped) == (11, 11, 0, False)
    assert model.batches == [4, 4, 3]
    assert [int(f.mean() > 128) for f in VideoReader(tmp_path / f"out{out}")] == [int(v > 128) for v in values]
    assert result.fps > 0 and result.forward_fps >= result.fps
    assert result.flicker == 1.0  # every pixel, every frame


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_in_eval_mode_and_then_as_it_was(tmp_path, training):
    class Watched(Brightness):
        def forward(self, images):
            modes.append((self.training, torch.is_grad_enabled()))
            return super().forward(images)

    modes, model = [], Watched().train(training)
    predict_video(model, write(tmp_path / "in.avi", grey(0, 255, 0)), tmp_path / "out.avi", batch_size=1,
                  progress=False)
    assert modes == [(False, False)] * 3 and model.training == training


def test_every_other_frame_repeats_the_mask_and_keeps_the_length(tmp_path):
    path = write(tmp_path / "in.webm", grey(0, 255, 255, 0, 0, 255, 0))
    result = predict_video(Brightness(), path, tmp_path / "out.webm", every=3, batch_size=2, alpha=1.0, progress=False)
    assert (result.frames, result.predicted) == (7, 3)
    assert [int(f.mean() > 128) for f in VideoReader(result.path)] == [0, 0, 0, 0, 0, 0, 0]


def test_size_is_a_box_and_frames_are_not_enlarged(tmp_path):
    path = write(tmp_path / "in.webm", grey(9, size=(100, 200)))
    assert VideoReader(path, (64, 64)).size == (32, 64)
    assert VideoReader(path, (360, 640)).size == (100, 200)
    predict_video(Brightness(), path, tmp_path / "out.webm", size=(64, 64), progress=False)
    assert VideoReader(tmp_path / "out.webm").size == (32, 64)


def test_smoothing_quiets_flicker(tmp_path):
    path = write(tmp_path / "in.webm", grey(*[100, 100, 155] * 8))
    plain = predict_video(Brightness(), path, tmp_path / "a.webm", progress=False)
    smooth = predict_video(Brightness(), path, tmp_path / "b.webm", smoothing=0.8, progress=False)
    assert plain.flicker > 0.3 and smooth.flicker == 0


def test_flicker_is_what_changes_back_not_what_moves():
    flicker = Flicker()
    for column in range(6):  # an edge that moves
        flicker.add(np.broadcast_to(np.arange(8) < column, (4, 8)).astype(np.uint8))
    assert flicker.value == 0
    flicker = Flicker()
    for frame in (0, 1, 0):
        flicker.add(np.array([[frame, 0]], np.uint8))
    assert flicker.value == 0.5


def test_stopped_by_hand_keeps_what_was_done(tmp_path):
    path = write(tmp_path / "in.webm", grey(*[10] * 40))

    class Stop(Brightness):
        def forward(self, images):
            if len(self.batches) == 3:
                raise KeyboardInterrupt
            return super().forward(images)

    result = predict_video(Stop(), path, tmp_path / "out.webm", batch_size=4, progress=False)
    assert result.stopped and result.frames == 12 and "stopped" in str(result)
    assert VideoReader(tmp_path / "out.webm").announced == 12
    assert threading.active_count() < 10


def test_an_error_leaves_nothing_behind(tmp_path):
    path = write(tmp_path / "in.webm", grey(1, 2, 3))
    broken = Brightness()
    broken.weight.data.fill_(float("nan"))
    with pytest.raises(Exception, match="NaN"):
        predict_video(broken, path, tmp_path / "out.webm", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["in.webm"]


def test_max_frames_and_overwriting(tmp_path):
    path = write(tmp_path / "in.webm", grey(*range(0, 90, 10)))
    result = predict_video(Brightness(), path, tmp_path / "out.webm", max_frames=5, progress=False)
    assert (result.frames, result.missing, result.stopped) == (5, 0, False)
    with pytest.raises(ArgumentError, match="overwrite"):
        predict_video(Brightness(), path, tmp_path / "out.webm", progress=False)
    assert predict_video(Brightness(), path, tmp_path / "out.webm", overwrite=True, progress=False).frames == 9
    with pytest.raises(ArgumentError, match="another file"):
        predict_video(Brightness(), path, path, overwrite=True, progress=False)


def test_a_cut_off_video_keeps_what_was_readable_and_says_so(tmp_path, capsys):
    whole = write(tmp_path / "whole.avi", list(noise(60)))
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = predict_video(Brightness(), cut, tmp_path / "out.webm")
    assert 10 < result.frames < 50 and result.missing == 60 - result.frames
    assert "missing" in str(result) and "missing" in "".join(capsys.readouterr())
    assert VideoReader(result.path).announced == result.frames


def varied(path, times, values):
    """A .webm whose frames are at these times in milliseconds: those of 10 frames a second, replaced in the file."""
    data = bytearray(write(path, grey(*values)).read_bytes())
    blocks = re.finditer(rb"\xa3(?:[\x80-\xff]|[\x40-\x7f].)\x81(..)[\x00\x80]", bytes(data), re.DOTALL)  # SimpleBlocks
    places = [block.start(1) for block in blocks]
    assert [int.from_bytes(data[at:at + 2], "big") for at in places] == [100 * number for number in range(len(times))]
    for at, new in zip(places, times, strict=True):
        data[at:at + 2] = new.to_bytes(2, "big")
    path.write_bytes(data)
    return path


def test_frames_of_a_varying_rate_are_seen_at_their_times(tmp_path):
    """Ten frames a second, a pause of a second, then 33 ms: the rate is the usual one, the rest is repeated."""
    times = [0, 100, 200, 300, 400, 1400, 1500, 1533, 1600, 1700]
    path = varied(tmp_path / "in.webm", times, [0, 0, 0, 0, 0, 250, 0, 250, 0, 0])
    result = predict_video(Brightness(), path, tmp_path / "out.webm", alpha=1.0, progress=False)
    assert (result.frames, result.predicted, result.missing) == (18, 9, 0), "that of 1,500 ms gives way to the next"
    for film in (path, result.path):
        reader = VideoReader(film)
        bright = [frame.mean() > 128 for frame in reader]
        assert reader.fps == pytest.approx(10) and np.flatnonzero(bright).tolist() == [14, 15]


@pytest.mark.parametrize(("times", "fps", "frames"), [
    ([0, 33, 67, 100, 133, 167, 200, 233, 267, 300], 30.0, 10),  # not the 10 that the header says
    ([0, 17, 33, 50, 67, 83, 100, 2000, 2017, 2033], 60.0, 123)])
def test_the_rate_is_the_usual_one_of_the_frames(tmp_path, times, fps, frames):
    reader = VideoReader(varied(tmp_path / "v.webm", times, [9] * 10))
    assert reader.fps == pytest.approx(fps, rel=0.005)
    assert len(list(reader)) == reader.frames == frames


def test_what_an_edit_list_hides_is_not_missing(tmp_path):
    path = write(tmp_path / "in.mp4", grey(*range(0, 240, 6)))
    data = bytearray(path.read_bytes())
    for box, place, value in (("mvhd", 20, 2000), ("tkhd", 24, 2000), ("elst", 12, 2000), ("elst", 16, 15 * 1024)):
        struct.pack_into(">I", data, data.index(box.encode()) + place, value)
    path.write_bytes(data)
    reader = VideoReader(path)
    values = [round(float(frame.mean())) for frame in reader]
    assert values == pytest.approx(range(90, 210, 6), abs=5), "2 of 4 seconds, from 1.5 on"
    assert reader.missing == 0


def test_paths_may_begin_with_a_tilde_and_out_may_be_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path / "in.avi", grey(1, 2, 3))
    assert predict_video(Brightness(), "~/in.avi", "~/out.webm", progress=False).path == tmp_path / "out.webm"
    assert len(list(VideoReader("~/out.webm"))) == 3
    assert predict_video(Brightness(), "~/in.avi", "~/new/", progress=False).path == tmp_path / "new/in_overlay.webm"
    assert write_video_sample("~/s.webm", 1, (64, 64), progress=False).is_file()


@pytest.mark.parametrize(("ending", "codec"), [(".ts", "MPG2"), (".mts", "MPG2"), (".wmv", "WMV2"), (".3gp", "mp4v"),
                                               (".mkv", "VP80"), (".flv", "FLV1"), (".mov", "mp4v"), (".mpg", "MPG2")])
def test_other_containers_are_videos_and_are_read(tmp_path, ending, codec):
    film = cv2.VideoWriter(str(tmp_path / f"v{ending}"), cv2.VideoWriter.fourcc(*codec), 10, (64, 48))
    for frame in grey(0, 80, 160, 240):
        film.write(frame)
    film.release()
    reader = VideoReader(tmp_path / f"v{ending}")
    assert [round(float(frame.mean()), -1) for frame in reader] == [0, 80, 160, 240]
    assert reader.fps == pytest.approx(10) and reader.missing == 0 and ending in VIDEO_SUFFIXES


def noise(count):
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(count))


def test_what_is_no_video(tmp_path):
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.webm"
    empty.write_bytes(b"")
    text.write_bytes(b"no video" * 100)
    headless = tmp_path / "headless.mp4"
    headless.write_bytes(write(tmp_path / "v.mp4", grey(1, 2)).read_bytes()[:300])
    for path in (empty, text, headless, tmp_path / "missing.webm"):
        with pytest.raises(DataError, match=path.name):
            predict_video(Brightness(), path, tmp_path / "out.webm", progress=False)
    with pytest.raises(DataError, match="missing.webm.*\n.*no such file"):  # not that the output is there
        predict_video(Brightness(), tmp_path / "missing.webm", text, progress=False)
    with pytest.raises(DataError, match="camera 99"):
        predict_video(Brightness(), 99, tmp_path / "out.webm", progress=False)
    assert not (tmp_path / "out.webm").exists()


def test_a_missing_codec_is_an_error_not_an_empty_file(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mjpeg"})
    with pytest.raises(DataError, match="libvpx"), open_writer(tmp_path / "v.webm", 10, (48, 64)):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".webm", ".mp4", ".avi"])
def test_a_full_disk_is_an_error_and_no_shorter_video(tmp_path, ending, monkeypatch, capfd):
    size = write(tmp_path / f"whole{ending}", noise(30)).stat().st_size
    with room(3000), pytest.raises(ArgumentError, match="too large(.|\n)*Free some space"):  # before the work
        write(tmp_path / f"v{ending}", noise(30))
    monkeypatch.setattr("seglab.datasets.video.output_folder", lambda folder: None)
    monkeypatch.setattr("seglab.files._check_room", lambda path: None)  # there is room again when it is closed
    for kept in (0, 1, 3000, size // 2, size - 1):
        with room(kept), pytest.raises(WriteError, match=r"too large(.|\n)*Free some space"):
            write(tmp_path / f"v{ending}", noise(30))
    assert os.listdir(tmp_path) == [f"whole{ending}"]
    assert capfd.readouterr() == ("", "")


def test_a_video_ends_where_the_disk_is_full(tmp_path):
    written = []

    def endless():
        with open_writer(tmp_path / "v.avi", 10, (48, 64)) as writer:
            for frame in noise(1000):
                writer.write(frame)
                written.append(frame)

    with room(300_000), pytest.raises(WriteError, match="too large"):
        endless()
    assert 10 < len(written) < 200 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".webm", ".mp4", ".avi"])
def test_a_video_that_is_left_is_gone_and_nothing_is_printed(tmp_path, ending, capfd):
    def stopped():
        yield from grey(9, 9)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_writer(tmp_path / f"v{ending}", 10, (48, 64)) as writer:
        list(map(writer.write, stopped()))
    del writer
    gc.collect()
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", [".webm", ".mp4", ".avi"])
def test_colours_come_back(tmp_path, ending):
    colours = np.array([(255, 255, 255), (200, 40, 30), (30, 160, 40), (40, 60, 200), (0, 0, 0), (128, 128, 0)])
    frame = np.repeat(np.repeat(colours.reshape(2, 3, 3).astype(np.uint8), 64, 0), 64, 1)
    found = list(VideoReader(write(tmp_path / f"v{ending}", [frame] * 5)))
    for one in found:
        middles = one[32::64, 32::64].astype(int)
        assert np.abs(middles.reshape(-1, 3) - colours).max() <= 6


@pytest.mark.parametrize("fps", [1, 12.5, 24000 / 1001, 29.97, 30, 60, 0.5])
def test_the_rate_comes_back(tmp_path, fps):
    for ending in (".webm", ".mp4", ".avi"):
        reader = VideoReader(write(tmp_path / f"v{ending}", grey(*range(0, 250, 10)), fps))
        assert reader.fps == pytest.approx(fps, rel=0.001), ending
        assert [round(float(frame.mean())) for frame in reader] == pytest.approx(range(0, 250, 10), abs=4)


LISTS = {"list.mp4": b"ffconcat version 1.0\nfile whole.avi\n", "list.ts": b"#EXTM3U\n#EXT-X-VERSION:3\n"
         b"#EXTINF:1,\nwhole.ts\n#EXT-X-ENDLIST\n", "list.avi": b"v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_other_files_is_no_video(tmp_path, name):
    write(tmp_path / "whole.avi", grey(9, 9))
    (tmp_path / name).write_bytes(LISTS[name])
    with pytest.raises(DataError, match="does not begin as videos do"):
        VideoReader(tmp_path / name)


def test_only_files_of_this_machine_are_videos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        cv2.imwrite(f"img{number}.png", grey(9)[0])
    os.mkfifo("pipe.mp4")
    for source, words in (("img%d.png", "no such file"), ("img0.png", "does not begin"), ("pipe.mp4", "a device"),
                          ("http://127.0.0.1:9/v.mp4", "no such file"), (".", "a folder"), (-1, "no such number"),
                          (10 ** 23, "no such number")):
        with pytest.raises(DataError, match=words):
            VideoReader(source)
    write(tmp_path / "v.avi", grey(9, 9)).rename("file:v.avi")  # a name that FFmpeg would take apart
    assert len(list(VideoReader("file:v.avi"))) == 2


def test_stopped_before_the_first_frame_leaves_nothing(tmp_path):
    class Stop(Brightness):
        def forward(self, images):
            raise KeyboardInterrupt

    path = write(tmp_path / "in.avi", grey(1, 2, 3))
    with pytest.raises(KeyboardInterrupt):
        predict_video(Stop(), path, tmp_path / "out.webm", progress=False)
    assert os.listdir(tmp_path) == ["in.avi"]
    nothing = VideoResult(path, 0, 0, 0.0, 0.0, 0.0, 0, True)
    assert nothing.fps == nothing.forward_fps == 0 and "0 frames" in str(nothing)


@pytest.mark.parametrize("options", [{"every": 0}, {"batch_size": 0}, {"smoothing": 1.0}, {"smoothing": -0.1},
                                     {"alpha": 2}, {"max_frames": 0}])
def test_arguments_out_of_range(tmp_path, options):
    path = write(tmp_path / "in.webm", grey(1))
    with pytest.raises(ArgumentError, match=next(iter(options))):
        predict_video(Brightness(), path, tmp_path / "out.webm", progress=False, **options)
    with pytest.raises(ArgumentError, match="ending"):
        predict_video(Brightness(), path, tmp_path / "out.gif", progress=False)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    """What waits between reader, model and writer is bounded, also when the model is the slowest."""
    import tracemalloc

    path = write(tmp_path / "in.avi", noise(400))
    peaks = []
    for count in (50, 400):
        tracemalloc.start()
        predict_video(Brightness(), path, tmp_path / f"{count}.webm", max_frames=count, progress=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_reading_and_writing_go_on_while_the_model_runs(tmp_path):
    """Not a speed claim: with a model that sleeps, the whole takes hardly longer than the model."""
    path = write(tmp_path / "in.webm", list(noise(24)))
    result = predict_video(Brightness(delay=0.1), path, tmp_path / "out.webm", batch_size=2, progress=False)
    assert result.forward_seconds >= 1.2
    assert result.seconds < 1.5 * result.forward_seconds


def test_sample_video(tmp_path):
    path = write_video_sample(tmp_path / "v.webm", count=4, size=(96, 128), progress=False)
    reader = VideoReader(path)
    assert reader.size == (96, 128) and len(list(reader)) == 4
    frames = list(sample_frames(5, (96, 128)))
    again = list(sample_frames(5, (96, 128)))
    assert all((a[0] == b[0]).all() for a, b in zip(frames, again, strict=True))
    for class_id, turn in ((1, 1), (2, -1)):  # the cats walk to the right, the dog to the left
        places = [turn * np.flatnonzero((mask == class_id).any(0)).mean() for _, mask in frames if class_id in mask]
        assert len(places) >= 4 and sorted(places) == places
    seen = np.unique([np.bincount(mask.ravel(), minlength=3) > 0 for _, mask in frames], axis=0)
    assert seen.any(0).all() and (frames[1][0] != frames[2][0]).mean() > 0.9  # and the camera pans
    with pytest.raises(ArgumentError):
        next(sample_frames(0))


@pytest.mark.parametrize(("box", "wanted"), [((48, 32), (24, 32)), ((24, 64), (24, 32)), ((480, 640), (48, 64))])
def test_a_box_is_height_and_width(tmp_path, box, wanted):
    reader = VideoReader(write(tmp_path / "v.webm", grey(9)), size=box)
    assert reader.size == wanted and next(iter(reader)).shape[:2] == wanted
