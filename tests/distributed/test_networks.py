"""Networks on parts of clouds give what they give on whole clouds: every output, every gradient (float64, gloo)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from leftovers import tensors_left
from together import together
from torch import Tensor, nn

from pointcept_bsa.distributed.traffic import counted
from pointcept_bsa.geometry import token_part
from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.cloud_norm import replace_batch_norms
from pointcept_bsa.layers.fused.switch import switched

BSA = dict(type="BSA-v1m1", in_channels=3, channels=16, depth=3, num_heads=2, ball_size=16, block_size=4, group_size=4)
BSA |= dict(topk=2)
NETWORKS: dict[str, dict[str, Any]] = {
    "bsa": BSA,
    "bsa mean": BSA | dict(phi="mean", qk_norm=True, rotary=6.0),
    "bsa group compression": BSA | dict(group_compression=True, query_pooling="mlp", recompute=True),
    "bsa no group selection": BSA | dict(group_size=1, recompute="selective"),
    "bsa all blocks": BSA | dict(mask_own_ball=False, distance_bias=False, topk=40),
    "bsa one tree": BSA | dict(rotate=0, skip_every=2),
    "bsa skips, conditions": BSA | dict(skip_every=1, condition=2),
}
FULL = dict(type="FullAttention-v1m1", in_channels=3, channels=16, depth=2, num_heads=2)
NETWORKS |= {"full": FULL, "full, all options": FULL | dict(qk_norm=True, rotary=6.0, condition=2)}
LEVELS = dict(near=32, fan=2, beam=2)  # level J depends on how many near nodes a part must have
SPARE = {"bsa hierarchical": 1, "bsa hierarchical coarse": 1, "bsa hierarchical mean": 2}
NETWORKS |= {
    "bsa hierarchical": BSA | LEVELS,
    "bsa hierarchical coarse": BSA | LEVELS | dict(group_compression=True, beam=4, mask_own_ball=False),
    "bsa hierarchical mean": BSA | LEVELS | dict(phi="mean", near=16, group_size=2),
    "bsa hierarchical, blocks for all": BSA | LEVELS | dict(near=64, recompute=True),
    "bsa hierarchical, one cloud flat": BSA | LEVELS | dict(levels_beyond=144),
    "bsa hierarchical, flat": BSA | LEVELS | dict(levels_beyond=512, group_compression=True),
}
PASSING = dict(in_channels=3, mp_steps=2, num_neighbors=6)
NSA = dict(type="ErwinNSA-v1m1", channels=16, depth=3, num_heads=2, local_ball_size=16, compressed_ball_size=4)
NSA |= PASSING | dict(num_selected=3)
ERWIN = dict(type="Erwin-v1m1", channels=(16, 16), ball_sizes=(16, 16), strides=(1,), enc_num_heads=(2, 2))
ERWIN |= PASSING | dict(enc_depths=(2, 2), dec_num_heads=(2,), dec_depths=(2,))
U_NET = ERWIN | dict(channels=(16, 24, 32), ball_sizes=(16, 8, 8), strides=(2, 2), enc_num_heads=(2, 2, 2))
U_NET |= dict(enc_depths=(2, 2, 3), dec_num_heads=(2, 2), dec_depths=(2, 2))
NETWORKS |= {
    "bsa, messages": BSA | PASSING,
    "bsa hierarchical, messages": BSA | LEVELS | PASSING | dict(condition=2, recompute=True),
    "erwin nsa": NSA,
    "erwin nsa, all options": NSA | dict(num_kv_heads=2, phi="mlp", mask_own_ball=True, qk_norm=True, rotary=6.0)
    | dict(condition=2, recompute="selective", edges="radius", radius=0.7),
    "erwin nsa, linear embedding": NSA | dict(mp_steps=0, rotate=0),
    "erwin": ERWIN,
    "erwin, other balls, conditions": ERWIN | dict(ball_sizes=(16, 32), condition=2, recompute=True),
    "erwin, neighbours everywhere": ERWIN | dict(num_neighbors=90, rotate=0),
    "erwin u-net": U_NET,
    "erwin u-net, BatchNorm": U_NET,
    "erwin u-net, radius": U_NET | dict(edges="radius", radius=0.9, strides=(4, 2), ball_sizes=(8, 8, 4)),
}  # fmt: skip
CLOUDS = {2: (83, 150), 3: (192,), 4: (201, 130)}  # points of the clouds of a batch, by processes
ERWINS = ["erwin nsa", "erwin", "erwin u-net", "erwin u-net, radius"]
RUN = {2: list(NETWORKS), 3: ["bsa", "bsa hierarchical", "full", *ERWINS]}
RUN[4] = [*RUN[3], "bsa mean", "bsa group compression", "bsa hierarchical mean", "bsa hierarchical, blocks for all"]
RUN[4] += ["bsa hierarchical, one cloud flat"]
FUSED = {"erwin", "erwin nsa", "full", "bsa", "bsa hierarchical", "bsa group compression"}  # also as on the GPU
FUSED |= {"bsa no group selection"}  # with the rows of other processes fetched within what is recomputed


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = MODELS.build(NETWORKS[name])
    replace_batch_norms(network, "batch" if "BatchNorm" in name else "cloud")
    network = network.double().train()
    for parameter in network.parameters():  # far from where it begins: nothing is small
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def batch(count: int) -> list[dict[str, Tensor]]:
    """Points of each cloud, with a weight of each output."""
    random = torch.Generator().manual_seed(count)
    shapes = {"coord": 3, "feat": 3, "weight": 16}
    clouds = [{key: torch.randn(n, width, generator=random).double() for key, width in shapes.items()}
              for n in CLOUDS[count]]  # fmt: skip
    return clouds


def part_of(clouds: list[dict[str, Tensor]], rank: int, count: int) -> dict[str, Tensor]:
    """Of each cloud a run of points, shorter for the first process."""
    own = []
    for cloud in clouds:
        n = len(cloud["coord"])
        start, end = (n * (r * r + r) // (count * count + count) for r in (rank, rank + 1))
        own.append({key: value[start:end] for key, value in cloud.items()})
    sample = {key: torch.cat([each[key] for each in own]) for key in own[0]}
    sample["offset"] = torch.tensor([len(each["coord"]) for each in own]).cumsum(0)
    sample["parameters"] = torch.linspace(-1, 1, 2 * len(own), dtype=torch.float64).view(-1, 2)
    return sample


def results(network: nn.Module, sample: dict[str, Tensor]) -> dict[str, Tensor]:
    """Outputs, gradients of features and parameters, and statistics of norms."""
    data = dict(sample)
    if network.condition is None:
        del data["parameters"]
    weight = data.pop("weight")
    feat = data["feat"] = data["feat"].clone().requires_grad_()
    network.zero_grad()
    out = network(data)["feat"]
    (out * weight[:, : out.shape[1]]).sum().backward()
    found = {"out": out.detach(), "feat": feat.grad}
    found |= {f"buffer {name}": buffer for name, buffer in network.named_buffers() if "running" in name}
    return found | {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def on_parts(rank: int, count: int, names: list[str]) -> dict[tuple[str, bool], Any]:
    sample, found = part_of(batch(count), rank, count), {}
    for name in names:
        for fused in (False, True) if name in FUSED else (False,):
            token_part.SPARE = SPARE.get(name, 8)
            with switched(fused), counted() as sent:
                found[name, fused] = results(build(name), sample), dict(sent)
                network = build(name)
                left = tensors_left(lambda network=network: results(network, sample)) if count == 2 else 0
                assert left == 0, f"{name}, fused {fused}: a step leaves {left / 2} tensors to the garbage collector"
    return found


@pytest.fixture(scope="module")
def parts() -> Callable[[int], list[dict[tuple[str, bool], Any]]]:
    """By the number of processes, what each of them has found for all networks."""
    return cache(lambda count: together(count, on_parts, count, RUN[count]))


@pytest.mark.parametrize("count, name", [(count, name) for count, names in RUN.items() for name in names])
def test_outputs_and_gradients_are_those_of_one_process(count, name, parts):
    found, clouds = parts(count), batch(count)
    wanted = results(build(name), part_of(clouds, 0, 1))
    own = [part_of(clouds, rank, count) for rank in range(count)]
    size = max(float(value.abs().max()) for value in wanted.values())  # some gradients are zero but for rounding
    for fused in (False, True) if name in FUSED else (False,):
        of_processes = [each[name, fused][0] for each in found]
        assert all(each.keys() == wanted.keys() for each in of_processes)
        for key, value in wanted.items():
            if key in ("out", "feat"):
                got = in_order([each[key] for each in of_processes], own)
            elif key.startswith("buffer"):
                got = of_processes[-1][key]
            else:
                got = sum(each[key] for each in of_processes)
            torch.testing.assert_close(got, value, rtol=1e-8, atol=1e-11 * size, msg=f"{name} {key}")
        sent = [each[name, fused][1] for each in found]
        assert all(("descent" in each) == (name in SPARE) for each in sent)  # level J is as high as it was meant to be


def in_order(rows: list[Tensor], own: list[dict[str, Tensor]]) -> Tensor:
    """Rows of the processes, cloud after cloud."""
    by_cloud = [x.split(torch.diff(sample["offset"], prepend=torch.zeros(1).long()).tolist())
                for x, sample in zip(rows, own, strict=True)]  # fmt: skip
    return torch.cat([part for cloud in zip(*by_cloud, strict=True) for part in cloud])
