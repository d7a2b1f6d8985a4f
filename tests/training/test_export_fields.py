"""Exported samples: truth, prediction and error of the test, read back by another reader."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay

from pointcept_bsa.datasets.prepare.custom import prepare_custom
from pointcept_bsa.datasets.preparers import prepare
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import build_dataset, collate_fn
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.evaluation.export_fields import FieldExporter, check_export

MISSING = "missing: package pyvista (part of the extra [test])"


def test_the_tool_exports_every_sample_and_three_pictures(small_run, tmp_path):
    pyvista = pytest.importorskip("pyvista", reason=MISSING)
    config = str(small_run / "config.py")
    options = [f"weight={small_run}/model/model_last.pth", f"save_path={tmp_path}"]
    assert run_test(["--config", config, "--export", "vtp,png,npz,csv", "--options", *options]) == 0
    dataset = build_dataset(load_config(config).data.test)
    samples = {record["name"]: record for record in json.loads((tmp_path / "test/metrics.json").read_text())["samples"]}
    for i in range(len(dataset)):
        name, raw = dataset.get_data_name(i), dataset.get_data(i)
        read = pyvista.read(tmp_path / f"test/export/{name}.vtp")
        truth, own, error = (
            np.asarray(read.point_data[f"{kind}_pressure_coefficient"]) for kind in ("truth", "predicted", "error")
        )
        np.testing.assert_array_equal(read.points, raw["coord"])
        np.testing.assert_array_equal(truth, raw["target"][:, 0])
        np.testing.assert_array_equal(np.asarray(read.point_data["normal"]), raw["normal"])
        np.testing.assert_array_equal(error, own - truth)
        assert np.mean(error**2) == pytest.approx(samples[name]["mse"], rel=1e-4)
        with np.load(tmp_path / f"test/export/{name}.npz") as arrays:
            assert any(np.array_equal(arrays[key].ravel(), own) for key in arrays)
        table = read_mesh(tmp_path / f"test/export/{name}.csv")
        np.testing.assert_array_equal(table.points.astype(np.float32), raw["coord"])
        np.testing.assert_array_equal(
            table.point_data["predicted_pressure_coefficient"].astype(np.float32), own.astype(np.float32)
        )
    for label in ("best", "median", "worst"):
        assert (tmp_path / f"test/{label}.png").read_bytes().startswith(b"\x89PNG")


def test_a_real_car_keeps_its_faces(real_data, tmp_path):
    pyvista = pytest.importorskip("pyvista", reason=MISSING)
    prepare("shapenet_car", src=str(real_data("shapenet_car_mini.npz")), dst=str(tmp_path / "cars"))
    transform = [
        dict(type="ScaleCoord", min=(-2, -1, -4.5), max=(2, 4.5, 6)),
        dict(type="CollectPoints", keys=("coord", "target", "name", "position")),
    ]
    dataset = build_dataset(
        dict(type="ShapeNetCarDataset", split="train", data_root=str(tmp_path / "cars"), transform=transform)
    )
    batch = collate_fn([dataset[0], dataset[1]])
    FieldExporter(tmp_path / "out", ["vtp"], dataset)(batch, (batch["target"] + 2).double())
    raw = dataset.get_data(1)
    read = pyvista.read(tmp_path / "out" / f"{dataset.get_data_name(1)}.vtp")
    np.testing.assert_array_equal(read.regular_faces, raw["face"])
    np.testing.assert_allclose(read.points, raw["coord"])
    np.testing.assert_allclose(np.asarray(read["error_pressure"]), 2, atol=1e-4)
    assert torch.equal(torch.from_numpy(np.array(read["truth_pressure"])), batch["target"][3586:, 0])


class Wing:
    """One sample: a pressure, a velocity of two channels, an integer and a name with a space."""

    target_names = ("pressure", "velocity_x", "velocity_y")
    target_fields = ("pressure", "velocity")
    target_units = ("Pa", "m/s", "m/s")
    coord = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], np.float32)

    def __len__(self):
        return 1

    def get_data_name(self, index):
        return "a/wing"

    def load_fields(self, index):
        return {"coord": self.coord, "pressure": np.zeros(4), "velocity": np.zeros((4, 2))}

    def get_data(self, index):
        face = np.array([[0, 1, 2], [1, 3, 2]])
        extra = {"wall distance": np.ones((4, 1), np.float16), "zone": np.arange(4)}
        return {"coord": self.coord, "target": np.zeros((4, 3), np.float32), "face": face, "name": "a/wing", **extra}


@pytest.mark.parametrize("suffix", ["vtp", "vtu", "vtk", "ply", "npz"])
def test_every_format_takes_vectors_faces_and_inputs(tmp_path, suffix):
    pred, truth = torch.arange(12.0).reshape(4, 3), torch.ones(4, 3)
    batch = {"offset": torch.tensor([4]), "coord": torch.from_numpy(Wing.coord), "target": truth, "name": ["a/wing"]}
    FieldExporter(tmp_path, [suffix], Wing())(batch, pred)
    read = read_mesh(tmp_path / f"a__wing.{suffix}")
    assert set(read.point_data) == {
        "wall distance",
        "zone",
        *(f"{kind}_{name}" for kind in ("truth", "predicted", "error") for name in ("pressure", "velocity")),
    }
    np.testing.assert_array_equal(read.point_data["predicted_pressure"], pred[:, 0])
    np.testing.assert_array_equal(read.point_data["predicted_velocity"], np.pad(pred[:, 1:], ((0, 0), (0, 1))))
    np.testing.assert_array_equal(read.point_data["error_velocity"][:, :2], (pred - truth)[:, 1:])
    assert read.cells["triangle"].tolist() == [[0, 1, 2], [1, 3, 2]]


def test_a_format_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'vtp'"):
        check_export(["vtpp"])
    assert check_export(["png", "vtp", "png"]) == ("png", "vtp")


def write_volumes(folder):
    """Clouds of Delaunay tetrahedra with a wedge, a point of no cell among them, a pressure and a velocity."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(4):
        points = rng.random((20 + i, 3))
        tetra = Delaunay(points[1:]).simplices.astype(np.int64) + 1  # point 0 belongs to no cell
        cells = {"wedge": np.arange(1, 7)[None], "tetra": tetra}
        fields = {"pressure": rng.random(len(points)), "velocity": rng.random((len(points), 3))}
        write_mesh(folder / f"v{i}.vtu", Mesh(points, cells, fields))


@pytest.mark.parametrize("prepared", [True, False])
def test_a_volume_keeps_its_cells_and_its_vectors(tmp_path, prepared):
    pyvista = pytest.importorskip("pyvista", reason=MISSING)
    write_volumes(tmp_path / "raw")
    target, root = ("pressure", "velocity"), tmp_path / ("data" if prepared else "raw")
    options = dict(drop_loose_points=True)
    if prepared:
        prepare_custom(str(tmp_path / "raw"), str(root), target=target, **options)
        options = {}
    transform = [dict(type="CollectPoints", keys=("coord", "target", "name"), feat_keys=("coord",))]
    dataset = build_dataset(
        dict(
            type="CustomFieldDataset", split="test", data_root=str(root), target=target, transform=transform, **options
        )
    )
    batch, name, said = collate_fn([dataset[0]]), dataset.get_data_name(0), []
    exporter = FieldExporter(tmp_path / "out", ["vtu", "npz", "vtp", "csv"], dataset, said.append)
    for _ in range(2):
        exporter(batch, (batch["target"] + 1).double())
    raw = pyvista.read(tmp_path / f"raw/{name}.vtu")
    read = pyvista.read(tmp_path / f"out/{name}.vtu")
    assert read.n_points == raw.n_points - 1 and read.celltypes.tolist() == raw.celltypes.tolist()
    np.testing.assert_array_equal(read.cell_connectivity, raw.cell_connectivity - 1)
    np.testing.assert_allclose(read.compute_cell_sizes()["Volume"], raw.compute_cell_sizes()["Volume"], rtol=1e-4)
    np.testing.assert_allclose(read["truth_velocity"], raw["velocity"][1:], rtol=1e-6)
    np.testing.assert_allclose(read["error_velocity"], 1, atol=1e-6)
    assert read_mesh(tmp_path / f"out/{name}.npz").cells.keys() == {"wedge", "tetra"}
    assert pyvista.read(tmp_path / f"out/{name}.vtp").n_verts == read.n_points  # holds no volumes
    table = read_mesh(tmp_path / f"out/{name}.csv")  # no cells at all
    np.testing.assert_allclose(table.points, raw.points[1:], rtol=1e-6)
    np.testing.assert_allclose(table.point_data["truth_velocity"], raw["velocity"][1:], rtol=1e-6)
    assert [line.rpartition("; ")[2] for line in said] == [
        f".{kind} files have the points alone" for kind in ("vtp", "csv")
    ]
