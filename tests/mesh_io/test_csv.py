"""Tables of points: as programs export them, as they are written, and what is wrong with them in one line."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import Mesh, check_writable, csv_mesh, csv_text, read_mesh, write_mesh

PARAVIEW = '"p","U:0","U:1","U:2","U_Magnitude","Points:0","Points:1","Points:2","y"\n1,2,3,4,5,6,7,8,9\n'
CFD_POST = (
    "\n[Name]\nPlane 1\n\n[Spatial Fields]\nX, Y, Z\n\n[Data]\n"
    "X [ m ], Y [ m ], Z [ m ], Wall Shear X [ Pa ], Wall Shear Y [ Pa ], Wall Shear Z [ Pa ], Velocity [ m s^-1 ], "
    "Velocity u [ m s^-1 ], Velocity v [ m s^-1 ], Velocity w [ m s^-1 ], X [ m ]\n"
    "1.0e+00, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1\n1, 2, 4, 4, null, 6, 7, 8, 9, 10, 1\n\n[Faces]\n0, 1, 0\n"
)
FLUENT = (
    "nodenumber,    x-coordinate,    y-coordinate,        pressure,      x-velocity,      y-velocity\n"
    "         1,-4.158276732E-16,-8.000000000E+00,-2.188333742E-02, 1.000000000E+00, 0.000000000E+00\n"
)
STAR = (
    '"Pressure (Pa)","Velocity[i] (m/s)","Velocity[j] (m/s)","Velocity[k] (m/s)","X (m)","Y (m)","Z (m)"\n'
    "1,2,3,4,5,6,7\n"
)


def read(tmp_path, text, encoding="utf-8"):
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    mesh = read_mesh(tmp_path / "a.csv")
    assert all(values.dtype == np.float64 for values in (mesh.points, *mesh.point_data.values()))
    return mesh.points.tolist(), {name: values.tolist() for name, values in mesh.point_data.items()}, mesh.left_out


def test_paraview(tmp_path):
    fields = {"p": [1], "U": [[2, 3, 4]], "U_Magnitude": [5], "y": [9]}
    assert read(tmp_path, PARAVIEW) == ([[6, 7, 8]], fields, ())
    underscores = PARAVIEW.replace("U:", "U_").replace("Points:", "Points_")
    assert read(tmp_path, underscores) == ([[6, 7, 8]], fields, ())


def test_cfd_post(tmp_path):
    points, fields, left_out = read(tmp_path, CFD_POST)
    assert points == [[1, 2, 3], [1, 2, 4]] and left_out == ("section [Faces]",)
    shear = fields.pop("Wall Shear [ Pa ]")
    assert shear[0] == [4, 5, 6] and np.isnan(shear[1][1])
    # a column has the name of the whole vector
    assert fields.pop("Velocity [ m s^-1 ]") == [7, 7]
    assert fields == {f"Velocity {c} [ m s^-1 ]": [n, n] for c, n in zip("uvw", (8, 9, 10), strict=True)}


@pytest.mark.parametrize("separator", [", ", " ", "\t", "; "])
def test_fluent(tmp_path, separator):
    words = [line.replace(" ", "").replace(",", separator) for line in FLUENT.splitlines()]
    points, fields, _ = read(tmp_path, "\n".join(words))
    assert points == [[-4.158276732e-16, -8, 0]]
    assert fields == {"nodenumber": [1], "pressure": [-2.188333742e-02], "velocity": [[1, 0]]}
    assert read(tmp_path, FLUENT)[:2] == (points, fields)


def test_star_ccm(tmp_path):
    assert read(tmp_path, STAR) == ([[5, 6, 7]], {"Pressure (Pa)": [1], "Velocity (m/s)": [[2, 3, 4]]}, ())


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        ("x,y,z,U_x,U_y,U_z", {"U": [[4, 5, 6]]}),
        ("x,y,z,U:X,U:Y,U:Z", {"U": [[4, 5, 6]]}),
        ("x,y,z,U_2,U_0,U_1", {"U": [[5, 6, 4]]}),
        ("x,y,z,U_0,U_1,p", {"U": [[4, 5]], "p": [6]}),
        ("x,y,z,U_x,U_y,p", {"U_x": [4], "U_y": [5], "p": [6]}),  # two letters in space
        ("x,y,U_x,U_y,a,b", {"U": [[3, 4]], "a": [5], "b": [6]}),
        ("x,y,z,U_1,U_2,U_3", {"U_1": [4], "U_2": [5], "U_3": [6]}),  # from 1
        ("x,y,z,U_0,U_2,U_00", {"U_0": [4], "U_2": [5], "U_00": [6]}),
        ("x,y,a_0,U,U_0,U_1", {"a_0": [3], "U": [4], "U_0": [5], "U_1": [6]}),  # U is there already
        ("x,y,z,Ux,Uy,Uz", {"Ux": [4], "Uy": [5], "Uz": [6]}),
        ("x,y,u,v,w,p", {"u": [3], "v": [4], "w": [5], "p": [6]}),
        ("x,y,U_x,U_X,U_y,p", {"U_x": [3], "U_X": [4], "U_y": [5], "p": [6]}),
    ],
)
def test_components_of_a_field(tmp_path, names, fields):
    points, found, _ = read(tmp_path, f"{names}\n1,2,3,4,5,6\n")
    assert found == fields and points == [[1, 2, 3 if names.startswith("x,y,z") else 0]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_encoding_and_line_end(tmp_path, encoding, ending):
    text = "x;y;größe in µm;ort\n1;2;3;Küche\n\n4;5;6;'Bad'".replace("\n", ending)
    assert read(tmp_path, text, encoding) == ([[1, 2, 0], [4, 5, 0]], {"größe in µm": [3, 6]}, ("ort",))


@pytest.mark.parametrize(
    "head",
    ["# made by numpy\n# x y p\n", "% Model: a, b\n% x y p\n", "the x y plane\nx y p\n", "// x, y of 1\n\nx y p\n"],
)
def test_titles_and_comments(tmp_path, head):
    for text in (head, head.replace("x y p", "x, y, p")):
        rows = "1 2 3\n# between\n4 5 6\n".replace(" ", "," if "x, y, p" in text else " ").replace("#,", "# ")
        assert read(tmp_path, text + rows) == ([[1, 2, 0], [4, 5, 0]], {"p": [3, 6]}, ())


def test_cells_without_a_value_are_nan(tmp_path):
    words = ["", " ", '""', "null", "NA", "nan", "-nan(ind)", " NULL "]
    for separator in ",;\t":
        text = "".join(f"{i},0,{word},{word}\n".replace(",", separator) for i, word in enumerate(words))
        points, fields, _ = read(tmp_path, "x,y,p,q\n".replace(",", separator) + text)
        assert [row[0] for row in points] == list(range(8))
        assert np.isnan([fields["p"], fields["q"]]).all()
    points, fields, _ = read(tmp_path, "p,x,y\n,0,1\nnull,2,3\n   ,4,5\n7,,6\n")
    assert np.isnan(points[3][0]) and points[:3] == [[0, 1, 0], [2, 3, 0], [4, 5, 0]]
    assert np.isnan(fields["p"][:3]).all() and fields["p"][3] == 7


def test_columns_of_text_and_without_a_name_are_left_out(tmp_path):
    text = ',x,y,"Block, Name",p,\n0,1,2,"a,,b",3,\n1,1,3,,,\n2,1,4,7,"5",\n'
    points, fields, left_out = read(tmp_path, text)
    assert points == [[1, 2, 0], [1, 3, 0], [1, 4, 0]] and list(fields) == ["p"]
    assert fields["p"][::2] == [3, 5] and np.isnan(fields["p"][1])
    assert left_out == ("Block, Name", "column 1 without a name", "column 6 without a name")
    # text among components
    text = "x,y,U_0,U_1\n1,2,3,a\n"
    assert read(tmp_path, text) == ([[1, 2, 0]], {"U_0": [3]}, ("U_1",))


def test_columns_that_come_twice_are_one_if_they_are_equal(tmp_path):
    text = "x,y,p,p,X (m),Points:0,Points:1\n1,2,3,3,1,1,2\n4,5,,,4,4,5\n"
    points, fields, _ = read(tmp_path, text)
    assert points == [[1, 2, 0], [4, 5, 0]] and list(fields) == ["p"] and fields["p"][0] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv: is empty, wanted a line of column names with x, y"),
        (" \n\n", "is empty"),
        ("1,2,3\n4,5,6\n", "begins with a row of 3 numbers, wanted a line of column names"),
        ("a,b\n1,2\n", "names no coordinates, it begins with 'a,b', wanted a line of column names"),
        ("x,z,p\n1,2,3\n", "names no coordinates"),
        ("Points:0,y\n1,2\n", "names no coordinates"),
        ("x,y,p\n1,2,3\n1,2\n", "line 3 has 2 columns, wanted 3 as in the line of names .x, y, p."),
        ("x,y,p\n1,2,3,4\n", "line 2 has 4 columns, wanted 3"),
        ("x,y,p,t\n1,2,3,a\n\n1,2,3,a,b\n", "line 4 has 5 columns, wanted 4"),
        ("x,y,p\n1,2,3\n1,2,abc\n", "line 3: column 'p' is 'abc', wanted a number"),
        ("x,y,p\n1,m,3\n", "line 2: column 'y' is 'm', wanted a number"),
        ("x,y,p\n1,2,3\n1,2,1_0\n", "column 'p' is '1_0'"),
        ("x,y,p\n1,2,3\n1,2,٣\n", "column 'p' is '٣'"),
        ("x;y;p\n1;2;0,5\n", "line 2: column 'p' is '0,5', wanted a number with a decimal point"),
        ("x;y;p\n1,5;2;3\n", "line 2: column 'x' is '1,5', wanted a number with a decimal point"),
        ("x,y,p,p\n1,2,3,4\n", "columns 3 and 4, 'p' and 'p', have one meaning and different values"),
        ("x,y,X\n1,2,3\n", "columns 1 and 3, 'x' and 'X', have one meaning"),
        ("x,y,Points:0,Points:1\n1,2,1,3\n", "columns 4 and 2, 'Points:1' and 'y', have one meaning"),
        ('x,y,t,p\n1,2,"a,3\n4,5,b",6\n', "line 2 has 3 columns, wanted 4"),
        ("x,y\n1,2\n" + "3" * 70000, "has a line of more than 65536 characters"),
        ("x,y" + ",p" * 1000 + "\n", "begins with a line of 1002 columns, more than 1000"),
        (f"x,y,p\n1,2,3\n1,2,{'3' * 200}x\n", "column 'p' is '3"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text)
    assert "a.csv" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_sizes_are_bounded(tmp_path, monkeypatch):
    text = "x,y,p\n" + "1,2,3\n" * 50
    monkeypatch.setattr(csv_mesh, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="has more than 1000 bytes of numbers"):
        read(tmp_path, text)
    monkeypatch.setattr(csv_text, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="has 306 bytes, wanted at most 100"):
        read(tmp_path, text)


@pytest.mark.parametrize("block", [60, 61, 150, 400])
def test_blocks_do_not_show(tmp_path, monkeypatch, block):
    """Errors name the line of the file; values that are missing, comments and text may be in any block."""
    rows = "".join(f"{i},{i / 7!r},{i % 3 or ''},zone {i}\n" + "# note\n" * (i % 5 == 0) for i in range(40))
    monkeypatch.setattr(csv_text, "BLOCK", 1 << 12)
    whole = read(tmp_path, f"x,y,p,name\n{rows}")
    monkeypatch.setattr(csv_text, "BLOCK", block)
    parts = read(tmp_path, f"x,y,p,name\n{rows}")
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_array_equal(parts[1]["p"], whole[1]["p"])
    assert parts[0] == [[i, i / 7, 0] for i in range(40)] and parts[2] == whole[2] == ("name",)
    with pytest.raises(InputError, match="line 50 has 1 columns, wanted 4"):
        read(tmp_path, f"x,y,p,name\n{rows}7\n")


def test_memory_is_that_of_the_numbers(tmp_path, monkeypatch):
    """Text of 9 MB, 3.2 MB of numbers, twice while columns become vectors."""
    monkeypatch.setattr(csv_text, "BLOCK", 1 << 16)
    rng = np.random.default_rng(0)
    mesh = Mesh(rng.normal(size=(100_000, 3)), {}, {"p": rng.normal(size=100_000)})
    write_mesh(tmp_path / "a.csv", mesh)
    assert (tmp_path / "a.csv").stat().st_size > 7e6
    tracemalloc.start()
    try:
        found = csv_mesh.read_csv_mesh(tmp_path / "a.csv")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found.points, mesh.points)
    assert peak < 8e6


def test_what_is_written_is_read_back(tmp_path):
    rng = np.random.default_rng(1)
    numbers = rng.normal(size=9) * 10.0 ** rng.integers(-300, 300, 9)
    numbers[:4] = np.nan, np.inf, -np.inf, -0.0
    fields = {
        "p [ Pa ]": numbers,
        "single": np.nextafter(np.float32(0.1), np.arange(9, dtype=np.float32)),
        "U": rng.normal(size=(9, 3)),
        "pair": rng.normal(size=(9, 2)).astype(np.float32),
        "id": np.arange(9) - 2**53,
        "flag": np.arange(9) > 4,
        'two "words", quoted': np.arange(9.0),
        "tab\tand 100%": np.arange(9.0),
        "λ é": np.arange(9.0),
        "p_0": np.arange(9.0),
    }
    mesh = Mesh(rng.normal(size=(9, 3)), {"vertex": np.arange(9)[:, None]}, fields)
    check_writable(tmp_path / "a.csv", mesh)
    write_mesh(tmp_path / "a.csv", mesh)
    found = read_mesh(tmp_path / "a.csv")
    np.testing.assert_array_equal(found.points, mesh.points)
    assert list(found.point_data) == list(fields) and not found.left_out
    for name, values in fields.items():
        np.testing.assert_array_equal(found.point_data[name].astype(values.dtype), values, err_msg=name)
    write_mesh(tmp_path / "b.csv", found)
    assert (tmp_path / "b.csv").read_text().splitlines()[0] == (tmp_path / "a.csv").read_text().splitlines()[0]
    again = read_mesh(tmp_path / "b.csv")
    for name, values in found.point_data.items():
        np.testing.assert_array_equal(again.point_data[name], values)


def test_tables_longer_than_a_block_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_mesh, "ROWS", 4)
    for count in (0, 1, 4, 9):
        points = np.arange(3.0 * count).reshape(count, 3)
        write_mesh(tmp_path / "a.csv", Mesh(points, {}, {"p": points[:, 0]}))
        assert len((tmp_path / "a.csv").read_text().splitlines()) == count + 1
        np.testing.assert_array_equal(read_mesh(tmp_path / "a.csv").points, points)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (Mesh(np.eye(3), {"triangle": np.array([[0, 1, 2]])}), "holds points and their fields, the mesh has .'cells'"),
        (Mesh(np.eye(3), {"vertex": np.array([[0], [2]])}), "the mesh has .'cells'"),
        (Mesh(np.eye(3), field_data={"mach": np.array([1.0])}), "the mesh has .'field_data'"),
        *[
            (
                Mesh(np.eye(3), point_data={name: np.zeros(3) for name in names}),
                "would not be read from a table as they are",
            )
            for names in (["x"], ["Z (m)"], [" p"], ["a\nb"], ["a\rb"], ["a\0b"], [""], ["p" * 70000])
        ],
        (Mesh(np.eye(3), point_data={"a": np.zeros((3, 0))}), "would not be read from a table as they are"),
        (Mesh(np.eye(3), point_data={"a": np.zeros((3, 998))}), "wanted at most 1000 columns"),
        (Mesh(np.eye(3), point_data={"a": np.zeros((3, 2)), "a:1": np.zeros(3)}), "would not be read from a table"),
        (Mesh(np.eye(3), point_data={"a_0": np.zeros(3), "a_1": np.zeros(3), "a": np.eye(3)}), "would not be read"),
        (Mesh(np.eye(3), point_data={"a": np.array([0, 0, 2**53 + 1])}), "'a' has integers above 2.53"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, mesh, message):
    for refuse in (check_writable, write_mesh):
        with pytest.raises(InputError, match=message):
            refuse(tmp_path / "a.csv", mesh)
    assert not (tmp_path / "a.csv").exists()


def test_a_cut_of_a_table_changes_its_last_row_alone(tmp_path):
    """A table does not say how many rows it has."""
    values = np.array([1.5, 2.5, 3.5])
    write_mesh(tmp_path / "a.csv", Mesh(np.arange(9.0).reshape(3, 3), {}, {"p": values}))
    whole = (tmp_path / "a.csv").read_bytes()
    lengths = []
    for length in range(len(whole)):
        (tmp_path / "a.csv").write_bytes(whole[:length])
        try:
            found = read_mesh(tmp_path / "a.csv")
        except InputError as error:
            assert "a.csv" in str(error) and "\n" not in str(error)
            continue
        lengths.append(len(found.points))
        rows = slice(0, max(len(found.points) - 1, 0))
        np.testing.assert_array_equal(found.points[rows], np.arange(9.0).reshape(3, 3)[rows])
        if "p" in found.point_data:
            np.testing.assert_array_equal(found.point_data["p"][rows], values[rows])
    assert {1, 2, 3} <= set(lengths)


def test_fields_that_are_components_by_their_names_come_back_as_one(tmp_path):
    """Predictions of three targets u_x, u_y, u_z can be written."""
    fields = {f"u_{axis}": np.arange(3.0) + i for i, axis in enumerate("xyz")}
    write_mesh(tmp_path / "a.csv", Mesh(np.eye(3), point_data=fields))
    assert (tmp_path / "a.csv").read_text().startswith("x,y,z,u_x,u_y,u_z\n1.0,0.0,0.0,0.0,1.0,2.0\n")
    np.testing.assert_array_equal(read_mesh(tmp_path / "a.csv").point_data["u"], np.stack([*fields.values()], axis=1))


def test_numbers_of_any_length_and_spaces_of_any_kind(tmp_path):
    """In rows that numpy reads at once and in those that are looked at one by one (here for their comment)."""
    for more in ("", "# note\n"):
        text = f"x y p\n 1e-3\t-7.5E-01 \u00a0 {'9' * 400} \n.5 +2. 0.{'3' * 200}\n{more}"
        points, fields, _ = read(tmp_path, text)
        assert points == [[1e-3, -0.75, 0], [0.5, 2, 0]] and fields == {"p": [np.inf, 1 / 3]}


def test_many_spaces_take_no_time(tmp_path):
    """Rows with a hole and with lines of spaces are looked through once."""
    line = "1,2," + " " * 60000 + "\n"
    start = time.process_time()
    _, fields, _ = read(tmp_path, "x,y,p\n" + line * 60 + "3,4,5\n")
    assert np.isnan(fields["p"][:60]).all() and fields["p"][60] == 5
    with pytest.raises(InputError, match="line 3: column 'p' is 'x', wanted a number"):
        read(tmp_path, "x,y,p\n1,2,3\n" + line.replace("\n", "x\n") * 60)
    assert time.process_time() - start < 5
