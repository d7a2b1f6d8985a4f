"""Backbones that encode anchors once and then predict at any points, from the anchors alone.

``N`` anchors, ``Q`` queries, ``d`` dimensions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.distributed.mesh import context_size
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.padding import VALID, CloudPadding
from pointcept_bsa.geometry.single_tree import SingleTree
from pointcept_bsa.host import Point
from pointcept_bsa.layers.anchored_stack import decode_stack
from pointcept_bsa.layers.anchors import Memory, TreeMemory
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.layers.point_embedding import LinearEmbedding, PointEmbedding
from pointcept_bsa.layers.transformer import BallTreeStack


class AnchoredBackbone(Backbone):
    """A backbone with a second way through its layers: queries, which attend to anchors.

    What becomes of a query depends on the anchors and on the query, on no other query. Anchors and queries are samples
    as ``forward`` takes them.
    """

    @abstractmethod
    def encode_anchors(self, point: Mapping[str, Any]) -> Memory:
        """Encode the anchors of each cloud; what the queries will need, layer by layer."""

    @abstractmethod
    def decode(self, memory: Memory, point: Mapping[str, Any]) -> Tensor:
        """Features (Q, out_channels) of queries; those of the first cloud attend to its anchors, and so on."""

    def check_anchors(self, point: Mapping[str, Any]) -> tuple[int, ...]:
        """Anchors of each cloud. Raises InputError for what :meth:`.check` refuses, and a padded batch."""
        if VALID in point:
            raise InputError("pad_clouds: got a padded batch of anchors, wanted pad_clouds=None")
        if context_size() > 1:
            raise InputError(f"context_parallel: got {context_size()} with anchors and queries, wanted 1")
        return self.check(point)

    def check_queries(self, memory: Memory, point: Mapping[str, Any]) -> tuple[int, ...]:
        """Queries of each cloud. Raises InputError for queries of other clouds than the anchors."""
        lengths = self.check(point)
        if len(lengths) != len(memory.lengths):
            raise InputError(f"offset: got queries of {len(lengths)} clouds, wanted {len(memory.lengths)} as anchors")
        return lengths


class AnchoredTree(AnchoredBackbone):
    """Such a backbone over one ball tree at full resolution: an embedding, blocks, a norm."""

    tree: SingleTree
    embedding: LinearEmbedding | PointEmbedding
    blocks: BallTreeStack
    norm: RMSNorm

    def static_geometry(self, coord: Tensor) -> dict[str, Tensor]:
        return {"tree_order": self.tree.order(coord)} | self.embedding.static_geometry(coord)

    def padding(self, unit: int) -> CloudPadding:
        return self.tree.padding(unit, type(self).__name__, self.embedding.wanted_neighbors)

    def encode(self, point: Point, lengths: tuple[int, ...], memory: TreeMemory | None = None) -> Tensor:
        """As every backbone; messages, tree, keys and values go to ``memory``."""
        tree = self.tree.build(point, lengths)
        x = self.embedding.in_tree(point, lengths, tree, None if memory is None else memory.embedded)
        if memory is not None:
            memory.remember(tree, self.tree.rotate, self.tree.plan(tree.layout.slots))
        return self.norm(tree.scatter(self.blocks(x, tree, memory, films=self.films(point, lengths))))

    def encode_anchors(self, point: Mapping[str, Any]) -> TreeMemory:
        memory = TreeMemory(self.check_anchors(point), point["offset"], point["coord"].detach())
        memory.feat = self.encode(Point(point), memory.lengths, memory)
        return memory

    def decode(self, memory: Memory, point: Mapping[str, Any]) -> Tensor:
        assert isinstance(memory, TreeMemory)
        lengths, queries = self.check_queries(memory, point), Point(point)
        x = self.embedding.embed_queries(queries, lengths, memory)
        positions = memory.positions(queries.coord, lengths)
        return self.norm(decode_stack(self.blocks, x, positions, memory, self.films(queries, lengths)))
