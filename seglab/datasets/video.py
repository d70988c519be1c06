"""Video files: frames in, frames out, through OpenCV, with the checks that OpenCV leaves to its caller."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_file

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".webm", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg"})
#: What each kind of file is encoded with. OpenCV's wheels have no H.264 encoder, and Chromium plays no mp4v: VP8 in
#: .webm is what both can do.
_CODECS = {".webm": "VP80", ".mp4": "mp4v", ".avi": "MJPG"}


class VideoReader:
    """The frames of a video file, or of a camera.

    Iterating gives (H, W, 3) uint8 RGB frames, upright; it can be done once. Afterwards `frames` holds how many there
    were, and `announced` how many the file's header promised (0 if it does not say).

    Args:
        source: the path of an mp4, avi, webm, …, or the number of a camera.
        size: (width, height) of a box that frames are scaled down to fit into; sides are made even, as codecs ask.

    Attributes:
        fps: frames per second of the source; 25 if it does not say.
        size: (width, height) of the frames.

    Raises:
        DataError: no such file, no video, no frame in it, or no camera.

    Example:
        >>> import tempfile
        >>> from seglab.samples import write_video_sample
        >>> film = write_video_sample(Path(tempfile.mkdtemp()) / "v.webm", count=3, size=(96, 64), progress=False)
        >>> [frame.shape for frame in VideoReader(film)]
        [(64, 96, 3), (64, 96, 3), (64, 96, 3)]
    """

    def __init__(self, source: str | Path | int, size: tuple[int, int] | None = None) -> None:
        if not isinstance(source, int) and not Path(source).is_file():
            raise DataError(f"{source}: video", found="no such file", expected="an mp4, avi or webm file, or the "
                            "number of a camera", fix="Check the path.")
        self.source = source
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        if not self._capture.isOpened():
            raise self._unreadable("OpenCV cannot open it")
        self._first = self._read()
        if self._first is None:
            self._capture.release()
            raise self._unreadable("no frame that can be decoded")
        self.announced = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))) if not isinstance(source, int) else 0
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else 25.0
        self.size = _fitted(self._first.shape[1::-1], size)
        self.frames = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        frame = self._first
        try:
            while frame is not None:
                self.frames += 1
                if frame.shape[1::-1] != self.size:
                    frame = cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA)
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                frame = self._read()
        finally:
            self.close()

    def _read(self) -> np.ndarray | None:
        good, frame = self._capture.read()
        return frame if good else None

    def close(self) -> None:
        """Let go of the file or the camera."""
        self._capture.release()

    def _unreadable(self, found: str) -> DataError:
        if isinstance(self.source, int):
            return DataError(f"camera {self.source}", found=found, expected="a camera with this number",
                             fix="Check that it is connected and not in use; the first one is 0.")
        return DataError(f"{self.source}: video", found=f"{found} ({Path(self.source).stat().st_size:,} bytes)",
                         expected="a video that OpenCV can decode",
                         fix="Convert it, for instance with: ffmpeg -i IN -c:v libx264 OUT.mp4")


class VideoWriter:
    """Encodes (H, W, 3) uint8 RGB frames; made by `open_writer`."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self.size, self.frames = size, 0
        codec = _CODECS[path.suffix.lower()]
        with _quiet():
            self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
        if not self._writer.isOpened():  # OpenCV does not raise
            raise DataError(f"{path.suffix} video", found=f"this OpenCV has no encoder {codec}, or the folder is not "
                            "writable", expected="an encoder", fix="Install opencv-python from PyPI, whose wheels "
                            "have VP8, and write a .webm.")

    def write(self, frame: np.ndarray) -> None:
        """Append a frame of the writer's size; raises ArgumentError for another size, which OpenCV would drop."""
        if frame.shape[1::-1] != self.size or frame.dtype != np.uint8:
            raise ArgumentError("frame", found=f"{frame.shape[1::-1]}, {frame.dtype}", expected=f"{self.size}, uint8")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self.frames += 1

    def close(self) -> None:
        self._writer.release()


@contextmanager
def open_writer(path: str | Path, fps: float, size: tuple[int, int]) -> Iterator[VideoWriter]:
    """Write a video that appears under its name only when it is complete.

    Args:
        path: the file; .webm (VP8, plays in browsers), .mp4 or .avi.
        fps: frames per second.
        size: (width, height), even.

    Raises:
        ArgumentError: another ending, or an odd size.
        DataError: this OpenCV cannot encode it.
    """
    path = Path(path)
    if path.suffix.lower() not in _CODECS:
        raise ArgumentError("video to write", found=path.name, expected=f"an ending {', '.join(_CODECS)}",
                            fix="Browsers play .webm.")
    if size[0] % 2 or size[1] % 2 or min(size) < 2:
        raise ArgumentError("size of the video", found=size, expected="even width and height")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as new:
        writer = VideoWriter(new, fps, size)
        try:
            yield writer
        finally:
            writer.close()
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


def _fitted(size: tuple[int, int], box: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) scaled down into a box, each side even and at least 2."""
    scale = min(1.0, box[0] / size[0], box[1] / size[1]) if box is not None else 1.0
    return max(2, round(size[0] * scale / 2) * 2), max(2, round(size[1] * scale / 2) * 2)
