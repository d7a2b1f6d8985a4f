"""Legacy VTK quads: read exactly, or refused by name; never a shorter mesh."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets.prepare.mlcfd import read_quad_mesh
from pointcept_bsa.errors import InputError


@pytest.fixture
def mesh(tmp_path, make_raw_car):
    arrays = make_raw_car(tmp_path / "car", num_points=24, loose=slice(4, 8))
    return tmp_path / "car" / "quadpress_smpl.vtk", arrays


def test_points_and_quads_are_read(mesh):
    path, arrays = mesh
    points, quads = read_quad_mesh(path)
    np.testing.assert_allclose(points, arrays["points"], rtol=1e-6)
    np.testing.assert_array_equal(quads, arrays["quads"])
    assert points.dtype == np.float32 and quads.dtype == np.int64


def test_layout_of_lines_and_point_data_do_not_matter(mesh):
    path, arrays = mesh
    head, _, cells = path.read_text().partition("CELLS")
    lines = head.split("\n")
    joined = "\n".join(lines[:5]) + "\n" + " ".join(lines[5:]) + "\n"
    scalars = "POINT_DATA 24\nSCALARS p float 1\nLOOKUP_TABLE default\n" + "0.5 " * 24 + "\n"
    path.write_text((joined + "CELLS" + cells + scalars).replace("\n", "\r\n"))
    points, quads = read_quad_mesh(path)
    np.testing.assert_allclose(points, arrays["points"], rtol=1e-6)
    np.testing.assert_array_equal(quads, arrays["quads"])


@pytest.mark.filterwarnings("ignore:string or file could not be read")
def test_no_cut_of_the_file_gives_another_mesh(mesh):
    path, arrays = mesh
    whole = path.read_bytes()
    for length in range(0, len(whole.rstrip()), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="quadpress_smpl.vtk: "):
            read_quad_mesh(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# vtk DataFile", "solid cube", "is not a legacy VTK file"),
        ("UNSTRUCTURED_GRID", "POLYDATA", "has a section CELLS, which a POLYDATA has not"),
        ("POINTS 24", "POINTS 23", "vtk: "),
        ("\n9\n9\n", "\n10\n9\n", "wanted quads only"),
        ("\n4 0 ", "\n4 99 ", "quads name points 0 to 99, wanted 0 to 23"),
        ("\n4 0 ", "\n4 -1 ", "quads name points -1"),
        ("CELL_TYPES", "CELL_KINDS", "no section CELL_TYPES"),
    ],
)
def test_foreign_content_is_refused(mesh, old, new, message):
    path, _ = mesh
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_quad_mesh(path)


@pytest.mark.filterwarnings("ignore:string or file could not be read")
def test_text_among_the_numbers_is_refused(mesh):
    path, arrays = mesh
    first = f"{arrays['points'][3, 1]:.7g}"
    path.write_text(path.read_text().replace(first, "nonsense", 1))
    with pytest.raises(InputError, match="quadpress_smpl.vtk: "):
        read_quad_mesh(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="none.vtk: cannot be read"):
        read_quad_mesh(tmp_path / "none.vtk")
