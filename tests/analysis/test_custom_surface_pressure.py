"""An own target declared as the pressure on a surface: drag and lift of predictions, from files and prepared."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from pointcept_bsa.datasets.custom.surface_pressure import parse_surface_pressure
from pointcept_bsa.datasets.prepare.custom import prepare_custom
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import build_dataset
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.training.evaluation.forces import Reference, pressure_forces
from pointcept_bsa.training.evaluation.surface import outward_surface

from .custom_bodies import collect, custom_config, make_run

WORDS = ("pressure", "density=1.2", "velocity=30", "flow=1,0,0", "up=0,0,1")
STREAM = {"density": 1.2, "velocity": 30.0, "flow": [1.0, 0.0, 0.0], "up": [0.0, 0.0, 1.0]}
TARGET = ["shear", "pressure"]


def write_balls(folder):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(5):
        points = rng.normal(size=(60, 3))
        points *= (1 + 0.1 * i) / np.linalg.norm(points, axis=1, keepdims=True)
        fields = {"pressure": 500 * points[:, 0], "shear": rng.normal(size=(60, 3))}
        faces = ConvexHull(points).simplices.astype(np.int64)
        write_mesh(folder / f"ball{i}.vtp", Mesh(points, {"triangle": faces}, fields))


@pytest.mark.parametrize("prepared", [True, False])
def test_predictions_have_the_forces_of_the_declared_field(tmp_path, tool, prepared):
    write_balls(tmp_path / "raw")
    root, options = tmp_path / "raw", dict(target=TARGET, surface_pressure={"field": "pressure", **STREAM})
    if prepared:
        root, options = tmp_path / "data", {}
        prepare_custom(str(tmp_path / "raw"), str(root), target=TARGET, surface_pressure=WORDS)
    make_run(custom_config(root, [collect("coord")], **options), tmp_path / "run")
    command = ["--weight", str(tmp_path / "run"), "--input", str(tmp_path / "raw/ball1.vtp"), "--output"]
    assert tool("predict", *command, str(tmp_path / "out")) == 0
    (record,) = json.loads((tmp_path / "out/predictions.json").read_text())["files"]
    mesh = read_mesh(tmp_path / "out/ball1.vtp")
    surface = outward_surface(mesh.points, mesh.cells["triangle"])
    wanted = pressure_forces(mesh.points, surface, mesh.point_data["predicted_pressure"], Reference.of(STREAM))
    assert record["forces"]["coefficients"] == pytest.approx(wanted["coefficients"], rel=1e-5)
    assert record["forces"]["newtons"]["drag"] != 0 and record["forces"]["reference"]["velocity"] == 30


def test_shear_counts_in_forces_where_it_is_declared(tmp_path, tool):
    write_balls(tmp_path / "raw")
    prepare_custom(
        str(tmp_path / "raw"), str(tmp_path / "data"), target=TARGET, surface_pressure=(*WORDS, "shear=shear")
    )
    make_run(custom_config(tmp_path / "data", [collect("coord")]), tmp_path / "run")
    command = ["--weight", str(tmp_path / "run"), "--input", str(tmp_path / "raw/ball1.vtp"), "--about", "1", "0", "2"]
    assert tool("predict", *command, "--output", str(tmp_path / "out.vtp")) == 0
    mesh = read_mesh(tmp_path / "out.vtp")
    fields = [mesh.point_data[f"predicted_{name}"] for name in ("pressure", "shear")]
    surface = outward_surface(mesh.points, mesh.cells["triangle"])
    wanted = pressure_forces(mesh.points, surface, fields[0], Reference.of(STREAM, about=(1, 0, 2)), fields[1])
    for name, value in wanted["newton_metres"].items():
        assert mesh.field_data[f"predicted_{name}_newton_metre"] == pytest.approx(value, rel=1e-4, abs=1e-3)
    pressure_alone = pressure_forces(mesh.points, surface, fields[0], Reference.of(STREAM))
    assert wanted["newtons"]["drag"] != pytest.approx(pressure_alone["newtons"]["drag"], rel=1e-3)
    pressure = build_dataset(dict(type="CustomFieldDataset", data_root=str(tmp_path / "data"), target=("pressure",)))
    assert "shear" not in pressure.surface_pressure


def test_a_choice_of_targets_without_the_pressure_has_no_forces(tmp_path):
    write_balls(tmp_path / "raw")
    prepare_custom(str(tmp_path / "raw"), str(tmp_path / "data"), target=TARGET, surface_pressure=WORDS)
    both, shear = (
        build_dataset(dict(type="CustomFieldDataset", data_root=str(tmp_path / "data"), target=target))
        for target in (None, ("shear",))
    )
    assert both.surface_pressure == {"field": "pressure", "coefficient": False, **STREAM}
    assert shear.surface_pressure is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pressur", *WORDS[1:]), "--surface-pressure: got 'pressur', wanted a target .*did you mean 'pressure'"),
        (("shear", *WORDS[1:]), "'shear' has 3 columns, wanted one number"),
        (WORDS[:2], "got velocity=None, wanted a positive number"),
        ((*WORDS[:2], "velocity=-1", *WORDS[3:]), "got velocity=-1.0"),
        ((*WORDS[:3], "flow=1,0", "up=0,0,1"), r"got flow=\[1.0, 0.0\], wanted three numbers"),
        ((*WORDS[:4], "up=1,0,1"), "wanted a direction across the stream"),
        ((*WORDS, "speed=3"), "got 'speed=3'"),
        ((*WORDS, "shear=pressure"), r"got shear='pressure', wanted a target of three columns, of \['shear'\]"),
        ((*WORDS, "coefficient=yes"), "got 'coefficient=yes'"),
        ((*WORDS[:3], "flow=1,x,0"), "flow=1,x,0: wanted numbers"),
    ],
)
def test_a_declaration_without_sense_is_one_line(tmp_path, words, message):
    write_balls(tmp_path / "raw")
    with pytest.raises(InputError, match=message):
        prepare_custom(str(tmp_path / "raw"), str(tmp_path / "data"), target=TARGET, surface_pressure=words)
    assert not (tmp_path / "data").exists()


def test_a_coefficient_needs_no_stream_but_its_direction():
    declared = parse_surface_pressure(["cp", "coefficient", "flow=1,0,0", "up=0,0,1"])
    assert declared == {"field": "cp", "coefficient": True, "flow": [1, 0, 0], "up": [0, 0, 1]}
    assert parse_surface_pressure([]) is None
