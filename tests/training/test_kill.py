"""`kill -9` at random moments, then resume: the same bits as a run that was never killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time

import pytest

from seglab.training import load_checkpoint
from tests.processes import prepared
from tests.training.runs import same_bits, train_in_a_process

EPOCHS = 60
KILLS = int(os.environ.get("SEGLAB_KILLS", "8"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill -9")
def test_killed_runs_end_as_if_never_killed(tmp_path):
    context = prepared()

    def run(folder: str) -> multiprocessing.Process:
        process = context.Process(target=train_in_a_process, args=(folder, EPOCHS))
        process.start()
        return process

    whole = run(str(tmp_path / "whole"))
    started = time.perf_counter()
    whole.join()
    seconds = time.perf_counter() - started
    assert whole.exitcode == 0

    rng = random.Random(0)
    kills = rounds = 0
    while kills < KILLS:
        rounds += 1
        folder = tmp_path / f"killed-{rounds}"
        done = False
        while not done:
            process = run(str(folder))
            process.join(rng.uniform(0.02, 0.6 * seconds) if kills < KILLS else None)
            process.kill()
            process.join()
            if process.exitcode == -signal.SIGKILL:
                kills += 1
            else:  # it had ended by itself, perhaps just before the kill
                assert process.exitcode == 0
                done = True
        for name in ("last.safetensors", "best.safetensors"):
            a, b = (load_checkpoint(run_folder / name) for run_folder in (tmp_path / "whole", folder))
            a.pop("timings", None), b.pop("timings", None)
            assert same_bits(a, b), (name, rounds)
        assert (folder / "history.json").read_bytes() == (tmp_path / "whole" / "history.json").read_bytes()
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            path.name for path in (tmp_path / "whole").iterdir())
