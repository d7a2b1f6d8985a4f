"""Meshes by blocks of rows: the values that VTK wrote, in every form it writes, and one line for what is damaged."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.joined_file import JoinedFile
from pointcept_bsa.mesh_io.open_stream import open_mesh_stream
from pointcept_bsa.mesh_io.streams import area_vectors, centers

vtk = pytest.importorskip("vtk")
pyvista = pytest.importorskip("pyvista")
PACKED = {"none": "None", "zlib": "ZLib", "lz4": "LZ4", "lzma": "LZMA"}


def grid(seed=0):
    """Hexahedra with corners moved about."""
    rng = np.random.default_rng(seed)
    mesh = pyvista.ImageData(dimensions=(9, 8, 7)).cast_to_unstructured_grid()
    mesh.points = mesh.points + rng.normal(0, 0.05, mesh.points.shape)
    mesh.cell_data["U"] = rng.normal(size=(mesh.n_cells, 3)).astype("f4")
    mesh.cell_data["p"] = rng.normal(size=mesh.n_cells)
    mesh.point_data["q"] = rng.normal(size=mesh.n_points).astype("f4")
    return mesh


def write_grid(path, mesh, mode="appended", packed="zlib", header=64, in_base64=False):
    surface = isinstance(mesh, pyvista.PolyData)
    writer = vtk.vtkXMLPolyDataWriter() if surface else vtk.vtkXMLUnstructuredGridWriter()
    writer.SetInputData(mesh)
    writer.SetFileName(str(path))
    writer.SetDataMode({"text": 0, "inline": 1, "appended": 2}[mode])
    getattr(writer, f"SetCompressorTypeTo{PACKED[packed]}")()
    writer.SetHeaderTypeToUInt64() if header == 64 else writer.SetHeaderTypeToUInt32()
    writer.SetEncodeAppendedData(in_base64)
    writer.SetBlockSize(8192)
    writer.Write()
    return path


def whole(array, rows=100):
    return np.concatenate(list(array.blocks(rows)))


@pytest.mark.parametrize("mode, in_base64", [("inline", False), ("appended", False), ("appended", True)])
@pytest.mark.parametrize("packed, header", list(product(PACKED, (32, 64))))
def test_arrays_are_those_that_vtk_wrote(tmp_path, mode, in_base64, packed, header):
    mesh = grid()
    path = write_grid(tmp_path / "a.vtu", mesh, mode, packed, header, in_base64)
    with open_mesh_stream([path]) as stream:
        assert (stream.num_cells, stream.points.rows) == (mesh.n_cells, mesh.n_points)
        assert set(stream.cell_data) == {"U", "p"}
        np.testing.assert_array_equal(whole(stream.points, 77), mesh.points)
        np.testing.assert_array_equal(whole(stream.cell_data["U"]), mesh.cell_data["U"])
        np.testing.assert_array_equal(whole(stream.cell_data["p"])[:, 0], mesh.cell_data["p"])
        np.testing.assert_array_equal(whole(stream.point_data["q"])[:, 0], mesh.point_data["q"])
        blocks = list(stream.cells.blocks(50))
    assert max(len(sizes) for sizes, _ in blocks) == 50
    np.testing.assert_array_equal(np.concatenate([points for _, points in blocks]), mesh.cell_connectivity)


def test_a_file_in_parts_is_one(tmp_path):
    content = write_grid(tmp_path / "volume_1.vtu", grid(), packed="none").read_bytes()
    cuts = [0, 1000, 20001, len(content)]
    parts = [tmp_path / f"volume_1.vtu.{i:02d}.part" for i in range(3)]
    for part, low, high in zip(parts, cuts, cuts[1:], strict=False):
        part.write_bytes(content[low:high])
    with open_mesh_stream(parts) as stream:
        np.testing.assert_array_equal(whole(stream.cell_data["U"]), grid().cell_data["U"])


def test_legacy_files(tmp_path):
    for mesh, version in product((pyvista.Sphere(), grid()), (42, 51)):
        surface = isinstance(mesh, pyvista.PolyData)
        mesh.point_data["q"] = np.arange(mesh.n_points, dtype="f4")
        writer = vtk.vtkPolyDataWriter() if surface else vtk.vtkUnstructuredGridWriter()
        writer.SetInputData(mesh)
        writer.SetFileName(str(tmp_path / "a.vtk"))
        writer.SetFileTypeToBinary()
        writer.SetFileVersion(version)
        writer.Write()
        with open_mesh_stream([tmp_path / "a.vtk"]) as stream:
            np.testing.assert_array_equal(whole(stream.points), mesh.points)
            np.testing.assert_array_equal(whole(stream.point_data["q"])[:, 0], mesh.point_data["q"])
            points = np.concatenate([points for _, points in stream.cells.blocks(90)])
        np.testing.assert_array_equal(points, mesh.regular_faces.ravel() if surface else mesh.cell_connectivity)


def test_base64_may_be_broken_into_lines(tmp_path):
    path = write_grid(tmp_path / "a.vtu", grid(), "inline", "none")
    lines = path.read_text().splitlines()
    lines = [line if "<" in line else "\n".join(line[i : i + 76] for i in range(0, len(line), 76)) for line in lines]
    path.write_text("\n".join(lines))
    with open_mesh_stream([path]) as stream:
        np.testing.assert_array_equal(whole(stream.cell_data["U"]), grid().cell_data["U"])


def test_centers_and_area_vectors():
    """Of a skew quad, a triangle and a pentagon against sums over triangles; a closed surface has no area vector."""
    square = np.array([[0, 0, 1], [2, 0, 1], [2, 3, 1], [0, 3, 1.0]])
    triangle = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    sizes = np.array([4, 3])
    corners = np.concatenate([square, triangle])
    np.testing.assert_allclose(centers(corners, sizes), [[1, 1.5, 1], [0, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(area_vectors(corners, sizes), [[0, 0, 6], [0.5, 0, 0]])
    np.testing.assert_allclose(centers(np.concatenate([square, square + 1]), np.array([4, 4]))[1], [2, 2.5, 2])
    cube = pyvista.Box(bounds=(0, 1, 0, 2, 0, 3))
    vectors = area_vectors(cube.points[cube.regular_faces.ravel()], np.full(6, 4))
    np.testing.assert_allclose(vectors.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1).sum(), 2 * (2 + 3 + 6))


@pytest.mark.parametrize("mode, packed", [("inline", "none"), ("inline", "zlib"), ("appended", "zlib")])
def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path, mode, packed):
    content = write_grid(tmp_path / "a.vtu", grid(), mode, packed).read_bytes()
    for length in [0, *np.linspace(50, len(content) - 300, 25).astype(int)]:
        (tmp_path / "a.vtu").write_bytes(content[:length])
        with pytest.raises(InputError, match="a.vtu: ") as caught:
            with open_mesh_stream([tmp_path / "a.vtu"]) as stream:
                for array in (stream.points, *stream.cell_data.values(), *stream.point_data.values()):
                    whole(array)
                list(stream.cells.blocks(100))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'<Piece NumberOfPoints="504"', b'<Piece NumberOfPoints="505"', "wanted 505 rows"),
        (b'compressor="vtkZLibDataCompressor"', b'compressor="vtkOther"', "is packed by 'vtkOther'"),
        (b'type="UnstructuredGrid"', b'type="PolyData"', "wanted a VTKFile of type 'UnstructuredGrid'"),
        (b'Name="connectivity"', b'Name="connectivitx"', "has no DataArray connectivity"),
        (b"</UnstructuredGrid>", b"<Piece/></UnstructuredGrid>", "has 2 Pieces, wanted one"),
    ],
)
def test_damaged_markup_is_refused_by_name(tmp_path, old, new, message):
    path = write_grid(tmp_path / "a.vtu", grid())
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(InputError, match="a.vtu: ") as caught:
        open_mesh_stream([path])
    assert message in str(caught.value)


def test_cells_of_points_that_are_not_there(tmp_path):
    mesh = grid()
    mesh.cell_connectivity[7] = 5000
    with open_mesh_stream([write_grid(tmp_path / "a.vtu", mesh)]) as stream:
        with pytest.raises(InputError, match="cells name points 0 to 5000 of 504"):
            list(stream.cells.blocks())
        with pytest.raises(InputError, match="cells of VTK's type 11, wanted"):
            stream.cells.check_polygons()


def test_files_of_another_kind(tmp_path):
    for name, message in [("a.ply", "has the suffix '.ply'"), ("no.vtu", "is no file"), ("no.vtk", "cannot be read")]:
        with pytest.raises(InputError, match=message):
            open_mesh_stream([tmp_path / name])
    with pytest.raises(InputError, match="has format 'ascii', wanted binary or appended"):
        open_mesh_stream([write_grid(tmp_path / "a.vtu", grid(), "text")])
    (tmp_path / "b.vtk").write_text("# vtk DataFile Version 3.0\nt\nASCII\nDATASET POLYDATA\nPOINTS 1 float\n0 0 0\n")
    with pytest.raises(InputError, match="is no whole binary"):
        open_mesh_stream([tmp_path / "b.vtk"])


def test_the_bytes_of_joined_files(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "c").write_bytes(b"defg")
    file = JoinedFile([tmp_path / name for name in "abc"])
    assert (file.size, file.read(1, 4), file.read(5, 9), file.read(7, 1)) == (7, b"bcde", b"fg", b"")
    file.close()


def test_whatever_is_changed_gives_numbers_or_one_line(tmp_path):
    """Bytes changed, cut out and put in at random; 16,000 such files were tried once, a few are here."""
    rng = np.random.default_rng(0)
    path = write_grid(tmp_path / "a.vtu", grid())
    content = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(content)
        place = int(rng.integers(2500 if rng.random() < 0.7 else len(content)))
        width = int(rng.integers(0, 20))
        damaged[place : place + width] = rng.integers(0, 256, int(rng.integers(0, 20)), dtype=np.uint8).tobytes()
        path.write_bytes(damaged)
        try:
            with open_mesh_stream([path]) as stream:
                for array in (stream.points, *stream.cell_data.values(), *stream.point_data.values()):
                    assert len(whole(array)) == array.rows
                list(stream.cells.blocks(100) if stream.cells else ())
        except InputError as error:
            assert "\n" not in str(error)
