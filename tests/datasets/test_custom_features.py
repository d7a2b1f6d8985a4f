"""Fields that follow from the mesh: normals, wall distance, averages of cells."""

from __future__ import annotations

import numpy as np
import pytest
from custom_files import surface

from pointcept_bsa.datasets.custom.features import average_to_points, orientation, point_normals, wall_distance
from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import Mesh, write_mesh

CORNER = np.array([[x, y, z] for x in (0.0, 1) for y in (0.0, 1) for z in (0.0, 1)])
BOX = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])  # outward


def test_normals_of_a_sphere_point_outward_and_have_length_one():
    mesh = surface(3)
    normals = point_normals(mesh.points, mesh.cells, 3, "x")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-12)
    scale = np.abs(mesh.points).max(axis=0)
    exact = mesh.points / scale**2
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    assert np.all((normals * exact).sum(axis=1) > 0.6)
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    np.testing.assert_allclose(point_normals(square, {"quad": np.array([[0, 1, 2, 3]])}, 3, "x"), [[0, 0, 1]] * 4)
    np.testing.assert_allclose(
        point_normals(square, {"triangle": np.array([[0, 1, 2], [0, 2, 3]])}, 3, "x"), [[0, 0, 1]] * 4
    )
    with pytest.raises(InputError, match="1 of 4 points belong to no face"):
        point_normals(square, {"triangle": np.array([[0, 1, 2]])}, 3, "x")
    with pytest.raises(InputError, match="wanted lines"):
        point_normals(square, {"triangle": np.array([[0, 1, 2]])}, 2, "x")


def test_orders_of_faces_are_told_apart():
    corner, box = CORNER + 5e6, BOX  # far from the origin
    turned = box.copy()
    turned[2] = turned[2][::-1]
    assert orientation(corner, {"quad": box}) == "outward"
    assert orientation(corner, {"quad": box[:, ::-1]}) == "inward"
    assert orientation(corner, {"quad": box[:5], "polygon4": box[5:]}) == "outward"
    assert orientation(corner, {"quad": turned}) == "both ways"
    assert orientation(corner, {"quad": box[:5]}) is None
    fin = {"quad": box, "triangle": np.array([[0, 1, 7]])}  # three faces at an edge: no order is right there
    assert orientation(corner, fin) is None and orientation(corner, {}) is None


@pytest.mark.parametrize("turn", ["none", "one sample", "one face"])
def test_normals_of_faces_in_different_order_are_told(tmp_path, prepare_tool, capsys, turn):
    (tmp_path / "raw").mkdir()
    for i in range(5):
        quad = BOX.copy()
        if i == 2 and turn != "none":
            chosen = slice(None) if turn == "one sample" else slice(1)
            quad[chosen] = quad[chosen, ::-1]
        points = CORNER * [1, 2, 3 + i]
        write_mesh(tmp_path / "raw" / f"s{i}.vtp", Mesh(points, {"quad": quad}, {"p": points[:, 0]}))
    words = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "out"), "--target", "p"]
    assert prepare_tool.main([*words, "--feature", "normal"]) == 0
    told = capsys.readouterr().out
    if turn == "none":
        assert "normal: the faces" not in told
    else:
        way = {"one sample": "inward", "one face": "both ways"}[turn]
        assert f"{way} in 1 (s2, ..)" in told and "outward in 4 (s0, ..)" in told
        assert any(
            "outward in 4" in note for note in CustomFieldDataset("train", str(tmp_path / "out")).card()["notes"]
        )


def test_wall_distance_and_averages_of_cells():
    points = np.array([[0.0, 0], [3, 4], [0, 1]])
    np.testing.assert_allclose(wall_distance(points, np.array([1, 0, 0]), "x")[:, 0], [0, 5, 1])
    with pytest.raises(InputError, match="nowhere above 0.5"):
        wall_distance(points, np.zeros(3), "x")
    cells = {"triangle": np.array([[0, 1, 2]]), "quad": np.array([[1, 2, 3, 4]])}
    averaged = average_to_points(np.array([2.0, 6.0]), cells, 5, "x")
    assert averaged[:, 0].tolist() == [2, 4, 4, 6, 6]
    with pytest.raises(InputError, match="1 of 6 points belong to no cell"):
        average_to_points(np.array([2.0, 6.0]), cells, 6, "x")


def test_loose_points_can_be_left_out(tmp_path):
    for i in range(4):
        points = np.random.rand(5, 3)
        mesh = Mesh(
            points, {"triangle": np.array([[0, 2, 4], [2, 4, 1]])}, {"p": np.arange(5.0)}, {"c": np.array([1.0, 3])}
        )
        write_mesh(tmp_path / f"{i}.vtu", mesh)
    data = CustomFieldDataset("train", str(tmp_path), target=["p", "c"], cells_to_points=True, drop_loose_points=True)
    sample = data[0]
    assert sample["target"].tolist() == [[0, 1], [1, 3], [2, 2], [4, 2]]
    assert sample["face"].tolist() == [[0, 2, 3], [2, 3, 1]]
    assert "points that belong to no cell are left out" in data.card()["notes"]
