"""Launches of the kernels that average messages, as a custom operator of torch: ``pcbsa::mean_message``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops.operator import operator

ELEMENTS = 2048  # of the messages that a program holds at a time, unless those of one point are more
MAX_ELEMENTS = 8192
MAX_SPACE = 6
PROGRAMS = 1024  # of the backward pass, at most
SENDERS = 16  # points whose edges a program adds up


def unsupported(sender: Tensor, index: Tensor, relative: Tensor) -> str | None:
    """What the kernels cannot do of a call, or None."""
    if relative.shape[-1] > MAX_SPACE:
        return f"relative: got {relative.shape[-1]} coordinates, wanted at most {MAX_SPACE}"
    if relative.requires_grad:
        return "relative: wants a gradient"
    constants = _constants(sender, index, relative)
    if constants["K_UP"] * constants["COLUMNS"] > MAX_ELEMENTS:
        return f"index: got {index.shape[1]} neighbours of {sender.shape[1]} channels, wanted at most {MAX_ELEMENTS}"
    return None


def _constants(sender: Tensor, index: Tensor, relative: Tensor) -> dict[str, int]:
    channels, k = sender.shape[1], index.shape[1]
    columns, k_up = (max(2, 1 << (size - 1).bit_length()) for size in (channels, k))
    points = max(1, ELEMENTS // (columns * k_up))
    return dict(C=channels, COLUMNS=columns, SPACE=relative.shape[-1], K=k, K_UP=k_up, POINTS=points)


def _warps(constants: dict[str, int]) -> int:
    return min(8, max(4, constants["POINTS"] * constants["K_UP"] * constants["COLUMNS"] // 512))


@operator("pcbsa::mean_message")
def _forward(
    sender: Tensor,
    receiver: Tensor,
    matrix: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
    relative: Tensor,
    index: Tensor,
    weight: Tensor,
    order: Tensor | None,
    starts: Tensor | None,
    eps: float,
    dtype: torch.dtype,
) -> Tensor:
    from . import kernels

    sender, receiver, matrix = sender.contiguous(), receiver.contiguous(), matrix.contiguous()
    out = torch.empty(receiver.shape, dtype=dtype, device=sender.device)
    constants = _constants(sender, index, relative)
    with on_device_of(sender):
        kernels._messages[(-(-len(receiver) // constants["POINTS"]),)](
            sender, receiver, relative.contiguous(), index.contiguous(), weight.contiguous(), matrix, bias, gamma, beta,
            out, len(receiver), eps, num_warps=_warps(constants), **constants,
        )  # fmt: skip
    return out


@_forward.register_fake
def _(
    sender: Tensor,
    receiver: Tensor,
    matrix: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
    relative: Tensor,
    index: Tensor,
    weight: Tensor,
    order: Tensor | None,
    starts: Tensor | None,
    eps: float,
    dtype: torch.dtype,
) -> Tensor:
    return torch.empty(receiver.shape, dtype=dtype, device=sender.device)


@operator("pcbsa::mean_message_backward")
def _backward(
    grad: Tensor,
    sender: Tensor,
    receiver: Tensor,
    matrix: Tensor,
    bias: Tensor,
    gamma: Tensor,
    relative: Tensor,
    index: Tensor,
    weight: Tensor,
    order: Tensor,
    starts: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``sender`` and ``receiver``; (d + 3, C) those of the matrix's columns, the bias, the norm's two."""
    from . import kernels

    sender, receiver, matrix, grad = (t.contiguous() for t in (sender, receiver, matrix, grad))
    constants = _constants(sender, index, relative)
    tiles = -(-len(receiver) // constants["POINTS"])
    parts = -(-tiles // PROGRAMS)
    programs = -(-tiles // parts)
    of_edges = sender.new_empty((*index.shape, sender.shape[1]))
    d_sender, d_receiver = torch.empty_like(sender), torch.empty_like(receiver)
    rows = constants["SPACE"] + 3
    sums = torch.empty(programs, rows, sender.shape[1], dtype=torch.float32, device=sender.device)
    with on_device_of(sender):
        kernels._message_gradients[(programs,)](
            sender, receiver, relative.contiguous(), index.contiguous(), weight.contiguous(), matrix, bias, gamma, grad,
            of_edges, d_receiver, sums, len(receiver), eps,
            PARTS=parts, ROWS=rows, num_warps=_warps(constants), **constants,
        )  # fmt: skip
        kernels._sum_at_senders[(-(-len(sender) // SENDERS),)](
            of_edges, order, starts, d_sender, len(sender),
            C=constants["C"], COLUMNS=constants["COLUMNS"], SENDERS=SENDERS,
        )  # fmt: skip
    return d_sender, d_receiver, sums.sum(0)


@_backward.register_fake
def _(
    grad: Tensor,
    sender: Tensor,
    receiver: Tensor,
    matrix: Tensor,
    bias: Tensor,
    gamma: Tensor,
    relative: Tensor,
    index: Tensor,
    weight: Tensor,
    order: Tensor,
    starts: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    sums = sender.new_empty((relative.shape[-1] + 3, sender.shape[1]), dtype=torch.float32)
    return torch.empty_like(sender), torch.empty_like(receiver), sums


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    sender, receiver, matrix, bias, gamma, beta, relative, index, weight, order, starts, eps, _ = inputs
    ctx.save_for_backward(sender, receiver, matrix, bias, gamma, relative, index, weight, order, starts)
    ctx.eps, ctx.beta_dtype = eps, beta.dtype


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    matrix, bias, gamma, relative = ctx.saved_tensors[2:6]
    d_sender, d_receiver, sums = _backward(grad, *ctx.saved_tensors, ctx.eps)
    d_matrix, (d_bias, d_gamma, d_beta) = sums[: relative.shape[-1]].t(), sums[relative.shape[-1] :]
    types = matrix.dtype, bias.dtype, gamma.dtype, ctx.beta_dtype
    of_parameters = (d.to(dtype) for d, dtype in zip((d_matrix, d_bias, d_gamma, d_beta), types, strict=True))
    return d_sender, d_receiver, *of_parameters, *[None] * 7


_forward.register_autograd(_gradient, setup_context=_keep)


def mean_message_triton(
    sender: Tensor,
    receiver: Tensor,
    matrix: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
    relative: Tensor,
    index: Tensor,
    weight: Tensor,
    senders: tuple[Tensor, Tensor] | None,
    eps: float,
    dtype: torch.dtype,
) -> Tensor:
    """As :func:`.mean_message`."""
    order, starts = senders if senders is not None else (None, None)
    out: Tensor = _forward(
        sender, receiver, matrix, bias, gamma, beta, relative, index, weight, order, starts, eps, dtype
    )
    return out
