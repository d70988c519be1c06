"""Video files: read by OpenCV, with the checks and the times that it leaves to its caller; written by PyAV."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import cv2
import numpy as np

from seglab.datasets.io import Size, size_within
from seglab.errors import ArgumentError, DataError
from seglab.files import atomic_file, output_folder

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video import VideoStream

VIDEO_SUFFIXES = frozenset({".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
                            ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"})


class _Codec(NamedTuple):
    encoder: str  # FFmpeg's name
    pixels: str
    options: dict[str, str]


#: What each kind of file is encoded with, as fast as it goes: frames are written while a network runs on the same
#: cores. VP8 as OpenCV writes it takes ten times as long; all browsers play it, and H.264.
CODECS = {".webm": _Codec("libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "16", "crf": "18"}),
          ".mp4": _Codec("libx264", "yuv420p", {"preset": "superfast", "crf": "18", "bf": "0"}),
          ".avi": _Codec("mjpeg", "yuvj420p", {"qmin": "3", "qmax": "3"})}
_BITS = 2.5  # a pixel and frame, at most; noise takes as much
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
        if isinstance(self.source, int) and not 0 <= self.source < 1 << 31:
            raise self._unreadable("no such number")
        if isinstance(self.source, Path) and not self.source.is_file():
            found = "a folder" if self.source.is_dir() else "a device" if self.source.exists() else "no such file"
            raise DataError(f"{source}: video", found=found,
                            expected="an mp4, avi or webm file, or the number of a camera", fix="Check the path.")
        self._capture = cv2.VideoCapture(self.source) if isinstance(self.source, int) else self._opened(self.source)
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

    def _opened(self, path: Path) -> cv2.VideoCapture:
        """The capture of a file that begins as videos do.

        Others stay closed: FFmpeg and OpenCV take a list of files, or a pattern of their names, for a video, too, and
        would read what it names on the disk and in the network.
        """
        try:
            with open(path, "rb") as file:
                head = file.read(1024)
        except OSError as error:
            raise DataError(f"{path}: video", found=error.strerror or str(error), expected="a file that can be read",
                            fix="Check its rights and the disk.") from error
        if not _is_container(head):
            raise DataError(f"{path}: video", found=f"a file that does not begin as videos do ({path.stat().st_size:,} "
                            "bytes)", expected="an mp4, avi, webm, mkv …", fix="Check that it is whole, and a video.")
        return cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)

    def _unreadable(self, found: str) -> DataError:
        if isinstance(self.source, int):
            return DataError(f"camera {self.source}", found=found, expected="a camera with this number",
                             fix="Check that it is connected and not in use; the first one is 0.")
        return DataError(f"{self.source}: video", found=f"{found} ({self.source.stat().st_size:,} bytes)",
                         expected="a video that OpenCV can decode",
                         fix="Convert it, for instance with: ffmpeg -i IN -c:v libx264 OUT.mp4")


def _is_container(head: bytes) -> bool:
    """Whether a file that begins so is MP4 or MOV, MKV or WebM, AVI, FLV, Ogg, ASF, MPEG, its streams, or MXF."""
    return (head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
            or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
            or head.startswith((b"\x1a\x45\xdf\xa3", b"FLV\1", b"OggS\0", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
                                b"\0\0\1", b"\x06\x0e\x2b\x34"))
            or any(len(marks := head[start::step]) > 2 and set(marks) == {ord("G")}  # packets of 188 bytes, or 192
                   for start, step in ((0, 188), (4, 192))))


def _times(path: Path) -> Iterator[float]:
    """When the frames of a file are shown, in seconds, in the file's order; nothing is decoded."""
    packets = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    try:
        while packets.grab():
            yield packets.get(cv2.CAP_PROP_POS_MSEC) / 1000
    finally:
        packets.release()


def _usual_fps(path: Path, stated: float) -> float:
    """The stated rate if it is that of most of the first 1,000 frames; else theirs."""
    steps = np.diff(np.sort([*islice(_times(path), 1000)]))
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

    def __init__(self, file: _File, container: OutputContainer, stream: VideoStream, size: Size) -> None:
        self._file, self._container, self._stream, self.size, self.frames = file, container, stream, size, 0

    def write(self, frame: np.ndarray) -> None:
        """Append a frame; ArgumentError if it is of another size than the writer. OSError if the disk is full."""
        if frame.shape != (*self.size, 3) or frame.dtype != np.uint8:
            raise ArgumentError("frame", found=f"{frame.shape}, {frame.dtype}", expected=f"{(*self.size, 3)}, uint8")
        import av

        pixels, frame = "rgb24", np.ascontiguousarray(frame)
        if self._stream.pix_fmt == "yuv420p":  # OpenCV converts ten times as fast as FFmpeg
            pixels, frame = "yuv420p", np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), np.uint8)  # (3·H/2, W)
        picture = av.VideoFrame.from_ndarray(frame, format=pixels)
        picture.pts = self.frames
        self._container.mux(self._stream.encode(picture))
        self._file.check()
        self.frames += 1

    def close(self) -> None:
        """Write what the encoder still holds, and the end of the file; OSError as above."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._file.check()


class _File:
    """A file that keeps its first error for `check`: FFmpeg does not stop for all of them, and PyAV prints some.

    When it is closed it takes what comes and drops it: a container that was left goes on writing when it is collected.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._closed = file, False
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        return self._unless_failed(lambda: self._file.write(data), len(data))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._unless_failed(lambda: self._file.seek(offset, whence), 0)

    def tell(self) -> int:
        return self._unless_failed(self._file.tell, 0)

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._closed = True

    def _unless_failed(self, call: Callable[[], int], otherwise: int) -> int:
        if self._closed or self._error is not None:
            return otherwise
        try:
            return call()
        except OSError as error:
            self._error = error
            return otherwise


@contextmanager
def open_writer(path: str | Path, fps: float, size: Size) -> Iterator[VideoWriter]:
    """Write a video that appears under its name only when it is complete: .webm (VP8), .mp4 (H.264) or .avi (MJPEG).

    Raises:
        ArgumentError: another ending, a size, (height, width), that is odd, or a folder that cannot be written.
        DataError: this FFmpeg cannot encode it.
        WriteError: the disk is full.
    """
    path = Path(path).expanduser()
    if (codec := CODECS.get(path.suffix.lower())) is None:
        raise ArgumentError("video to write", found=path.name, expected=f"an ending {', '.join(CODECS)}",
                            fix="Browsers play .webm.")
    if _even(size) != tuple(size):
        raise ArgumentError("size of the video", found=size, expected="even height and width")
    output_folder(path.parent)
    with _quiet():  # on macOS the system prints that OpenCV brings an FFmpeg, too
        import av
    if codec.encoder not in av.codecs_available:
        raise DataError(f"{path.suffix} video", found=f"this FFmpeg has no encoder {codec.encoder}",
                        expected="an encoder", fix="Install av from PyPI, whose wheels have it, or write an .avi.")
    with atomic_file(path) as new, open(new, "wb") as opened:
        container = av.open(file := _File(opened), "w", format=path.suffix[1:].lower())
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream(codec.encoder, rate=rate, options=codec.options)
        assert isinstance(stream, av.VideoStream)  # of a video encoder
        stream.height, stream.width = size
        stream.pix_fmt = codec.pixels
        stream.bit_rate = int(_BITS * size[0] * size[1] * fps)
        stream.codec_context.thread_count = 1  # the network takes the others; VP8's threads wait by running
        try:
            yield (writer := VideoWriter(file, container, stream, size))
            writer.close()
        finally:
            file.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that is printed to the process's stderr, by whatever language, is seen."""
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
