"""A malformed file is one line that names it, before anything is allocated for what it announces."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import SUFFIXES, Mesh, read_mesh, write_mesh

BIG = 2**40
VTK = "# vtk DataFile Version 3.0\nx\n{form}\nDATASET {kind}\n"
VTU = '<VTKFile type="UnstructuredGrid" version="1.0"{more}><UnstructuredGrid>{piece}</UnstructuredGrid></VTKFile>'
PIECE = '<VTKFile type="PolyData"><PolyData><Piece {size}><Polys><DataArray type="Int64" Name="offsets" format="ascii">'
PIECE += "3</DataArray></Polys></Piece></PolyData></VTKFile>"
ARRAY = '<DataArray type="Float64" NumberOfComponents="3" format="{form}" offset="0">{text}</DataArray>'
XYZ = "property float x\nproperty float y\nproperty float z\n"
PLY = "ply\nformat {form} 1.0\nelement vertex {n}\n" + XYZ + "{more}end_header\n"


def vtu(points, text="", form="ascii", more=""):
    array = ARRAY.format(text=text, form=form)
    return VTU.format(
        piece=f'<Piece NumberOfPoints="{points}" NumberOfCells="0"><Points>{array}</Points></Piece>', more=more
    )


def npy(header):
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def npz(content, **info):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", content)
    return file.getvalue()


BOMBS = {
    "ascii.vtk": VTK.format(form="ASCII", kind="POLYDATA") + f"POINTS {BIG} double\n0 0 0\n",
    "binary.vtk": VTK.format(form="BINARY", kind="POLYDATA") + f"POINTS {BIG} double\nabcdefgh\n",
    "field.vtk": VTK.format(form="BINARY", kind="POLYDATA") + f"FIELD f 1\na {BIG} {BIG} double\nabcdefgh\n",
    "grid.vtk": VTK.format(form="ASCII", kind="STRUCTURED_POINTS") + f"DIMENSIONS {BIG} 2 2\nORIGIN 0 0 0\n",
    "cells.vtk": VTK.format(form="ASCII", kind="POLYDATA") + f"POINTS 1 double\n0 0 0\nPOLYGONS {BIG} {BIG}\n3 0 0 0\n",
    "text.vtu": vtu(BIG, "0 0 0"),
    "base64.vtu": vtu(BIG, "AAAAAAAAAAA=", "binary"),
    "zlib.vtu": vtu(10**6, "AQAAAADh9QUA4fUFCAAAAA==AAAA", "binary", ' compressor="vtkZLibDataCompressor"'),
    "appended.vtu": vtu(BIG, "", "appended").replace(
        "</VTKFile>", '<AppendedData encoding="raw">_123</AppendedData></VTKFile>'
    ),
    "polys.vtp": PIECE.format(size=f'NumberOfPoints="0" NumberOfPolys="{BIG}"'),
    "cells.vtu": PIECE.replace("PolyData", "UnstructuredGrid").format(size=f'NumberOfPoints="0" NumberOfCells="{BIG}"'),
    "lol.vtu": '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">]>' + vtu(1, "&a;"),
    "text.ply": PLY.format(form="ascii", n=BIG, more="") + "0 0 0\n",
    "binary.ply": PLY.format(form="binary_little_endian", n=BIG, more="") + "abcdefgh",
    "list.ply": PLY.format(
        form="binary_little_endian", n=0, more="element face 2\nproperty list uint int vertex_indices\n"
    )
    + "zzzz",
    "empty.ply": PLY.format(form="ascii", n=1, more=f"element none {BIG}\n") + "0 0\n",
    "binary.stl": b" " * 80 + (2**32 - 1).to_bytes(4, "little") + b"\0" * 50,
    "text.stl": "solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nendloop\nendfacet\nendsolid a\n",
    "a.npy": npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({BIG}, 3), }}") + b"\0" * 24,
    "overflow.npy": npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**32}, {2**32}), }}") + b"\0" * 24,
    "object.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 3), }") + b"\0" * 24,
    "a.npz": npz(npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({BIG}, 3), }}") + b"\0" * 24),
    "object.npz": npz(npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 3), }") + b"\0" * 24),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_announced_but_not_there_is_refused_before_it_is_allocated(tmp_path, name):
    content = BOMBS[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=name) as caught:
            read_mesh(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_an_archive_that_unfolds_to_too_much_is_refused(tmp_path):
    content = bytearray(npz(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3), }") + b"\0" * 24))
    directory = content.rfind(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (2**31).to_bytes(4, "little")  # the size it says it unfolds to
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="which cannot be"):
        read_mesh(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".csv"])  # see test_csv
def test_no_cut_of_a_file_gives_other_numbers(tmp_path, suffix):
    """Cut anywhere, a file is refused or gives the whole mesh (when only its last, empty characters are gone)."""
    values = Mesh(np.arange(9.0).reshape(3, 3), {"triangle": np.array([[0, 1, 2]])}, {"p": np.array([1.5, 2.5, 3.5])})
    if suffix == ".stl":
        values.point_data = {}
    if suffix == ".npy":
        values = Mesh(values.points)
    path = tmp_path / f"a{suffix}"
    write_mesh(path, values)
    whole = path.read_bytes()
    step = 1 if len(whole) < 600 else 3
    for length in range(0, len(whole), step):
        path.write_bytes(whole[:length])
        try:
            read = read_mesh(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            continue
        if suffix == ".vtk" and len(read.point_data) < 1:  # sections may end anywhere between two of them
            continue
        np.testing.assert_array_equal(read.points, values.points)
        assert read.point_data.keys() == values.point_data.keys() and read.num_cells == values.num_cells


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.vtu", tmp_path):
        with pytest.raises(InputError):
            read_mesh(path)
    (tmp_path / "folder.vtk").mkdir()
    with pytest.raises(InputError, match="is no file"):
        read_mesh(tmp_path / "folder.vtk")
