"""Video files: frames in, frames out, through OpenCV, with the checks and the times that it leaves to its caller."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from seglab.datasets.io import Size, size_within
from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_file

VIDEO_SUFFIXES = frozenset({".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
                            ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"})
#: What each kind of file is encoded with. OpenCV's wheels have no H.264 encoder, and Chromium plays no mp4v: VP8 in
#: .webm is what both can do.
CODECS = {".webm": "VP80", ".mp4": "mp4v", ".avi": "MJPG"}
_LONGEST = 60  # seconds that one frame is shown; beyond, times are taken to be damaged


class VideoReader:
    """The frames of a video file, or of a camera.

    Iterating gives (H, W, 3) uint8 RGB frames, upright, 1/`fps` seconds apart; it can be done once. A video whose
    rate varies keeps its speed: frames are repeated or left out, as their times in the file ask. Afterwards `frames`
    holds how many there were.

    Args:
        source: the path of an mp4, avi, webm, …, or the number of a camera.
        size: (height, width) of a box that frames are scaled down to fit into; sides are made even, as codecs ask.

    Attributes:
        fps: frames per second: the rate that the file states, or the usual one of its frames if they differ; 25 if it
            says nothing.
        size: (height, width) of the frames.
        announced: how many frames the file's header promises; 0 if it does not say.

    Raises:
        DataError: no such file, no video, no frame in it, or no camera.

    Example:
        >>> import tempfile
        >>> from seglab.samples import write_video_sample
        >>> film = write_video_sample(Path(tempfile.mkdtemp()) / "v.webm", count=3, size=(64, 96), progress=False)
        >>> [frame.shape for frame in VideoReader(film)]
        [(64, 96, 3), (64, 96, 3), (64, 96, 3)]
    """

    def __init__(self, source: str | Path | int, size: Size | None = None) -> None:
        self.source = source if isinstance(source, int) else Path(source).expanduser()
        if isinstance(self.source, Path) and not self.source.is_file():
            raise DataError(f"{source}: video", found="a folder" if self.source.is_dir() else "no such file",
                            expected="an mp4, avi or webm file, or the number of a camera", fix="Check the path.")
        self._capture = cv2.VideoCapture(self.source if isinstance(self.source, int) else str(self.source))
        if not self._capture.isOpened():
            raise self._unreadable("OpenCV cannot open it")
        self._ahead = self._read()
        if self._ahead is None:
            self.close()
            raise self._unreadable("no frame that can be decoded")
        stated = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = self._stated_fps = stated if 0 < stated <= 1000 else 25.0
        self.announced = 0
        if isinstance(self.source, Path):
            count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
            self.announced = int(min(count, np.ceil(_edited_seconds(self.source) * self.fps)))
            self.fps = _usual_fps(self.source, self.fps)
        self.size = _even(size_within(self._ahead[0].shape[:2], size))
        self.frames, self._decoded, self._seconds = 0, 0, 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame, times in self.timed():
            for _ in range(times):
                yield frame

    def timed(self) -> Iterator[tuple[np.ndarray, int]]:
        """Each frame once, and for how many times 1/`fps` seconds it is shown: 1 or more."""
        try:
            while self._ahead is not None:
                (frame, time), self._ahead = self._ahead, self._read()
                step = self._ahead[1] - time if self._ahead is not None else 0.0
                self._decoded += 1
                self._seconds += step if 0 < step <= _LONGEST else 1 / self.fps
                times = int(self._seconds * self.fps + 0.5) - self.frames
                self.frames += times
                if times:
                    if frame.shape[:2] != self.size:
                        frame = cv2.resize(frame, self.size[::-1], interpolation=cv2.INTER_AREA)
                    yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), times
        finally:
            self.close()

    @property
    def missing(self) -> int:
        """Frames that the header promises, but that are not there or cannot be decoded; 0 before the end."""
        # Some files count frames one by one, others as duration times rate, which may be one or two off.
        gap = self.announced - max(self._decoded, round(self._seconds * self._stated_fps))
        return gap if self._ahead is None and gap > max(2, self.announced // 50) else 0

    def _read(self) -> tuple[np.ndarray, float] | None:
        """The next frame, BGR, and its time in seconds: 0 of cameras."""
        good, frame = self._capture.read()
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if isinstance(self.source, Path) else 0.0
        return (frame, time) if good else None

    def close(self) -> None:
        """Let go of the file or the camera."""
        self._capture.release()

    def _unreadable(self, found: str) -> DataError:
        if isinstance(self.source, int):
            return DataError(f"camera {self.source}", found=found, expected="a camera with this number",
                             fix="Check that it is connected and not in use; the first one is 0.")
        return DataError(f"{self.source}: video", found=f"{found} ({self.source.stat().st_size:,} bytes)",
                         expected="a video that OpenCV can decode",
                         fix="Convert it, for instance with: ffmpeg -i IN -c:v libx264 OUT.mp4")


def _usual_fps(path: Path, stated: float) -> float:
    """The stated rate if it is that of most of the first 1,000 frames; else theirs. Nothing is decoded."""
    packets = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    times: list[float] = []
    while len(times) < 1000 and packets.grab():
        times.append(packets.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    packets.release()
    steps = np.diff(np.sort(times))
    steps = steps[steps > 0.0005]
    if len(steps) == 0:
        return stated
    usual = float(steps[np.abs(steps - np.median(steps)) < 0.0011].mean())  # many files have whole milliseconds
    return stated if abs(stated * usual - 1) < 0.03 else round(1 / usual, 2)


def _edited_seconds(path: Path) -> float:
    """How long an MP4 or MOV is as its edit lists show it, which may be less than it holds; infinite for others."""
    with open(path, "rb") as file:
        while len(head := file.read(16)) == 16:
            size, kind, long = struct.unpack(">I4sQ", head)
            if kind == b"moov":  # begins with the box mvhd, whose times have 4 or 8 bytes
                head = head[8:] + file.read(40)
                scale, length = struct.unpack_from(*((">IQ", head, 28) if head[8] else (">II", head, 20)))
                return length / scale if head[4:8] == b"mvhd" and scale and length else float("inf")
            size = long if size == 1 else size
            if size < 8:
                break
            file.seek(size - 16, 1)
    return float("inf")


class VideoWriter:
    """Encodes (H, W, 3) uint8 RGB frames; made by `open_writer`."""

    def __init__(self, encoder: cv2.VideoWriter, size: Size) -> None:
        self._encoder, self.size, self.frames = encoder, size, 0

    def write(self, frame: np.ndarray) -> None:
        """Append a frame; ArgumentError if it is of another size than the writer: OpenCV would drop it."""
        if frame.shape[:2] != self.size or frame.dtype != np.uint8:
            raise ArgumentError("frame", found=f"{frame.shape[:2]}, {frame.dtype}", expected=f"{self.size}, uint8")
        self._encoder.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self.frames += 1


@contextmanager
def open_writer(path: str | Path, fps: float, size: Size) -> Iterator[VideoWriter]:
    """Write a video that appears under its name only when it is complete: .webm (VP8, for browsers), .mp4 or .avi.

    Raises:
        ArgumentError: another ending, or a size, (height, width), that is odd.
        DataError: this OpenCV cannot encode it.
    """
    path = Path(path).expanduser()
    if (codec := CODECS.get(path.suffix.lower())) is None:
        raise ArgumentError("video to write", found=path.name, expected=f"an ending {', '.join(CODECS)}",
                            fix="Browsers play .webm.")
    if _even(size) != tuple(size):
        raise ArgumentError("size of the video", found=size, expected="even height and width")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as new:
        with _quiet():
            encoder = cv2.VideoWriter(str(new), cv2.VideoWriter.fourcc(*codec), fps, size[::-1])
        if not encoder.isOpened():  # OpenCV does not raise
            raise DataError(f"{path.suffix} video", found=f"this OpenCV has no encoder {codec}, or the folder is not "
                            "writable", expected="an encoder", fix="Install opencv-python from PyPI, whose wheels "
                            "have VP8, and write a .webm.")
        try:
            yield VideoWriter(encoder, size)
        finally:
            encoder.release()
        if not new.is_file() or new.stat().st_size == 0:
            raise DataError(f"{path}: video", found="nothing was written", expected="an encoded file",
                            fix="Check that the disk is not full.")


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV's FFmpeg prints to the process's stderr that WebM has no tag VP80, and goes on; nobody need read that."""
    try:
        stderr = os.dup(2)
    except OSError:  # no stderr: nothing can be printed
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _even(size: Size) -> Size:
    """The nearest size whose sides are even, and at least 2."""
    return max(2, round(size[0] / 2) * 2), max(2, round(size[1] / 2) * 2)
