"""Dense attention of narrow heads against torch's."""

from __future__ import annotations

import re
import struct
from itertools import count

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from pointcept_bsa.dispatch import triton_installed
from pointcept_bsa.ops.dense_attention import dense_attention

from .interpreter import DEVICE, INTERPRETED, kernel_test, run_in_interpreter

if not triton_installed():
    pytest.skip("triton is not installed", allow_module_level=True)

from pointcept_bsa.ops.dense_attention import backend, narrow
from pointcept_bsa.ops.dense_attention.narrow_exp import SIZE, exponential

TOLERANCE = {torch.float16: (2e-3, 4e-3), torch.bfloat16: (1e-2, 2e-2)}  # of outputs, of gradients


def test_in_the_interpreter():
    run_in_interpreter(__file__)


def error(a, b):
    return ((a.float() - b.float()).norm() / b.float().norm().clamp(min=1e-20)).item()


def inputs(clouds, queries, keys, heads, width, dtype, scale=1.0):
    """q, k, v (B, H, N, D) as strided views, in ``dtype``; a probe for the gradients."""
    generator = torch.Generator().manual_seed(queries + keys + width)

    def normal(*shape):
        return torch.randn(*shape, generator=generator).to(DEVICE, dtype)

    q = scale * normal(clouds, queries, 3, heads, width)
    kv = normal(clouds, keys, 2, heads, width)
    leaves = (q[:, :, 1], scale * kv[:, :, 0], kv[:, :, 1])
    return [t.transpose(1, 2).detach().requires_grad_() for t in leaves], normal(clouds, heads, queries, width)


def compare(clouds, queries, keys, heads, width, dtype, *, scale=1.0, valid=None):
    leaves, probe = inputs(clouds, queries, keys, heads, width, dtype, scale)
    out = narrow.narrow_attention(*leaves, valid)
    assert out.dtype == dtype and out.transpose(1, 2).is_contiguous()
    grads = torch.autograd.grad(out, leaves, probe)
    exact = [t.detach().double().requires_grad_() for t in leaves]
    mask = None if valid is None else valid.view(clouds, 1, 1, keys)
    wanted = F.scaled_dot_product_attention(*exact, attn_mask=mask)
    wanted_grads = torch.autograd.grad(wanted, exact, probe.double())
    assert error(out, wanted) < TOLERANCE[dtype][0]
    for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
        assert torch.isfinite(grad).all()
        if keys > 1 or wanted_grad.norm() > 1e-9:  # one key: the gradients of the logits are zero
            assert error(grad, wanted_grad) < TOLERANCE[dtype][1]
    return out, grads


SIZES = [(1, 257, 33, 1, 8), (2, 65, 70, 1, 4), (1, 40, 200, 1, 16), (1, 7, 33, 2, 12), (1, 33, 20, 1, 32)]
LONG = [
    (1, 4096, 512, 8, 8),
    (3, 5000, 777, 8, 8),
    (1, 3000, 3000, 4, 16),
    (2, 999, 1000, 2, 32),
    (1, 2000, 3000, 3, 4),
]


@kernel_test
@pytest.mark.parametrize("sizes", SIZES + LONG * (DEVICE == "cuda"), ids=str)
def test_narrow_attention(sizes):
    compare(*sizes, torch.bfloat16)


@kernel_test
@pytest.mark.parametrize("sizes", SIZES[1:2] + (SIZES + LONG) * (DEVICE == "cuda"), ids=str)
def test_float16(sizes):
    compare(*sizes, torch.float16)


@kernel_test
def test_gradients_in_parts(monkeypatch):
    """Several chunks of queries, several tiles of keys."""
    monkeypatch.setattr(narrow, "SHORTEST", 1)
    compare(1, 300, 150, 1, 8, torch.bfloat16)


@kernel_test
def test_one_query_and_one_key():
    with FlopCounterMode(display=False) as counter:
        compare(1, 1, 33, 2, 8, torch.bfloat16)
    counts = counter.get_flop_counts()["Global"]
    assert counts[torch.ops.pcbsa.narrow_attention] == 4 * 33 * 2 * 8
    assert counts[torch.ops.pcbsa.narrow_attention_backward] == 10 * 33 * 2 * 8
    (q, k, v), _ = inputs(1, 5, 1, 2, 8, torch.bfloat16)
    assert torch.equal(narrow.narrow_attention(q, k, v), v.expand_as(q))


@kernel_test
def test_masked_keys_count_for_nothing(monkeypatch):
    valid = torch.rand(2, 70, generator=torch.Generator().manual_seed(1)) < 0.5
    valid[0, -20:] = False
    valid = valid.to(DEVICE)
    sizes = (2, 50, 70, 1, 8, torch.bfloat16)
    out, (dq, dk, dv) = compare(*sizes, valid=valid)
    hidden = ~valid.view(2, 1, 70, 1)
    assert not (dk * hidden).any() and not (dv * hidden).any()
    (q, k, v), probe = inputs(*sizes)
    k, v = (t.detach().masked_fill(hidden, torch.nan).requires_grad_() for t in (k, v))
    again = narrow.narrow_attention(q, k, v, valid)
    assert torch.equal(again, out)
    for a, b in zip(torch.autograd.grad(again, (q, k, v), probe), (dq, dk, dv), strict=True):
        assert torch.equal(a, b)
    monkeypatch.setattr(narrow, "LIMIT", 1e-6)  # the loop with the running maximum
    assert error(narrow.narrow_attention(q, k, v, valid), out) < 5e-3


@kernel_test
@pytest.mark.parametrize("scale", [3.0, 30.0])  # logits up to about 30 and 3000
def test_large_logits(scale):
    leaves, probe = inputs(1, 70, 100, 1, 8, torch.bfloat16, scale)
    leaves[1] = (leaves[1] * torch.linspace(0, 1, 100, device=DEVICE, dtype=leaves[1].dtype)[:, None]).detach()
    leaves[1].requires_grad_()
    out = narrow.narrow_attention(*leaves)
    grads = torch.autograd.grad(out, leaves, probe)
    wanted = F.scaled_dot_product_attention(*(t.detach().double() for t in leaves))
    assert error(out, wanted) < TOLERANCE[torch.bfloat16][0]
    assert all(torch.isfinite(grad).all() for grad in grads)
    far = [leaves[0].detach() - 300, leaves[1].detach() + 300, leaves[2].detach()]  # all logits far below zero
    wanted = F.scaled_dot_product_attention(*(t.double() for t in far))
    assert error(narrow.narrow_attention(*far), wanted) < TOLERANCE[torch.bfloat16][0]


@kernel_test
def test_chosen_by_name(monkeypatch, launches):
    monkeypatch.setenv("PCBSA_SDPA", "narrow")
    q, k, v = (torch.randn(n, 4, 8, device=DEVICE, dtype=torch.bfloat16) for n in (60, 20, 20))
    valid = torch.arange(20, device=DEVICE) % 10 < 7
    with launches() as seen:
        whole = dense_attention(q, k, v, (30, 30), (10, 10), key_valid=valid)
    assert seen.names.count("pcbsa::narrow_attention") == 1
    assert not any("scaled_dot_product" in name for name in seen.names)
    single = [dense_attention(q[30:], k[10:], v[10:], (30,), (10,), key_valid=valid[10:])]
    assert torch.equal(whole[30:], single[0])
    ragged = dense_attention(q, k, v, (40, 20), (12, 8), key_valid=valid)
    assert ragged.shape == q.shape


@kernel_test
def test_it_is_taken_where_it_is_the_fastest():
    q, k = (torch.randn(1, 2, n, 8, device=DEVICE, dtype=torch.bfloat16) for n in (8, 4))
    for sign in (1, -1):
        times = count()

        def timer(call, sign=sign, times=times):
            call()
            return sign * next(times)

        found = backend.measured_fastest(q, k, k, None, backward=True, timer=timer)  # which tries it last
        assert found == "narrow" if sign < 0 else found in backend.BACKENDS


@kernel_test
def test_what_it_does_not_take_is_said(monkeypatch):
    def why_not(*shape, dtype=torch.bfloat16):
        return narrow.unsupported(*(torch.empty(shape, dtype=dtype, device=DEVICE) for _ in range(3)))

    assert why_not(2, 8, 10, 32) is None and why_not(2, 8, 10, 4, dtype=torch.float16) is None
    assert "float32" in why_not(1, 2, 10, 8, dtype=torch.float32)
    with torch.autocast(DEVICE, torch.bfloat16):
        assert why_not(1, 2, 10, 8, dtype=torch.float32) is None
    assert "at most 32" in why_not(1, 2, 10, 33)
    assert "65535" in why_not(10000, 8, 1, 8)
    assert "no queries" in why_not(1, 2, 0, 8)
    monkeypatch.setenv("PCBSA_OPS", "reference")
    assert "plain torch" in why_not(1, 2, 10, 8)


@kernel_test
@pytest.mark.skipif(INTERPRETED, reason="compiles")
def test_under_compile_and_in_a_graph():
    leaves, probe = inputs(1, 600, 300, 2, 8, torch.bfloat16)
    wanted = torch.autograd.grad(narrow.narrow_attention(*leaves), leaves, probe)
    compiled = torch.compile(narrow.narrow_attention, fullgraph=True)
    got = torch.autograd.grad(compiled(*leaves), leaves, probe)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = narrow.narrow_attention(*leaves)
    graph.replay()
    assert torch.equal(out, narrow.narrow_attention(*leaves))


@pytest.mark.parametrize("share", range(9))
def test_exponential_computes_powers_of_two(share):
    """The PTX, read instruction by instruction: as many polynomials as asked for, each within 1e-4."""
    code = exponential(0.51, share, False)
    assert code.count("shl.b32") == share and code.count("ex2.approx") == SIZE - share
    assert {f"${i}" for i in range(16)} == set(re.findall(r"\$\d+", code))
    x = torch.linspace(-240, 10, 4001)
    for out, value in run_ptx(code, x).items():
        assert ((value / torch.exp2((x * 0.51).double().clamp(min=-126)) - 1).abs() < 1e-4).all(), out


def run_ptx(code, x):
    """What the instructions that ``exponential`` uses leave in $0 .. $7, all operands being x (float32)."""
    values = {f"${i}": x.clone() for i in range(8, 16)}

    def get(name):
        if name.startswith("0f"):
            return torch.tensor(struct.unpack(">f", bytes.fromhex(name[2:]))[0])
        return torch.tensor(int(name)) if name.isdigit() else values[name]

    def bits(t):
        return t.view(torch.int32) if t.dtype == torch.float32 else t

    for line in code.split("\n")[3:-1]:
        name, rest = line.rstrip(";").split(" ", 1)
        out, *names = rest.split(", ")
        a = [get(n) for n in names]
        values[out] = {
            "mul.f32": lambda a: a[0] * a[1],
            "sub.f32": lambda a: a[0] - a[1],
            "neg.f32": lambda a: -a[0],
            "max.f32": lambda a: torch.maximum(a[0], a[1]),
            "fma.rn.f32": lambda a: (a[0].double() * a[1].double() + a[2].double()).float(),
            "ex2.approx.ftz.f32": lambda a: torch.exp2(a[0].clamp(min=-126)),
            "mov.b32": lambda a: bits(a[0]),
            "shl.b32": lambda a: bits(a[0]) << a[1],
            "add.s32": lambda a: bits(a[0]) + bits(a[1]),
        }[name](a)
    return {f"${i}": values[f"${i}"].view(torch.float32).double() for i in range(8)}
