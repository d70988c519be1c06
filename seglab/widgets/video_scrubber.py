"""VideoScrubber: a film and its masks, to be played, stopped and searched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import traitlets as t
from torch import nn

from seglab.datasets import VideoReader
from seglab.datasets.io import Size
from seglab.errors import ArgumentError
from seglab.inference import Prediction
from seglab.inference.segmenter import Segmenter, SteadySegmenter, in_eval_mode
from seglab.labels import IGNORE, LabelSet
from seglab.progress import progress_bar
from seglab.viz import IGNORED, RIGHT, WRONG, add_legend, as_picture, overlay
from seglab.viz.sheets import sheet
from seglab.widgets.base import OverlayWidget, browser_code, styles
from seglab.widgets.wire import as_array, as_file, check_mask, classes_of, pack

_MAX_BYTES = 32 * 2**20
_STILLS = 4
_SPEEDS = (0.25, 0.5, 1.0, 1.5, 2.0)
_ERRORS = LabelSet("errors", ("wrong", "right", "not scored"), (WRONG, RIGHT, IGNORED))


class VideoScrubber(OverlayWidget):
    """A film with a mask on every frame.

    In the browser, without asking the kernel: play, pause, step and jump; speed and loop; opacity; classes on and off,
    each with its share of the frame; the class under the pointer; a palette for colour-blind eyes; a chart of the
    classes' shares over time, to click into. With true masks: prediction, truth or errors, and a chart of the IoU.
    Frames travel once, as JPEG, and masks deflated. Elsewhere a picture shows four frames.

    Keyboard, everywhere but in menus and on the slider of the opacity: space plays and pauses, ← and → step, Home and
    End jump. Mouse: a click on the picture plays and pauses, a click or drag in the chart jumps.

    Args:
        frames: (H, W, 3) or (3, H, W) uint8, all of one size; or `Prediction`s, which bring masks and label set.
        masks: (H, W) class ids (255 is ignored), one a frame.
        label_set: names and colours.
        fps: frames a second.
        truth: the true masks, one a frame, of the same classes.
        max_bytes: how much may travel to the browser, and be stored with a notebook.
        frame: the number of the frame on show, from 0.
        playing: whether it runs.
        speed: 0.25, 0.5, 1, 1.5 or 2 times `fps`.
        loop: begin again at the end.
        opacity: of the masks, 0 to 1.
        hidden: class ids that are switched off; by default the background. Among errors, the true class counts, and
            those on the background always show.
        shown: "prediction", "truth" or "errors": right (blue), wrong (orange) and not scored (grey).
        chart: "shares" of the classes, or their "iou", in each frame.
        safe_colours: colours that colour-blind eyes can tell apart.

    The last nine are traits: Python reads what the learner did, and sets it (`film.playing = False`).

    Attributes:
        nbytes: bytes of pictures and masks on the wire.

    Raises:
        ArgumentError: no frame, more or fewer masks than frames, a frame of another size or not uint8, an id without a
            colour, `fps` not above 0, more than `max_bytes`, or a setting out of range.

    Example:
        >>> from seglab.samples import sample_frames
        >>> from seglab.labels import PETS
        >>> frames, masks = zip(*sample_frames(6, size=(64, 96)))
        >>> VideoScrubber(frames, masks, PETS, fps=3)
        VideoScrubber(6 frames, 96×64, 2.0 s: background, cat, dog)
    """

    _esm = browser_code("video_chart", "video_scrubber")
    _css = styles("video_scrubber")

    film = t.Dict().tag(sync=True)
    label = t.Unicode().tag(sync=True)
    jpegs = t.Bytes().tag(sync=True)
    ids = t.Bytes().tag(sync=True)
    truth_ids = t.Bytes().tag(sync=True)
    clock = t.Unicode("").tag(sync=True)  # the view that counts the frames; the others follow
    frame = t.Int(0).tag(sync=True)
    playing = t.Bool(False).tag(sync=True)
    speed = t.Float(1.0).tag(sync=True)
    loop = t.Bool(True).tag(sync=True)
    shown = t.Unicode("prediction").tag(sync=True)
    chart = t.Unicode("shares").tag(sync=True)
    _settable = ("frame", "playing", "speed", "loop", "opacity", "hidden", "shown", "chart", "safe_colours", "layout")

    def __init__(self, frames: Iterable[Any], masks: Iterable[Any] | None = None, label_set: LabelSet | None = None, *,
                 fps: float = 10.0, truth: Iterable[Any] | None = None, max_bytes: int = _MAX_BYTES,
                 **settings: Any) -> None:
        frames, masks, label_set = _parts(frames, masks, label_set)
        truth = None if truth is None else list(truth)
        for name, given in (("masks", masks), ("truth", truth)):
            if given is not None and len(given) != len(frames):
                raise ArgumentError(name, found=f"{len(given)} masks", expected=f"{len(frames)}, one a frame")
        if not 0 < fps < float("inf"):
            raise ArgumentError("fps", found=fps, expected="frames a second, above 0")
        self._size = _picture(frames[0], 0, None).shape[:2]
        self._count, self._fps, self._label_set, self._has_truth = len(frames), float(fps), label_set, truth is not None
        masks = [check_mask(mask, self._size, label_set, f"of frame {i}") for i, mask in enumerate(masks)]
        if truth is not None:
            truth = [check_mask(mask, self._size, label_set, f"of frame {i}, truth") for i, mask in enumerate(truth)]
        blobs = self._encoded(frames, masks, truth, max_bytes)
        at = np.linspace(0, self._count - 1, min(_STILLS, self._count)).round().astype(int).tolist()
        self._stills = [(i, _picture(frames[i], i, self._size), masks[i], truth[i] if truth else masks[i]) for i in at]
        film = {"size": [self._size[1], self._size[0]], "count": self._count, "fps": self._fps,
                "right": list(RIGHT), "wrong": list(WRONG), "unscored": list(IGNORED),
                "offsets": {name: np.cumsum([0, *map(len, parts)]).astype("<u4").tobytes()
                            for name, parts in blobs.items()}, **_statistics(masks, truth, label_set)}
        super().__init__(film=film, **{name: b"".join(parts) for name, parts in blobs.items()},
                         **self._settings(settings))
        self.label = self.summary()

    @classmethod
    def of(cls, model: nn.Module, source: str | Path | int, *, size: Size | None = (180, 320),
           max_frames: int = 120, step: int = 1, every: int = 1, batch_size: int = 4, smoothing: float = 0.0,
           truth: Sequence[Any] | None = None, max_bytes: int = _MAX_BYTES, progress: bool = True,
           short_side: int | str | None = "auto", normalize: nn.Module | None = None,
           label_set: LabelSet | None = None, **settings: Any) -> VideoScrubber:
        """Read a video and segment it.

        Args:
            model: as for `predict`.
            source: an mp4, avi or webm file, or the number of a camera.
            size: (height, width) of a box that frames are scaled down into; None keeps their size.
            max_frames: stop after so many.
            step: take every n-th frame of the video, so that more of it fits; its speed stays.
            every: run the model on every n-th of them; those between show the mask before.
            batch_size: frames at a time.
            smoothing: 0 to below 1, as for `predict_video`: quiets flicker, and drags behind what moves.
            truth: the true masks, one for each frame that is taken.
            progress: show a bar.
            short_side, normalize, label_set: as for `predict`.
            max_bytes, settings: as for `VideoScrubber`.

        Raises:
            DataError: no video, or no frame in it.
            ArgumentError: a number out of range, or more than `max_bytes`.

        Example:
            >>> import tempfile
            >>> from seglab import build
            >>> from seglab.samples import write_video_sample
            >>> film = write_video_sample(Path(tempfile.mkdtemp()) / "in.webm", 4, size=(96, 128), progress=False)
            >>> VideoScrubber.of(build("fcn", weights="bundled"), film, step=2, progress=False).film["count"]
            2
        """
        for name, value in (("max_frames", max_frames), ("step", step), ("batch_size", batch_size)):
            if value < 1:
                raise ArgumentError(name, found=value, expected="1 or more")
        segmenter = Segmenter(model, normalize=normalize, label_set=label_set, short_side=short_side)
        segment = SteadySegmenter(segmenter, every, smoothing)
        frames: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        with closing(VideoReader(source, size)) as reader:
            total = min(filter(None, (-(-reader.announced // step), max_frames)))
            taken = islice(reader, 0, (max_frames - 1) * step + 1, step)
            bar = progress_bar(total=total, desc="segmenting", unit="frame", shown=progress)
            with in_eval_mode(model), bar:
                while batch := list(islice(taken, batch_size * every)):
                    frames += batch
                    masks += segment(batch)
                    bar.update(len(batch))
        return cls(frames, masks, segmenter.labels(), fps=reader.fps / step, truth=truth, max_bytes=max_bytes,
                   **settings)

    @property
    def nbytes(self) -> int:
        return len(self.jpegs) + len(self.ids) + len(self.truth_ids)

    def picture(self) -> np.ndarray:
        """Four frames, evenly spaced, as the settings show them, with a legend: (H, W, 3) uint8, at most 760 wide."""
        errors = self.shown == "errors"
        labels = _ERRORS if errors else self._colours()
        hidden = [i for i in self.hidden if not (errors and i == self._label_set.background)]
        panels, present = [], set()
        for _, picture, prediction, truth in self._stills:
            mask = truth if self.shown == "truth" else prediction
            off = np.isin(truth if errors else mask, hidden)  # of errors, the true class counts
            if errors:
                mask = np.where(truth == IGNORE, 2, prediction == truth)
            mask = np.where(off, IGNORE, mask).astype(np.uint8)  # what is off shows the picture
            panels.append(overlay(picture, mask, labels, self.opacity, hidden=()))
            present |= set(np.unique(mask).tolist()) - {IGNORE}
        titles = [f"frame {number + 1} of {self._count}, {number / self._fps:.1f} s" for number, *_ in self._stills]
        drawn = sheet(panels, titles, columns=_STILLS)
        return add_legend(drawn, labels, sorted(present), size=13) if present else drawn

    def summary(self) -> str:
        height, width = self._size
        names = [one["name"] for one in self.film["classes"] if one["id"] != IGNORE]
        return (f"VideoScrubber({self._count} frame{'s' * (self._count > 1)}, {width}×{height}, "
                f"{self._count / self._fps:.1f} s: {', '.join(names) or 'no class'}{', with truth' * self._has_truth})")

    def _encoded(self, frames: list[Any], masks: list[np.ndarray], truth: list[np.ndarray] | None, max_bytes: int
                 ) -> dict[str, list[bytes]]:
        """Trait -> its bytes, frame by frame; stops at the first frame that is too much."""
        blobs: dict[str, list[bytes]] = {"jpegs": [], "ids": [], "truth_ids": []}
        total = 0
        for number, frame in enumerate(frames):
            blobs["jpegs"].append(as_file(_picture(frame, number, self._size), "JPEG", quality=88, optimize=True))
            blobs["ids"].append(pack(masks[number]))
            blobs["truth_ids"].append(pack(truth[number]) if truth else b"")
            total += sum(len(parts[-1]) for parts in blobs.values())
            if total > max_bytes:
                height, width = self._size
                raise ArgumentError(
                    "frames", found=f"{total / 2**20:.1f} MB after {number + 1} of {self._count} frames of "
                    f"{width}×{height}", expected=f"at most {max_bytes / 2**20:.1f} MB (max_bytes)",
                    fix="Show fewer frames (frames[::2], or max_frames=… and step=… of a file) or smaller ones "
                        "(size=(180, 320)), or allow more: max_bytes=…")
        return blobs

    @t.validate("frame")
    def _a_frame(self, proposal: Any) -> int:
        if not 0 <= proposal.value < self._count:
            raise ArgumentError("frame", found=proposal.value, expected=f"0 to {self._count - 1}")
        return proposal.value

    @t.validate("shown", "chart", "speed")
    def _one_of(self, proposal: Any) -> Any:
        name = proposal.trait.name
        choices = {"shown": ("prediction", "truth", "errors"), "chart": ("shares", "iou"), "speed": _SPEEDS}[name]
        if proposal.value not in choices:
            raise ArgumentError(name, found=repr(proposal.value), expected=", ".join(map(repr, choices)))
        if name != "speed" and proposal.value != choices[0] and not self._has_truth:
            raise ArgumentError(name, found=repr(proposal.value), expected=f"{choices[0]!r}: there are no true masks",
                                fix="Pass truth=…, a mask a frame.")
        return proposal.value


def _statistics(masks: list[np.ndarray], truth: list[np.ndarray] | None, label_set: LabelSet) -> dict[str, Any]:
    """What the chart shows: the classes that occur, and of each frame and each of them (count, classes) float32."""
    def shares(films: list[np.ndarray] | None) -> np.ndarray:
        return np.array([np.bincount(mask.ravel(), minlength=256) / mask.size for mask in films or ()]).reshape(-1, 256)

    def send(rows: Any) -> bytes:
        return np.array(rows, "<f4").tobytes()

    guessed, real = shares(masks), shares(truth)  # (count, 256) each
    there = np.flatnonzero(guessed.sum(0) + real.sum(0)).tolist()
    scores = [_scores(mask, true) for mask, true in zip(masks, truth or (), strict=False)]
    return {"truth": truth is not None, "classes": [one for one in classes_of(label_set) if one["id"] in there],
            "shares": {"prediction": send(guessed[:, there]), "truth": send(real[:, there])},
            "iou": send([iou[there] for iou, _ in scores]), "accuracy": send([accuracy for _, accuracy in scores])}


def _scores(mask: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """IoU of one frame by id, (256,), NaN where neither has the class; and the share of scored pixels that is right.

    Unlike `metrics.ConfusionMatrix`, it takes predictions with ignored pixels: where there is a truth, they are wrong.
    """
    scored = truth != IGNORE
    guess, real = mask[scored], truth[scored]
    hits, guessed, there = (np.bincount(ids, minlength=256) for ids in (guess[guess == real], guess, real))
    union = guessed + there - hits
    iou = np.divide(hits, union, out=np.full(256, np.nan), where=union > 0)
    iou[IGNORE] = np.nan
    return iou, float(hits.sum() / scored.sum()) if scored.any() else float("nan")


def _parts(frames: Iterable[Any], masks: Iterable[Any] | None, label_set: LabelSet | None
           ) -> tuple[list[Any], list[Any], LabelSet]:
    """Pictures, masks and labels; of `Prediction`s, their own where none are given."""
    frames = list(frames)
    if not frames:
        raise ArgumentError("frames", found="none", expected="one picture or more")
    if all(isinstance(frame, Prediction) for frame in frames):
        masks = [frame.mask for frame in frames] if masks is None else masks
        label_set = label_set or frames[0].label_set
        frames = [frame.image for frame in frames]
    if masks is None or label_set is None:
        raise ArgumentError("masks" if masks is None else "label_set", found="none",
                            expected="a mask a frame and a label set; only Predictions bring their own",
                            fix="VideoScrubber(frames, masks, label_set)")
    return frames, list(masks), label_set


def _picture(frame: Any, number: int, size: tuple[int, int] | None) -> np.ndarray:
    array = as_array(frame)
    try:
        picture = as_picture(array)
    except ArgumentError:
        raise ArgumentError(f"frame {number}", found=f"shape {array.shape}, {array.dtype}",
                            expected="(H, W, 3) or (3, H, W), uint8") from None
    if picture.size == 0 or picture.shape[:2] != (size or picture.shape[:2]):
        raise ArgumentError(f"frame {number}", found=f"{picture.shape[1]}×{picture.shape[0]} pixels",
                            expected=f"{size[1]}×{size[0]}, as frame 0" if size else "at least one pixel")
    return picture
