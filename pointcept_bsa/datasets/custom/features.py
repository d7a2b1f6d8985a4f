"""What can be worked out from a mesh: normals, distance to a wall, cell data on the points.

Letters: N points, F cells, k points of a cell, d dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.spatial import cKDTree

from pointcept_bsa.errors import InputError

Cells = Mapping[str, np.ndarray]
FACES = ("triangle", "quad")  # and polygons


def point_normals(points: np.ndarray, cells: Cells, dimension: int, where: object) -> np.ndarray:
    """Return unit normals (N, d): the sum of the vector areas of the faces at a point (d = 2: of the lines).

    They point to where the order of the faces' corners says. A point whose faces cancel or have no area gets 0.

    Raises:
        InputError: no faces (d = 3) or lines (d = 2), or points that belong to none.
    """
    total = np.zeros((len(points), 3))
    touched = np.zeros(len(points), bool)
    for name, block in cells.items():
        if dimension == 2 and name == "line":
            along = points[block[:, 1]] - points[block[:, 0]]
            area = np.stack([along[:, 1], -along[:, 0], np.zeros(len(along))], axis=1)
        elif dimension == 3 and (name in FACES or name.startswith("polygon")):
            corners = points[block]  # (F, k, 3)
            center = corners.mean(axis=1, keepdims=True)
            area = 0.5 * np.cross(corners - center, np.roll(corners, -1, axis=1) - center).sum(axis=1)
        else:
            continue
        for corner in range(block.shape[1]):
            np.add.at(total, block[:, corner], area)
        touched[block.reshape(-1)] = True
    if not touched.all():
        kind = "lines" if dimension == 2 else "triangles, quads or polygons"
        raise InputError(
            f"{where}: normal: {np.count_nonzero(~touched)} of {len(points)} points belong to no face, "
            f"wanted {kind} at all of them"
        )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.zeros_like(total), where=length > 0)[:, :dimension]


def orientation(points: np.ndarray, cells: Cells) -> str | None:
    """How the faces (triangles, quads, polygons) of a mesh in space are ordered.

    "both ways" where two that share an edge run along it in the same direction, else "outward" or "inward" of a closed
    surface, by the sign of its volume; None of an open one, for which nobody can say, and without faces.
    """
    blocks = [block for name, block in cells.items() if name in FACES or name.startswith("polygon")]
    if not blocks:
        return None
    starts = np.concatenate([block.reshape(-1) for block in blocks]).astype(np.int64)
    ends = np.concatenate([np.roll(block, -1, axis=1).reshape(-1) for block in blocks]).astype(np.int64)
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    number, count = np.unique(low * len(points) + high, return_inverse=True, return_counts=True)[1:]
    forward = np.bincount(number.reshape(-1), starts < ends)
    if (forward[count == 2] != 1).any():
        return "both ways"
    if (count != 2).any():
        return None
    middle, volume = points.mean(axis=0), 0.0
    for block in blocks:
        corners = points[block] - middle
        center = corners.mean(axis=1)
        area = np.cross(corners - center[:, None], np.roll(corners, -1, axis=1) - center[:, None]).sum(axis=1)
        volume += float((area * center).sum())
    return "outward" if volume > 0 else "inward"


def wall_distance(points: np.ndarray, mask: np.ndarray, where: object) -> np.ndarray:
    """Return (N, 1): the distance to the nearest point at which ``mask`` (N,) is above 0.5.

    Raises:
        InputError: no such point, a mask of several columns.
    """
    if mask.size != len(points):
        raise InputError(f"{where}: the mask of the wall has shape {mask.shape}, wanted one number a point")
    wall = points[mask.reshape(-1) > 0.5]
    if len(wall) == 0:
        raise InputError(f"{where}: the mask of the wall is nowhere above 0.5, wanted some points on the wall")
    return cKDTree(wall).query(points)[0][:, None]


def average_to_points(values: np.ndarray, cells: Cells, num_points: int, where: object) -> np.ndarray:
    """Return (N, K): at each point the mean over the cells it belongs to.

    Raises:
        InputError: points that belong to no cell.
    """
    values = values.reshape(len(values), -1).astype(np.float64)  # (F, K)
    total, count, start = np.zeros((num_points, values.shape[1])), np.zeros(num_points), 0
    for block in cells.values():
        own = values[start : start + len(block)]
        for corner in range(block.shape[1]):
            np.add.at(total, block[:, corner], own)
            np.add.at(count, block[:, corner], 1)
        start += len(block)
    _refuse_loose(count > 0, where)
    return total / count[:, None]


def most_frequent_at_points(labels: np.ndarray, cells: Cells, num_points: int, where: object) -> np.ndarray:
    """Return (N, 1): at each point the label that most of its cells have, of equally many the smallest.

    Raises:
        InputError: several columns, points that belong to no cell.
    """
    if labels.size != len(labels):
        raise InputError(f"{where}: a label of cells has shape {labels.shape}, wanted one integer a cell")
    _refuse_loose(used_points(cells, num_points), where)
    ends = np.cumsum([0, *(len(block) for block in cells.values())])
    parts = [
        np.stack([block.reshape(-1), np.repeat(labels.reshape(-1)[start:end], block.shape[1])], axis=1)
        for block, start, end in zip(cells.values(), ends[:-1], ends[1:], strict=True)
    ]
    pairs, counts = np.unique(np.concatenate(parts), axis=0, return_counts=True)  # (point, label), in this order
    best = np.lexsort((pairs[:, 1], -counts, pairs[:, 0]))
    first = np.searchsorted(pairs[best, 0], np.arange(num_points))
    return pairs[best[first], 1][:, None].astype(np.float64)


def _refuse_loose(used: np.ndarray, where: object) -> None:
    if not used.all():
        raise InputError(
            f"{where}: {np.count_nonzero(~used)} of {len(used)} points belong to no cell and get no cell data, "
            "wanted cells at all of them (--drop-loose-points leaves such points out)"
        )


def used_points(cells: Cells, num_points: int) -> np.ndarray:
    """Return (N,) whether a point belongs to a cell."""
    used = np.zeros(num_points, bool)
    for block in cells.values():
        used[block.reshape(-1)] = True
    return used


def other_cells(cells: Cells) -> Cells:
    """Return the cells that ``faces_of`` leaves out: volumes, faces of several kinds; none of bare points."""
    return {} if faces_of(cells) is not None or set(cells) <= {"vertex"} else cells


def faces_of(cells: Cells) -> np.ndarray | None:
    """Return the faces (F, 3) or (F, 4) of a mesh of triangles only or quads only, else None."""
    if len(cells) == 1 and next(iter(cells)) in ("triangle", "quad"):
        return next(iter(cells.values()))
    return None
