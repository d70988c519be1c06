"""`seglab doctor`: is everything here that the course needs, and if not, what to do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from seglab.errors import SeglabError
from seglab.files import data_home

#: Packages, and the modules of those that have another name: conda calls some packages otherwise.
_PACKAGES = {name: name for name in ("torch", "torchvision", "accelerate", "safetensors", "timm", "pycocotools",
                                     "jupyterlab", "ipywidgets", "anywidget")} | {
    "opencv-python": "cv2", "pillow": "PIL", "scikit-image": "skimage"}
_LOW_DISK = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """One line of the report; `fix` says what to do if it is not fine."""

    topic: str
    text: str
    fix: str | None = None

    def __str__(self) -> str:
        mark = "ok  " if self.fix is None else "FIX "
        return f"{mark} {self.topic:<14} {self.text}" + (f"\n       -> {self.fix}" if self.fix else "")


def examine() -> list[Finding]:
    """Look at versions, devices, data and disk. Never raises for what it finds."""
    python = Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    return [python, *map(_package, _PACKAGES), *_torch(), *_data(), _disk()]


def _package(name: str) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        there = importlib.util.find_spec(_PACKAGES[name]) is not None
        return Finding(name, "present") if there else Finding(name, "missing", f"pip install {name}")


def _torch() -> Iterator[Finding]:
    try:
        import torch
        import torchvision  # noqa: F401  a torch of another version fails here
    except (ImportError, OSError, RuntimeError) as error:
        yield Finding("torch", f"does not load: {error}",
                      "Install a matching pair: pip install --upgrade --force-reinstall torch torchvision")
        return
    yield Finding("cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16: full precision"
        yield Finding(f"cuda:{i}", f"{properties.name}, {properties.total_memory / 1024**3:.0f} GiB, {precision}")
    if torch.cuda.is_available():
        return
    if shutil.which("nvidia-smi"):
        yield Finding("cuda", "an NVIDIA driver is here, but torch does not use it",
                      "Install the torch build for your driver (pytorch.org, Get Started).")
    elif torch.backends.mps.is_available():
        yield Finding("mps", "Apple GPU")
    else:
        yield Finding("gpu", "none; every lesson runs on the CPU")


def _data() -> Iterator[Finding]:
    root = os.environ.get("SEGLAB_DATA")
    if not root:
        yield Finding("SEGLAB_DATA", "not set: lessons use the built-in samples")
    else:
        try:
            from seglab.datasets.sources import find_dataset, open_reader

            name, folder = find_dataset(root)
            count = sum(map(len, open_reader(name, folder).splits.values()))
            yield Finding("SEGLAB_DATA", f"{name} in {folder}, {count} pictures")
        except SeglabError as error:
            yield Finding("SEGLAB_DATA", str(error).replace("\n", "\n       "),
                          "Correct SEGLAB_DATA, or unset it to use the built-in samples.")
    names = sorted(path.name for path in data_home().glob("samples/*") if path.is_dir())
    yield Finding("samples", ", ".join(names) if names else "none yet: the first lesson draws them")


def _disk() -> Finding:
    home = data_home()
    place = next(p for p in (home, *home.parents) if p.exists())
    free = shutil.disk_usage(place).free
    text = f"{home}: {free / 1024**3:.1f} GiB free"
    if not os.access(place, os.W_OK):
        return Finding("data folder", f"{text}, not writable", "Set SEGLAB_HOME to a folder that you can write to.")
    return Finding("data folder", text, f"Free some space or set SEGLAB_HOME to another disk; caches of large datasets "
                                        f"need {_LOW_DISK // 1024**3} GiB and more." if free < _LOW_DISK else None)
