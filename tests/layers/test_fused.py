"""The fused layers against the plain ones: outputs and all gradients, with the same parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.layers import prenorm as by_rows
from pointcept_bsa.layers.anchors import Memory
from pointcept_bsa.layers.attention import BallAttention, FullAttention
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.conditioning import films_of
from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.layers.fused.residual import Normed, Residual
from pointcept_bsa.layers.fused.switch import fused, switched
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.layers.transformer import BallTreeStack, BlockStack, SwiGLU, TransformerBlock

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}  # of norms: sums are taken in another order
LENGTHS = (70, 33)
BALL, BLOCK, DIM = 16, 4, 16
LAYERS = {
    "ball": lambda: BallAttention(DIM, 2),
    "ball turned": lambda: BallAttention(DIM, 2, qk_norm=True, rotary=3.0),
    "bsa": lambda: BallSparseAttention(DIM, 2, BALL, BLOCK, 2, BLOCK),
    "bsa, joined": lambda: BallSparseAttention(DIM, 4, BALL, BLOCK, 2, BLOCK, phi="mean"),  # rows of 60 columns are not
    "bsa of groups": lambda: BallSparseAttention(
        DIM, 2, BALL, BLOCK, 2, BLOCK, query_pooling="mlp", group_compression=True, distance_bias=False
    ),
    "bsa alone": lambda: BallSparseAttention(DIM, 2, BALL, BLOCK, 2, 1, qk_norm=True, rotary=3.0),
    "bsa of levels": lambda: BallSparseAttention(DIM, 2, BALL, BLOCK, 2, BLOCK, near=16, fan=2, beam=2),
    "nsa": lambda: NativeSparseAttention(DIM, 8, 2, BLOCK, 2),
    "nsa of mlps": lambda: NativeSparseAttention(DIM, 4, 2, BLOCK, 2, phi="mlp", qk_norm=True, mask_own_ball=True),
}


def tree(dtype):
    torch.manual_seed(1)
    return BallTree.build(torch.randn(sum(LENGTHS), 3, dtype=dtype), LENGTHS, BALL, BLOCK, rotate=45)


def outcome(module, x, *others):
    """Output, gradients of the input and of the parameters."""
    x = x.clone().requires_grad_()
    out = module(x, *others)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    found = {name: p.grad for name, p in module.named_parameters()}
    assert sum(grad is None for grad in found.values()) == 0
    return {"out": out.detach(), "x": x.grad} | found


def agree(module, dtype, *others, rows=None):
    module = module.to(dtype)
    x = torch.randn(rows or sum(tree(dtype).layout.slots), DIM, dtype=dtype)
    results = []
    for on in (False, True):
        with switched(on):
            results.append(outcome(copy.deepcopy(module), x, *others))
    plain, ours = results
    for key, wanted in plain.items():
        assert (ours[key] - wanted).norm() <= TOLERANCE[dtype] * (wanted.norm() + 1), key


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_attention_layers(name, dtype):
    torch.manual_seed(0)
    agree(LAYERS[name](), dtype, tree(dtype).layout)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", ["ball", "bsa", "nsa"])
def test_blocks(name, dtype):
    torch.manual_seed(0)
    agree(TransformerBlock(LAYERS[name](), DIM), dtype, tree(dtype).layout)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_swiglu(dtype):
    agree(SwiGLU(DIM, 40), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("skip_every", [0, 1, 2, 3])
@pytest.mark.parametrize("recompute", [False, True, "selective"])
def test_stacks_over_two_trees(skip_every, recompute, dtype):
    torch.manual_seed(0)
    blocks = [TransformerBlock(LAYERS["bsa, joined"](), DIM, recompute=recompute) for _ in range(3)]
    agree(BallTreeStack(blocks, rotate=True, skip_every=skip_every), dtype, tree(dtype))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_stacks_with_conditions(dtype):
    torch.manual_seed(0)
    own = tree(dtype)
    films = [torch.randn(len(LENGTHS), 4, DIM, dtype=dtype) / 4 for _ in range(2)]

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = BallTreeStack([TransformerBlock(LAYERS["nsa"](), DIM) for _ in range(2)], rotate=True)

        def forward(self, x):
            return self.blocks(x, own, films=films)

    agree(Network(), dtype)
    network = Network().to(dtype)
    x = torch.randn(sum(own.layout.slots), DIM, dtype=dtype)
    with torch.no_grad():
        for on in (False, True):
            with switched(on):
                alone = network.blocks[0].attention
                film = films_of(films, 2, own.layout.slots)[0]
                h = alone.with_position(x, own.layout)
                wanted = alone.projection(alone.attend(film.of_attention(h), own.layout))
                torch.testing.assert_close(alone(x, own.layout, film=film), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_what_anchors_leave_behind(dtype):
    torch.manual_seed(0)
    for name in ("bsa, joined", "nsa"):
        layer, layout, kept = LAYERS[name]().to(dtype), tree(dtype).layout, []
        x = torch.randn(len(layout.coord), DIM, dtype=dtype)
        for on in (False, True):
            memory = Memory(LENGTHS, torch.tensor([70, 103]), layout.coord)
            with switched(on):
                layer(x, layout, memory)
            kept.append(memory.layers[0])
        for one, other in zip(*(vars(each).values() for each in kept), strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_stacks_without_a_tree(dtype):
    torch.manual_seed(0)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = BlockStack(TransformerBlock(FullAttention(DIM, 2), DIM) for _ in range(2))
            self.norm = RMSNorm(DIM)

        def forward(self, x, *others):
            return self.blocks(x, self.norm, *others)

    agree(Network(), dtype, torch.randn(103, 3, dtype=dtype), LENGTHS, rows=103)


@pytest.mark.parametrize("name", ["ball", "bsa, joined", "nsa"])
def test_without_gradients_in_parts(name, monkeypatch):
    torch.manual_seed(0)
    stack = BallTreeStack([TransformerBlock(LAYERS[name](), DIM) for _ in range(2)], rotate=True).double()
    own = tree(torch.float64)
    x = torch.randn(sum(own.layout.slots), DIM, dtype=torch.float64)
    wanted = stack(x, own)
    monkeypatch.setattr(by_rows, "ROWS_AT_ONCE", 24)
    for on in (False, True):
        with torch.no_grad(), switched(on):
            torch.testing.assert_close(stack(x, own), wanted, rtol=1e-12, atol=1e-12)


def test_with_stand_ins_gradients_of_biases_arrive_at_the_biases():
    torch.manual_seed(0)
    stack = BallTreeStack([TransformerBlock(LAYERS["bsa, joined"](), DIM) for _ in range(2)], rotate=True)
    own = tree(torch.float32)
    x = torch.randn(sum(own.layout.slots), DIM)
    results = []
    for on in (False, True):
        module = copy.deepcopy(stack)
        cast = CastWeights(module, torch.float32)
        names = {p: name for name, p in module.named_parameters()}
        with cast.swapped_in(), switched(on):
            module(x, own).sin().sum().backward()
        there = {names[p]: grad for p, grad in cast.gradients().items()}
        results.append(there | {names[p]: p.grad for p in names if p.grad is not None})
        assert on == (module[0].swiglu.w1.bias.grad is not None)
    plain, ours = results
    assert plain.keys() == ours.keys() == set(names.values())
    for name, wanted in plain.items():
        assert (ours[name] - wanted).norm() <= 2e-5 * (wanted.norm() + 1), name


def test_the_switch(monkeypatch):
    x = torch.zeros(1)
    assert not fused(x) and fused(Residual(x)) and fused(Normed(x, x))
    with switched(True):
        assert fused(x)
        with switched(False):
            assert not fused(x)
        assert fused(x)
    assert not fused(x)
