"""BatchNorm's running statistics, for pictures as they are used."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader

from seglab.datasets.protocols import Samples
from seglab.datasets.transforms import collate
from seglab.models.card import card_of
from seglab.training.order import Order, Seeded


def measure_statistics(model: nn.Module, data: Samples, *, batch_size: int, pictures: int = 512,
                       seed: int = 0) -> None:
    """Measure a model's BatchNorm statistics anew, over some passes of a dataset; its weights stay.

    Those that training leaves are averages over pictures that were enlarged and shrunk at random, made while the
    weights still moved. Pictures in use are neither; statistics of `data`, at the scale of use, fit them better.

    Args:
        model: on whatever device; its mean and deviation are those of its card.
        data: samples of (uint8 image, mask), as for `fit`.
        batch_size: pictures at once; the rest of a pass is left out, unless it is all there is.
        pictures: to see at least.
        seed: of the order, and of what is random in the samples.

    Source: Wu and Johnson 2021, "Rethinking Batch in BatchNorm", arXiv 2105.07576, section 3; of the scale, Touvron et
    al. 2019, "Fixing the train-test resolution discrepancy", arXiv 1906.06423.

    Example:
        >>> from seglab.models import build
        >>> data = [(torch.full((3, 32, 32), 51 * i, dtype=torch.uint8), torch.zeros(32, 32)) for i in range(4)]
        >>> model = build("fcn", 2, backbone="resnet18").eval()
        >>> before = model.backbone.bn1.running_var.clone()
        >>> measure_statistics(model, data, batch_size=4, pictures=8)
        >>> bool((model.backbone.bn1.running_var != before).all()), model.training
        (True, False)
    """
    order = Order(len(data), seed)
    loader = DataLoader(Seeded(data, seed), batch_size, sampler=order, collate_fn=collate,
                        drop_last=len(data) > batch_size)
    device = next(model.parameters()).device
    normalize = card_of(model).normalize.to(device)

    def batches() -> Iterator[Tensor]:
        for order.epoch in range(-(-pictures // len(data))):
            for images, _ in loader:
                yield normalize(images.to(device))  # (N, 3, H, W)

    torch.manual_seed(seed)  # for dropout
    update_bn(batches(), model)
