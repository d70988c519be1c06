"""The largest batch that fits, where memory really runs out: within 2 GiB, whatever the card has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from accelerate.utils.memory import clear_device_cache
from torch.utils.data import TensorDataset

import seglab
from seglab.errors import TrainingError
from seglab.models import build
from seglab.training import find_batch_size, largest_batch

MIB = 2**20


@pytest.fixture(autouse=True)
def _two_gib() -> Iterator[None]:
    clear_device_cache(garbage_collection=True)
    torch.cuda.set_per_process_memory_fraction(2048 * MIB / torch.cuda.get_device_properties(0).total_memory)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    clear_device_cache(garbage_collection=True)


def take(mib: int) -> torch.Tensor:
    return torch.empty(mib * MIB, dtype=torch.uint8, device="cuda")


def test_the_batch_is_halved_until_it_fits_and_leaves_nothing():
    tried, before = [], torch.cuda.memory_allocated()

    def step(batch_size: int) -> None:
        tried.append(batch_size)
        kept = [take(72) for _ in range(batch_size)]  # what fits of a batch that does not is freed for the next
        assert len(kept) == batch_size

    assert find_batch_size(step, start=64) == 16
    assert tried == [64, 32, 16] and torch.cuda.memory_allocated() == before


def test_nothing_fits():
    with pytest.raises(TrainingError, match=r"down to 1: CUDA out of memory"):
        find_batch_size(lambda batch_size: take(3000), start=2)
    assert take(500).numel() == 500 * MIB  # the device goes on working


def test_fit_trains_with_the_batch_that_was_found():
    torch.manual_seed(0)
    model = build("fcn", 3, backbone="resnet18").to("cuda")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = largest_batch(model, 128, start=2048)
    assert 1 <= found < 2048 and found & (found - 1) == 0  # a power of two, less than what was tried first
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    pictures = torch.randint(0, 256, (2 * found, 3, 128, 128), dtype=torch.uint8)
    data = TensorDataset(pictures, (pictures[:, 0] > 127).to(torch.uint8))
    history = seglab.fit(model, data, optimizer=torch.optim.Adam(model.parameters(), 1e-4), epochs=1,
                         batch_size=found, progress=False)
    assert len(history) == 1
