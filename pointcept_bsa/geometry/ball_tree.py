"""Ball trees over ragged batches of point clouds, built on the points' device.

``N`` points of all clouds, ``S`` slots (points in tree order, padded), ``d`` space dimensions, ``m`` slots a ball,
``l`` slots a block.

At each node the points are ordered along the axis of largest extent (the first of equal ones) and split at the
median; see :mod:`.tree_plan` for how sizes and padding are fixed. Splitting goes on below the ball down to the block,
so that ``l`` consecutive slots are compact in space. The build sorts all nodes of a level at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.host_tables import derived, host_table, indices, on_device
from pointcept_bsa.geometry.reorder import reorder
from pointcept_bsa.geometry.split_keys import split_keys
from pointcept_bsa.geometry.tree_plan import TreePlan, as_lengths, plan_tree

if triton_installed():
    from pointcept_bsa.geometry.tree_sort_triton import sort_into_tree_triton


@dataclass(frozen=True, eq=False)
class BallLayout:
    """Slots in tree order, as the attention layers see them.

    Attributes:
        coord: (S, d) position of the point in each slot; empty slots repeat some point of the same cloud.
        relative: (S, d) position relative to the mean of the ball's points (zero in empty slots).
        valid: (S,) False in empty slots, which nobody may attend to. None if there are none.
        block_valid: (S / l,) False in blocks without a point. None if there are none.
        slots: slots of each cloud, on the host.
        ball_size, block_size: m and l.
        host_valid: ``valid`` on the host; None where it is known on the device alone (see :mod:`.padding`).
    """

    coord: Tensor
    relative: Tensor
    valid: Tensor | None
    block_valid: Tensor | None
    slots: tuple[int, ...]
    ball_size: int
    block_size: int
    host_valid: np.ndarray | None

    @classmethod
    def build(
        cls, coord: Tensor, host_valid: np.ndarray, slots: tuple[int, ...], ball_size: int, block_size: int
    ) -> BallLayout:
        """Derive masks and relative positions for slots at ``coord`` with the validity ``host_valid`` (S,).

        ``host_valid`` must never be written to afterwards: its copy on the device is kept.
        """
        host_valid = host_table(host_valid)
        valid = None if host_valid.all() else on_device(host_valid, coord.device)
        block_valid = _valid_blocks(host_valid, block_size, coord.device)
        return cls._of(coord, valid, block_valid, host_valid, (slots, ball_size, block_size))

    @classmethod
    def masked(
        cls, coord: Tensor, valid: Tensor, slots: tuple[int, ...], ball_size: int, block_size: int
    ) -> BallLayout:
        """The same from a mask (S,) on the device, whatever it holds: masks are always there, host tables never."""
        return cls._of(coord, valid, valid.view(-1, block_size).any(1), None, (slots, ball_size, block_size))

    @classmethod
    def _of(
        cls,
        coord: Tensor,
        valid: Tensor | None,
        block_valid: Tensor | None,
        host_valid: np.ndarray | None,
        sizes: tuple[tuple[int, ...], int, int],
    ) -> BallLayout:
        relative = relative_position(coord, valid, sizes[1])
        return cls(coord, relative, valid, block_valid, *sizes, host_valid=host_valid)

    @property
    def known_valid(self) -> np.ndarray:
        """``host_valid`` where the host must have it. Raises InputError for a padded batch."""
        if self.host_valid is None:
            raise InputError("slot_valid: got a padded batch, wanted one whose numbers of points the host knows")
        return self.host_valid

    def check(self, ball_size: int | None = None, block_size: int | None = None) -> None:
        """Raise ValueError unless balls and blocks are of these sizes; None for any."""
        for name, wanted in (("ball_size", ball_size), ("block_size", block_size)):
            got = getattr(self, name)
            if wanted not in (None, got):
                raise ValueError(f"layout: got {name} {got}, wanted {wanted} as the layer has; build the tree with it")

    @property
    def of_clouds(self) -> BallLayout | WholeClouds:
        """Where the whole clouds lie: here, unless this is a part of them."""
        return self

    def own_units(self, group_size: int, unit: int) -> Tensor | None:
        """(S / g,) the run of ``unit`` slots in which each group of g lies, counted over the whole clouds of the batch;
        None where these are the whole clouds."""
        return None

    @property
    def is_part(self) -> bool:
        """Whether other processes have slots of these clouds, too."""
        return False

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks of each cloud."""
        return tuple(s // self.block_size for s in self.slots)


@dataclass(frozen=True, eq=False)
class WholeClouds:
    """Slots of whole clouds of which a layout is a part.

    Attributes:
        slots: of each cloud, on the host.
        block_size: l.
        block_valid: (blocks of all clouds,) False in blocks without a point. None if there are none.
    """

    slots: tuple[int, ...]
    block_size: int
    block_valid: Tensor | None

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks of each cloud."""
        return tuple(s // self.block_size for s in self.slots)


@dataclass(frozen=True, eq=False)
class BallTree:
    """A ball tree over each cloud of a batch: where every point goes, and the layout it finds there.

    Attributes:
        layout: the slots in tree order.
        index: (S,) point held by each slot (a point of the same cloud in empty slots).
        inverse: (N,) slot of each point.
        rotation: (S,) slot of ``layout`` for each slot of ``rotated``; None without rotation.
        rotation_inverse: (S,) the inverse permutation; None without rotation.
        rotated: the slots in the order of the tree built on rotated coordinates; None without rotation.
        copies: slots that are not empty hold copies of points, too.
    """

    layout: BallLayout
    index: Tensor
    inverse: Tensor
    rotation: Tensor | None = None
    rotation_inverse: Tensor | None = None
    rotated: BallLayout | None = None
    copies: bool = False

    @classmethod
    def build(
        cls,
        coord: Tensor,
        lengths: Sequence[int] | Tensor,
        ball_size: int,
        block_size: int = 8,
        *,
        unit: int | None = None,
        rotate: float = 0.0,
        pad: str = "ball",
        order: Tensor | None = None,
    ) -> BallTree:
        """Build a tree over each cloud.

        Args:
            coord: (N, d) positions.
            lengths: points of each cloud.
            ball_size: m, ``block_size`` times a power of two.
            block_size: l, where splitting stops.
            unit: slots of which each cloud fills a whole number, at least ``ball_size`` (a multiple of it; larger
                where coarser levels follow). Default ``ball_size``.
            rotate: degrees; not 0 adds the tree over coordinates rotated by that angle about each axis.
            pad: see :func:`.tree_plan.plan_tree`.
            order: (N, 1 or 2) cached result of :func:`tree_order` (main tree, rotated tree); saves the sorting.

        Raises:
            ValueError: sizes that do not fit each other, a cloud without points, or lengths of other points.
        """
        lengths = as_lengths(lengths, len(coord))
        unit = unit or ball_size
        if unit % ball_size:
            raise ValueError(f"unit: got {unit}, wanted a multiple of ball_size {ball_size}")
        plan = plan_tree(lengths, unit, block_size, pad)
        ranks = _orders(coord.detach(), plan, order, rotate if pad == "ball" else 0.0)
        index, inverse = occupy(ranks[0], plan)
        layout = BallLayout.build(coord.detach()[index], plan.valid, plan.slots, ball_size, block_size)
        if not rotate:
            return cls(layout, index, inverse, copies=pad != "ball")

        if pad == "ball":  # the same plan: real and empty slots lie at the same places in both trees
            rotation = inverse[ranks[1]]
            if plan.num_slots > plan.num_points:
                every = torch.arange(plan.num_slots, device=coord.device)  # empty slots stay where they are
                rotation = every.index_copy_(0, on_device(plan.slot_of_rank, coord.device), rotation)
            rotated = _permuted(layout, rotation, plan.valid)
        else:
            rotation, rotated = rotate_layout(layout, rotate)
        return cls(layout, index, inverse, rotation, invert(rotation), rotated, copies=pad != "ball")

    @property
    def is_part(self) -> bool:
        """Whether other processes have slots of these clouds, too."""
        return False

    def gather(self, x: Tensor) -> Tensor:
        """(N, ...) in input order -> (S, ...) in tree order. Empty slots hold some point, and give it no gradient."""
        return x[self.index] if self.copies else reorder(x, self.index, self.inverse)

    def scatter(self, x: Tensor) -> Tensor:
        """(S, ...) in tree order -> (N, ...) in input order."""
        return x[self.inverse] if self.copies else reorder(x, self.inverse, self.index, self.layout.valid)

    def permuted(self, x: Tensor, *, to_rotated: bool) -> Tensor:
        """(S, ...) in the order of the main tree -> in that of the rotated tree, or back. Raises as :meth:`turn`."""
        return reorder(x, *self.permutation(to_rotated=to_rotated))

    def permutation(self, *, to_rotated: bool) -> tuple[Tensor, Tensor]:
        """The permutation of slots between the main and the rotated tree, and its inverse.

        Raises:
            ValueError: a tree without rotation.
        """
        there, back = self.rotation, self.rotation_inverse
        if there is None or back is None:
            raise ValueError("tree: got one without rotation, wanted BallTree.build(..., rotate=degrees)")
        return (there, back) if to_rotated else (back, there)


def tree_order(
    coord: Tensor, ball_size: int, block_size: int = 8, *, unit: int | None = None, rotate: float = 0.0
) -> Tensor:
    """Order of the points of one cloud in the main (and rotated) tree with ``pad="ball"``: (N, 1) or (N, 2).

    To be cached with a static geometry and handed to :meth:`BallTree.build` as ``order`` (stacked over the clouds).
    """
    plan = plan_tree((coord.shape[0],), unit or ball_size, block_size)
    return torch.stack(_orders(coord.detach(), plan, None, rotate), 1)


def rotate_layout(layout: BallLayout, degrees: float) -> tuple[Tensor, BallLayout]:
    """Rebuild the balls of a layout on rotated coordinates.

    Returns:
        (S,) the slot of ``layout`` that each slot of the new layout takes, and the new layout. Empty slots stay empty
        and are never mixed with real ones while sorting.
    """
    device = layout.coord.device
    ends = np.cumsum(layout.slots)
    counts = tuple(int(v.sum()) for v in np.split(layout.known_valid, ends[:-1]))
    plan = plan_tree(counts, layout.ball_size, layout.block_size)
    if plan.slots != layout.slots:
        raise ValueError(f"slots: {layout.slots} hold {counts} points, which a tree keeps in {plan.slots} slots")
    real, empty = indices(layout.known_valid, True, device), indices(layout.known_valid, False, device)
    coord = layout.coord[real] @ rotation_matrix(degrees, layout.coord)
    rotation = torch.empty(plan.num_slots, dtype=torch.long, device=device)
    rotation[on_device(plan.slot_of_rank, device)] = real[sort_into_tree(coord, plan)]
    rotation[indices(plan.valid, False, device)] = empty
    return rotation, _permuted(layout, rotation, plan.valid)


def sort_into_tree(coord: Tensor, plan: TreePlan) -> Tensor:
    """Order points along the tree: (N,) the point at each rank, from positions (N, d).

    Or (T, N) from (T, N, d), for several trees of the same shape. Compares in single precision; points at the same
    place along an axis keep the order of the level above, at the root that of the input.
    """
    coord = coord.detach().float() + 0.0  # turns -0.0 into 0.0, which the integer keys tell apart
    if use_triton("ball_tree", coord):
        order = sort_into_tree_triton(coord.view(-1, *coord.shape[-2:]), plan.levels)
    else:
        order = torch.stack([_sort_by_levels(c, plan) for c in coord.view(-1, *coord.shape[-2:])])
    return order.view(coord.shape[:-1])


def _sort_by_levels(coord: Tensor, plan: TreePlan) -> Tensor:
    order = torch.arange(coord.shape[0], device=coord.device)
    for starts, split in plan.levels:
        step = split_keys(coord, starts, split).argsort(stable=True)
        coord, order = coord[step], order[step]
    return order


def rotation_matrix(degrees: float, like: Tensor) -> Tensor:
    """(d, d) matrix for ``coord @ matrix``: 2-D rotation, or in 3-D the three Euler angles all equal ``degrees``.

    Raises:
        ValueError: other than 2 or 3 dimensions.
    """
    if like.shape[-1] not in (2, 3):
        raise ValueError(f"coord: got {like.shape[-1]} dimensions, wanted 2 or 3 to rotate a ball tree")
    return on_device(_rotation(degrees, like.shape[-1]), like.device).to(like.dtype)


@lru_cache
def _rotation(degrees: float, dimensions: int) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if dimensions == 2:
        return host_table([[c, -s], [s, c]])
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return host_table(about_z @ about_y @ about_x)


def relative_position(coord: Tensor, valid: Tensor | None, ball_size: int) -> Tensor:
    """Position of each slot relative to the mean of its ball's points (Erwin eq. 9); zero in empty slots."""
    relative = coord.view(-1, ball_size, coord.shape[-1]) - ball_mean(coord, valid, ball_size).unsqueeze(1)
    if valid is not None:
        relative = relative * valid.view(-1, ball_size, 1).to(coord.dtype)
    return relative.view_as(coord)


def ball_mean(coord: Tensor, valid: Tensor | None, ball_size: int) -> Tensor:
    """(S / m, d) mean of the points of each ball, from the positions (S, d) of slots."""
    balls = coord.view(-1, ball_size, coord.shape[-1])
    if valid is None:
        return balls.mean(1)
    weight = valid.view(-1, ball_size, 1).to(coord.dtype)
    return (balls * weight).sum(1) / weight.sum(1).clamp(min=1)


def cloud_lengths(offset: Sequence[int] | Tensor, num_points: int) -> tuple[int, ...]:
    """Points of each cloud from cumulative offsets (B,): a tensor, or its numbers, see :func:`.samples.host_ends`.

    Raises:
        ValueError: offsets that do not end at ``num_points``, or a cloud without points.
    """
    ends = offset.tolist() if isinstance(offset, Tensor) else offset
    lengths = tuple(b - a for a, b in zip([0, *ends[:-1]], ends, strict=True))
    if not ends or ends[-1] != num_points:
        raise ValueError(f"offset: ends at {ends[-1] if ends else None}, wanted the number of points {num_points}")
    if min(lengths) < 1:
        raise ValueError(f"offset: cloud {int(np.argmin(lengths))} of the batch has {min(lengths)} points, wanted >= 1")
    return lengths


def invert(permutation: Tensor) -> Tensor:
    """The inverse of a permutation (S,)."""
    inverse = torch.empty_like(permutation)
    inverse[permutation] = torch.arange(permutation.shape[0], device=permutation.device)
    return inverse


def _permuted(layout: BallLayout, rotation: Tensor, host_valid: np.ndarray) -> BallLayout:
    coord = layout.coord[rotation]
    return BallLayout.build(coord, host_valid, layout.slots, layout.ball_size, layout.block_size)


def occupy(order: Tensor, plan: TreePlan) -> tuple[Tensor, Tensor]:
    """Point of each slot (S,) and slot of each point (N,)."""
    full = plan.num_slots == plan.num_points
    index = order if full else order[on_device(plan.rank_of_slot, order.device)]
    inverse = torch.empty_like(order)
    inverse[order] = on_device(plan.slot_of_rank, order.device)
    return index, inverse


def _orders(coord: Tensor, plan: TreePlan, cached: Tensor | None, rotate: float) -> list[Tensor]:
    """Orders (N,) of the main tree and, unless ``rotate`` is 0, the rotated one: cached, or sorted at the same time."""
    wanted = 2 if rotate else 1
    orders = [] if cached is None else [_cached_order(cached, i, plan) for i in range(min(wanted, cached.shape[1]))]
    rotated_coord = [coord @ rotation_matrix(rotate, coord)] if rotate and len(orders) < 2 else []
    if len(orders) < wanted:
        orders += sort_into_tree(torch.stack([coord, *rotated_coord][len(orders) :]), plan)
    return orders


def _cached_order(order: Tensor, column: int, plan: TreePlan) -> Tensor:
    """Turn orders local to each cloud into orders of the batch."""
    if order.shape[0] != plan.num_points:
        raise ValueError(f"order: got {order.shape[0]} rows, wanted one for each of {plan.num_points} points")
    return order[:, column] + on_device(plan.first_point, order.device)


def _valid_blocks(host_valid: np.ndarray, block_size: int, device: torch.device) -> Tensor | None:
    blocks = derived(host_valid, f"blocks of {block_size}", lambda: host_valid.reshape(-1, block_size).any(1))
    return None if blocks.all() else on_device(blocks, device)
