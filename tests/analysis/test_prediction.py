"""Predictions on own files: the same numbers as the model gives, on the same points, read back by another reader."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from pointcept_bsa.analysis.prediction.inputs import prepare_input
from pointcept_bsa.analysis.prediction.network import Network, Prediction, open_network
from pointcept_bsa.analysis.prediction.outputs import fitted, with_prediction
from pointcept_bsa.analysis.prediction.run import Settings, output_paths
from pointcept_bsa.datasets.inputs import InputDescription
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import Compose, build_dataset, collate_fn
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.training.evaluation.training_range import (
    describe_training_data,
    outside_range,
    parse_training_range,
    read_training_range,
)
from pointcept_bsa.training.runs.opened_run import open_run

AXES = np.array([0.7, 0.62, 0.6])
FOURIER = dict(type="FourierFeatures", keys=("coord", "wall_distance"), num_bands=2)
COLLECT = dict(type="CollectPoints", keys=("coord", "target", "name", "position"), feat_keys=("fourier", "flow"))


@pytest.fixture(scope="module")
def ellipsoid():
    """A body like those of training, as a mesh with fields of its own, a point of no cell, and inward faces."""
    points = np.random.default_rng(0).standard_normal((120, 3))
    points *= AXES / np.linalg.norm(points, axis=1, keepdims=True)
    face = ConvexHull(points).simplices.astype(np.int64)
    points = np.concatenate([points, [[0.0, 0.0, 0.0]]])
    fields = {"id": np.arange(121), "wind": np.random.default_rng(1).random((121, 3))}
    return Mesh(points, {"triangle": face}, fields, {"zone": np.arange(len(face))})


def network(dimensions=2, standardize=None, **surface):
    return Network(
        torch.nn.Linear(1, 1),
        [dict(type="ScaleCoord", min=(0, 0), max=(1, 1)), FOURIER, COLLECT],
        InputDescription(dimensions, scales=standardize or {}),
        None,
        ["u", "v"],
        ["", ""],
        [["velocity", 2]],
        None,
        (),
    )


def test_the_needed_fields_are_those_no_transform_makes():
    assert network().needed_fields() == {"wall_distance": "FourierFeatures", "flow": "CollectPoints"}


def test_fields_come_from_the_file_or_as_numbers_and_are_standardised_as_in_training():
    mesh = Mesh(np.random.rand(5, 3) * [1, 1, 0], point_data={"d": np.arange(5.0)})
    wanted = network(standardize={"flow": {"mean": [1.0, 2.0], "std": [2.0, 4.0]}})
    sample = prepare_input(mesh, "a.vtp", wanted, {"wall_distance": "d", "flow": "5,10"}).sample
    np.testing.assert_allclose(sample["wall_distance"][:, 0], np.arange(5.0))
    np.testing.assert_allclose(sample["flow"], np.tile([2.0, 2.0], (5, 1)))
    assert sample["coord"].shape == (5, 2)


@pytest.mark.parametrize(
    ("points", "data", "given", "message"),
    [
        (np.random.rand(4, 3) * [1, 1, 0], {}, {}, "a.vtp: has no point field 'wall_distance'"),
        (np.random.rand(4, 3) * [1, 1, 0], {"wall_distanc": np.ones(4)}, {}, "did you mean 'wall_distanc'"),
        (np.random.rand(4, 3) * [1, 1, 0], {"wall_distance": np.full(4, np.nan)}, {}, "NaN or infinite values"),
        (np.random.rand(4, 3), {}, {}, "trained on 2-D clouds"),
        (np.zeros((0, 3)), {}, {}, "has no points"),
        (np.full((4, 3), np.inf), {}, {}, "wanted finite positions"),
        (np.random.rand(4, 3) * [1, 1, 0], {}, {"wall_distance": "1", "flow": "1", "q": "1"}, "--field q"),
    ],
)
def test_an_input_that_cannot_be_used_is_refused_by_name(points, data, given, message):
    with pytest.raises(InputError, match=message):
        prepare_input(Mesh(points, point_data=data), "a.vtp", network(), given)


def test_the_range_of_training_is_recorded_with_the_run(small_run):
    known = read_training_range(small_run)
    dataset = build_dataset(open_run(str(small_run)).cfg.data.train)
    coord = np.concatenate([dataset.get_data(i)["coord"] for i in range(6)])
    np.testing.assert_allclose(known["fields"]["coord"]["min"], coord.min(0))
    np.testing.assert_allclose(known["fields"]["coord"]["max"], coord.max(0))
    assert known["points"] == [96, 96] and known["samples"] == known["of"] == 6
    assert known["target"] == dict(names=["pressure_coefficient"], units=["1"], fields=[["pressure_coefficient", 1]])
    assert set(known["fields"]) == {"coord", "normal"}
    assert json.loads(json.dumps(describe_training_data(dataset))) == known


@pytest.mark.parametrize(
    "change",
    [
        dict(offsets=[]),
        dict(offsets={"coord": [0.0, 1.0]}),
        dict(offsets={"coord": [0.0, "x", 1.0]}),
        dict(scales={"normal": {"mean": [0.0]}}),
        dict(scales={"normal": [1.0]}),
        dict(transform=[{"type": "os.system"}]),
        dict(transform=["x"]),
        dict(fields=[{"key": "a"}]),
        dict(fields=[dict(key="normal", source="normal", kind="any", columns=3)]),
        dict(recipe={"wall_mask": 3}),
        dict(dimension="3"),
        dict(recipe=None),
    ],
)
def test_a_damaged_description_is_one_line(small_run, change):
    known = json.loads((small_run / "training_range.json").read_text())
    known["inputs"] |= change
    with pytest.raises(InputError, match="here: damaged training range"):
        parse_training_range(json.dumps(known), "here")


def test_what_is_outside_the_training_range_is_named(small_run):
    known = read_training_range(small_run)
    sample = build_dataset(open_run(str(small_run)).cfg.data.train).get_data(0)
    assert outside_range(sample, known) == []
    (moved,) = outside_range({**sample, "coord": sample["coord"] + np.float32([3, 0, 0])}, known)
    assert moved.startswith("coord.x from ")
    small = outside_range({**sample, "coord": sample["coord"] / 100}, known)
    assert [text.partition(" along ")[0] for text in small] == ["size"] * 3
    many = {key: np.tile(value, (3, 1)) for key, value in sample.items() if key in ("coord", "normal")}
    assert outside_range(many, known) == ["288 points, not 96"]


def test_a_parameter_outside_the_training_range_is_told_in_its_own_numbers():
    mach = {"mean": [0.5], "std": [0.1]}
    known = {"points": [4, 4], "fields": {"mach": {"min": [-1.0], "max": [2.0]}}, "standardize": {"mach": mach}}
    sample = {"coord": np.zeros((4, 3), np.float32), "mach": np.full((4, 1), 3.0, np.float32)}
    assert outside_range(sample, known) == ["mach from 0.8 to 0.8, in training 0.4 to 0.7"]


@pytest.mark.parametrize("suffix", ["vtp", "vtu", "npz"])
def test_the_written_prediction_is_that_of_the_model_on_every_point(small_run, ellipsoid, tmp_path, tool, suffix):
    pyvista = pytest.importorskip("pyvista", reason="missing: package pyvista (part of the extra [test])")
    write_mesh(tmp_path / "in.vtu", ellipsoid)
    output = tmp_path / f"out.{suffix}"
    assert (
        tool("predict", "--weight", str(small_run), "--input", str(tmp_path / "in.vtu"), "--output", str(output)) == 0
    )

    run = open_run(str(small_run))
    normal = (ellipsoid.points / AXES**2)[:120]
    own = prepare_input(ellipsoid, "in", open_network(run.cfg, run.model, run.folder))
    outward = own.sample["normal"]
    assert (np.einsum("nd,nd->n", outward, normal) > 0).all()
    data = dict(coord=ellipsoid.points[:120].astype(np.float32), normal=outward, target=np.zeros((120, 1)), name="x")
    batch = collate_fn([Compose(run.cfg.data.test.transform)(data)])
    with torch.no_grad():
        expected = run.model(batch)["pred"][:, 0].numpy()

    if suffix == "npz":
        mesh = read_mesh(output)
        points, cells, values, of_cells, kept = (
            mesh.points,
            mesh.cells["triangle"],
            mesh.point_data["predicted_pressure_coefficient"],
            mesh.cell_data["predicted_pressure_coefficient"],
            (mesh.point_data["id"], mesh.point_data["wind"], mesh.cell_data["zone"]),
        )
    else:
        read = pyvista.read(output)
        cells = read.regular_faces if suffix == "vtp" else read.cells_dict[5]
        points, values = read.points, np.asarray(read.point_data["predicted_pressure_coefficient"])
        of_cells = np.asarray(read.cell_data["predicted_pressure_coefficient"])
        kept = tuple(np.asarray(a) for a in (read.point_data["id"], read.point_data["wind"], read.cell_data["zone"]))
        assert "predicted_drag_coefficient" in read.field_data
    np.testing.assert_allclose(points, ellipsoid.points, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(cells, ellipsoid.cells["triangle"])
    np.testing.assert_allclose(values[:120], expected, rtol=1e-5, atol=1e-6)
    assert np.isnan(values[120])
    np.testing.assert_allclose(of_cells, expected[ellipsoid.cells["triangle"]].mean(1), rtol=1e-5, atol=1e-6)
    for found, given in zip(kept, (*ellipsoid.point_data.values(), *ellipsoid.cell_data.values())):
        np.testing.assert_allclose(found, given)


def test_files_of_a_folder_are_predicted_with_warnings_and_forces(small_run, ellipsoid, tmp_path, tool, capsys):
    write_mesh(tmp_path / "a.vtp", ellipsoid)
    write_mesh(tmp_path / "b.vtp", Mesh(ellipsoid.points * 10, ellipsoid.cells))
    write_mesh(tmp_path / "c.ply", Mesh(ellipsoid.points[:120], point_data={"normal": ellipsoid.points[:120]}))
    arguments = ["--velocity", "30", "--density", "1.2", "--area", "0.5", "--max-points", "90"]
    inputs = [str(tmp_path / name) for name in ("a.vtp", "b.vtp", "c.ply")]
    assert (
        tool("predict", "--weight", str(small_run), "--input", *inputs, "--output", str(tmp_path / "o"), *arguments)
        == 0
    )
    said = capsys.readouterr().out
    a, b, c = json.loads((tmp_path / "o/predictions.json").read_text())["files"]
    assert (a["training_range"], b["training_range"]) == ("inside", "outside"), a["warnings"]
    assert "coord.x" in b["warnings"][0] and "WARNING: outside the training range" in said
    assert any("2 random pieces" in remark for remark in a["remarks"])
    assert any("1 of 121 points belong to no cell" in remark for remark in a["remarks"])
    assert any("looked inward" in remark for remark in a["remarks"])
    assert c["forces"] is None and any("no drag and lift" in remark for remark in c["remarks"])
    q, forces = 0.5 * 1.2 * 30**2, a["forces"]
    assert forces["newtons"]["drag"] == pytest.approx(forces["coefficients"]["drag"] * q * 0.5)
    assert forces["reference"]["area"] == 0.5 and "[3/3]" in said
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["a.vtp", "b.vtp", "c.vtp", "predictions.json"]


@pytest.mark.parametrize("suffix", ["vtp", "vtu", "vtk", "ply", "npz", "csv"])
def test_every_format_takes_forces_vectors_and_what_came_with_the_file(
    small_run, ellipsoid, tmp_path, tool, capsys, suffix
):
    fields = {
        "a name": np.linspace(0, 1, 121).astype(np.float16),
        "velocity λ": np.random.rand(121, 3),
        "number": np.arange(121) + 2**40,
    }
    np.savez(
        tmp_path / "in.npz",
        points=ellipsoid.points,
        face=ellipsoid.cells["triangle"],
        mach=0.7,
        note="a text",
        parts=np.array([{}], dtype=object),
        **{f"point_data/{name}": values for name, values in fields.items()},
    )
    arguments = ["--weight", str(small_run), "--input", str(tmp_path / "in.npz"), "--format", suffix]
    assert tool("predict", *arguments, "--output", str(tmp_path / "o")) == 0
    said = capsys.readouterr().out
    out = read_mesh(tmp_path / f"o/in.{suffix}")
    for name, values in fields.items():
        # numbers of a text are float64
        np.testing.assert_array_equal(out.point_data[name].astype(values.dtype), values)
    assert "predicted_pressure_coefficient" in out.point_data and "left out: parts, note" in said
    drag = json.loads((tmp_path / "o/predictions.json").read_text())["files"][0]["forces"]["coefficients"]["drag"]
    if suffix == "ply":
        assert "PLY holds no data of the whole mesh: left out of in.ply: mach, predicted_drag_coefficient" in said
        assert not out.field_data
    elif suffix == "csv":
        line = "a table holds points and their fields alone: left out of in.csv: the cells"
        assert f"{line}, mach, predicted_drag_coefficient" in said and not out.field_data and not out.num_cells
        assert "predicted_pressure_coefficient" not in said  # that of the points is there
    else:
        assert out.field_data["predicted_drag_coefficient"] == drag and out.field_data["mach"] == 0.7


@pytest.mark.parametrize("suffix", ["vtp", "ply"])
def test_cells_that_a_format_lacks_are_refused_before_anything_is_predicted(tmp_path, suffix):
    mesh = Mesh(np.random.rand(4, 3), {"tetra": np.array([[0, 1, 2, 3]])}, field_data={"mach": np.ones(1)})
    with pytest.raises(InputError, match="wanted .vtu"):
        fitted(mesh, tmp_path / f"a.{suffix}")
    for other in ("vtu", "vtk", "npz"):
        assert fitted(mesh, tmp_path / f"a.{other}") == (mesh, [])


def test_a_run_without_a_record_says_where_its_range_comes_from(small_run, ellipsoid, tmp_path, tool, capsys):
    shutil.copytree(small_run, tmp_path / "old")
    (tmp_path / "old/training_range.json").unlink()
    write_mesh(tmp_path / "a.vtp", ellipsoid)
    arguments = ["--input", str(tmp_path / "a.vtp"), "--output", str(tmp_path / "b.vtp")]
    assert tool("predict", "--weight", str(tmp_path / "old"), *arguments) == 0
    assert "made from its training data now" in capsys.readouterr().out
    one_file = str(tmp_path / "model.safetensors")
    assert tool("export", str(small_run), "--output", one_file) == 0
    assert tool("predict", "--weight", one_file, *arguments) == 0
    assert "training_range" not in capsys.readouterr().out
    run = open_run(one_file)
    assert open_network(run.cfg, run.model, None, run.metadata).training == read_training_range(small_run)
    cfg = open_run(str(small_run)).cfg
    cfg.data.train = dict(type="ShapeNetCarDataset", data_root=str(tmp_path / "nowhere"))
    unknown = open_network(cfg, open_run(str(small_run)).model, None)
    assert unknown.training is None and "UNKNOWN" in unknown.remarks[0]
    assert list(unknown.names) == ["pressure"]
    cfg.data.train = dict(type="NoSuchDataset")
    with pytest.raises(InputError, match="data.train.type='NoSuchDataset': wanted the registered name of a data set"):
        open_network(cfg, run.model, None)


def test_a_vector_target_is_written_as_a_vector():
    mesh = Mesh(np.random.rand(3, 3), {"line": np.array([[0, 1], [1, 2]])})
    pred = np.arange(6.0).reshape(3, 2)
    out = with_prediction(mesh, np.ones(3, bool), Prediction(pred, 1), network(), None)
    np.testing.assert_array_equal(out.point_data["predicted_velocity"], np.pad(pred, ((0, 0), (0, 1))))
    np.testing.assert_array_equal(out.cell_data["predicted_velocity"], [[1, 2, 0], [3, 4, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nowhere.vtp", "--output", "o"], "no such file"),
        (["--input", "a.xlsx", "--output", "o"], "ends in one of"),
        (["--input", "A", "A", "--output", "o.vtp"], "wanted a folder for 2 inputs"),
        (["--input", "A", "A", "--output", "o"], "also that of another input"),
        (["--input", "A", "--output", "A"], "is the input"),
        (["--input", "A", "--output", "o.stl"], "holds no fields"),
        (["--input", "A", "--output", "o.txt"], "o.txt': wanted a file that ends in one of ['.vtp', '.vtu', "),
        (["--input", "A", "--output", "o.h5"], "or a folder, without a suffix or there already"),
        (["--input", "A", "--output", "o", "--area", "-1"], "--area"),
        (["--input", "A", "--output", "o", "--field", "normal"], "wanted NAME=X"),
        (["--input", "A", "--output", "o", "--field", "normal=q"], "no point field 'q'"),
        (["--input", "CLOUD", "--output", "o"], "no point field 'normal' or faces to compute it from"),
    ],
)
def test_a_mistake_is_told_in_one_line(small_run, ellipsoid, tmp_path, tool, capsys, arguments, message):
    names = {"A": tmp_path / "a.vtp", "CLOUD": tmp_path / "c.npy", "o": tmp_path / "o"}
    write_mesh(names["A"], ellipsoid)
    write_mesh(names["CLOUD"], Mesh(ellipsoid.points))
    assert tool("predict", "--weight", str(small_run), *(str(names.get(a, a)) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1


def test_files_of_domains_with_one_name_are_told_apart(tmp_path):
    sources = []
    for domain in ("surface", "volume"):
        (tmp_path / domain).mkdir()
        sources.append(tmp_path / domain / "c6.vtp")
        write_mesh(sources[-1], Mesh(np.eye(3)))
    settings = Settings(inputs=[str(path) for path in sources], output=str(tmp_path / "out"))
    found = [target.name for _, target in output_paths(settings, ["surface", "volume"])]
    assert found == ["c6_surface.vtp", "c6_volume.vtp"]
    with pytest.raises(InputError, match="also that of another input"):
        output_paths(settings)
