"""Small valid mesh files of every kind, to be damaged."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from pointcept_bsa.mesh_io import Mesh, write_mesh


def written(folder: Path, name: str, mesh: Mesh) -> bytes:
    write_mesh(folder / name, mesh)
    return (folder / name).read_bytes()


def surface() -> Mesh:
    points = np.arange(18.0).reshape(6, 3) / 7
    cells = {"triangle": np.array([[0, 1, 2], [2, 3, 4]]), "quad": np.array([[0, 1, 2, 3]])}
    fields = {"pressure": np.linspace(-1, 1, 6), "velocity": np.ones((6, 3), np.float32)}
    return Mesh(points, cells, fields, {"patch": np.arange(3, dtype=np.int32)})


def volume() -> Mesh:
    mesh = surface()
    mesh.cells = {
        "tetra": np.array([[0, 1, 2, 3]]),
        "wedge": np.array([[0, 1, 2, 3, 4, 5]]),
        "quad": mesh.cells["quad"],
    }
    mesh.field_data = {"mach": np.array([0.5])}
    return mesh


VTK_TEXT = b"""# vtk DataFile Version 3.0
text
ASCII
DATASET UNSTRUCTURED_GRID
POINTS 5 float
0 0 0 1 0 0 1 1 0 0 1 0 2 2 2
CELLS 2 9
4 0 1 2 3
3 1 2 4
CELL_TYPES 2
9
5
CELL_DATA 2
SCALARS c int 1
LOOKUP_TABLE default
10 20
POINT_DATA 5
SCALARS p float
LOOKUP_TABLE default
1 2 3 nan 5
VECTORS v double
0 0 1 0 0 1 0 0 1 0 0 1 0 0 1
FIELD FieldData 1
two 2 5 float
1 2 3 4 5 6 7 8 9 10
METADATA
INFORMATION 0

"""
VTK_POLYGONS = VTK_TEXT.split(b"CELLS")[0].replace(b"UNSTRUCTURED_GRID", b"POLYDATA")
VTK_POLYGONS += b"LINES 1 3\n2 0 4\nPOLYGONS 2 9\n4 0 1 2 3\n3 1 2 4\n"
VTK_FIVE = b"""# vtk DataFile Version 5.1
text
ASCII
DATASET POLYDATA
POINTS 4 double
0 0 0 1 0 0 1 1 0 0 1 0
POLYGONS 3 6
OFFSETS vtktypeint64
0 3 6
CONNECTIVITY vtktypeint64
0 1 2 0 2 3
"""
VTK_GRID = b"""# vtk DataFile Version 3.0
grid
ASCII
DATASET STRUCTURED_POINTS
DIMENSIONS 3 2 2
ORIGIN 0 0 0
SPACING 1 1 2
POINT_DATA 12
SCALARS p float
LOOKUP_TABLE default
1 2 3 4 5 6 7 8 9 10 11 12
"""
VTK_WORDS = b"""# vtk DataFile Version 3.0
texts
ASCII
DATASET POLYDATA
FIELD FieldData 3
note 1 2 string
hello

NULL_ARRAY
any 1 2 variant
6 3
13 a%20b
POINTS 4 float
0 0 0 1 0 0 1 1 0 0 1 0
TRIANGLE_STRIPS 1 5
4 0 1 3 2
POLYGONS 1 5
4 0 1 2 3
CELL_DATA 2
FIELD FieldData 2
zone%20name 1 2 string
wall
inlet
flag 1 2 bit
1 0
POINT_DATA 4
COLOR_SCALARS c 3
0 0 0 1 1 1 0.5 0.5 0.5 0 0 1
LOOKUP_TABLE t 1
0 0 0 1
TEXTURE_COORDINATES t 2 float
0 0 0 1 1 0 1 1
GLOBAL_IDS ids vtkIdType
1 2 3 4
"""
VTK_BYTES = (
    VTK_WORDS.split(b"ASCII")[0] + b"BINARY\nDATASET POLYDATA\nFIELD FieldData 2\nnote 1 3 string\n\xc5hello\xc0"
)
VTK_BYTES += b"\x80Fxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nbits 1 9 bit\n\xa0\x80\n"
VTK_BYTES += b"POINTS 1 float\n" + bytes(12) + b"\nVERTICES 1 2\n" + struct.pack(">2i", 1, 0) + b"\n"
VTK_QUADS = VTK_TEXT.split(b"CELLS")[0] + b"CELLS 1 5\n4 0 1 2 3\nCELL_TYPES 1\n9\n"


def packed_xml(kind: str, compress: bool) -> bytes:
    """A .vtu or .vtp with base64, packed or not."""
    import base64

    def array(values: np.ndarray, name: str, columns: int = 1) -> str:
        raw = values.tobytes()
        packed = zlib.compress(raw)
        head = struct.pack("<4I", 1, len(raw), len(raw), len(packed)) if compress else struct.pack("<I", len(raw))
        text = base64.b64encode(head) + base64.b64encode(packed) if compress else base64.b64encode(head + raw)
        kinds = {"f": "Float", "i": "Int", "u": "UInt"}
        numpy_kind = kinds[values.dtype.kind] + str(8 * values.dtype.itemsize)
        return (
            f'<DataArray type="{numpy_kind}" Name="{name}" NumberOfComponents="{columns}" format="binary">'
            f"{text.decode()}</DataArray>"
        )

    points = array(np.arange(12, dtype=np.float32), "Points", 3)
    cells = array(np.array([0, 1, 2, 1, 2, 3]), "connectivity") + array(np.array([3, 6]), "offsets")
    if kind == "PolyData":
        size, cells = 'NumberOfPolys="2"', f"<Polys>{cells}</Polys>"
    else:
        size, cells = 'NumberOfCells="2"', f"<Cells>{cells}{array(np.array([5, 5], np.uint8), 'types')}</Cells>"
    data = array(np.arange(4.0), "p")
    compressor = ' compressor="vtkZLibDataCompressor"' if compress else ""
    return (
        f'<VTKFile type="{kind}" version="0.1" byte_order="LittleEndian"{compressor}>'
        f'<{kind}><Piece NumberOfPoints="4" {size}>'
        f"<PointData>{data}</PointData><Points>{points}</Points>{cells}</Piece></{kind}></VTKFile>"
    ).encode()


XML_TEXT = b"""<?xml version="1.0"?>
<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">
<PolyData><FieldData><DataArray type="Float64" Name="mach" NumberOfTuples="1" format="ascii">0.5</DataArray></FieldData>
<Piece NumberOfPoints="3" NumberOfVerts="1" NumberOfLines="1" NumberOfStrips="0" NumberOfPolys="1">
<PointData Scalars="p"><DataArray type="Float32" Name="p" format="ascii">1 2 nan</DataArray></PointData>
<CellData><DataArray type="Int32" Name="c" format="ascii">1 2 3</DataArray></CellData>
<Points><DataArray type="Float32" NumberOfComponents="3" format="ascii">0 0 0 1 0 0 1 1 0</DataArray></Points>
<Verts><DataArray type="Int64" Name="connectivity" format="ascii">0</DataArray>
<DataArray type="Int64" Name="offsets" format="ascii">1</DataArray></Verts>
<Lines><DataArray type="Int64" Name="connectivity" format="ascii">0 1</DataArray>
<DataArray type="Int64" Name="offsets" format="ascii">2</DataArray></Lines>
<Polys><DataArray type="Int64" Name="connectivity" format="ascii">0 1 2</DataArray>
<DataArray type="Int64" Name="offsets" format="ascii">3</DataArray></Polys>
</Piece></PolyData></VTKFile>
"""
PLY_TEXT = b"""ply
format ascii 1.0
comment columns vertex v 2
element vertex 3
property float x
property double y
property int z
property float v_0
property float v_1
element face 2
property list uchar int vertex_indices
property uchar red
element edge 1
property int a
end_header
0 0 0 1 2
1 0 0 3 4
1 1 0 5 nan
3 0 1 2 255
4 0 1 2 0 9
7
"""
STL_TEXT = b"""solid part
facet normal 0 0 1
outer loop
vertex 0 0 0
vertex 1 0 0
vertex 1 1 0
endloop
endfacet
endsolid part
"""
CSV_TEXTS = (
    b'"p","U:0","U:1","U:2","Points:0","Points:1","Points:2"\r\n1,2,3,4,0,0,0\r\n2,3,4,5,1,1,1\r\n',
    b"[Name]\nPlane 1\n\n[Data]\nX [ m ], Y [ m ], Z [ m ], Velocity u [ m s^-1 ], X [ m ]\n"
    b"1, 2, 3, null, 1\n4, 5, 6, 7, 4\n\n[Faces]\n0, 1, 0\n",
    b"nodenumber  x-coordinate  y-coordinate  x-velocity  y-velocity\n  1  1e-3 -7.5E-01  1.2  -2.3\n",
    "\ufeff# a\n# x;y;gr\xf6\xdfe;zone\n1;2;;in let\n#\n1;3;nan;'out'\n".encode(),
    "x\ty\tz\n1\t2\t3\n".encode("utf-16"),
)
