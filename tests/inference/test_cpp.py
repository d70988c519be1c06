"""A checkpoint as a C++ program: the model in its file without a compiler, and the program where there is one."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import chelsea

from seglab import models
from seglab.errors import ArgumentError, CheckpointError, SeglabError
from seglab.inference import cpp, predict
from seglab.inference.cpp import export_cpp
from seglab.labels import PETS
from seglab.models import BUNDLED, build, load_model
from tests.models.tester import SMALL, Frozen, checkpoint, runner

pytestmark = pytest.mark.slow
FILES = ["CMakeLists.txt", "README.md", "model.pt", "segment.cpp"]
COMPILER = shutil.which("g++") or shutil.which("clang++")
TORCH = Path(torch.__path__[0])
SIZES = ((33, 47), (61, 40), (97, 131), (128, 128), (200, 90))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def picture(height: int, width: int) -> np.ndarray:
    """Soft colours, and a part of noise."""
    found = cv2.resize(np.random.default_rng(height).integers(0, 256, (5, 7, 3), dtype=np.uint8), (width, height))
    found[: height // 3] = np.random.default_rng(width).integers(0, 256, (height // 3, width, 3), dtype=np.uint8)
    return found


@pytest.mark.parametrize(("name", "options", "short_side", "zoom"), [
    ("single_conv", {}, None, 1.0), ("single_conv", {}, 64, 1.0), ("single_conv", {}, None, 0.6),
    ("single_conv", {}, None, 1.7), ("single_conv", {}, 64, 1.5),
    ("fcn", {"backbone": "resnet18", "aux": True}, None, 1.0),
    ("fcn_skip", {"backbone": "test_efficientnet", "min_size": 64}, 64, 1.0),
    ("deeplabv3", {"backbone": "resnet18"}, None, 0.6),
    ("gcn", {"backbone": "test_efficientnet", "k": 3}, 64, 1.5)])
def test_the_model_gives_the_masks_of_predict(tmp_path, name, options, short_side, zoom):
    torch.manual_seed(0)
    model = build(name, 3, **options)
    model.card.mean, model.card.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    model.card.short_side, model.card.zoom = short_side, zoom
    source = checkpoint(tmp_path / "w.safetensors", model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none reaches the user
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="(?!seglab)")
        line = export_cpp(source, sizes=SMALL)
    assert line.startswith(f"{name}, 3 classes: masks as of `seglab predict`, ") and "w_cpp" in line
    assert sorted(path.name for path in Path("w_cpp").iterdir()) == FILES
    readme = Path("w_cpp/README.md").read_text(encoding="utf-8")
    assert f"{name}, 3 classes." in readme and "| 1 | cat | 64, 0, 0 |" in readme
    run, model = runner(Path("w_cpp/model.pt")), load_model(source)
    assert not any("aux_classifier" in key for key in run.state_dict())
    for size in SIZES:
        pixels = picture(*size)
        expected = predict(model, pixels, probabilities=True)
        with torch.no_grad():
            mask, scores = run(torch.from_numpy(pixels)), run.scores(torch.from_numpy(pixels))
        assert mask.shape == size and mask.dtype == torch.uint8
        assert (mask.numpy() != predict(model, pixels).mask).sum() <= mask.numel() // 1000  # ties; mostly none
        np.testing.assert_allclose(scores.softmax(0).numpy(), expected.probabilities, atol=1e-3)


@pytest.mark.parametrize(("old", "new"), [
    ((375, 500), (256, 341)), ((512, 640), (256, 320)), ((512, 683), (256, 342)), ((1024, 1280), (256, 320)),
    ((400, 600), (40, 60)), ((257, 300), (256, 299)), ((64, 96), (64, 96)), ((3, 300), (1, 100)), ((5, 4), (1, 1)),
    ((97, 131), (116, 157)), ((250, 289), (500, 578)), ((60, 80), (61, 81)), ((1, 7), (2, 11)), ((90, 60), (256, 171))])
def test_pictures_are_scaled_as_opencv_does_it(old, new):
    enlarged = new[0] > old[0]
    scale, how = (cpp._enlarged, cv2.INTER_LINEAR) if enlarged else (cpp._shrunk, cv2.INTER_AREA)
    for pixels in (picture(*old), np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)):
        expected = cv2.resize(pixels, new[::-1], interpolation=how)
        found = scale(torch.from_numpy(pixels), torch.tensor(old), torch.tensor(new, dtype=torch.float64))
        assert found.shape == (*new, 3) and found.dtype == torch.uint8
        # Elsewhere than on x86, OpenCV may have code of the processor's maker, which rounds otherwise.
        limit = 0 if platform.machine().lower() in {"x86_64", "amd64"} else 1
        worst = np.abs(found.numpy().astype(int) - expected).max()
        assert worst <= limit


@pytest.mark.parametrize(("kind", "sizes", "message"), [
    ("run", [(97, 131)], "a run\n.*at 97×131: "),
    ("branch", [(64, 48)], "export to C.*: masks\n.*at 64×48, .* pixels")])
def test_what_is_frozen_to_one_size_is_refused_and_leaves_nothing(tmp_path, monkeypatch, kind, sizes, message):
    monkeypatch.setitem(models._MODELS, "frozen", Frozen)
    source = checkpoint(tmp_path / "w.safetensors", build("frozen", 3, kind=kind))
    with pytest.raises(SeglabError, match=message):
        export_cpp(source, sizes=sizes)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_wrong_deviation_is_seen_where_all_is_background(tmp_path, monkeypatch):
    """Masks alone would agree: on random pictures, the bundled network sees no pet."""
    write = cpp._write_model

    def write_wrong(whole, path):
        whole.normalize.scale *= 0.8
        write(whole, path)

    monkeypatch.setattr(cpp, "_write_model", write_wrong)
    with pytest.raises(SeglabError, match="export to C\\+\\+: masks"):
        export_cpp(BUNDLED)
    assert not list(tmp_path.iterdir())


def test_arguments(tmp_path):
    source = checkpoint(tmp_path / "w.safetensors", build("single_conv", 3))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    for call, message in ((lambda: export_cpp(source, "gone/w"), "no folder gone"),
                          (lambda: export_cpp(source, "mine"), "there already"),
                          (lambda: export_cpp(source, "mine", overwrite=True), "did not write"),
                          (lambda: export_cpp(source, source, overwrite=True), "a file or device")):
        with pytest.raises(ArgumentError, match=message):
            call()
    assert [path.read_text() for path in (tmp_path / "mine").iterdir()] == ["mine"]
    with pytest.raises(CheckpointError, match="Check the path"):
        export_cpp("gone.safetensors")
    classifier = checkpoint(tmp_path / "c.safetensors", build("classifier", 3, backbone="test_efficientnet"))
    with pytest.raises(SeglabError, match="a classifier"):
        export_cpp(classifier)
    assert not (tmp_path / "c_cpp").exists()


def test_overwritten_the_four_files_are_new_and_the_rest_stays(tmp_path):
    source = checkpoint(tmp_path / "w.safetensors", build("single_conv", 3))
    export_cpp(source, "w", sizes=SMALL)
    (tmp_path / "w" / "build").mkdir()
    (tmp_path / "w" / "model.pt").write_bytes(b"old")
    with pytest.raises(ArgumentError, match="there already"):
        export_cpp(source, "w", sizes=SMALL)
    export_cpp(source, "w", sizes=SMALL, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == sorted([*FILES, "build"])
    assert runner(tmp_path / "w" / "model.pt")(torch.zeros(5, 7, 3, dtype=torch.uint8)).shape == (5, 7)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w", "w.safetensors"]


def readme_line(folder: Path, command: str) -> str:
    """The line of the folder's README that begins with this command."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^{re.escape(command)} .*$", text, re.MULTILINE)
    return line


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    found = tmp_path_factory.mktemp("cpp") / "pets"
    export_cpp(BUNDLED, found, sizes=[(64, 48)])
    Image.fromarray(chelsea()).save(found / "photo.ppm")
    return found


@pytest.fixture(scope="module")
def program(folder) -> Path:
    """Built by the one line in README."""
    if COMPILER is None or sys.platform == "win32":
        pytest.skip("no C++ compiler (g++ or clang++) that takes README's line")
    line = readme_line(folder, "g++").replace("g++", f'"{COMPILER}"', 1)
    found = subprocess.run(line, shell=True, cwd=folder, env=os.environ | {"TORCH": str(TORCH)}, capture_output=True,
                           text=True, check=False)
    assert found.returncode == 0, found.stderr
    return folder / "segment"


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], cwd=program.parent, capture_output=True, text=True,
                          check=False)


def test_the_program_gives_pythons_mask_to_the_pixel(folder, program):
    model = load_model(BUNDLED)
    for pixels in (chelsea(), np.rot90(chelsea()), chelsea()[:197, 100:331], cv2.resize(chelsea(), (683, 512))):
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / "one.ppm")
        found = run(program, "model.pt", "one.ppm", "mask.pgm", "colours.ppm")
        assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
        mask = np.asarray(Image.open(folder / "mask.pgm"))
        expected = predict(model, folder / "one.ppm").mask
        assert len(np.unique(expected)) > 1
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(np.asarray(Image.open(folder / "colours.ppm")), PETS.palette[mask])


@pytest.mark.parametrize(("content", "message"), [
    (None, "there is no such file"), (b"", "PPM"), (b"P5 2 1 255\nab", "PPM"), (b"\x89PNG\r\n\x1a\n", "PPM"),
    (b"P6 2 1 65535\nabcdefabcdef", "header"), (b"P6 -2 1 255\nabcdef", "header"), (b"P6 2", "header"),
    (b"P6 x 1 255\nabcdef", "header"), (b"P6 99999999999999999999 1 255\nabcdef", "header"),
    (b"P6 2 1 255\nabcde", "missing"), (b"P6 999999 999999 255\nabcdef", "missing")])
def test_the_program_says_what_is_wrong_with_a_picture(folder, program, content, message):
    (folder / "bad.ppm").unlink(missing_ok=True)
    if content is not None:
        (folder / "bad.ppm").write_bytes(content)
    found = run(program, "model.pt", "bad.ppm", "none.pgm")
    assert found.returncode == 1 and found.stderr.startswith("segment: bad.ppm: ") and message in found.stderr
    assert found.stderr.count("\n") == 1 and not (folder / "none.pgm").exists()


def test_the_program_says_what_else_is_wrong(folder, program):
    (folder / "small.ppm").write_bytes(b"P6\n# a comment\n2 1 # another\n255\nabcdef")
    assert run(program, "model.pt", "small.ppm", "small.pgm").returncode == 0
    assert (folder / "small.pgm").read_bytes() == b"P5\n2 1\n255\n\0\0"
    for arguments, message in (((), "usage: "), (("gone.pt", "photo.ppm", "m.pgm"), "gone.pt"),
                               (("photo.ppm", "photo.ppm", "m.pgm"), "zip archive"),
                               (("model.pt", "photo.ppm", "gone/m.pgm"), "gone/m.pgm: cannot be written")):
        found = run(program, *arguments)
        assert found.returncode == 1 and found.stderr.startswith("segment: ") and message in found.stderr
        assert found.stderr.count("\n") == 1


def cmake(folder: Path, command: str) -> None:
    """Run the line of the folder's README that begins with this command, which must succeed."""
    if COMPILER is None or shutil.which("cmake") is None:
        pytest.skip("no CMake, or no C++ compiler")
    line = readme_line(folder, command).replace('"$TORCH"', str(TORCH))
    found = subprocess.run(line.split(), cwd=folder, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_cmake_finds_what_readmes_other_line_names(folder):
    """What it would build of that is the program above again, after 20 s of PyTorch's headers."""
    cmake(folder, "cmake -B")
    found = dict(re.findall(r"^(\w+):\w+=(.*)$", (folder / "build" / "CMakeCache.txt").read_text(), re.MULTILINE))
    assert Path(found["TORCH_INCLUDE"]) == TORCH / "include"
    assert [(Path(found[name]).parent, Path(found[name]).stem) for name in ("TORCH_CPU", "C10")] == [
        (TORCH / "lib", "libtorch_cpu"), (TORCH / "lib", "libc10")]
    assert (found["CMAKE_BUILD_TYPE"], found["CMAKE_PROJECT_NAME"]) == ("", "segment")


@pytest.mark.weekly
def test_cmake_builds_it_too(folder):
    """In `make test`, the program is built by README's other line, and CMake is asked only how it would do that."""
    cmake(folder, "cmake -B")
    cmake(folder, "cmake --build")
    program = next(path for path in (folder / "build").rglob("segment*") if path.stem == "segment" and path.is_file()
                   and os.access(path, os.X_OK))
    found = subprocess.run([program, "model.pt", "photo.ppm", "cmake.pgm"], cwd=folder, check=False)
    assert found.returncode == 0
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "cmake.pgm")),
                                  predict(load_model(BUNDLED), chelsea()).mask)
