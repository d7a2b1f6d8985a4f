"""Launches of the gated sum kernels, as a custom operator of torch: ``pcbsa::gated_sum``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops.operator import operator

ELEMENTS = 2048  # of each branch in a program


def unsupported(branches: Sequence[Tensor], gate: Tensor) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if len(branches) != 3:
        return f"branches: got {len(branches)}, wanted 3"
    if branches[0].shape[1] * branches[0].shape[2] > 16 * ELEMENTS:
        return f"branches: got {tuple(branches[0].shape[1:])} heads and channels, wanted at most {16 * ELEMENTS} values"
    return None


def _constants(x: Tensor) -> tuple[int, dict[str, int]]:
    slots, heads, width = x.shape
    heads_up, dim = (1 << (n - 1).bit_length() for n in (heads, width))
    rows = max(1, ELEMENTS // (heads_up * dim))
    return -(-slots // rows), dict(HEADS=heads, HEADS_UP=heads_up, DIM=dim, WIDTH=width, ROWS=rows)


@operator("pcbsa::gated_sum")
def _forward(a: Tensor, b: Tensor, c: Tensor, gate: Tensor) -> Tensor:
    from .kernels import forward_kernel

    a, b, c = (t.contiguous() for t in (a, b, c))
    gate = gate if gate.stride(-1) == 1 else gate.contiguous()
    out = torch.empty_like(a, dtype=torch.promote_types(a.dtype, gate.dtype))
    grid, constants = _constants(a)
    with on_device_of(a):
        forward_kernel[(grid,)](a, b, c, gate, out, a.shape[0], gate.stride(0), **constants)
    return out


@_forward.register_fake
def _(a: Tensor, b: Tensor, c: Tensor, gate: Tensor) -> Tensor:
    return a.new_empty(a.shape, dtype=torch.promote_types(a.dtype, gate.dtype))


@operator("pcbsa::gated_sum_backward")
def _backward(grad: Tensor, a: Tensor, b: Tensor, c: Tensor, gate: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from .kernels import backward_kernel

    grad, a, b, c = (t.contiguous() for t in (grad, a, b, c))
    gate = gate if gate.stride(-1) == 1 else gate.contiguous()
    da, db, dc = (torch.empty_like(t) for t in (a, b, c))
    dgate = gate.new_empty(gate.shape)
    grid, constants = _constants(a)
    with on_device_of(a):
        backward_kernel[(grid,)](
            a, b, c, gate, grad, da, db, dc, dgate, a.shape[0], gate.stride(0), **constants
        )  # fmt: skip
    return da, db, dc, dgate


@_backward.register_fake
def _(grad: Tensor, a: Tensor, b: Tensor, c: Tensor, gate: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    da, db, dc = (t.new_empty(t.shape) for t in (a, b, c))
    return da, db, dc, gate.new_empty(gate.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    return _backward(grad, *ctx.saved_tensors)


_forward.register_autograd(_gradient, setup_context=_keep)


def gated_sum_triton(branches: Sequence[Tensor], gate: Tensor) -> Tensor:
    """As :func:`.reference.gated_sum` for three branches, in one pass over them."""
    out: Tensor = _forward(*branches, gate)
    return out
