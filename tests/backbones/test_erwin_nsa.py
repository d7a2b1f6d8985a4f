"""What is particular to Erwin-NSA: table 3, keys, memory."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.host import MODELS
from pointcept_bsa.ops.selected_attention import reference as selected

from .conftest import ERWIN_NSA, sample

TABLE_3 = {
    "cosmology": dict(channels=64, depth=4),
    "molecular dynamics": dict(channels=128, depth=2, local_ball_size=32),
    "shapenet": {},
}


@pytest.mark.parametrize("row", TABLE_3)
def test_the_rows_of_table_3_run(row):
    model = MODELS.build(dict(type="ErwinNSA-v1m1", **TABLE_3[row])).eval()
    layer = model.blocks[0].attention
    assert (layer.num_heads, layer.num_kv_heads, layer.head_dim, layer.num_selected) == (16, 1, 16, 16)
    with torch.no_grad():
        out = model(sample((700, 40)))["feat"]
    assert out.shape == (740, model.out_channels) and out.isfinite().all()


def test_state_dict_keys_stay():
    model = MODELS.build(ERWIN_NSA | dict(depth=1, mp_steps=1, phi="mlp"))
    linear = ["embedding.linear", "blocks.0.swiglu.w1", "blocks.0.swiglu.w2", "blocks.0.swiglu.w3"]
    linear += [f"embedding.steps.0.{k}" for k in ("message", "message_norm", "update", "update_norm")]
    linear += [f"blocks.0.attention.{k}" for k in ("position", "query", "key_value", "gate", "projection")]
    linear += [f"blocks.0.attention.pool_{k}.mlp.{i}" for k in "kv" for i in (0, 2)]
    wanted = {f"{name}.{kind}" for name in linear for kind in ("weight", "bias")}
    wanted |= {"blocks.0.attention.sigma", "blocks.0.norm1.weight", "blocks.0.norm2.weight", "norm.weight"}
    assert set(model.state_dict()) == wanted


def test_chunks_change_nothing(monkeypatch):
    model = MODELS.build(dict(ERWIN_NSA))
    results = []
    for limit in (2**26, 20_000):
        monkeypatch.setattr(selected, "MAX_ELEMENTS", limit)
        model.zero_grad()
        out = model(sample((200, 70)))["feat"]
        out.square().mean().backward()
        results.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    assert all(torch.allclose(a, b, atol=1e-6, rtol=1e-4) for a, b in zip(*results, strict=True))


def test_two_dimensions():
    model = MODELS.build(dict(ERWIN_NSA, dimensionality=2)).eval()
    assert model(sample((70,), dims=2))["feat"].shape == (70, 16)


@pytest.mark.parametrize("options", [dict(local_ball_size=48), dict(local_ball_size=24), dict(local_ball_size=4)])
def test_sizes_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError, match="local_ball_size"):
        MODELS.build(dict(ERWIN_NSA, compressed_ball_size=16) | options)
