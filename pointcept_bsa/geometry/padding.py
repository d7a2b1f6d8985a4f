"""Clouds laid into the slots of their ball trees while they are loaded, and filled up to few sizes.

Where a tree splits follows from the number of points, and so do all host tables of :mod:`.tree_plan`: on the device
every number of points is a program of its own. What comes after the tree depends on the number of *slots* alone. So a
loading process builds the tree of each cloud, puts every entry of the sample into slot order, adds empty slots up to
a multiple of ``unit``, and says which slots hold points; the device then computes with masks, on shapes of which there
are few. The tree is that of the cloud without padding: whole balls of empty slots follow behind it. Nothing attends to
them, so features of the points, losses and gradients are those of the unpadded cloud, to rounding.

A padded sample holds, besides its entries with one row a slot, ``VALID`` (S,), True where a slot holds a point, and
where the network has a rotated tree ``rotation_key(i)`` (S_i,) for each level i of it: the slot of the main tree that
each slot of the rotated one takes, counted inside the cloud. ``offset`` counts slots.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree, invert
from pointcept_bsa.geometry.neighbors import find_neighbors, shift_neighbors
from pointcept_bsa.samples import names_points, per_point_keys

VALID = "slot_valid"
KEPT_BYTES = 2**29  # of tables, in each loading process


def rotation_key(level: int = 0) -> str:
    """Name of a sample's entry with the rotation of a level's tree."""
    return f"slot_rotation_{level}"


@dataclass(frozen=True)
class CloudTables:
    """Where the points of one cloud go, as integers of 32 bits where they are kept for long.

    Attributes:
        index: (S,) point of each slot; in empty slots some point.
        home: (N,) slot of each point.
        rotations: by name, see :func:`rotation_key`.
        neighbors: (N, k) points that each point hears from, -1 for none; None where nobody wants them.
    """

    index: Tensor
    home: Tensor
    rotations: Mapping[str, Tensor]
    neighbors: Tensor | None

    def to(self, dtype: torch.dtype) -> CloudTables:
        """The same as integers of another type."""
        rotations = {key: rotation.to(dtype) for key, rotation in self.rotations.items()}
        neighbors = None if self.neighbors is None else self.neighbors.to(dtype)
        return CloudTables(self.index.to(dtype), self.home.to(dtype), rotations, neighbors)

    @property
    def num_bytes(self) -> int:
        """Memory."""
        tensors = (self.index, self.home, self.neighbors, *self.rotations.values())
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)


@dataclass
class CloudPadding:
    """Lays collected samples (dicts of tensors with ``coord`` (N, d) and ``offset``) into slots; picklable.

    Entries with one row a point are put into slot order; in empty slots they repeat some point. Others stay as they
    are. ``tree_order`` is used up; ``neighbor_index`` names slots afterwards.

    Attributes:
        unit: a cloud fills a multiple of so many slots.
        trees: (coord, cached order or None) -> the trees of the network's levels over one cloud, the finest first,
            the same tree again where a level takes over that before. None: no tree, slots are points in their order.
        neighbors: arguments of :func:`.find_neighbors`, where the network wants ``neighbor_index``.
        keep: keep the tables of clouds, found again by their coordinates, up to ``KEPT_BYTES`` in each process.

    Raises:
        InputError: a sample of anchors and queries, which have trees of anchors alone.
    """

    unit: int
    trees: Callable[[Tensor, Tensor | None], list[BallTree]] | None = None
    neighbors: Mapping[str, Any] | None = None
    keep: bool = False
    _kept: dict[bytes, CloudTables] = field(default_factory=dict, init=False, repr=False)
    _kept_bytes: int = field(default=0, init=False, repr=False)

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        if "anchor_offset" in sample:
            raise InputError(
                "pad_clouds: got anchors and queries (SampleAnchors), wanted pad_clouds=None with them; a number of "
                "both, num_anchors and num_queries, makes one shape of clouds that have as many points"
            )
        tables = self.tables(sample)
        valid = torch.zeros(len(tables.index), dtype=torch.bool)
        valid[tables.home] = True
        kept = {key: value for key, value in sample.items() if not names_points(key)}
        padded = kept | {key: kept[key][tables.index] for key in per_point_keys(kept)}
        padded |= {"offset": sample["offset"].new_tensor([len(valid)]), VALID: valid, **tables.rotations}
        neighbors = _given_neighbors(sample) if "neighbor_index" in sample else tables.neighbors
        if neighbors is not None:
            named = torch.where(neighbors >= 0, tables.home[neighbors.clamp(min=0)], -1)[tables.index]
            padded["neighbor_index"] = named.masked_fill(~valid.unsqueeze(1), -1)
        return padded

    def tables(self, sample: Mapping[str, Any]) -> CloudTables:
        """The tables of a cloud, new or kept."""
        if not self.keep or "tree_order" in sample:  # it may differ each time
            return self._make(sample)
        coord = sample["coord"].contiguous()
        name = hashlib.blake2b(coord.numpy().tobytes(), digest_size=16).digest()
        if name in self._kept:
            return self._kept[name].to(torch.long)
        tables = self._make(sample)
        short = tables.to(torch.int32)
        if self._kept_bytes + short.num_bytes <= KEPT_BYTES:
            self._kept[name] = short
            self._kept_bytes += short.num_bytes
        return tables

    def _make(self, sample: Mapping[str, Any]) -> CloudTables:
        coord = sample["coord"]
        trees = [] if self.trees is None else self.trees(coord, sample.get("tree_order"))
        every = torch.arange(len(coord))
        index, home = (trees[0].index, trees[0].inverse) if trees else (every, every)
        filled = len(index)
        slots = -(-filled // self.unit) * self.unit
        rotations = {}
        for level, tree in enumerate(trees):
            if tree.rotation is not None and (level == 0 or tree is not trees[level - 1]):
                here = len(tree.rotation)
                rest = torch.arange(here, slots * here // filled)
                rotations[rotation_key(level)] = torch.cat([tree.rotation, rest])
        wanted = self.neighbors is not None and "neighbor_index" not in sample
        neighbors = find_neighbors(coord, (len(coord),), **self.neighbors) if wanted and self.neighbors else None
        return CloudTables(F.pad(index, (0, slots - filled)), home, rotations, neighbors)


def _given_neighbors(sample: Mapping[str, Any]) -> Tensor:
    try:
        return shift_neighbors(sample["neighbor_index"], (len(sample["coord"]),))
    except ValueError as error:
        raise InputError(str(error)) from error


def check_unit(unit: int, multiple: int, network: str) -> int:
    """``unit``. Raises InputError unless it is a multiple of the slots in which the network's trees grow."""
    if unit % multiple:
        raise InputError(f"pad_clouds: got {unit}, wanted a multiple of {multiple}, the slots of a ball of {network}")
    return unit


class SlotTree(BallTree):
    """A tree whose points lie in their slots already."""

    def gather(self, x: Tensor) -> Tensor:
        return x

    def scatter(self, x: Tensor) -> Tensor:
        return x


def slot_layout(coord: Tensor, valid: Tensor, slots: tuple[int, ...], ball_size: int, block_size: int) -> BallLayout:
    """The layout of slots at ``coord`` (S, d) with the validity ``valid`` (S,), of which the host knows nothing.

    Raises:
        InputError: clouds that do not fill whole balls.
    """
    if any(s % ball_size for s in slots):
        raise InputError(f"{VALID}: got clouds of {slots} slots, wanted multiples of the ball size {ball_size}")
    return BallLayout.masked(coord.detach(), valid, slots, ball_size, block_size)


def slot_tree(point: Mapping[str, Any], layout: BallLayout, rotate: float, level: int = 0) -> BallTree:
    """The tree of a level of a padded batch, and its rotated one unless ``rotate`` is 0.

    Args:
        point: the batch, with ``batch`` (S,), the cloud of each slot.
        layout: of the level's slots, as :func:`slot_layout` made it.
        rotate: whether there is a rotated tree (the degrees are in the tables already).
        level: for which level's table of rotation to look.

    Raises:
        InputError: a batch without that table, or with one of another size.
    """
    every = torch.arange(len(layout.coord), device=layout.coord.device)
    if not rotate:
        return SlotTree(layout, every, every)
    key = rotation_key(level)
    local = point[key] if key in point else None
    if local is None or len(local) != len(every):
        got = "nothing" if local is None else f"{len(local)} rows"
        raise InputError(f"{key}: got {got}, wanted a row for each of {len(every)} slots as the network's padding has")
    rotation = local + first_slots(point, len(every))
    assert layout.valid is not None
    rotated = BallLayout.masked(
        layout.coord[rotation], layout.valid[rotation], layout.slots, layout.ball_size, layout.block_size
    )
    return SlotTree(layout, every, every, rotation, invert(rotation), rotated)


def slot_neighbors(point: Mapping[str, Any]) -> Tensor:
    """(S, k) neighbours of the batch, -1 for none, from those of a padded batch's clouds. Raises InputError."""
    if "neighbor_index" not in point:
        raise InputError(f"neighbor_index: missing from a batch with {VALID}, wanted as the network's padding adds it")
    index: Tensor = point["neighbor_index"]
    return torch.where(index >= 0, index + first_slots(point, len(index)).unsqueeze(1), -1)


def first_slots(point: Mapping[str, Any], rows: int) -> Tensor:
    """First slot of the cloud of each slot (rows,), on a level of ``rows`` slots; on the device, without waiting."""
    offset, batch = point["offset"], point["batch"]
    pooled = len(batch) // rows
    starts = F.pad(offset[:-1], (1, 0)) // pooled
    return starts[batch[::pooled]]
