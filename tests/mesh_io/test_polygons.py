"""Polygons cut into triangles: areas against the shoelace formula, edges that stay, any first corner."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.mesh_io.polygons import triangles_of_polygons

COMB = [(9, -1)] + [(i + s, 0 if i % 2 else 5) for i in range(8, -1, -1) for s in (0.5, 0)] + [(0, -1)]
SHAPES = {
    "dart": [(0, 0), (2, -1), (0.5, 0), (2, 1)],
    "square": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "L": [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)],
    "L with corners on its edges": [(0, 0), (1, 0), (2, 0), (2, 1), (1.5, 1), (1, 1), (1, 2), (0, 2), (0, 1)],
    "square of many corners": [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2), (0, 1)],
    "arrow": [(0, 0), (3, 0), (3, -1), (5, 1), (3, 3), (3, 2), (0, 2), (1, 1)],
    "comb": COMB,
    "ring with a slit": [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)],
    "zigzag": [(0, 0), (1, 2), (2, 0), (3, 2), (4, 0), (4, 1), (3, 3), (2, 1), (1, 3), (0, 1)],
}


def shoelace(flat):
    x, y = flat.T
    return 0.5 * abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def vectors(points, triangle):
    a, b, c = points[triangle].swapaxes(0, 1)
    return 0.5 * np.cross(b - a, c - a)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("warp", [0, 1e-3])
def test_areas_are_right_from_every_corner(name, backward, warp):
    flat = np.array(SHAPES[name], float)[:: -1 if backward else 1]
    turn, rng = Rotation.random(random_state=0).as_matrix(), np.random.default_rng(0)
    count = len(flat)
    points = np.c_[flat, warp * rng.normal(size=count)] @ turn.T + [1000.0, -2000, 50]
    normal = turn[:, 2] * (-1 if backward else 1)
    first = np.arange(count)
    triangles = triangles_of_polygons(points, (first[:, None] + first) % count)  # one a first corner
    assert triangles.shape == (count, count - 2, 3)
    for triangle in triangles:
        area = vectors(points, triangle) @ normal
        assert area.min() > -1e-6  # all look the same way
        assert np.linalg.norm(vectors(points, triangle), axis=1).sum() == pytest.approx(shoelace(flat), rel=1e-9 + warp)
        edges = np.concatenate([triangle[:, [i, (i + 1) % 3]] for i in range(3)]).tolist()
        assert all(edges.count([i, (i + 1) % count]) == 1 for i in range(count))  # those of the polygon stay


def test_random_stars():
    rng = np.random.default_rng(0)
    for count in range(4, 16):
        angle = np.sort(rng.random((400, count)), axis=1) * 2 * np.pi
        angle = angle[np.diff(angle, append=angle[:, :1] + 2 * np.pi, axis=1).max(axis=1) < 3]
        radius = rng.uniform(0.05, 1, angle.shape)
        flat = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
        points = np.pad(flat, ((0, 0), (0, 0), (0, 1))).reshape(-1, 3)
        cut = triangles_of_polygons(points, np.arange(len(points)).reshape(-1, count))
        area = np.linalg.norm(vectors(points, cut.reshape(-1, 3)), axis=1).reshape(len(cut), -1).sum(axis=1)
        np.testing.assert_allclose(area, [shoelace(own) for own in flat], rtol=1e-8)


@pytest.mark.parametrize("corners", [4, 5, 9])
def test_polygons_without_sense_do_no_harm(corners):
    """All corners at one place, on one line, crossed, or not a number."""
    for points in (
        np.zeros((corners, 3)),
        np.arange(corners)[:, None] * np.array([1.0, 2, 3]),
        np.random.default_rng(0).normal(size=(corners, 3)),
        np.full((corners, 3), np.nan),
    ):
        cut = triangles_of_polygons(points, np.arange(corners)[None])
        assert cut.shape == (1, corners - 2, 3) and set(cut.ravel().tolist()) == set(range(corners))
    assert triangles_of_polygons(np.zeros((0, 3)), np.zeros((0, corners), int)).shape == (0, corners - 2, 3)


def test_stl_of_a_concave_polygon(tmp_path):
    points = np.pad(np.array(SHAPES["L"], float), ((0, 0), (0, 1)))
    write_mesh(tmp_path / "a.stl", Mesh(points, {"polygon6": np.roll(np.arange(6), 2)[None]}))
    read = read_mesh(tmp_path / "a.stl")
    assert np.linalg.norm(vectors(read.points, read.cells["triangle"]), axis=1).sum() == pytest.approx(3)
