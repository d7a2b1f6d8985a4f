"""Gradients collected at once leave a parameter that nobody uses without one, and so as it is, as torch's DDP does."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from together import together
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pointcept_bsa.distributed import mesh
from pointcept_bsa.samples import Batch
from pointcept_bsa.training import graph
from pointcept_bsa.training.graph import FlatGradients, FlatStep, GraphedStep

STEPS = 3
USED_BY = {"both": (0, 1), "first": (0,), "second": (1,), "nobody": ()}


class Branches(nn.Module):
    """A parameter of each kind, in two floating types; ``rank`` says what this process uses, ``turn`` swaps roles."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.turn = rank, 0
        for name in USED_BY:
            for dtype in (torch.float32, torch.float64):
                self.register_parameter(f"{name}_{dtype.itemsize}", nn.Parameter(torch.ones(5, dtype=dtype)))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        process = (self.rank + self.turn) % 2
        used = [p for name, p in self.named_parameters() if process in USED_BY[name.split("_")[0]]]
        return {"loss": sum((batch["feat"] * p).square().mean() for p in used)}


def batch(rank: int, seed: int) -> dict[str, Tensor]:
    feat = torch.randn(7, 5, generator=torch.Generator().manual_seed(10 * seed + rank), dtype=torch.float64)
    return {"feat": feat.float(), "offset": torch.tensor([7])}


def trained(network: nn.Module, step: Any) -> list[dict[str, Any]]:
    """After each step, with decay of the weights: (gradient, weight) of each parameter."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.5)
    found = []
    for seed in range(STEPS):
        network.turn = seed % 2
        step(batch(network.rank, seed))
        optimizer.step()
        found.append({n: (None if p.grad is None else p.grad.clone(), p.detach().clone())
                      for n, p in network.named_parameters()})  # fmt: skip
    return found


def ways(rank: int) -> dict[str, list[dict[str, Any]]]:
    networks = {way: Branches(rank) for way in ("ddp", "step", "sum", "accumulated")}
    wrapped = DistributedDataParallel(networks["ddp"], find_unused_parameters=True)
    own, group = FlatStep(networks["sum"], networks["sum"]), mesh.context_group()
    flat = FlatGradients(networks["accumulated"])
    assert group is not None

    def ddp(batch: dict[str, Tensor]) -> None:
        wrapped.zero_grad()
        wrapped(batch)["loss"].backward()

    def summed(batch: dict[str, Tensor]) -> None:  # as the benchmark does it
        own.own(Batch.of(batch))
        own.gradients.sum(group)

    def accumulated(batch: dict[str, Tensor]) -> None:
        flat.part()
        for share in (0.25, 0.75):
            (share * networks["accumulated"](batch)["loss"]).backward()
        flat.take()
        flat.average()

    steps = {"ddp": ddp, "step": FlatStep(networks["step"], networks["step"]), "sum": summed}
    steps["accumulated"] = accumulated
    return {way: trained(networks[way], step) for way, step in steps.items()}


@pytest.fixture(scope="module")
def found():
    return together(2, ways)


@pytest.mark.parametrize("way", ["step", "sum", "accumulated"])
def test_gradients_and_weights_are_those_of_ddp(way, found):
    for each in found:
        for seed in range(STEPS):
            assert each[way][seed].keys() == each["ddp"][seed].keys()
            for name, (wanted, weight) in each["ddp"][seed].items():
                gradient, own = each[way][seed][name]
                if name.startswith("nobody"):
                    assert wanted is gradient is None and torch.equal(own, torch.ones_like(own))
                    continue
                scale = 2 if way == "sum" else 1
                torch.testing.assert_close(gradient, scale * wanted, rtol=1e-6, atol=0)
                torch.testing.assert_close(own, weight, rtol=1e-5, atol=0)
                assert not torch.equal(own, torch.ones_like(own))


class Replayed:
    """In place of a captured graph: a replay runs no line of python, so here only what the device would do."""

    def __init__(self, work: Any, batch: Any, **how: Any) -> None:
        self.work, self.batch = work, batch
        work(batch)

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": torch.zeros(())}


def test_a_replay_leaves_without_gradients_what_its_own_capture_did(monkeypatch):
    """Batches of two shapes take turns; the parameter that one of them uses, the other does not."""
    for name in ("Stream", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(graph, "CapturedBatch", Replayed)
    monkeypatch.setattr(GraphedStep, "_eager", lambda self, batch: FlatStep.own(self, batch))
    network = nn.ParameterDict({name: nn.Parameter(torch.ones(4)) for name in ("short", "long", "nobody")})

    def forward(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        chosen = "short" if len(batch["feat"]) < 5 else "long"
        return {"loss": (batch["feat"] * network[chosen]).square().mean()}

    step = GraphedStep(network, forward, logging.getLogger("test"))
    samples = {name: {"feat": torch.ones(n, 4), "coord": torch.ones(n, 3), "offset": torch.tensor([n])}
               for name, n in (("short", 3), ("long", 9))}  # fmt: skip
    for _ in range(graph.WARMUP_STEPS + 2):
        for name, sample in samples.items():
            step(copy.deepcopy(sample))
            assert {key for key, p in network.items() if p.grad is not None} == {name}
    assert len(step.graphs) == 2
