"""Indices of parts as one mesh, formats that are read through pyvista, lines that convert others."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.mesh_io.merge import merge_meshes

MISSING = "missing: package pyvista (part of the extra [test])"


@pytest.fixture
def pyvista():
    return pytest.importorskip("pyvista", reason=MISSING)


def block(pyvista, shift, **fields):
    """A sphere's surface, tetrahedra around a point, with a point field, a cell field and data of the whole."""
    made = pyvista.Sphere(theta_resolution=5, phi_resolution=5, center=(shift, 0, 0))
    made["p"] = np.arange(made.n_points) + 100.0 * shift
    made.cell_data["c"] = np.arange(made.n_cells) + 1000.0 * shift
    made.field_data["mach"], made.field_data["number"] = [0.3], [shift]
    for name, values in fields.items():
        made[name] = values
    return made


def test_blocks_are_one_mesh_as_pyvista_combines_them(pyvista, tmp_path):
    blocks = pyvista.MultiBlock()
    blocks["skin"] = block(pyvista, 0)
    blocks["empty"] = None
    blocks["deeper"] = pyvista.MultiBlock([pyvista.ImageData(dimensions=(3, 2, 2)).cast_to_unstructured_grid()])
    blocks["deeper"][0]["p"] = np.arange(12.0)
    blocks["deeper"][0].cell_data["c"] = np.array([7.0, 8.0])
    blocks["last"] = block(pyvista, 3, extra=np.zeros(block(pyvista, 3).n_points))
    blocks.save(tmp_path / "a.vtm")
    found, wanted = read_mesh(tmp_path / "a.vtm"), blocks.combine()
    np.testing.assert_allclose(found.points, wanted.points)
    np.testing.assert_array_equal(found.point_data["p"], wanted["p"])
    assert found.num_cells == wanted.n_cells
    both = [block.combine() if hasattr(block, "combine") else block for block in blocks if block is not None]
    assert len(found.cells["triangle"]) == sum(part.n_cells for part in (both[0], both[2]))
    # Cells are sorted by kind: the value of a cell stays that of its corners.
    corner_sum = np.concatenate([found.point_data["p"][cells].sum(1) for cells in found.cells.values()])
    own = [wanted["p"][wanted.get_cell(i).point_ids].sum() for i in range(wanted.n_cells)]
    pairs = sorted(zip(corner_sum, found.cell_data["c"], strict=True))
    np.testing.assert_allclose(pairs, sorted(zip(own, wanted.cell_data["c"], strict=True)))
    assert found.field_data["mach"] == [0.3]
    left_out = {"extra (not in all parts)", "Normals (not in all parts)", "number (differs from part to part)"}
    assert set(found.left_out) == left_out


def write_pieces(folder, kind, source, pieces):
    names = [f"a_{i}.{source}" for i in range(len(pieces))]
    for name, piece in zip(names, pieces, strict=True):
        write_mesh(folder / name, piece)
    inside = "".join(f'<Piece Source="{name}"/>' for name in names)
    (folder / f"a.p{source}").write_text(
        f'<VTKFile type="P{kind}"><P{kind} GhostLevel="1">{inside}</P{kind}></VTKFile>'
    )
    return folder / f"a.p{source}"


def test_pieces_of_several_processes_are_one_mesh_without_ghosts(tmp_path):
    """A row of four tetrahedra, of which each of two processes has two, and a ghost of the other's nearest."""
    points = np.array([[i, i % 2, i % 3] for i in range(7)], float)
    tetra = np.array([[i, i + 1, i + 2, i + 3] for i in range(4)])
    whole = Mesh(points, {"tetra": tetra}, {"p": np.arange(7.0)}, {"c": np.arange(4.0)})

    def piece(rows, ghosts):
        used = np.unique(tetra[rows])
        marks = np.isin(rows, ghosts).astype(np.uint8)
        cells = {"tetra": np.searchsorted(used, tetra[rows])}
        return Mesh(points[used], cells, {"p": used.astype(float)}, {"c": np.array(rows, float), "vtkGhostType": marks})

    path = write_pieces(tmp_path, "UnstructuredGrid", "vtu", [piece([0, 1, 2], [2]), piece([1, 2, 3], [1])])
    found = read_mesh(path)
    assert found.cell_data["c"].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(found.points[found.cells["tetra"]], whole.points[whole.cells["tetra"]])
    assert "vtkGhostType" not in found.cell_data and len(found.points) == 2 * 5  # one point of each was the ghost's
    np.testing.assert_array_equal(found.points[:, 0], found.point_data["p"])


def test_surfaces_in_pieces(tmp_path):
    part = Mesh(np.eye(3), {"triangle": np.array([[0, 1, 2]])}, {"p": np.arange(3.0)})
    path = write_pieces(tmp_path, "PolyData", "vtp", [part, part])
    found = read_mesh(path)
    assert (
        found.cells["triangle"].tolist() == [[0, 1, 2], [3, 4, 5]] and found.point_data["p"].tolist() == [0, 1, 2] * 2
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<VTKFile", "not whole XML"),
        ('<VTKFile type="PolyData"/>', "wanted a VTKFile of type 'vtkMultiBlockDataSet'"),
        ('<VTKFile type="vtkMultiBlockDataSet"/>', "names no files"),
        ('<VTKFile type="vtkMultiBlockDataSet"><DataSet file="gone.vtp"/></VTKFile>', "gone.vtp: is no file"),
        ('<VTKFile type="vtkMultiBlockDataSet"><DataSet file="a.vtm"/></VTKFile>', "an index itself"),
        ('<VTKFile type="vtkMultiBlockDataSet"><DataSet file="a.txt"/></VTKFile>', "has the suffix '.txt'"),
        ('<!DOCTYPE a><VTKFile type="vtkMultiBlockDataSet"/>', "document type"),
    ],
)
def test_an_index_that_cannot_be_read_is_one_line(tmp_path, content, message):
    (tmp_path / "a.vtm").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_mesh(tmp_path / "a.vtm")
    assert "\n" not in str(caught.value)


def test_parts_without_points_have_no_say():
    full = Mesh(np.eye(3), {}, {"p": np.arange(3.0)})
    assert merge_meshes([Mesh(np.empty((0, 3))), full], "here").point_data["p"].tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="none of its parts has points"):
        merge_meshes([Mesh(np.empty((0, 3)))], "here")


@pytest.mark.parametrize("suffix", [".vti", ".vtr", ".vts", ".obj"])
def test_formats_of_vtk_are_read_through_pyvista(pyvista, tmp_path, suffix):
    made = pyvista.ImageData(dimensions=(4, 3, 2), spacing=(1, 2, 3))
    kinds = {".vtr": made.cast_to_rectilinear_grid, ".vts": made.cast_to_structured_grid, ".obj": pyvista.Sphere}
    made = kinds.get(suffix, lambda: made)()
    if suffix != ".obj":
        made["p"], made.cell_data["c"] = np.arange(made.n_points), np.arange(made.n_cells) * 2.0
        made["velocity"] = np.arange(3.0 * made.n_points).reshape(-1, 3)
        made.field_data["mach"] = [0.5]
    made.save(tmp_path / f"a{suffix}")
    found = read_mesh(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(found.points, made.points, atol=1e-5)
    assert found.num_cells == made.n_cells and list(found.cells) == ["triangle" if suffix == ".obj" else "hexahedron"]
    if suffix != ".obj":
        np.testing.assert_array_equal(found.point_data["velocity"], made["velocity"])
        np.testing.assert_array_equal(found.cell_data["c"], made.cell_data["c"])
        assert found.field_data["mach"].tolist() == [0.5]
        first = found.points[found.cells["hexahedron"][0]]
        np.testing.assert_allclose(np.ptp(first, axis=0), [1, 2, 3])


@pytest.mark.parametrize("suffix", [".msh", ".xdmf"])
def test_what_meshio_writes_is_read_through_pyvista(pyvista, tmp_path, suffix):
    import meshio

    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    options = {".msh": dict(file_format="gmsh", binary=True), ".xdmf": dict(data_format="XML")}[suffix]
    field = {"p": np.arange(4.0)}
    meshio.Mesh(points, [("tetra", np.array([[0, 1, 2, 3]]))], field).write(tmp_path / f"a{suffix}", **options)
    found = read_mesh(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(found.points, points)
    assert found.cells["tetra"].tolist() == [[0, 1, 2, 3]] and found.point_data["p"].tolist() == [0, 1, 2, 3]


def test_of_a_series_in_xdmf_the_last_time_is_read(pyvista, tmp_path, monkeypatch):
    import meshio

    monkeypatch.chdir(tmp_path)  # beside its numbers
    with meshio.xdmf.TimeSeriesWriter("a.xdmf") as writer:
        writer.write_points_cells(np.eye(3), [("triangle", np.array([[0, 1, 2]]))])
        for time in (0.0, 0.5, 2.5):
            writer.write_data(time, point_data={"p": np.arange(3.0) + 10 * time})
    found = read_mesh(tmp_path / "a.xdmf")
    assert found.point_data["p"].tolist() == [25, 26, 27] and found.field_data["TimeValue"].tolist() == [2.5]
    np.testing.assert_array_equal(found.points, np.eye(3))
    assert found.left_out == ("block mesh",)


CASE = """FORMAT
type: ensight gold
GEOMETRY
model: a.geo
VARIABLE
scalar per node: 1 p p.**
TIME
time set: 1
number of steps: 2
filename start number: 0
filename increment: 1
time values: 0.0 2.5
"""
GEO = "a\nb\nnode id off\nelement id off\npart\n         1\nbody\ncoordinates\n         3\n{}tria3\n         1\n{}"


def test_of_several_times_the_last_one_is_read(pyvista, tmp_path):
    (tmp_path / "a.case").write_text(CASE)
    numbers = "".join(f"{value:12.5e}\n" for value in np.eye(3).T.ravel())
    (tmp_path / "a.geo").write_text(GEO.format(numbers, "         1         2         3\n"))
    for step in range(2):
        values = "".join(f"{value:12.5e}\n" for value in np.arange(3.0) + 10 * step)
        (tmp_path / f"p.0{step}").write_text(f"p\npart\n         1\ncoordinates\n{values}")
    found = read_mesh(tmp_path / "a.case")
    np.testing.assert_allclose(found.points, np.eye(3))
    assert found.point_data["p"].tolist() == [10, 11, 12] and found.field_data["TimeValue"].tolist() == [2.5]


def test_of_openfoam_the_mesh_inside_is_read(pyvista, tmp_path):
    """A cube of one cell with a patch, whose points are the cell's: they do not come twice."""
    mesh = tmp_path / "constant/polyMesh"
    mesh.mkdir(parents=True)
    (tmp_path / "system").mkdir()

    def foam(path, kind, text):
        head = f"FoamFile\n{{\n version 2.0;\n format ascii;\n class {kind};\n object {path.name};\n}}\n"
        path.parent.mkdir(exist_ok=True)
        path.write_text(head + text)

    corners = [(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    faces = [(0, 4, 6, 2), (1, 3, 7, 5), (0, 1, 5, 4), (2, 6, 7, 3), (0, 2, 3, 1), (4, 5, 7, 6)]
    foam(mesh / "points", "vectorField", "8\n(\n" + "\n".join(f"({x} {y} {z})" for x, y, z in corners) + "\n)\n")
    foam(mesh / "faces", "faceList", "6\n(\n" + "\n".join(f"4({' '.join(map(str, f))})" for f in faces) + "\n)\n")
    foam(mesh / "owner", "labelList", "6\n(\n0\n0\n0\n0\n0\n0\n)\n")
    foam(mesh / "neighbour", "labelList", "0\n(\n)\n")
    foam(mesh / "boundary", "polyBoundaryMesh", "1\n(\n wall { type wall; nFaces 6; startFace 0; }\n)\n")
    text = (
        "application x;\nstartFrom startTime;\nstartTime 0;\nstopAt endTime;\nendTime 1;\ndeltaT 1;\nwriteInterval 1;\n"
    )
    foam(tmp_path / "system/controlDict", "dictionary", text)
    rest = "boundaryField\n{\n wall { type zeroGradient; }\n}\n"
    for time in (0, 1):
        inside = f"dimensions [0 2 -2 0 0 0 0];\ninternalField uniform {time + 5};\n"
        foam(tmp_path / f"{time}/p", "volScalarField", inside + rest)
    (tmp_path / "a.foam").touch()
    found = read_mesh(tmp_path / "a.foam")
    assert len(found.points) == 8 and len(found.cells["hexahedron"]) == 1
    assert (
        found.left_out == ("block boundary",)
        and found.cell_data["p"].tolist() == [6]
        and found.field_data["TimeValue"].tolist() == [1]
    )


def test_damaged_files_and_a_missing_pyvista_are_one_line(pyvista, tmp_path, monkeypatch):
    (tmp_path / "a.vti").write_text("<VTKFile")
    for path in (tmp_path / "a.vti", tmp_path / "gone.vts"):
        with pytest.raises(InputError, match=path.name) as caught:
            read_mesh(path)
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(InputError, match=r"not installed \(extra \[viz\]\); to convert it: python -c"):
        read_mesh(tmp_path / "a.vti")


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_the_line_for_archives_works(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    coord, p = np.eye(3), np.array([1.5, 2.5, 3.5])
    if suffix == ".h5":
        import h5py

        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["coord"], file["p"] = coord, p
            file.create_group("other")["q"] = p
    else:
        zarr = pytest.importorskip("zarr", reason="missing: package zarr, of which only the line is ours")
        zarr.save_group(str(tmp_path / "a.zarr"), coord=coord, p=p)
    with pytest.raises(InputError, match="to convert it .the points are coord.: python -c") as caught:
        read_mesh(tmp_path / f"a{suffix}")
    exec(re.search('python -c "(.*)"', str(caught.value)).group(1), {})
    found = read_mesh(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.points, coord)
    assert found.point_data["p"].ravel().tolist() == p.tolist()
    assert list(found.point_data) == (["other_q", "p"] if suffix == ".h5" else ["p"])


def test_the_line_converts_all_archives_of_a_folder(tmp_path):
    import h5py

    folder = tmp_path / "my [runs]"
    folder.mkdir()
    for name in ("a b", "c.d"):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["coord"], file["p"] = np.eye(3)[:2], [1.5, 2.5]
    with pytest.raises(InputError) as caught:
        read_mesh(folder / "a b.h5")
    exec(re.search('python -c "(.*)"', str(caught.value)).group(1), {})
    for name in ("a b", "c.d"):
        found = read_mesh(folder / f"{name}.npz")
        np.testing.assert_array_equal(found.points, np.eye(3)[:2])
        assert {key: value.tolist() for key, value in found.point_data.items()} == {"p": [1.5, 2.5]}
