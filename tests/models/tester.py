"""What every model of the package must do. A model's own tests inherit from `ModelTester` and name it."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seglab.checkpoint import save_checkpoint
from seglab.errors import CheckpointError
from seglab.labels import PETS
from seglab.models import build, load_model
from seglab.models.export import export
from seglab.training import cross_entropy

SMALL = [(65, 43), (64, 96)]  # what `export` compares on here, for speed


class Frozen(nn.Module):
    """A network that computes with the picture's size in Python, where tracing and exporters cannot follow."""

    def __init__(self, num_classes: int = 3, kind: str = "shape") -> None:
        super().__init__()
        self.conv, self.kind = nn.Conv2d(3, num_classes, 1), kind

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        logits, (height, width) = self.conv(images), (int(side) for side in images.shape[-2:])
        if self.kind == "shape":
            logits = F.interpolate(logits[..., ::2, ::2], size=(height, width))
        elif self.kind == "run":
            logits = logits + logits.new_ones(height, width)
        elif height > 100:
            logits = logits + torch.linspace(-0.5, 0.5, logits.shape[1])[:, None, None]
        return {"out": logits}


@torch.no_grad()
def filled(model: nn.Module, seed: int = 0) -> nn.Module:
    """A network that was built on the device "meta", with random numbers: one draw a tensor, of every name its own."""
    torch.manual_seed(seed)
    model = model.to_empty(device="cpu")
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.zero_()
        elif name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 1:
            tensor.uniform_(-0.1, 0.1)
        else:  # as Kaiming He drew them, but for the tails: numbers of a size that deep networks keep
            tensor.uniform_(-1, 1).mul_((6 / tensor[0].numel()) ** 0.5)
    return model.eval()


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random BatchNorm statistics too, so that a mixed-up layer shows."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def checkpoint(path: Path, model: nn.Module) -> Path:
    """A checkpoint as `fit` writes it."""
    model.card.label_set = PETS
    save_checkpoint(path, {"card": model.card.to_dict(), "model": randomised(model).state_dict()})
    return path


def runner(path: Path) -> Any:
    """The exported file alone, without seglab."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(str(path))
        return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.load(str(path))


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    output = model(images)
    return output["out"] if isinstance(output, dict) else output


@torch.no_grad()
def agree(path: Path, source: Path, sizes: list[tuple[int, int, int]]) -> None:
    """The exported file gives the checkpoint's logits for these (pictures, height, width)."""
    run, model = runner(path), load_model(source)
    for size in sizes:
        images = torch.randn(size[0], 3, *size[1:])
        expected, found = logits_of(model, images), run(images)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


class ModelTester:
    """One model, small, through all that is promised of every model.

    Attributes:
        name, options: for `build`.
        pools: it averages over the whole picture, so that what pads it changes the answer.
        sizes: (height, width) of pictures that it must take.
        formats: to export to.
    """

    pytestmark = pytest.mark.slow
    name: str
    options: dict[str, Any] = {}  # noqa: RUF012  (replaced, never changed)
    sizes = ((33, 47), (64, 32), (65, 97), (100, 41))
    formats = ("torchscript", "onnx")

    def build(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return build(self.name, 3, **self.options)

    def test_it_takes_odd_sizes_and_every_parameter_gets_a_gradient(self):
        for size in self.sizes:
            model = self.build()
            output = model(torch.randn(2, 3, *size))
            outputs = output if isinstance(output, dict) else {"logits": output}
            for logits in outputs.values():
                assert logits.shape == ((2, 3, *size) if isinstance(output, dict) else (2, 3))
                assert logits.dtype == torch.float32
            sum(logits.square().mean() for logits in outputs.values()).backward()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)

    @torch.no_grad()
    def test_a_picture_has_the_same_answer_alone_in_a_batch_and_with_its_channels_last(self):
        model, images = randomised(self.build()), torch.randn(3, 3, 65, 97)
        expected = logits_of(model, images)
        torch.testing.assert_close(logits_of(model, images[1:2]), expected[1:2], rtol=1e-4, atol=1e-5)
        last = copy.deepcopy(model).to(memory_format=torch.channels_last)
        found = logits_of(last, images.to(memory_format=torch.channels_last))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))

    def test_the_same_seed_builds_the_same_network(self):
        first, second, other = (self.build(seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert not all(torch.equal(first[name], other[name]) for name in first)

    def test_some_steps_lower_the_loss(self):
        model, images = self.build().train(), torch.randn(4, 3, 64, 64)
        masks = (images[:, 0] > 0).to(torch.uint8)
        if not isinstance(model(images), dict):
            masks = torch.arange(4, dtype=torch.uint8) % 3
        adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.003)
        losses = []
        for _ in range(8):
            adam.zero_grad()
            loss = cross_entropy(model(images), masks)
            loss.backward()
            adam.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]

    @torch.no_grad()
    def test_saved_and_loaded_it_is_the_same_to_the_bit(self, tmp_path):
        model, images = self.build(), torch.randn(1, 3, 65, 43)
        path = checkpoint(tmp_path / "w.safetensors", model)
        loaded = load_model(path)
        assert loaded.card == model.card and not loaded.training
        assert torch.equal(logits_of(loaded, images), logits_of(model, images))

    def test_weights_for_other_classes_are_refused(self, tmp_path):
        path = checkpoint(tmp_path / "w.safetensors", self.build())
        with pytest.raises(CheckpointError, match="num_classes"):
            build(self.name, 4, weights=path)
        bare = tmp_path / "bare.safetensors"
        save_checkpoint(bare, {"settings": {}, "model": self.build().state_dict()})
        with pytest.raises(CheckpointError, match=r"bare\.safetensors"):
            build(self.name, 4, weights=bare, **self.options)

    @torch.no_grad()
    def test_compiled_it_gives_the_same(self):
        model, images = randomised(self.build()), torch.randn(2, 3, 65, 97)
        torch.compiler.reset()
        compiled = torch.compile(model, backend="aot_eager")  # all but the code generation, which takes minutes
        expected = logits_of(model, images)
        torch.testing.assert_close(logits_of(compiled, images), expected, rtol=1e-4,
                                   atol=1e-4 * float(expected.abs().max()))

    def test_exported_the_file_alone_gives_the_same_logits_for_pictures_of_any_size(self, tmp_path):
        source = checkpoint(tmp_path / "w.safetensors", self.build())
        for format in self.formats:
            out = tmp_path / ("w.onnx" if format == "onnx" else "w.pt")
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # none reaches the user
                warnings.filterwarnings("ignore", category=DeprecationWarning, module="(?!seglab)")
                line = export(source, out, format=format, sizes=SMALL)
            assert line.startswith(f"{self.name}, 3 classes: logits differ by at most")
            assert line.endswith(f"written to {out}")
            agree(out, source, [(1, 97, 131), (3, 64, 64), (2, 33, 200), (1, 160, 101)])
        assert len(list(tmp_path.iterdir())) == 1 + len(self.formats)
