"""Losses against numbers worked by hand."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import LOSSES

PRED = torch.tensor([[1.0], [2.0], [3.0]])
TARGET = torch.tensor([[1.0], [4.0], [1.0]])
OFFSET = torch.tensor([2, 3])  # clouds of two points and of one


@pytest.mark.parametrize(
    ("name", "value", "value_as_one_cloud"),
    [
        ("MSELoss", (2.0 + 4.0) / 2, 8 / 3),
        ("L1Loss", (1.0 + 2.0) / 2, 4 / 3),
        ("RelativeL2Loss", ((4 / 17) ** 0.5 + 2.0) / 2, (8 / 18) ** 0.5),
    ],
)
def test_value(name, value, value_as_one_cloud):
    loss = LOSSES.build(dict(type=name, loss_weight=10.0))
    assert loss(PRED, TARGET, OFFSET).item() == pytest.approx(10 * value)
    assert loss(PRED, TARGET).item() == pytest.approx(10 * value_as_one_cloud)


def test_channels_count_by_their_weights():
    loss = LOSSES.build(dict(type="WeightedMSELoss", channel_weights=(2.0, 0.2)))
    pred, target = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]]), torch.zeros(3, 2)
    by_cloud = ((2 * 1 / 2 + 0) / 2, (0 + 0.2 * 25) / 2)  # mean over points, then over channels
    assert loss(pred, target, OFFSET).item() == pytest.approx(sum(by_cloud) / 2)
    with pytest.raises(InputError, match="got 2 numbers, wanted 1"):
        loss(PRED, TARGET)
    for wrong in ((), (1.0, -1.0)):
        with pytest.raises(InputError, match="channel_weights: got"):
            LOSSES.build(dict(type="WeightedMSELoss", channel_weights=wrong))
