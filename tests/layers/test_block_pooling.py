"""phi, the mean or the MLP of a block, equals its formula written slot by slot; what empty slots do; how it starts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.token_tree import TokenSizes
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.block_pooling import POOLING, BlockMean, BlockMLP, pool_both, pooling
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.token_levels import TokenLevels
from pointcept_bsa.layers.transformer import init_weights

from .by_hand import compare, linear, numbers, randomized

HEADS, WIDTH, BLOCK = 2, 3, 4
LENGTHS = (21, 1, 16, 6)  # balls with empty slots and blocks; one point; a full ball; less than a ball


def valid_slots() -> Tensor:
    """Of a tree with balls of 8: blocks that are full, partly filled, and empty."""
    coord = numbers(sum(LENGTHS), 3, seed=3, grad=False)
    valid = BallTree.build(coord, LENGTHS, 8, BLOCK).layout.valid
    filled = valid.view(-1, BLOCK).sum(1)
    assert {0, 1, BLOCK} <= set(filled.tolist())
    return valid


def mean_by_hand(x: Tensor, valid: list[bool], size: int) -> Tensor:
    """1 / |block| sum of the points of the block; zero for none."""
    out = []
    for first in range(0, len(x), size):
        real = [x[s] for s in range(first, first + size) if valid[s]]
        out.append(sum(real) / len(real) if real else torch.zeros_like(x[first]))
    return torch.stack(out)


def mlp_by_hand(p: dict[str, Tensor], x: Tensor, valid: list[bool], size: int) -> Tensor:
    """W_2 relu(W_1 [x_1, ..., x_l] + b_1) + b_2 of each block and head."""
    out = []
    for first in range(0, len(x), size):
        rows = [x[s] if valid[s] else torch.zeros_like(x[s]) for s in range(first, first + size)]
        heads = [torch.cat([row[head] for row in rows]) for head in range(x.shape[1])]
        out.append(torch.stack([linear(p, "mlp.2", linear(p, "mlp.0", u).clamp(min=0)) for u in heads]))
    return torch.stack(out)


def by_hand(pool, x: Tensor, valid: Tensor | None) -> Tensor:
    flags = [True] * len(x) if valid is None else valid.tolist()
    if isinstance(pool, BlockMean):
        return mean_by_hand(x, flags, pool.block_size)
    return mlp_by_hand(dict(pool.named_parameters()), x, flags, pool.block_size)


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("size", [1, 2, BLOCK, 8])
@pytest.mark.parametrize("kind", POOLING)
def test_pooling_is_its_formula_slot_by_slot(kind, size, empty):
    valid, pool = valid_slots(), randomized(pooling(kind, WIDTH, size))
    x = numbers(len(valid), HEADS, WIDTH)
    mask = valid if empty else None
    got = pool(x, mask)
    assert got.shape == (len(valid) // size, HEADS, WIDTH)
    compare(got, by_hand(pool, x, mask), {"x": x, **dict(pool.named_parameters())})


@pytest.mark.parametrize("kinds", [("mlp", "mlp"), ("mean", "mean"), ("mlp", "mean"), ("mean", "mlp")])
def test_keys_and_values_are_pooled_by_their_own(kinds):
    valid = valid_slots()
    pools = [randomized(pooling(kind, WIDTH, BLOCK), seed=i) for i, kind in enumerate(kinds)]
    k, v = (numbers(len(valid), HEADS, WIDTH, seed=i + 4) for i in range(2))
    got = torch.cat(pool_both(*pools, k, v, valid), -1)
    want = torch.cat([by_hand(pool, x, valid) for pool, x in zip(pools, (k, v), strict=True)], -1)
    parameters = {f"{n} {name}": p for n, pool in zip("kv", pools, strict=True) for name, p in pool.named_parameters()}
    compare(got, want, {"k": k, "v": v, **parameters})


@pytest.mark.parametrize("kind", POOLING)
def test_nothing_depends_on_empty_slots_and_no_gradient_goes_there(kind):
    valid, pool = valid_slots(), randomized(pooling(kind, WIDTH, BLOCK))
    x, other = numbers(len(valid), HEADS, WIDTH), numbers(len(valid), HEADS, WIDTH, seed=9, grad=False) * 1e6
    filled = torch.where(valid.view(-1, 1, 1), x, other)
    assert torch.equal(pool(filled, valid), pool(x, valid))
    (gradient,) = torch.autograd.grad(pool(x, valid).square().sum(), x)
    assert not gradient[~valid].any() and (gradient[valid] != 0).any(-1).all()


@pytest.mark.parametrize("kind", POOLING)
def test_a_batch_is_its_clouds_in_any_order(kind):
    pool, x, valid = randomized(pooling(kind, WIDTH, BLOCK)), numbers(40, HEADS, WIDTH, grad=False), valid_slots()[:40]
    whole, cuts = pool(x, valid), (16, 4, 20)
    parts = [pool(a, b) for a, b in zip(x.split(cuts), valid.split(cuts), strict=True)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)
    turned = torch.arange(40).split(cuts)
    rows = torch.cat([turned[2], turned[0], turned[1]])
    moved = torch.cat([parts[2], parts[0], parts[1]])
    torch.testing.assert_close(pool(x[rows], valid[rows]), moved, rtol=1e-12, atol=1e-12)


def test_the_heads_share_the_mlp():
    pool, x = randomized(pooling("mlp", WIDTH, BLOCK)), numbers(8, HEADS, WIDTH, grad=False)
    torch.testing.assert_close(pool(x.flip(1), None), pool(x, None).flip(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", POOLING)
def test_single_precision_is_near_double(kind):
    valid, pool = valid_slots(), randomized(pooling(kind, WIDTH, BLOCK))
    x = numbers(len(valid), HEADS, WIDTH, grad=False)
    want, out = pool(x, valid), pool.float()(x.float(), valid)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, BLOCK])
def test_the_mlp_starts_as_the_mean_over_the_slots_of_a_block(size):
    """Of full blocks as of others, whose empty slots are zeros; and it does so where a network draws its weights."""
    valid, pool = valid_slots(), BlockMLP(WIDTH, size).double()
    init_weights(torch.nn.ModuleList([pool]))
    x = numbers(len(valid), HEADS, WIDTH, grad=False)
    torch.testing.assert_close(pool(x, None), mean_by_hand(x, [True] * len(x), size))
    share = valid.view(-1, size).double().mean(1).view(-1, 1, 1)
    torch.testing.assert_close(pool(x, valid), mean_by_hand(x, valid.tolist(), size) * share)
    loud = pool.mlp[2].weight[:, 2 * WIDTH :]
    assert not loud.any() and (size == 1 or pool.mlp[0].weight[2 * WIDTH :].all())  # unheard, but there to be learnt
    pool(x, None).square().sum().backward()
    assert size == 1 or pool.mlp[2].weight.grad[:, 2 * WIDTH :].any()


def test_the_hidden_layer_is_twice_as_wide_as_the_block():
    shapes = {name: tuple(p.shape) for name, p in BlockMLP(WIDTH, BLOCK).named_parameters()}
    wide = WIDTH * BLOCK
    assert shapes == {
        "mlp.0.weight": (2 * wide, wide),
        "mlp.0.bias": (2 * wide,),
        "mlp.2.weight": (WIDTH, 2 * wide),
        "mlp.2.bias": (WIDTH,),
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda phi: pooling(phi, WIDTH, BLOCK),
        lambda phi: TokenLevels(WIDTH, TokenSizes(BLOCK, near=16, fan=2, beyond=16), beam=4, topk=2, phi=phi),
        lambda phi: NativeSparseAttention(8, 2, phi=phi),
        lambda phi: BallSparseAttention(8, 2, phi=phi),
    ],
)
def test_what_is_no_pooling_is_refused_in_one_line(make):
    with pytest.raises(ValueError, match=r"phi: got 'max', wanted one of \('mean', 'mlp'\)") as told:
        make("max")
    assert "\n" not in str(told.value)
