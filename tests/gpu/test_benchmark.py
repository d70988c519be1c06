"""The benchmark's dry run on a GPU: what only a GPU has is measured too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_dry_run(tmp_path):
    out = tmp_path / "gpu.json"
    done = subprocess.run([sys.executable, "benchmarks/gpu.py", "--toy", "--out", str(out)], cwd=ROOT, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert report["left_out"] == [] and report["machine"]["gpu"] in done.stdout
    for job in report["training"].values():
        assert all(loop["peak_bytes"] > 0 for loop in job["loops"].values())
    profiles = [(job["fit"], job["reference"]) for job in report["profile"].values()]
    if not any(counts["kernel_launches"] for pair in profiles for counts in pair):
        pytest.skip("the profiler sees no kernels on this machine")
    for fit, reference in profiles:
        assert min(fit["kernel_launches"], reference["kernel_launches"]) > 50
        assert fit["copies_to_host"] == 0 < reference["copies_to_host"]  # the reference reads each loss
        assert fit["waits"] < reference["waits"]
