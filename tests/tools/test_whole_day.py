"""A whole day of a new user, from own meshes to numbers, by the tools alone; every value is checked with pyvista.

Eight surfaces of different numbers of points, half of them VTP and half VTU, with point fields, a field on the cells
and a parameter in the field data: prepare, train, test, predict (on a mesh, an STL file, a cloud), compare, all again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointcept_bsa.__main__ import main as pcbsa

pyvista = pytest.importorskip("pyvista", reason="missing: package pyvista (part of the extra [test])")

ROOT = Path(__file__).resolve().parents[2]
NUMBER = 8
TINY = ["device=cpu", "num_worker=0", "batch_size=2", "max_iters=30", "eval_every=15", "optimizer.lr=0.003"]
TINY += ["model.backbone.depth=1", "model.backbone.channels=16", "model.head.in_channels=16"]
TINY += ["model.backbone.num_heads=2", "model.backbone.ball_size=32"]


def tool(name: str, *words: object) -> int:
    """tools/<name>.py in this process."""
    return pcbsa([name.removesuffix("_data"), *map(str, words)])


def make_mesh(i: int) -> Any:
    """An ellipsoid in a stream, with as many points as its number says."""
    mesh = pyvista.Sphere(radius=0.5, theta_resolution=10 + i, phi_resolution=9 + i).scale([1 + 0.1 * i, 1.0, 0.7])
    x, y, z = np.asarray(mesh.points, dtype=np.float64).T
    mach = 0.2 + 0.05 * i
    clean = pyvista.PolyData(np.asarray(mesh.points, dtype=np.float64), mesh.faces)
    clean.point_data["pressure"] = 100 * mach * (x - y**2)
    clean.point_data["velocity"] = np.stack([10 + x * mach, y, z], 1)
    clean.cell_data["heat"] = clean.cell_centers().points[:, 2] * 2 + 1
    clean.field_data["mach"] = np.array([mach])
    return clean


def path_of(folder: Path, name: str) -> Path:
    """The raw file of a sample."""
    return next(folder.glob(f"{name}.*"))


def digests(folder: Path) -> dict[str, str]:
    """What every file of a folder holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Path:
    """The folder of the day, with the raw files."""
    folder = tmp_path_factory.mktemp("day")
    (folder / "raw").mkdir()
    for i in range(NUMBER):
        mesh = make_mesh(i)
        if i % 2:
            mesh.cast_to_unstructured_grid().save(folder / "raw" / f"body_{i}.vtu")
        else:
            mesh.save(folder / "raw" / f"body_{i}.vtp")
    return folder


PREPARE = ["--target", "pressure", "velocity", "--feature", "heat", "mach", "--cells-to-points"]
PREPARE += ["--unit", "pressure=Pa", "velocity=m/s"]


@pytest.fixture(scope="module")
def prepared(day) -> Path:
    """The same, prepared into data."""
    command = ["custom", "--src", day / "raw", "--dst", day / "data", *PREPARE]
    assert tool("prepare_data", *command, "--dry-run") == 0
    assert not (day / "data").exists()
    assert tool("prepare_data", *command) == 0
    return day


@pytest.fixture(scope="module")
def trained(prepared) -> Path:
    """The same, with the runs first and second."""
    for name, seed in (("first", 0), ("second", 1)):
        options = [*TINY, f"save_path={prepared / name}", f"seed={seed}"]
        assert tool("train", "--config", prepared / "data" / "bsa.py", "--options", *options) == 0
    return prepared


@pytest.fixture(scope="module")
def tested(trained) -> Path:
    """The same, with the files of a test of the first run."""
    run = trained / "first"
    options = [f"save_path={run}", f"weight={run / 'model' / 'model_best.pth'}", "resume=False"]
    assert tool("test", "--config", run / "config.py", "--export", "vtu", "--options", *options) == 0
    return trained


def test_prepare(prepared, capsys):
    day, command = prepared, ["custom", "--src", prepared / "raw", "--dst", prepared / "data", *PREPARE]
    names = [f"body_{i}" for i in range(NUMBER)]
    sizes = set()
    for name in names:
        raw, own = pyvista.read(path_of(day / "raw", name)), day / "data" / name
        points = raw.n_points
        sizes.add(points)
        at = {key: np.load(own / f"{key}.npy") for key in ("coord", "pressure", "velocity", "heat", "mach")}
        np.testing.assert_allclose(at["coord"], raw.points, rtol=1e-6)
        np.testing.assert_allclose(at["pressure"].ravel(), raw.point_data["pressure"], rtol=1e-6)
        np.testing.assert_allclose(at["velocity"], raw.point_data["velocity"], rtol=1e-6)
        np.testing.assert_allclose(
            at["heat"].ravel(), raw.cell_data_to_point_data().point_data["heat"], rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(at["mach"].reshape(-1), raw.field_data["mach"][0], rtol=1e-6)
    assert len(sizes) == NUMBER  # ragged
    before = digests(day / "data")
    capsys.readouterr()
    assert tool("prepare_data", *command) == 0
    assert "(0 written, 8 were there)" in capsys.readouterr().out
    assert digests(day / "data") == before


def test_train(trained):
    run = trained / "first"
    assert (run / "model" / "model_best.pth").is_file() and (run / "test" / "metrics.json").is_file()
    known = json.loads((run / "training_range.json").read_text())
    assert known["target"]["names"][0] == "pressure" and known["target"]["units"][0] == "Pa"


def test_a_run_is_not_destroyed_by_its_own_command(trained, capsys):
    day, run = trained, trained / "first"
    weights = {path.name: path.read_bytes() for path in (run / "model").glob("*.pth")}
    options = [*TINY, f"save_path={run}", "seed=0"]
    capsys.readouterr()
    assert tool("train", "--config", day / "data" / "bsa.py", "--options", *options) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and str(run) in errors[0] and "version_1 begins another" in errors[0]
    assert {path.name: path.read_bytes() for path in (run / "model").glob("*.pth")} == weights


def test_test(tested):
    """The exported fields are the raw ones, the errors their difference, the metrics what follows from them."""
    day, run = tested, tested / "first"
    report = json.loads((run / "test" / "metrics.json").read_text())
    assert report["samples"] and report["metric_units"]["pressure/mae"] == "Pa"
    for record in report["samples"]:
        raw = pyvista.read(path_of(day / "raw", record["name"]))
        out = pyvista.read(run / "test" / "export" / f"{record['name']}.vtu")
        assert out.n_points == raw.n_points == record["points"] and out.n_cells == raw.n_cells
        np.testing.assert_allclose(out.points, raw.points, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(out.point_data["mach"], raw.field_data["mach"][0], rtol=1e-6)
        for field in ("pressure", "velocity"):
            parts = (out.point_data[f"{part}_{field}"] for part in ("truth", "predicted", "error"))
            truth, pred, error = (np.asarray(values, dtype=np.float64) for values in parts)
            np.testing.assert_allclose(truth, raw.point_data[field], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(error, pred - truth, rtol=1e-3, atol=1e-4)
            relative = np.linalg.norm(pred - truth) / np.linalg.norm(truth)
            assert relative == pytest.approx(record[f"{field}/relative_l2"], rel=1e-3)


def test_predict_on_a_mesh_of_the_test(tested):
    """What is predicted on a raw file is what the test said of it; its cells, fields and parameters are kept."""
    day, run = tested, tested / "first"
    report = json.loads((run / "test" / "metrics.json").read_text())
    for record in report["samples"]:
        source = path_of(day / "raw", record["name"])
        out = day / f"predicted_{source.name}"
        assert tool("predict", "--weight", run, "--input", source, "--output", out) == 0
        raw, got = pyvista.read(source), pyvista.read(out)
        judged = pyvista.read(run / "test" / "export" / f"{record['name']}.vtu")
        assert got.n_points == raw.n_points and got.n_cells == raw.n_cells
        for field in ("pressure", "velocity"):
            pred = np.asarray(got.point_data[f"predicted_{field}"], dtype=np.float64)
            np.testing.assert_allclose(pred, judged.point_data[f"predicted_{field}"], rtol=1e-4, atol=1e-4)
            on_cells = np.asarray(got.cell_data[f"predicted_{field}"], dtype=np.float64)
            means = got.point_data_to_cell_data().cell_data[f"predicted_{field}"]
            np.testing.assert_allclose(on_cells, means, rtol=1e-4, atol=1e-4)
            np.testing.assert_array_equal(got.point_data[field], raw.point_data[field])
        np.testing.assert_array_equal(got.cell_data["heat"], raw.cell_data["heat"])
        assert got.field_data["mach"][0] == raw.field_data["mach"][0]


def test_predict_on_an_stl_file_and_a_cloud(trained, capsys):
    """Files without fields: what the network takes besides is given by numbers; without, one line asks for it."""
    day, run, mesh = trained, trained / "first", make_mesh(3)
    mesh.save(day / "body.stl")
    np.save(day / "cloud.npy", np.asarray(mesh.points, dtype=np.float64))
    predicted = {}
    for source in ("body.stl", "cloud.npy"):
        words = ["--weight", run, "--input", day / source, "--output", day / f"{source}.vtp"]
        assert tool("predict", *words) == 2
        error = capsys.readouterr().err
        assert error.count("error: ") == 1 and "--field heat=" in error
        assert tool("predict", *words, "--field", "heat=1.1", "mach=0.35") == 0
        got = pyvista.read(day / f"{source}.vtp")
        values = np.asarray(got.point_data["predicted_pressure"], dtype=np.float64)
        assert len(values) == got.n_points == mesh.n_points and np.isfinite(values).all() and values.std() > 0
        order = np.lexsort(np.round(got.points, 5).T)
        predicted[source] = got.points[order], values[order], got.n_cells
    stl, cloud = predicted.values()
    np.testing.assert_allclose(stl[0], cloud[0], atol=1e-5)
    np.testing.assert_allclose(stl[1], cloud[1], rtol=2e-2, atol=0.3)  # STL has float32, and another order of points
    assert stl[2] == mesh.n_cells


def test_compare_and_report(trained, capsys):
    day = trained
    capsys.readouterr()
    assert tool("compare", day / "first", day / "second", "--output", day / "tables") == 0
    assert "pressure/relative_l2" in capsys.readouterr().out
    table = json.loads((day / "tables" / "compare.json").read_text())
    means = [
        json.loads((day / name / "test" / "metrics.json").read_text())["metrics"]["pressure/relative_l2"]["mean"]
        for name in ("first", "second")
    ]
    text = json.dumps(table)
    assert all(str(mean) in text for mean in means)
    assert tool("report", day / "first", day / "second", "--output", day / "report.html") == 0
    assert "pressure/relative_l2" in (day / "report.html").read_text()
