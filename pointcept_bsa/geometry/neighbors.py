"""Nearest neighbours inside each cloud of a ragged batch, exact, on the points' device.

``N`` points of all clouds, ``B`` clouds, ``d`` space dimensions, ``k`` neighbours a point. A table of neighbours
(N, k) holds for each point the points it hears from, the nearest first (itself at distance zero), and -1 where there
are fewer than ``k``. No pair of points of different clouds ever meets in it.

On the CPU scipy's k-d tree searches each cloud, on CUDA Triton kernels search all of them in one launch; else all
distances are formed, a chunk of queries at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton
from pointcept_bsa.geometry.host_tables import host_table, on_device
from pointcept_bsa.geometry.tree_plan import as_lengths

if triton_installed():
    from pointcept_bsa.geometry.neighbors_triton import MAX_NEIGHBORS, nearest_triton

EDGES = ("knn", "radius")
# So many distances are held at once: 256 MiB in float32.
MAX_DISTANCES = 2**26
TIES = 8  # times as many neighbours are looked at, at least, where the last one is as far away as the next


def check_edges(edges: str, num_neighbors: int, radius: float | None) -> None:
    """Raise ValueError unless the arguments of :func:`find_neighbors` fit each other."""
    if edges not in EDGES:
        raise ValueError(f"edges: got {edges!r}, wanted one of {EDGES}")
    if num_neighbors < 1:
        raise ValueError(f"num_neighbors: got {num_neighbors}, wanted at least 1 (the point itself)")
    if edges == "radius" and not (radius is not None and radius > 0):
        raise ValueError(f"radius: got {radius}, wanted a number above 0 with edges='radius'")


@torch.no_grad()
def find_neighbors(
    coord: Tensor,
    lengths: Sequence[int] | Tensor,
    num_neighbors: int = 16,
    *,
    edges: str = "knn",
    radius: float | None = None,
) -> Tensor:
    """The ``num_neighbors`` nearest points of the own cloud, the point itself included.

    Args:
        coord: (N, d) positions.
        lengths: points of each cloud.
        num_neighbors: k; with ``edges="radius"`` the most that are kept, the nearest first.
        edges: ``"knn"``, or ``"radius"`` for those no farther than ``radius``.
        radius: in the unit of ``coord``.

    Returns:
        (N, k) index into the N points, by rising distance; -1 where there are fewer. Of points at the same distance
        the one with the lower index comes first (the k-d tree sees a few times k of them; where all distances are
        formed it is not specified).

    Raises:
        ValueError: see :func:`check_edges`; lengths of other points.
    """
    check_edges(edges, num_neighbors, radius)
    lengths = as_lengths(lengths, len(coord))
    limit = radius if edges == "radius" and radius is not None else math.inf
    coord = coord.detach().float()
    if _on_triton(coord, num_neighbors):
        index, distance = nearest_triton(coord, lengths, num_neighbors, limit)
        return index if limit == math.inf else index.masked_fill(distance > limit, -1)
    return _search_clouds(coord, lengths, coord, lengths, num_neighbors, limit)


@torch.no_grad()
def find_among(
    queries: Tensor,
    query_lengths: tuple[int, ...],
    coord: Tensor,
    lengths: tuple[int, ...],
    num_neighbors: int = 16,
    *,
    edges: str = "knn",
    radius: float | None = None,
) -> Tensor:
    """:func:`find_neighbors` of new points at (Q, d), ``query_lengths`` a cloud, among the points at (N, d): (Q, k)."""
    check_edges(edges, num_neighbors, radius)
    limit = radius if edges == "radius" and radius is not None else math.inf
    return _search_clouds(queries.float(), query_lengths, coord.float(), lengths, num_neighbors, limit)


def _search_clouds(
    queries: Tensor,
    query_lengths: tuple[int, ...],
    coord: Tensor,
    lengths: tuple[int, ...],
    num_neighbors: int,
    limit: float,
) -> Tensor:
    search = _search_tree if coord.device.type == "cpu" else _search_all
    tables, start = [], 0
    for own, cloud in zip(queries.split(query_lengths), coord.split(lengths), strict=True):
        index, distance = search(own, cloud, min(num_neighbors, len(cloud)))
        index = (index + start).masked_fill(distance > limit, -1)
        tables.append(F.pad(index, (0, num_neighbors - index.shape[1]), value=-1))
        start += len(cloud)
    return torch.cat(tables)


def shift_neighbors(index: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Turn neighbours counted inside each cloud, as a data set caches them, into neighbours of the batch.

    Args:
        index: (N, k) integers, -1 for none.
        lengths: points of each cloud.

    Raises:
        ValueError: another shape than (N, k), or (on the CPU, where looking is free) an index outside its cloud.
    """
    if index.dim() != 2 or index.shape[0] != sum(lengths):
        raise ValueError(f"neighbor_index: got shape {tuple(index.shape)}, wanted ({sum(lengths)}, neighbours)")
    starts, sizes = (on_device(table, index.device) for table in _cloud_tables(lengths))
    if index.device.type == "cpu" and bool(((index < -1) | (index >= sizes)).any()):
        raise ValueError(
            f"neighbor_index: got values from {int(index.min())} to {int(index.max())} for clouds of {lengths} points, "
            "wanted indices inside each cloud, or -1"
        )
    return torch.where(index >= 0, index + starts, -1)


@lru_cache(maxsize=16)
def _cloud_tables(lengths: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """First point and number of points of the cloud of each point, (N, 1)."""
    starts = np.cumsum(lengths) - lengths
    return host_table(np.repeat(starts, lengths)[:, None]), host_table(np.repeat(lengths, lengths)[:, None])


def _on_triton(coord: Tensor, num_neighbors: int) -> bool:
    why_not = None
    if triton_installed() and num_neighbors > MAX_NEIGHBORS:
        why_not = f"num_neighbors: got {num_neighbors}, wanted at most {MAX_NEIGHBORS}"
    return use_triton("find_neighbors", coord, unsupported=why_not)


def _search_tree(queries: Tensor, cloud: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices and distances (n, k) from a k-d tree."""
    from scipy.spatial import cKDTree  # a tree need not wait for its import

    tree, points, size = cKDTree(cloud.double().numpy()), queries.double().numpy(), len(cloud)
    count = min(k + 1, size)
    distance, index = tree.query(points, k=range(1, count + 1))
    rows = np.flatnonzero((distance[:, 1:] == distance[:, :-1]).any(1))
    far, found = distance[rows], index[rows]
    while len(rows):  # more and more neighbours, up to where the next one is farther away than the last
        order = np.lexsort((found, far), axis=1)[:, :k]
        index[rows, :k], distance[rows, :k] = np.take_along_axis(found, order, 1), np.take_along_axis(far, order, 1)
        rows = rows[far[:, k - 1] == far[:, -1]]
        if count >= min(TIES * k, size):
            break
        count = min(2 * count, size)
        far, found = tree.query(points[rows], k=range(1, count + 1))
    return torch.from_numpy(index[:, :k].astype(np.int64)), torch.from_numpy(distance[:, :k].copy())


def _search_all(queries: Tensor, cloud: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices and distances (n, k) from the distances of all pairs."""
    nearest = [
        _distances(some, cloud).topk(k, largest=False) for some in queries.split(max(1, MAX_DISTANCES // len(cloud)))
    ]
    return torch.cat([n.indices for n in nearest]), torch.cat([n.values for n in nearest])


def _distances(queries: Tensor, cloud: Tensor) -> Tensor:
    """(n, m) distances, without the cancellation of |a|^2 - 2ab + |b|^2. (torch.cdist takes ten times as long.)"""
    squared = torch.zeros((), device=cloud.device)
    for a, b in zip(queries.unbind(1), cloud.unbind(1), strict=True):
        squared = squared + (a.unsqueeze(1) - b).square()
    return squared.sqrt()
