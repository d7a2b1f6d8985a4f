"""What supernodes hear from the points around them, by message passing along a bipartite graph.

``N`` points, ``S`` supernodes, ``k`` neighbours, ``C`` channels, ``d`` space dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.message_passing import mean_weights
from pointcept_bsa.layers.sinusoidal import SinusoidalEmbedding


class SupernodePooling(nn.Module):
    """Mean over the points j around supernode i of MLP([h_j, h_i]) (UPT, Alkin et al. 2024).

    The MLP has three layers, 2C, C and C wide. The first acts on h_j and h_i apart, so once a point and not once an
    edge; the last on the mean, which is the same.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.first = Linear(2 * dim, 2 * dim)
        self.second = Linear(2 * dim, dim)
        self.last = Linear(dim, dim)

    def forward(self, h: Tensor, supernodes: Tensor, index: Tensor) -> Tensor:
        """(N, C) features, (S,) which points are supernodes, (S, k) their neighbours, -1 for none -> (S, C)."""
        from_point, to_supernode = self.first.weight.split(self.dim, 1)
        sender = F.linear(h, from_point)
        receiver = F.linear(h.index_select(0, supernodes), to_supernode, self.first.bias)
        messages = F.gelu(self.second(F.gelu(gather_rows(sender, index) + receiver.unsqueeze(1))))
        return self.last(mean_of_neighbors(messages, index))


class GeometryPooling(nn.Module):
    """W [mean_j MLP(phi([x_i - x_j, |x_i - x_j|])), phi(x_i)], of positions alone (AB-UPT, Alkin et al. 2025).

    phi: :class:`.SinusoidalEmbedding` of ``scale``; the MLP has two layers of C channels, the last acts on the mean.
    """

    def __init__(self, dim: int, dimensionality: int, scale: float):
        super().__init__()
        self.relative = SinusoidalEmbedding(dim, dimensionality + 1, scale)
        self.absolute = SinusoidalEmbedding(dim, dimensionality, scale)
        self.first = Linear(dim, dim)
        self.last = Linear(dim, dim)
        self.projection = Linear(2 * dim, dim)

    def forward(self, coord: Tensor, supernodes: Tensor, index: Tensor) -> Tensor:
        """(N, d) positions, (S,) which points are supernodes, (S, k) their neighbours, -1 for none -> (S, C)."""
        at = coord.index_select(0, supernodes)
        relative = at.unsqueeze(1) - gather_rows(coord, index)
        distance = torch.linalg.vector_norm(relative, dim=-1, keepdim=True)
        messages = F.gelu(self.first(self.relative(torch.cat([relative, distance], -1))))
        pooled = self.last(mean_of_neighbors(messages, index))
        return self.projection(torch.cat([pooled, self.absolute(at).to(pooled.dtype)], -1))


def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """(N, C) and (S, k) -> (S, k, C), some row where the index is -1."""
    return x.index_select(0, index.clamp(min=0).flatten()).unflatten(0, index.shape)


def mean_of_neighbors(messages: Tensor, index: Tensor) -> Tensor:
    """(S, k, C) -> (S, C), over those whose index (S, k) is not -1; zero where there are none."""
    return (messages * mean_weights(index, messages.dtype)).sum(1)
