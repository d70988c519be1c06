"""How much of a GPU `seglab.fit` uses, beside loops written by hand: one command, at most seven minutes.

    python benchmarks/gpu.py                                            # a table, and build/gpu.json
    python benchmarks/gpu.py --toy --device cpu --out build/toy.json    # a dry run, whose numbers mean nothing

DeepLabV3-ResNet50 at 480×480 in batches of 16 and GCN-ResNet50 at 512×512 in batches of 8 train, from random weights,
on random pictures in memory. Three loops take turns, with the same network, SGD, rates and settings of cuDNN:

*fit*: `seglab.fit`, with its defaults for all that concerns speed (precision, loader, memory layout).
*reference*: a plain float32 loop, arranged as torchvision's references/segmentation/train.py is: a blocking copy of
float pictures, which are normalised already, a poly rate per step, the loss read with `.item()` after every step.
*reference, autocast*: the same with autocast to bfloat16, so that what differs from `fit` is not the precision.

Steps that warm up are left out; the device is waited for at both ends of what is timed. Peak memory is that of the
timed steps: the trials of cuDNN's benchmark mode come before. The share of the bf16 rate relates the operations of a
step's two passes, as PyTorch counts them, to what this card reaches in products of large random matrices.

*Waiting for data*: `fit` from JPEG files, decoded and augmented as in the lessons, with several numbers of loader
processes; what a step takes longer than with pictures in memory, it waits. The pictures are noise whose amplitude falls
from coarse to fine, as in photographs, so that decoding costs about what it does there.

What does not fit into the time or the memory is left out, and the report says so.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import seglab
from seglab.datasets import IMAGENET, Folder, Normalize, Samples, collate, random_scale_crop
from seglab.labels import VOC
from seglab.models import build

ROOT = Path(__file__).resolve().parents[1]
LOOPS = ("fit", "reference", "reference, autocast")
#: What is counted in a profile: the events whose names begin like this.
EVENTS = {"kernel_launches": ("cudaLaunchKernel", "cudaLaunchCooperativeKernel", "cuLaunchKernel",
                              "cudaGraphLaunch"),
          "copies_to_host": ("Memcpy DtoH",), "waits": ("cudaStreamSynchronize", "cudaEventSynchronize"),
          "operators": ("aten::",)}


@dataclass(frozen=True)
class Job:
    """A network, and the batches that it trains on."""

    model: str
    backbone: str
    classes: int
    size: int
    batch: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.model}_{self.backbone}"

    def build(self) -> nn.Module:
        return build(self.model, self.classes, backbone=self.backbone, **self.options)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often."""

    jobs: tuple[Job, ...] = (Job("deeplabv3", "resnet50", 21, 480, 16, {"aux": True}),
                             Job("gcn", "resnet50", 3, 512, 8, {"size": 512}))
    rounds: int = 5  # of the three loops
    warm: int = 8  # steps before those that are timed
    steps: int = 24
    profiled: int = 3  # steps
    matrix: int = 8192
    products: int = 10  # in one sample of the matrix rate
    samples: int = 7
    pictures: int = 256
    picture_size: tuple[int, int] = (375, 500)  # height and width of many pictures of COCO and VOC
    workers: tuple[int, ...] = (0, 4, 8, 16)
    batches: int = 12  # of the loader alone, at least


TOY = Plan((Job("deeplabv3", "mobilenetv3_small_050", 21, 32, 2, {"aux": True, "rates": (1,)}),
            Job("gcn", "mobilenetv3_small_050", 3, 32, 2, {"size": 32})), rounds=2, warm=1, steps=1, profiled=1,
           matrix=64, products=2, samples=3, pictures=4, picture_size=(60, 80), workers=(0, 1), batches=2)


class Budget:
    """The time that may be used, and a line for everything that is left out."""

    def __init__(self, minutes: float) -> None:
        self.start, self.seconds, self.left_out = time.perf_counter(), 60 * minutes, []

    def used(self) -> float:
        return time.perf_counter() - self.start

    def allows(self, what: str, seconds: float, share: float = 1.0) -> bool:
        """Whether what takes so many seconds ends within that share of the time; if not, it is noted as left out."""
        fits = self.used() + seconds <= share * self.seconds
        if not fits:
            self.left_out.append(f"{what}: no time left")
        return fits


# ------------------------------------------------------------------------------------------------------------ pictures
def repeated(data: Dataset, count: int) -> Subset:
    """A dataset of that length: the pictures again and again."""
    return Subset(data, [i % len(data) for i in range(count)])


def random_pictures(job: Job, ready: bool) -> TensorDataset:
    """Two batches of noise, as datasets give pictures (uint8, channels last); or `ready`, as a model takes them."""
    generator, size = torch.Generator().manual_seed(0), (2 * job.batch, job.size, job.size)
    images = torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)
    masks = torch.randint(0, job.classes, size, dtype=torch.uint8, generator=generator)
    masks[torch.rand(size, generator=generator) < 0.05] = 255
    return TensorDataset(Normalize(*IMAGENET)(images).contiguous(), masks.long()) if ready else TensorDataset(
        images, masks)


def write_pictures(folder: Path, plan: Plan) -> Samples:
    """JPEG files and masks (PNG), read as any folder is."""
    rng, (height, width) = np.random.default_rng(0), plan.picture_size
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(plan.pictures):
        picture = np.full((height, width, 3), 128, np.float32)
        for cells in (3, 6, 12, 24, 48, 96, 192):  # along the shorter side
            noise = rng.normal(0, 70 / cells**0.4, (cells, cells * width // height, 3)).astype(np.float32)
            picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number}.jpg", quality=95)
        ids = rng.integers(0, len(VOC), (6, 8), dtype=np.uint8)
        mask = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST)
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    return Samples(Folder(folder, label_set=VOC, encoding="ids"), "all", cache=False)


# --------------------------------------------------------------------------------------------------------------- loops
class Watch:
    """Called after each step: times those behind the warm-up, and profiles them if asked to."""

    def __init__(self, device: torch.device, warm: int, steps: int, profiled: bool = False) -> None:
        self.device, self.first, self.last, self.peak_bytes = device, warm, warm + steps, None
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
        self.profile = profile(activities=kinds) if profiled else None

    def __call__(self, done: int, _: int = 0) -> None:
        if done not in {self.first, self.last}:
            return
        synchronize(self.device)
        now = time.perf_counter()
        if done == self.first:
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            if self.profile is not None:
                self.profile.start()
            self.start = time.perf_counter()
            return
        self.seconds, self.cudnn_benchmark = now - self.start, torch.backends.cudnn.benchmark
        if self.profile is not None:
            self.profile.stop()
            with tempfile.TemporaryDirectory() as folder:
                self.profile.export_chrome_trace(str(Path(folder) / "trace.json"))
                self.trace = json.loads((Path(folder) / "trace.json").read_text(encoding="utf-8", errors="replace"))
        if self.device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def train(loop: str, job: Job, data: Dataset, watch: Watch, workers: int = 0) -> None:
    """One of `LOOPS`, with a new network, once over the data. The rate is small: the time of a step is the same."""
    if watch.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
    torch.manual_seed(0)
    model, steps = job.build().to(watch.device).train(), len(data) // job.batch
    sgd = SGD(model.parameters(), 1e-4, momentum=0.9, weight_decay=1e-4)
    poly = LambdaLR(sgd, lambda step: max(0.0, 1 - step / steps) ** 0.9)
    if loop == "fit":
        seglab.fit(model, data, optimizer=sgd, scheduler=poly, epochs=1, batch_size=job.batch,
                   normalize=Normalize(*IMAGENET), num_workers=workers, progress=False, on_step=watch)
        return
    for number, (images, masks) in enumerate(DataLoader(data, job.batch, shuffle=True), start=1):
        images, masks = images.to(watch.device), masks.to(watch.device)
        with torch.autocast(watch.device.type, torch.bfloat16, enabled=loop == "reference, autocast"):
            output = model(images)
            losses = {name: F.cross_entropy(scores, masks, ignore_index=255) for name, scores in output.items()}
            loss = losses["out"] + 0.5 * losses["aux"] if "aux" in losses else losses["out"]
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        poly.step()
        loss.item()  # for a log; waits until the device is done
        watch(number)


def in_turns(loops: tuple[str, ...], job: Job, warm: int, steps: int, budget: Budget, device: torch.device,
             profiled: bool = False) -> dict[str, Watch]:
    """These loops, one after the other, on pictures in memory; without those that need more memory."""
    found, data = {}, {ready: random_pictures(job, ready) for ready in (False, True)}
    for loop in loops:
        watch = Watch(device, warm, steps, profiled)
        try:
            train(loop, job, repeated(data[loop != "fit"], (warm + steps) * job.batch), watch)
        except torch.cuda.OutOfMemoryError:
            budget.left_out.append(f"{job.name}, {loop}: out of memory with a batch of {job.batch}")
            continue
        found[loop] = watch
        print(f"{job.name}, {loop}: {steps * job.batch / watch.seconds:.1f} images/s", file=sys.stderr, flush=True)
    return found


# --------------------------------------------------------------------------------------------------- what is measured
def matrix_rate(plan: Plan, device: torch.device) -> list[float]:
    """FLOP/s in products of square bf16 matrices of random numbers; the first two samples warm up."""
    a, b = (torch.randn(plan.matrix, plan.matrix, device=device).to(torch.bfloat16) for _ in range(2))
    rates = []
    for _ in range(plan.samples + 2):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(plan.products):
            a @ b
        synchronize(device)
        rates.append(2 * plan.matrix**3 * plan.products / (time.perf_counter() - start))
    return rates[2:]


def count_flops(job: Job, backward: bool = True) -> int:
    """Floating point operations of the forward and backward pass of a batch, on tensors that have a shape only."""
    with torch.device("meta"):
        model, images = job.build().train(), torch.zeros(job.batch, 3, job.size, job.size)
        with FlopCounterMode(display=False) as counter:
            scores = torch.stack([scores.sum() for scores in model(images).values()]).sum()
            if backward:
                scores.backward()
    return counter.get_total_flops()


def count_events(trace: dict[str, Any], steps: int) -> dict[str, float]:
    """`EVENTS` a step in a trace in Chrome's format: of all the profiler's answers the one that comes quickly."""
    names = [event["name"] for event in trace["traceEvents"] if event.get("ph") == "X"]  # those that last
    return {key: sum(name.startswith(begins) for name in names) / steps for key, begins in EVENTS.items()}


def summary(samples: list[float]) -> dict[str, Any]:
    return {"samples": samples, "median": statistics.median(samples), "low": min(samples), "high": max(samples)}


def compare(job: Job, plan: Plan, device: torch.device, budget: Budget, matrix: float, share: float) -> dict[str, Any]:
    """Images/s, peak memory and share of the matrix rate of the three loops, in up to that share of the time."""
    watches, needed = {loop: [] for loop in LOOPS}, 0.0
    for number in range(1, plan.rounds + 1):
        if not budget.allows(f"{job.name}: rounds {number} to {plan.rounds}", needed, share):
            break
        start = budget.used()
        for loop, watch in in_turns(LOOPS, job, plan.warm, plan.steps, budget, device).items():
            watches[loop].append(watch)
        needed = budget.used() - start
    flops, loops = count_flops(job), {}
    for loop, several in watches.items():
        if several:
            rates = summary([plan.steps * job.batch / watch.seconds for watch in several])
            speed = rates["median"] / job.batch * flops
            loops[loop] = {"images_per_second": rates, "peak_bytes": several[-1].peak_bytes, "flops_per_second": speed,
                           "share_of_matrix_rate": speed / matrix, "cudnn_benchmark": several[-1].cudnn_benchmark}
    return asdict(job) | {"flops_per_step": flops, "loops": loops}


def loader_rate(data: Dataset, job: Job, workers: int, batches: int, device: torch.device) -> float:
    """Images/s of a loader such as `fit` makes, alone. Processes that start together deliver together: whole rounds."""
    at_once = max(1, workers)
    timed = -(-batches // at_once) * at_once
    loader = DataLoader(repeated(data, (at_once + timed) * job.batch), job.batch, collate_fn=collate,
                        num_workers=workers, pin_memory=device.type == "cuda")
    for number, _ in enumerate(loader, start=1):
        if number == at_once:
            start = time.perf_counter()
    return timed * job.batch / (time.perf_counter() - start)


def wait_for_data(job: Job, plan: Plan, device: torch.device, budget: Budget, in_memory: float) -> dict[str, Any]:
    """For each number of loader processes the images/s of the loader and of `fit`, and how long a step waits."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = [workers for workers in plan.workers if workers <= cores]
    budget.left_out += [f"{n} loader processes: this process has {cores} cores" for n in plan.workers if n > cores]
    with tempfile.TemporaryDirectory() as folder:
        data = write_pictures(Path(folder), plan)
        data.transforms = random_scale_crop(job.size, round(job.size * 520 / 480))
        alone: dict[int, list[float]] = {workers: [] for workers in counts}
        for workers in (*counts, *reversed(counts)):
            if budget.allows(f"the loader alone, {workers} processes", plan.batches / 2):
                alone[workers].append(loader_rate(data, job, workers, plan.batches, device))
        rows = {}
        for workers in (workers for workers in counts if alone[workers]):
            ahead = 2 * workers  # batches that lie ready when training starts, and that would hide a slow loader
            pictures = (ahead + plan.warm + plan.steps + ahead) * job.batch
            if budget.allows(f"fit from JPEG files, {workers} processes", pictures / min(in_memory, *alone[workers])):
                watch = Watch(device, ahead + plan.warm, plan.steps)
                train("fit", job, repeated(data, pictures), watch, workers)
                step = watch.seconds / plan.steps
                wait = max(0.0, step - job.batch / in_memory)
                rows[str(workers)] = {"loader_images_per_second": summary(alone[workers]), "wait_seconds": wait,
                                      "images_per_second": job.batch / step, "share_waiting": wait / step}
        size = statistics.mean(entry.image.stat().st_size for entry in data.entries)
    return {"model": job.name, "cores": cores, "mean_file_bytes": size, "in_memory": in_memory, "workers": rows}


# -------------------------------------------------------------------------------------------------------------- report
def output_of(*command: str) -> str | None:
    """What a program prints, or None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None if done.returncode == 0 else None


def machine(device: torch.device) -> dict[str, Any]:
    facts = {"python": platform.python_version(), "torch": torch.__version__, "seglab": seglab.__version__,
             "commit": output_of("git", "rev-parse", "HEAD"), "cores": os.cpu_count(), "device": device.type,
             "precision_of_float32": {"convolutions": precision(torch.backends.cudnn, "conv"),
                                      "matrices": precision(torch.backends.cuda, "matmul")}}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(0)
        facts |= {"gpu": card.name, "memory_bytes": card.total_memory, "capability": f"{card.major}.{card.minor}",
                  "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
                  "driver": output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")}
    return facts


def precision(backend: Any, kind: str) -> str:
    """What PyTorch computes float32 in: newer releases say it by a name, older ones by a flag."""
    part = getattr(backend, kind, backend)
    return part.fp32_precision if hasattr(part, "fp32_precision") else "tf32" if part.allow_tf32 else "ieee"


def table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    facts, rate = report["machine"], report["matrix"]["flops_per_second"]
    low, middle, high = (f"{rate[key] / 1e12:.4g}" for key in ("low", "median", "high"))
    lines = [f"{facts.get('gpu', 'CPU')}, driver {facts.get('driver')}, torch {facts['torch']}, commit "
             f"{facts['commit']}; bf16 products of {report['matrix']['side']}²: {middle} TFLOP/s ({low} to {high}); "
             f"float32 is computed in {facts['precision_of_float32']}.", "",
             "| pictures in memory | images/s (lowest to highest) | peak memory | of the bf16 rate | launches a step | "
             "copies to the host a step | waits a step |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, job in report["training"].items():
        for loop, row in job["loops"].items():
            speed, counts = row["images_per_second"], report["profile"].get(name, {}).get(loop, {})
            peak = "–" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**30:.1f} GiB"
            seen = [f"{counts[key]:.1f}" if key in counts else "–"
                    for key in ("kernel_launches", "copies_to_host", "waits")]
            lines.append(f"| {name}, {job['size']}², batch {job['batch']}: {loop} | {speed['median']:.1f} "
                         f"({speed['low']:.1f} to {speed['high']:.1f}) | {peak} | {row['share_of_matrix_rate']:.1%} | "
                         f"{' | '.join(seen)} |")
    if data := report["data"]:
        lines += ["", f"| {data['model']}, `fit` from JPEG files of {data['mean_file_bytes'] / 1e3:.0f} kB, "
                  f"{data['cores']} cores: loader processes | the loader alone, images/s | images/s | waiting a step | "
                  "of the step |",
                  "| --- | ---: | ---: | ---: | ---: |"]
        lines += [f"| {workers} | {row['loader_images_per_second']['median']:.1f} | {row['images_per_second']:.1f} | "
                  f"{row['wait_seconds'] * 1e3:.1f} ms | {row['share_waiting']:.1%} |"
                  for workers, row in data["workers"].items()]
    left_out = "; ".join(report["left_out"]) or "nothing"
    return "\n".join([*lines, "", f"{report['seconds']:.0f} s. Left out: {left_out}."])


def measure(plan: Plan, device: torch.device, minutes: float, save: Callable[[dict], None]) -> dict[str, Any]:
    """All of it; `save` is called after each part, so that a run that is ended early leaves what it has."""
    budget, rates = Budget(minutes), matrix_rate(plan, device)
    report = {"machine": machine(device), "plan": asdict(plan), "minutes": minutes, "left_out": budget.left_out,
              "matrix": {"side": plan.matrix, "flops_per_second": summary(rates)}, "training": {}, "profile": {},
              "data": None}
    for number, job in enumerate(plan.jobs, start=1):  # together at most 0.6 of the time
        report["training"][job.name] = compare(job, plan, device, budget, statistics.median(rates),
                                               0.6 * number / len(plan.jobs))
        save(report)
    for job in plan.jobs:
        if budget.allows(f"{job.name}: profile", 3 * plan.warm, 0.8):
            report["profile"][job.name] = {
                loop: count_events(watch.trace, plan.profiled) for loop, watch in in_turns(
                    LOOPS[:2], job, plan.warm, plan.profiled, budget, device, profiled=True).items()}
            save(report)
    job = plan.jobs[0]
    if fit := report["training"][job.name]["loops"].get("fit"):
        report["data"] = wait_for_data(job, plan, device, budget, fit["images_per_second"]["median"])
    report["seconds"] = budget.used()
    save(report)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--toy", action="store_true", help="tiny networks and pictures: a dry run")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu.json")
    parser.add_argument("--minutes", type=float, default=7.0, help="what does not fit is left out, and named")
    parser.add_argument("--cudnn-benchmark", action="store_true",
                        help="let cuDNN try its algorithms, in all loops, as torchvision's reference does; PyTorch "
                             "and fit do not by default")
    options = parser.parse_args()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # `fit` takes a GPU where it sees one
    elif not torch.cuda.is_available():
        parser.error("no CUDA device here; a dry run without one: --toy --device cpu")
    torch.backends.cudnn.benchmark = options.cudnn_benchmark
    options.out.parent.mkdir(parents=True, exist_ok=True)

    def save(report: dict[str, Any]) -> None:
        options.out.write_text(json.dumps(report, indent=1), encoding="utf-8")

    print(table(measure(TOY if options.toy else Plan(), torch.device(options.device), options.minutes, save)))


if __name__ == "__main__":
    main()
