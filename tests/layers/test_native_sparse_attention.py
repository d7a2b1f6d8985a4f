"""Native sparse attention equals attention written point by point, and chooses as the paper says."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention

LENGTHS = (75, 5, 32)


def layer_and_layout(lengths=LENGTHS, **options):
    options = dict(num_heads=4, num_kv_heads=2, compressed_ball_size=8, num_selected=2) | options
    layer = NativeSparseAttention(16, **options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter) / 3)
    coord = torch.randn(sum(lengths), 3, dtype=torch.float64)
    return layer, BallTree.build(coord, lengths, 16, 8).layout


def attend(q, keys, values, bias=0.0):
    return (keys @ q / math.sqrt(len(q)) + bias).softmax(0) @ values


def point_by_point(layer, x, layout, mask_own_ball=False):
    """The three branches for each slot and head, in loops."""
    heads, kv_heads, dim = layer.num_heads, layer.num_kv_heads, layer.head_dim
    h = x + layer.position(layout.relative)
    q = layer.query(h).view(-1, heads, dim)
    k, v = layer.key_value(h).view(-1, 2, kv_heads, dim).unbind(1)
    gates = layer.gate(h).sigmoid().view(-1, 3, heads)
    valid = layout.valid if layout.valid is not None else torch.ones(len(x), dtype=torch.bool)
    k_cmp, v_cmp = layer.pool_k(k, layout.valid), layer.pool_v(v, layout.valid)
    cloud = torch.repeat_interleave(torch.arange(len(layout.slots)), torch.tensor(layout.slots))
    ball, block = torch.arange(len(x)) // layout.ball_size, torch.arange(len(x)) // 8
    block_cloud, block_valid = cloud[::8], valid.view(-1, 8).any(1)
    out = torch.zeros(len(x), heads, dim, dtype=x.dtype)
    for i in torch.nonzero(valid).flatten():
        near = valid & (ball == ball[i])
        candidates = torch.nonzero(block_valid & (block_cloud == cloud[i])).flatten()
        for head in range(heads):
            g = head * kv_heads // heads
            group = range(g * heads // kv_heads, (g + 1) * heads // kv_heads)
            distance = (layout.coord[near] - layout.coord[i]).norm(dim=1)
            local = attend(q[i, head], k[near, g], v[near, g], layer.sigma[head] * distance)
            coarse = attend(q[i, head], k_cmp[candidates, g], v_cmp[candidates, g])
            scores = {int(c): sum(float(q[i, j] @ k_cmp[c, g]) for j in group) for c in candidates}
            if mask_own_ball:
                scores.pop(int(block[i]))
            chosen = sorted(scores, key=scores.get)[-layer.num_selected :]
            seen = valid & torch.isin(block, torch.tensor(chosen, dtype=torch.long))
            selected = attend(q[i, head], k[seen, g], v[seen, g]) if chosen else torch.zeros(dim, dtype=x.dtype)
            a, b, c = gates[i, :, head]
            out[i, head] = a * local + b * coarse + c * selected
    return layer.projection(out.flatten(1))


@pytest.mark.parametrize(
    "options", [{}, dict(phi="mlp"), dict(mask_own_ball=True), dict(num_kv_heads=1), dict(num_kv_heads=4)]
)
def test_equals_attention_point_by_point(options):
    layer, layout = layer_and_layout(**options)
    x = torch.randn(len(layout.coord), 16, dtype=torch.float64)
    with torch.no_grad():
        want = point_by_point(layer, x, layout, options.get("mask_own_ball", False))
        got = layer(x, layout)
    real = torch.from_numpy(layout.host_valid)
    assert torch.allclose(got[real], want[real])


def test_selected_balls_are_of_the_own_cloud_and_all_where_there_are_few():
    layer, layout = layer_and_layout(num_selected=5)
    q = torch.randn(len(layout.coord), 4, 16)
    chosen = layer.select(q, torch.randn(sum(layout.blocks), 2, 16), layout)
    assert chosen.shape == (len(q), 2, 5)
    cloud = torch.repeat_interleave(torch.arange(3), torch.tensor(layout.slots)).view(-1, 1, 1)
    block_cloud = torch.repeat_interleave(torch.arange(3), torch.tensor(layout.blocks))
    assert (block_cloud[chosen.clamp(min=0)].where(chosen >= 0, cloud) == cloud).all()
    real_blocks = [int(b.sum()) for b in torch.from_numpy(layout.host_valid).view(-1, 8).any(1).split(layout.blocks)]
    for i, number in enumerate(real_blocks):
        assert ((chosen[cloud.flatten() == i] >= 0).sum(-1) == min(5, number)).all()


def test_own_ball_is_left_out_on_request_only():
    for mask in (True, False):
        layer, layout = layer_and_layout((64,), mask_own_ball=mask, num_selected=8)
        q, k = torch.randn(64, 4, 16), torch.randn(8, 2, 16)
        own = torch.arange(64).view(-1, 1, 1) // 8
        assert (layer.select(q, k, layout) == own).any() != mask


def test_what_lies_in_empty_slots_never_leaks():
    for phi in ("mean", "mlp"):
        layer, layout = layer_and_layout(phi=phi)
        x = torch.randn(len(layout.coord), 16, dtype=torch.float64)
        other = torch.where(layout.valid[:, None], x, 1e3)
        assert torch.equal(layer(x, layout)[layout.valid], layer(other, layout)[layout.valid])


def test_head_width_is_16_at_least():
    assert NativeSparseAttention(64, 16).head_dim == 16
    assert NativeSparseAttention(512, 16).head_dim == 32


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (dict(num_kv_heads=3), "num_kv_heads: got 3"),
        (dict(num_selected=0), "num_selected: got 0"),
        (dict(phi="max"), "phi: got 'max'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, word):
    with pytest.raises(ValueError, match=word):
        NativeSparseAttention(**dict(dim=64) | options)
