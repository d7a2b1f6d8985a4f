"""Compression over levels of tokens, and selection by descent: definitions, point by point, and properties."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree
from pointcept_bsa.geometry.token_tree import TokenSizes, plan_tokens
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.token_levels import TokenLevels, recall
from pointcept_bsa.ops.block_selection import select_blocks

DIM, HEADS, BALL, BLOCK, NEAR, FAN = 8, 2, 16, 4, 32, 2
LENGTHS = (203, 5, 97, 30)


def layout_of(lengths=LENGTHS, seed=0):
    coord = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return BallTree.build(coord, lengths, BALL, BLOCK).layout


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels(near=NEAR, fan=FAN, beam=4, phi="mean", topk=2, beyond=None) -> TokenLevels:
    return TokenLevels(DIM // HEADS, TokenSizes(BLOCK, near, fan, beyond or near), beam, topk, phi).double()


def layer(**options) -> BallSparseAttention:
    torch.manual_seed(0)
    options = dict(block_size=BLOCK, group_size=BLOCK, topk=2, phi="mean") | options
    made = BallSparseAttention(DIM, HEADS, BALL, **options).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.5)
    return made


def blocks_of(layout: BallLayout, seed=2):
    shape = sum(layout.blocks), HEADS, DIM // HEADS
    return numbers(*shape, seed=seed), numbers(*shape, seed=seed + 1)


def attention_slot_by_slot(q, k, v, layout, near, fan):
    """The definition: rings around each slot, tokens as means over their points; blocks alone count alike."""
    valid = layout.valid if layout.valid is not None else torch.ones(len(q), dtype=torch.bool)
    points = valid.view(-1, BLOCK).sum(1)
    out, first = torch.zeros_like(q), 0
    for slots in layout.slots:
        for place in range(slots):
            tokens, level, inner = [], 0, (0, 0)
            while True:
                node = near * fan**level
                outer = (place // node * node, min(place // node * node + node, slots))
                size = BLOCK * fan**level
                for start in range(*outer, size):
                    if not inner[0] <= start < inner[1]:
                        tokens.append(range(first + start, first + min(start + size, slots)))
                if outer[0] == 0 and outer[1] == slots:
                    break
                inner, level = outer, level + 1
            blocks = [sorted({s // BLOCK for s in token}) for token in tokens]
            covered = sorted(b for token in blocks for b in token)
            assert covered == list(range(first // BLOCK, (first + slots) // BLOCK))
            blocks = [b for b in blocks if points[b].sum()]
            weight = [points[b].double() / points[b].sum() for b in blocks]
            keys, values = (
                torch.stack([torch.einsum("b,bhd->hd", w, x[b]) for b, w in zip(blocks, weight, strict=True)])
                for x in (k, v)
            )
            count = torch.tensor([float(points[b].sum()) if slots > near else 1.0 for b in blocks], dtype=q.dtype)
            scores = torch.einsum("hd,thd->ht", q[first + place], keys) / math.sqrt(q.shape[-1]) + count.log()
            out[first + place] = torch.einsum("ht,thd->hd", scores.softmax(-1), values)
        first += slots
    return out


@pytest.mark.parametrize(("near", "fan"), [(32, 2), (16, 4), (32, 8), (64, 2)])
def test_attention_equals_its_definition(near, fan):
    layout = layout_of()
    q, (k, v) = numbers(len(layout.coord), HEADS, DIM // HEADS), blocks_of(layout)
    tokens = levels(near, fan)(k, v, layout)
    assert len(tokens.k) == math.ceil(math.log(208 / near, fan)) + 1
    torch.testing.assert_close(tokens.attend(q), attention_slot_by_slot(q, k, v, layout, near, fan))


def test_coarse_queries_see_what_their_slots_see():
    layout = layout_of()
    q, (k, v) = numbers(sum(layout.blocks), HEADS, DIM // HEADS), blocks_of(layout)
    tokens = levels()(k, v, layout)
    fine = tokens.attend(q.repeat_interleave(BLOCK, 0))
    torch.testing.assert_close(tokens.attend(q).repeat_interleave(BLOCK, 0), fine)


def test_equal_scores_give_the_mean_over_all_points():
    """Over all blocks with points, as published, in a cloud without levels."""
    layout = layout_of()
    made = layer(near=NEAR, fan=FAN)
    values = numbers(len(layout.coord), HEADS, DIM // HEADS)
    v_cmp = made.pool_v(values, layout.valid)
    tokens = made.levels(torch.zeros_like(v_cmp), v_cmp, layout)
    out = tokens.attend(torch.ones_like(values))
    first = 0
    for slots in layout.slots:
        rows = slice(first, first + slots)
        mean = values[rows][layout.valid[rows]].mean(0)
        if slots <= NEAR:
            filled = layout.valid[rows].view(-1, BLOCK).any(1)
            mean = v_cmp[first // BLOCK : (first + slots) // BLOCK][filled].mean(0)
        torch.testing.assert_close(out[rows], mean.expand(slots, -1, -1))
        first += slots


@pytest.mark.parametrize("sizes", [dict(near=64), dict(near=16, levels_beyond=64)])
@pytest.mark.parametrize("group_compression", [False, True])
@pytest.mark.parametrize("beside", [(), (97,)])
def test_a_cloud_without_levels_is_as_published(group_compression, sizes, beside):
    """Alone, and beside one that has them."""
    layout = layout_of((61, 5, 48, *beside))
    assert layout.valid is not None and layout.slots[:3] == (64, 16, 48)
    x = numbers(len(layout.coord), DIM)
    plain, near = (layer(group_compression=group_compression, fan=FAN, **each) for each in ({}, sizes))
    near.load_state_dict(plain.state_dict())
    torch.testing.assert_close(near(x, layout)[:128], plain(x, layout)[:128])
    if beside:
        assert not torch.allclose(near(x, layout)[128:], plain(x, layout)[128:])


def test_the_cloud_says_whether_it_has_levels():
    """Those of 208 and 112 slots have them; that of 32 has not, though it would have two near nodes."""
    layout = layout_of()
    q, (k, v) = numbers(len(layout.coord), HEADS, DIM // HEADS), blocks_of(layout)
    tokens = levels(near=16, beyond=32)(k, v, layout)
    assert layout.slots == (208, 16, 112, 32) and tokens.plan.nodes == (16,) * 21 + (32,)
    out, flat, tall = tokens.attend(q), *(attention_slot_by_slot(q, k, v, layout, near, FAN) for near in (32, 16))
    for cloud, (last, slots) in enumerate(zip(itertools.accumulate(layout.slots), layout.slots, strict=True)):
        rows = slice(last - slots, last)
        torch.testing.assert_close(out[rows], (flat if slots <= 32 else tall)[rows], msg=f"cloud {cloud}")


@pytest.mark.parametrize("sizes", [dict(near=NEAR), dict(near=16, levels_beyond=32), dict(near=16, beam=1)])
@pytest.mark.parametrize("phi", ["mean", "mlp"])
@pytest.mark.parametrize("group_compression", [False, True])
def test_a_batch_is_its_clouds(phi, group_compression, sizes):
    """With a beam of one, a cloud in which the descent began above its own highest level would find other blocks."""
    made = layer(fan=FAN, phi=phi, group_compression=group_compression, **sizes)
    layout = layout_of()
    x = numbers(len(layout.coord), DIM)
    parts, first, point = [], 0, 0
    for slots, length in zip(layout.slots, LENGTHS, strict=True):
        rows = slice(first, first + slots)
        valid = layout.host_valid[rows].copy()
        assert valid.sum() == length
        alone = BallLayout.build(layout.coord[rows], valid, (slots,), BALL, BLOCK)
        parts.append(made(x[rows], alone))
        first, point = first + slots, point + length
    real = layout.valid
    torch.testing.assert_close(made(x, layout)[real], torch.cat(parts)[real])


@pytest.mark.parametrize("phi", ["mean", "mlp"])
def test_empty_balls_behind_a_cloud_change_nothing(phi):
    made = layer(near=NEAR, fan=FAN, phi=phi)
    layout = layout_of((203,))
    slots, more = layout.slots[0], 5 * BALL
    coord = torch.cat([layout.coord, layout.coord[:1].expand(more, -1)])
    valid = torch.cat([layout.valid, torch.zeros(more, dtype=torch.bool)])
    padded = BallLayout.masked(coord, valid, (slots + more,), BALL, BLOCK)
    x = numbers(slots, DIM)
    out = made(torch.cat([x, numbers(more, DIM)]), padded)[:slots]
    torch.testing.assert_close(out[layout.valid], made(x, layout)[layout.valid])


def test_nothing_depends_on_empty_slots():
    layout = layout_of()
    made = layer(near=NEAR, fan=FAN, phi="mlp")
    x, y = numbers(len(layout.coord), DIM), numbers(len(layout.coord), DIM, seed=7)
    y[layout.valid] = x[layout.valid]
    torch.testing.assert_close(made(x, layout)[layout.valid], made(y, layout)[layout.valid])


@pytest.mark.parametrize("phi", ["mean", "mlp"])
def test_gradients(phi):
    layout = layout_of((75, 5))
    made = layer(near=16, fan=2, phi=phi)
    x = numbers(len(layout.coord), DIM).requires_grad_()
    weight = numbers(len(layout.coord), DIM, seed=5) * layout.valid.unsqueeze(1)
    assert torch.autograd.gradcheck(lambda x: (made(x, layout) * weight).sum(), x, fast_mode=True)
    (made(x, layout) * weight).sum().backward()
    assert all(p.grad is not None for p in made.parameters())


def test_what_pools_blocks_has_gradients_of_zero_where_no_cloud_has_levels():
    layout = layout_of((64, 48))
    made = layer(near=64, fan=FAN, phi="mlp")
    made(numbers(len(layout.coord), DIM), layout).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.any() == ("merge" not in name), name


def exact(q, k, layout, topk, own):
    groups = tuple(s // BLOCK for s in layout.slots)
    balls = tuple(s // BALL for s in layout.slots) if own else None
    return select_blocks(q, k, groups, layout.blocks, topk, balls=balls, block_valid=layout.block_valid)


@pytest.mark.parametrize("own", [True, False])
def test_a_beam_that_keeps_all_finds_the_exact_blocks(own):
    layout = layout_of()
    k, q = blocks_of(layout)
    made = levels(beam=64, topk=3)
    found = made.select(q, made(k, k, layout), BLOCK, own)
    assert torch.equal(found, exact(q, k, layout, 3, own))


def test_recall_grows_with_the_beam_and_no_block_is_of_the_own_ball_or_empty():
    layout = layout_of((800, 203))
    k = numbers(len(layout.coord), HEADS, DIM // HEADS).view(-1, BLOCK, HEADS, DIM // HEADS).mean(1)
    q = numbers(*k.shape, seed=9)
    best = exact(q, k, layout, 2, True)
    shares = []
    for beam in (1, 2, 4, 256):
        made = levels(beam=beam)
        found = made.select(q, made(k, k, layout), BLOCK, True)
        shares.append(recall(found, best))
        real = found[found >= 0]
        own = torch.arange(len(q)).view(-1, 1, 1) // (BALL // BLOCK) == found // (BALL // BLOCK)
        assert not own.any() and (layout.block_valid is None or layout.block_valid[real].all())
    assert shares == sorted(shares) and 0 < shares[0] < shares[2] < shares[3] == 1


def test_a_query_sees_few_tokens_and_every_token_knows_who_sees_it():
    plan = plan_tokens((2**20,), TokenSizes(8, 2048, 8, 2048))
    assert plan.totals == [2**17, 2**14, 2**11, 2**8] and set(plan.numbers) == {256 + 3 * 224}
    plan = plan_tokens((208, 16, 112), TokenSizes(BLOCK, NEAR, FAN, NEAR))
    for token in range(sum(plan.totals)):
        places = plan.places[plan.offsets[token] : plan.offsets[token + 1]]
        assert sorted(places) == sorted((plan.seen.ravel() == token).nonzero()[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(near=20), "near: got 20, wanted a multiple of block_size 4 times fan 2"),
        (dict(fan=1), "fan: got 1, wanted at least 2"),
        (dict(levels_beyond=16), "levels_beyond: got 16, wanted at least near 32"),
        (dict(near=None, levels_beyond=64), "levels_beyond: got 64, wanted None without near"),
        (dict(beam=1, topk=3), "beam: got 1, wanted at least topk 3 children of fan 2 each"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        layer(**(dict(near=NEAR, fan=FAN) | options))
