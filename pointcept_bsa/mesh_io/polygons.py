"""Polygons cut into triangles, concave ones too.

The cut is our own and not a library's (earcut, triangle): those drop corners that lie on a straight edge, after which
the triangles of neighbours no longer share their edges and a closed surface counts as open. Here every edge of a
polygon stays the edge of exactly one of its k - 2 triangles.

Letters: N points, F polygons, k corners of a polygon, r corners that are left of it.
"""

from __future__ import annotations

import numpy as np

CHUNK = 1 << 22  # corners times corners of the polygons that are cut at a time
FLAT = 1e-12  # of a polygon's extent squared: a smaller turn is straight on


def triangles_of_polygons(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Return (F, k - 2, 3): each polygon's triangles, in its own orientation.

    A polygon may be concave, have corners on straight edges, begin at any corner and leave its plane a little: it is
    cut as its shadow on the plane of its mean normal is. A quad gets the diagonal that leaves the larger smallest
    triangle; of more corners the ear with the shortest diagonal goes first. Crossed polygons are cut somehow.

    Args:
        points: (N, 3).
        polygon: (F, k) rows of ``points``, k of at least 3.
    """
    count, corners = polygon.shape
    if corners == 3 or count == 0:
        return polygon.reshape(count, -1, 3) if corners == 3 else np.empty((0, corners - 2, 3), polygon.dtype)
    cut = _cut_quads if corners == 4 else _cut_ears
    step = max(1, CHUNK // corners**2)
    parts = [polygon[i : i + step] for i in range(0, count, step)]
    return np.concatenate([cut(_flattened(points[part]), part) for part in parts])


def _flattened(corner: np.ndarray) -> np.ndarray:
    """(F, k, 2): the shadows of polygons (F, k, 3) on the planes of their normals (Newell), counter-clockwise."""
    corner = corner - corner.mean(axis=1, keepdims=True)
    normal = np.cross(corner, np.roll(corner, -1, axis=1)).sum(axis=1)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.where(length > 0, normal / np.where(length > 0, length, 1), [0.0, 0.0, 1.0])
    first = np.cross(normal, np.eye(3)[np.abs(normal).argmin(axis=1)])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.stack([np.einsum("fkd,fd->fk", corner, axis) for axis in (first, np.cross(normal, first))], axis=2)


def _orientation(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Twice the signed area of the triangles a, b, c."""
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])


def _cut_quads(flat: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    a, b, c, d = flat.swapaxes(0, 1)
    from_first = np.minimum(_orientation(a, b, c), _orientation(a, c, d))
    from_second = np.minimum(_orientation(b, c, d), _orientation(b, d, a))
    ways = np.array([[[0, 1, 2], [0, 2, 3]], [[1, 2, 3], [1, 3, 0]]])
    way = ways[(from_second > from_first * (1 + 1e-9)).astype(np.int64)]  # (F, 2, 3)
    return np.take_along_axis(polygon, way.reshape(-1, 6), axis=1).reshape(-1, 2, 3)


def _cut_ears(flat: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Clip one ear of all polygons at a time."""
    count, left = polygon.shape
    row = np.arange(count)
    ring = np.tile(np.arange(left), (count, 1))  # (F, r) corners that are left
    triangles = []
    while left > 3:
        corner = flat[row[:, None], ring]
        ear = _best_ear(corner)
        around = np.stack([(ear - 1) % left, ear, (ear + 1) % left], axis=1)
        triangles.append(np.take_along_axis(ring, around, axis=1))
        kept = np.arange(left)[None] != ear[:, None]
        left -= 1
        ring = ring[kept].reshape(count, left)
    triangles.append(ring)
    return np.take_along_axis(polygon[:, None], np.stack(triangles, axis=1).reshape(count, 1, -1), axis=2).reshape(
        count, -1, 3
    )


def _best_ear(corner: np.ndarray) -> np.ndarray:
    """(F,) which corner of rings (F, r, 2) to clip."""
    before, after = np.roll(corner, 1, axis=1), np.roll(corner, -1, axis=1)
    orientation = _orientation(before, corner, after)  # (F, r)
    flat = FLAT * np.square(np.ptp(corner, axis=1)).sum(axis=1)[:, None]
    a, b, c = (one[:, :, None] for one in (before, corner, after))
    other = corner[:, None]  # (F, 1, r, 2): may none of them lie in the ear (F, r)
    within = (_orientation(a, b, other) >= -flat[:, None]) & (_orientation(b, c, other) >= -flat[:, None])
    within &= _orientation(c, a, other) >= -flat[:, None]
    for own in (a, b, c):
        within &= (other != own).any(axis=-1)
    free = ~within.any(axis=2)
    diagonal = np.square(after - before).sum(axis=2)
    # The best is a real ear, then a corner on a straight edge, then (crossed polygons) any that turns left.
    rank = np.where(
        free & (orientation > flat), 0, np.where(np.abs(orientation) <= flat, 1, np.where(orientation > 0, 2, 3))
    )
    return np.lexsort((diagonal, rank), axis=1)[:, 0]
