"""What stands before the blocks: a linear map of the features, and message passing as in Erwin where it is wanted.

``N`` points, ``Q`` queries, ``k`` neighbours a point, ``C`` channels, ``d`` space dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pointcept_bsa.distributed.by_need import Requests
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.neighborhood import Neighborhood
from pointcept_bsa.geometry.neighbors import find_among
from pointcept_bsa.geometry.part_tree import PartTree
from pointcept_bsa.layers.anchors import Memory
from pointcept_bsa.layers.attention import check_counts
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.message_passing import MessagePassing, mean_weights
from pointcept_bsa.ops.mean_message import senders_for_gradients


class LinearEmbedding(Linear):
    """Linear map of the features, with what a network asks of a :class:`PointEmbedding`: no point hears of another."""

    wanted_neighbors = None

    def embed(self, point: Mapping[str, Any]) -> Tensor:
        """A sample with ``feat`` (N, in_channels) -> (N, C)."""
        return self(point["feat"]).to(point["feat"].dtype)  # under autocast the residual stays float32

    def in_tree(
        self, point: Mapping[str, Any], lengths: tuple[int, ...], tree: BallTree, embedded: list[Tensor] | None = None
    ) -> Tensor:
        """The same in the order of a tree over the points: (S, C)."""
        return tree.gather(self.embed(point))

    def embed_queries(self, point: Mapping[str, Any], lengths: tuple[int, ...], memory: Memory) -> Tensor:
        """Queries as any points: (Q, C)."""
        return self.embed(point)

    def static_geometry(self, coord: Tensor) -> dict[str, Tensor]:
        """Nothing."""
        return {}


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
        self.linear = LinearEmbedding(in_channels, dim)
        self.steps = nn.ModuleList(MessagePassing(dim, dimensionality) for _ in range(mp_steps))

    def forward(
        self, point: Mapping[str, Any], lengths: tuple[int, ...], embedded: list[Tensor] | None = None
    ) -> Tensor:
        """A sample with ``feat`` (N, in_channels) and ``coord`` (N, d) -> (N, C).

        ``embedded`` gets what the points send at each step, for :meth:`embed_queries`.
        """
        x = self.linear.embed(point)
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
        x = self.linear.in_tree(point, lengths, tree)
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

    def embed_queries(self, point: Mapping[str, Any], lengths: tuple[int, ...], memory: Memory) -> Tensor:
        """Message passing from the nearest anchors to queries with ``feat`` (Q, in_channels), ``coord`` (Q, d): (Q, C).

        Raises:
            InputError: a memory in which nobody has noted what the anchors send at each step.
        """
        x = self.linear.embed(point)
        if not self.steps:
            return x
        if not memory.embedded:
            raise InputError("anchors: the network remembers no messages of them, wanted those of encode_anchors")
        coord = point["coord"].detach()
        index = find_among(coord, lengths, memory.coord, memory.lengths, **self.neighborhood.arguments)
        weight, index = mean_weights(index, x.dtype), index.clamp(min=0)
        relative = memory.coord[index] - coord.unsqueeze(1)
        for step, sender in zip(self.steps, memory.embedded, strict=True):
            assert isinstance(step, MessagePassing)
            x = step.receive(x, sender, relative, index, weight)
        return x

    def static_geometry(self, coord: Tensor) -> dict[str, Tensor]:
        """``neighbor_index`` of one cloud (N, d), where neighbours are searched."""
        return self.neighborhood.of_one_cloud(coord) if self.steps else {}

    @property
    def wanted_neighbors(self) -> dict[str, Any] | None:
        """Arguments of :func:`.find_neighbors`; None without message passing."""
        return self.neighborhood.arguments if self.steps else None
