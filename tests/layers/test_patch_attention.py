"""Patch attention equals attention written point by point; what it does not depend on."""

from __future__ import annotations

import itertools

import pytest
import torch

from pointcept_bsa.layers import patch_attention as module
from pointcept_bsa.layers.patch_attention import PatchAttention, RelativePositionTable
from pointcept_bsa.layers.serialized_level import SerializedLevel

from .by_hand import cells_of, clouds_of, compare, numbers, patch_attention, patches, randomized, sequence

DIM, HEADS, PATCH = 8, 2, 8
SIZES = (37, 1, 16, 5, 8)  # several patches with borrowed points; one point; whole patches; less than a patch
NO_FLASH = dict(enable_flash=False)
OPTIONS = {
    "plain": {},
    "second curve": dict(order_index=1),
    "own scale": dict(qk_scale=0.3),
    "scale zero": dict(qk_scale=0.0),
    "no bias": dict(qkv_bias=False),
    "one head": dict(num_heads=1),
    "patch of one": dict(patch_size=1),
    "patch larger than all": dict(patch_size=64),
    "dropout in evaluation": dict(attn_drop=0.5, proj_drop=0.5),
    "smallest cloud": NO_FLASH,
    "table of biases": NO_FLASH | dict(enable_rpe=True),
    "upcast": NO_FLASH | dict(upcast_softmax=True),
}


def level_of(cells, sizes):
    grid_coord, batch = torch.tensor(cells), torch.tensor(clouds_of(sizes))
    offset = torch.tensor(sizes).cumsum(0)
    return SerializedLevel.build(grid_coord * 0.1, grid_coord, batch, offset, depth=4, orders=("z", "z-trans"))


def built(**options) -> PatchAttention:
    layer = PatchAttention(DIM, **(dict(num_heads=HEADS, patch_size=PATCH) | options))
    return randomized(layer).eval()


def cut(cells, sizes, size, transposed=False):
    """The patches of all clouds along the curve."""
    along, found = sequence(cells, clouds_of(sizes), transposed), []
    for first, count in zip(itertools.accumulate(sizes, initial=0), sizes, strict=False):
        found += patches(along[first : first + count], size)
    return found


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_it_is_attention_point_by_point(options):
    whole = options.get("enable_flash", True)
    sizes = SIZES if whole else (37, 16, 5)
    layer, x, cells = built(**options), numbers(sum(sizes), DIM), cells_of(sizes)
    own = cut(cells, sizes, layer.patch_size if whole else min(sizes), transposed=options.get("order_index") == 1)
    p = dict(layer.named_parameters())
    table = cells if options.get("enable_rpe") else None
    want = patch_attention(p, "", list(x), own, num_heads=layer.num_heads, scale=options.get("qk_scale"), cells=table)
    compare(layer(x, level_of(cells, sizes)), torch.stack(want), {"x": x, **p})


@pytest.mark.parametrize("patch_size", [2, 5, 8, 16, 48, 1024])
def test_the_table_has_the_rows_of_the_public_code(patch_size):
    """Which rounds the cube root: 2 * 64^(1/3) to 7.99..., so that the bound is 7 there, and 31 for 1024."""
    bound = {2: 4, 5: 5, 8: 6, 16: 7, 48: 11, 1024: 31}[patch_size]
    table = RelativePositionTable(patch_size, HEADS)
    assert table.bound == bound and table.rpe_table.shape == (3 * (2 * bound + 1), HEADS)


def test_the_table_is_read_row_by_row_and_clamped():
    table = randomized(RelativePositionTable(2, HEADS))
    offsets = torch.tensor([[[[0, 1, -2], [4, -4, 3]], [[5, -5, 100], [-100, 0, 0]]]])  # (1, 2, 2, 3)
    rows = [[(4, 5, 2), (8, 0, 7)], [(8, 0, 8), (0, 4, 4)]]  # of 9 an axis, zero in the middle
    t = table.rpe_table
    want = [[t[x] + t[9 + y] + t[18 + z] for x, y, z in row] for row in rows]
    want = torch.stack([torch.stack(row) for row in want]).permute(2, 0, 1)[None]
    compare(table(offsets), want, {"table": t})


@pytest.mark.parametrize("order_index", [0, 1])
def test_a_batch_is_its_clouds_in_any_order(order_index):
    layer, x, cells = built(order_index=order_index), numbers(sum(SIZES), DIM, grad=False), cells_of(SIZES)
    starts = list(itertools.accumulate(SIZES, initial=0))
    out = layer(x, level_of(cells, SIZES))
    for first, size in zip(starts, SIZES, strict=False):
        rows = slice(first, first + size)
        torch.testing.assert_close(layer(x[rows], level_of(cells[rows], (size,))), out[rows], rtol=1e-10, atol=1e-10)
    turned = [3, 0, 4, 2, 1]
    rows = [i for cloud in turned for i in range(starts[cloud], starts[cloud + 1])]
    moved = layer(x[rows], level_of([cells[i] for i in rows], tuple(SIZES[cloud] for cloud in turned)))
    torch.testing.assert_close(moved, out[rows], rtol=1e-10, atol=1e-10)


def test_permuting_the_points_of_the_clouds_permutes_the_output():
    layer, x, cells = built(), numbers(sum(SIZES), DIM, grad=False), cells_of(SIZES)
    starts = itertools.accumulate(SIZES, initial=0)
    rows = torch.cat([first + torch.randperm(size) for first, size in zip(starts, SIZES, strict=False)]).tolist()
    moved = layer(x[rows], level_of([cells[i] for i in rows], SIZES))
    torch.testing.assert_close(moved, layer(x, level_of(cells, SIZES))[rows], rtol=1e-10, atol=1e-10)


def test_without_flash_the_smallest_cloud_sets_the_patches_of_all():
    sizes = (12, 1)
    layer, x, cells = built(**NO_FLASH), numbers(13, DIM, grad=False), cells_of(sizes)
    alone = [layer.proj(layer.qkv(row)[2 * DIM :]) for row in x]  # a point that sees itself gives its value
    torch.testing.assert_close(layer(x, level_of(cells, sizes)), torch.stack(alone))


@pytest.mark.parametrize("options", [{}, NO_FLASH | dict(enable_rpe=True)])
def test_patches_are_the_same_a_few_at_a_time(options, monkeypatch):
    sizes = SIZES if not options else (37, 16, 5)
    layer, x, level = built(**options), numbers(sum(sizes), DIM, grad=False), level_of(cells_of(sizes), sizes)
    at_once = layer(x, level)
    monkeypatch.setattr(module, "PATCHES_AT_ONCE", 1)
    torch.testing.assert_close(layer(x, level), at_once, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, NO_FLASH | dict(enable_rpe=True), NO_FLASH | dict(upcast_attention=True)])
def test_single_precision_is_near_double(options):
    layer, x, level = built(**options), numbers(sum(SIZES), DIM, grad=False), level_of(cells_of(SIZES), SIZES)
    want = layer(x, level)
    out = layer.float()(x.float(), level)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), want, rtol=1e-5, atol=1e-5)


def test_upcast_attention_runs_in_single_precision_under_autocast(monkeypatch):
    seen = []
    attend = module.scaled_dot_product_attention
    monkeypatch.setattr(
        module,
        "scaled_dot_product_attention",
        lambda q, *args, **more: seen.append(q.dtype) or attend(q, *args, **more),
    )
    x, level = numbers(sum(SIZES), DIM, grad=False).float(), level_of(cells_of(SIZES), SIZES)
    for options in (NO_FLASH, NO_FLASH | dict(upcast_attention=True), NO_FLASH | dict(upcast_softmax=True)):
        with torch.autocast("cpu", torch.bfloat16):
            assert built(**options).float()(x, level).dtype == torch.bfloat16
    assert seen == [torch.bfloat16, torch.float32, torch.float32]


def test_dropout_of_weights_and_output_in_training_alone():
    x, level = numbers(sum(SIZES), DIM, grad=False), level_of(cells_of(SIZES), SIZES)
    plain = built()(x, level)
    weights, outputs = built(attn_drop=0.5).train(), built(proj_drop=0.5).train()
    mean = sum(weights(x, level) for _ in range(400)) / 400
    assert not torch.allclose(weights(x, level), plain)
    assert (mean - plain).norm() < 0.1 * plain.norm()  # 1 / sqrt(400), of draws about as large as the output
    dropped = outputs(x, level)
    kept = dropped != 0
    assert 0.3 < kept.double().mean() < 0.7
    torch.testing.assert_close(dropped[kept], 2 * plain[kept])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_heads=3), "num_heads: got 3 for 8 channels, wanted a divisor of the channels"),
        (dict(num_heads=0), "num_heads: got 0, wanted an integer of at least 1"),
        (dict(num_heads=-2), "num_heads: got -2, wanted an integer"),
        (dict(patch_size=0), "patch_size: got 0, wanted an integer of at least 1"),
        (dict(patch_size=2.5), "patch_size: got 2.5, wanted an integer of at least 1"),
        (dict(attn_drop=1.5), "attn_drop: got 1.5, wanted a number from 0 to 1"),
        (dict(attn_drop=-0.1), "attn_drop: got -0.1"),
        (dict(proj_drop=1.5), "proj_drop: got 1.5, wanted a number from 0 to 1"),
        (dict(enable_rpe=True), "enable_flash: got True together with enable_rpe"),
        (dict(upcast_softmax=True), "enable_flash: got True together with enable_rpe, upcast_attention or upcast_soft"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as told:
        PatchAttention(DIM, **(dict(num_heads=HEADS, patch_size=PATCH) | options))
    assert "\n" not in str(told.value)
