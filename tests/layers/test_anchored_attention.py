"""Attention of queries to anchors equals attention written query by query from the papers' equations.

The oracle shares no code with the layers but their parameters: float64, loops over queries, heads and anchors.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.token_tree import plan_tokens
from pointcept_bsa.layers.anchored_attention import decode_ball_sparse, decode_native_sparse
from pointcept_bsa.layers.anchors import Memory, Tiles, TreeMemory
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention

DIM, HEADS, BALL, BLOCK = 8, 2, 16, 4
LENGTHS = (75, 5, 33)  # several balls with empty slots and blocks; less than a ball
QUERIES = (9, 4, 12)
OPTIONS = {
    "paper": {},
    "phi mean": dict(phi="mean"),
    "no group selection": dict(group_size=1),
    "group compression": dict(group_compression=True, query_pooling="mlp"),
    "own ball allowed": dict(mask_own_ball=False),
    "no distance bias": dict(distance_bias=False),
    "more blocks than there are": dict(topk=40),
    "levels of tokens": dict(phi="mean", near=16, fan=2, beam=64),  # a beam that holds all: the exact choice
    "levels, group compression": dict(phi="mean", near=8, fan=2, beam=64, group_compression=True, query_pooling="mlp"),
}


def attend(q: Tensor, keys: list[Tensor], values: list[Tensor], bias=None) -> Tensor:
    """softmax(q k / sqrt(D) + bias) v; nothing to attend to gives zero."""
    if not keys:
        return torch.zeros_like(q)
    scores = torch.stack([q @ k / math.sqrt(len(q)) for k in keys])
    weights = (scores if bias is None else scores + torch.stack(bias)).softmax(0)
    return sum(w * v for w, v in zip(weights, values, strict=True))


def linear(p: dict, name: str, x: Tensor) -> Tensor:
    return p[f"{name}.weight"] @ x + p[f"{name}.bias"]


def pooled(p: dict, name: str, vectors: list[Tensor], real: list[bool]) -> Tensor:
    """phi: mean of the points, or an MLP of the slots side by side, where empty ones are zero."""
    if f"{name}.mlp.0.weight" not in p:
        return sum(v for v, r in zip(vectors, real, strict=True) if r) / max(1, sum(real))
    u = torch.cat([v if r else torch.zeros_like(v) for v, r in zip(vectors, real, strict=True)])
    return linear(p, f"{name}.mlp.2", linear(p, f"{name}.mlp.0", u).clamp(min=0))


def seen_levels(layer, k, v, kv, layout, start, slots, block) -> tuple[list, list, list]:
    """Keys, values and log of the points of the tokens that a query in ``block`` sees, with phi the mean; 0 for those
    of a cloud of one level, which count alike."""
    keys, values, bias = [], [], []
    place, valid, level = block * BLOCK - start, layout.valid.tolist(), 0
    near, fan = layer.levels.sizes.near, layer.levels.sizes.fan
    while level == 0 or near * fan ** (level - 1) < slots:
        size, width = BLOCK * fan**level, near * fan**level
        for first in range(0, slots, size):
            fine = level > 0 and first // (width // fan) == place // (width // fan)  # seen on a level below
            real = [s for s in range(start + first, start + min(first + size, slots)) if valid[s]]
            if first // width == place // width and not fine and real:
                keys.append(sum(k[s, kv] for s in real) / len(real))
                values.append(sum(v[s, kv] for s in real) / len(real))
                bias.append(torch.tensor(math.log(len(real)) if slots > near else 0.0, dtype=torch.float64))
        level += 1
    return keys, values, bias


def oracle(layer, k, v, x, coord, cloud, ball, block, layout, native) -> Tensor:
    """One query: features x before the position enters, and where it is."""
    p, valid = dict(layer.named_parameters()), layout.valid.tolist()
    members = [s for s in range(ball * BALL, ball * BALL + BALL) if valid[s]]
    mean = sum(layout.coord[s] for s in members) / len(members)
    h = x + linear(p, "position", coord - mean)
    q = linear(p, "query", h) if native else linear(p, "qkv", h)[:DIM]
    q = q.view(layer.num_heads, -1)
    gate = linear(p, "gate", h).sigmoid().view(3, layer.num_heads)
    starts = [0, *torch.tensor(layout.slots).cumsum(0).tolist()]
    blocks = [b for b in range(starts[cloud] // BLOCK, starts[cloud + 1] // BLOCK) if any(valid[b * BLOCK :][:BLOCK])]
    out, kv_heads = [], k.shape[1]
    for head in range(layer.num_heads):
        kv = head * kv_heads // layer.num_heads
        slots = {b: range(b * BLOCK, b * BLOCK + BLOCK) for b in blocks}
        coarse = {
            name: {b: pooled(p, name, [t[s, kv] for s in slots[b]], [valid[s] for s in slots[b]]) for b in blocks}
            for name, t in (("pool_k", k), ("pool_v", v))
        }
        bias = None
        if "sigma" in p:
            bias = [p["sigma"][head] * (coord - layout.coord[s]).norm() for s in members]
        local = attend(q[head], [k[s, kv] for s in members], [v[s, kv] for s in members], bias)
        own, topk, asked, masked = q[head], 0, q[head], {block}
        if native:
            shared = [h for h in range(layer.num_heads) if h * kv_heads // layer.num_heads == kv]
            asked, topk = sum(q[h] for h in shared) / len(shared), layer.num_selected
        else:
            topk, masked = layer.topk, set(range(ball * BALL // BLOCK, (ball + 1) * BALL // BLOCK))
            if "pool_q.mlp.0.weight" in p:
                asked = pooled(p, "pool_q", [q[head]] * layer.group_size, [True] * layer.group_size)
            own = asked if layer.group_compression else q[head]
        compressed = attend(own, *(list(coarse[name].values()) for name in ("pool_k", "pool_v")))
        if getattr(layer, "levels", None) is not None:
            compressed = attend(own, *seen_levels(layer, k, v, kv, layout, starts[cloud], layout.slots[cloud], block))
        candidates = [b for b in blocks if not (layer.mask_own_ball and b in masked)]
        chosen = sorted(candidates, key=lambda b: -float(asked @ coarse["pool_k"][b]))[:topk]
        points = [s for b in chosen for s in slots[b] if valid[s]]
        selected = attend(q[head], [k[s, kv] for s in points], [v[s, kv] for s in points])
        out.append(gate[0, head] * local + gate[1, head] * compressed + gate[2, head] * selected)
    return linear(p, "projection", torch.cat(out))


def compare(layer, dims: int, native: bool, near: int | None = None) -> None:
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
    coord = torch.randn(sum(LENGTHS), dims, dtype=torch.float64)
    tree = BallTree.build(coord, LENGTHS, BALL, BLOCK, rotate=45.0)
    memory = TreeMemory(LENGTHS, torch.tensor(LENGTHS).cumsum(0), coord)
    memory.remember(tree, 45.0, None if near is None else plan_tokens(tree.layout.slots, layer.levels.sizes))
    queries, x = torch.randn(sum(QUERIES), dims, dtype=torch.float64), torch.randn(sum(QUERIES), DIM).double()
    anchors = torch.randn(len(tree.layout.coord), DIM, dtype=torch.float64)
    decode = decode_native_sparse if native else decode_ball_sparse
    cloud = torch.arange(len(QUERIES)).repeat_interleave(torch.tensor(QUERIES)).tolist()
    for positions in memory.positions(queries, QUERIES):
        layout, kept = positions.layout, Memory(LENGTHS, memory.offset, coord)
        with torch.no_grad():
            h = anchors + layer.position(layout.relative)
            layer(anchors, layout, kept)
            found = layer.projection(decode(layer, x + layer.position(positions.relative), positions, kept.layers[0]))
            if native:
                k, v = layer.key_value(h).view(len(h), 2, layer.num_kv_heads, -1).unbind(1)
            else:
                k, v = layer.qkv(h)[:, DIM:].view(len(h), 2, HEADS, -1).unbind(1)
            for i, own in enumerate(cloud):
                where = int(positions.ball[i]), int(positions.block[i])
                wanted = oracle(layer, k, v, x[i], queries[i], own, *where, layout, native)
                torch.testing.assert_close(found[i], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_query_of_bsa_is_what_the_equations_say(name):
    options = dict(ball_size=BALL, block_size=BLOCK, group_size=4, topk=3) | OPTIONS[name]
    compare(BallSparseAttention(DIM, HEADS, dimensionality=2, **options), 2, False, options.get("near"))


@pytest.mark.parametrize("options", [{}, dict(mask_own_ball=True, phi="mlp", num_kv_heads=2)])
def test_a_query_of_native_sparse_attention_is_what_the_equations_say(options):
    layer = NativeSparseAttention(DIM, 4, compressed_ball_size=BLOCK, num_selected=3, **options)
    compare(layer, 3, native=True)


@pytest.mark.parametrize("queries", [1, 7, 300])
@pytest.mark.parametrize("balls", [1, 5])
def test_tiles_hold_every_query_once_with_others_of_its_ball(queries, balls):
    ball = torch.randint(balls, (queries,))
    ball[ball == 2] = 0  # a ball without queries
    tiles = Tiles.of(ball, balls)
    x = torch.randn(queries, 3, requires_grad=True)
    laid = tiles.spread(x)
    assert torch.equal(tiles.collect(laid), x)
    assert torch.equal(tiles.ball.repeat_interleave(tiles.rows)[tiles.slot_of_query], ball)
    weight = torch.randn(queries, 3)
    (tiles.collect(laid * 2) * weight).sum().backward()
    assert torch.equal(x.grad, 2 * weight)
