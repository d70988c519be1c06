"""Segment a video: read, predict and write at the same time, in memory that does not grow with its length."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from seglab.datasets.video import VideoReader, open_writer
from seglab.errors import ArgumentError
from seglab.files import check_free
from seglab.inference.predict import Segmenter, in_eval_mode
from seglab.labels import LabelSet
from seglab.progress import progress_bar
from seglab.viz import overlay


@dataclass(frozen=True)
class VideoResult:
    """What `predict_video` did.

    Attributes:
        path: the video written.
        frames: how many it has.
        predicted: on how many of them the model ran.
        seconds: from the first frame read to the last one written.
        forward_seconds: of these, inside the model.
        flicker: share of pixels that change their class in one frame and have the old one back in the next, averaged
            over frames, in [0, 1]. What moves changes once; what flickers changes back.
        missing: frames that the file's header promises, but that are not there or cannot be decoded.
        stopped: it was stopped by hand.
    """

    path: Path
    frames: int
    predicted: int
    seconds: float
    forward_seconds: float
    flicker: float
    missing: int
    stopped: bool

    @property
    def fps(self) -> float:
        """Frames per second, everything included."""
        return self.frames / self.seconds

    @property
    def forward_fps(self) -> float:
        """Frames per second that the model alone would have reached."""
        return self.frames / self.forward_seconds

    def __str__(self) -> str:
        notes = [f"{self.frames} frames at {self.fps:.1f} a second (the model alone: {self.forward_fps:.1f})"]
        if self.missing:
            notes.append(f"the file is cut off or damaged: {self.missing} announced frames are missing")
        if self.stopped:
            notes.append("stopped by hand; what was done is kept")
        return f"{self.path}: {'; '.join(notes)}"


class Flicker:
    """Counts pixels that leave their class for one frame only, as frames come in."""

    def __init__(self) -> None:
        self._last: deque[np.ndarray] = deque(maxlen=3)
        self._sum, self._count = 0.0, 0

    def add(self, mask: np.ndarray) -> None:
        """The next frame's (H, W) class ids."""
        self._last.append(mask)
        if len(self._last) == 3:
            before, now, after = self._last
            self._sum += float(((before == after) & (before != now)).mean())
            self._count += 1

    @property
    def value(self) -> float:
        return self._sum / self._count if self._count else 0.0


def predict_video(model: nn.Module, source: str | Path | int, out: str | Path, *,
                  size: tuple[int, int] | None = (640, 360), every: int = 1, batch_size: int = 4, alpha: float = 0.5,
                  smoothing: float = 0.0, max_frames: int | None = None, overwrite: bool = False,
                  progress: bool = True, short_side: int | str | None = "auto", normalize: nn.Module | None = None,
                  label_set: LabelSet | None = None) -> VideoResult:
    """Lay a model's masks over a video, frame by frame.

    A thread reads ahead and another one writes behind, while the model runs. Ctrl-C (the stop button) ends the video
    there; what was done is kept. The file appears under its name only when it is complete.

    Args:
        model: as for `predict`.
        source: an mp4, avi or webm file, or the number of a camera (which needs `max_frames`, or a hand on Ctrl-C).
        out: the file to write; .webm (VP8) plays in browsers.
        size: (width, height) of a box that frames are scaled down into; None keeps their size.
        every: run the model on every n-th frame; those between show the mask before.
        batch_size: frames a step.
        alpha: share of the mask's colours.
        smoothing: 0 to below 1: how much of the frame before stays in a pixel's probabilities (an exponential moving
            average). It quiets flicker, and drags behind what moves.
        max_frames: stop after so many.
        overwrite: replace `out` if it is there.
        progress: show a bar, and say what was left out of a damaged file.
        short_side, normalize, label_set: as for `predict`.

    Returns:
        counts, times and flicker.

    Raises:
        DataError: no video, no frame, or no encoder.
        ArgumentError: a number out of range, or `out` is there already.

    Example:
        >>> import tempfile
        >>> from seglab import build
        >>> from seglab.samples import write_video_sample
        >>> folder = Path(tempfile.mkdtemp())
        >>> film = write_video_sample(folder / "in.webm", count=4, size=(128, 96), progress=False)
        >>> predict_video(build("fcn", weights="bundled"), film, folder / "out.webm", progress=False).frames
        4
    """
    out = Path(out)
    for name, value, least in (("every", every, 1), ("batch_size", batch_size, 1),
                               ("max_frames", 1 if max_frames is None else max_frames, 1)):
        if value < least:
            raise ArgumentError(name, found=value, expected=f"{least} or more")
    if not 0 <= smoothing < 1:
        raise ArgumentError("smoothing", found=smoothing, expected="0 to below 1")
    if not 0 <= alpha <= 1:
        raise ArgumentError("alpha", found=alpha, expected="0 to 1")
    if out.exists() and not isinstance(source, int) and out.samefile(source):
        raise ArgumentError("out", found=out, expected="another file than the video that is read")
    check_free(out, "out", overwrite)
    segmenter = Segmenter(model, normalize=normalize, label_set=label_set, short_side=short_side)
    reader = VideoReader(source, size)
    flicker, predicted, stopped = Flicker(), 0, False
    total = min(filter(None, (reader.announced, max_frames)), default=None)
    bar = progress_bar(total=total, desc="segmenting", unit="frame", shown=progress)
    start = time.perf_counter()
    with (open_writer(out, reader.fps, reader.size) as writer, in_eval_mode(model), bar,
          ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing):

        def write(frames: list[np.ndarray], masks: list[np.ndarray]) -> None:
            labels = segmenter.labels()
            for frame, mask in zip(frames, masks, strict=True):
                writer.write(overlay(frame, mask, labels, alpha))
                flicker.add(mask)
            bar.update(len(frames))

        smooth: Tensor | None = None
        written: deque[Future[None]] = deque()
        try:
            for frames in _ahead(reading, islice(reader, max_frames), batch_size * every):
                fresh = np.stack(frames[::every])  # (N, H, W, 3); batches begin on a frame that the model sees
                found, scores = segmenter(fresh, soft=smoothing > 0)
                masks = list(found)
                if scores is not None:
                    masks = []
                    for one in scores:  # (C, H, W)
                        smooth = one if smooth is None else smooth.lerp(one, 1 - smoothing)
                        masks.append(smooth.argmax(0).to(torch.uint8).cpu().numpy())
                predicted += len(fresh)
                repeated = [masks[i // every] for i in range(len(frames))]
                written.append(writing.submit(write, frames, repeated))
                if len(written) > 1:  # at most one batch waits: memory stays bounded
                    written.popleft().result()
        except KeyboardInterrupt:
            stopped = True
        finally:
            while written:
                written.popleft().result()
    reader.close()  # only now: the reading thread has ended
    seconds = time.perf_counter() - start
    ended_early = stopped or (max_frames is not None and reader.frames >= max_frames)
    # Some files count their frames as duration times rate, which may be one or two off.
    gap = 0 if ended_early else reader.announced - reader.frames
    result = VideoResult(out, writer.frames, predicted, seconds, segmenter.forward_seconds, flicker.value,
                         gap if gap > max(2, reader.announced // 50) else 0, stopped)
    if progress and (result.missing or result.stopped):
        tqdm.write(str(result))
    return result


def _ahead(pool: ThreadPoolExecutor, items: Iterator[Any], count: int) -> Iterator[list[Any]]:
    """Lists of up to `count` items; the next list is read while this one is worked on."""
    read = lambda: list(islice(items, count))  # noqa: E731
    waiting = pool.submit(read)
    while batch := waiting.result():
        waiting = pool.submit(read)
        yield batch
