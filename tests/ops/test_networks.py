"""Whole networks by the kernels against plain torch: what is handed from one block to the next included."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.layers.fused.switch import switched
from pointcept_bsa.samples import with_lengths

from .interpreter import DEVICE, kernel_test, run_in_interpreter

LENGTHS = (20, 9)
STACK = dict(in_channels=3, channels=32, depth=2, num_heads=4)
BSA = STACK | dict(type="BSA-v1m1", ball_size=16, block_size=8, group_size=8, topk=1)
LATENT = dict(in_channels=3, out_channels=16, channels=16, num_heads=2, num_supernodes=8, depth=1, radius=0.8,
              num_neighbors=5, position_scale=4.0)  # fmt: skip
NETWORKS = {
    "full": STACK | dict(type="FullAttention-v1m1"),
    "bsa": BSA,
    "bsa, gate joined, group compression": BSA | dict(num_heads=8, group_compression=True, query_pooling="mlp"),
    "bsa, hierarchical": BSA | dict(near=16, fan=2, beam=1),
    "bsa, skips": BSA | dict(skip_every=1),
    "bsa, messages": BSA | dict(mp_steps=1, num_neighbors=5),
    "full, conditioned": STACK | dict(type="FullAttention-v1m1", depth=1, condition=2),
    "bsa, conditioned": BSA | dict(condition=2),
    "erwin": dict(
        type="Erwin-v1m1",
        in_channels=3,
        channels=[16, 16],
        ball_sizes=[16, 16],
        enc_num_heads=[2, 2],
        enc_depths=[1, 1],
        dec_num_heads=[2],
        dec_depths=[1],
        strides=[1],
        mp_steps=1,
        num_neighbors=5,
    ),
    "erwin nsa": STACK
    | dict(
        type="ErwinNSA-v1m1",
        num_heads=8,
        local_ball_size=16,
        compressed_ball_size=8,
        num_selected=2,
        mp_steps=1,
        num_neighbors=5,
    ),
    "upt": LATENT | dict(type="UPT-v1m1", num_latents=4, encoder_depth=0),
    "abupt": LATENT | dict(type="ABUPT-v1m1", num_anchors=10, geometry_depth=0),
    "mspt": STACK | dict(type="MSPT-v1m1", depth=1, ball_size=16, block_size=8),
    "transolver": STACK | dict(type="Transolver-v1m1", depth=1, num_slices=4),
    "flare": STACK | dict(type="FLARE-v1m1", depth=1, num_latents=4, mlp_depth=0),
    "lrsa": STACK | dict(type="LRSA-v1m1", depth=1, num_latents=4),
    "pointnet": dict(type="PointNet-v1m1", point_channels=(16,), cloud_channels=(16,), channels=(16, 16)),
}


ANCHORED = ("bsa", "bsa, messages", "erwin nsa")


class Queries(nn.Module):
    """A network that is called on queries; its anchors stay the same."""

    def __init__(self, network, anchors):
        super().__init__()
        self.network, self.anchors = network, anchors
        self.out_channels = network.out_channels

    def forward(self, data):
        return {"feat": self.network.decode(self.network.encode_anchors(self.anchors), data)}


def test_in_the_interpreter():
    run_in_interpreter(__file__)


def gradients(network, data, probe, stand_ins):
    """Output, and the gradients of all parameters by name."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    found = {}
    if not stand_ins:
        out = network(data)["feat"]
        (out * probe).sum().backward()
    else:  # as captured steps have it, but in float32
        cast = CastWeights(network, torch.float32)
        with cast.swapped_in():
            out = network(data)["feat"]
            (out * probe).sum().backward()
        found = {names[parameter]: grad for parameter, grad in cast.gradients().items()}
    found |= {name: parameter.grad for parameter, name in names.items() if parameter.grad is not None}
    assert found.keys() == set(names.values())
    return {"out": out.detach()} | found


def cloud(lengths):
    coord, feat = (torch.randn(sum(lengths), 3, device=DEVICE) for _ in range(2))
    return with_lengths(dict(coord=coord, feat=feat), lengths, torch.zeros(0, dtype=torch.long, device=DEVICE))


CASES = [("bsa", False, False), *((name, True, False) for name in NETWORKS), *((name, True, True) for name in ANCHORED)]


@kernel_test
@pytest.mark.parametrize("name, stand_ins, anchored", CASES)
def test_outputs_and_gradients_are_those_of_plain_torch(name, stand_ins, anchored, monkeypatch):
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    network = MODELS.build(NETWORKS[name] | (dict(depth=1) if anchored else {})).to(DEVICE).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4 if parameter.dim() > 1 else 1)  # attention far from uniform, gates from one half
    if anchored:
        network = Queries(network, cloud((24, 20)))
    data = cloud(LENGTHS)
    if "condition" in NETWORKS[name]:
        data["parameters"] = torch.randn(len(LENGTHS), 2, device=DEVICE)
        torch.nn.init.normal_(network.condition.layers[-1].weight, std=0.2)
    probe = torch.randn(sum(LENGTHS), network.out_channels, device=DEVICE)
    results = []
    for kernels in (False, True):
        monkeypatch.setenv("PCBSA_OPS", "triton" if kernels else "reference")
        with switched(kernels):
            results.append(gradients(copy.deepcopy(network), data, probe, stand_ins))
    plain, ours = results
    for key, wanted in plain.items():
        assert (ours[key].float() - wanted).norm() < 1e-3 * wanted.norm() + 1e-4, key  # some are 0 but for rounding
