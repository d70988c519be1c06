"""What was trained on a GPU can be exported, and the file gives its answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seglab.models.export import export
from tests.training.runs import Blobs, train


@pytest.mark.parametrize("format", ["torchscript", "onnx"])
def test_the_file_says_what_the_model_on_the_gpu_says(tmp_path, exact, format):
    if format == "onnx":
        for package in ("onnx", "onnxruntime", "onnxscript"):
            pytest.importorskip(package)
    _, model = train(tmp_path / "run", epochs=1)
    out = tmp_path / ("net.onnx" if format == "onnx" else "net.pt")
    export(tmp_path / "run" / "last.safetensors", out, format=format, sizes=[(16, 16), (9, 14)])
    pictures = Blobs(2).images.float() / 255
    expected = model.eval()(pictures.to("cuda"))["out"].detach().cpu().numpy()
    if format == "onnx":
        import onnxruntime

        found = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"]).run(
            ["logits"], {"images": pictures.numpy()})[0]
    else:
        found = torch.jit.load(str(out), map_location="cpu")(pictures).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
