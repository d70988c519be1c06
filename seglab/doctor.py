"""`seglab doctor`: is everything here that the course needs, and if not, what to do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass

from seglab.errors import SeglabError
from seglab.files import data_home

_PACKAGES = ("torch", "torchvision", "accelerate", "safetensors", "timm", "opencv-python", "pillow", "scikit-image",
             "pycocotools", "jupyterlab", "ipywidgets", "anywidget")
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
    return [*_python(), *_packages(), *_torch(), *_data(), _disk()]


def _python() -> list[Finding]:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    old = sys.version_info < (3, 10)
    return [Finding("python", text, "Install Python 3.10 or newer." if old else None)]


def _packages() -> list[Finding]:
    findings = []
    for name in _PACKAGES:
        try:
            findings.append(Finding(name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            # conda names some packages otherwise, so ask whether it can be imported before complaining
            module = {"opencv-python": "cv2", "pillow": "PIL", "scikit-image": "skimage"}.get(name, name)
            there = importlib.util.find_spec(module) is not None
            findings.append(Finding(name, "present" if there else "missing",
                                    None if there else f"pip install {name}"))
    return findings


def _torch() -> list[Finding]:
    try:
        import torch
        import torchvision  # noqa: F401  a torch of another version fails here
    except (ImportError, OSError, RuntimeError) as error:
        return [Finding("torch", f"does not load: {error}",
                        "Install a matching pair: pip install --upgrade --force-reinstall torch torchvision")]
    findings = [Finding("cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")]
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(i)
            precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16: full precision"
            findings.append(Finding(f"cuda:{i}", f"{properties.name}, {properties.total_memory / 1024**3:.0f} GiB, "
                                                 f"{precision}"))
    elif shutil.which("nvidia-smi"):
        findings.append(Finding("cuda", "an NVIDIA driver is here, but torch does not use it",
                                "Install the torch build for your driver (pytorch.org, Get Started)."))
    elif torch.backends.mps.is_available():
        findings.append(Finding("mps", "Apple GPU"))
    else:
        findings.append(Finding("gpu", "none; every lesson runs on the CPU"))
    return findings


def _data() -> list[Finding]:
    findings = []
    root = os.environ.get("SEGLAB_DATA")
    if not root:
        findings.append(Finding("SEGLAB_DATA", "not set: lessons use the built-in samples"))
    else:
        try:
            from seglab.datasets.sources import find_dataset, open_reader

            name, folder = find_dataset(root)
            count = sum(map(len, open_reader(name, folder).splits.values()))
            findings.append(Finding("SEGLAB_DATA", f"{name} in {folder}, {count} pictures"))
        except SeglabError as error:
            findings.append(Finding("SEGLAB_DATA", str(error).replace("\n", "\n       "),
                                    "Correct SEGLAB_DATA, or unset it to use the built-in samples."))
    home = data_home()
    samples = home / "samples"
    names = sorted(p.name for p in samples.iterdir() if p.is_dir()) if samples.is_dir() else []
    findings.append(Finding("samples", ", ".join(names) if names else "none yet: the first lesson draws them"))
    return findings


def _disk() -> Finding:
    home = data_home()
    place = next(p for p in (home, *home.parents) if p.exists())
    writable = os.access(place, os.W_OK)
    free = shutil.disk_usage(place).free
    text = f"{home}: {free / 1024**3:.1f} GiB free" + ("" if writable else ", not writable")
    if not writable:
        return Finding("data folder", text, "Set SEGLAB_HOME to a folder that you can write to.")
    return Finding("data folder", text, f"Free some space or set SEGLAB_HOME to another disk; caches of large datasets "
                                        f"need {_LOW_DISK // 1024**3} GiB and more." if free < _LOW_DISK else None)
