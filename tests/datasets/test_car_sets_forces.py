"""Forces on a simulated car: sums over the cells of the raw file."""

from __future__ import annotations

import numpy as np
import pytest

car_files = pytest.importorskip("car_files", reason="pyvista, which writes the raw files, is missing")

from pointcept_bsa.errors import InputError  # noqa: E402
from pointcept_bsa.host import build_dataset, collate_fn  # noqa: E402
from pointcept_bsa.training.evaluation.force_errors import ForceErrors  # noqa: E402


class Judged:
    """What a test tells of the forces where the model predicts the truth, or a multiple of it."""

    def __init__(self, dataset, factor=0.5):
        judge = ForceErrors(dataset)
        for i in range(len(dataset)):
            batch = collate_fn([dataset[i]])
            judge(batch, {"pred": factor * batch["target"]})
        self.report, self.lines = judge.report(), judge.lines(judge.report())
        self.sample = {record["name"]: record for record in self.report["samples"]}


COLLECT = [dict(type="CollectPoints", keys=("coord", "target", "name"), feat_keys=("coord",))]


def test_forces_are_sums_over_the_cells_of_the_raw_file(whole):
    raw, out = whole
    data = dict(type="DrivAerMLDataset", split="test", data_root=str(out), transform=COLLECT, test_mode=True)
    judged = Judged(build_dataset(data))
    name = next(iter(judged.sample))
    mesh = car_files.pyvista.read(raw / name / f"boundary_{name.removeprefix('run_')}.vtp").flip_faces()  # outward
    mesh = mesh.compute_cell_sizes(length=False, volume=False)
    at, area = car_files.cell_centers(mesh), mesh.cell_data["Area"]
    shear = -2 / 38.889**2 * mesh.cell_data["wallShearStressMeanTrim"]
    force = area[:, None] * (shear - mesh.cell_data["CpMeanTrim"][:, None] * mesh.cell_normals)
    moment = np.cross(at, force).sum(0)
    drag, side, lift = force.sum(0)
    wanted = dict(drag=drag, lift=lift, side=-side, roll=moment[0], yaw=moment[2], pitch=-moment[1])
    assert judged.sample[name]["true"] == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    half = {key: value / 2 for key, value in judged.sample[name]["true"].items()}
    assert judged.sample[name]["predicted"] == pytest.approx(half, rel=1e-4, abs=1e-6)
    assert judged.report["open_surfaces"] == 0 and "sums over points with areas" in judged.lines[0]

    few = Judged(build_dataset(data | dict(num_points=50)))  # estimated from so many cells
    rows = np.load(out / name / "surface_row.npy").ravel()[:50]
    estimate = force[rows].sum(0) * len(force) / 50
    assert [few.sample[name]["true"][key] for key in ("drag", "lift")] == pytest.approx(estimate[[0, 2]], rel=1e-4)


def test_forces_of_a_folder_that_keeps_a_part_are_those_of_the_car(whole, tmp_path, prepare_tool):
    """--rows: the areas stand for all cells of the raw file, of which the folder has some."""
    raw, all_rows = whole
    out = tmp_path / "part"
    assert prepare_tool.main(car_files.command("drivaerml", raw, out, "--rows", "40")) == 0
    data = dict(type="DrivAerMLDataset", split="test", transform=COLLECT, test_mode=True)
    part, full = build_dataset(data | dict(data_root=str(out))), build_dataset(data | dict(data_root=str(all_rows)))
    name = part.get_data_name(0)
    rows, total = np.load(out / name / "surface_row.npy").ravel(), len(np.load(all_rows / name / "surface_row.npy"))
    assert len(rows) < total
    whole_rows = np.load(all_rows / name / "surface_row.npy").ravel()
    area = full.surface_elements(0)["area"][np.argsort(whole_rows)][rows]
    np.testing.assert_allclose(part.surface_elements(0)["area"], area * total / len(rows), rtol=1e-6)
    few = build_dataset(data | dict(data_root=str(out), num_points=20)).surface_elements(0)["area"]
    np.testing.assert_allclose(few, area[:20] * total / 20, rtol=1e-6)
    (out / name / "surface.json").write_text("{}")
    with pytest.raises(InputError, match="surface.json: has no number of rows 'of' the car"):
        part.surface_elements(0)


def test_forces_of_a_surface_joined_with_its_volume(whole):
    _, out = whole
    part = dict(type="DrivAerMLDataset", data_root=str(out))
    parts = dict(volume=dict(part, domain="volume"), surface=dict(part, domain="surface", fields=("normal",)))
    collect = [dict(type="CollectPoints", keys=("coord", "target", "name", "domain"), feat_keys=("coord",))]
    joined = build_dataset(dict(type="JoinedDataset", split="test", parts=parts, transform=collect, test_mode=True))
    alone = build_dataset(part | dict(split="test", transform=COLLECT, test_mode=True))
    own, whole = Judged(alone).sample, Judged(joined).sample
    assert own.keys() == whole.keys()
    for name, record in own.items():
        assert whole[name]["true"] == pytest.approx(record["true"]), name
    drawn = build_dataset(part | dict(split="train", num_points=9, transform=COLLECT))
    assert drawn.surface_elements(0) is None and joined.parts["volume"].surface_elements(0) is None
