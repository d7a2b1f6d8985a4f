"""The one ball tree of a network that stays at full resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pointcept_bsa.distributed.mesh import context_group
from pointcept_bsa.geometry.ball_tree import BallTree, tree_order
from pointcept_bsa.geometry.padding import VALID, CloudPadding, check_unit, slot_layout, slot_tree
from pointcept_bsa.geometry.part_tree import PartTree
from pointcept_bsa.geometry.token_tree import TokenSizes, TokenTree, plan_tokens


@dataclass(frozen=True)
class SingleTree:
    """How the tree is built, or found in a batch.

    Attributes:
        ball_size, block_size: slots of a ball, and of a block, where splitting stops.
        rotate: degrees by which the second tree is rotated; 0 for one tree.
        levels: sizes of the layers' tokens, see :class:`.TokenLevels`; None for blocks alone.
    """

    ball_size: int
    block_size: int
    rotate: float
    levels: TokenSizes | None = None

    def order(self, coord: Tensor) -> Tensor:
        """The order of the points of one cloud (N, d), to be cached: see :func:`.tree_order`."""
        return tree_order(coord, self.ball_size, self.block_size, rotate=self.rotate)

    def build(self, point: Mapping[str, Any], lengths: tuple[int, ...]) -> BallTree:
        """The tree over the points of each cloud, or that of the slots of a padded batch."""
        coord = point["coord"]
        if VALID in point:
            layout = slot_layout(coord, point[VALID], lengths, self.ball_size, self.block_size)
            return slot_tree(point, layout, self.rotate)
        group = context_group()
        if group is not None:  # where a cached order of the whole cloud says nothing about a part
            return PartTree.share(
                coord, lengths, self.ball_size, self.block_size, group, rotate=self.rotate, levels=self.levels
            )
        order = point.get("tree_order")
        return BallTree.build(coord, lengths, self.ball_size, self.block_size, rotate=self.rotate, order=order)

    def plan(self, slots: tuple[int, ...]) -> TokenTree | None:
        """Which levels of tokens there are over clouds of ``slots`` slots; None: there is one level alone."""
        return None if self.levels is None else plan_tokens(slots, self.levels)

    def padding(self, unit: int, network: str, neighbors: Mapping[str, Any] | None = None) -> CloudPadding:
        """What lays samples into the tree's slots; ``neighbors`` as :class:`.CloudPadding` takes them."""
        return CloudPadding(check_unit(unit, self.ball_size, network), self.of_one_cloud, neighbors)

    def of_one_cloud(self, coord: Tensor, order: Tensor | None) -> list[BallTree]:
        """The tree over one cloud (N, d), as the only level."""
        length = (len(coord),)
        return [BallTree.build(coord, length, self.ball_size, self.block_size, rotate=self.rotate, order=order)]
