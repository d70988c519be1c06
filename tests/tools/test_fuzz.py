"""The fuzzer can fail: whatever goes wrong in a reader has its verdict. And it finds nothing in a small sample."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import pytest

from seglab.errors import DataError
from tools.fuzz import mutations as by
from tools.fuzz.processes import FAILURES, FINE, Fuzzer, Kind, Result

ROOT = Path(__file__).parents[2]


def fill_memory(path):
    held = []
    while True:
        held.append(b"x" * 10_000_000)


def run_for_ever(path):
    while True:
        time.monotonic()


def write_outside(path):
    Path(by.OUTSIDE).write_text("here I am")


def refuse(text):
    def reader(path):
        raise DataError(text.format(path=path), fix="Mend it.")
    return reader


#: What a reader does with a damaged file, and what the fuzzer has to say about that.
PLANTED = {"traceback": lambda path: {}["key"], "crash": lambda path: os.abort(), "memory": fill_memory,
           "hang": run_for_ever, "outside": write_outside,
           "changed": lambda path: Result("wrong"), "unnamed error": refuse("something is wrong"),
           "documented error": refuse("{path}: something is wrong"), "counted skip": lambda path: Result("less", 1),
           "right": lambda path: Result("fine"), "changed, legally": lambda path: Result("other")}


def planted():
    """Run two mutants of each; in a process without threads, which is forked."""
    kinds = {name: Kind(make=lambda folder: folder.mkdir() or (folder / "a.txt").write_text("fine"),
                        files={"a.txt": (lambda data, rng: (b"damaged", "damaged"),)},
                        run=lambda folder, path, policy, reader=reader: Result("fine") if path.is_file() and (
                            path.read_text() == "fine") else reader(path),
                        sees=lambda path, name=name: name == "changed")
             for name, reader in PLANTED.items()}
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(kinds, Path(folder), seed=1, seconds=0.4, memory=50_000_000)
        found = [*fuzzer.run(range(2 * len(kinds)), jobs=4)]
    print(json.dumps(sorted([one.number, one.kind, one.verdict, one.what] for one in found)))


def test_what_goes_wrong_in_a_reader_has_its_verdict():
    run = subprocess.run([sys.executable, "-c", "from tests.tools.test_fuzz import planted; planted()"], cwd=ROOT,
                         capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert [verdict for _, _, verdict, _ in found] == [kind for _, kind, _, _ in found] == 2 * list(PLANTED)
    assert {*PLANTED} == {*FINE, *FAILURES}
    assert all("damaged" in what or "file" in what for *_, what in found)


@pytest.mark.parametrize("way", [by.of_bytes, by.of_json, by.of_lines])
def test_the_same_seed_gives_the_same_mutants(way):
    data = json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}], "size": [3, 4.5], "x": None}).encode()
    first, again, other = ([way(data, Random(f"{seed}/{n}")) for n in range(60)] for seed in (1, 1, 2))
    assert first == again != other
    assert sum(found == data for found, _ in first) < 10


@pytest.mark.slow
def test_a_small_sample_finds_nothing():
    run = subprocess.run([sys.executable, "-m", "tools.fuzz", "--seed", "1", "--mutants", "40", "--kinds",
                          "tables,coco,weights"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "40 mutants" in run.stdout and "documented error" in run.stdout
