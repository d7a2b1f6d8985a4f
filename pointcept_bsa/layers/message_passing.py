"""Message passing between neighbouring points: how Erwin embeds them before the first attention.

``N`` points, ``k`` neighbours a point, ``C`` channels, ``d`` space dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointcept_bsa.distributed.by_need import Requests
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.neighborhood import Neighborhood
from pointcept_bsa.geometry.part_tree import PartTree
from pointcept_bsa.layers.attention import check_counts
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.ops.mean_message import Senders, mean_message, plain_mean_message, senders_for_gradients

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


class PointEmbedding(nn.Module):
    """Linear map of the features, then ``mp_steps`` steps of message passing between neighbours.

    Neighbours are searched in ``coord``, or taken from ``neighbor_index`` (N, k) of the sample where it is there:
    computed once for a static geometry by :func:`.find_neighbors`, counted inside each cloud, -1 for none.

    Args:
        in_channels: channels of ``feat``.
        dim: C.
        mp_steps: number of steps; 0 for the linear map alone.
        edges, num_neighbors, radius: see :func:`.find_neighbors`.
        dimensionality: d.

    Raises:
        ValueError: arguments that do not fit each other. InputError: a ``neighbor_index`` that does not fit the clouds.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        mp_steps: int = 3,
        edges: str = "knn",
        num_neighbors: int = 16,
        radius: float | None = None,
        dimensionality: int = 3,
    ):
        super().__init__()
        check_counts(0, mp_steps=mp_steps)
        check_counts(num_neighbors=num_neighbors)
        self.neighborhood = Neighborhood(num_neighbors, edges, radius)
        self.linear = Linear(in_channels, dim)
        self.steps = nn.ModuleList(MessagePassing(dim, dimensionality) for _ in range(mp_steps))

    def forward(
        self, point: Mapping[str, Any], lengths: tuple[int, ...], embedded: list[Tensor] | None = None
    ) -> Tensor:
        """A sample with ``feat`` (N, in_channels) and ``coord`` (N, d) -> (N, C).

        ``embedded`` gets what the points send at each step, for :func:`.anchored_stack.embed_queries`.
        """
        x = self.linear(point["feat"]).to(point["feat"].dtype)  # under autocast the residual stays float32
        if not self.steps:
            return x
        return self.pass_messages(x, point["coord"].detach(), self.neighborhood.table(point, lengths), None, embedded)

    def in_tree(
        self, point: Mapping[str, Any], lengths: tuple[int, ...], tree: BallTree, embedded: list[Tensor] | None = None
    ) -> Tensor:
        """The same in the order of a tree over the points: (S, C).

        Where other processes have parts of the clouds, messages pass in this order: neighbours in space are
        mostly in the own part then. They are searched, ``neighbor_index`` is not used.
        """
        if not (self.steps and isinstance(tree, PartTree)):
            return tree.gather(self(point, lengths, embedded))
        x = tree.gather(self.linear(point["feat"]).to(point["feat"].dtype))
        near = self.neighborhood.of_part(tree)
        return near.points.put(self.pass_messages(near.points.take(x), near.coord, near.index, near.far))

    def pass_messages(
        self,
        x: Tensor,
        coord: Tensor,
        index: Tensor,
        far: Requests | None = None,
        embedded: list[Tensor] | None = None,
    ) -> Tensor:
        """The steps: (N, C) -> (N, C), with neighbours (N, k), -1 for none, among points at (N, d) and those of other
        processes behind them."""
        weight = mean_weights(index, x.dtype)
        senders = senders_for_gradients(index, x, len(coord))
        index = index.clamp(min=0)
        relative = coord.index_select(0, index.flatten()).unflatten(0, index.shape) - coord[: len(x)].unsqueeze(1)
        for step in self.steps:
            if embedded is not None:
                embedded.append(x)
            x = step(x, relative, index, weight, senders, far)
        return x

    def static_geometry(self, coord: Tensor) -> dict[str, Tensor]:
        """``neighbor_index`` of one cloud (N, d), where neighbours are searched."""
        return self.neighborhood.of_one_cloud(coord) if self.steps else {}

    @property
    def wanted_neighbors(self) -> dict[str, Any] | None:
        """Arguments of :func:`.find_neighbors`; None without message passing."""
        return self.neighborhood.arguments if self.steps else None
