"""Networks that `seglab export` wrote as ONNX, run by ONNX Runtime behind the same interface as all others."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from seglab.errors import CheckpointError, SeglabError, first_line
from seglab.labels import known_label_set
from seglab.models.card import Card, Model

_CHECKSUM = b"seglab.checksum"


def seal(path: Path) -> None:
    """Append a checksum of an ONNX file to it.

    It is one more entry of the metadata: parts of a protobuf message may follow each other.
    """
    data = path.read_bytes()
    with open(path, "ab") as file:
        file.write(_seal(data))


def _seal(data: bytes) -> bytes:
    digest = json.dumps(hashlib.blake2b(data, digest_size=16).hexdigest()).encode()  # JSON, as all its metadata
    entry = b"".join(bytes([field << 3 | 2, len(text)]) + text for field, text in ((1, _CHECKSUM), (2, digest)))
    return bytes([14 << 3 | 2, len(entry)]) + entry  # field 14 of ModelProto: metadata_props


def check_packages(packages: tuple[str, ...], what: str, fix: str = "") -> None:
    """A SeglabError if one of these packages is missing, which says how it is installed."""
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise SeglabError(what, found=f"no package {', '.join(missing)}", expected=", ".join(packages),
                          fix=f"python -m pip install {' '.join(packages)}{fix}.")


class OnnxModel(Model):
    """The network of an ONNX file: (N, 3, H, W) float32, normalised, on the CPU -> {"out": (N, C, H, W)}.

    ONNX Runtime folds BatchNorm into convolutions and joins operations: on a CPU it takes about half of PyTorch's
    time, and logits differ by rounding (1e-5 of the largest). It can be applied, not trained.

    Args:
        path: what `seglab export` wrote, of a segmentation network.

    Raises:
        CheckpointError: missing, damaged, another ONNX file, or that of a classifier.
        SeglabError: ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        check_packages(("onnxruntime",), f"{path}: a network as ONNX")
        import onnxruntime

        self.path = Path(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what is wrong comes as an exception, too
        # Threads that wait by running would take the cores from those that read, paint and write.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        data = self._read()
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own kinds
            raise self._wrong(first_line(error), "a graph that ONNX Runtime can run") from error
        self.card = self._card(self._session.get_modelmeta().custom_metadata_map)
        if self.card.size is not None:
            raise self._wrong("a classifier, which gives one answer a picture", "a segmentation network")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        try:
            found = self._session.run(["logits"], {"images": images.detach().contiguous().numpy()})[0]
        except Exception as error:  # its own kinds, and what NumPy raises for tensors elsewhere
            found = f"{tuple(images.shape)} {images.dtype} on {images.device}: {first_line(error)}"
            raise self._wrong(found, "(N, 3, H, W) float32, on the CPU") from error
        return {"out": torch.from_numpy(found)}  # (N, C, H, W)

    def _read(self) -> bytes:
        """The file, if it is as `seal` left it."""
        try:
            data = self.path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a 0 in the name
            raise self._wrong(getattr(error, "strerror", None) or str(error), "a file that can be read") from error
        length = len(_seal(b""))
        if data[-length:] != _seal(data[:-length]):
            raise self._wrong(f"no checksum that fits its {len(data):,} bytes", "what `seglab export` wrote, unchanged")
        return data

    def _card(self, about: dict[str, str]) -> Card:
        """From the metadata that `export` lists."""
        try:
            found = {name: json.loads(text) for name, text in about.items() if name != _CHECKSUM.decode()}
            if (classes := found.pop("classes", None)) is not None:
                found["label_set"] = {**asdict(known_label_set(classes)), "colours": found.pop("colours")}
        except (SeglabError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._wrong(f"metadata: {type(error).__name__}: {first_line(error)}", "those of `export`") from error
        return Card.parse({"card": {**found, "seglab": None}}, self.path)

    def _wrong(self, found: str, expected: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: a network as ONNX", found=found, expected=expected,
                               fix="Export it again from its checkpoint: seglab export CHECKPOINT.")
