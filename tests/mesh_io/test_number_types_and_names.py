"""Numbers of every type, names and comments of any bytes, line ends of any system."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh

POINTS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
KINDS = ["?", "i1", "u1", ">i2", "u2", ">i4", "u4", ">i8", "u8", "f2", ">f2", ">f4", "f8", ">f8", "g"]
NAMES = ["two words", "tab\tand 100%", "λ é", "a<b>&\"c'", "p_0"]
FIELDS = (".vtk", ".vtu", ".vtp", ".ply", ".npz")
HEAD = "ply\nformat {}\ncomment t\xe9st columns\nobj_info \xff\n"
HEAD += "element extra 1\nproperty list uint8 float32 l\nproperty int8 i\n"
HEAD += "element vertex 3\nproperty float32 x\nproperty float64 y\nproperty float z\nproperty list uchar int16 l\n"
HEAD += (
    "property uint16 q\nelement face 1\nproperty uint8 c\nproperty list int32 uint32 vertex_index\nproperty int8 d\n"
)
HEAD += "element edge 1\nproperty int vertex1\nproperty int vertex2\nend_header\n"


@pytest.mark.parametrize("suffix", FIELDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_number_type_is_written_and_read(tmp_path, suffix, kind):
    values = np.array([0, 1, 1], kind)
    vector = np.asfortranarray(np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1]], kind))
    whole = {} if suffix == ".ply" else {"w": values}
    mesh = Mesh(
        POINTS.astype(kind), {"triangle": np.array([[0, 1, 2]])}, {"p": values, "v": vector}, {"c": values[:1]}, whole
    )
    write_mesh(tmp_path / f"a{suffix}", mesh)
    read = read_mesh(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read.points, POINTS)
    np.testing.assert_array_equal(read.point_data["p"], values)
    np.testing.assert_array_equal(read.point_data["v"], vector)
    np.testing.assert_array_equal(read.cell_data["c"], values[:1])
    assert read.field_data.keys() == whole.keys()


@pytest.mark.parametrize("suffix", FIELDS)
def test_names_of_any_text(tmp_path, suffix):
    mesh = Mesh(POINTS, {}, {name: np.arange(3.0) + i for i, name in enumerate(NAMES)} | {"v w": np.eye(3)})
    write_mesh(tmp_path / f"a{suffix}", mesh)
    read = read_mesh(tmp_path / f"a{suffix}")
    assert set(read.point_data) == set(mesh.point_data)
    for name, values in mesh.point_data.items():
        np.testing.assert_array_equal(read.point_data[name], values)


@pytest.mark.parametrize(("values", "kind"), [([0, -(2**31)], "i4"), ([0, 2**32 - 1], "u4"), ([-1, 2**53], "f8")])
def test_ply_writes_long_integers_that_it_can_keep(tmp_path, values, kind):
    write_mesh(tmp_path / "a.ply", Mesh(POINTS[:2], point_data={"n": np.array(values)}))
    read = read_mesh(tmp_path / "a.ply").point_data["n"]
    assert read.dtype == kind and read.tolist() == values


@pytest.mark.parametrize(
    ("suffix", "fields", "message"),
    [
        (".ply", {"v": np.eye(3), "v_1": np.zeros(3)}, "two vertex fields would be called 'v_1'"),
        (".ply", {"": np.zeros(3)}, "has no name"),
        (".vtu", {"": np.zeros(3)}, "wanted a printable name"),
        (".vtu", {"a\x01": np.zeros(3)}, "wanted a printable name"),
        (".vtp", {"a": np.zeros((3, 0))}, "wanted a printable name and columns"),
        (".vtk", {"a": np.zeros((3, 0))}, "wanted a name and columns"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, suffix, fields, message):
    with pytest.raises(InputError, match=message):
        write_mesh(tmp_path / f"a{suffix}", Mesh(POINTS, point_data=fields))


@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_of_any_system(tmp_path, ending, form):
    """Binary values begin with a line feed, which is no part of a line end."""
    head = HEAD.format(f"{form} 1.0")
    if form == "ascii":
        body = b"2 1.5 2.5 -7\n0 0 0 0 9\n1 0 0 1 -3 8\n0 1 0 2 4 5 7\n200 3 0 1 2 -1\n0 1\n".replace(
            b"\n", ending.encode()
        )
    else:
        e = "<" if "little" in form else ">"
        head = head.replace("list uint8 float32 l", "list uint8 int8 l")
        rows = [(0, 0, 0, [], 9), (1, 0, 0, [-3], 8), (0, 1, 0, [4, 5], 7)]
        body = b"\x0a" + bytes(range(10)) + b"\xf9"
        for x, y, z, own, q in rows:
            body += np.array(x, e + "f4").tobytes() + np.array(y, e + "f8").tobytes() + np.array(z, e + "f4").tobytes()
            body += bytes([len(own)]) + np.array(own, e + "i2").tobytes() + np.array(q, e + "u2").tobytes()
        body += b"\xc8" + np.array(3, e + "i4").tobytes() + np.array([0, 1, 2], e + "u4").tobytes() + b"\xff"
        body += np.array([0, 1], e + "i4").tobytes()
    (tmp_path / "a.ply").write_bytes(head.replace("\n", ending).encode("latin-1") + body)
    read = read_mesh(tmp_path / "a.ply")
    np.testing.assert_array_equal(read.points, POINTS)
    assert read.point_data["q"].tolist() == [9, 8, 7] and read.cells["triangle"].tolist() == [[0, 1, 2]]
    assert read.cell_data["c"].tolist() == [200] and read.cell_data["d"].tolist() == [-1]
    assert read.left_out == ("element extra", "element edge")


@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\r\n"])
def test_stl_text_of_any_system(tmp_path, ending):
    text = "SOLID caf\xe9\n FACET Normal 0 0 1\nOuter Loop\nVERTEX 0 0 0\nvertex 1 0 0\nVertex 0 1e0 0\nENDLOOP\n"
    text += "EndFacet\nEndSolid caf\xe9\n"
    for start in (b"", b"\xef\xbb\xbf", b"\n  "):
        (tmp_path / "a.stl").write_bytes(start + text.encode("latin-1").replace(b"\n", ending))
        read = read_mesh(tmp_path / "a.stl")
        assert sorted(read.points.tolist()) == sorted(POINTS.tolist()) and read.num_cells == 1


def test_stl_binary_that_begins_with_solid_or_was_streamed(tmp_path):
    write_mesh(tmp_path / "a.stl", Mesh(POINTS, {"triangle": np.array([[0, 1, 2]])}))
    content = (tmp_path / "a.stl").read_bytes()
    (tmp_path / "b.stl").write_bytes(b"solid \xff".ljust(80) + content[80:])
    (tmp_path / "c.stl").write_bytes(content[:80] + bytes(4) + content[84:])  # the count was never filled in
    for name in "bc":
        assert read_mesh(tmp_path / f"{name}.stl").num_cells == 1


def test_npz_leaves_out_what_is_no_number(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        points=POINTS,
        p=np.arange(3),
        s=np.array(["a"]),
        o=np.array([{}], object),
        z=np.ones(3) * 1j,
    )
    read = read_mesh(tmp_path / "a.npz")
    assert list(read.point_data) == ["p"] and sorted(read.left_out) == ["o", "s", "z"]
