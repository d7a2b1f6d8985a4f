"""DrivAerML, AhmedML, WindsorML and DrivAerNet++: raw files in their formats -> prepared folder -> samples."""

from __future__ import annotations

import gc
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

car_files = pytest.importorskip("car_files", reason="pyvista, which writes the raw files, is missing")

from pointcept_bsa.datasets.car_sets.ahmedml import AHMEDML, AhmedMLDataset  # noqa: E402
from pointcept_bsa.datasets.car_sets.drivaerml import DRIVAERML, DrivAerMLDataset  # noqa: E402
from pointcept_bsa.datasets.car_sets.drivaernet import DRIVAERNET, DrivAerNetDataset  # noqa: E402
from pointcept_bsa.datasets.car_sets.windsorml import WINDSORML, WindsorMLDataset  # noqa: E402
from pointcept_bsa.datasets.prepared import PreparedFolder  # noqa: E402
from pointcept_bsa.errors import InputError  # noqa: E402
from pointcept_bsa.files.npy_file import NpyRows  # noqa: E402
from pointcept_bsa.host import build_dataset, build_model, collate_fn  # noqa: E402
from pointcept_bsa.host.embedded.config import load_config  # noqa: E402

command = car_files.command
ROOT = Path(__file__).resolve().parents[2]

SETS = {
    "drivaerml": (DRIVAERML, DrivAerMLDataset),
    "ahmedml": (AHMEDML, AhmedMLDataset),
    "windsorml": (WINDSORML, WindsorMLDataset),
    "drivaernet": (DRIVAERNET, DrivAerNetDataset),
}


@pytest.fixture(scope="module", params=list(SETS))
def prepared(request, tmp_path_factory, prepare_tool):
    """Name, raw folder and prepared folder of each set."""
    folder = tmp_path_factory.mktemp(request.param)
    raw, out = car_files.raw_set(folder / "raw", request.param), folder / "out"
    assert prepare_tool.main(command(request.param, raw, out)) == 0
    return request.param, raw, out


def arrays(folder, domain):
    return {file.stem.removeprefix(f"{domain}_"): np.load(file) for file in folder.glob(f"{domain}_*.npy")}


def case_name(name, number):
    return f"{car_files.GROUP}_{number:04d}" if name == "drivaernet" else f"run_{number}"


def test_points_are_those_of_the_files_in_another_order(prepared):
    name, _, out = prepared
    spec, _ = SETS[name]
    for domain in (spec.surface, spec.volume):
        mesh = car_files.body(2) if domain.name == "surface" else car_files.box(2)
        found = arrays(out / case_name(name, 2), domain.name)
        assert set(found) == {field.name for field in (*domain.geometry, *domain.fields)}
        row = found["row"][:, 0]
        assert found["row"].dtype == np.int32 and sorted(row) == list(range(len(row))) and np.any(np.diff(row) != 1)
        assert all(values.dtype == np.float32 for key, values in found.items() if key != "row")
        if name != "windsorml" and domain.name == "surface":
            mesh = car_files.body(2, inward=True)
        expected = car_files.cell_centers(mesh) if domain.of_cells else np.asarray(mesh.points)
        np.testing.assert_allclose(found["coord"], expected[row], atol=1e-6)


def test_fields_lie_at_their_points(prepared):
    name, _, out = prepared
    for number in range(1, 6):
        surface, volume = (arrays(out / case_name(name, number), domain) for domain in ("surface", "volume"))
        shear = {"drivaerml": -2 / 38.889**2, "ahmedml": -2.0}.get(name, 1.0)  # OpenFOAM's, its sign turned
        pressure = surface["pressure" if name == "drivaernet" else "pressure_coefficient"]
        for values, key, coord in [
            (pressure, car_files.pressure, surface["coord"]),
            (surface["wall_shear"] / shear, car_files.vector, surface["coord"]),
            (volume["velocity"], car_files.vector, volume["coord"]),
            (volume["pressure"], car_files.pressure, volume["coord"]),
        ]:
            np.testing.assert_allclose(values, key(coord).reshape(values.shape), atol=4e-6)
        if name == "ahmedml":
            np.testing.assert_allclose(volume["vorticity"], 2 * volume["velocity"], atol=1e-6)


def test_normals_point_outwards_and_areas_add_up(prepared):
    name, _, out = prepared
    found, mesh = arrays(out / case_name(name, 3), "surface"), car_files.body(3)
    np.testing.assert_allclose(np.linalg.norm(found["normal"], axis=1), 1, atol=1e-5)
    assert np.all((found["normal"] * found["coord"]).sum(axis=1) > 0)  # the body is convex, its middle the origin
    assert found["area"].sum() == pytest.approx(mesh.area, rel=1e-5) and found["area"].min() > 0
    closed = (found["normal"] * found["area"]).sum(axis=0)
    np.testing.assert_allclose(closed, 0, atol=1e-4 if SETS[name][0].surface.of_cells else 0.05)
    if SETS[name][0].surface.of_cells:  # and each is that of its own polygon
        sizes = car_files.body(3, inward=True).compute_cell_sizes(length=False, volume=False).cell_data["Area"]
        np.testing.assert_allclose(found["area"][:, 0], sizes[found["row"][:, 0]], rtol=1e-5)


def test_the_force_on_the_body_follows_from_the_surface(whole):
    """As the card says, against the sum over the triangles of the file, whose area vectors point into the body."""
    found, mesh = arrays(whole[1] / "run_2", "surface"), car_files.body(2)
    triangle = np.asarray(mesh.points, np.float64)[mesh.regular_faces]
    vector = np.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]) / 2  # out of the body
    at = triangle.mean(axis=1)
    area = np.linalg.norm(vector, axis=1, keepdims=True)
    force = -(car_files.pressure(at)[:, None] * vector + 2 / 38.889**2 * car_files.vector(at) * area).sum(axis=0)
    here = ((found["wall_shear"] - found["pressure_coefficient"] * found["normal"]) * found["area"]).sum(axis=0)
    np.testing.assert_allclose(here, force, atol=1e-4)
    assert np.abs(force).max() > 0.1


def test_coefficients_have_names_and_units(prepared):
    name, _, out = prepared
    scalars = json.loads((out / case_name(name, 2) / "scalars.json").read_text())["scalars"]
    drag = {"drivaerml": 0.3002, "ahmedml": 0.2002, "windsorml": 0.28002, "drivaernet": 0.21}[name]
    assert scalars["drag_coefficient"] == {"value": pytest.approx(drag), "unit": "1"}
    assert name == "drivaernet" or "lift_coefficient" in scalars
    assert SETS[name][1]("train", str(out)).coefficients(1) == scalars
    drags = [json.loads((out / case_name(name, n) / "scalars.json").read_text())["scalars"] for n in (1, 2, 3)]
    mean = np.mean([found["drag_coefficient"]["value"] for found in drags])
    protocol = json.loads((out / "stats.json").read_text())["protocols"][
        "published" if name == "drivaernet" else "full"
    ]
    assert protocol["fields"]["scalar_drag_coefficient"]["mean"] == [pytest.approx(mean)]
    others = {"drivaerml": {"cs", "clf", "clr"}, "ahmedml": set(), "windsorml": {"cs", "cmy"}, "drivaernet": {"std cd"}}
    assert set(scalars) - {"drag_coefficient", "lift_coefficient"} == others[name]


def test_samples_and_statistics(prepared):
    name, _, out = prepared
    spec, data_set = SETS[name]
    for domain in (spec.surface, spec.volume):
        train, test = (data_set(split, str(out), domain=domain.name) for split in ("train", "test"))
        assert [len(data_set(split, str(out))) for split in ("train", "val", "test")] == [3, 1, 1]
        columns = sum(field.columns for field in domain.fields)
        raw = train.get_data(0)
        assert raw["target"].shape == (len(raw["coord"]), columns) == (len(raw["coord"]), len(train.target_names))
        assert len(train.target_units) == columns and train.target_names[-1] in (
            "wall_shear_z",
            "pressure",
            "vorticity_z",
        )
        target = np.concatenate([train.get_data(i)["target"] for i in range(3)]).astype(np.float64)
        statistics = test.target_statistics()
        np.testing.assert_allclose(statistics["mean"], target.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(statistics["std"], target.std(axis=0), atol=1e-6)
        coord = np.concatenate([train[i]["coord"] for i in range(3)])
        assert np.abs(coord).max() == pytest.approx(1, abs=1e-5)
        np.testing.assert_array_equal(train[1]["position"], train.get_data(1)["coord"])
    few = data_set("val", str(out), target=("wall_shear",), fields=("normal", "area"))
    sample = few.get_data(0)
    assert (sample["normal"].shape[1], sample["area"].shape[1], sample["target"].shape[1]) == (3, 1, 3)
    card = few.card()
    assert (card["dataset"], card["target"]) == (f"{name}_surface", ["wall_shear_x", "wall_shear_y", "wall_shear_z"])


def test_scalars_are_targets_and_the_surface_says_what_forces_follow_from(prepared):
    name, _, out = prepared
    spec, data_set = SETS[name]
    names = tuple(spec.scalars.columns)
    train = data_set("train", str(out), num_points=20, scalars=names)
    values = [[train.coefficients(i)[n]["value"] for n in names] for i in range(3)]
    np.testing.assert_allclose([train.get_data(i)["scalars"][0] for i in range(3)], values, rtol=1e-6)
    statistics = train.scalar_statistics()
    np.testing.assert_allclose(statistics["mean"], np.mean(values, axis=0))
    np.testing.assert_allclose(statistics["std"], np.std(values, axis=0))
    assert train.card()["scalars"] == dict.fromkeys(names, "1")
    with pytest.raises(InputError, match="model.scalars: got one"):
        data_set("train", str(out)).scalar_statistics()
    stream = train.surface_pressure
    if name == "drivaernet":  # whose pressure is no coefficient
        assert stream is None
        return
    assert (stream["field"], stream["shear"], stream["coefficient"]) == ("pressure_coefficient", "wall_shear", True)
    assert stream["up"] == ([0, 1, 0] if name == "windsorml" else [0, 0, 1])
    assert data_set("train", str(out), domain="volume").surface_pressure is None
    assert "shear" not in data_set("train", str(out), target=("pressure_coefficient",)).surface_pressure


def test_the_card_says_where_from_and_what_is_not_known(prepared):
    name, _, out = prepared
    card = (out / "README.md").read_text()
    spec = SETS[name][0]
    for part in (spec.title, spec.licence, spec.citation, "## Splits", "not yet on the download", "surface_area.npy"):
        assert part in card
    stored = [array for field in (*spec.surface.fields, *spec.volume.fields) for array in field.arrays]
    assert all(f"`{', '.join(field.arrays)}`" in card for field in spec.surface.fields) and stored


def test_training_draws_a_run_of_rows_and_tests_take_the_first(whole):
    _, out = whole
    train = DrivAerMLDataset("train", str(out), num_points=50)
    every = DrivAerMLDataset("train", str(out)).get_data(0)["coord"]
    starts = set()
    for _ in range(40):
        coord = train.get_data(0)["coord"]
        start = int(np.flatnonzero((every == coord[0]).all(axis=1))[0])
        np.testing.assert_array_equal(coord, np.roll(every, -start, axis=0)[:50])
        starts.add(start)
    assert len(starts) > 10 and max(starts) > len(every) - 50  # runs that go on at the first row among them
    for split in ("val", "test"):
        data, all_of_it = (DrivAerMLDataset(split, str(out), num_points=n) for n in (50, None))
        np.testing.assert_array_equal(data.get_data(0)["target"], all_of_it.get_data(0)["target"][:50])
    assert "at most 50 points of a surface" in " ".join(train.card()["notes"])


def test_surface_and_volume_join_to_one_cloud_in_one_box(prepared):
    name, _, out = prepared
    spec, data_set = SETS[name]
    part = dict(type=data_set.__name__, data_root=str(out), num_points=40)
    parts = dict(surface=part | dict(domain="surface", fields=("normal",)), volume=part | dict(domain="volume"))
    joined = build_dataset(dict(type="JoinedDataset", split="test", parts=parts, box="volume"))
    sample = joined[0]
    surface, volume = (data_set("test", str(out), domain=d, num_points=40) for d in ("surface", "volume"))
    widths = [sum(field.columns for field in domain.fields) for domain in (spec.surface, spec.volume)]
    np.testing.assert_array_equal(sample["target"][:40, : widths[0]], surface.get_data(0)["target"])
    np.testing.assert_array_equal(sample["target"][40:, widths[0] :], volume.get_data(0)["target"])
    np.testing.assert_array_equal(sample["coord"][40:], volume[0]["coord"])
    np.testing.assert_array_equal(sample["position"][:40], surface.get_data(0)["coord"])
    assert not sample["normal"][40:].any() and len(joined.target_statistics()["mean"]) == sum(widths)
    if joined.surface_pressure is not None:
        assert joined.surface_pressure["field"] in joined.target_fields


@pytest.mark.parametrize("domains", ["", "_volume", "_joint"])
def test_the_shipped_configs_fit_the_prepared_data(prepared, domains):
    """Widths of inputs and targets, validation on the same points every time, distances and fields at their rows."""
    name, _, out = prepared
    cfg = load_config(str(ROOT / f"configs/{name}{domains}/bsa.py"), {"data_root": str(out), "model.backbone.depth": 1})
    data = {split: build_dataset(cfg.data[split]) for split in ("train", "val", "test")}
    batch = collate_fn([data["train"][i] for i in range(2)])
    model = build_model(cfg.model)
    statistics = data["train"].target_statistics()
    model.normalizer.set(statistics["mean"], statistics["std"])
    assert model(batch)["loss"].isfinite()
    one, two = data["val"][0], data["val"][0]
    assert all(torch.equal(one[key], two[key]) for key in ("coord", "feat", "target"))
    assert len(data["test"][0]["coord"]) >= len(one["coord"])
    if domains == "_joint":
        surface = one["domain"] == 0
        assert sorted(set(one["domain"].tolist())) == [0, 1]
        assert not one["target"][surface, 4:].any() and not one["target"][~surface, :4].any()


def test_a_draw_touches_the_pages_of_its_rows_alone(tmp_path, whole, monkeypatch):
    """16,000 of twenty million points are drawn: the pages of the files that this process has touched are counted."""
    rows, count = 20_000_000, 16_000
    out = Path(shutil.copytree(whole[1], tmp_path / "big"))
    for name, columns in (("coord", 3), ("pressure_coefficient", 1), ("wall_shear", 3)):
        NpyRows(out / "run_1" / f"surface_{name}.npy", rows, columns, "<f4").close()  # zeros, which take no room
    kept, read = [], PreparedFolder.read
    monkeypatch.setattr(PreparedFolder, "read", lambda *args, **more: kept.append(read(*args, **more)) or kept[-1])
    data = DrivAerMLDataset("train", str(out), num_points=count)
    index = data.data_list.index("run_1")
    gc.collect()
    assert len(data.get_data(index)["coord"]) == count
    seen = resident(out / "run_1")
    needed, files = 7 * 4 * count, rows * 7 * 4
    print(f"{seen:,} bytes of {files:,} touched, {needed:,} needed")
    assert len(kept) == 3
    assert needed <= seen < files / 100  # the kernel maps a little more around what is asked for


def resident(folder):
    """Bytes of the files of a folder that are mapped into this process and were touched."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = str(folder) in line
        elif ours and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"domain": "volum"}, "domain: got 'volum'.*did you mean 'volume'"),
        ({"target": ("pressure",)}, "target: got .*wanted names from"),
        ({"num_points": 0}, "num_points: got 0"),
        ({"scalars": ("drag",)}, "scalars: got .*wanted some of"),
        ({"num_points": 9, "cache": True}, "cache: got True with num_points in training"),
        ({"fields": ("wall_shear",)}, "fields: got 'wall_shear'"),
        ({"domain": "volume", "fields": ("normal",)}, "fields: got 'normal'"),
        ({"protocol": "ful"}, "protocol: got 'ful'"),
    ],
)
def test_wrong_arguments_of_the_data_set(whole, arguments, message):
    with pytest.raises(InputError, match=message):
        DrivAerMLDataset("train", str(whole[1]), **arguments)


def test_damaged_prepared_files(copied):
    _, out = copied
    np.save(out / "run_1" / "surface_coord.npy", np.zeros((3, 3), np.float32))
    (out / "run_2" / "scalars.json").write_text("{}")
    data = DrivAerMLDataset("train", str(out))
    with pytest.raises(InputError, match="surface_.*npy: has .* rows, wanted 3 as coord has"):
        data.get_data(0)
    with pytest.raises(InputError, match="scalars.json: has no 'scalars'"):
        data.coefficients(1)
    (out / "run_3" / "scalars.json").write_text('{"scalars": {}}')
    with pytest.raises(InputError, match="scalars.json: has no number 'drag_coefficient'"):
        DrivAerMLDataset("train", str(out), scalars=("drag_coefficient",)).get_data(2)
