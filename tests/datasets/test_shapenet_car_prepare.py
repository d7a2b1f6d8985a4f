"""From mlcfd_data as it is downloaded to what ShapeNetCarDataset gives."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from pointcept_bsa.datasets.prepare import mlcfd
from pointcept_bsa.datasets.prepare.mlcfd import BAD_FOLDERS, full_protocols, load_raw_car, usable_folders
from pointcept_bsa.datasets.shapenet_car import ShapeNetCarDataset
from pointcept_bsa.errors import InputError

LOOSE = slice(16, 40)


@pytest.fixture
def raw(tmp_path, make_raw_car):
    """Five cars and a bad folder, below mlcfd_data/training_data."""
    root = tmp_path / "mlcfd_data" / "training_data"
    for i in range(5):
        make_raw_car(root / f"param{i % 3}" / f"car{i}", seed=i)
    (root / "param2" / "854bb96a96a4d1b338acbabdc1252e2f").mkdir()
    (root / "param0" / "._car0").write_text("a file of macOS")
    return root


def partial(raw, tmp_path):
    return ["shapenet_car", "--src", str(raw.parents[0]), "--dst", str(tmp_path / "out"), "--allow-partial"]


def test_loose_points_go_and_faces_are_renumbered(tmp_path, make_raw_car):
    raw = make_raw_car(tmp_path / "car", loose=LOOSE)
    car = load_raw_car(tmp_path / "car")
    kept = np.delete(np.arange(240), LOOSE)
    np.testing.assert_allclose(car["coord"], raw["points"][kept], rtol=1e-6)
    np.testing.assert_array_equal(car["pressure"], np.concatenate([raw["pressure"][:16], raw["pressure"][40:]]))
    np.testing.assert_allclose(car["coord"][car["face"]], raw["points"][raw["quads"]], rtol=1e-6)


def test_a_full_size_car_is_cut_where_the_papers_cut_it(tmp_path, make_raw_car):
    raw = make_raw_car(tmp_path / "good", num_points=3682, loose=slice(16, 112))
    car = load_raw_car(tmp_path / "good")
    np.testing.assert_array_equal(car["pressure"], np.concatenate([raw["pressure"][:16], raw["pressure"][112:]]))
    assert car["coord"].shape == (3586, 3)
    make_raw_car(tmp_path / "odd", num_points=3682, loose=slice(17, 113))
    with pytest.raises(InputError, match="odd/quadpress_smpl.vtk: 96 points between 17 and 112 .*wanted the 96 points"):
        load_raw_car(tmp_path / "odd")


def test_partial_run_end_to_end(raw, tmp_path, prepare_tool, capsys):
    assert prepare_tool.main(partial(raw, tmp_path)) == 0
    assert "prepared 5 cars" in capsys.readouterr().out
    out = tmp_path / "out"
    lists = json.loads((out / "split.json").read_text())["protocols"]["partial"]
    assert sorted(lists["train"] + lists["test"]) == ["param0/car0", "param0/car3", "param1/car1", "param1/car4"] + [
        "param2/car2"
    ]
    assert (out / "param0__car0" / "coord.npy").is_file() and not list(out.glob(".*"))
    assert "| partial (default) | train | 4 |" in (out / "README.md").read_text()
    data = ShapeNetCarDataset("train", str(out), cache=True)
    sample = data[0]
    assert sample["coord"].shape == (216, 3) and sample["target"].shape == (216, 1) and sample["face"].shape == (72, 4)
    pressures = np.concatenate([data[i]["target"] for i in range(4)]).astype(np.float64)
    statistics = data.target_statistics()
    np.testing.assert_allclose([*statistics["mean"], *statistics["std"]], [pressures.mean(), pressures.std()])
    assert statistics["source"] == "training split, protocol partial"


def test_finished_samples_are_kept_and_unfinished_ones_redone(raw, tmp_path, prepare_tool, capsys):
    out, command = tmp_path / "out", partial(raw, tmp_path)
    assert prepare_tool.main(command) == 0
    kept = (out / "param0__car0" / "coord.npy").stat().st_mtime_ns
    whole = (out / "param1__car1" / "pressure.npy").read_bytes()
    (out / "param1__car1" / "pressure.npy").write_bytes(whole[:-4])  # a damaged file
    (out / "param0__car3" / "face.npy").unlink()  # a missing one
    (out / ".param2__car2.part").mkdir()  # what a killed run leaves
    (out / "param2__car2" / "coord.npy").unlink()
    assert prepare_tool.main([*command, "--dry-run"]) == 0
    assert "5 cars, 3 to write" in capsys.readouterr().out
    assert prepare_tool.main(command) == 0
    assert "(3 written, 2 were there)" in capsys.readouterr().out
    assert (out / "param1__car1" / "pressure.npy").read_bytes() == whole
    assert (out / "param0__car0" / "coord.npy").stat().st_mtime_ns == kept and not list(out.glob(".*"))
    assert prepare_tool.main([*command, "--overwrite", "--workers", "2"]) == 0
    assert "(5 written, 0 were there)" in capsys.readouterr().out


def test_dry_run_writes_nothing(raw, tmp_path, prepare_tool, capsys):
    assert prepare_tool.main([*partial(raw, tmp_path), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "5 cars, 5 to write" in out and "protocol partial (default): train 4, test 1, holdout 0" in out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bad_raw_file_stops_the_run_by_name_and_leaves_no_split(raw, tmp_path, prepare_tool, capsys, workers):
    path = raw / "param1" / "car1" / "press.npy"
    path.write_bytes(path.read_bytes()[:-100])
    assert prepare_tool.main([*partial(raw, tmp_path), "--workers", workers]) == 2
    err = capsys.readouterr().err
    assert f"error: {path}: truncated" in err and err.count("error:") == 1 and "Traceback" not in err
    assert not (tmp_path / "out" / "split.json").exists() and not (tmp_path / "out" / "param1__car1").exists()
    with pytest.raises(InputError, match="split.json: is missing .*run: python tools/prepare_data.py shapenet_car"):
        ShapeNetCarDataset("train", str(tmp_path / "out"))


def test_other_faults_of_raw_files(raw, tmp_path, prepare_tool, capsys):
    path = raw / "param1" / "car1" / "press.npy"
    pressure = np.load(path)
    for values, message in [
        (pressure[:-1], "has 239 values, wanted 240"),
        (np.where(np.arange(240) == 50, np.nan, pressure), "field 'pressure' has 1 NaN or infinite"),
        (pressure.astype(int), "holds int64 values"),
    ]:
        np.save(path, values)
        for dry in ((), ("--dry-run",)):
            assert prepare_tool.main([*partial(raw, tmp_path), *dry]) == 2
            err = capsys.readouterr().err
            assert f"error: {path}" in err and message in err
    path.unlink()
    assert prepare_tool.main(partial(raw, tmp_path)) == 2
    assert f"error: {path}: cannot be read" in capsys.readouterr().err


def test_command_line_mistakes(raw, tmp_path, prepare_tool, capsys):
    out = str(tmp_path / "out")
    for arguments, message in [
        (["--src", str(raw)], "has 5 usable folders, wanted 889"),
        (["--src", str(tmp_path / "none")], "none' is not there, wanted the raw"),
        ([], "--src: is missing"),
        (["--src", str(raw), "--workers", "0"], "--workers: got 0"),
    ]:
        assert prepare_tool.main(["shapenet_car", "--dst", out, *arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 1
        assert message in err
    for arguments in (["shapenet_cra", "--dst", out], ["shapenet_car"], []):
        assert prepare_tool.main(arguments) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 1


def test_protocols_of_the_full_set():
    ids = [f"param{k}/{i:03d}" for k, n in enumerate([100, *[99] * 5, *[98] * 3]) for i in range(n)]
    assert len(ids) == 889
    protocols = full_protocols(ids)
    a, b = protocols["A"], protocols["B"]
    assert (len(a["train"]), len(a["test"]), len(a["holdout"])) == (700, 189, 50)
    assert (len(b["train"]), len(b["test"]), len(b["holdout"])) == (789, 100, 50)
    for lists in (a, b):
        assert sorted(lists["train"] + lists["test"]) == ids and set(lists["holdout"]) < set(lists["train"])
    assert all(name.startswith("param0/") for name in b["test"])
    index = {name: i for i, name in enumerate(ids)}
    assert {550, 592, 229, 547, 62, 464, 168, 651} < {index[name] for name in a["test"]}  # of the published list
    assert protocols == full_protocols(ids)


def test_889_cars_end_to_end(tmp_path, make_raw_car, prepare_tool, capsys):
    """The full count, the four bad folders among them, with tiny cars."""
    raw = tmp_path / "raw"
    for k in range(9):
        for i in range(100 if k == 0 else 99):
            make_raw_car(raw / f"param{k}" / f"{i:03d}", num_points=12, loose=slice(2, 4), seed=100 * k + i)
    for bad in BAD_FOLDERS:
        (raw / bad).mkdir()
        np.save(raw / bad / "press.npy", np.zeros(12, np.float32))
    shutil.rmtree(raw / "param8" / "097")
    shutil.rmtree(raw / "param8" / "098")
    shutil.rmtree(raw / "param7" / "098")
    assert len(usable_folders(raw)) == 889
    out = tmp_path / "out"
    assert prepare_tool.main(["shapenet_car", "--src", str(raw), "--dst", str(out)]) == 0
    assert "prepared 889 cars" in capsys.readouterr().out
    sizes = {
        (protocol, validation): tuple(
            len(ShapeNetCarDataset(split, str(out), protocol=protocol, validation=validation))
            for split in ("train", "val", "test")
        )
        for protocol in ("A", "B")
        for validation in ("holdout", "test")
    }
    assert sizes == {
        ("A", "holdout"): (650, 50, 189),
        ("A", "test"): (700, 189, 189),
        ("B", "holdout"): (739, 50, 100),
        ("B", "test"): (789, 100, 100),
    }
    default = ShapeNetCarDataset("train", str(out))
    assert default.card()["protocol"] == "A"
    assert default.target_statistics() == {
        "mean": [-36.3099],
        "std": [48.5743],
        "source": "published constants, protocol A",
    }
    own = ShapeNetCarDataset("train", str(out), protocol="B").target_statistics()
    assert own["source"] == "training split, protocol B, those that validate (50) among them" and own["mean"] != [
        -36.3099
    ]


def test_constants_agree_with_each_other():
    assert mlcfd.RAW_POINTS - (mlcfd.LOOSE.stop - mlcfd.LOOSE.start) == 3586
    assert len(BAD_FOLDERS) == 4
