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
from seglab.training import largest_batch

MIB = 2**20


@pytest.fixture(autouse=True)
def _two_gib() -> Iterator[None]:
    clear_device_cache(garbage_collection=True)
    torch.cuda.set_per_process_memory_fraction(2048 * MIB / torch.cuda.get_device_properties(0).total_memory)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    clear_device_cache(garbage_collection=True)


def test_nothing_fits():
    with pytest.raises(TrainingError, match="9000×9000"):
        largest_batch(build("single_conv", 3).to("cuda"), 9000, start=2)
    assert torch.empty(500 * MIB, dtype=torch.uint8, device="cuda").numel() == 500 * MIB  # it goes on working


def test_fit_trains_with_the_batch_that_was_found():
    torch.manual_seed(0)
    model = build("fcn", 3, backbone="resnet18").to("cuda")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = largest_batch(model, 128, start=2048)
    assert 1 <= found < 2048
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    pictures = torch.randint(0, 256, (2 * found, 3, 128, 128), dtype=torch.uint8)
    data = TensorDataset(pictures, (pictures[:, 0] > 127).to(torch.uint8))
    history = seglab.fit(model, data, optimizer=torch.optim.Adam(model.parameters(), 1e-4), epochs=1,
                         batch_size=found, progress=False)
    assert len(history) == 1
