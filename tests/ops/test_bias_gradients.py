"""Gradients of biases from the kernels that make the gradients of which they are the column sums."""

from __future__ import annotations

import copy

import pytest
import torch

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.layers.attention import BallAttention, FullAttention
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.fused.switch import switched
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.transformer import SwiGLU
from pointcept_bsa.ops.fan_out import fan_out
from pointcept_bsa.ops.fan_out import triton_backend as sums_of_parts

from .interpreter import DEVICE, kernel_test, run_in_interpreter

DTYPES = [torch.float32, torch.bfloat16]
# rows, and programs at most: so few that each does several tiles
ROWS = [(1, 256), (7, 2), (255, 256), (257, 2)] + [(4096, 256), (70001, 256)] * (DEVICE == "cuda")
# shapes of the parts, uses, sizes of the biases, views that have no gradient
PARTS = {
    "q k v gate": (((2, 8), (2, 8), (2, 8), (6,)), (4, 3, 3, 1), (48, 6), ()),
    "of several widths": (((4, 5), (1, 5), (1, 5), (12,)), (3, 3, 3, 1), (20, 10, 12), (0, 5)),
    "of several blocks": (((3, 30), (7,)), (1, 2), (97,), ()),
    "without biases": (((2, 8), (3,)), (2, 1), (), (1,)),
    "some unused": (((2, 8), (2, 8), (9,)), (1, 1, 1), (41,), (0, 2)),
}


def test_in_the_interpreter():
    run_in_interpreter(__file__)


def run_at_most(programs, monkeypatch):
    monkeypatch.setattr(sums_of_parts, "PROGRAMS", programs)


def error(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-20)).item()


@kernel_test
@pytest.mark.parametrize("rows, programs", ROWS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shapes, uses, sizes, unused", PARTS.values(), ids=PARTS)
def test_parts_of_a_matrix(shapes, uses, sizes, unused, dtype, rows, programs, monkeypatch):
    run_at_most(programs, monkeypatch)
    widths = [torch.Size(shape).numel() for shape in shapes]
    x = torch.randn(rows, sum(widths), device=DEVICE, dtype=dtype, requires_grad=True)
    biases = [torch.zeros(size, device=DEVICE, requires_grad=True) for size in sizes]
    views = [view for part in fan_out(x, uses, shapes, biases) for view in part]
    starts = [sum(widths[:part]) for part, times in enumerate(uses) for _ in range(times)]
    given = torch.zeros(rows, sum(widths), device=DEVICE, dtype=torch.float64)
    loss = torch.zeros((), device=DEVICE)
    for place, (view, start) in enumerate(zip(views, starts, strict=True)):
        width = view[0].numel()
        assert torch.equal(view.flatten(1), x[:, start : start + width])
        if place not in unused:
            grad = torch.randn_like(view)
            given[:, start : start + width] += grad.flatten(1)
            loss = loss + (view * grad).sum()
    dx, *dbiases = torch.autograd.grad(loss, [x, *biases])
    assert error(dx, given) < (1e-6 if dtype == torch.float32 else 5e-3)
    if sizes:
        assert error(torch.cat(dbiases), dx.double().sum(0)) < 1e-5  # of what was rounded, in float32
    assert all(d.dtype == torch.float32 for d in dbiases)


@kernel_test
def test_gradients_that_lie_apart_are_not_copied():
    x = torch.randn(70, 3, 2, 8, device=DEVICE)
    lone = torch.randn(70, 8, 2, device=DEVICE).transpose(1, 2)
    parts = [[x[:, 2], x[:, 1]], [x[:, 0], lone], [x[:, :1, 0].expand(-1, 2, -1)]]
    got, total = sums_of_parts.sum_parts_triton(parts, [16] * 3, (70, 48), torch.float64)
    wanted = torch.cat([sum(t.flatten(1) for t in part) for part in parts], 1)
    assert torch.equal(got, wanted)
    assert error(total, wanted.sum(0)) < 1e-6
    assert all(sums_of_parts._as_rows([t])[0][0].data_ptr() == t.data_ptr() for t in (x[:, 0], x[:, 2]))


@kernel_test
@pytest.mark.parametrize("programs", [256, 2])
def test_the_sums_are_the_same_in_every_run(programs, monkeypatch):
    run_at_most(programs, monkeypatch)
    x = torch.randn(1000, 100, device=DEVICE, requires_grad=True)
    bias = torch.zeros(100, device=DEVICE, requires_grad=True)
    runs = []
    for _ in range(2):
        (parts,) = fan_out(x, (2,), ((100,),), (bias,))
        runs.append(torch.autograd.grad(sum(p.sin().sum() for p in parts), (x, bias)))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


LAYERS = {  # layers, and how many products they save
    "BSA": (lambda: BallSparseAttention(32, 4, 16, 8, 1, 8, phi="mean"), 0),  # rows of 108 would not be aligned
    "BSA, joined": (lambda: BallSparseAttention(32, 8, 16, 8, 1, 8, phi="mean"), 1),
    "NSA, joined": (lambda: NativeSparseAttention(32, 8, 2, 8, 1), 2),
    "NSA, joined but for the gate": (lambda: NativeSparseAttention(32, 4, 2, 8, 1), 1),
    "ball": (lambda: BallAttention(32, 4), 0),
    "full": (lambda: FullAttention(32, 4), 0),
    "SwiGLU": (lambda: SwiGLU(32, 80), 1),
}


@kernel_test
@pytest.mark.parametrize("name", LAYERS)
def test_layers_by_kernels_are_the_layers_by_torch(name, monkeypatch, launches):
    torch.manual_seed(0)
    make, saved = LAYERS[name]
    layer = make().to(DEVICE)
    layout = BallTree.build(torch.randn(20, 3, device=DEVICE), (20,), 16, 8).layout
    x = torch.randn(len(layout.coord), 32, device=DEVICE)
    others = {"SwiGLU": (), "full": (layout.coord, (len(x),))}.get(name, (layout,))
    results, seen = [], []
    for kernels in (False, True):
        monkeypatch.setenv("PCBSA_OPS", "triton" if kernels else "reference")
        with switched(kernels):
            module, leaf = copy.deepcopy(layer), x.clone().requires_grad_()
            with launches() as launched:
                out = module(leaf, *others)
                out.square().sum().backward()
            seen.append(launched.names)
            results.append({"out": out, "x": leaf.grad} | {key: p.grad for key, p in module.named_parameters()})
    wanted, got = results
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert (got[key] is None) == (value is None), key
        assert value is None or error(got[key], value) < 1e-4, key
    before, after = seen
    assert before.count("addmm") - after.count("addmm") == saved
    sums = after.count("addmm") - (name != "SwiGLU")  # the product that fan_out takes apart has no sum of its own
    assert after.count("pcbsa::column_sum") == sums
    assert after.count("pcbsa::sum_parts") == (name != "SwiGLU")
