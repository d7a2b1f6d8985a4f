"""The ball trees of a network whose levels pool consecutive slots, as Erwin's do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree, invert, rotate_layout
from pointcept_bsa.geometry.host_tables import derived
from pointcept_bsa.geometry.padding import VALID, slot_layout, slot_tree
from pointcept_bsa.geometry.part_tree import PartTree


@dataclass(frozen=True)
class LevelTrees:
    """Builds the tree of each level. ``index`` and ``inverse`` of a tree mean something in the first one only.

    Attributes:
        ball_sizes: slots of a ball of each level.
        strides: slots pooled after each level but the last.
        pooled: slots of the first level in a slot of each level.
        unit: slots of the first level of which each cloud fills a whole number.
        leaf: slots at which splitting stops, see :func:`.plan_tree`.
        rotate: degrees by which the second tree of each level is rotated; 0 for one tree.
        pad: see :func:`.plan_tree`.
    """

    ball_sizes: Sequence[int]
    strides: Sequence[int]
    pooled: Sequence[int]
    unit: int
    leaf: int
    rotate: float
    pad: str

    @torch.no_grad()
    def build(self, coord: Tensor, lengths: tuple[int, ...], order: Tensor | None = None) -> list[BallTree]:
        """The trees over points at ``coord`` (N, d).

        Args:
            coord: (N, d) positions.
            lengths: points of each cloud.
            order: cached :func:`.tree_order` for ``block_size=leaf``, ``unit=unit``.
        """
        rotate = self.rotate if self.pad == "ball" else 0  # with copies of points the tree itself has to be rotated
        tree = BallTree.build(
            coord,
            lengths,
            self.ball_sizes[0],
            self.block_size,
            unit=self.unit,
            rotate=rotate,
            pad=self.pad,
            order=order,
        )
        if self.rotate and not rotate:
            tree = with_rotation(tree, self.rotate, self.unit)
        return self._all(tree)

    @torch.no_grad()
    def share(self, coord: Tensor, lengths: tuple[int, ...], group: dist.ProcessGroup) -> list[BallTree]:
        """The own parts of the trees over the points of all processes of the group, at (N, d) those of this one.

        A part is a whole number of units: of whole balls on each level.

        Raises:
            InputError: a cloud of fewer units than processes.
        """
        sizes = self.ball_sizes[0], self.block_size
        return self._all(PartTree.share(coord, lengths, *sizes, group, rotate=self.rotate, unit=self.unit))

    def _all(self, tree: BallTree) -> list[BallTree]:
        """The trees of all levels, of which ``tree`` is the first."""
        levels = [tree]
        for stride, ball_size, pooled in self.steps():
            if stride > 1 or ball_size != tree.layout.ball_size:
                tree = coarser(tree, coarsen(tree.layout, stride, ball_size), self.rotate, self.unit // pooled)
            levels.append(tree)
        return levels

    @torch.no_grad()
    def of_cloud(self, coord: Tensor, order: Tensor | None) -> list[BallTree]:
        """The trees over one cloud (N, d)."""
        return self.build(coord, (len(coord),), order)

    @torch.no_grad()
    def of_slots(self, point: Mapping[str, Any], slots: tuple[int, ...]) -> list[BallTree]:
        """The trees of a padded batch, see :mod:`.padding`."""
        layout = slot_layout(point["coord"], point[VALID], slots, self.ball_sizes[0], self.block_size)
        levels = [slot_tree(point, layout, self.rotate)]
        for level, (stride, ball_size, _) in enumerate(self.steps(), start=1):
            if stride > 1 or ball_size != layout.ball_size:
                layout = coarsen(layout, stride, ball_size)
                levels.append(slot_tree(point, layout, self.rotate, level))
            else:
                levels.append(levels[-1])
        return levels

    @property
    def block_size(self) -> int:
        """Slots of a block of the first level."""
        return min(self.leaf, self.ball_sizes[0])

    def steps(self) -> zip[tuple[int, int, int]]:
        """Stride, ball size and pooled slots of each level after the first."""
        return zip(self.strides, self.ball_sizes[1:], self.pooled[1:], strict=True)


def coarsen(fine: BallLayout, stride: int, ball_size: int) -> BallLayout:
    """The layout after pooling ``stride`` consecutive slots: each holds the mean position of its children.

    A slot without any real child is empty, and lies at the mean of its (empty) children.
    """
    slots, dims = fine.coord.shape
    children = fine.coord.view(slots // stride, stride, dims)
    centre = children.mean(1)
    if fine.valid is not None:
        weight = fine.valid.view(-1, stride, 1).to(children.dtype)
        count = weight.sum(1)
        centre = torch.where(count > 0, (children * weight).sum(1) / count.clamp(min=1), centre)
    coarse_slots = tuple(s // stride for s in fine.slots)
    known = fine.host_valid
    if known is None:
        assert fine.valid is not None
        return BallLayout.masked(centre, fine.valid.view(-1, stride).any(1), coarse_slots, ball_size, ball_size)
    host_valid = derived(known, ("pooled", stride), lambda: known.reshape(-1, stride).any(1))
    return BallLayout.build(centre, host_valid, coarse_slots, ball_size, ball_size)


def coarser(tree: BallTree, layout: BallLayout, degrees: float, unit: int) -> BallTree:
    """The tree over pooled slots of another one; the other arguments as in :func:`with_rotation`."""
    if isinstance(tree, PartTree):
        return tree.coarser(layout, degrees, unit)
    tree = BallTree(layout, tree.index, tree.inverse, copies=tree.copies)
    return with_rotation(tree, degrees, unit) if degrees else tree


def with_rotation(tree: BallTree, degrees: float, unit: int) -> BallTree:
    """The tree with balls rebuilt on rotated coordinates beside its own; ``unit`` slots are the coarsest whole node."""
    layout = tree.layout
    wide = BallLayout.build(layout.coord, layout.known_valid, layout.slots, unit, layout.ball_size)
    rotation, wide = rotate_layout(wide, degrees)
    rotated = BallLayout.build(wide.coord, wide.known_valid, layout.slots, layout.ball_size, layout.ball_size)
    return replace(tree, rotation=rotation, rotation_inverse=invert(rotation), rotated=rotated)
