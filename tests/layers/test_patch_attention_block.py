"""The block of Point Transformer V3 equals its sums written point by point; stochastic depth; what it refuses."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from pointcept_bsa.layers.patch_attention_block import PatchAttentionBlock, PointwiseMLP, PositionConv, RowDropPath
from pointcept_bsa.layers.serialized_level import SerializedLevel

from .by_hand import (
    cells_of,
    clouds_of,
    compare,
    gelu,
    layer_norm,
    linear,
    numbers,
    patch_attention,
    patches,
    randomized,
    sequence,
    submanifold_conv,
)

DIM, HEADS, PATCH = 8, 2, 8
SIZES = (21, 1, 8, 5)  # a patch with borrowed points; one point; a whole patch; less than a patch
OPTIONS = {
    "paper": {},
    "post norm": dict(pre_norm=False),
    "narrow MLP": dict(mlp_ratio=0.5),
    "second curve": dict(order_index=1),
    "ReLU": dict(act_layer=nn.ReLU),
    "dropout in evaluation": dict(proj_drop=0.5, drop_path=0.5, attn_drop=0.5),
}


def level_of(cells, sizes=SIZES) -> SerializedLevel:
    grid_coord, batch = torch.tensor(cells), torch.tensor(clouds_of(sizes))
    offset = torch.tensor(sizes).cumsum(0)
    return SerializedLevel.build(grid_coord * 0.1, grid_coord, batch, offset, depth=3, orders=("z", "z-trans"))


def built(**options) -> PatchAttentionBlock:
    return randomized(PatchAttentionBlock(DIM, HEADS, PATCH, **options)).eval()


def position(p, prefix: str, x: list[Tensor], cells) -> list[Tensor]:
    """xCPE: convolution, linear map, norm."""
    near = submanifold_conv(p[f"{prefix}0.weight"], p[f"{prefix}0.bias"], x, cells, clouds_of(SIZES))
    return [layer_norm(p, f"{prefix}2", linear(p, f"{prefix}1", row)) for row in near]


def block(p, x: list[Tensor], cells, read: list[Tensor], options: dict) -> list[Tensor]:
    """Wu et al. 2024, fig. 5: each of the three parts is added to what goes into it."""
    along = sequence(cells, clouds_of(SIZES), transposed=options.get("order_index") == 1)
    starts = itertools.accumulate(SIZES, initial=0)
    cut = [patch for first, n in zip(starts, SIZES, strict=False) for patch in patches(along[first : first + n], PATCH)]
    act = gelu if options.get("act_layer") is None else lambda row: row.clamp(min=0)

    def norm1(rows):
        return [layer_norm(p, "norm1.0", row) for row in rows]

    def norm2(rows):
        return [layer_norm(p, "norm2.0", row) for row in rows]

    def attention(rows):
        return patch_attention(p, "attn.", rows, cut, HEADS)

    def mlp(rows):
        return [linear(p, "mlp.0.fc2", act(linear(p, "mlp.0.fc1", row))) for row in rows]

    def added(rows, more):
        return [a + b for a, b in zip(rows, more, strict=True)]

    x = added(x, position(p, "cpe.", read, cells))
    if options.get("pre_norm", True):
        x = added(x, attention(norm1(x)))
        return added(x, mlp(norm2(x)))
    x = norm1(added(x, attention(x)))
    return norm2(added(x, mlp(x)))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_it_is_the_sums_point_by_point(options):
    cells, made, x = cells_of(SIZES, side=5, shared=True), built(**options), numbers(sum(SIZES), DIM)
    p = dict(made.named_parameters())
    want = torch.stack(block(p, list(x), cells, list(x), options))
    compare(made(x, level_of(cells)), want, {"x": x, **p})


def test_the_convolution_may_read_other_features():
    cells, made = cells_of(SIZES, side=5), built()
    x, read, p = numbers(sum(SIZES), DIM), numbers(sum(SIZES), DIM, seed=7), dict(made.named_parameters())
    want = torch.stack(block(p, list(x), cells, list(read), {}))
    compare(made(x, level_of(cells), position_input=read), want, {"x": x, "read": read, **p})


def test_the_encoding_of_positions_alone():
    cells, cpe, x = cells_of(SIZES, side=5), randomized(PositionConv(DIM, nn.LayerNorm)), numbers(sum(SIZES), DIM)
    p = dict(cpe.named_parameters())
    compare(cpe(x, level_of(cells)), torch.stack(position(p, "", list(x), cells)), {"x": x, **p})


def test_a_batch_is_its_clouds_in_any_order():
    cells, made, x = cells_of(SIZES, side=5, shared=True), built(), numbers(sum(SIZES), DIM, grad=False)
    starts = list(itertools.accumulate(SIZES, initial=0))
    out = made(x, level_of(cells))
    for first, size in zip(starts, SIZES, strict=False):
        rows = slice(first, first + size)
        torch.testing.assert_close(made(x[rows], level_of(cells[rows], (size,))), out[rows], rtol=1e-10, atol=1e-10)
    turned = [2, 0, 3, 1]
    rows = [i for cloud in turned for i in range(starts[cloud], starts[cloud + 1])]
    moved = made(x[rows], level_of([cells[i] for i in rows], tuple(SIZES[cloud] for cloud in turned)))
    torch.testing.assert_close(moved, out[rows], rtol=1e-10, atol=1e-10)


def test_single_precision_is_near_double():
    cells, made, x = cells_of(SIZES, side=5), built(), numbers(sum(SIZES), DIM, grad=False)
    want = made(x, level_of(cells))
    out = made.float()(x.float(), level_of(cells))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), want, rtol=1e-4, atol=1e-4)


def test_stochastic_depth_drops_whole_rows_and_keeps_the_mean():
    drop, x = RowDropPath(0.25), numbers(4000, DIM)
    out = drop(x)
    kept = (out != 0).any(1)
    assert 0.72 < kept.double().mean() < 0.78  # four standard deviations of 4000 draws
    torch.testing.assert_close(out[kept], x[kept] / 0.75)
    assert not out[~kept].any()
    (gradient,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(gradient, (kept.double() / 0.75)[:, None].expand(-1, DIM))
    assert torch.equal(drop.eval()(x), x)
    assert torch.equal(RowDropPath(0.0)(x), x)
    assert not RowDropPath(1.0)(x).any()


def test_with_all_rows_dropped_position_is_what_is_left():
    cells, x = cells_of(SIZES, side=5), numbers(sum(SIZES), DIM)
    made = built(drop_path=1.0).train()
    torch.testing.assert_close(made(x, level_of(cells)), x + made.cpe(x, level_of(cells)))


def test_dropout_of_the_mlp_comes_twice():
    mlp = randomized(PointwiseMLP(DIM, 64, nn.ReLU, 0.5)).train()
    with torch.no_grad():
        mlp.fc2.weight.fill_(1.0)
        mlp.fc2.bias.zero_()
    x = numbers(1, DIM, grad=False).expand(500, -1)
    hidden = mlp.act(mlp.fc1(x[:1])).sum().detach()
    out = mlp(x).detach()
    kept = out != 0
    assert 0.45 < kept.double().mean() < 0.55  # the second one, of each number
    rows = [row[row != 0] for row in out if row.any()]
    assert all(torch.allclose(row, row[:1]) for row in rows)  # the first one, of the hidden numbers all of them sum
    assert len({round(float(row[0]), 6) for row in rows}) > 400
    torch.testing.assert_close(out.mean(), hidden, rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(drop_path=1.5), "drop_path: got 1.5, wanted a number from 0 to 1"),
        (dict(drop_path=-0.5), "drop_path: got -0.5, wanted a number from 0 to 1"),
        (dict(proj_drop=2), "proj_drop: got 2, wanted a number from 0 to 1"),
        (dict(mlp_ratio=-1), "mlp_ratio: got -1 for 8 channels, wanted at least one hidden channel"),
        (dict(mlp_ratio=0.1), "mlp_ratio: got 0.1 for 8 channels, wanted at least one hidden channel"),
        (dict(num_heads=3), "num_heads: got 3 for 8 channels"),
        (dict(conv_backend="torhc"), "backend: got 'torhc'.*did you mean 'torch'"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as told:
        PatchAttentionBlock(**(dict(channels=DIM, num_heads=HEADS, patch_size=PATCH) | options))
    assert "\n" not in str(told.value)
