"""What VTK's writers write, in every form they have, is read with the values that VTK's readers find."""

from __future__ import annotations

import base64
import re
import struct
import sys

import numpy as np
import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh

vtk = pytest.importorskip("vtk")
numpy_support = pytest.importorskip("vtk.util.numpy_support")

TEXT = ["wall", "", "two words, 100%", "é\nλ", "x" * 63, "y" * 64, "z" * 20000]
KINDS = ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0.5], [2, 1, 0.5], [3, 1, 1.0]])


def texts(name, count):
    array = vtk.vtkStringArray()
    array.SetName(name)
    for i in range(count):
        array.InsertNextValue(TEXT[i % len(TEXT)])
    return array


def bits(name, count):
    array = vtk.vtkBitArray()
    array.SetName(name)
    for i in range(count):
        array.InsertNextValue(i % 3 == 0)
    return array


def variants(name, count):
    array = vtk.vtkVariantArray()
    array.SetName(name)
    for i in range(count):
        array.InsertNextValue(vtk.vtkVariant((3, 2.5, "a b")[i % 3]))
    return array


def numbers(name, values, component=None):
    array = numpy_support.numpy_to_vtk(np.ascontiguousarray(values), deep=1)
    array.SetName(name)
    if component:
        array.SetComponentName(0, component)
    return array


def fill(data, count, legacy):
    data.AddArray(texts("zone name", count))
    for kind in KINDS:
        top = np.iinfo(kind).max // 2 if kind[0] in "iu" else 1e30
        values = np.linspace(0, 1, count) * top
        data.AddArray(numbers(f"a {kind}", values.astype(kind), component=f"{kind} part"))
    data.AddArray(bits("bits", count))
    data.AddArray(numbers("two", np.arange(2.0 * count).reshape(count, 2)))
    if legacy:
        data.AddArray(variants("variant", count))
    ids = vtk.vtkIdTypeArray()
    ids.SetName("ids")
    for i in range(count):
        ids.InsertNextValue(7 * i)
    data.AddArray(ids)
    if hasattr(data, "SetGlobalIds"):
        data.SetGlobalIds(ids)
        data.SetScalars(numbers("colour", np.arange(3 * count).reshape(count, 3).astype(np.uint8) * 9))
        data.SetTCoords(numbers("texture", np.arange(2.0 * count).reshape(count, 2)))
        data.SetTensors(numbers("tensor", np.arange(6.0 * count).reshape(count, 6)))
        data.SetNormals(numbers("normal", np.tile([0.0, 0, 1], (count, 1))))
        data.SetVectors(numbers("vector", np.arange(3.0 * count).reshape(count, 3)))


def mesh_of(kind, legacy):
    grid = vtk.vtkPolyData() if kind == "surface" else vtk.vtkUnstructuredGrid()
    points = vtk.vtkPoints()
    points.SetData(numbers("Points", POINTS))
    grid.SetPoints(points)
    cells = [(5, [0, 1, 2]), (9, [0, 1, 2, 3]), (7, [0, 1, 4, 5, 2]), (5, [1, 4, 2])]
    if kind == "surface":
        blocks = {name: vtk.vtkCellArray() for name in ("Verts", "Lines", "Polys", "Strips")}
        blocks["Verts"].InsertNextCell(1, [6])
        blocks["Lines"].InsertNextCell(2, [5, 6])
        for _, cell in cells:
            blocks["Polys"].InsertNextCell(len(cell), cell)
        blocks["Strips"].InsertNextCell(5, [0, 3, 1, 2, 4])
        for name, block in blocks.items():
            getattr(grid, f"Set{name}")(block)
    else:
        for number, cell in cells:
            grid.InsertNextCell(number, len(cell), cell)
        grid.InsertNextCell(10, 4, [0, 1, 2, 4])
    for data, count in (
        (grid.GetPointData(), grid.GetNumberOfPoints()),
        (grid.GetCellData(), grid.GetNumberOfCells()),
        (grid.GetFieldData(), 7),
    ):
        fill(data, count, legacy)
    return grid


def arrays_of(data):
    found = {}
    for i in range(data.GetNumberOfArrays()):  # numbers only
        array = data.GetArray(i)
        if isinstance(array, vtk.vtkBitArray):
            found[array.GetName()] = np.array([array.GetValue(j) for j in range(array.GetNumberOfTuples())], np.uint8)
        elif array is not None:
            found[array.GetName()] = numpy_support.vtk_to_numpy(array)
    return found


def assert_same_as_vtk(path, reader):
    reader.SetFileName(str(path))
    if hasattr(reader, "ReadAllScalarsOn"):
        for name in ("Scalars", "Vectors", "Normals", "Tensors", "TCoords", "Fields", "ColorScalars"):
            getattr(reader, f"ReadAll{name}On")()
    reader.Update()
    theirs, ours = reader.GetOutput(), read_mesh(path)
    np.testing.assert_array_equal(ours.points, numpy_support.vtk_to_numpy(theirs.GetPoints().GetData()))
    rows = {}  # the data of a cell, by its points
    for i in range(theirs.GetNumberOfCells()):
        cell = theirs.GetCell(i)
        corner = [cell.GetPointId(j) for j in range(cell.GetNumberOfPoints())]
        parts = [corner]
        if cell.GetCellType() == 6:
            parts = [[corner[j + 1], corner[j], corner[j + 2]] if j % 2 else corner[j : j + 3] for j in range(3)]
        rows |= {(tuple(part)): i for part in parts}
    order = [rows[tuple(cell)] for block in ours.cells.values() for cell in block.tolist()]
    assert len(set(order)) == theirs.GetNumberOfCells()
    for fields, data, pick in (
        (ours.point_data, theirs.GetPointData(), slice(None)),
        (ours.cell_data, theirs.GetCellData(), order),
        (ours.field_data, theirs.GetFieldData(), slice(None)),
    ):
        wanted = arrays_of(data)
        assert fields.keys() == wanted.keys()
        for name, values in fields.items():
            tolerance = 1 if name == "colour" else 0  # VTK cuts off what text has lost of 255 times a colour
            np.testing.assert_allclose(values, wanted[name][pick], rtol=0, atol=tolerance, err_msg=name)
            if name != "ids":
                assert values.dtype.kind == wanted[name].dtype.kind, name
    return ours


@pytest.mark.parametrize("kind", ["surface", "grid"])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("version", [42, 51])
def test_legacy_files(tmp_path, kind, binary, version):
    writer = vtk.vtkPolyDataWriter() if kind == "surface" else vtk.vtkUnstructuredGridWriter()
    writer.SetFileVersion(version)
    writer.SetFileName(str(tmp_path / "a.vtk"))
    writer.SetInputData(mesh_of(kind, legacy=True))
    writer.SetFileType(2 if binary else 1)
    assert writer.Write()
    reader = vtk.vtkPolyDataReader() if kind == "surface" else vtk.vtkUnstructuredGridReader()
    ours = assert_same_as_vtk(tmp_path / "a.vtk", reader)
    assert set(ours.left_out) == {"zone name", "variant"}


@pytest.mark.parametrize("kind", ["surface", "grid"])
@pytest.mark.parametrize("mode", ["ascii", "binary", "raw", "base64"])
@pytest.mark.parametrize("packed", ["None", "ZLib", "LZ4", "LZMA"])
@pytest.mark.parametrize("header", [32, 64])
@pytest.mark.parametrize("order", ["Little", "Big"])
def test_xml_files(tmp_path, kind, mode, packed, header, order):
    writer = vtk.vtkXMLPolyDataWriter() if kind == "surface" else vtk.vtkXMLUnstructuredGridWriter()
    path = tmp_path / ("a.vtp" if kind == "surface" else "a.vtu")
    writer.SetFileName(str(path))
    writer.SetInputData(mesh_of(kind, legacy=False))
    writer.SetDataMode({"ascii": 0, "binary": 1}.get(mode, 2))
    writer.SetEncodeAppendedData(mode == "base64")
    getattr(writer, f"SetCompressorTypeTo{packed}")()
    writer.SetBlockSize(64 * 1024)
    getattr(writer, f"SetHeaderTypeToUInt{header}")()
    getattr(writer, f"SetByteOrderTo{order}Endian")()
    assert writer.Write()
    reader = vtk.vtkXMLPolyDataReader() if kind == "surface" else vtk.vtkXMLUnstructuredGridReader()
    ours = assert_same_as_vtk(path, reader)
    assert set(ours.left_out) == {"zone name"}


@pytest.mark.parametrize("packed", ["ZLib", "LZ4", "LZMA"])
def test_many_blocks_of_packed_numbers(tmp_path, packed):
    """Enough numbers for several blocks, some that repeat and some that do not."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.random(9000), np.tile(rng.random(7), 3000), np.zeros(5000)])
    write_mesh(tmp_path / "a.vtu", Mesh(np.zeros((len(values), 3)), point_data={"p": values}))
    reader, writer = vtk.vtkXMLUnstructuredGridReader(), vtk.vtkXMLUnstructuredGridWriter()
    reader.SetFileName(str(tmp_path / "a.vtu"))
    writer.SetInputConnection(reader.GetOutputPort())
    writer.SetFileName(str(tmp_path / "b.vtu"))
    getattr(writer, f"SetCompressorTypeTo{packed}")()
    assert writer.Write()
    np.testing.assert_array_equal(read_mesh(tmp_path / "b.vtu").point_data["p"], values)


def test_polyhedra_give_their_points(tmp_path):
    grid = mesh_of("grid", legacy=False)
    faces = [4, 3, 0, 1, 2, 3, 0, 1, 4, 3, 1, 2, 4, 3, 0, 2, 4]
    numbered = vtk.vtkIdList()
    for number in faces:
        numbered.InsertNextId(number)
    grid.InsertNextCell(42, numbered)
    for name in [grid.GetCellData().GetArrayName(i) for i in range(grid.GetCellData().GetNumberOfArrays())]:
        grid.GetCellData().RemoveArray(name)
    grid.GetCellData().AddArray(numbers("c", np.arange(6.0)))
    for writer, name in ((vtk.vtkXMLUnstructuredGridWriter(), "a.vtu"), (vtk.vtkUnstructuredGridWriter(), "a.vtk")):
        writer.SetFileName(str(tmp_path / name))
        writer.SetInputData(grid)
        assert writer.Write()
        read = read_mesh(tmp_path / name)
        np.testing.assert_array_equal(read.points, POINTS)
        assert read.num_cells == 5 and read.left_out[0] == "polyhedra"
        assert read.cell_data["c"].tolist() == [0, 3, 1, 2, 4]


def test_words_of_a_legacy_file_may_stand_on_any_line(tmp_path):
    text = "# vtk DataFile Version 3.0\nt\xe9\nASCII DATASET POLYDATA POINTS 3\nfloat 0 0 0 1 0 0 0 1 0 "
    text += "POLYGONS\n1 4 3 0 1 2 POINT_DATA 3 SCALARS p double 1 LOOKUP_TABLE default 1 2\n3 "
    text += "SCALARS q int\nLOOKUP_TABLE own 4 5 6\n"
    text += "LOOKUP_TABLE own 2\n0 0 0 1 1 1 1 1\nSCALARS r float\n7 8 9\n"
    (tmp_path / "a.vtk").write_bytes(text.encode("latin-1"))
    read = read_mesh(tmp_path / "a.vtk")
    assert {name: values.tolist() for name, values in read.point_data.items()} == {
        "p": [1, 2, 3],
        "q": [4, 5, 6],
        "r": [7, 8, 9],
    }


@pytest.mark.parametrize("head", ["I", "Q"])
@pytest.mark.parametrize("appended", [False, True])
@pytest.mark.parametrize("kind", ["Float64", "Int8"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_base64_with_the_length_apart(tmp_path, head, appended, kind, count):
    header, dtype = {"I": "UInt32", "Q": "UInt64"}[head], {"Float64": "<f8", "Int8": "i1"}[kind]
    values = np.arange(1, 1 + count).astype(dtype).tobytes()
    parts = [struct.pack(f"<{head}", len(values)), values]
    for name, code in (("apart", b"".join(map(base64.b64encode, parts))), ("both", base64.b64encode(b"".join(parts)))):
        inline, tail = code.decode(), ""
        if appended:
            inline, tail = "", f'<AppendedData encoding="base64">\n _{code.decode()}\n</AppendedData>'
        form = 'format="appended" offset="0"' if appended else 'format="binary"'
        text = f'<VTKFile type="UnstructuredGrid" byte_order="LittleEndian" header_type="{header}"><UnstructuredGrid>'
        text += f'<Piece NumberOfPoints="{count}" NumberOfCells="0"><Points>'
        text += f'<DataArray type="Float64" NumberOfComponents="3" format="ascii">{"0 0 0 " * count}</DataArray>'
        text += "</Points><PointData>"
        text += f'<DataArray type="{kind}" Name="p" {form}>'
        text += f"{inline}</DataArray></PointData></Piece></UnstructuredGrid>{tail}</VTKFile>"
        (tmp_path / f"{name}.vtu").write_text(text)
        assert read_mesh(tmp_path / f"{name}.vtu").point_data["p"].tolist() == [1, 2, 3][:count]


@pytest.mark.parametrize("suffix", [".vtu", ".vtp"])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("bare", [False, True])
def test_empty_pieces_have_no_say(tmp_path, suffix, binary, bare):
    pyvista = pytest.importorskip("pyvista")
    path = tmp_path / f"a{suffix}"
    write_mesh(path, Mesh(POINTS, {"triangle": np.array([[0, 1, 2]])}, {"p": np.arange(7.0)}, {"c": np.array([5.0])}))
    pyvista.read(path).save(path, binary=binary)
    empty = pyvista.UnstructuredGrid() if suffix == ".vtu" else pyvista.PolyData()
    empty.save(tmp_path / f"b{suffix}", binary=binary)
    if binary:  # appended offsets of two files do not go together: the empty piece as it is in the text form
        empty.save(tmp_path / f"b{suffix}", binary=False)
    piece = re.search(rb"<Piece.*</Piece>", (tmp_path / f"b{suffix}").read_bytes(), re.DOTALL).group()
    if bare:
        piece = b'<Piece NumberOfPoints="0" NumberOfCells="0"></Piece>'
    whole = path.read_bytes()
    for number, at in enumerate((whole.index(b"<Piece"), whole.index(b"</Piece>") + len(b"</Piece>"))):
        (tmp_path / f"c{number}{suffix}").write_bytes(whole[:at] + piece + whole[at:])
        read = read_mesh(tmp_path / f"c{number}{suffix}")
        assert read.point_data["p"].tolist() == list(range(7)) and read.cell_data["c"].tolist() == [5]
        assert read.cells["triangle"].tolist() == [[0, 1, 2]]


def test_names_that_are_not_utf8(tmp_path):
    text = (
        '<VTKFile type="PolyData"><!-- \xe9 --><PolyData><Piece NumberOfPoints="1"><Points><DataArray type="Float32" '
    )
    text += (
        'NumberOfComponents="3">1 2 3</DataArray></Points><PointData><DataArray type="Int8" Name="t\xe9">4</DataArray>'
    )
    text += "<DataArray type='Int8'>5</DataArray></PointData></Piece></PolyData></VTKFile>"
    (tmp_path / "a.vtp").write_bytes(text.encode("latin-1"))
    read = read_mesh(tmp_path / "a.vtp")
    assert read.point_data["t\xe9"].tolist() == [4] and read.left_out == ("an array without a name",)


@pytest.mark.parametrize("change", ["cut", "byte"])
def test_damage_of_packed_files_is_one_line(tmp_path, change):
    writer = vtk.vtkXMLUnstructuredGridWriter()
    writer.SetInputData(mesh_of("grid", legacy=False))
    writer.SetCompressorTypeToLZ4()
    writer.SetFileName(str(tmp_path / "a.vtu"))
    writer.Write()
    whole, rng, refused = (tmp_path / "a.vtu").read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        content, at = bytearray(whole), int(rng.integers(len(whole)))
        content[at] = int(rng.integers(256))
        (tmp_path / "b.vtu").write_bytes(content[:at] if change == "cut" else content)
        try:
            read_mesh(tmp_path / "b.vtu")
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("suffix", [".vti", ".obj"])
def test_the_line_that_says_how_to_convert_works(tmp_path, monkeypatch, suffix):
    pyvista = pytest.importorskip("pyvista")
    monkeypatch.chdir(tmp_path)
    made = {".vti": pyvista.ImageData(dimensions=(2, 2, 2)), ".obj": pyvista.Sphere()}[suffix]
    made.save(tmp_path / f"a{suffix}")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyvista", None)
        with pytest.raises(InputError, match="to convert it: python -c") as caught:
            read_mesh(tmp_path / f"a{suffix}")
    exec(re.search('python -c "(.*)"', str(caught.value)).group(1))
    assert len(read_mesh(tmp_path / "a.vtk").points) == made.n_points
