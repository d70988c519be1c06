"""Checkpoints as files that run without seglab: ONNX and TorchScript, compared with the original before they count."""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.errors import ArgumentError, CheckpointError, SeglabError, first_line
from seglab.files import atomic_file, check_free
from seglab.models import BackboneWithHeads, Model, fold_batch_norm, load_model
from seglab.models.onnx_model import check_packages, seal

#: How far logits may differ from the original's, as a share of the largest. Another runtime sums in another order: 1e-5
#: in networks of a hundred layers. A size that was frozen by mistake costs a tenth and more.
TOLERANCE = 1e-4
_SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt"}
#: What writes, translates and runs ONNX.
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
#: Height and width of the pictures to compare on: one odd, one of multiples of 32, and one that is large enough for
#: networks that enlarge small pictures to leave it as it is.
_SIZES = ((97, 131), (160, 224), (250, 289))
#: The picture that a network is watched with; none of the above, so that what is frozen to its size shows.
_EXAMPLE = (2, 3, 122, 90)


def export(checkpoint: str | Path, out: str | Path | None = None, format: str = "onnx",
           sizes: Sequence[tuple[int, int]] = _SIZES, overwrite: bool = False) -> str:
    """Write a checkpoint's network into a file that runs without seglab, and compare the two.

    The file has one input, `images`, (N, 3, H, W) float32, normalised, and one output, `logits`, (N, C, H, W) float32,
    of a classifier (N, C); any N, H and W. It says what a user must know, each value as JSON: "classes", "colours",
    "mean" and "std" (the picture in [0, 1], less the mean, divided by the deviation), and where the checkpoint says
    so "short_side" (scale larger pictures down to it), "zoom" (then scale all by it, and the logits back) and "size"
    (the squares that a classifier was trained on). In ONNX that is `metadata_props`; in TorchScript the extra file
    "seglab.json", one JSON object of all of them. `load_model` reads ONNX files again, and ONNX Runtime runs them.

    Before the file takes its name it is read again and run on random pictures of each of `sizes`, (height, width),
    alone and in batches; its logits must agree with the network's to 1e-4 of the largest.

    Args:
        checkpoint: of `fit` or of `seglab convert`.
        out: the file to write, ending in .onnx or .pt; by default the checkpoint's name in the current folder.
        format: "onnx", which takes about half a minute, or "torchscript".

    Returns:
        one line that says what was written, and how far the logits differ.

    Raises:
        ArgumentError: an unknown format, another ending, or `out` is there already, or cannot be written.
        CheckpointError: the checkpoint is unreadable, or holds weights that do not say of which model.
        SeglabError: a package is missing, or the network cannot be exported, or the file gives other logits.

    Example:
        >>> import tempfile
        >>> from seglab.models import BUNDLED
        >>> line = export(BUNDLED, Path(tempfile.mkdtemp()) / "pets.pt", format="torchscript", sizes=[(64, 48)])
        >>> line.split(":")[0]
        'fcn_skip, 3 classes'
    """
    if format not in _SUFFIXES:
        raise ArgumentError("format", found=repr(format), expected=" or ".join(_SUFFIXES))
    out = Path(Path(checkpoint).stem + _SUFFIXES[format]) if out is None else Path(out).expanduser()
    if out.suffix != _SUFFIXES[format]:
        raise ArgumentError("out", found=out.name, expected=f"a name ending in {_SUFFIXES[format]} for {format}")
    check_free(out, "out", overwrite)
    if format == "onnx":
        check_packages(_PACKAGES, "export to onnx", ", or use --format torchscript")
    model = checkpoint_model(checkpoint)
    network = Logits(model).eval()
    write, read = {"onnx": (_write_onnx, _read_onnx), "torchscript": (_write_torchscript, _read_torchscript)}[format]
    with atomic_file(out) as path:
        try:
            write(network, path, _about(model))
        except OSError:  # the disk
            raise
        except Exception as error:  # exporters raise what they like
            raise SeglabError(f"{checkpoint}: export to {format}", found=reason(error),
                              expected="a network that can be exported",
                              fix="Try the other format; if neither works, please report this.") from error
        worst = _compare(network, path, read, sizes, f"{checkpoint}: export to {format}")
    places = ", ".join(f"{height}×{width}" for height, width in sizes)
    made = model.card.architecture
    return (f"{made['name']}, {made['num_classes']} classes: logits differ by at most {worst:.1g} of "
            f"the largest, at {places}; written to {out}")


def checkpoint_model(path: str | Path) -> Model:
    """The model of a checkpoint, in PyTorch; CheckpointError for what is exported already."""
    if (model := load_model(path)).card.architecture:
        return model
    raise CheckpointError(f"{path}: checkpoint", found="a network that was exported already",
                          expected="a checkpoint of `fit` or of `seglab convert`")


class Logits(nn.Module):
    """A model that returns its logits alone, a copy: without the auxiliary head, which serves training only."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        if isinstance(self.model, BackboneWithHeads):
            self.model.aux_classifier = None

    def forward(self, images: Tensor) -> Tensor:
        output = self.model(images)
        return output["out"] if isinstance(output, dict) else output


class _SameConv(nn.Module):
    """timm's `Conv2dSame` of stride 2, its padding written so that torch.export can follow it.

    TensorFlow's "same" padding is p on both sides of an odd length; on an even one the left loses one. timm computes
    it with ceilings and maxima; over unknown sizes, layer upon layer, torch.export reasons about those for minutes.
    Here an even length pads one more on the right instead, which a stride of 2 never reaches: the padded length is
    length + 2p in both cases, a formula that stays short.
    """

    def __init__(self, conv: Conv2dSame) -> None:
        super().__init__()
        self.conv = conv
        self.reach = [dilation * (size - 1) // 2 for size, dilation in zip(conv.kernel_size, conv.dilation,
                                                                          strict=True)]

    @staticmethod
    def fits(module: nn.Module) -> bool:
        return (isinstance(module, Conv2dSame) and tuple(module.stride) == (2, 2)
                and all(size % 2 == 1 and size > 1 for size in module.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        (down, right), conv = self.reach, self.conv
        bottom, last = (1 - side % 2 for side in x.shape[-2:])  # 1 for an even length
        x = F.pad(x, (right - last, right + last, down - bottom, down + bottom))  # (N, K, H + 2·down, W + 2·right)
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def _write_onnx(network: nn.Module, path: Path, about: dict[str, Any]) -> None:
    # ONNX Runtime would fold BatchNorm too; before the export it saves torch.export a quarter of its time.
    network = fold_batch_norm(network, torch.zeros(_EXAMPLE))
    modules: list[Any] = list(network.modules())
    for module in modules:
        if hasattr(module, "inplace"):
            module.inplace = False  # a graph has no places; taking them out again costs torch.export half its time
        for name, child in list(module.named_children()):
            if _SameConv.fits(child):
                setattr(module, name, _SameConv(child))
    shapes = {"images": {0: "batch", 2: "height", 3: "width"}}
    program = torch.onnx.export(network, (torch.zeros(_EXAMPLE),), dynamo=True, dynamic_shapes=shapes, verbose=False,
                                input_names=["images"], output_names=["logits"], opset_version=20)
    assert program is not None  # it is with dynamo=False only
    program.model.metadata_props.update({key: json.dumps(value) for key, value in about.items()})
    program.save(str(path))
    seal(path)


def _read_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


# TorchScript is deprecated, but is what LibTorch and PyTorch Mobile read; our user can do nothing about the warnings.
def _write_torchscript(network: nn.Module, path: Path, about: dict[str, Any]) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        # Tracing freezes what Python decides, and warns of it; where that matters, the comparison fails.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, torch.zeros(_EXAMPLE), check_trace=False)  # the comparison checks more
        save_traced(traced, path, {"seglab.json": json.dumps(about)})


def save_traced(traced: torch.jit.ScriptModule, path: Path, extra: dict[str, str] | None = None) -> None:
    """Write TorchScript, by way of the memory: torch's own writer ends the process where the disk is full."""
    data = io.BytesIO()
    torch.jit.save(traced, data, _extra_files=extra)
    path.write_bytes(data.getbuffer())


def _read_torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(str(path), map_location="cpu")


def _compare(network: nn.Module, path: Path, read: Callable[[Path], Callable[[Tensor], Tensor]],
             sizes: Sequence[tuple[int, int]], what: str) -> float:
    """The largest difference of the logits, as a share of the largest logit, if it is small enough."""
    generator = torch.Generator().manual_seed(0)
    fix = "Nothing was written. Try the other format; if neither works, please report this."
    worst, run = 0.0, None
    for index, (height, width) in enumerate(sizes):
        images = torch.randn(1 + 2 * (index % 2), 3, height, width, generator=generator)  # 1, 3, 1, … pictures
        try:
            run = read(path) if run is None else run
            with torch.no_grad():
                expected, found = network(images), run(images)
        except Exception as error:  # runtimes too
            raise SeglabError(f"{what}: a run", found=f"at {height}×{width}: {reason(error)}",
                              expected="logits for pictures of any size", fix=fix) from error
        if found.shape != expected.shape:
            raise SeglabError(f"{what}: logits", found=f"{tuple(found.shape)} at {height}×{width}",
                              expected=f"{tuple(expected.shape)}", fix=fix)
        # Of the largest: the logits of a network with random weights are small, and 1e-4 would be much.
        difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
        if not difference <= TOLERANCE:  # NaN too
            raise SeglabError(f"{what}: logits", found=f"a difference of {difference:.2g} at {height}×{width}",
                              expected=f"at most {TOLERANCE:g} of the largest logit, at every size", fix=fix)
        worst = max(worst, difference)
    return worst


def _about(model: Model) -> dict[str, Any]:
    card, normalize = model.card, model.card.normalize
    known = {"mean": normalize.mean, "std": normalize.std, "short_side": card.short_side,
             "zoom": card.zoom if card.zoom != 1 else None, "size": card.size,
             "classes": getattr(card.label_set, "classes", None), "colours": getattr(card.label_set, "colours", None)}
    return {key: value for key, value in known.items() if value is not None}


def reason(error: BaseException) -> str:
    """The first line of the error that began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {first_line(error)}"
