"""What pytest needs before any test: the plugin that watches lessons, and which tests share a worker."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

pytest_plugins = ["tests.lesson_cells"]

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread for each worker, and for the kernels and processes that it starts: several would wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(name, "1")


@pytest.hookimpl(wrapper=True)  # before pytest-xdist, which reads the groups first of all
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """A lesson's cells share a kernel, so they stay on one worker (`--dist loadgroup`)."""
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    yield
