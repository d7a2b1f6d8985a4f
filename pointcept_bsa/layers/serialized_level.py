"""One resolution of a serialised batch: its points, their sequences, and what the blocks of a stage share.

Legend: ``N`` points of all clouds, ``B`` clouds, ``O`` orders, ``K`` patch size, ``P`` full patches, ``S`` short ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.serialization import serialize
from pointcept_bsa.ops.segment_reduce import segment_reduce
from pointcept_bsa.ops.submanifold_conv import VoxelIndex


@dataclass(frozen=True)
class PatchLayout:
    """How a sequence of points is cut into patches, cloud by cloud.

    A cloud of at least ``K`` points is cut into patches of ``K``; its last patch, when short, is filled at its end with
    the points that stand in the same places of the patch before. A cloud of fewer points is one short patch.

    Attributes:
        full: place in the sequence of each slot, ``(P, K)``.
        short: the same for short patches, ``(S, L)`` with ``L`` the longest, filled with their last point; None without
            short patches.
        short_mask: ``(S, L)``, True at real slots; None without short patches.
        slot: where each place of the sequence is in the slots of ``full`` followed by those of ``short``, ``(N,)``.
    """

    full: Tensor
    short: Tensor | None
    short_mask: Tensor | None
    slot: Tensor


@dataclass
class SerializedLevel:
    """Points of one level of the U-Net with their space-filling curves.

    Attributes:
        coord: ``(N, d)``.
        grid_coord: integer cells ``(N, 3)``.
        batch: cloud of each point ``(N,)``, rising.
        offset: cumulative counts ``(B,)``.
        code, order, inverse: ``(O, N)``, see ``geometry.serialization.serialize``.
        depth: bits a coordinate has in the codes.
    """

    coord: Tensor
    grid_coord: Tensor
    batch: Tensor
    offset: Tensor
    code: Tensor
    order: Tensor
    inverse: Tensor
    depth: int
    _shared: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def build(
        cls, coord: Tensor, grid_coord: Tensor, batch: Tensor, offset: Tensor, depth: int, orders: Sequence[str]
    ) -> SerializedLevel:
        """Serialise the points along ``orders``."""
        code, order, inverse = serialize(grid_coord, batch, depth, orders)
        return cls(coord, grid_coord, batch=batch, offset=offset, code=code, order=order, inverse=inverse, depth=depth)

    def with_shuffled_orders(self) -> SerializedLevel:
        """The same level with its curves in a random order (torch's CPU generator)."""
        pick = torch.randperm(len(self.code)).to(self.code.device)
        return replace(self, code=self.code[pick], order=self.order[pick], inverse=self.inverse[pick], _shared={})

    @property
    def cloud_sizes(self) -> list[int]:
        """Points in each cloud; the first call waits for the device."""
        if "cloud_sizes" not in self._shared:
            self._shared["cloud_sizes"] = torch.diff(self.offset, prepend=self.offset.new_zeros(1)).tolist()
        return self._shared["cloud_sizes"]

    @property
    def voxels(self) -> VoxelIndex:
        """The occupied voxels, shared by the convolutions of the level."""
        if "voxels" not in self._shared:
            self._shared["voxels"] = VoxelIndex(self.grid_coord, self.batch, len(self.offset))
        return self._shared["voxels"]

    def patches(self, patch_size: int) -> PatchLayout:
        """The patches of ``patch_size`` points, shared by the attention layers of the level."""
        key = ("patches", patch_size)
        if key not in self._shared:
            self._shared[key] = cut_patches(self.cloud_sizes, patch_size, self.coord.device)
        return self._shared[key]

    def relative_cells(self, order_index: int, patch_size: int) -> Tensor:
        """Differences of grid cells inside each full patch of an order, ``(P, K, K, 3)``."""
        key = ("relative_cells", order_index, patch_size)
        if key not in self._shared:
            cell = self.grid_coord[self.order[order_index][self.patches(patch_size).full]]
            self._shared[key] = cell[:, :, None] - cell[:, None, :]
        return self._shared[key]


def cut_patches(cloud_sizes: Sequence[int], patch_size: int, device: torch.device) -> PatchLayout:
    """Cut clouds of the given sizes (none empty), laid end to end, into patches; see ``PatchLayout``."""
    sizes = torch.tensor(cloud_sizes, dtype=torch.long)
    starts = torch.cumsum(sizes, 0) - sizes
    is_short = sizes < patch_size
    padded = torch.where(is_short, 0, -(-sizes // patch_size) * patch_size)
    num_slots = int(padded.sum())
    num_points = int(sizes.sum())

    def spread(per_cloud: Tensor, counts: Tensor, total: int) -> Tensor:
        return torch.repeat_interleave(per_cloud.to(device), counts.to(device), output_size=total)

    first_slot = torch.cumsum(padded, 0) - padded
    place = torch.arange(num_slots, device=device) - spread(first_slot, padded, num_slots)
    borrowed = place >= spread(sizes, padded, num_slots)
    full = torch.where(borrowed, place - patch_size, place) + spread(starts, padded, num_slots)

    short_sizes, short_starts = sizes[is_short], starts[is_short]
    length = int(short_sizes.max()) if len(short_sizes) else 0
    first_slot[is_short] = num_slots + torch.arange(len(short_sizes)) * length
    slot = torch.arange(num_points, device=device) + spread(first_slot - starts, sizes, num_points)
    short = short_mask = None
    if length:
        places = torch.arange(length)
        short_mask = (places < short_sizes[:, None]).to(device)
        short = (short_starts[:, None] + torch.minimum(places, short_sizes[:, None] - 1)).to(device)
    return PatchLayout(full.view(-1, patch_size), short, short_mask, slot)


def read_cells(point: Mapping[str, Any]) -> Tensor:
    """Integer grid cells ``(N, 3)`` of a sample; cells of 2-D clouds get z = 0.

    They are its ``grid_coord (N, d)``, or else counted in steps of ``grid_size`` (a number, or one for each cloud) from
    the smallest coordinates of each cloud.

    Raises:
        InputError: neither is there, or it is malformed.
    """
    coord = point["coord"]
    if "grid_coord" in point:
        grid_coord = point["grid_coord"]
        if grid_coord.is_floating_point() or grid_coord.shape != coord.shape:
            raise InputError(
                f"grid_coord: got {grid_coord.dtype} of shape {tuple(grid_coord.shape)}, "
                f"wanted integers of shape {tuple(coord.shape)}"
            )
    elif "grid_size" in point:
        grid_coord = _count_cells(point)
    else:
        raise InputError(
            "grid_coord: missing, and no grid_size; wanted one of them: add the AddGridCoord transform to the pipeline"
        )
    return torch.nn.functional.pad(grid_coord.long(), (0, 3 - grid_coord.shape[1]))


def _count_cells(point: Mapping[str, Any]) -> Tensor:
    coord, batch, num_clouds = point["coord"], point["batch"].long(), len(point["offset"])
    size = torch.as_tensor(point["grid_size"], dtype=coord.dtype, device=coord.device).flatten()
    if len(size) not in (1, num_clouds) or not bool(((size > 0) & (size < math.inf)).all()):
        raise InputError(f"grid_size: got {point['grid_size']}, wanted a positive number, or one for each cloud")
    origin = segment_reduce(coord, torch.nn.functional.pad(point["offset"].long(), (1, 0)), "min")
    return ((coord - origin[batch]) / size.expand(num_clouds)[batch, None]).long()
