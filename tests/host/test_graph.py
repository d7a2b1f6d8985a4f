"""CUDA graphs of the training step."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from pointcept_bsa.host import MODELS
from pointcept_bsa.host.batch import to_device
from pointcept_bsa.host.embedded.graph import GraphedStep

LENGTHS = [(300, 200), (300, 200), (257,), (300, 200), (257,), (257,), (300, 200), (257,), (300, 200), (257,)]
MODEL = dict(
    type="DefaultRegressor",
    backbone=dict(type="BSA-v1m1", channels=16, depth=2, num_heads=2, ball_size=64),
    head=dict(type="RegressionHead", in_channels=16, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1, mean=[0.0], std=[1.0]),
    criteria=[dict(type="MSELoss")],
)


def batches():
    generator = torch.Generator().manual_seed(0)
    for lengths in LENGTHS:
        coord = torch.randn(sum(lengths), 3, generator=generator)
        offset = torch.tensor(lengths).cumsum(0)
        yield dict(coord=coord, feat=coord, target=coord[:, :1].square(), offset=offset, name=["x"] * len(lengths))


def train(step, model) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for batch in batches():
        losses.append(step(to_device(batch, torch.device("cuda")))["loss"])
        optimizer.step()
    return [loss.item() for loss in losses]


def test_offsets_carry_their_values():
    batch = to_device(next(iter(batches())), torch.device("cpu"))
    assert batch["offset"].host_values == [300, 500]


@pytest.mark.gpu
def test_graphed_steps_train_like_eager_ones():
    torch.manual_seed(0)
    eager = MODELS.build(copy.deepcopy(MODEL)).cuda().train()
    graphed = copy.deepcopy(eager)

    def eager_step(batch):
        eager.zero_grad()
        out = eager(batch)
        out["loss"].backward()
        return out

    step = GraphedStep(graphed, graphed, logging.getLogger("test"))
    assert train(step, graphed) == pytest.approx(train(eager_step, eager), rel=1e-3)  # atomics: not bit for bit
    assert len(step.graphs) == 2
