"""Message passing between neighbouring points.

``N`` points, ``k`` neighbours a point, ``C`` channels, ``d`` space dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointcept_bsa.distributed.by_need import Requests
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.ops.mean_message import Senders, mean_message, plain_mean_message

Terms = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def mean_weights(index: Tensor, dtype: torch.dtype) -> Tensor:
    """What each neighbour counts in the mean of its point: (N, k), -1 for none -> (N, k, 1), zero for none."""
    there = (index >= 0).to(torch.promote_types(dtype, torch.float32))
    return (there / there.sum(1, keepdim=True).clamp(min=1)).unsqueeze(-1).to(dtype)


class MessagePassing(nn.Module):
    """One step of a message passing network (Gilmer et al. 2017; Zhdanov et al. 2025).

    m_ij = LayerNorm(GELU(W [h_j, h_i, x_j - x_i])), m_i = mean over the neighbours j of i,
    h_i' = h_i + LayerNorm(V [h_i, m_i]). A point without neighbours has m_i = 0.

    W acts on each of its three arguments apart, so that the two of C channels pass through it once a point and not
    once an edge.
    """

    def __init__(self, dim: int, dimensionality: int = 3):
        super().__init__()
        self.dim = dim
        self.message = Linear(2 * dim + dimensionality, dim)
        self.message_norm = nn.LayerNorm(dim)
        self.update = Linear(2 * dim, dim)
        self.update_norm = nn.LayerNorm(dim)

    def forward(
        self,
        h: Tensor,
        relative: Tensor,
        index: Tensor,
        weight: Tensor,
        senders: Senders | None = None,
        far: Requests | None = None,
    ) -> Tensor:
        """(N, C) features, (N, k, d) x_j - x_i, (N, k) neighbours j >= 0, (N, k, 1) their weights in the mean.

        ``senders``: see :func:`.mean_message`. ``far``: who in other processes sends, too; ``index`` counts them behind
        the own N.
        """
        terms = self.terms(h, h, relative)
        sender = terms[0]
        if far is not None:
            (sender,) = far.extended(sender)
        mean = mean_message(sender, *terms[1:], relative, index, weight, self.message_norm.eps, senders)
        return self.updated(h, mean)

    def receive(self, h: Tensor, others: Tensor, relative: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        """The same for points (N, C) that hear from ``others`` (M, C), whom ``index`` (N, k) names."""
        terms = self.terms(h, others, relative)
        return self.updated(h, plain_mean_message(*terms, relative, index, weight, self.message_norm.eps))

    def terms(self, h: Tensor, others: Tensor, relative: Tensor) -> Terms:
        """What of a message comes from who sends, who hears, and as parameters, for :func:`.mean_message`."""
        from_neighbor, to_self, from_position = self.message.weight.split([self.dim, self.dim, relative.shape[-1]], 1)
        sender, receiver = F.linear(others, from_neighbor), F.linear(h, to_self)
        return sender, receiver, from_position, self.message.own_bias, self.message_norm.weight, self.message_norm.bias

    def updated(self, h: Tensor, mean: Tensor) -> Tensor:
        """h + LayerNorm(V [h, mean])."""
        return h + self.update_norm(self.update(torch.cat([h, mean.to(h.dtype)], 1)))
