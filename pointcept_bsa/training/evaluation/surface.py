"""Surfaces: faces of a mesh, turned outward.

``N`` points, ``F`` triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from pointcept_bsa.mesh_io import Mesh
from pointcept_bsa.mesh_io.polygons import triangles_of_polygons


@dataclass(frozen=True)
class Surface:
    """Outward triangles of a mesh.

    Attributes:
        triangle: (F, 3) points, ordered so that normals point outward as far as that can be known.
        flipped: how many triangles the file had the other way round.
        open_edges: edges of one triangle only; 0 for a closed surface.
        crowded_edges: edges of three or more triangles, across which no orientation is passed on.
    """

    triangle: np.ndarray
    flipped: int
    open_edges: int
    crowded_edges: int

    @property
    def closed(self) -> bool:
        return self.open_edges == 0 and self.crowded_edges == 0

    @property
    def gaps(self) -> str:
        """What keeps it from being closed, in words."""
        found = {"of one triangle": self.open_edges, "of three or more": self.crowded_edges}
        return ", ".join(f"{count} edges {what}" for what, count in found.items() if count)


def triangles_of(mesh: Mesh) -> np.ndarray:
    """(F, 3) all triangles, quads and polygons of a mesh; those of more corners, concave ones too, are cut."""
    parts = [np.zeros((0, 3), dtype=np.int64)]
    for name, block in mesh.cells.items():
        if name == "triangle" or name == "quad" or name.startswith("polygon"):
            parts.append(triangles_of_polygons(mesh.points, block).reshape(-1, 3))
    return np.concatenate(parts)


def outward_surface(points: np.ndarray, triangle: np.ndarray) -> Surface:
    """Turn the triangles so that neighbours agree and every connected part looks outward.

    Outward: a part's signed volume (about its own centre) is positive. For an open part that is the side away from its
    centre, which is a guess.

    Args:
        points: (N, 3).
        triangle: (F, 3), in any orientation. Points at the same place count as one here (files of loose triangles);
            triangles with two corners at one place (poles of structured grids) are left out.
    """
    place = np.unique(points, axis=0, return_inverse=True)[1].ravel()
    kept = triangle[(np.diff(np.sort(place[triangle], axis=1), axis=1) > 0).all(1)]
    neighbors, same_way, open_edges, crowded = _adjacency(place[kept])
    sign = _agreeing_signs(len(kept), neighbors, same_way)
    part = connected_components(_graph(len(kept), neighbors), directed=False)[1]
    corner = points[kept]
    centre = np.stack([np.bincount(part, corner.mean(1)[:, i]) for i in range(3)], 1) / np.bincount(part)[:, None]
    a, b, c = (corner - centre[part][:, None]).swapaxes(0, 1)
    volume = np.bincount(part, sign * np.einsum("fd,fd->f", a, np.cross(b, c)))
    sign = sign * np.where(volume < 0, -1, 1)[part]
    flipped = np.where((sign < 0)[:, None], kept[:, ::-1], kept)
    return Surface(flipped, int((sign < 0).sum()), open_edges, crowded)


def area_vectors(points: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """(F, 3) normal times area."""
    a, b, c = points[triangle].swapaxes(0, 1)
    return 0.5 * np.cross(b - a, c - a)


def point_normals(points: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """(N, 3) unit normals, the mean of the adjacent triangles weighted by area; zero for a point of no triangle."""
    vectors = area_vectors(points, triangle)
    normal = np.zeros_like(points)
    for i in range(3):
        np.add.at(normal, triangle[:, i], vectors)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)


def _adjacency(triangle: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Pairs of triangles that share an edge (E, 2), whether they agree, and the numbers of open and crowded edges."""
    edge = np.concatenate([triangle[:, [i, (i + 1) % 3]] for i in range(3)])
    owner = np.tile(np.arange(len(triangle)), 3)
    forward = edge[:, 0] < edge[:, 1]
    number, count = np.unique(np.sort(edge, axis=1), axis=0, return_inverse=True, return_counts=True)[1:]
    order = np.argsort(number.ravel(), kind="stable")
    first = np.cumsum(count) - count
    pair = order[first[count == 2][:, None] + np.arange(2)]  # (E, 2) rows of ``edge``
    agree = forward[pair[:, 0]] != forward[pair[:, 1]]  # neighbours run along their common edge in opposite directions
    return owner[pair], agree, int((count == 1).sum()), int((count > 2).sum())


def _graph(size: int, pairs: np.ndarray) -> csr_matrix:
    return csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))


def _agreeing_signs(size: int, pairs: np.ndarray, agree: np.ndarray) -> np.ndarray:
    """(F,) 1 or -1 such that triangles across an edge agree, passed on from the first triangle of each part."""
    sign = np.ones(size, dtype=np.int64)
    if agree.all():
        return sign
    both = np.concatenate([pairs, pairs[:, ::-1]])
    relation = dict(zip(map(tuple, both.tolist()), np.where(np.tile(agree, 2), 1, -1).tolist()))
    graph = _graph(size, pairs)
    part = connected_components(graph, directed=False)[1]
    for root in np.unique(part, return_index=True)[1]:
        order, parent = breadth_first_order(graph, root, directed=False)
        for i in order[1:].tolist():
            sign[i] = sign[parent[i]] * relation[int(parent[i]), i]
    return sign
