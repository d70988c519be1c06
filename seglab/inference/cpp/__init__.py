"""A checkpoint as a C++ program: what `predict` does, in a folder that needs LibTorch and a compiler, but no Python."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.errors import ArgumentError, SeglabError
from seglab.files import atomic_folder, check_free
from seglab.inference.predict import predict
from seglab.labels import LabelSet, known_label_set
from seglab.models import Classifier, Model
from seglab.models.export import Logits, checkpoint_model, reason, save_traced

#: Height and width of the pictures to compare on, two of them odd; beside one that is larger than the card's size.
_SIZES = ((97, 131), (289, 250), (256, 320))
#: What the network is traced with; none of the above, so that what is frozen to its size shows.
_EXAMPLE = (122, 90, 3)
#: How far log-probabilities may be away in the mean, as a share. Where OpenCV rounds pixels otherwise, as it may on
#: other processors, it is half a percent; where the mean or the deviation is wrong, several.
TOLERANCE = 1e-2
_TINY = 1e-30  # what probabilities are raised to, for their logarithms
_HERE = Path(__file__).parent
_MODEL, _SOURCE, _BUILD, _TEXT = "model.pt", "segment.cpp", "CMakeLists.txt", "README.md"


def export_cpp(checkpoint: str | Path, out: str | Path | None = None, sizes: Sequence[tuple[int, int]] = _SIZES,
               overwrite: bool = False) -> str:
    """Write a folder with a C++ program that segments pictures as `predict` does, and compare the two.

    The folder holds `segment.cpp`; `CMakeLists.txt`; `README.md`, which says how to build and to run it; and
    `model.pt`, the network with everything around it: a picture (H, W, 3) uint8 in, its mask (H, W) uint8 out. Scaling,
    mean and deviation are inside, so that the program reads a picture, calls the model and writes the mask. The method
    `scores` of the model gives (C, H, W) float32 logits, and the attribute `colours` is (C, 3) uint8.

    The model is TorchScript. It is deprecated, but it is the one format that LibTorch loads on any system and for any
    size of picture: packages of AOTInductor need a compiler when they are written, and run only on machines of the
    same kind. Load files of TorchScript only if you trust whoever wrote them.

    Before the folder takes its name, the model is read again and run on random pictures of each of `sizes`, (height,
    width), and of one that is larger than the card's `short_side`. A pixel may differ from `predict` only where that
    finds one class less than twice as probable as the other, so that rounding may decide; and log-probabilities may
    differ by 1 % in the mean.

    Args:
        checkpoint: of `fit` or of `seglab convert`, of a segmentation network.
        out: the folder to write; by default the checkpoint's name with _cpp, in the current folder.
        overwrite: replace these four files in a folder that was written so; what else lies there stays.

    Returns:
        one line that says what was written, and how many pixels differ.

    Raises:
        ArgumentError: `out` is there already, or may not be replaced.
        CheckpointError: the checkpoint is unreadable, or holds weights that do not say of which model.
        SeglabError: a classifier, or a network that cannot be traced, or the model gives other masks.

    Example:
        >>> import tempfile
        >>> from seglab.models import BUNDLED
        >>> folder = Path(tempfile.mkdtemp()) / "pets"
        >>> line = export_cpp(BUNDLED, folder, sizes=[(64, 48)])
        >>> sorted(path.name for path in folder.iterdir())
        ['CMakeLists.txt', 'README.md', 'model.pt', 'segment.cpp']
    """
    out = Path(Path(checkpoint).stem + "_cpp") if out is None else Path(out).expanduser()
    check_free(out, "out", overwrite, folder=True)
    if out.exists() and not _is_ours(out):
        raise ArgumentError("out", found=f"{out}, which `seglab export --cpp` did not write", expected="a new folder")
    model, what = checkpoint_model(checkpoint), f"{checkpoint}: export to C++"
    if isinstance(model, Classifier):
        raise SeglabError(what, found="a classifier, which gives one answer a picture",
                          expected="a segmentation network", fix="Use --format onnx or torchscript.")
    made = model.card.architecture
    labels = model.card.label_set or known_label_set([f"class {i}" for i in range(made["num_classes"])])
    with atomic_folder(out) as new:
        try:
            _write_model(Whole(model, labels), new / _MODEL)
        except OSError:  # the disk
            raise
        except Exception as error:  # tracing raises what it likes
            raise SeglabError(what, found=reason(error), expected="a network that can be traced",
                              fix="Use --format onnx; if that does not work either, please report this.") from error
        line = _compare(model, new / _MODEL, sizes, what)
        for name in (_SOURCE, _BUILD):
            (new / name).write_bytes((_HERE / name).read_bytes())
        (new / _TEXT).write_text(_readme(f"{made['name']}, {made['num_classes']} classes", labels), encoding="utf-8")
        if out.exists():
            for path in sorted(new.iterdir()):
                os.replace(path, out / path.name)
    return f"{made['name']}, {made['num_classes']} classes: {line}; written to {out}{os.sep}"


class Whole(nn.Module):
    """All that `predict` does to one picture, for any H and W: (H, W, 3) uint8 -> (H, W) uint8 class ids.

    Sizes are tensors here while it is traced, and nothing branches on them.
    """

    colours: Tensor

    def __init__(self, model: Model, labels: LabelSet) -> None:
        super().__init__()
        card = model.card
        self.network, self.normalize = Logits(model).eval(), card.normalize
        self.short_side, self.zoom = card.short_side, card.zoom
        self.register_buffer("colours", torch.tensor(labels.colours, dtype=torch.uint8))  # (C, 3)

    def forward(self, picture: Tensor) -> Tensor:
        return self.scores(picture).max(0).indices.to(torch.uint8)  # (C, H, W) -> (H, W)

    def scores(self, picture: Tensor) -> Tensor:
        """(H, W, 3) uint8 -> (C, H, W) float32 logits."""
        size = picture.shape[:2]
        scaled = self.short_side is not None or self.zoom != 1
        inside = self._scaled(picture) if scaled else picture  # (h, w, 3)
        logits = self.network(self.normalize(inside.permute(2, 0, 1)[None]))  # (1, C, h, w)
        if scaled:
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return logits[0]

    def _scaled(self, picture: Tensor) -> Tensor:
        """The picture at the size at which the network works, to the bit as `Segmenter.inside` has it from OpenCV."""
        sides = torch.stack([torch.as_tensor(side) for side in picture.shape[:2]])  # (H, W)
        inside = sides.double()
        if self.short_side is not None:
            scale = (self.short_side / inside.min()).clamp(max=1)
            inside = (inside * scale).round().clamp(min=1)
        inside = (inside * self.zoom).round().clamp(min=1)
        if self.zoom <= 1:
            return _shrunk(picture, sides, inside)
        if self.short_side is None:
            return _enlarged(picture, sides, inside)
        return torch.where(inside[0] > sides[0], _enlarged(picture, sides, inside), _shrunk(picture, sides, inside))


def _shrunk(picture: Tensor, sides: Tensor, new: Tensor) -> Tensor:
    """OpenCV's INTER_AREA: each new pixel is the mean of the area that it covers. (H, W, 3) -> (h, w, 3) uint8."""
    steps = sides / new  # how many old pixels a new one covers, in height and width
    whole = (steps == steps.round()).all()  # then OpenCV adds up whole numbers and divides once
    (above, a), (left, b) = (_covered(sides[axis], new[axis], steps[axis], whole) for axis in (0, 1))
    columns = picture.float().transpose(0, 1).flatten(1)  # (W, H·3)
    columns = torch.bmm(b[:, None], columns[left]).unflatten(2, (-1, 3))  # (w, 1, k) @ (w, k, H·3) -> (w, 1, H, 3)
    rows = columns[:, 0].transpose(0, 1).flatten(1)  # (H, w·3)
    pixels = torch.bmm(a[:, None], rows[above])[:, 0].unflatten(1, (-1, 3))  # (h, 1, k) @ (h, k, w·3) -> (h, w, 3)
    pixels = pixels / torch.where(whole, steps.prod(), 1).float()
    # Halves go to the even neighbour, but upwards where both sides are exactly halved: that is other code in OpenCV.
    return torch.where((steps == 2).all(), (pixels + 0.5).floor(), pixels.round()).to(torch.uint8)


def _covered(side: Tensor, new: Tensor, step: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
    """For each new pixel the old ones that it covers, and how much it has of each: (n, k) and (n, k) float32."""
    start = _counted(new)[:, None] * step  # (n, 1)
    old = start.floor() + _counted(step + 2)  # (n, k)
    shared = torch.minimum(old + 1, start + step) - torch.maximum(old, start)
    shared = shared * (shared > 1e-3)  # OpenCV passes over slivers
    return old.long().clamp(max=side - 1), (shared / torch.where(whole, 1, step)).float()


def _enlarged(picture: Tensor, sides: Tensor, new: Tensor) -> Tensor:
    """OpenCV's INTER_LINEAR, which computes in whole numbers: weights of 1/2048. (H, W, 3) -> (h, w, 3) uint8."""
    (above, below, a, b), (left, right, c, d) = (_neighbours(sides[axis], new[axis]) for axis in (0, 1))
    pixels = picture.int()
    pixels = (pixels[:, left] * c[:, None] + pixels[:, right] * d[:, None]) >> 4  # (H, w, 3)
    a, b = a[:, None, None], b[:, None, None]
    pixels = ((pixels[above] * a) >> 16) + ((pixels[below] * b) >> 16)  # (h, w, 3), in quarters
    return ((pixels + 2) >> 2).to(torch.uint8)


def _neighbours(side: Tensor, new: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each new pixel the two old ones that its middle lies between, and their weights in 1/2048: four (n,)."""
    middle = ((_counted(new) + 0.5) * (side / new) - 0.5).float()
    before = middle.floor()
    share = middle - before
    first, second = (index.long().clamp(min=0).minimum(side - 1) for index in (before, before + 1))
    return first, second, ((1 - share) * 2048).round().int(), (share * 2048).round().int()


def _counted(length: Tensor) -> Tensor:
    """0, 1, … of a length, which stays a tensor, so that tracing sees that it may change: (n,) float64."""
    return torch.arange(cast(int, length.long())).double()


def _write_model(whole: Whole, path: Path) -> None:
    example = torch.zeros(_EXAMPLE, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        _expect_warnings()
        traced = torch.jit.trace_module(whole, {"forward": example, "scores": example}, check_trace=False)
        save_traced(traced, path)


def _read_model(path: Path) -> Any:
    with warnings.catch_warnings():
        _expect_warnings()
        return torch.jit.load(str(path), map_location="cpu")


def _expect_warnings() -> None:
    """Two warnings that the user can do nothing about: TorchScript is deprecated; tracing freezes what Python decides.

    Whether that matters, the comparison finds out.
    """
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is (deprecated|not supported in Python 3\.14)")
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)


def _compare(model: Model, path: Path, sizes: Sequence[tuple[int, int]], what: str) -> str:
    """How the masks of the model in the file differ from those of `predict`, in words; an error if it is too much."""
    generator, short = torch.Generator().manual_seed(0), model.card.short_side
    fix = "Nothing was written. Try --format onnx; if that does not work either, please report this."
    run, differing, count = None, 0, 0
    for height, width in [*sizes, *([(short * 7 // 4, short * 3 // 2)] if short else [])]:
        picture = _random_picture(height, width, generator)
        expected, at = predict(model, [picture.numpy()])[0].mask, f"at {height}×{width}"
        probabilities = predict(model, [picture.numpy()], probabilities=True)[0].probabilities
        assert probabilities is not None  # asked for
        try:
            run = _read_model(path) if run is None else run
            with torch.no_grad():
                mask, scores = run(picture).numpy(), run.scores(picture)
        except Exception as error:  # LibTorch raises what it likes
            raise SeglabError(f"{what}: a run", found=f"{at}: {reason(error)}",
                              expected="masks of pictures of any size", fix=fix) from error
        if mask.shape != expected.shape or mask.dtype != expected.dtype:
            raise SeglabError(f"{what}: mask", found=f"{mask.shape}, {mask.dtype} {at}",
                              expected=f"{expected.shape}, {expected.dtype}", fix=fix)
        known, found = np.log(probabilities.clip(_TINY)), scores.log_softmax(0).numpy().clip(np.log(_TINY))  # (C, H, W)
        chosen, other = (np.take_along_axis(known, ids[None].astype(np.intp), 0) for ids in (expected, mask))
        wrong = int((chosen - other > np.log(2)).sum())
        # Where a network sees one class in all of a picture, masks alone would not show that its input is wrong.
        away = float(np.abs(found - known).mean() / np.abs(known).mean())
        if wrong or not away <= TOLERANCE:  # NaN too
            raise SeglabError(f"{what}: masks", found=f"{at}, {wrong:,} pixels of another class and log-probabilities "
                              f"that are away by {away:.1%}", expected=f"none, and at most {TOLERANCE:.0%}", fix=fix)
        differing, count = differing + int((mask != expected).sum()), count + mask.size
    return f"masks as of `seglab predict`, {differing:,} of {count:,} pixels differ"


def _random_picture(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Soft spots of colour with some noise: (height, width, 3) uint8."""
    spots = torch.rand(1, 3, height // 24 + 2, width // 24 + 2, generator=generator)
    picture = F.interpolate(spots, size=(height, width), mode="bilinear", align_corners=True)[0].permute(1, 2, 0)
    noise = torch.randn(height, width, 3, generator=generator)
    return (255 * picture + 12 * noise).round().clamp(0, 255).to(torch.uint8)


def _is_ours(folder: Path) -> bool:
    """Whether the folder holds a program that an export wrote."""
    source = folder / _SOURCE
    return source.is_file() and source.read_bytes().startswith((_HERE / _SOURCE).read_bytes().splitlines()[0])


def _readme(network: str, labels: LabelSet) -> str:
    classes = "\n".join(f"| {i} | {name} | {', '.join(map(str, colour))} |"
                        for i, (name, colour) in enumerate(zip(labels.classes, labels.colours, strict=True)))
    return Template((_HERE / _TEXT).read_text(encoding="utf-8")).substitute(
        network=network, classes=classes, torch=torch.__version__.partition("+")[0])
