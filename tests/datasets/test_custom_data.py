"""CustomFieldDataset: files of any kind to samples, by named fields."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from custom_files import MORE, open_all, prepare, surface, write_sample

from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.datasets.prepared import PreparedFolder
from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import Mesh, write_mesh
from pointcept_bsa.training import cli
from pointcept_bsa.training.trainer import DefaultTrainer

ROOT = Path(__file__).resolve().parents[2]


def test_files_of_every_kind_give_their_own_numbers(files):
    root, meshes = files
    parts = open_all(data_root=str(root), target=("Static Pressure", "velocity[:2]"), units={"Static Pressure": "Pa"})
    assert [len(d) for d in parts.values()] == [10, 1, 1]
    seen = set()
    for data in parts.values():
        for sample in data:
            mesh = meshes[sample["name"]]
            np.testing.assert_array_equal(sample["coord"], mesh.points.astype(np.float32))
            np.testing.assert_array_equal(sample["target"][:, 0], mesh.point_data["Static Pressure"])
            np.testing.assert_array_equal(sample["target"][:, 1:], mesh.point_data["velocity"][:, :2])
            seen.add(sample["name"])
    assert seen == set(meshes)
    assert parts["train"].target_names == ("Static_Pressure", "velocity_2_0", "velocity_2_1")
    assert parts["train"].target_units == ("Pa", "unknown", "unknown")
    train = np.concatenate([sample["target"] for sample in parts["train"]]).astype(np.float64)
    statistics = parts["test"].target_statistics()
    np.testing.assert_allclose(statistics["mean"], train.mean(axis=0), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(statistics["std"], train.std(axis=0), rtol=1e-6)
    assert statistics["source"] == "training split, protocol drawn 0.1/0.1, seed 0"


def test_the_box_around_the_training_samples_has_side_2(files):
    root, meshes = files
    parts = open_all(data_root=str(root), target=["wall"], scale_to_box=True)
    train = np.concatenate([sample["coord"] for sample in parts["train"]])
    extent = train.max(axis=0) - train.min(axis=0)
    assert extent.max() == pytest.approx(2, abs=1e-5) and np.abs(train).max() == pytest.approx(1, abs=1e-5)
    sample = parts["test"][0]
    np.testing.assert_allclose(sample["position"], meshes[sample["name"]].points, rtol=1e-6)
    ratio = np.ptp(sample["position"], axis=0) / np.ptp(sample["coord"], axis=0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)  # not distorted


def test_flat_clouds_have_two_dimensions(tmp_path, prepare_tool):
    rng = np.random.default_rng(0)
    for i in range(6):
        points = np.pad(rng.random((9 + i, 2)), ((0, 0), (0, 1)), constant_values=1.5)
        lines = np.stack([np.arange(9 + i), np.roll(np.arange(9 + i), -1)], axis=1)
        write_mesh(
            tmp_path / "raw" / f"{i}.vtp" if (tmp_path / "raw").mkdir(exist_ok=True) is None else "",
            Mesh(points, {"line": lines}, {"cp": points[:, 0]}),
        )
    assert (
        prepare_tool.main(
            [
                "custom",
                "--src",
                str(tmp_path / "raw"),
                "--dst",
                str(tmp_path / "o"),
                "--target",
                "cp",
                "--feature",
                "normal",
            ]
        )
        == 0
    )
    sample = CustomFieldDataset("train", str(tmp_path / "o"))[0]
    assert sample["coord"].shape[1] == 2 and sample["normal"].shape[1] == 2
    with pytest.raises(InputError, match="dimension: got 4"):
        CustomFieldDataset("train", str(tmp_path / "raw"), target=["cp"], dimension=4)
    assert CustomFieldDataset("train", str(tmp_path / "raw"), target=["cp"], dimension=3)[0]["coord"].shape[1] == 3
    points[0, 2] = 7
    write_mesh(tmp_path / "raw" / "0.vtp", Mesh(points, {}, {"cp": points[:, 0]}))
    with pytest.raises(InputError, match="1.vtp: z is not the same|0.vtp: z is not the same"):
        [*open_all(data_root=str(tmp_path / "raw"), target=["cp"], dimension=2)["train"]]


def test_npy_tables_with_named_columns(tmp_path):
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", np.arange(20.0).reshape(5, 4) + i)
    data = CustomFieldDataset("train", str(tmp_path), target=["p"], columns=["x", "y", "p", "q"], fields=["q"])
    sample = data[0]
    np.testing.assert_array_equal(sample["coord"], np.arange(20.0).reshape(5, 4)[:, :2] + int(sample["name"]))
    np.testing.assert_array_equal(sample["target"][:, 0] + 1, sample["q"][:, 0])
    with pytest.raises(InputError, match="has 4 columns, wanted 3"):
        CustomFieldDataset("train", str(tmp_path), target=["p"], columns=["x", "y", "p"])


def test_wrong_arguments_are_named(files, tmp_path, prepare_tool):
    root, _ = files
    assert prepare(prepare_tool, root, tmp_path / "out", *MORE) == 0
    for arguments, message in [
        ({"target": ["presure"]}, "has no field 'presure'"),
        ({"target": ["Static Presure"]}, "did you mean 'Static Pressure'"),
        ({"target": "wall"}, "target: got 'wall', wanted a list"),
        ({"target": ["mach"]}, "target 'mach' has one value a sample"),
        ({"target": ["wall", "wall"]}, "'wall' is named twice"),
        ({"target": ["velocity[3]"]}, "has columns 0 to 2"),
        ({"target": ["velocity[2:1]"]}, "has columns 0 to 2"),
        ({"target": ["wall"], "fields": ["wall_distance"]}, "has no field 'wall_distance'"),
        ({"target": ["wall"], "protocol": "A"}, "protocol: got 'A' with files"),
        ({"target": ["wall"], "validation": "tets"}, "did you mean 'test'"),
        ({"target": ["wall"], "data_root": str(tmp_path / "no")}, "wanted a folder of .vtk"),
        ({"data_root": str(tmp_path / "no")}, "make it with: python tools/prepare_data.py custom"),
        ({"data_root": str(tmp_path / "out"), "seed": 3}, "seed: got with the prepared folder"),
        ({"data_root": str(tmp_path / "out"), "fields": ["mahc"]}, "did you mean 'mach'"),
        ({"data_root": str(tmp_path / "out"), "target": ["mach"]}, "target: got 'mach'"),
    ]:
        with pytest.raises(InputError, match=message):
            CustomFieldDataset("train", **{"data_root": str(root), **arguments})


@pytest.mark.parametrize("name", ["text", "phase", "objects", "objects[:2]"])
def test_arrays_that_hold_no_numbers_are_told_as_such(tmp_path, name):
    other = dict(text=["a"] * 5, phase=np.ones(5) * 1j, objects=np.arange(5).astype(object))
    for i in range(4):
        np.savez(tmp_path / f"s{i}.npz", coord=np.random.rand(5, 3), p=np.arange(5.0), **other)
    with pytest.raises(InputError, match=r"field '.*': what is there .* holds no real numbers .*; it has \['p'\]"):
        CustomFieldDataset("train", str(tmp_path), target=["p"], fields=[name])


def test_a_relative_folder_is_told_with_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"'data/mine' is not a folder; make it .* where you are: {tmp_path}\)$"):
        PreparedFolder("data/mine", "prepare")
    with pytest.raises(InputError, match="is not a folder; make it with: prepare$"):
        PreparedFolder(tmp_path / "data", "prepare")


def test_a_damaged_prepared_folder_is_one_line(files, tmp_path, prepare_tool):
    root, _ = files
    out = tmp_path / "out"
    assert prepare(prepare_tool, root, out, *MORE) == 0
    fields = json.loads((out / "fields.json").read_text())
    for change in ({"format": 2}, {"target": None}, {"dimension": "3"}, {"target": [{"key": "../../x"}]}, {"notes": 1}):
        (out / "fields.json").write_text(json.dumps(fields | change))
        with pytest.raises(InputError, match="fields.json: is damaged, or of another version"):
            CustomFieldDataset("train", str(out))


def test_config_trains_and_tests(tmp_path, prepare_tool):
    """Mixed sizes, surfaces and archives; nothing but the folder, the backbone's size and the length is set."""
    for i in range(8):
        write_sample(tmp_path / "raw", f"s{i}", ("vtp", "npz")[i % 2], surface(i))
    assert prepare(prepare_tool, tmp_path / "raw", tmp_path / "data") == 0
    run = tmp_path / "run"
    root = [f"data.{split}.data_root={tmp_path / 'data'}" for split in ("train", "val", "test")]
    small = [
        "model.backbone.depth=2",
        "model.backbone.ball_size=32",
        "num_worker=0",
        "test.pictures=False",
        "max_iters=4",
        "eval_every=2",
    ]
    command = ["--config", str(ROOT / "configs/custom/bsa.py"), "--options"]
    command += [f"save_path={run}", "device=cpu", "seed=0", *root, *small]
    assert cli.train_main(command) == 0 and cli.test_main(command) == 0  # what tools/train.py and tools/test.py call
    metrics = (run / "test" / "metrics.json").read_text()
    assert "Static_Pressure" in metrics and "drawn 0.1/0.1, seed 0" in metrics


def test_samples_at_rest_train_and_what_they_upset_is_told(tmp_path, prepare_tool, capsys):
    for i in range(6):
        x = np.random.default_rng(i).random((40, 3))
        np.savez((tmp_path / f"s{i}.npz"), coord=x, u=x * (i != 3))
    split = {"train": ["s0", "s3", "s5"], "val": ["s1"], "test": ["s4"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    command = ["custom", "--src", str(tmp_path), "--target", "u", "--split-file", str(tmp_path / "split.json")]
    assert prepare_tool.main([*command, "--dst", str(tmp_path / "out")]) == 0
    options = ["model.backbone.depth=1", "num_worker=0", "test.pictures=False", "max_iters=2", "device=cpu", "seed=0"]
    run = ["--config", str(tmp_path / "out/bsa.py"), "--options", *options]
    assert cli.train_main([*run, f"save_path={tmp_path / 'run'}"]) == 0
    physical = ["model.criteria.0.physical=True", f"save_path={tmp_path / 'physical'}"]
    assert cli.train_main([*run, *physical]) == 2
    error = capsys.readouterr().err
    assert "is 0 or too large for float32 in s3, which has no relative error" in error and "physical=False" in error
    (tmp_path / "split.json").write_text(json.dumps(split | {"train": ["s0", "s5"], "val": ["s1", "s3"]}))
    assert prepare_tool.main([*command, "--dst", str(tmp_path / "still")]) == 0
    run = ["--config", str(tmp_path / "still/bsa.py"), "--options", *options, f"save_path={tmp_path / 'still_run'}"]
    assert cli.train_main(run) == 0
    log = (tmp_path / "still_run/train.log").read_text()
    assert "relative_l2 is inf because of s3 (a target that is zero at all points" in log
    assert not (tmp_path / "still_run/model/model_best.pth").exists()
    assert cli.train_main([*run, f"save_path={tmp_path / 'by_mse'}", "hooks.5.key=mse"]) == 0
    assert (tmp_path / "by_mse/model/model_best.pth").is_file()


def test_a_start_that_was_broken_off_does_not_bind_the_next(tmp_path, prepare_tool, capsys, monkeypatch):
    for i in range(8):
        write_sample(tmp_path / "raw", f"s{i}", "npz", surface(i))
    assert prepare(prepare_tool, tmp_path / "raw", tmp_path / "data") == 0
    small = ["model.backbone.depth=1", "num_worker=0", "test.pictures=False", "max_iters=2", "device=cpu", "seed=0"]
    command = ["--config", str(tmp_path / "data/bsa.py"), "--options", f"save_path={tmp_path / 'run'}", *small]
    assert cli.train_main([*command, "data.test.scale_to_box=False"]) == 2
    assert "data.test: the samples have other transform" in capsys.readouterr().err
    splits = ("train", "val", "test")
    unscaled = [f"data.{split}.scale_to_box=False" for split in splits]
    unscaled += [f"data.{split}.transform.2.keys=[coord,target,name,grid_coord]" for split in splits]  # no position

    def fails(trainer):
        raise InputError("found in the first iteration")

    with monkeypatch.context() as broken:
        broken.setattr(DefaultTrainer, "run_step", fails)
        assert cli.train_main([*command, *unscaled]) == 2
    assert (tmp_path / "run/training_range.json").is_file()
    assert cli.train_main(command) == 0


def test_a_field_named_like_columns_of_another_is_refused(tmp_path):
    for i in range(4):
        fields = {"v": np.random.rand(5, 3), "v[0]": np.random.rand(5)}
        write_mesh(tmp_path / f"s{i}.vtu", Mesh(np.random.rand(5, 3), {}, fields))
    with pytest.raises(InputError, match=r"'v\[0\]' is a field and columns of 'v'"):
        CustomFieldDataset("train", str(tmp_path), target=["v[0]"])
    assert CustomFieldDataset("train", str(tmp_path), target=["v[1]"])[0]["target"].shape == (5, 1)


@pytest.mark.parametrize(("more", "told"), [((), True), (("--dimension", "3"), False)])
def test_flat_samples_at_several_heights_are_told(tmp_path, prepare_tool, capsys, more, told):
    (tmp_path / "raw").mkdir()
    for number in range(6):
        coord = np.random.default_rng(number).random((20, 3))
        coord[:, 2] = number / 8
        np.savez(tmp_path / "raw" / f"s{number}.npz", coord=coord, p=coord[:, 0] + coord[:, 2])
    for dry in (("--dry-run",), ()):
        command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "out"), "--target", "p"]
        assert prepare_tool.main([*command, *more, *dry]) == 0
        line = "dimension 2: z is 0 in s0, 0.625 in s5, and is left out; --dimension 3 keeps it"
        assert (line in capsys.readouterr().out) == told


STREAM = ("--surface-pressure", "Static Pressure", "density=1.2", "velocity=30", "flow=1,0,0", "up=0,0,1")


@pytest.mark.parametrize(
    ("faces", "said"),
    [
        ((0, 1, 2, 3), None),
        ((0, 1), "2 of 4 samples have no faces, over which"),
        ((), "no sample has faces, over which"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_a_surface_pressure_without_faces_is_said(tmp_path, prepare_tool, capsys, faces, said, dry):
    for i in range(4):
        mesh = surface(i)
        write_sample(tmp_path / "raw", f"s{i}", "vtp" if i in faces else "folder", mesh)
    assert prepare(prepare_tool, tmp_path / "raw", tmp_path / "out", *STREAM, *(["--dry-run"] if dry else [])) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("--surface-pressure: ")]
    assert len(told) == (said is not None) and (said is None or said in told[0])


def test_samples_that_are_left_out_do_not_count_for_it(tmp_path, prepare_tool, capsys):
    for i in range(6):
        mesh = surface(i)
        mesh.point_data["Static Pressure"][0] = np.nan if i == 0 else 0
        write_sample(tmp_path / "raw", f"s{i}", "folder" if i == 5 else "vtp", mesh)
    assert prepare(prepare_tool, tmp_path / "raw", tmp_path / "out", *STREAM, "--skip-bad") == 0
    assert "--surface-pressure: 1 of 5 samples have no faces" in capsys.readouterr().out
