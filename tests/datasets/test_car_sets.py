"""DrivAerML, AhmedML, WindsorML and DrivAerNet++: raw files in their formats -> prepared folder -> samples."""

from __future__ import annotations

import gc
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
car_files = pytest.importorskip("car_files", reason="pyvista, which writes the raw files, is missing")

from pointcept_bsa.datasets.base import split_hash  # noqa: E402
from pointcept_bsa.datasets.car_sets.ahmedml import AHMEDML, AhmedMLDataset  # noqa: E402
from pointcept_bsa.datasets.car_sets.drivaerml import DRIVAERML, DrivAerMLDataset  # noqa: E402
from pointcept_bsa.datasets.car_sets.drivaernet import DRIVAERNET, DrivAerNetDataset  # noqa: E402
from pointcept_bsa.datasets.car_sets.windsorml import WINDSORML, WindsorMLDataset  # noqa: E402
from pointcept_bsa.datasets.prepare.car_sets.convert import ShuffledRows  # noqa: E402
from pointcept_bsa.datasets.prepare.car_sets.splits import drawn  # noqa: E402
from pointcept_bsa.datasets.prepared import PreparedFolder  # noqa: E402
from pointcept_bsa.engine.force_errors import ForceErrors  # noqa: E402
from pointcept_bsa.errors import InputError  # noqa: E402
from pointcept_bsa.files.npy_file import NpyRows  # noqa: E402
from pointcept_bsa.host import build_dataset, build_model, collate_fn  # noqa: E402
from pointcept_bsa.host.embedded.config import load_config  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SETS = {
    "drivaerml": (DRIVAERML, DrivAerMLDataset),
    "ahmedml": (AHMEDML, AhmedMLDataset),
    "windsorml": (WINDSORML, WindsorMLDataset),
    "drivaernet": (DRIVAERNET, DrivAerNetDataset),
}


def command(name, raw, out, *more):
    return [name, "--src", str(raw), "--dst", str(out), "--splits", car_files.splits_of(raw, name), *more]


@pytest.fixture(scope="module", params=list(SETS))
def prepared(request, tmp_path_factory, prepare_tool):
    """Name, raw folder and prepared folder of each set."""
    folder = tmp_path_factory.mktemp(request.param)
    raw, out = car_files.raw_set(folder / "raw", request.param), folder / "out"
    assert prepare_tool.main(command(request.param, raw, out)) == 0
    return request.param, raw, out


@pytest.fixture(scope="module")
def whole(tmp_path_factory, prepare_tool):
    """A prepared DrivAerML and its raw folder, for copies that a test may change."""
    folder = tmp_path_factory.mktemp("whole")
    raw, out = car_files.raw_set(folder / "raw", "drivaerml"), folder / "out"
    assert prepare_tool.main(command("drivaerml", raw, out)) == 0
    return raw, out


@pytest.fixture
def copied(whole, tmp_path):
    raw, out = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in whole)
    return raw, out


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


def test_a_second_run_has_nothing_to_do_and_redoes_what_is_damaged(copied, prepare_tool, capsys):
    raw, out = copied
    run = command("drivaerml", raw, out)
    before = {file: file.stat().st_mtime_ns for file in out.glob("*/*.npy")}
    assert prepare_tool.main(run) == 0 and "(0 domains written, 10 were there)" in capsys.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in out.glob("*/*.npy")}
    cut = out / "run_2" / "surface_coord.npy"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-4])
    (out / "run_3" / "volume.json").unlink()  # written last: without it the domain is not finished
    assert prepare_tool.main(run) == 0 and "(2 domains written, 8 were there)" in capsys.readouterr().out
    assert cut.read_bytes() == whole  # the order of the rows follows from the case alone
    car_files.drivaerml_case(raw, 4)
    (raw / "run_4" / "boundary_4.vtp").write_bytes((raw / "run_4" / "boundary_4.vtp").read_bytes() + b"\n")
    assert prepare_tool.main(run) == 0 and "(1 domains written, 9 were there)" in capsys.readouterr().out


def test_raw_files_of_finished_cases_may_go(copied, prepare_tool, capsys):
    raw, out = copied
    shutil.rmtree(raw / "run_1")
    (raw / "run_2" / "volume_2.vtu").unlink()
    assert prepare_tool.main(command("drivaerml", raw, out)) == 0
    assert "prepared 5 cases" in capsys.readouterr().out
    assert prepare_tool.main(command("drivaerml", raw, out, "--overwrite")) == 2
    assert "lacks files of 2 of 5 cases, first run_1/boundary_1.vtp of 'run_1'" in capsys.readouterr().err


def test_an_interrupted_conversion_leaves_no_halves_and_goes_on(copied, tmp_path, prepare_tool, monkeypatch, capsys):
    raw, out = copied[0], tmp_path / "new"
    write, calls = ShuffledRows.write, []

    def interrupted(self, files, blocks):
        calls.append(files)
        if len(calls) == 10:  # the second case's surface, after its coordinates
            raise KeyboardInterrupt
        write(self, files, blocks)

    monkeypatch.setattr(ShuffledRows, "write", interrupted)
    assert prepare_tool.main(command("drivaerml", raw, out)) == 130
    assert sorted(folder.name for folder in out.iterdir()) == ["run_1"] and not (out / "split.json").exists()
    monkeypatch.undo()
    (out / ".run_2.surface.part").mkdir()  # what a killed run leaves
    assert prepare_tool.main(command("drivaerml", raw, out)) == 0
    assert "were there)" in capsys.readouterr().out and not list(out.glob(".*"))
    for file in copied[1].glob("*/*.npy"):
        assert file.read_bytes() == (out / file.parent.name / file.name).read_bytes()


def test_domains_one_after_the_other(copied, tmp_path, prepare_tool):
    out = tmp_path / "new"
    assert prepare_tool.main(command("drivaerml", copied[0], out, "--domains", "surface")) == 0
    with pytest.raises(InputError, match="volume_coord"):
        DrivAerMLDataset("train", str(out), domain="volume")
    assert "volume_velocity.npy" not in (out / "README.md").read_text()
    assert prepare_tool.main(command("drivaerml", copied[0], out, "--domains", "volume")) == 0
    assert json.loads((out / "stats.json").read_text()) == json.loads((copied[1] / "stats.json").read_text())


def test_a_volume_in_parts(copied, prepare_tool):
    raw, out = copied
    for number in (1, 2):
        path = raw / f"run_{number}" / f"volume_{number}.vtu"
        content = path.read_bytes()
        for part, piece in enumerate((content[:5000], content[5000:9000], content[9000:])):
            path.with_name(f"{path.name}.{part:02d}.part").write_bytes(piece)
        path.unlink()
    before = (out / "run_1" / "volume_velocity.npy").read_bytes()
    assert prepare_tool.main(command("drivaerml", raw, out, "--overwrite")) == 0
    assert (out / "run_1" / "volume_velocity.npy").read_bytes() == before
    (raw / "run_2" / "volume_2.vtu.01.part").unlink()
    assert prepare_tool.main(command("drivaerml", raw, out, "--overwrite")) == 2


def test_some_of_the_rows(copied, tmp_path, prepare_tool, capsys):
    """A random part of the rows, fields still at their points; statistics of all; another number is done again."""
    raw, out = copied[0], tmp_path / "few"
    assert prepare_tool.main(command("drivaerml", raw, out, "--rows", "40")) == 0
    found, every = arrays(out / "run_1", "volume"), np.load(copied[1] / "run_1" / "volume_row.npy")
    rows = found["row"][:, 0]
    assert 40 <= len(rows) == len(set(rows)) == len(found["velocity"]) <= 60 < len(every)
    assert rows.max() > len(every) / 2 and rows.min() < len(every) / 4
    np.testing.assert_allclose(found["velocity"], car_files.vector(found["coord"]), atol=2e-6)
    assert json.loads((out / "stats.json").read_text()) == json.loads((copied[1] / "stats.json").read_text())
    assert "about 40 rows are here" in (out / "README.md").read_text()
    assert prepare_tool.main(command("drivaerml", raw, out, "--rows", "40")) == 0
    assert "(0 domains written" in capsys.readouterr().out
    assert prepare_tool.main(command("drivaerml", raw, out)) == 0 and "(10 domains" in capsys.readouterr().out
    assert prepare_tool.main(command("drivaerml", raw, out, "--rows", "0")) == 2


def test_a_dry_run_looks_and_writes_nothing(copied, tmp_path, prepare_tool, capsys):
    raw, out = copied[0], tmp_path / "new"
    assert prepare_tool.main(command("drivaerml", raw, out, "--dry-run")) == 0 and not out.exists()
    text = capsys.readouterr().out
    assert "5 cases, 10 domains to write" in text and "protocol full (default): train 3, val 1, test 1" in text
    mesh = car_files.body(2, inward=True)
    car_files.save(raw / "run_2" / "boundary_2.vtp", mesh)
    assert prepare_tool.main(command("drivaerml", raw, out, "--dry-run")) == 2
    assert "boundary_2.vtp: has cell fields [], wanted also 'CpMeanTrim'" in capsys.readouterr().err


def test_protocols(copied, tmp_path, prepare_tool, capsys):
    raw, out = copied
    assert prepare_tool.main(command("drivaerml", raw, out, "--split", "scarce")) == 0
    assert len(DrivAerMLDataset("train", str(out))) == 1 and len(DrivAerMLDataset("train", str(out), "full")) == 3
    shutil.rmtree(raw / "run_3")
    new = tmp_path / "new"
    assert prepare_tool.main(command("drivaerml", raw, new)) == 2
    assert "lacks files of 1 of 5 cases, first run_3/boundary_3.vtp" in capsys.readouterr().err
    assert prepare_tool.main(command("drivaerml", raw, new, "--allow-partial")) == 0
    data = DrivAerMLDataset("train", str(new))
    assert (data.card()["protocol"], len(data)) == ("full partial", 2)
    assert "Left out: run_3." in (new / "README.md").read_text()
    other = tmp_path / "other"
    assert prepare_tool.main(command("drivaerml", copied[0], other, "--without", "run_3", "run_1")) == 0
    assert len(DrivAerMLDataset("train", str(other))) == 1


def test_published_draws():
    """Hashes of the lists that AB-UPT publishes; DrivAerML's is the authors' own, too."""
    for spec, hashes in [
        (DRIVAERML, ["1989d7aceec4fb19", "1fb6042d5547d976", "16c66c45e4f585c2"]),
        (AHMEDML, ["33b4033c7c08dd2e", "0806fbb1bce04c91", "ceea313c4cea4a27"]),
    ]:
        lists = drawn(spec.drawn, spec.prefix)
        assert [split_hash(lists[part]) for part in ("train", "val", "test")] == hashes
    assert drawn(DRIVAERML.drawn, "run_")["test"][:4] == ["run_11", "run_12", "run_19", "run_20"]


def edit(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def without_field(raw):
    mesh = car_files.body(1, inward=True)
    at = car_files.cell_centers(mesh)
    mesh.cell_data["CpMeanTrim"], mesh.cell_data["wallShearStressMeanTrum"] = (
        car_files.pressure(at),
        car_files.vector(at),
    )
    car_files.save(raw / "run_1" / "boundary_1.vtp", mesh)


def with_nan(raw):
    mesh = car_files.body(1, inward=True)
    at = car_files.cell_centers(mesh)
    mesh.cell_data["CpMeanTrim"], mesh.cell_data["wallShearStressMeanTrim"] = (
        car_files.pressure(at),
        car_files.vector(at),
    )
    mesh.cell_data["CpMeanTrim"][3] = np.nan
    car_files.save(raw / "run_1" / "boundary_1.vtp", mesh)


def truncated(raw):
    path = raw / "run_1" / "volume_1.vtu"
    path.write_bytes(path.read_bytes()[:-900])


DAMAGED = [
    (without_field, "wanted also 'wallShearStressMeanTrim' (did you mean 'wallShearStressMeanTrum'?)"),
    (with_nan, "field 'pressure_coefficient' has 1 NaN"),
    (truncated, "volume_1.vtu: "),
    (lambda raw: edit(raw / "run_1/force_mom_constref_1.csv", b"Cd", b"Ce"), "wanted 'cd' for drag_coefficient"),
    (lambda raw: edit(raw / "run_1/force_mom_constref_1.csv", b"0.3001", b"none"), "'cd' of 'run_1' is 'none'"),
    (lambda raw: edit(raw / "run_1/force_mom_constref_1.csv", b"0.3001,", b""), "row 2 has 4 entries, wanted 5"),
    (lambda raw: (raw / "run_1/force_mom_constref_1.csv").unlink(), "force_mom_constref_1.csv"),
    (lambda raw: edit(raw / "splits.json", b'"run_4"', b'"run_1"'), "protocol 'full' has a case twice"),
    (lambda raw: edit(raw / "splits.json", b'"full_train"', b'"full_trian"'), None),
    (lambda raw: (raw / "splits.json").write_text("{"), "is not JSON"),
    (lambda raw: (raw / "splits.json").write_text('{"train": [1]}'), "has no lists <protocol>_train"),
    (lambda raw: edit(raw / "splits.json", b'"run_2"', b"2.5"), "has the entry '2.5'"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_files_give_one_line(copied, tmp_path, prepare_tool, capsys, damage, message):
    raw, out = copied[0], tmp_path / "new"
    damage(raw)
    code = prepare_tool.main(command("drivaerml", raw, out))
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    if message is None:  # a protocol without a list of training cases is none, the other stays
        assert code == 0 and list(json.loads((out / "split.json").read_text())["protocols"]) == ["scarce"]
        return
    assert code == 2 and len(error) == 1 and message in error[0]
    assert not (out / "split.json").exists() and not list(out.glob(".*.part"))
    assert len(list(out.glob("run_1/*.json"))) < 2  # never both domains


def test_a_design_without_a_row_and_points_that_differ(tmp_path, prepare_tool, capsys):
    raw = car_files.raw_set(tmp_path / "raw", "drivaernet", range(1, 4))
    table = raw / "DrivAerNetPlusPlus_Cd_8k_Updated.csv"
    text = table.read_text()
    table.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    assert prepare_tool.main(command("drivaernet", raw, tmp_path / "out")) == 2
    assert "has no row of 'F_D_WM_WW_0003'" in capsys.readouterr().err
    (tmp_path / "moved.csv").write_text(text)
    other = car_files.pyvista.PolyData(np.asarray(car_files.body(2).points) + 0.5)
    other.point_data["wallShearStress"] = car_files.vector(np.asarray(other.points))
    car_files.save_legacy(raw / "WallShearStressVTK_Updated" / car_files.GROUP / "F_D_WM_WW_0002.vtk", other)
    run = command("drivaernet", raw, tmp_path / "out", "--coefficients", str(tmp_path / "moved.csv"))
    assert prepare_tool.main(run) == 2
    assert re.search(r"Stress.*0002.vtk: has other points than .*Pressure.*0002.vtk", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--split", "ful"], "--split: got 'ful', wanted one of ['full', 'scarce'] (did you mean 'full'?)"),
        (["--domains", "surfaces"], "--domains: got 'surfaces'"),
        (["--without", "run_9"], "--without: got 'run_9'"),
        (["--splits", "nowhere.json"], "nowhere.json"),
        (["--src", "nowhere"], "--src: got 'nowhere', wanted the folder of the published files of DrivAerML"),
        (["--splits", "."], "has 0 files train*.txt, wanted one"),
    ],
)
def test_wrong_arguments_of_the_tool(whole, tmp_path, prepare_tool, capsys, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    assert prepare_tool.main([*command("drivaerml", whole[0], tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err


def test_sets_whose_lists_are_not_known_ask_for_them(whole, tmp_path, prepare_tool, capsys):
    for name in ("windsorml", "drivaernet"):
        assert prepare_tool.main([name, "--src", str(whole[0]), "--dst", str(tmp_path / "out")]) == 2
        assert "--splits: is missing, wanted the published lists of" in capsys.readouterr().err


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


def test_every_order_of_rows_is_as_likely(tmp_path):
    """Four rows, buckets of two: all 24 orders come up, and as often as equal odds say (chi squared, 23 degrees)."""
    rows, counts, tries = np.arange(4, dtype=np.float32)[:, None], {}, 960
    for seed in range(tries):
        order = ShuffledRows(4, seed, bucket=2, block=3)
        order.write([(tmp_path / "a.npy", 1, "<f4")], ((block,) for block in (rows[:3], rows[3:])))
        key = tuple(np.load(tmp_path / "a.npy")[:, 0].tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    expected = tries / 24
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 49.7  # exceeded once in a thousand


def test_kept_rows_are_any_of_them(tmp_path):
    """Of 40 rows about 8 are kept; over many draws each as often as the others, within four standard deviations."""
    rows, counts, tries, kept = np.arange(40, dtype=np.float32)[:, None], np.zeros(40), 300, 0
    for seed in range(tries):
        order = ShuffledRows(40, seed, keep=8, block=13)
        order.write([(tmp_path / "a.npy", 1, "<f4")], ((rows[i : i + 13],) for i in range(0, 40, 13)))
        found = np.load(tmp_path / "a.npy")[:, 0].astype(int)
        assert len(found) == order.kept >= 8
        counts[found] += 1
        kept += len(found)
    share = kept / tries / 40
    assert share < 0.25 and np.abs(counts / tries - share).max() < 4 * np.sqrt(share * (1 - share) / tries)


def test_arrays_of_one_order(tmp_path):
    count = 10_007
    values = np.arange(2.0 * count, dtype=np.float32).reshape(count, 2)
    order = ShuffledRows(count, 3, bucket=1000, block=777)
    blocks = [values[i : i + 777] for i in range(0, count, 777)]
    files = [(tmp_path / "a.npy", 2, "<f4"), (tmp_path / "b.npy", 1, "<f4")]
    order.write(files, ((block, block[:, :1]) for block in blocks))
    a, b = (np.load(path) for path, _, _ in files)
    np.testing.assert_array_equal(np.sort(a[:, 0]), values[:, 0])
    np.testing.assert_array_equal(a[:, :1], b)
    assert abs(np.corrcoef(a[:, 0], np.arange(count))[0, 1]) < 0.05


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
