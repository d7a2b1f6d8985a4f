"""The kernels of attention to levels of tokens and of the descent against plain torch."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.token_tree import TokenSizes
from pointcept_bsa.layers.token_levels import TokenLevels
from pointcept_bsa.ops import tree_attention as attention
from pointcept_bsa.ops import tree_descent as descent
from pointcept_bsa.ops.dense_attention import narrow
from pointcept_bsa.ops.tree_attention import TokenLists, triton_backend
from pointcept_bsa.ops.tree_descent import best_children
from pointcept_bsa.training.evaluation.flops import CPU_ATTENTION

from .interpreter import DEVICE, kernel_test, run_in_interpreter

TOLERANCE = {torch.float32: (2e-6, 5e-6), torch.float16: (2e-3, 4e-3), torch.bfloat16: (1e-2, 2e-2)}
HEADS = 2
# ball, block, near, fan, points
SMALL = (16, 4, 32, 2, (150, 5, 97))
LARGE = (256, 8, 2048, 8, (20000, 3586, 100))


def test_in_the_interpreter():
    run_in_interpreter(__file__)


def error(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-20)).item()


def tokens_of(sizes, dim, dtype, beam=4):
    ball, block, near, fan, lengths = sizes
    torch.manual_seed(0)
    layout = BallTree.build(torch.randn(sum(lengths), 3, device=DEVICE), lengths, ball, block).layout
    made = TokenLevels(dim, TokenSizes(block, near, fan, near), beam, 2, "mean")
    k, v = (torch.randn(sum(layout.blocks), HEADS, dim, device=DEVICE).to(dtype) for _ in range(2))
    return made, made(k, v, layout), layout


def check(sizes, dim, dtype, coarse=False):
    _, tokens, layout = tokens_of(sizes, dim, dtype)
    slots = layout.block_size if coarse else 1
    lists = tokens.lists(slots)
    k, v = torch.cat(tokens.k), torch.cat(tokens.v)
    q = torch.randn(sum(layout.slots) // slots, HEADS, dim, device=DEVICE).to(dtype)
    probe = torch.randn(q.shape, device=DEVICE).to(dtype)
    results = []
    for op, kind in ((attention.tree_attention, dtype), (attention.reference.tree_attention, torch.float64)):
        leaves = [t.detach().to(kind).requires_grad_() for t in (q, k, v)]
        out = op(*leaves, tokens.counts.log, lists)
        results.append((out, *torch.autograd.grad(out, leaves, probe.to(kind))))
    tolerances = (TOLERANCE[dtype][0], *[TOLERANCE[dtype][1]] * 3)
    for name, got, want, tolerance in zip(("out", "q", "k", "v"), *results, tolerances, strict=True):
        assert got.isfinite().all(), name
        assert error(got, want) < tolerance, name
    return results[0]


@kernel_test
@pytest.mark.parametrize(("dim", "dtype"), [(8, torch.float32), (8, torch.bfloat16), (20, torch.float16)])
def test_attention(dim, dtype):
    check(SMALL, dim, dtype)


@kernel_test
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_coarse_queries(dtype):
    check(SMALL, 8, dtype, coarse=True)


@kernel_test
def test_logits_beyond_the_bound_take_the_running_maximum(monkeypatch):
    monkeypatch.setattr(narrow, "LIMIT", 0.0)
    check(SMALL, 8, torch.bfloat16)


@kernel_test
@pytest.mark.parametrize("nothing", ["q", "k"])
def test_tokens_of_many_points_do_not_overflow_in_float16(nothing):
    """exp(bias) is the number of points: 65536 is none in float16, also where all logits are zero but for it."""
    seen, lengths = torch.tensor([[0, 1, 2, 3], [2, 3, 4, 5]]), torch.tensor([4, 4])
    lists = TokenLists.of_tiles(16, torch.tensor([0, 1]), seen.int(), lengths.int(), 6)
    values = dict(q=torch.randn(32, HEADS, 8), k=torch.randn(6, HEADS, 8), v=torch.randn(6, HEADS, 8))
    q, k, v = ((x * (name != nothing)).half() for name, x in values.items())
    bias = torch.tensor([12.0, 12, 9, 13, 0, 11])
    got = attention.tree_attention(q, k, v, bias, lists)
    want = attention.reference.tree_attention(q.double(), k.double(), v.double(), bias.double(), lists)
    assert got.isfinite().all() and error(got, want) < TOLERANCE[torch.float16][0]


def tiles_of(tokens, rows=16, gradients=True):
    """Tiles of as many queries, of nodes in any order, some more than once."""
    plan = tokens.plan
    node = torch.tensor([0, 4, 4, 1, 7, 2], device=DEVICE) % len(plan.nodes)
    seen, lengths = (torch.tensor(table, device=DEVICE) for table in (plan.seen, plan.lengths))
    return node, TokenLists.of_tiles(rows, node, seen, lengths, sum(plan.totals) if gradients else None)


@kernel_test
@pytest.mark.parametrize(("dim", "dtype"), [(8, torch.float32), (8, torch.bfloat16)])
def test_tiles_whose_lists_the_device_alone_knows(dim, dtype):
    """The kernels against the reference of tiles, that against attention node by node."""
    _, tokens, _ = tokens_of(SMALL, dim, dtype)
    k, v = torch.cat(tokens.k), torch.cat(tokens.v)
    node, lists = tiles_of(tokens)
    q, probe = (torch.randn(len(node) * 16, HEADS, dim, device=DEVICE).to(dtype) for _ in range(2))
    results = []
    for op, kind in ((attention.tree_attention, dtype), (attention.reference.tree_attention, torch.float64)):
        leaves = [t.detach().to(kind).requires_grad_() for t in (q, k, v)]
        out = op(*leaves, tokens.counts.log, lists)
        results.append((out, *torch.autograd.grad(out, leaves, probe.to(kind))))
    for name, got, want in zip(("out", "q", "k", "v"), *results, strict=True):
        assert error(got, want) < TOLERANCE[dtype][name != "out"], name
    for own, number, out in zip(q.split(16), node.tolist(), results[1][0].split(16), strict=True):
        seen = torch.tensor(tokens.plan.seen[number, : tokens.plan.numbers[number]], device=DEVICE).long()
        scores = torch.einsum("qhd,khd->hqk", own.double(), k[seen].double()) / dim**0.5 + tokens.counts.log[seen]
        torch.testing.assert_close(out, torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[seen].double()))


@kernel_test
def test_a_token_that_nobody_sees_has_no_gradient():
    _, tokens, layout = tokens_of(SMALL, 4, torch.float32)
    k = torch.cat(tokens.k).requires_grad_()
    v = torch.cat(tokens.v)
    q = torch.randn(sum(layout.slots), HEADS, 4, device=DEVICE)
    (dk,) = torch.autograd.grad(attention.tree_attention(q, k, v, tokens.counts.log, tokens.lists(1)).sum(), k)
    unseen = torch.tensor(tokens.plan.offsets).diff() == 0
    assert unseen.any() and not dk[unseen.to(DEVICE)].any() and dk.any()


@pytest.mark.gpu
@pytest.mark.parametrize(("dim", "dtype"), [(8, torch.bfloat16), (8, torch.float32), (64, torch.float16)])
@pytest.mark.parametrize("coarse", [False, True])
def test_attention_of_large_clouds(dim, dtype, coarse):
    first, second = (check(LARGE, dim, dtype, coarse) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@kernel_test
@pytest.mark.parametrize("sizes", [SMALL, pytest.param(LARGE, marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("mask", "dim"), [(True, 8), (False, 6)])
def test_descent(sizes, mask, dim, monkeypatch):
    made, tokens, layout = tokens_of(sizes, dim, torch.float32)
    group = layout.block_size
    q = torch.randn(sum(layout.slots) // group, HEADS, dim, device=DEVICE)
    found = made.select(q, tokens, group, mask)
    monkeypatch.setenv("PCBSA_OPS", "reference")
    wanted = made.select(q, tokens, group, mask)
    different = (found.sort(-1).values != wanted.sort(-1).values).float().mean()
    assert different < 1e-3  # of scores equal to rounding


@kernel_test
@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("near", [32, 128])  # levels, and one alone
def test_all_tokens_of_the_top_are_compared_in_either_way(monkeypatch, near, mask):
    sizes = (16, 4, near, 2, (48, 128, 16))
    made, tokens, layout = tokens_of(sizes, 8, torch.float32)
    q = torch.randn(sum(layout.slots) // 4, HEADS, 8, device=DEVICE)
    found = []
    for most in (0, 256):
        monkeypatch.setattr(descent, "IN_TURN", most)
        assert descent.compares_in_turn(q, tokens.k[0], 64, 2) == (most > 0)
        found.append(made.select(q, tokens, 4, mask))
    assert torch.equal(*found) and (found[0] >= 0).any()


@kernel_test
def test_own_balls_by_table_are_those_by_number(monkeypatch):
    q, k = torch.randn(8, HEADS, 8, device=DEVICE), torch.randn(32, HEADS, 8, device=DEVICE)
    parents, first = torch.arange(8, device=DEVICE).expand(8, HEADS, 8).contiguous(), torch.arange(9, device=DEVICE) * 4
    sizes = q, k, parents, first.int(), torch.arange(32, device=DEVICE) % 5 == 0, 4, 3, (2, 8)
    ball, wanted = torch.arange(8, device=DEVICE) // 2, best_children(*sizes)
    assert torch.equal(best_children(*sizes, ball=ball), wanted)
    monkeypatch.setenv("PCBSA_OPS", "reference")
    assert torch.equal(best_children(*sizes, ball=ball), wanted)


@kernel_test
@pytest.mark.parametrize("sizes", [SMALL, pytest.param(LARGE, marks=pytest.mark.gpu)])
def test_descent_of_queries_that_fall_into_any_ball(sizes, monkeypatch):
    made, tokens, layout = tokens_of(sizes, 8, torch.float32)
    lengths, balls = (7, 0, 30), [s // layout.ball_size for s in layout.slots]
    ball = torch.cat([torch.randint(n, (q,)) + sum(balls[:i]) for i, (n, q) in enumerate(zip(balls, lengths))]).to(
        DEVICE
    )
    q = torch.randn(len(ball), HEADS, 8, device=DEVICE)
    found = made.select(q, tokens, 1, True, lengths, ball)
    monkeypatch.setenv("PCBSA_OPS", "reference")
    wanted = made.select(q, tokens, 1, True, lengths, ball)
    assert torch.equal(found.sort(-1).values, wanted.sort(-1).values) and (wanted >= 0).any()
    inside = layout.ball_size // layout.block_size
    assert not ((wanted // inside == ball[:, None, None]) & (wanted >= 0)).any()
    own = torch.arange(sum(balls), device=DEVICE)  # a query a ball: the two ways are one
    many = torch.randn(len(own), HEADS, 8, device=DEVICE)
    assert torch.equal(
        made.select(many, tokens, layout.ball_size, True), made.select(many, tokens, 1, True, tuple(balls), own)
    )


@pytest.mark.gpu
def test_a_captured_graph_gives_the_same():
    made, tokens, layout = tokens_of(LARGE, 8, torch.bfloat16)
    q = torch.randn(sum(layout.slots), HEADS, 8, device=DEVICE, dtype=torch.bfloat16)
    want = tokens.attend(q), made.select(q[:: layout.block_size], tokens, layout.block_size, True)
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        got = tokens.attend(q), made.select(q[:: layout.block_size], tokens, layout.block_size, True)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@kernel_test
def test_operations_are_counted_alike(monkeypatch):
    made, tokens, layout = tokens_of((16, 4, 32, 2, (128,)), 8, torch.float32)
    q = torch.randn(128, HEADS, 8, device=DEVICE)
    counts = []
    for ops in ("reference", "triton"):
        monkeypatch.setenv("PCBSA_OPS", ops)
        with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
            tokens.attend(q)
            attended = counter.get_total_flops()
            made.select(q[::4], tokens, 4, True)
        counts.append((attended, counter.get_total_flops() - attended))
    levels = 8 + 4 + 4  # blocks of the own 32 slots; 4 tokens of 8 slots beside them; 4 of 16 slots in the other half
    assert counts[0] == counts[1] == (4 * 128 * HEADS * 8 * levels, counts[0][1])
    assert counts[0][1] == 2 * 32 * HEADS * 8 * (8 + 2 * 4 * 2)  # 8 tokens of level 2, children of 4 twice


def test_what_the_kernels_cannot_do():
    wide = torch.zeros(1, 1, 256)
    assert "got 256 channels" in (triton_backend.unsupported(wide) or "")
    q = torch.zeros(1, 1, 8, device=DEVICE)
    assert not descent.compares_in_turn(wide, wide, 64, 8) and not descent.compares_in_turn(q, q, 64, 65)
    assert "got 65" in (descent.triton_backend.unsupported(wide, wide, 65) or "")
