"""The smaller kernels against plain torch: gated sum, pooling of blocks, norms, sums; and how operators are chosen."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pointcept_bsa.dispatch import use_triton
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.split_keys import split_keys
from pointcept_bsa.geometry.tree_plan import plan_tree
from pointcept_bsa.ops import ball_attention as ball
from pointcept_bsa.ops import block_mlp as mlp
from pointcept_bsa.ops import block_pooling as pooling
from pointcept_bsa.ops import gated_sum as gates
from pointcept_bsa.ops import rms_norm as norm
from pointcept_bsa.ops.column_sum import column_sum
from pointcept_bsa.ops.fan_out import fan_out
from pointcept_bsa.ops.silu_product import silu_halves, silu_product

from .comparison import DTYPES, LENGTHS, TOLERANCE, compare, error, layout_of
from .interpreter import DEVICE, INTERPRETED, kernel_test, run_in_interpreter


def test_in_the_interpreter():
    run_in_interpreter(__file__)


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("slots, heads, width", [(1, 1, 8), (77, 3, 8), (300, 4, 40)])
def test_gated_sum(slots, heads, width, dtype):
    branches = [torch.randn(slots, heads, width, device=DEVICE) for _ in range(3)]
    gate = torch.randn(slots, 3 * heads, device=DEVICE)
    compare(
        lambda *t: gates.gated_sum(t[:3], t[3]),
        lambda *t: gates.reference.gated_sum(t[:3], t[3]),
        (*branches, gate),
        dtype,
    )


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_block_mean(lengths, dtype):
    layout = layout_of(lengths, 64)
    x = torch.randn(sum(layout.slots), 3, 4, 5, device=DEVICE)
    compare(
        lambda t: pooling.block_mean(t[:, 1], 8, layout.valid),
        lambda t: pooling.reference.block_mean(t[:, 1], 8, layout.valid),
        (x,),
        dtype,
    )


def draw_off_kinks(x, part, mlps, block_size, valid, dtype):
    """Draw again the blocks of x[:, part] (S, H, D) with hidden values so near 0 that rounding decides about ReLU."""
    blocks = x[:, part].unflatten(0, (-1, block_size))  # (blocks, l, H, D), a view
    for _ in range(20):
        seen = blocks.to(dtype).double()
        if valid is not None:
            seen = seen * valid.view(-1, block_size, 1, 1)
        near = torch.zeros(len(seen), seen.shape[2], dtype=torch.bool, device=x.device)
        for weight, bias, *_ in mlps:
            hidden = F.linear(seen.transpose(1, 2).flatten(2), weight.to(dtype).double(), bias.to(dtype).double())
            near |= (hidden.abs() < 1e-5).any(-1)
        if not near.any():
            return
        blocks.copy_(torch.where(near[:, None, :, None], torch.randn_like(blocks), blocks))
    raise AssertionError("no draw is off the kinks")


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("block_size, width", [(8, 8)] + [(8, 16), (16, 12)] * (DEVICE == "cuda"))
def test_block_mlp(lengths, block_size, width, dtype):
    layout = BallTree.build(torch.randn(sum(lengths), 3).to(DEVICE), lengths, 64, block_size).layout
    slots, inputs = sum(layout.slots), block_size * width
    x = torch.randn(slots, 3, 3, width, device=DEVICE)
    shapes = ((2 * inputs, inputs), (2 * inputs,), (width, 2 * inputs), (width,))
    weights = [torch.randn(shape, device=DEVICE) / shape[-1] ** 0.5 for shape in shapes]
    others = [2 * w.flip(0) for w in weights]
    draw_off_kinks(x, 1, (weights, others), block_size, layout.valid, dtype)
    draw_off_kinks(x, 2, (weights,), block_size, layout.valid, dtype)

    def one(t, *w):
        return mlp.block_mlps([t[:, 1]], [w], block_size, layout.valid)[0]

    def reference(t, *w):
        return mlp.reference.block_mlp(t[:, 1], *w, block_size, layout.valid)

    compare(one, reference, (x, *weights), dtype)

    def two(t, *w):
        return torch.cat(mlp.block_mlps([t[:, 2], t[:, 1]], [w[:4], w[4:]], block_size, layout.valid))

    def both(t, *w):
        values = zip((t[:, 2], t[:, 1]), (w[:4], w[4:]), strict=True)
        return torch.cat([mlp.reference.block_mlp(u, *v, block_size, layout.valid) for u, v in values])

    compare(two, both, (x, *weights, *others), dtype)


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("uses", [(4, 3, 3), (2, 1), (3,)])
def test_fan_out(uses, dtype):
    x = torch.randn(300, len(uses), 2, 8, device=DEVICE)
    scale = torch.rand(sum(uses), 300, 1, 1, device=DEVICE)

    def weighed(parts):
        return torch.cat([part * s.to(part.dtype) for part, s in zip(parts, scale, strict=True)])

    compare(
        lambda t: weighed([view for views in fan_out(t, uses) for view in views]),
        lambda t: weighed([t[:, part] for part, times in enumerate(uses) for _ in range(times)]),
        (x,),
        dtype,
    )


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_silu_product(dtype):
    compare(silu_product, lambda a, b: F.silu(a) * b, [torch.randn(3, 999, device=DEVICE) for _ in range(2)], dtype)


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 20, 24), (9, 8)] + [(70000, 512)] * (DEVICE == "cuda"))
def test_silu_of_halves(shape, dtype):
    compare(
        silu_halves, lambda ab: F.silu(ab.chunk(2, -1)[0]) * ab.chunk(2, -1)[1], [torch.randn(shape).to(DEVICE)], dtype
    )


ROWS = [(1, 24), (70, 200)] + [(77, 64), (70000, 64)] * (DEVICE == "cuda")  # one program, and several


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows, channels", ROWS)
@pytest.mark.parametrize("dimensions", [None, 2, 3])
@pytest.mark.parametrize("moved", [False, True, "mixed"])
@pytest.mark.parametrize("added", [False, True])
def test_residual_norm(rows, channels, dimensions, moved, added, dtype):
    """The stream stays float32; what is added to it, and what comes out, is of the type of autocast."""
    shapes = dict(x=(rows, channels), weight=(channels,))
    if added:
        shapes |= dict(summand=(rows, channels), bias=(channels,))
    if dimensions is not None:
        shapes |= dict(matrix=(channels, dimensions), shift=(channels,))
    values = {name: torch.randn(shape, device=DEVICE) for name, shape in shapes.items()}
    coord = torch.randn(rows, dimensions or 1, device=DEVICE)
    there = torch.randperm(rows, device=DEVICE)
    order = (there, there.argsort()) if moved else None
    if moved == "mixed":  # a third of the rows come from elsewhere, the last of them first
        count = -(-rows // 3)
        values["others"] = torch.randn(count, channels, device=DEVICE)
        there[torch.randperm(rows, device=DEVICE)[:count]] = -1 - torch.arange(count, device=DEVICE).flip(0)
    probes = torch.randn(2, rows, channels, device=DEVICE)
    for uses in ((True, True), (True, False), (False, True)):
        results = []
        for function, precision in ((norm.residual_norm, dtype), (norm.reference.residual_norm, torch.float32)):
            leaves = {name: value.clone() for name, value in values.items()}
            if added:
                leaves["summand"] = leaves["summand"].to(dtype).to(precision)
            leaves = {name: t.requires_grad_() for name, t in leaves.items()}
            further = {name: leaves[name] for name in ("summand", "bias") if added}
            if dimensions is not None:
                further["position"] = norm.PositionMap(coord, leaves["matrix"], leaves["shift"])
            with torch.autocast(DEVICE, dtype, enabled=precision == dtype != torch.float32):
                mixed = norm.MixedOrder(there, leaves["others"]) if moved == "mixed" else order
                out = function(leaves["x"], leaves["weight"], 1e-6, order=mixed, **further)
            assert out[0].dtype == torch.float32 and out[1].dtype == precision
            loss = sum((o.float() * p).sum() for o, p, use in zip(out, probes, uses, strict=True) if use)
            grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
            results.append(dict(total=out[0], out=out[1]) | dict(zip(leaves, grads, strict=True)))
        assert not added or results[0]["summand"].dtype == dtype
        for name, wanted in results[1].items():
            got = results[0][name]
            assert wanted is not None or got is None or not got.any(), name
            assert wanted is None or error(got, wanted) < TOLERANCE[dtype][name == "bias"], name


@kernel_test
def test_sums_over_programs_are_the_same_in_every_run():
    x, weight = torch.randn(1000, 64, device=DEVICE), torch.randn(64, device=DEVICE, requires_grad=True)
    runs = []
    for _ in range(2):
        (grad,) = torch.autograd.grad(norm.rms_norm(x, weight, 1e-6).square().sum(), weight)
        runs.append([grad, column_sum(x), column_sum(x, torch.bfloat16)])
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a, b)
    assert error(runs[0][2], runs[0][1]) < 1e-2


@kernel_test
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows, channels", [(1, 24), (77, 64), (300, 200)] + [(70000, 64)] * (DEVICE == "cuda"))
def test_rms_norm_and_column_sum(rows, channels, dtype):
    x, weight = torch.randn(rows, channels, device=DEVICE), torch.randn(channels, device=DEVICE)
    compare(
        lambda *t: norm.rms_norm(*t, 1e-6),
        lambda *t: norm.reference.rms_norm(*t, 1e-6),
        (x, weight),
        dtype,
    )
    total = column_sum(x.to(dtype))
    assert total.dtype == torch.float32
    assert error(total, x.to(dtype).double().sum(0)) < 1e-5


@kernel_test
def test_keys_of_the_tree():
    from pointcept_bsa.geometry.split_keys_triton import split_keys_triton

    coord = torch.randn(517, 3, device=DEVICE)
    coord[:20] = coord[0]
    plan = plan_tree((500, 17), 64, 8)
    for starts, split in plan.levels:
        keys = split_keys(coord, starts, split)
        assert torch.equal(split_keys_triton(coord, starts, split), keys)
        coord = coord[keys.argsort(stable=True)]


def arguments(width=16, dtype=torch.float32):
    q, k, v = (torch.randn(128, 2, width, device=DEVICE, dtype=dtype, requires_grad=True) for _ in range(3))
    coord, sigma = torch.randn(128, 3, device=DEVICE), (-torch.rand(2, device=DEVICE)).requires_grad_()
    return q, k, v, coord, sigma, (torch.arange(128) % 5 > 0).to(DEVICE), 64


@kernel_test
def test_operators_are_well_registered():
    torch.library.opcheck(torch.ops.pcbsa.ball_attention.default, arguments())
    torch.library.opcheck(torch.ops.pcbsa.ball_attention.default, arguments(8, torch.bfloat16))
    branches = [torch.randn(9, 2, 8, device=DEVICE, requires_grad=True) for _ in range(3)]
    gate = torch.randn(9, 6, device=DEVICE, requires_grad=True)
    torch.library.opcheck(torch.ops.pcbsa.gated_sum.default, (*branches, gate))
    torch.library.opcheck(torch.ops.pcbsa.silu_product.default, tuple(branches[:2]))
    weight = torch.randn(8, device=DEVICE, requires_grad=True)
    torch.library.opcheck(torch.ops.pcbsa.silu_halves.default, (branches[0],))
    matrix = torch.randn(8, 3, device=DEVICE, requires_grad=True)
    start = branches[0].flatten(0, 1), weight, 1e-6, torch.bfloat16
    place, order = torch.randn(18, 3, device=DEVICE), torch.randperm(18, device=DEVICE)
    summand, bias = branches[1].flatten(0, 1), weight.detach().clone().requires_grad_()
    others = torch.randn(5, 8, device=DEVICE, requires_grad=True)
    mixed = order.clone().index_put_((order[:5],), -1 - torch.arange(5, device=DEVICE))
    for further in (
        (None,) * 7,
        (summand, bias, order, place, matrix, weight, None),
        (summand, bias, mixed, place, matrix, weight, others),
    ):
        torch.library.opcheck(torch.ops.pcbsa.residual_norm.default, (*start, *further))
    summands = [b.detach() for b in branches]
    for dtype in (None, torch.float32):
        torch.library.opcheck(
            torch.ops.pcbsa.sum_parts.default, (summands, [2, 1], [16, 16], [9, 2, 2, 8], dtype)
        )  # fmt: skip
    valid = (torch.arange(64) % 3 > 0).to(DEVICE)
    weights = [torch.randn(s, device=DEVICE, requires_grad=True) for s in ((32, 32), (32,), (8, 32), (8,))]
    x = torch.randn(64, 2, 4, device=DEVICE, requires_grad=True)
    others = [t.detach().clone().requires_grad_() for t in (x, *weights)]
    torch.library.opcheck(torch.ops.pcbsa.block_mlps.default, ([x, others[0]], [*weights, *others[1:]], 8, valid))
    torch.library.opcheck(torch.ops.pcbsa.block_mean.default, (branches[0].detach().repeat(8, 1, 1)[:64], valid, 8))


@pytest.mark.gpu
@pytest.mark.parametrize("width, dtype", [(16, torch.float32), (8, torch.bfloat16)], ids=str)
def test_backward_is_deterministic(width, dtype):
    q, k, v, coord, sigma, valid, m = arguments(width, dtype)
    first, second = (
        torch.autograd.grad(
            ball.ball_attention(q, k, v, m, coord=coord, sigma=sigma, valid=valid).square().sum(), (q, k, v, sigma)
        )
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_choice_of_implementation(monkeypatch):
    x = torch.zeros(2)
    monkeypatch.setenv("PCBSA_OPS", "fast")
    with pytest.raises(InputError, match="PCBSA_OPS: got 'fast'"):
        use_triton("x", x)
    monkeypatch.setenv("PCBSA_OPS", "reference")
    assert not use_triton("x", x)
    monkeypatch.setenv("PCBSA_OPS", "triton")
    with pytest.raises(InputError, match="float64" if INTERPRETED else "tensors are on cpu"):
        use_triton("x", x.double())
    monkeypatch.setenv("PCBSA_OPS", "auto")
    assert not use_triton("x", x)
