"""Two processes on one machine: the counts add up, and the weights are those of one process with twice the batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import seglab
from seglab.models import build
from seglab.training import load_checkpoint
from tests.training.runs import Blobs

SCRIPT = """
import sys, torch, seglab
from seglab.models import build
from tests.training.runs import Blobs
torch.manual_seed(0)
torch.set_num_threads(1)
model = build("single_conv", 3)
def on_step(done, total):
    with open(sys.argv[1] + ".steps", "a") as file:  # both processes would write to it
        file.write(f"{done} of {total}\\n")
seglab.fit(model, Blobs(12), Blobs(7, seed=5), optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=2,
           batch_size=int(sys.argv[2]), accumulate=int(sys.argv[3]), folder=sys.argv[1], progress=False,
           on_step=on_step)
"""


@pytest.mark.parametrize(("batch_size", "accumulate"), [(2, 1), (1, 2)])
def test_two_processes_equal_one_with_all_pictures_of_a_step(tmp_path, batch_size, accumulate):
    (tmp_path / "script.py").write_text(SCRIPT)
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
                    str(tmp_path / "script.py"), str(tmp_path / "two"), str(batch_size), str(accumulate)], check=True,
                   capture_output=True, timeout=300,
                   env=os.environ | {"PYTHONPATH": str(root), "ACCELERATE_USE_CPU": "true"})
    torch.manual_seed(0)
    model = build("single_conv", 3)
    one = seglab.fit(model, Blobs(12), Blobs(7, seed=5), optimizer=torch.optim.SGD(model.parameters(), 0.1), epochs=2,
                     batch_size=4, progress=False)
    steps = 2 * 3 * accumulate
    assert (tmp_path / "two.steps").read_text().splitlines() == [f"{n} of {steps}" for n in range(1, steps + 1)]
    two = json.loads((tmp_path / "two" / "history.json").read_text())["rows"]
    for a, b in zip(one.rows, two, strict=True):
        assert a.keys() == b.keys()
        assert all(abs(a[k] - b[k]) < 1e-5 for k in a)
    weights = load_checkpoint(tmp_path / "two" / "last.safetensors")["model"]
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, weights[name], atol=1e-6)
