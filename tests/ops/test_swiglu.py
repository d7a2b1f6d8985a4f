"""The kernels of SwiGLU against plain torch."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pointcept_bsa.layers.fused.switch import switched
from pointcept_bsa.layers.transformer import SwiGLU
from pointcept_bsa.ops import swiglu
from pointcept_bsa.ops.swiglu import reference

from .comparison import DTYPES, compare
from .interpreter import DEVICE, kernel_test, run_in_interpreter


def test_in_the_interpreter():
    run_in_interpreter(__file__)


@kernel_test
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.itemsize == 2], ids=str)
@pytest.mark.parametrize("biases", [None, torch.float32], ids=str)
@pytest.mark.parametrize(
    "rows, channels, units", [(1, 16, 32), (77, 24, 90), (300, 64, 256)] + [(70001, 64, 256)] * (DEVICE == "cuda")
)
def test_swiglu(rows, channels, units, biases, dtype, monkeypatch):
    monkeypatch.setattr(swiglu.triton_backend, "PROGRAMS", 2)  # so few that each does several tiles
    shapes = (units, channels), (units,), (units, channels), (units,), (channels, units), (channels,)
    weights = [torch.randn(s, device=DEVICE) / (s[1] ** 0.5 if len(s) > 1 else 1) for s in shapes]
    of_biases = biases or dtype

    def kernel(x, *given):
        assert swiglu.fits(x, given[4])
        return swiglu.swiglu(x, [t.to(of_biases) if t.dim() == 1 else t for t in given])

    compare(
        kernel,
        lambda x, *given: reference.swiglu(x, given),
        (torch.randn(rows, channels, device=DEVICE), *weights),
        dtype,
    )


@kernel_test
def test_a_swiglu_has_the_type_of_its_products():
    layer, half = SwiGLU(16, 48).to(DEVICE), torch.randn(9, 16, device=DEVICE, dtype=torch.float16)
    with switched(True):
        with torch.autocast(DEVICE, torch.bfloat16):
            assert layer(half).dtype == layer(half.bfloat16()).dtype == torch.bfloat16
        with pytest.raises(RuntimeError, match="dtype"):
            layer(half)  # weights of float32, and no autocast


@kernel_test
def test_gradients_of_biases_of_a_swiglu_come_in_their_own_type():
    x = torch.randn(40, 16, device=DEVICE, dtype=torch.bfloat16)
    matrices = [torch.randn(s, device=DEVICE).to(x.dtype).requires_grad_() for s in ((32, 16), (32, 16), (16, 32))]
    biases = [torch.randn(n, device=DEVICE).requires_grad_() for n in (32, 32, 16)]
    given = [t for pair in zip(matrices, biases, strict=True) for t in pair]
    grads = torch.autograd.grad(swiglu.swiglu(x, given).float().square().sum(), given)
    assert [g.dtype for g in grads] == [torch.bfloat16, torch.float32] * 3


@kernel_test
def test_flops_of_a_swiglu_are_those_of_its_products():
    shapes = (48, 16), (48,), (48, 16), (48,), (16, 48), (16,)
    counts = []
    for function in (swiglu.swiglu, reference.swiglu):
        x = torch.randn(9, 16, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
        weights = [torch.randn(s, device=DEVICE, dtype=x.dtype, requires_grad=True) for s in shapes]
        with FlopCounterMode(display=False) as counter:
            out = function(x, weights)
            forward = counter.get_total_flops()
            out.sum().backward()
        counts.append((forward, counter.get_total_flops()))
    assert counts[0] == counts[1] == (2 * 9 * 3 * 48 * 16, 3 * 2 * 9 * 3 * 48 * 16)


@kernel_test
def test_the_operator_is_well_registered():
    units = [torch.randn(s, device=DEVICE) for s in ((48, 16), (48,), (48, 16), (48,), (16, 48), (16,))]
    units = [t.to(torch.bfloat16 if t.dim() > 1 else t.dtype).requires_grad_() for t in units]
    rows = torch.randn(9, 16, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
    torch.library.opcheck(torch.ops.pcbsa.swiglu.default, (rows, units))
