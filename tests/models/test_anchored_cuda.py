"""Anchors and queries on a GPU: the numbers of the CPU, steps as captured graphs, memory that chunks bound."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from pointcept_bsa.samples import ANCHORS, to_device
from pointcept_bsa.training.evaluation.anchored import AnchoredModel
from pointcept_bsa.training.graph import GraphedStep

from .test_anchored import BACKBONES, batch_of, model_of

CUDA = torch.device("cuda")
pytestmark = [pytest.mark.gpu, pytest.mark.parametrize("name", BACKBONES)]


def test_cuda_equals_cpu(name):
    model = model_of(BACKBONES[name]).double()
    anchors, queries = (
        {key: value.double() if value.is_floating_point() else value for key, value in batch.items()}
        for batch in (batch_of(300), batch_of(1000, seed=1))
    )
    other = copy.deepcopy(model).to(CUDA)
    with torch.no_grad():
        wanted = model.decode(model.encode_anchors(anchors), queries)["pred"]
        memory = other.encode_anchors(to_device(anchors, CUDA))
        found = other.decode(memory, to_device(queries, CUDA), rows=300)["pred"]
    torch.testing.assert_close(found.cpu(), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("autocast", "tolerance"), [(False, 1e-3), (True, 3e-2)], ids=["float32", "bfloat16"])
def test_captured_steps_are_the_eager_ones(name, autocast, tolerance):
    eager = model_of(BACKBONES[name], anchor_loss=False).to(CUDA).train()
    with torch.no_grad():
        for parameter in eager.parameters():
            parameter.mul_(0.2 if parameter.dim() > 1 else 1)
    graphed = copy.deepcopy(eager)

    def forward(model):
        def run(batch):
            with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
                return model(batch)

        return run

    step = GraphedStep(graphed, forward(graphed), logging.getLogger("test"), torch.bfloat16 if autocast else None)
    for seed in range(6):
        batch = to_device(batch_of(300, 200, seed=seed) | {ANCHORS: torch.tensor([200, 330])}, CUDA)
        eager.zero_grad()
        wanted = forward(eager)(batch)["loss"]
        wanted.backward()
        torch.testing.assert_close(step(batch)["loss"], wanted.detach(), rtol=tolerance, atol=0)
        left, right = (torch.cat([p.grad.flatten() for p in model.parameters()]) for model in (graphed, eager))
        assert (left - right).norm() <= tolerance * right.norm() and right.norm() > 0
    assert len(step.graphs) == 1


def test_memory_is_that_of_the_anchors_and_a_chunk(name):
    model = model_of(BACKBONES[name]).to(CUDA)
    predict, peaks = AnchoredModel(model, 200, chunk=1000), []
    for queries in (3000, 3000, 60000):
        torch.cuda.reset_peak_memory_stats()
        predict(batch_of(queries))  # on the host
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[2] <= 1.05 * peaks[1]
