"""What pytest needs before any test: the plugin that watches lessons, and which tests share a worker."""

from __future__ import annotations

import gc
import importlib.util
import os
import re
from pathlib import Path
from typing import Any

import pytest

# A bare machine with a GPU has no nbval; there only `pytest -m gpu tests/gpu -o addopts=-ra` is run.
pytest_plugins = ["tests.lesson_cells"] if importlib.util.find_spec("nbval") else []

#: Tests that share something expensive (a kernel, a server, a trained network, a compiled program) and so run on one
#: worker, in order. All others go to whichever worker is free.
TOGETHER = {"tests/browser/test_lab.py": "jupyterlab", "tests/browser/test_tour.py": "jupyterlab",
            "tests/browser/test_pages.py": "pages", "tests/test_lessons.py": "pages",
            "tests/recipes/test_coco.py": "coco", "tests/recipes/test_pets.py": "pets",
            **dict.fromkeys(("tests/datasets/coco/test_dataset.py", "tests/datasets/test_cache.py",
                             "tests/datasets/test_sample.py", "tests/test_checkpoint.py",
                             "tests/training/test_kill.py", "tests/training/test_processes.py"), "fork server"),
            "tests/classroom/test_grading.py": "grading", "tests/inference/test_cpp.py": "compiler",
            "tests/test_benchmarks.py": "benchmarks", "tests/test_lesson_cells.py": "cells"}
#: Tests whose parameters are assignments.
GRADERS = {"tests/assignments/test_answers.py", "tests/classroom/test_course.py"}

# The masters of assignments are run as the notebook of a student, and their hidden tests import the grader.
os.environ["SEGLAB_STUDENT"] = "ada"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent / "assignments"),
                                                         os.environ.get("PYTHONPATH")]))

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread for each worker, and for the kernels and processes that it starts: several would wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(name, "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A notebook is executed once: the tour in JupyterLab, and masters of assignments as submissions, confined.

    Where those tests are not run, nbval executes them as it does the other lessons.
    """
    elsewhere, files = set(), {item.path.name for item in items}
    if "test_tour.py" in files:
        from tests.browser.stage import find_chromium  # not before: a machine with a GPU has no browser's packages

        elsewhere |= {"00_tour.ipynb"} if find_chromium() else set()
    if "test_course.py" in files:  # all of their cells, and all hidden tests with the right answers
        elsewhere |= {f"a{number}.ipynb" for number in range(1, 7)}
    there = [item for item in items if item.path.name in elsewhere]
    config.hook.pytest_deselected(items=there)
    items[:] = [item for item in items if item.path.name not in elsewhere]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Imported modules and collected tests stay to the end: every later gc.collect() would look at all of them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Groups of tests, the largest first: lessons begin at once, and single tests fill the gaps at the end.

    pytest-xdist 3.8 has `--dist loadgroup` for this, but finds no groups under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if file in GRADERS and (name := re.search(r"\b(a\d)\b.*\]$", nodeid)):
                return f"answers of {name[1]}"  # its data are drawn, and its backbones run, once in a process
            return file if file.endswith(".ipynb") else TOGETHER.get(file, nodeid)

    return Groups(config, log)
