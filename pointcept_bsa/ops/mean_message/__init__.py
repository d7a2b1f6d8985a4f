"""What a point hears on average from its neighbours.

``N`` points, ``M`` that send (the same ones, or some more behind them), ``k`` neighbours a point, ``C`` channels, ``d``
space dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

if triton_installed():
    from . import triton_backend

Senders = tuple[Tensor, Tensor]


def edges_of_senders(index: Tensor, points: int | None = None) -> Senders:
    """The edges sorted by the point that sends along them, for gradients.

    Args:
        index: (N, k) neighbours, -1 for none.
        points: M; None for N.

    Returns:
        (N k) edges, those of a point in their order, edges to nobody last; (M + 1) where each point's begin.
    """
    flat, points = index.flatten(), len(index) if points is None else points
    sender, order = flat.where(flat >= 0, points).int().sort(stable=True)
    starts = torch.searchsorted(sender, torch.arange(points + 1, device=index.device, dtype=torch.int32))
    return order, starts


def senders_for_gradients(index: Tensor, x: Tensor, points: int) -> Senders | None:
    """:func:`edges_of_senders` for features x, where the kernels run and there are gradients; else None."""
    return edges_of_senders(index, points) if torch.is_grad_enabled() and use_triton("mean_message", x) else None


def mean_message(
    sender: Tensor,
    receiver: Tensor,
    matrix: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
    relative: Tensor,
    index: Tensor,
    weight: Tensor,
    eps: float,
    senders: Senders | None = None,
) -> Tensor:
    """sum_j w_ij (gamma LayerNorm(GELU(sent_j + heard_i + matrix (x_j - x_i) + bias)) + beta).

    Args:
        sender: (M, C).
        receiver: (N, C).
        matrix: (C, d).
        bias: (C,); the messages' gradients, whose sum is its own, cancel: the kernels add them up in float32.
        gamma, beta: (C,).
        relative: (N, k, d) x_j - x_i, without a gradient.
        index: (N, k) neighbours j >= 0 among those that send.
        weight: (N, k, 1), without a gradient; 0 where there is no neighbour.
        eps: added to the variance.
        senders: :func:`edges_of_senders` of neighbours and -1 where there are none; without it the kernels, which
            need it for gradients, are not used where there are any.

    Returns:
        (N, C); by the kernels in the type of ``weight``, else as torch's normalisation gives it.
    """
    why_not = triton_backend.unsupported(sender, index, relative) if triton_installed() else None
    if senders is None and torch.is_grad_enabled():
        why_not = why_not or "senders: got None, wanted them for gradients"
    if use_triton("mean_message", sender, receiver, matrix, bias, gamma, weight, unsupported=why_not):
        return triton_backend.mean_message_triton(
            sender, receiver, matrix, bias, gamma, beta, relative, index, weight, senders, eps, weight.dtype
        )
    return plain_mean_message(
        sender,
        receiver,
        matrix=matrix,
        bias=bias,
        gamma=gamma,
        beta=beta,
        relative=relative,
        index=index,
        weight=weight,
        eps=eps,
    )


def plain_mean_message(
    sender: Tensor,
    receiver: Tensor,
    matrix: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
    relative: Tensor,
    index: Tensor,
    weight: Tensor,
    eps: float,
) -> Tensor:
    """:func:`mean_message` in plain torch."""
    of_neighbors = sender.index_select(0, index.flatten()).unflatten(0, index.shape)  # (N, k, C)
    before = of_neighbors + receiver.unsqueeze(1) + F.linear(relative, matrix, bias)
    return (F.layer_norm(F.gelu(before), gamma.shape, gamma, beta, eps) * weight).sum(1)
