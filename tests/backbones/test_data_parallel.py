"""Two processes with a cloud each have the gradients of one process with both, whatever the backbone (gloo, CPU)."""

from __future__ import annotations

import multiprocessing
import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from patience import PATIENCE, exit_codes
from torch import Tensor, nn

from pointcept_bsa.host import MODELS
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.layers.cloud_norm import replace_batch_norms
from pointcept_bsa.training.graph import FlatGradients
from pointcept_bsa.training.processes.parallel import distribute

from .conftest import NETWORKS, sample

sys.path.insert(0, str(Path(__file__).parents[1]))  # the processes import this module by its name

LENGTHS = (70, 41)
ONE_OF_EACH = {NETWORKS[name]["type"]: name for name in reversed(NETWORKS)}  # the first of each backbone
RANDOM = {"PT-v3m1": dict(drop_path=0.0)}  # what leaves parts out at random in training
MODES = ("ddp", "flat")


def build(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    config = NETWORKS[name]
    network = MODELS.build(config | RANDOM.get(config["type"], {}))
    replace_batch_norms(network, "cloud")  # BatchNorm counts the points of its own process alone
    return network.double().train()


def clouds() -> list[dict[str, Tensor]]:
    return [sample((n,), seed=n, dtype=torch.float64) for n in LENGTHS]


def loss_of(network: nn.Module, data: dict[str, Tensor]) -> Tensor:
    """Mean over clouds of each cloud's mean."""
    feat, ends = network(data)["feat"], [0, *data["offset"].tolist()]
    parts = [feat[start:end].square().mean() for start, end in zip(ends, ends[1:], strict=False)]
    return torch.stack(parts).mean()


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name.removeprefix("module."): p.grad.clone() for name, p in network.named_parameters()}


def one_of_two(rank: int, folder: str) -> None:
    """What a process does: for each network and mode, the gradients after its own cloud."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=PATIENCE / 2)
    )
    found = {}
    for name in ONE_OF_EACH.values():
        for mode in MODES:
            network = build(name, seed=rank)  # the first process's weights count
            cfg = Config(dict(parallel=mode, cuda_graph=False, find_unused_parameters=False))
            wrapped = distribute(network, cfg, torch.device("cpu"))
            flat = FlatGradients(network) if mode == "flat" else None
            for _ in range(2):  # the second time DDP refuses parameters that had no gradient
                wrapped.zero_grad() if flat is None else flat.part()
                loss_of(wrapped, clouds()[rank]).backward()
                if flat is not None:
                    flat.take()
                    flat.average()
            found[name, mode] = gradients(wrapped)
    torch.save(found, os.path.join(folder, f"{rank}.pth"))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, str], dict[str, Tensor]]]:
    """(network, mode) -> gradients, of each process."""
    folder: Path = tmp_path_factory.mktemp("two")
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=one_of_two, args=(rank, str(folder))) for rank in range(2)]
    for process in running:
        process.start()
    assert exit_codes(running) == [0, 0]
    return [torch.load(folder / f"{rank}.pth") for rank in range(2)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_gradients_are_those_of_one_process_with_both_clouds(name, mode, of_two):
    network, parts = build(name, seed=0), clouds()
    both = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    loss_of(network, both | dict(offset=torch.tensor(LENGTHS).cumsum(0))).backward()
    wanted = gradients(network)
    size = max(float(gradient.abs().max()) for gradient in wanted.values())
    for found in of_two:
        assert found[name, mode].keys() == wanted.keys()
        for key, value in found[name, mode].items():
            torch.testing.assert_close(value, wanted[key], rtol=1e-9, atol=1e-12 * size, msg=key)
