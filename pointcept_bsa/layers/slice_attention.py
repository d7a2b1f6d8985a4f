"""Attention between slices: groups of points that the network itself puts together.

``N`` points, ``B`` clouds, ``H`` heads, ``D`` channels a head, ``G`` slices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pointcept_bsa.layers.attention import check_heads
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.ops.dense_attention import dense_attention

EPS = 1e-5  # added to the weight of a slice


def by_cloud(x: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """(N, ...) as (B, n, ...), the only entry, where all clouds have n points; else (1, n_i, ...) of each cloud."""
    if len(set(lengths)) == 1:
        return [x.unflatten(0, (len(lengths), lengths[0]))]
    return [part.unsqueeze(0) for part in x.split(list(lengths))]


def slice_tokens(f: Tensor, weights: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Mean of the points' values in each slice of their cloud: sum_n w_ng f_n / (sum_n w_ng + 1e-5).

    Args:
        f: (N, H, D).
        weights: (N, H, G), zero for points that do not count.
        lengths: points of each cloud.

    Returns:
        (B, G, H, D)
    """
    clouds = list(zip(by_cloud(weights, lengths), by_cloud(f, lengths), strict=True))
    total = torch.cat([torch.einsum("bnhg,bnhd->bghd", *cloud) for cloud in clouds])
    weight = torch.cat([w.sum(1).transpose(1, 2) for w, _ in clouds])
    return total / (weight + EPS).unsqueeze(-1)


def from_slices(tokens: Tensor, weights: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """What the slices have for each point: sum_g w_ng z_g. (B, G, H, D), (N, H, G) -> (N, H, D)."""
    clouds = by_cloud(weights, lengths)
    pairs = zip(clouds, tokens.split([len(w) for w in clouds]), strict=True)
    return torch.cat([torch.einsum("bnhg,bghd->bnhd", w, z).flatten(0, 1) for w, z in pairs])


class PhysicsAttention(nn.Module):
    """Physics-Attention on an irregular mesh (Wu et al. 2024, arXiv 2402.02366, eq. 1-4).

    w = softmax over slices of (W_s W_x x / tau_h);  z_g = sum_n w_ng W_f x_n / sum_n w_ng;
    z' = softmax(W_q z (W_k z)^T / sqrt(D)) W_v z;  y_n = projection(sum_g w_ng z'_g).

    W_s, W_q, W_k, W_v act on the channels of a head and are the same for every head; tau is one number a head, 1/2 at
    the start. Cost N G C instead of N^2 C.

    Args:
        dim: C.
        num_heads: H.
        num_slices: G.
    """

    def __init__(self, dim: int, num_heads: int, num_slices: int):
        super().__init__()
        check_heads(dim, num_heads)
        head_dim = dim // num_heads
        self.head = num_heads, head_dim
        self.assigned = Linear(dim, dim)
        self.value = Linear(dim, dim)
        self.slice = Linear(head_dim, num_slices)
        self.temperature = nn.Parameter(torch.full((num_heads,), 0.5))
        self.q = Linear(head_dim, head_dim, bias=False)
        self.k = Linear(head_dim, head_dim, bias=False)
        self.v = Linear(head_dim, head_dim, bias=False)
        self.projection = Linear(dim, dim)

    def forward(self, x: Tensor, lengths: tuple[int, ...], valid: Tensor | None = None) -> Tensor:
        """(N, C) -> (N, C). Points that are not ``valid`` (N,) belong to no slice."""
        weights = self.weights(x)
        if valid is not None:
            weights = weights * valid.view(-1, 1, 1)
        z = slice_tokens(self.value(x).unflatten(-1, self.head), weights, lengths)
        clouds, slices = z.shape[:2]
        z, every = z.flatten(0, 1), (slices,) * clouds
        z = dense_attention(self.q(z), self.k(z), self.v(z), every, every).unflatten(0, (clouds, slices))
        return self.projection(from_slices(z, weights, lengths).flatten(1))

    def weights(self, x: Tensor) -> Tensor:
        """How much of each point belongs to each slice, (N, H, G); the sum over slices is 1."""
        scores = self.slice(self.assigned(x).unflatten(-1, self.head))
        return (scores / self.temperature.unsqueeze(-1)).softmax(-1)
