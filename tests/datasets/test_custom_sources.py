"""Where samples are looked for, and what lies beside their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets.custom.sources import find_samples, read_source
from pointcept_bsa.datasets.custom.table import read_parameters
from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import Mesh, write_mesh


def test_linked_folders_files_and_roots_are_searched(tmp_path):
    """A sample folder elsewhere, the root itself by a link, a link that goes round, a link to nowhere."""
    for name in ("real/a", "far/c/d", "source"):
        (tmp_path / name).mkdir(parents=True)
    write_mesh(tmp_path / "real/a/one.vtk", Mesh(np.eye(3)))
    np.save(tmp_path / "far/c/d/coord.npy", np.eye(3))
    (tmp_path / "source/a").symlink_to(tmp_path / "real/a")
    (tmp_path / "source/c").symlink_to(tmp_path / "far/c")
    (tmp_path / "source/two.vtk").symlink_to(tmp_path / "real/a/one.vtk")
    (tmp_path / "source/nowhere.txt").symlink_to(tmp_path / "gone")
    (tmp_path / "far/c/round").symlink_to(tmp_path / "source")
    (tmp_path / "link").symlink_to(tmp_path / "source")
    for root in ("source", "link"):
        found = find_samples(tmp_path / root)
        assert list(found) == ["a/one", "c/d", "two"]
        assert all(len(read_source(path).points) == 3 for path in found.values())


def test_arrays_of_text_beside_numbers_are_left_out_of_a_folder(tmp_path):
    np.save(tmp_path / "coord.npy", np.asfortranarray(np.eye(3, dtype=">f4")))
    np.save(tmp_path / "p.npy", np.arange(3, dtype=">i2"))
    np.save(tmp_path / "names.npy", np.array(["a", "b"]))
    np.save(tmp_path / "info.npy", np.array([{}], dtype=object), allow_pickle=True)
    mesh = read_source(tmp_path)
    assert mesh.point_data["p"].tolist() == [0, 1, 2] and mesh.left_out == ("info", "names")
    np.testing.assert_array_equal(mesh.points, np.eye(3))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_tables_and_splits_of_any_encoding(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("name,größe\r\ncafé,1.5\r\n".encode(encoding))
    assert read_parameters(tmp_path / "a.csv") == {"café": {"größe": 1.5}}
    (tmp_path / "a.json").write_bytes('{"café": {"größe": 1.5}}'.encode(encoding))
    assert read_parameters(tmp_path / "a.json") == {"café": {"größe": 1.5}}


@pytest.mark.parametrize("name", ["a.vtm", "a.pvtu", "deeper/a.PVTU"])
def test_parts_of_one_mesh_are_one_sample(tmp_path, name):
    (tmp_path / "deeper").mkdir()
    for i in range(2):
        write_mesh(tmp_path / f"a_{i}.vtu", Mesh(np.eye(3) + i))
    write_mesh(tmp_path / "other.vtu", Mesh(np.eye(3)))
    kind, tag = (
        ("vtkMultiBlockDataSet", "DataSet file") if name.endswith("vtm") else ("PUnstructuredGrid", "Piece Source")
    )
    above = "../" if "/" in name else ""
    inside = "".join(f'<{tag}="{above}a_{i}.vtu"/>' for i in range(2))
    (tmp_path / name).write_text(f'<VTKFile type="{kind}"><{kind}>{inside}</{kind}></VTKFile>')
    found = find_samples(tmp_path)
    assert list(found) == sorted([name.rpartition(".")[0], "other"])
    assert len(read_source(found[name.rpartition(".")[0]]).points) == 6
    (tmp_path / name).write_text("<VTKFile/>")
    with pytest.raises(InputError, match="wanted a VTKFile of type"):
        find_samples(tmp_path)


def test_formats_of_pyvista_count_where_there_is_no_other(tmp_path):
    for name in ("a.msh", "b.obj", "table.csv"):
        (tmp_path / name).touch()
    assert list(find_samples(tmp_path)) == ["a", "b"]
    write_mesh(tmp_path / "a.vtu", Mesh(np.eye(3)))  # computed on a.msh
    assert list(find_samples(tmp_path).values()) == [tmp_path / "a.vtu"]


def test_tables_count_where_there_is_no_other_file(tmp_path):
    for name in ("a.csv", "b.CSV", "cases.csv"):
        (tmp_path / name).write_text("x,y,z\n1,2,3\n")
    assert list(find_samples(tmp_path)) == ["a", "b", "cases"]
    assert list(find_samples(tmp_path, tmp_path / "deeper" / ".." / "cases.csv")) == ["a", "b"]
    assert read_source(tmp_path / "b.CSV").points.tolist() == [[1, 2, 3]]
    write_mesh(tmp_path / "c.vtu", Mesh(np.eye(3)))
    assert list(find_samples(tmp_path)) == ["c"]


def test_a_folder_of_archives_is_told_how_to_convert_them(tmp_path):
    (tmp_path / "a.h5").touch()
    with pytest.raises(InputError, match="wanted one a sample; to convert it"):
        find_samples(tmp_path)
