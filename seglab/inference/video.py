"""Segment a video: read, predict and write at the same time, in memory that does not grow with its length."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from torch import nn
from tqdm.auto import tqdm

from seglab.datasets.io import Size
from seglab.datasets.video import CODECS, VideoReader, open_writer
from seglab.errors import ArgumentError
from seglab.files import output_file
from seglab.inference.folder import ahead
from seglab.inference.segmenter import Segmenter, SteadySegmenter, in_eval_mode
from seglab.labels import LabelSet
from seglab.progress import progress_bar
from seglab.viz import overlay


@dataclass(frozen=True)
class VideoResult:
    """What `predict_video` did."""

    path: Path  #: the video written
    frames: int  #: how many it has
    predicted: int  #: on how many of them the model ran
    seconds: float  #: from the first frame read to the last one written
    forward_seconds: float  #: of these, inside the model
    flicker: float  #: see `Flicker`; in [0, 1]
    missing: int  #: frames that the file's header promises, but that are not there or cannot be decoded
    stopped: bool  #: it was stopped by hand

    @property
    def fps(self) -> float:
        """Frames per second, everything included."""
        return self.frames / self.seconds if self.frames else 0.0

    @property
    def forward_fps(self) -> float:
        """Frames per second that the model alone would have reached."""
        return self.frames / self.forward_seconds if self.frames else 0.0

    def __str__(self) -> str:
        notes = [f"{self.frames} frames at {self.fps:.1f} a second (the model alone: {self.forward_fps:.1f})"]
        if self.missing:
            notes.append(f"the file is cut off or damaged: {self.missing} announced frames are missing")
        if self.stopped:
            notes.append("stopped by hand; what was done is kept")
        return f"{self.path}: {'; '.join(notes)}"


class Flicker:
    """The share of pixels that change their class in one frame and have the old one back in the next, mean over frames.

    What moves changes once; what flickers changes back.
    """

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


def predict_video(model: nn.Module, source: str | Path | int, out: str | Path, *, size: Size | None = (360, 640),
                  every: int = 1, batch_size: int = 4, alpha: float = 0.5, smoothing: float = 0.0,
                  max_frames: int | None = None, overwrite: bool = False, progress: bool = True,
                  short_side: int | str | None = "auto", normalize: nn.Module | None = None,
                  label_set: LabelSet | None = None) -> VideoResult:
    """Lay a model's masks over a video, frame by frame.

    A thread reads ahead and another one writes behind, while the model runs. Ctrl-C (the stop button) ends the video
    there; what was done is kept, and before the first frame nothing is. The file appears under its name only when it
    is complete. It has a constant rate, see `VideoReader`: frames of a video whose rate varies are repeated or left
    out so that each is seen at its time.

    Args:
        model, short_side, normalize, label_set: as for `predict`.
        source: an mp4, avi or webm file, or the number of a camera (which needs `max_frames`, or a hand on Ctrl-C).
        out: the file to write, or a folder for it; .webm (VP8) plays in browsers.
        size: (height, width) of a box that frames are scaled down into; None keeps their size.
        every: run the model on every n-th frame; those between show the mask before.
        batch_size: frames a step.
        alpha: share of the mask's colours.
        smoothing: 0 to below 1: how much of the frame before stays in a pixel's probabilities (an exponential moving
            average). It quiets flicker, and drags behind what moves.
        max_frames: stop after so many frames of the source.
        overwrite: replace `out` if it is there.
        progress: show a bar, and say what was left out of a damaged file.

    Raises:
        DataError: no video, no frame, or no encoder.
        ArgumentError: a number out of range, or `out` is there already or cannot be written.
        WriteError: the disk is full; nothing is kept.

    Example:
        >>> import tempfile
        >>> from seglab import build
        >>> from seglab.samples import write_video_sample
        >>> folder = Path(tempfile.mkdtemp())
        >>> film = write_video_sample(folder / "in.webm", count=4, size=(96, 128), progress=False)
        >>> predict_video(build("fcn", weights="bundled"), film, folder / "out.webm", progress=False).frames
        4
    """
    for name, value in (("batch_size", batch_size), ("max_frames", max_frames)):
        if value is not None and value < 1:
            raise ArgumentError(name, found=value, expected="1 or more")
    if not 0 <= alpha <= 1:
        raise ArgumentError("alpha", found=alpha, expected="0 to 1")
    segmenter = Segmenter(model, normalize=normalize, label_set=label_set, short_side=short_side)
    segment = SteadySegmenter(segmenter, every, smoothing)
    flicker, predicted, stopped = Flicker(), 0, False
    with closing(VideoReader(source, size)) as reader:
        out = video_file(out, source, overwrite)
        total = min(filter(None, (reader.announced, max_frames)), default=None)
        bar = progress_bar(total=total, desc="segmenting", unit="frame", shown=progress)
        start = time.perf_counter()
        with (open_writer(out, reader.fps, reader.size) as writer, in_eval_mode(model), bar,
              ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing):

            def write(frames: list[tuple[np.ndarray, int]], masks: list[np.ndarray]) -> None:
                labels = segmenter.labels()
                for (frame, times), mask in zip(frames, masks, strict=True):
                    image = overlay(frame, mask, labels, alpha)
                    for _ in range(times):
                        writer.write(image)
                    flicker.add(mask)
                bar.update(len(frames))

            written: Future[None] | None = None
            try:
                # batches begin on a frame that the model sees
                for frames in ahead(reading, islice(reader.timed(), max_frames), batch_size * every):
                    masks = segment([frame for frame, _ in frames])
                    predicted += len(frames[::every])
                    if written is not None:  # at most one batch waits: memory stays bounded
                        written.result()
                    written = writing.submit(write, frames, masks)
            except KeyboardInterrupt:
                stopped = True
            finally:
                if written is not None:
                    written.result()
            if not writer.frames:
                raise KeyboardInterrupt  # no frame, no video
        result = VideoResult(out, writer.frames, predicted, time.perf_counter() - start, segmenter.forward_seconds,
                             flicker.value, 0 if stopped else reader.missing, stopped)
    if progress and (result.missing or result.stopped):
        tqdm.write(str(result))
    return result


def video_file(out: str | Path, source: str | Path | int, overwrite: bool = False) -> Path:
    """Where the video of a source goes, checked; see `output_file`."""
    if isinstance(source, int):
        return output_file(out, f"camera{source}_overlay.webm", CODECS, overwrite)
    source = Path(source).expanduser()
    return output_file(out, f"{source.stem}_overlay.webm", CODECS, overwrite, source)
