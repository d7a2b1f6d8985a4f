"""Launches of the RMSNorm kernels, as a custom operator of torch: ``pcbsa::rms_norm``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of

MAX_CHANNELS = 8192
ELEMENTS = 4096  # of x that a program holds at a time
PROGRAMS = 1024  # of the backward pass, at most


def unsupported(x: Tensor) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if x.shape[-1] > MAX_CHANNELS:
        return f"x: got {x.shape[-1]} channels, wanted at most {MAX_CHANNELS}"
    return None


def _constants(channels: int) -> dict[str, int]:
    columns = 1 << (channels - 1).bit_length()
    return dict(C=channels, COLUMNS=columns, ROWS=max(1, ELEMENTS // columns))


@torch.library.custom_op("pcbsa::rms_norm", mutates_args=())
def _forward(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    from .kernels import forward_kernel

    x = x.contiguous()
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    rows = x.numel() // x.shape[-1]
    scale = torch.empty(rows, dtype=torch.float32, device=x.device)
    constants = _constants(x.shape[-1])
    with on_device_of(x):
        forward_kernel[(-(-rows // constants["ROWS"]),)](x, weight, out, scale, rows, eps, **constants)
    return out, scale


@_forward.register_fake
def _(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    scale = x.new_empty(x.numel() // x.shape[-1], dtype=torch.float32)
    return torch.empty(x.shape, dtype=dtype, device=x.device), scale


@torch.library.custom_op("pcbsa::rms_norm_backward", mutates_args=())
def _backward(grad: Tensor, x: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    from .kernels import backward_kernel

    x, grad = x.contiguous(), grad.contiguous()
    dx = torch.empty_like(x)
    constants = _constants(x.shape[-1])
    tiles = -(-scale.shape[0] // constants["ROWS"])
    parts = -(-tiles // PROGRAMS)
    programs = -(-tiles // parts)
    dweight = torch.empty(programs, x.shape[-1], dtype=torch.float32, device=x.device)
    with on_device_of(x):
        backward_kernel[(programs,)](
            x, weight, scale, grad, dx, dweight, scale.shape[0], PARTS=parts, **constants
        )  # fmt: skip
    return dx, dweight.sum(0).to(weight.dtype)


@_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device), torch.empty_like(weight)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], output[1])


def _gradient(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return (*_backward(grad, *ctx.saved_tensors), None, None)


_forward.register_autograd(_gradient, setup_context=_keep)


def rms_norm_triton(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As :func:`.reference.rms_norm`; under autocast the result has the type of the matrix product that follows."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    out: Tensor = _forward(x, weight, eps, dtype)[0]
    return out
