"""torch.compile of the blocks of a network."""

from __future__ import annotations

import copy

import pytest
import torch
from test_training import train

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS
from pointcept_bsa.training.graph import compile_blocks

MODEL = dict(type="BSA-v1m1", channels=16, depth=2, num_heads=2, ball_size=32, block_size=4, group_size=4, topk=2)
ABUPT = dict(type="ABUPT-v1m1", channels=16, num_heads=2, num_supernodes=9, num_anchors=20, geometry_depth=0, depth=1,
             edges="knn", num_neighbors=4)  # fmt: skip
STACK = dict(channels=16, depth=2, num_heads=2)
RIVALS = [
    ABUPT,
    dict(type="Transolver-v1m1", num_slices=6, **STACK),
    dict(type="FLARE-v1m1", num_latents=6, **STACK),
    dict(type="LRSA-v1m1", num_latents=6, **STACK),
]


@pytest.mark.parametrize("config", [MODEL, *RIVALS], ids=lambda config: config["type"])
def test_compiled_blocks_compute_the_same_under_the_same_names(config):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()  # which ``reset`` leaves: graph breaks of tests before would count here
    plain = MODELS.build(config).train()
    compiled = copy.deepcopy(plain)
    assert compile_blocks(compiled, "aot_eager") == 2
    assert list(compiled.state_dict()) == list(plain.state_dict())
    coord = torch.randn(60, 3)
    outs = [net(dict(coord=coord, feat=coord, offset=torch.tensor([40, 60])))["feat"] for net in (plain, compiled)]
    assert torch.allclose(*outs, atol=1e-5)
    for out in outs:
        out.square().mean().backward()
    for left, right in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert torch.allclose(left.grad, right.grad, atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1  # not all eager after all
    assert not torch._dynamo.utils.counters["graph_break"]


def test_what_cannot_be_compiled_is_said_in_one_line(config, capsys):
    with pytest.raises(InputError, match="compile: got backend 'inductr'.*did you mean 'inductor'"):
        compile_blocks(MODELS.build(MODEL), "inductr")
    assert train(config, "compile=aot_eager", "max_iters=1") == 2
    assert "compile: the model has no transformer blocks, wanted compile=False" in capsys.readouterr().err
