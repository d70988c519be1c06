"""Pictures and films through a network: beside the plain torchvision way, and beside the network alone.

    python -m benchmarks.inference

*Pictures*: `predict` from files to masks, beside what torchvision's documentation shows: PIL, the weights' transforms,
the model in eval mode, logits scaled to the picture's size, argmax. At the same working size; of the pixels, at least
97 % must get the same class (pictures are scaled by OpenCV here, by PIL there).
*Engines*: the same network as `seglab export` wrote it, run by ONNX Runtime, beside PyTorch, through `predict`.
*Films*: `predict_video` beside the network alone on the same frames in the same batches, which is the most that can be
reached; and beside the plain way, a loop that reads, predicts, paints and writes one frame after the other.
*Tiles*: a large picture in tiles beside the same as a whole, and the peak memory of both, in processes of their own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from benchmarks.compare import OURS, Part, Row, alone, peak_megabytes, run_part
from seglab.datasets import VideoReader
from seglab.inference import predict, predict_video
from seglab.labels import PETS, VOC
from seglab.models import BUNDLED, build, load_model
from seglab.models.export import export
from seglab.samples import sample_frames, write_video_sample
from seglab.viz.palettes import as_drawn

PLAIN = "the plain torchvision way"


def bundled() -> nn.Module:
    return build("fcn", weights="bundled").eval()


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return build("fcn", 21, backbone="resnet50").eval()


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    output = model(images)
    return output["out"] if isinstance(output, dict) else output


def plain_mask(model: nn.Module, path: Path, short_side: int) -> np.ndarray:
    """As in torchvision's documentation of its segmentation models."""
    image = Image.open(path).convert("RGB")
    mean, std = model.card.mean, model.card.std
    transform = v2.Compose([v2.ToImage(), v2.Resize(short_side, antialias=True), v2.ToDtype(torch.float32, scale=True),
                            v2.Normalize(mean, std)])
    with torch.inference_mode():
        logits = logits_of(model, transform(image).unsqueeze(0))
        logits = F.interpolate(logits, size=image.size[::-1], mode="bilinear", align_corners=False)
        return logits.argmax(1)[0].to(torch.uint8).numpy()


def compare_pictures(part: Part, folder: Path, quick: bool) -> None:
    paths = []
    for number, (frame, _) in enumerate(sample_frames(2 if quick else 8, (480, 640))):
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(frame).save(paths[-1], quality=92)
    model = bundled()
    short_side = model.card.short_side or 224
    same = [np.mean(predict(model, path).mask == plain_mask(model, path, short_side)) for path in paths]
    assert min(same) > 0.97, same
    part.compare("pictures 640×480 to masks, bundled network",
                 {OURS: lambda: [predict(model, path) for path in paths],
                  PLAIN: lambda: [plain_mask(model, path, short_side) for path in paths]},
                 repeats=2 if quick else 7, items=len(paths), unit="images",
                 same=f"{min(same):.1%} of the pixels or more have the same class")


def compare_engines(part: Part, folder: Path, quick: bool) -> None:
    frames = [frame for frame, _ in sample_frames(2 if quick else 8, (360, 640))]
    export(BUNDLED, folder / "pets.onnx")
    slow, fast = load_model(BUNDLED), load_model(folder / "pets.onnx")
    for short_side, size in ((None, "640×360"), (224, "398×224")):
        pairs = [[predict(model, frame, short_side=short_side).mask for model in (fast, slow)] for frame in frames]
        different = np.mean([found != expected for found, expected in pairs])
        assert different < 1e-4, different
        part.compare(f"predict with ONNX Runtime, bundled network, frames of {size}",
                     {OURS: lambda side=short_side: [predict(fast, frame, short_side=side) for frame in frames],
                      "PyTorch": lambda side=short_side: [predict(slow, frame, short_side=side)
                                                                  for frame in frames]},
                     repeats=2 if quick else 7, items=len(frames), unit="images", goals={"PyTorch": 1.5},
                     same=f"{different:.4%} of the pixels have another class")


def plain_film(model: nn.Module, video: Path, out: Path) -> None:
    """One frame after the other: read, predict, paint class by class, write."""
    capture, labels = cv2.VideoCapture(str(video)), as_drawn(PETS if len(model.card.label_set or VOC) == 3 else VOC)
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size)
    normalize = model.card.normalize
    while True:
        good, frame = capture.read()
        if not good:
            break
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        with torch.inference_mode():
            mask = logits_of(model, normalize(torch.from_numpy(rgb).permute(2, 0, 1)[None])).argmax(1)[0].numpy()
        painted = rgb.copy()
        for class_id, colour in enumerate(labels.colours):
            if class_id:
                painted[mask == class_id] = 0.5 * rgb[mask == class_id] + 0.5 * np.array(colour)
        writer.write(cv2.cvtColor(painted, cv2.COLOR_RGB2BGR))
    capture.release()
    writer.release()


def compare_films(part: Part, folder: Path, name: str, make: Callable[[], nn.Module], size: tuple[int, int],
                  frames: int, repeats: int, batch: int = 4) -> None:
    model = make()
    normalize = model.card.normalize
    video = write_video_sample(folder / f"{name}.webm", count=frames, size=size, progress=False)
    pixels = torch.from_numpy(np.stack(list(VideoReader(video))[:batch])).permute(0, 3, 1, 2)
    inside: list[float] = []

    def network() -> None:
        with torch.inference_mode():
            for _ in range(frames // batch):
                model(normalize(pixels))

    def ours() -> None:
        result = predict_video(model, video, folder / "out.webm", batch_size=batch, short_side=None, overwrite=True,
                               progress=False)
        inside.append(result.forward_seconds / result.seconds)

    part.compare(f"a film, {size[1]}×{size[0]}, {name}",
                 {OURS: ours, "the network alone": network,
                  PLAIN: lambda: plain_film(model, video, folder / "plain.mp4")},
                 repeats=repeats, items=frames, unit="frames", goals={"the network alone": 0.9},
                 same=f"{frames} frames in batches of {batch}")
    for row in part.rows[-2:]:
        row.reason = (f"The network runs {np.median(inside):.0%} of the time; reading, painting and encoding go on "
                      f"beside it, on the same {torch.get_num_threads()} cores.")


def alone_with(tile: str, height: str, width: str) -> dict[str, float]:
    """Seconds and memory of one large picture."""
    model = bundled()
    frame = next(iter(sample_frames(1, (500, 1000))))[0]
    picture = np.tile(frame, (-(-int(height) // 500), -(-int(width) // 1000), 1))[:int(height), :int(width)]
    predict(model, picture[:512, :512])
    before, start = peak_megabytes(), time.perf_counter()
    predict(model, picture, tile=int(tile) or None, short_side=None)
    return {"seconds": time.perf_counter() - start, "peak": peak_megabytes() - before}


def compare_tiles(part: Part, quick: bool) -> None:
    for height, width, whole in ((600, 800, True),) if quick else ((2000, 3000, True), (4000, 6000, False)):
        pairs = [(alone("inference", 256 if quick else 1024, height, width),
                  alone("inference", 0, height, width) if whole else None) for _ in range(1 if quick else 3)]
        tiles = [one for one, _ in pairs]
        if whole:
            wholes = [other for _, other in pairs if other is not None]
            part.rows.append(Row(f"a picture of {width}×{height} in tiles", "the same as a whole", 1, "pictures",
                                 [one["seconds"] for one in tiles], [one["seconds"] for one in wholes],
                                 memory={OURS: max(one["peak"] for one in tiles),
                                         "peer": max(one["peak"] for one in wholes)}))
        else:
            seconds, peak = np.median([one["seconds"] for one in tiles]), max(one["peak"] for one in tiles)
            part.notes.append(f"A picture of {width}×{height} in tiles: {seconds:.1f} s, {peak:.0f} MB over the model.")


def measure(options: argparse.Namespace) -> Part:
    part, quick = Part("Inference"), options.quick
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        compare_pictures(part, folder, quick)
        compare_engines(part, folder, quick)
        compare_films(part, folder, "bundled network", bundled, (360, 640), 8 if quick else 96, 1 if quick else 5)
        if not quick:
            compare_films(part, folder, "FCN on ResNet-50", resnet, (180, 320), 12, 3)
    compare_tiles(part, quick)
    return part


if __name__ == "__main__":
    run_part(measure, alone_with)
