"""Steps on parts of clouds in bfloat16, as the trainer takes them: autocast's losses, and its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from together import together
from torch import Tensor, nn

from pointcept_bsa.distributed import mesh
from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.cloud_norm import replace_batch_norms
from pointcept_bsa.layers.fused.switch import switched
from pointcept_bsa.training.graph import FlatStep

BF16 = torch.bfloat16
BSA = dict(type="BSA-v1m1", in_channels=3, channels=16, depth=2, num_heads=2, ball_size=16, block_size=4, group_size=4)
BSA |= dict(topk=2)
NSA = dict(type="ErwinNSA-v1m1", in_channels=3, channels=16, depth=2, num_heads=2, local_ball_size=16, mp_steps=2)
NSA |= dict(compressed_ball_size=4, num_selected=3, num_neighbors=6)
ERWIN = dict(type="Erwin-v1m1", in_channels=3, channels=(16, 24), ball_sizes=(16, 8), strides=(2,), mp_steps=1)
ERWIN |= dict(num_neighbors=6, enc_num_heads=(2, 2), enc_depths=(2, 2), dec_num_heads=(2,), dec_depths=(2,))
NETWORKS: dict[str, dict[str, Any]] = {
    "bsa": BSA,
    "bsa, all recomputed": BSA | dict(recompute=True, qk_norm=True, rotary=6.0),
    "bsa, but attention recomputed": BSA | dict(recompute="selective", skip_every=1, condition=2),
    "bsa, levels": BSA | dict(near=32, fan=2, beam=2),
    "full": dict(type="FullAttention-v1m1", in_channels=3, channels=16, depth=2, num_heads=2),
    "erwin nsa": NSA,
    "erwin nsa, grouped queries": NSA | dict(num_kv_heads=1, phi="mlp", recompute="selective"),
    "erwin": ERWIN,
}
CLOUDS = (150, 97)  # points
STEPS = 2


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = MODELS.build(NETWORKS[name])
    replace_batch_norms(network, "cloud")
    network = network.train()
    for parameter in network.parameters():  # far from where it begins: nothing is small
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def part(rank: int, count: int, network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Of each cloud a run of points, shorter for the first process."""
    random, own = torch.Generator().manual_seed(seed), []
    for n in CLOUDS:
        cloud = torch.randn(n, 19, generator=random)
        start, end = (n * (r * r + r) // (count * count + count) for r in (rank, rank + 1))
        own.append(cloud[start:end])
    coord, weight = torch.cat(own).split([3, 16], 1)
    sample = dict(coord=coord, feat=coord, weight=weight, offset=torch.tensor([len(x) for x in own]).cumsum(0))
    if getattr(network, "condition", None) is not None:
        sample["parameters"] = torch.linspace(-1, 1, 4).view(2, 2)
    return sample


def steps(rank: int, count: int) -> dict:
    found = {}
    for name in NETWORKS:
        for fused in (False, True):
            plain, other = build(name), build(name)

            def loss_of(network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
                data = {key: value for key, value in batch.items() if key != "weight"}
                with torch.autocast("cpu", BF16):
                    out = network(data)["feat"].float()
                return {"loss": (out * batch["weight"][:, : out.shape[1]]).mean()}

            with switched(fused):
                step = FlatStep(other, lambda batch, other=other, loss_of=loss_of: loss_of(other, batch), BF16)
                for seed in range(STEPS):
                    sample = part(rank, count, plain, seed)
                    plain.zero_grad()
                    loss = loss_of(plain, sample)["loss"]
                    loss.backward()
                    for parameter in plain.parameters():
                        if parameter.grad is None:
                            parameter.grad = torch.zeros_like(parameter)
                        torch.distributed.all_reduce(parameter.grad, group=mesh.context_group())
                        parameter.grad /= count
                    same = step(sample)["loss"]
                    gradients = {n: (p.grad, q.grad.clone()) for (n, p), q in
                                 zip(plain.named_parameters(), other.parameters(), strict=True)}  # fmt: skip
                    found[name, fused, seed] = loss.detach(), same, gradients
    return found


@pytest.fixture(scope="module")
def found():
    return together(2, steps, 2)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_losses_and_gradients_are_those_of_autocast(name, fused, found):
    for seed in range(STEPS):
        for loss, same, gradients in (each[name, fused, seed] for each in found):
            assert loss == same
            size = max(wanted.norm() for wanted, _ in gradients.values())
            for key, (wanted, got) in gradients.items():
                assert got.dtype == torch.float32
                # Biases are summed in float32 here, rounded there.
                assert (
                    (got - wanted).norm() <= 1e-2 * wanted.norm() + 1e-3 * size if fused else torch.equal(got, wanted)
                ), key
        one, other = ([got for _, got in each[name, fused, seed][2].values()] for each in found)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
