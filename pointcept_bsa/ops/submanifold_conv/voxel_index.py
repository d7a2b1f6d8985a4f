"""Which voxels of a batch are occupied and which of them are neighbours: shared by all convolutions of a level.

Legend: ``N`` points of all clouds, ``V`` occupied voxels, ``B`` clouds, ``P`` pairs of neighbouring voxels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.ops.segment_reduce import segment_reduce

MARGIN = 4  # free cells kept around the grid, so that no key of a kernel up to 2 * MARGIN + 1 wraps into another row
QUERIES_AT_ONCE = 1 << 22


def check_kernel_size(kernel_size: int) -> None:
    """Raise ValueError unless it is an odd edge length that the margin has room for."""
    if kernel_size % 2 == 0 or not 1 <= kernel_size <= 2 * MARGIN + 1:
        raise ValueError(f"kernel_size: got {kernel_size}, wanted an odd number up to {2 * MARGIN + 1}")


@dataclass(frozen=True)
class KernelMap:
    """Pairs of occupied voxels that see each other through a cubic kernel.

    The kernel's cells are numbered x-major, ``volume = size ** 3``. Through a cell ``k`` beyond the centre with pairs
    voxel ``writes[p]`` reads voxel ``reads[p]``, hence ``reads[p]`` reads ``writes[p]`` through the opposite cell
    ``volume - 1 - k``.

    Attributes:
        volume: cells of the kernel.
        num_voxels: V.
        counts: pairs of each cell beyond the centre that has some.
        reads, writes: ``(P,)``, cell after cell.
    """

    volume: int
    num_voxels: int
    counts: dict[int, int]
    reads: Tensor
    writes: Tensor

    @property
    def centre(self) -> int:
        return self.volume // 2

    @property
    def filled(self) -> float:
        """Share of the places of ``table`` that have a voxel."""
        return (self.num_voxels + 2 * len(self.reads)) / (self.num_voxels * (2 * len(self.counts) + 1))

    @property
    def pairs(self) -> dict[int, tuple[Tensor, Tensor]]:
        """``(reads, writes)`` of each cell that has some."""
        counts = list(self.counts.values())
        return dict(zip(self.counts, zip(self.reads.split(counts), self.writes.split(counts)), strict=True))

    @cached_property
    def used(self) -> Tensor:
        """(U,) the cells through which some voxel sees one, ascending: with each its opposite, and the centre."""
        beyond = list(self.counts)
        before = [self.volume - 1 - k for k in reversed(beyond)]
        return torch.tensor([*before, self.centre, *beyond], device=self.reads.device)

    @cached_property
    def table(self) -> Tensor:
        """(V, U) int32, the voxel that each voxel reads through each used cell; V where there is none."""
        half, number = len(self.counts), self.num_voxels
        counts = self.reads.new_tensor(list(self.counts.values()))
        column = torch.repeat_interleave(counts, output_size=len(self.reads)) + half + 1
        table = torch.full((number, 2 * half + 1), number, dtype=torch.int32, device=self.reads.device)
        table[:, half] = torch.arange(number, device=table.device)
        table[self.writes, column] = self.reads.int()
        table[self.reads, 2 * half - column] = self.writes.int()
        return table


class VoxelIndex:
    """The occupied voxels of a batch, built once for a level and shared by all its convolutions.

    Args:
        grid_coord: integer cells ``(N, 3)``.
        batch: cloud of each point ``(N,)``.
        batch_size: number of clouds ``B``.

    Attributes:
        num_points: ``N``.
        num_voxels: ``V``; equals ``N`` unless points share a voxel.
        point_to_voxel: ``(N,)``, or None where every point has a voxel of its own (voxel i is then point i).
        cells: ``(V, 4)`` int32, (cloud, x, y, z) of each voxel; x, y, z shifted to start at 0.

    Raises:
        InputError: cells too far apart to be counted.
    """

    def __init__(self, grid_coord: Tensor, batch: Tensor, batch_size: int) -> None:
        low, high = torch.aminmax(grid_coord.long(), dim=0)
        cell = grid_coord.long() - low
        low, high = torch.stack([low, high]).tolist()
        self.spatial_shape = [last - first + 1 for first, last in zip(low, high, strict=True)]
        self.num_points, self.batch_size = len(grid_coord), batch_size
        self._strides = self._key_strides()
        per_cloud, per_x, per_y = self._strides
        key = batch.long() * per_cloud + (cell[:, 0] + MARGIN) * per_x + (cell[:, 1] + MARGIN) * per_y
        key = key + cell[:, 2] + MARGIN
        cells = torch.cat([batch[:, None].long(), cell], dim=1).int()
        self._find_voxels(key, cells)
        self._kernel_maps: dict[int, KernelMap] = {}
        self.spconv_cache: dict[Any, Any] = {}  # what the spconv backend keeps of its own index pairs

    def _key_strides(self) -> tuple[int, int, int]:
        x, y, z = (extent + 2 * MARGIN for extent in self.spatial_shape)
        if x * y * z * self.batch_size >= 1 << 62 or max(self.spatial_shape) >= 1 << 31:
            raise InputError(
                f"grid_coord: got {self.batch_size} clouds of extent {self.spatial_shape}, wanted below 2**62 cells, "
                "and 2**31 along an axis"
            )
        return x * y * z, y * z, z

    def _find_voxels(self, key: Tensor, cells: Tensor) -> None:
        self._sorted_keys, by_key = torch.sort(key, stable=True)
        self._rank_to_voxel: Tensor | None
        self.point_to_voxel: Tensor | None
        if not bool((self._sorted_keys[1:] == self._sorted_keys[:-1]).any()):
            self.num_voxels, self.cells, self.point_to_voxel = len(key), cells, None
            self._keys, self._rank_to_voxel = key, by_key
            return
        unique, rank_to_run, counts = torch.unique_consecutive(
            self._sorted_keys, return_inverse=True, return_counts=True
        )
        self._sorted_keys = self._keys = unique
        self._rank_to_voxel = None  # voxels are numbered along their keys
        self._points_by_voxel = by_key
        self._voxel_starts = torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0))
        self.num_voxels = len(unique)
        self.cells = cells[by_key[self._voxel_starts[:-1]]]
        self.point_to_voxel = torch.empty_like(by_key).scatter_(0, by_key, rank_to_run)

    def mean_of_points(self, feat: Tensor) -> Tensor:
        """Mean of ``feat (N, C)`` over the points of each voxel, ``(V, C)``."""
        if self.point_to_voxel is None:
            return feat
        return segment_reduce(feat[self._points_by_voxel], self._voxel_starts, "mean")

    def kernel_map(self, kernel_size: int) -> KernelMap:
        """The neighbour pairs of a cubic kernel, found on the first call and kept."""
        if kernel_size not in self._kernel_maps:
            self._kernel_maps[kernel_size] = self._build_kernel_map(kernel_size)
        return self._kernel_maps[kernel_size]

    def _build_kernel_map(self, kernel_size: int) -> KernelMap:
        check_kernel_size(kernel_size)
        radius, volume = kernel_size // 2, kernel_size**3
        offsets = list(itertools.product(range(-radius, radius + 1), repeat=3))
        shifts = [x * self._strides[1] + y * self._strides[2] + z for x, y, z in offsets]
        counts: dict[int, int] = {}
        found = []
        per_chunk = max(1, QUERIES_AT_ONCE // self.num_voxels)
        for first in range(volume // 2 + 1, volume, per_chunk):
            *pairs, numbers = self._look_up(shifts[first : first + per_chunk])
            found.append(pairs)
            counts |= {k: number for k, number in enumerate(numbers, start=first) if number}
        none = self._keys.new_zeros(0)
        reads, writes = (torch.cat(each) for each in zip(*found, strict=True)) if found else (none, none)
        return KernelMap(volume, self.num_voxels, counts, reads, writes)

    def _look_up(self, shifts: list[int]) -> tuple[Tensor, Tensor, list[int]]:
        """Pairs (reads, writes) of voxels so far apart, shift after shift, and how many each shift of the key has."""
        wanted = self._keys + torch.tensor(shifts, device=self._keys.device)[:, None]
        rank = torch.searchsorted(self._sorted_keys, wanted).clamp_(max=self.num_voxels - 1)
        which, writes = torch.nonzero(self._sorted_keys[rank] == wanted, as_tuple=True)
        reads = rank[which, writes]
        if self._rank_to_voxel is not None:
            reads = self._rank_to_voxel[reads]
        return reads, writes, torch.bincount(which, minlength=len(shifts)).tolist()
