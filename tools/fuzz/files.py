"""Checkpoints, weights, caches, videos, notebooks and archives: valid ones, what damages them, and who reads them."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import onnx
import torch
import torchvision
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, writes
from safetensors.torch import save_file
from torch import Tensor, nn

from seglab import lessons
from seglab.checkpoint import load_checkpoint, save_checkpoint
from seglab.classroom.collect import collect, read_notebook
from seglab.datasets import VideoReader, open_dataset
from seglab.datasets.download import unpack
from seglab.models import Classifier, build, load_model, load_weights
from seglab.models.convert import convert, read_pickle
from seglab.models.export import export
from seglab.models.onnx_model import seal
from seglab.recipes import evaluate_checkpoint
from seglab.samples import write_catdog_sample, write_drone_sample, write_video_sample
from seglab.training import fit, make_optimizer, make_schedule
from seglab.training.features import extract_features
from tools.fuzz import mutations as by
from tools.fuzz.datasets import content, digest, make_coco, run_coco, write_pairs, write_table
from tools.fuzz.processes import Kind, Result


# ----------------------------------------------------------------------------------------------------- checkpoints
def train(folder: Path, epochs: int) -> tuple[nn.Module, Any]:
    """One convolution on four pictures; goes on with the run that is there."""
    torch.manual_seed(0)
    data, model = open_dataset(folder / "data", progress=False), build("single_conv", 3)
    optimizer = make_optimizer("adamw", [{"params": [*model.parameters()], "lr": 0.01}], 0.01)
    return model, fit(model, data.train, data.val, optimizer=optimizer, epochs=epochs, batch_size=2, progress=False,
                      scheduler=make_schedule("one-cycle", optimizer, 2), folder=folder / "run")


def make_run(folder: Path) -> None:
    write_pairs(folder / "data" / "images", folder / "data" / "masks", range(4))
    write_table(folder / "data" / "class_dict.csv")
    train(folder, 1)


def run_load(folder: Path, path: Path, policy: str) -> Result:
    model = load_model(path)
    return Result([repr(model.card), digest(model.training, *model.state_dict().values())])


def run_resume(folder: Path, path: Path, policy: str) -> Result:
    model, history = train(folder, 2)
    return Result([repr(history.rows), history.best_epoch, digest(*model.state_dict().values())])


def run_evaluate(folder: Path, path: Path, policy: str) -> Result:
    scores, splits = evaluate_checkpoint(path, data=folder / "data", progress=False)
    return Result([str(scores), digest(scores.iou), str(splits)])


def of_checkpoint(data: bytes, rng: Random) -> tuple[bytes, str]:
    """What is in a checkpoint, written again by seglab itself, so that every checksum is right."""
    path = Path("tree.safetensors")
    path.write_bytes(data)
    tree = load_checkpoint(path)
    tensors = [(holder, key, where) for holder, key, where in by.places(tree) if isinstance(holder[key], Tensor)]
    if rng.random() < 0.3:
        holder, key, what = rng.choice(tensors)
        one = holder[key]
        holder[key] = new = rng.choice([one.double(), one.half(), one[..., :1], one * torch.nan, one.flatten(), 0.5,
                                        one[None], one.sum(), one.to(torch.int64), one > 0, one[..., :0], one + 1])
        what += f" = {new if isinstance(new, float) else f'{new.dtype} of {tuple(new.shape)}'}"
    else:
        tree, what = by.of_tree(tree, rng)
    save_checkpoint(path, tree)
    return path.read_bytes(), what


def make_onnx(folder: Path) -> None:
    make_run(folder)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")  # the exporter makes one
    export(folder / "run" / "best.safetensors", folder / "net.onnx", sizes=[(8, 9)])


def run_onnx(folder: Path, path: Path, policy: str) -> Result:
    model = load_model(path)
    return Result([repr(model.card), digest(model(torch.linspace(-1, 1, 240).view(1, 3, 8, 10))["out"])])


def of_onnx(data: bytes, rng: Random) -> tuple[bytes, str]:
    """The metadata of a network, with a right checksum behind them."""
    path, network = Path("net.onnx"), onnx.load_model_from_string(data)
    entry = rng.choice(network.metadata_props)
    if rng.random() < 0.2:
        entry.value, what = by.of_bytes(entry.value.encode(), rng)[0].decode(errors="replace"), entry.key
    else:
        tree, what = by.of_tree({entry.key: json.loads(entry.value)}, rng)
        entry.value = json.dumps(tree.get(entry.key) if isinstance(tree, dict) else tree, default=str)
    path.write_bytes(network.SerializeToString())
    seal(path)
    return path.read_bytes(), what


# ---------------------------------------------------------------------------------------------------------- weights
def make_weights(folder: Path) -> None:
    folder.mkdir()
    torch.manual_seed(0)
    save_file(build("single_conv", 3).state_dict(), folder / "bare.safetensors", {"format": "pt"})


def run_weights(folder: Path, path: Path, policy: str) -> Result:
    return Result(digest(*load_weights(build("single_conv", 3), path).state_dict().values()))


def make_pth(folder: Path) -> None:
    """Small state dicts: plain, and in a training checkpoint, with views of one storage; new and old formats."""
    folder.mkdir()
    torch.manual_seed(0)
    numbers, network = torch.randn(40), nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    whole = {"epoch": 3, "rates": [0.1, (1, None, True)], "state_dict": {
        "a": numbers[:10], "b": numbers[8:32].view(4, 6).T, "c": nn.Parameter(numbers.half()), "d": torch.tensor(7)}}
    for name, state in (("plain", network.state_dict()), ("whole", whole)):
        torch.save(state, folder / f"{name}.pth")
        torch.save(state, folder / f"{name}.old", _use_new_zipfile_serialization=False)


def run_pth(folder: Path, path: Path, policy: str) -> Result:
    return Result([[name, str(one.dtype), digest(one)] for name, one in read_pickle(path).items()])


def make_convert(folder: Path) -> None:
    folder.mkdir()
    torch.manual_seed(0)
    network = torchvision.models.get_model("deeplabv3_mobilenet_v3_large", weights=None, weights_backbone=None)
    torch.save(network.half().state_dict(), folder / "deeplab.pth")


def run_convert(folder: Path, path: Path, policy: str) -> Result:
    line = convert(path, folder / "made.safetensors")
    return Result([line.partition(": ")[0], digest((folder / "made.safetensors").read_bytes())])


def zip_broken(path: Path) -> bool:
    """Whether a checksum in a zip file is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is not None
    except Exception:  # its table of contents, which has none
        return False


# ----------------------------------------------------------------------------------------------------------- caches
@contextlib.contextmanager
def home_in(folder: Path) -> Iterator[list[str]]:
    """The home of seglab in the folder; gives what it warns of."""
    with mock.patch.dict(os.environ, SEGLAB_HOME=str(folder / "home")), warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        said: list[str] = []
        yield said
    said += [str(one.message).replace(str(folder), "") for one in found if one.category is UserWarning]


def make_cache(folder: Path) -> None:
    write_pairs(folder / "data" / "images", folder / "data" / "masks", range(4))
    write_table(folder / "data" / "class_dict.csv")
    run_cache(folder, folder, "error")


def run_cache(folder: Path, path: Path, policy: str) -> Result:
    with home_in(folder) as said:
        found = content(open_dataset(folder / "data", problems=policy, progress=False))
    return Result([found.value, said], found.skipped)


def make_coco_cache(folder: Path) -> None:
    make_coco(folder)
    run_coco_cache(folder, folder / "set", "error")


def run_coco_cache(folder: Path, path: Path, policy: str) -> Result:
    with home_in(folder):
        return run_coco(folder, folder / "set", policy)


def make_labelled(folder: Path) -> None:
    write_catdog_sample(folder / "data", count=(3, 2), size=(32, 32), progress=False)
    for file in (folder / "data" / "train" / "cats").glob("*0.jpg"):  # a picture that is in test, too
        (folder / "data" / "test" / "cats" / "cat-00000.jpg").write_bytes(file.read_bytes())


def run_labelled(folder: Path, path: Path, policy: str) -> Result:
    with home_in(folder) as said:
        found = content(open_dataset("catdog", root=folder / "data", size=32, problems=policy, progress=False))
    return Result([found.value, said], found.skipped)


def make_features(folder: Path) -> None:
    make_labelled(folder)
    run_features(folder, folder, "error")


def run_features(folder: Path, path: Path, policy: str) -> Result:
    torch.manual_seed(0)
    with home_in(folder):
        data = open_dataset("catdog", root=folder / "data", size=32, cache=False, progress=False).test
        found = extract_features(Classifier(2, backbone="efficientnet_lite0"), data, progress=False)
    return Result(digest(found.features, found.labels))


# ---------------------------------------------------------------------------- videos, notebooks, archives, samples
def make_videos(folder: Path) -> None:
    folder.mkdir()
    for ending in ("webm", "avi", "mp4"):
        write_video_sample(folder / f"film.{ending}", count=6, size=(64, 96), progress=False)


def run_video(folder: Path, path: Path, policy: str) -> Result:
    reader = VideoReader(path)
    frames = [digest(frame) for frame in reader]
    return Result([reader.fps, reader.size, digest(*frames), len(frames)], int(bool(reader.missing)))


def notebook(number: int = 0) -> str:
    cells = [new_markdown_cell(f"# Lesson {number}\n\nA loss $L = -\\sum_i p_i \\log q_i$ of [a page](a.ipynb)."),
             new_code_cell("1 + 1", execution_count=1, metadata={"tags": ["readme-figure"]}, outputs=[
                 new_output("execute_result", {"text/plain": "2"}, execution_count=1),
                 new_output("stream", name="stdout", text="two"), new_output("stream", name="stdout", text="three"),
                 new_output("display_data", {"image/png": "iVBORw0KGgo=", "text/plain": "x"})])]
    return writes(new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}))


def make_notebook(folder: Path) -> None:
    folder.mkdir()
    (folder / "lesson.ipynb").write_text(notebook())


def run_notebook(folder: Path, path: Path, policy: str) -> Result:
    """`seglab run --html`, without a kernel: cells keep their outputs."""
    with mock.patch.object(lessons, "NotebookClient") as client:
        client.return_value.setup_kernel = contextlib.nullcontext
        lessons.run([path], html=folder / "html", progress=False)
    return Result(digest((folder / "html" / "lesson.html").read_bytes()))


def make_submissions(folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(("Ada Lovelace_1234567_assignsubmission_file_/a1.ipynb", "grace/a1.ipynb",
                                       "hopper_LATE_1234_98765_a1-2.ipynb")):
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1 + number, 0, 0, 0)), notebook(number))


def run_collect(folder: Path, path: Path, policy: str) -> Result:
    (folder / "course").mkdir()
    found = collect(folder / "course", "a1", path)
    for one in (folder / "course").rglob("a1.ipynb"):
        with contextlib.suppress(Exception):  # whoever grades says then that it cannot be read
            read_notebook(one)
    return Result(tree(folder / "course"), sum(one.left is not None for one in found))


def make_archive(folder: Path) -> None:
    write_pairs(folder / "data" / "images", folder / "data" / "masks", range(3))
    with tarfile.open(folder / "data.tar.gz", "w:gz") as archive:
        archive.add(folder / "data", "data")


def run_unpack(folder: Path, path: Path, policy: str) -> Result:
    return Result(tree(unpack(path, folder / "out", progress=False)))


def tree(folder: Path) -> list[list[str]]:
    """Names and contents below a folder."""
    return [[str(path.relative_to(folder)), os.readlink(path) if path.is_symlink() else
             digest(path.read_bytes()) if path.is_file() else "folder"] for path in sorted(folder.rglob("*"))]


def gzip_broken(path: Path) -> bool:
    """Whether the checksum of a gzip file is wrong."""
    try:
        gzip.decompress(path.read_bytes())
    except Exception:
        return path.is_file()
    return False


def make_sample(folder: Path) -> None:
    write_drone_sample(folder / "drone", count=2, size=(32, 40), progress=False)


def run_sample(folder: Path, path: Path, policy: str) -> Result:
    return Result(str(write_drone_sample(folder / "drone", count=2, size=(32, 40), progress=False).name))


def always(path: Path) -> bool:
    return path.is_file()


B, J, S = by.of_bytes, by.of_json, by.of_safetensors
KINDS: dict[str, Kind] = {
    "checkpoint": Kind(make_run, {"run/best.safetensors": (S, B)}, run_load, always),
    "checkpoint-content": Kind(make_run, {"run/best.safetensors": (of_checkpoint,)}, run_load),
    "resume": Kind(make_run, {"run/last.safetensors": (S, B)}, run_resume, always),
    "resume-content": Kind(make_run, {"run/last.safetensors": (of_checkpoint,)}, run_resume),
    "evaluate-content": Kind(make_run, {"run/best.safetensors": (of_checkpoint,)}, run_evaluate),
    "onnx": Kind(make_onnx, {"net.onnx": (B,)}, run_onnx, always),
    "onnx-content": Kind(make_onnx, {"net.onnx": (of_onnx,)}, run_onnx),
    "weights": Kind(make_weights, {"*.safetensors": (S, B)}, run_weights),
    "pth": Kind(make_pth, {"*.pth": (B,)}, run_pth, zip_broken),
    "pth-legacy": Kind(make_pth, {"*.old": (B,)}, run_pth),
    "convert": Kind(make_convert, {"*.pth": (B,)}, run_convert, zip_broken),
    "cache": Kind(make_cache, {"home/cache/*/index.json": (J, B), "home/cache/*/*.u8": (B,)}, run_cache, always),
    "cache-coco": Kind(make_coco_cache, {"home/cache/*.safetensors": (S, B)}, run_coco_cache, always),
    "cache-features": Kind(make_features, {"home/cache/features/*.safetensors": (S, B)}, run_features, always),
    "cache-memory": Kind(make_labelled, {"home/cache/d*.json": (J, B)}, run_labelled, always,
                         lambda folder: run_labelled(folder, folder, "error")),
    "video": Kind(make_videos, {"film.*": (B,)}, run_video),
    "notebook": Kind(make_notebook, {"*.ipynb": (J, J, J, B)}, run_notebook),
    "submissions": Kind(make_submissions, {"*.zip": (by.of_zip, B)}, run_collect, zip_broken),
    "archive": Kind(make_archive, {"*.tar.gz": (by.of_tar_gz, B)}, run_unpack, gzip_broken),
    "sample": Kind(make_sample, {"drone/sample.json": (J, B)}, run_sample, always),
}
