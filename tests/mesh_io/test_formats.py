"""Every format gives back what was written, and what meshio and VTK write and read."""

from __future__ import annotations

import os

import numpy as np
import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import SUFFIXES, Mesh, read_mesh, write_mesh

SURFACE = {"triangle": (4, 3), "quad": (3, 4), "polygon5": (2, 5)}
VOLUME = {"tetra": (5, 4), "hexahedron": (3, 8), "wedge": (2, 6), "pyramid": (2, 5), "triangle": (4, 3)}
FULL = (".vtk", ".vtu", ".npz")  # hold everything
SURFACES = (*FULL, ".vtp", ".ply")


def make_mesh(kinds, seed=0, num_points=12, field_data=False):
    rng = np.random.default_rng(seed)
    cells = {name: rng.integers(0, num_points, shape) for name, shape in kinds.items()}
    total = sum(len(block) for block in cells.values())
    pressure = rng.normal(size=num_points)
    pressure[3] = np.nan
    return Mesh(
        rng.normal(size=(num_points, 3)),
        cells,
        {
            "pressure": pressure,
            "velocity": rng.random((num_points, 3)).astype(np.float32),
            "two": rng.random((num_points, 2)),
        },
        {"patch": np.arange(total, dtype=np.int32), "flux": rng.random((total, 2))},
        {"mach": np.array([0.7]), "axes": np.array([1.0, 2.0, 3.0])} if field_data else {},
    )


def assert_same(found, wanted):
    np.testing.assert_array_equal(found.points, wanted.points)
    assert found.points.dtype == np.float64
    assert list(found.cells) == list(wanted.cells)
    for group in ("cells", "point_data", "cell_data", "field_data"):
        one, other = getattr(found, group), getattr(wanted, group)
        assert one.keys() == other.keys(), group
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
            assert one[name].dtype == other[name].dtype, name


@pytest.mark.parametrize("suffix", SURFACES)
def test_a_surface_is_read_back_as_written(tmp_path, suffix):
    mesh = make_mesh(SURFACE, field_data=suffix != ".ply")
    write_mesh(tmp_path / f"a{suffix}", mesh)
    assert_same(read_mesh(tmp_path / f"a{suffix}"), mesh)
    assert os.listdir(tmp_path) == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", FULL)
def test_a_volume_is_read_back_as_written(tmp_path, suffix):
    mesh = make_mesh(VOLUME)
    write_mesh(tmp_path / f"a{suffix}", mesh)
    assert_same(read_mesh(tmp_path / f"a{suffix}"), mesh)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_flat_points_get_a_third_coordinate(tmp_path, suffix):
    flat = Mesh(
        np.array([[0.0, 0], [1, 0], [1, 2]]), {} if suffix in (".npy", ".csv") else {"triangle": np.array([[0, 1, 2]])}
    )
    write_mesh(tmp_path / f"a{suffix}", flat)
    read = read_mesh(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read.points, [[0, 0, 0], [1, 0, 0], [1, 2, 0]])
    assert flat.points.shape == (3, 2)


@pytest.mark.parametrize("suffix", SURFACES)
def test_points_alone_make_a_cloud(tmp_path, suffix):
    cloud = Mesh(np.random.rand(5, 3), {}, {"p": np.arange(5.0)})
    write_mesh(tmp_path / f"a{suffix}", cloud)
    assert_same(read_mesh(tmp_path / f"a{suffix}"), cloud)


def test_stl_joins_equal_corners_and_splits_quads(tmp_path):
    square = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]), {"quad": np.array([[0, 1, 2, 3]])})
    write_mesh(tmp_path / "a.stl", square)
    read = read_mesh(tmp_path / "a.stl")
    corners = read.points[read.cells["triangle"]]
    np.testing.assert_array_equal(corners, square.points[[[0, 1, 2], [0, 2, 3]]])
    assert len(read.points) == 4


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("form", ["vtk42", "vtk", "vtu", "ply", "stl"])
def test_reads_what_meshio_writes(tmp_path, form, binary):
    import meshio

    kinds = {"triangle": (4, 3)} if form in ("ply", "stl") else VOLUME
    mesh = make_mesh(kinds)
    fields = {} if form == "stl" else {"pressure": mesh.point_data["pressure"]}
    patch = {} if form in ("stl", "ply") else {"patch": mesh.cell_data["patch"]}
    parts = np.split(mesh.cell_data["patch"], np.cumsum([len(c) for c in mesh.cells.values()])[:-1])
    theirs = meshio.Mesh(mesh.points, list(mesh.cells.items()), fields, dict.fromkeys(patch, parts))
    path = tmp_path / f"a.{form.removesuffix('42')}"
    theirs.write(path, file_format=form, binary=binary)
    read = read_mesh(path)
    tolerance = 1e-6 if form == "stl" else 1e-12
    if form == "stl":
        corners = mesh.points[mesh.cells["triangle"]]
        np.testing.assert_allclose(read.points[read.cells["triangle"]], corners, atol=tolerance)
        return
    np.testing.assert_allclose(read.points, mesh.points, atol=tolerance)
    for name, block in mesh.cells.items():
        np.testing.assert_array_equal(read.cells[name], block)
    for found, wanted in ((read.point_data, fields), (read.cell_data, patch)):
        assert found.keys() == wanted.keys()
        for name in wanted:
            np.testing.assert_allclose(np.squeeze(found[name]), wanted[name], rtol=1e-10)


@pytest.mark.parametrize("suffix", [".vtk", ".vtu", ".ply", ".stl"])
def test_meshio_reads_what_is_written(tmp_path, suffix):
    import meshio

    mesh = make_mesh({"triangle": (4, 3)})
    if suffix in (".ply", ".stl"):
        mesh.point_data, mesh.cell_data = {}, {}
    write_mesh(tmp_path / f"a{suffix}", mesh)
    theirs = meshio.read(tmp_path / f"a{suffix}")
    corners = theirs.points[theirs.cells_dict["triangle"]]
    np.testing.assert_allclose(corners, mesh.points[mesh.cells["triangle"]], atol=1e-6)
    for name, values in mesh.point_data.items():
        np.testing.assert_array_equal(theirs.point_data[name], values)
    for name, values in mesh.cell_data.items():
        np.testing.assert_array_equal(np.concatenate(theirs.cell_data[name]), values)


@pytest.mark.parametrize("suffix", [".vtk", ".vtu", ".vtp"])
def test_vtk_reads_what_is_written(tmp_path, suffix):
    pyvista = pytest.importorskip("pyvista")
    mesh = make_mesh(SURFACE if suffix == ".vtp" else VOLUME, field_data=True)
    write_mesh(tmp_path / f"a{suffix}", mesh)
    grid = pyvista.read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(grid.points, mesh.points)
    assert grid.n_cells == mesh.num_cells
    for name, values in mesh.point_data.items():
        np.testing.assert_array_equal(grid.point_data[name], values)
    for name, values in mesh.cell_data.items():
        np.testing.assert_array_equal(grid.cell_data[name], values)
    np.testing.assert_array_equal(grid.field_data["axes"], [1, 2, 3])
    wedge = {"wedge": [0, 2, 1, 3, 5, 4]}  # the one cell whose points VTK counts in another order
    start = 0
    for name, block in mesh.cells.items():
        for i, points in enumerate(block):
            order = wedge.get(name, list(range(len(points))))
            assert grid.get_cell(start + i).point_ids == points[order].tolist()
        start += len(block)


@pytest.mark.parametrize("mode", ["binary", "ascii", "zlib", "lzma", "none"])
@pytest.mark.parametrize("suffix", [".vtp", ".vtu", ".vtk"])
def test_reads_what_vtk_writes(tmp_path, suffix, mode):
    pyvista = pytest.importorskip("pyvista")
    if suffix == ".vtk" and mode in ("zlib", "lzma", "none"):
        pytest.skip("legacy files are not packed")
    sphere = pyvista.Sphere(theta_resolution=20, phi_resolution=20)
    grid = sphere if suffix != ".vtu" else sphere.delaunay_3d()
    grid.point_data["p"] = np.linspace(-1, 1, grid.n_points)
    grid.point_data["v"] = np.random.rand(grid.n_points, 3).astype(np.float32)
    grid.cell_data["c"] = np.arange(grid.n_cells)
    grid.field_data["mach"] = [0.5]
    packed = {"compression": mode} if mode in ("zlib", "lzma", "none") else {}
    if suffix == ".vtk":
        packed = {}
    elif mode in ("binary", "ascii"):
        packed = {"compression": None}
    grid.save(tmp_path / f"a{suffix}", binary=mode != "ascii", **({} if mode == "none" else packed))
    read = read_mesh(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(read.points, grid.points, atol=1e-6)  # text has six digits
    for name in ("p", "v"):
        np.testing.assert_allclose(read.point_data[name], grid.point_data[name], atol=1e-5)
    np.testing.assert_array_equal(read.cell_data["c"], grid.cell_data["c"])
    assert read.field_data["mach"].tolist() == [0.5]
    assert read.num_cells == grid.n_cells
    cells = np.concatenate(list(read.cells.values()))
    assert cells[0].tolist() == grid.get_cell(0).point_ids


@pytest.mark.parametrize("kind", ["image", "rectilinear", "structured"])
def test_structured_grids_are_points_and_hexahedra(tmp_path, kind):
    pyvista = pytest.importorskip("pyvista")
    grid = pyvista.ImageData(dimensions=(4, 3, 2), spacing=(0.5, 1, 2), origin=(1, 0, 0))
    grid.point_data["p"] = np.arange(24.0)
    if kind == "rectilinear":
        grid = grid.cast_to_rectilinear_grid()
    elif kind == "structured":
        grid = grid.cast_to_structured_grid()
    grid.save(tmp_path / "a.vtk")
    read = read_mesh(tmp_path / "a.vtk")
    np.testing.assert_allclose(read.points, grid.points)
    np.testing.assert_array_equal(read.point_data["p"], np.arange(24.0))
    assert read.cells["hexahedron"].shape == (6, 8)
    same = grid.cast_to_unstructured_grid()
    center = same.cell_centers().points
    np.testing.assert_allclose(read.points[read.cells["hexahedron"]].mean(axis=1), center, atol=1e-6)


def test_pieces_are_put_together(tmp_path):
    pyvista = pytest.importorskip("pyvista")
    write_mesh(tmp_path / "a.vtu", make_mesh({"triangle": (4, 3)}))
    text = pyvista.read(tmp_path / "a.vtu")
    text.save(tmp_path / "b.vtu", binary=False)
    content = (tmp_path / "b.vtu").read_text()
    start, end = content.index("<Piece"), content.index("</Piece>") + len("</Piece>")
    (tmp_path / "c.vtu").write_text(content[:end] + content[start:end] + content[end:])
    one, two = read_mesh(tmp_path / "b.vtu"), read_mesh(tmp_path / "c.vtu")
    assert len(two.points) == 24
    np.testing.assert_array_equal(two.cells["triangle"][4:], one.cells["triangle"] + 12)
    np.testing.assert_array_equal(two.cell_data["patch"], np.tile(one.cell_data["patch"], 2))


def test_cells_of_mixed_kinds_keep_their_data(tmp_path):
    """Cells are sorted into blocks; their data go with them."""
    lines = ["# vtk DataFile Version 2.0", "mixed", "ASCII", "DATASET POLYDATA", "POINTS 5 float"]
    lines += ["0 0 0  1 0 0  1 1 0  0 1 0  2 2 2", "POLYGONS 3 13", "3 0 1 2", "4 0 1 2 3", "3 1 2 4"]
    lines += ["CELL_DATA 3", "SCALARS c int 1", "LOOKUP_TABLE default", "10 20 30", "POINT_DATA 5"]
    lines += ["SCALARS p float", "LOOKUP_TABLE default", "1 2 3 nan 5", "NORMALS n float", *["0 0 1"] * 5]
    (tmp_path / "a.vtk").write_text("\n".join(lines) + "\n")
    read = read_mesh(tmp_path / "a.vtk")
    assert {name: block.tolist() for name, block in read.cells.items()} == {
        "triangle": [[0, 1, 2], [1, 2, 4]],
        "quad": [[0, 1, 2, 3]],
    }
    assert read.cell_data["c"].tolist() == [10, 30, 20]
    assert np.isnan(read.point_data["p"][3]) and read.point_data["n"].shape == (5, 3)


def test_npz_of_plain_names(tmp_path):
    np.savez(
        tmp_path / "a.npz", coord=np.zeros((3, 2)), face=np.array([[0, 1, 2]]), p=np.arange(3.0), mach=0.5, note="x"
    )
    read = read_mesh(tmp_path / "a.npz")
    assert read.points.shape == (3, 3) and list(read.cells) == ["triangle"]
    assert read.point_data["p"].tolist() == [0, 1, 2] and read.field_data["mach"] == 0.5


@pytest.mark.parametrize(
    ("suffix", "change", "message"),
    [
        (".stl", {"point_data": {"p": np.zeros(3)}}, "STL holds no fields"),
        (".stl", {"cells": {"tetra": np.zeros((1, 4), int)}}, "STL holds triangles"),
        (".ply", {"cells": {"tetra": np.zeros((1, 4), int)}}, "PLY holds polygons"),
        (".ply", {"point_data": {"p": np.full(3, 2**60 + 1)}}, "wanted at most 2.53 as PLY has"),
        (".vtp", {"cells": {"tetra": np.zeros((1, 4), int)}}, "holds points, lines and polygons"),
        (".npy", {}, "holds points only"),
        (".vtu", {"cells": {"blob": np.zeros((1, 4), int)}}, "got cells 'blob'"),
        (".vtu", {"point_data": {"p": np.zeros(4)}}, r"'p' has shape \(4,\), wanted 3 rows"),
        (".vtu", {"cells": {"triangle": np.array([[0, 1, 3]])}}, "name points 0 to 3, wanted 0 to 2"),
        (".vtu", {"points": np.zeros((3, 4))}, "points have shape"),
        (".vtu", {"point_data": {"p": np.array(["a", "b", "c"])}}, "wanted numbers"),
        (".obj", {}, "has the suffix '.obj'"),
    ],
)
def test_what_cannot_be_written_is_said_and_nothing_is_left(tmp_path, suffix, change, message):
    mesh = Mesh(**({"points": np.zeros((3, 3)), "cells": {"triangle": np.array([[0, 1, 2]])}} | change))
    with pytest.raises(InputError, match=message):
        write_mesh(tmp_path / f"a{suffix}", mesh)
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_mesh(tmp_path / "a.ply", Mesh(np.ones((2, 3))))
    with pytest.raises(InputError):
        write_mesh(tmp_path / "a.ply", Mesh(np.zeros((2, 3)), {}, {"p": np.full(2, 2**60 + 1)}))
    assert read_mesh(tmp_path / "a.ply").points.tolist() == np.ones((2, 3)).tolist()
    with pytest.raises(InputError, match="cannot be written"):
        write_mesh(tmp_path / "none" / "a.ply", Mesh(np.ones((2, 3))))
