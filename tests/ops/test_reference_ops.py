"""The reference operators: gradients in float64, equality with brute force, and nothing from empty slots."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck

from pointcept_bsa.ops.ball_attention import ball_attention
from pointcept_bsa.ops.block_pooling import block_mean
from pointcept_bsa.ops.block_selection import reference as selection
from pointcept_bsa.ops.block_selection import select_blocks
from pointcept_bsa.ops.dense_attention import dense_attention
from pointcept_bsa.ops.fan_out import fan_out
from pointcept_bsa.ops.selected_attention import reference as selected_reference
from pointcept_bsa.ops.selected_attention import selected_attention

H, D = 2, 3


def randn(*shape, grad=True):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def qkv(slots):
    return [randn(slots, H, D) for _ in range(3)]


def softmax_attention(q, k, v, bias=0.0):
    """One head, plain: q (n, D), k, v (m, D)."""
    return (q @ k.T / math.sqrt(q.shape[-1]) + bias).softmax(-1) @ v


def some_valid(slots):
    valid = torch.rand(slots) > 0.3
    valid[::4] = True
    return valid


def test_ball_attention_equals_brute_force():
    q, k, v = qkv(16)
    coord, sigma, valid = randn(16, 3, grad=False), randn(H), some_valid(16)
    out = ball_attention(q, k, v, 8, coord=coord, sigma=sigma, valid=valid)
    for ball in (slice(0, 8), slice(8, 16)):
        seen = valid[ball]
        distance = (coord[ball][:, None] - coord[ball][seen][None]).norm(dim=-1)
        for h in range(H):
            want = softmax_attention(q[ball, h], k[ball, h][seen], v[ball, h][seen], sigma[h] * distance)
            assert torch.allclose(out[ball, h], want * seen[:, None])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_ball_attention_gradients(bias, padded):
    coord = randn(8, 2, grad=False)
    sigma = randn(H) if bias else None
    valid = some_valid(8) if padded else None

    def op(q, k, v, sigma):
        return ball_attention(q, k, v, 4, coord=coord, sigma=sigma, valid=valid)

    assert gradcheck(op, (*qkv(8), sigma))


@pytest.mark.parametrize(("q_lengths", "k_lengths"), [((6, 6), (4, 4)), ((8, 4), (4, 2))])
@pytest.mark.parametrize("padded", [True, False])
def test_dense_attention_stays_in_the_cloud(q_lengths, k_lengths, padded):
    q, k, v = randn(sum(q_lengths), H, D), randn(sum(k_lengths), H, D), randn(sum(k_lengths), H, D)
    key_valid = torch.arange(sum(k_lengths)) % 2 == 0 if padded else None

    def op(q, k, v):
        return dense_attention(q, k, v, q_lengths, k_lengths, key_valid=key_valid)

    assert gradcheck(op, (q, k, v))
    out, row, col = op(q, k, v), 0, 0
    for n, m in zip(q_lengths, k_lengths, strict=True):
        seen = torch.arange(col, col + m)
        seen = seen if key_valid is None else seen[key_valid[seen]]
        for h in range(H):
            want = softmax_attention(q[row : row + n, h], k[seen, h], v[seen, h])
            assert torch.allclose(out[row : row + n, h], want)
        row, col = row + n, col + m


def test_block_mean():
    x = torch.tensor([1.0, 3.0, 5.0, 7.0, 9.0, 9.0]).unsqueeze(1)
    assert block_mean(x, 2).flatten().tolist() == [2, 6, 9]
    valid = torch.tensor([True, False, True, True, False, False])
    assert block_mean(x, 2, valid).flatten().tolist() == [1, 6, 0]
    assert gradcheck(lambda y: block_mean(y, 2, valid), randn(6, H, D))


def brute_force_selection(q, k, groups, blocks, topk, balls, block_valid):
    """Sets of selected blocks, by sorting the score of every allowed pair."""
    q, k, chosen, g0, b0 = q.detach(), k.detach(), [], 0, 0
    for n, m, b in zip(groups, blocks, balls, strict=True):
        for g in range(n):
            for h in range(q.shape[1]):
                allowed = [j for j in range(m) if j // (m // b) != g // (n // b) and block_valid[b0 + j]]
                score = {b0 + j: float(q[g0 + g, h] @ k[b0 + j, h]) for j in allowed}
                chosen.append(set(sorted(score, key=score.get, reverse=True)[:topk]))
        g0, b0 = g0 + n, b0 + m
    return chosen


@pytest.mark.parametrize("chunk", [2**26, 40])
def test_selection_equals_brute_force(monkeypatch, chunk):
    monkeypatch.setattr(selection, "MAX_SCORES", chunk)
    groups, blocks, balls = (8, 4, 24), (16, 8, 48), (2, 1, 6)
    q, k = randn(sum(groups), H, D), randn(sum(blocks), H, D)
    block_valid = torch.rand(sum(blocks)) > 0.2
    index = select_blocks(q, k, groups, blocks, 4, balls=balls, block_valid=block_valid)
    assert index.shape == (sum(groups), H, 4)
    assert not index.requires_grad
    ours = [set(row.tolist()) - {-1} for row in index.flatten(0, 1)]
    assert ours == brute_force_selection(q, k, groups, blocks, 4, balls, block_valid)


def test_selection_never_meets_the_own_ball_and_a_single_ball_selects_nothing():
    index = select_blocks(randn(64, H, D), randn(64, H, D), (64,), (64,), 9, balls=(8,))
    assert (index // 8 != torch.arange(64).view(-1, 1, 1) // 8).all()
    index = select_blocks(randn(4, H, D), randn(4, H, D), (4,), (4,), 2, balls=(1,))
    assert (index == -1).all()


def test_selected_attention_equals_brute_force():
    q, k, v = qkv(24)
    valid = some_valid(24)
    index = torch.tensor([[[0, 2], [5, -1]], [[1, 3], [-1, -1]], [[4, 0], [2, 3]]])
    out = selected_attention(q, k, v, index, 4, valid=valid)
    for s in range(24):
        for h in range(H):
            blocks = [b for b in index[s // 8, h].tolist() if b >= 0]
            seen = [i for b in blocks for i in range(4 * b, 4 * b + 4) if valid[i]]
            want = torch.zeros(D, dtype=torch.float64)
            if seen and valid[s]:
                want = softmax_attention(q[s : s + 1, h], k[seen, h], v[seen, h])[0]
            assert torch.allclose(out[s, h], want)


def test_selected_attention_gradients_with_empty_selections():
    index = torch.tensor([[[0, 2], [1, -1]], [[-1, -1], [-1, -1]], [[1, 0], [2, -1]]])
    valid = torch.ones(12, dtype=torch.bool)
    valid[[5, 11]] = False
    q, k, v = qkv(12)
    assert gradcheck(lambda *t: selected_attention(*t, index, 4, valid=valid), (q, k, v))
    grads = torch.autograd.grad(selected_attention(q, k, v, index, 4, valid=valid).sum(), (q, k, v))
    assert all(g.isfinite().all() for g in grads)
    assert (grads[0][4:8] == 0).all()


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_grouped_heads_equal_repeated_keys_and_values(kv_heads):
    q, k, v = randn(16, 4, D), randn(16, kv_heads, D), randn(16, kv_heads, D)
    index = torch.tensor([[[0, 2]], [[1, -1]], [[3, 0]], [[-1, -1]]]).expand(-1, kv_heads, -1)
    repeated = [t.repeat_interleave(4 // kv_heads, 1) for t in (k, v)]
    for op, options in (
        (ball_attention, dict(ball_size=8)),
        (dense_attention, dict(q_lengths=(8, 8), k_lengths=(8, 8))),
        (dense_attention, dict(q_lengths=(12, 4), k_lengths=(12, 4))),
    ):
        assert torch.allclose(op(q, k, v, **options), op(q, *repeated, **options))
        assert gradcheck(lambda *t, op=op, options=options: op(*t, **options), (q, k, v))
    want = selected_attention(q, *repeated, index.repeat_interleave(4 // kv_heads, 1), 4)
    assert torch.allclose(selected_attention(q, k, v, index, 4), want)
    assert gradcheck(lambda *t: selected_attention(*t, index, 4), (q, k, v))


@pytest.mark.parametrize("limit", [1, 300])
def test_selected_attention_in_chunks_is_the_same(monkeypatch, limit):
    q, k, v = randn(24, 4, D), randn(24, 2, D), randn(24, 2, D)
    index = torch.randint(-1, 6, (12, 2, 3))
    valid = some_valid(24)
    want = selected_attention(q, k, v, index, 4, valid=valid)
    grads = torch.autograd.grad(want.square().sum(), (q, k, v))
    monkeypatch.setattr(selected_reference, "MAX_ELEMENTS", limit)
    got = selected_attention(q, k, v, index, 4, valid=valid)
    assert torch.allclose(got, want)
    for a, b in zip(torch.autograd.grad(got.square().sum(), (q, k, v)), grads, strict=True):
        assert torch.allclose(a, b)


def test_selected_attention_refuses_heads_that_do_not_fit():
    with pytest.raises(ValueError, match="wanted the 2 key heads"):
        selected_attention(randn(8, 4, D), randn(8, 2, D), randn(8, 2, D), torch.zeros(2, 4, 1, dtype=torch.long), 4)


def test_a_ball_without_points_gives_zeros_and_finite_gradients():
    valid = torch.arange(8) < 4
    q, k, v = qkv(8)
    coord, sigma = randn(8, 2, grad=False), randn(H)
    out = ball_attention(q, k, v, 4, coord=coord, sigma=sigma, valid=valid)
    assert (out[4:] == 0).all()
    grads = torch.autograd.grad(out.square().sum(), (q, k, v, sigma))
    assert all(g.isfinite().all() for g in grads)


def test_parts_for_several_uses_have_the_gradients_of_autograd():
    x = randn(5, 3, H, D)
    weights = [torch.rand(5, H, D, dtype=torch.float64) for _ in range(6)]

    def total(parts):
        return sum((p * w).square().sum() for p, w in zip(parts, weights, strict=True))

    uses = (3, 1, 2)
    (grad,) = torch.autograd.grad(total([v for views in fan_out(x, uses) for v in views]), x)
    plain = [x[:, part] for part, times in enumerate(uses) for _ in range(times)]
    assert torch.allclose(grad, torch.autograd.grad(total(plain), x)[0])
    (q, *_), _, _ = fan_out(x, uses)  # only one of them used
    (grad,) = torch.autograd.grad(q.sum(), x)
    assert torch.equal(grad[:, 0], torch.ones_like(q)) and not grad[:, 1:].any()
    assert gradcheck(lambda t: [v.sin() for views in fan_out(t, uses) for v in views], x)
