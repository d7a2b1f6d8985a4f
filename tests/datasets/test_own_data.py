"""PointFieldDataset and ``prepare_data.py custom``: files of any kind to samples, by named fields."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from pointcept_bsa.datasets.own.features import average_to_points, point_normals, wall_distance
from pointcept_bsa.datasets.own.splits import make_split, samples_of
from pointcept_bsa.datasets.own.table import read_parameters
from pointcept_bsa.datasets.point_field import OwnPointFieldDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import cli
from pointcept_bsa.mesh_io import Mesh, write_mesh

ROOT = Path(__file__).resolve().parents[2]


def surface(seed):
    """An ellipsoid of random size as quads, with its fields."""
    rng = np.random.default_rng(seed)
    rings, sides = int(rng.integers(4, 9)), int(rng.integers(5, 12))
    u, v = np.meshgrid(
        np.linspace(0.3, np.pi - 0.3, rings), np.linspace(0, 2 * np.pi, sides, endpoint=False), indexing="ij"
    )
    unit = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], axis=-1).reshape(-1, 3)
    points = (unit * rng.uniform(0.5, 2, 3)).astype(np.float32).astype(np.float64)
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(sides), indexing="ij")
    right = (j + 1) % sides
    quads = np.stack([i * sides + j, (i + 1) * sides + j, (i + 1) * sides + right, i * sides + right], axis=-1).reshape(
        -1, 4
    )
    mesh = Mesh(points, {"quad": quads})
    mesh.point_data = {
        "Static Pressure": (points[:, 0] + seed).astype(np.float32),
        "velocity": np.stack([points[:, 1], points[:, 2], np.zeros(len(points))], axis=1).astype(np.float32),
        "wall": (points[:, 2] < 0).astype(np.float32),
    }
    mesh.cell_data = {"area": np.arange(len(quads), dtype=np.float32)}
    mesh.field_data = {"mach": np.array([0.1 * seed])}
    return mesh


def write_sample(folder, name, suffix, mesh):
    folder.mkdir(parents=True, exist_ok=True)
    if suffix == "npz":
        arrays = dict(mesh.point_data)
        np.savez(
            folder / f"{name}.npz", coord=mesh.points, face=mesh.cells["quad"], mach=mesh.field_data["mach"], **arrays
        )
    elif suffix == "folder":
        (folder / name).mkdir()
        for key, values in {"coord": mesh.points, **mesh.point_data, **mesh.field_data}.items():
            np.save(folder / name / f"{key}.npy", values)
    else:
        write_mesh(folder / f"{name}.{suffix}", mesh)


@pytest.fixture
def files(tmp_path):
    """Twelve samples of four kinds of files."""
    kinds = ["vtp", "npz", "vtu", "vtk", "folder"]
    meshes = {f"s{i:02d}": surface(i) for i in range(12)}
    for i, (name, mesh) in enumerate(meshes.items()):
        write_sample(tmp_path / "raw", name, kinds[i % len(kinds)], mesh)
    return tmp_path / "raw", meshes


def open_all(**arguments):
    return {split: OwnPointFieldDataset(split, **arguments) for split in ("train", "val", "test")}


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


def prepare(tool, root, out, *more):
    return tool.main(["custom", "--src", str(root), "--dst", str(out), "--target", "Static Pressure", *more])


MORE = ("--feature", "wall_distance,mach", "--wall-mask", "wall", "--unit", "Static Pressure=Pa")


def test_prepared_data_are_those_of_the_files(files, tmp_path, prepare_tool):
    root, meshes = files
    assert prepare(prepare_tool, root, tmp_path / "out", *MORE) == 0
    prepared = open_all(data_root=str(tmp_path / "out"))
    direct = open_all(
        data_root=str(root),
        target=["Static Pressure"],
        fields=["wall_distance", "mach"],
        wall_mask="wall",
        units={"Static Pressure": "Pa"},
    )
    for split in prepared:
        one, other = prepared[split], direct[split]
        assert one.card() == other.card()
        for key in ("mean", "std"):
            assert one.target_statistics()[key] == pytest.approx(other.target_statistics()[key])
        for a, b in zip(one, other, strict=True):
            assert a.keys() == b.keys()
            for key in a:
                np.testing.assert_allclose(a[key], b[key], atol=1e-6) if key != "name" else None
    mach = np.array([sample["mach"][0, 0] for sample in prepared["train"]])
    np.testing.assert_allclose([mach.mean(), mach.std()], [0, 1], atol=0.2)  # weighted by samples, not by points
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Static_Pressure.npy | (N, 1) float32 | Pa" in card and "'wall' is above 0.5" in card


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


def test_the_dry_run_reports_everything_and_writes_nothing(files, tmp_path, prepare_tool, capsys):
    root, meshes = files
    broken = surface(50)
    broken.point_data["Static Pressure"][3] = np.nan
    broken.points[1] = broken.points[0]
    write_mesh(root / "with_nan.vtp", broken)
    write_mesh(root / "without.vtp", Mesh(np.random.rand(4, 3), {}, {"temperature": np.zeros(4)}))
    (root / "junk.ply").write_bytes(b"ply\nformat")
    before = sorted(os.listdir(tmp_path))
    assert prepare(prepare_tool, root, tmp_path / "out", *MORE, "--dry-run") == 0
    out = capsys.readouterr().out
    assert sorted(os.listdir(tmp_path)) == before
    sizes = [len(mesh.points) for mesh in [*meshes.values(), broken]]
    for part in (
        "15 samples, 12 of them can be used; dimension 3",
        f"points a sample: {min(sizes)} to {max(sizes)}",
        "field 'Static Pressure' (point, 1 columns, 13 samples): NaN 1, infinite 0; range [",
        "duplicates: 1 points of 1 samples",
        "missing: 'Static Pressure' in 1 samples",
        "has no field 'Static Pressure', it has ['temperature']",
        "junk.ply: has the header line",
        "'Static Pressure' has 1 NaN or infinite of",
        "a run would stop: 3 samples cannot be used",
        "temperature (point data), in 1 samples",
        "protocol drawn 0.1/0.1, seed 0: train",
    ):
        assert part in out, part
    assert prepare(prepare_tool, root, tmp_path / "out", *MORE) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "and 2 more samples" in error and sorted(os.listdir(tmp_path)) == before
    assert prepare(prepare_tool, root, tmp_path / "out", *MORE, "--skip-bad") == 0
    notes = OwnPointFieldDataset("train", str(tmp_path / "out")).card()["notes"]
    assert sum("left out, cannot be used" in note for note in notes) == 3


def test_an_interrupted_run_goes_on_and_ends_the_same(files, tmp_path, prepare_tool, capsys, monkeypatch):
    from pointcept_bsa.datasets.prepare import custom

    root, _ = files
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert prepare(prepare_tool, root, whole, *MORE) == 0
    written = []

    def stop_after_five(*arguments):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(arguments)
        return real(*arguments)

    real = custom.write_sample
    monkeypatch.setattr(custom, "write_sample", stop_after_five)
    with pytest.raises(KeyboardInterrupt):
        prepare(prepare_tool, root, cut, *MORE)
    monkeypatch.undo()
    assert not (cut / "split.json").exists()
    with pytest.raises(InputError, match="split.json: is missing"):
        OwnPointFieldDataset("train", str(cut))
    (cut / ".s07.part").mkdir()  # half a sample
    assert prepare(prepare_tool, root, cut, *MORE) == 0
    assert "(7 written, 5 were there)" in capsys.readouterr().out
    listed = [sorted(p.relative_to(r).as_posix() for p in r.rglob("*")) for r in (whole, cut)]
    assert listed[0] == listed[1]
    for path in whole.rglob("*.*"):
        assert path.read_bytes() == (cut / path.relative_to(whole)).read_bytes(), path


def test_other_options_are_not_mixed_into_one_folder(files, tmp_path, prepare_tool, capsys):
    root, _ = files
    out = tmp_path / "out"
    assert prepare(prepare_tool, root, out, *MORE) == 0
    command = ["custom", "--src", str(root), "--dst", str(out), "--target", "velocity[:2]"]
    assert prepare_tool.main(command) == 2
    assert "was prepared with other fields or options" in capsys.readouterr().err
    assert prepare_tool.main([*command, "--overwrite"]) == 0
    assert OwnPointFieldDataset("train", str(out)).target_names == ("velocity_2_0", "velocity_2_1")


def test_cell_data_are_averaged_only_when_asked_and_the_card_says_so(files, tmp_path, prepare_tool, capsys):
    root, _ = files
    for path in [*root.glob("*.npz"), *(p for p in root.iterdir() if p.is_dir())]:
        path.unlink() if path.is_file() else [*map(os.unlink, path.iterdir()), path.rmdir()]
    command = ["custom", "--src", str(root), "--dst", str(tmp_path / "out"), "--target", "area"]
    assert prepare_tool.main(command) == 2
    assert "'area' is cell data, wanted point data, or --cells-to-points" in capsys.readouterr().err
    assert prepare_tool.main([*command, "--cells-to-points"]) == 0
    data = OwnPointFieldDataset("train", str(tmp_path / "out"))
    assert "area: cell data, averaged to the points (mean over the cells at a point)" in data.card()["notes"]


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
    sample = OwnPointFieldDataset("train", str(tmp_path / "o"))[0]
    assert sample["coord"].shape[1] == 2 and sample["normal"].shape[1] == 2
    with pytest.raises(InputError, match="dimension: got 4"):
        OwnPointFieldDataset("train", str(tmp_path / "raw"), target=["cp"], dimension=4)
    assert OwnPointFieldDataset("train", str(tmp_path / "raw"), target=["cp"], dimension=3)[0]["coord"].shape[1] == 3
    points[0, 2] = 7
    write_mesh(tmp_path / "raw" / "0.vtp", Mesh(points, {}, {"cp": points[:, 0]}))
    with pytest.raises(InputError, match="1.vtp: z is not the same|0.vtp: z is not the same"):
        [*open_all(data_root=str(tmp_path / "raw"), target=["cp"], dimension=2)["train"]]


def test_npy_tables_with_named_columns(tmp_path):
    for i in range(4):
        np.save(tmp_path / f"{i}.npy", np.arange(20.0).reshape(5, 4) + i)
    data = OwnPointFieldDataset("train", str(tmp_path), target=["p"], columns=["x", "y", "p", "q"], fields=["q"])
    sample = data[0]
    np.testing.assert_array_equal(sample["coord"], np.arange(20.0).reshape(5, 4)[:, :2] + int(sample["name"]))
    np.testing.assert_array_equal(sample["target"][:, 0] + 1, sample["q"][:, 0])
    with pytest.raises(InputError, match="has 4 columns, wanted 3"):
        OwnPointFieldDataset("train", str(tmp_path), target=["p"], columns=["x", "y", "p"])


def test_parameters_come_from_a_table(files, tmp_path):
    root, meshes = files
    table = tmp_path / "cases.csv"
    table.write_text("case,alpha,Re\n" + "".join(f"{name},{i},1e6\n" for i, name in enumerate(meshes)))
    data = OwnPointFieldDataset("train", str(root), target=["wall"], fields=["alpha", "Re"], parameters=str(table))
    alpha = {s["name"]: s["alpha"] for s in data}
    values = np.array([float(name[1:]) for name in alpha])
    for name, column in alpha.items():
        np.testing.assert_allclose(column, (float(name[1:]) - values.mean()) / values.std(), rtol=1e-5)
    assert all(np.all(sample["Re"] == 0) for sample in data)  # never changes
    (tmp_path / "cases.json").write_text(json.dumps([{"name": "a/b", "x": 1}, {"name": "c", "x": "2.5"}]))
    assert read_parameters(tmp_path / "cases.json") == {"a/b": {"x": 1.0}, "c": {"x": 2.5}}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "case,x\na,1\na,2\n", "sample 'a' is there twice"),
        ("a.csv", "case,x\na,nan\n", "parameter 'x' of sample 'a' is 'nan', wanted a finite number"),
        ("a.csv", "case,x\na\n", "row 2 has 1 entries, wanted 2"),
        ("a.csv", "", "wanted a line of different names"),
        ("a.json", "[1]", "wanted an object of objects"),
        ("a.json", "{", "is no table of parameters"),
        ("a.json", '{"a": {"x": [1]}}', "wanted a finite number"),
        ("a.txt", "", "wanted a .csv or .json file"),
    ],
)
def test_bad_tables_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_parameters(tmp_path / name)


def test_splits_by_folders_by_lists_and_drawn(tmp_path):
    names = [f"{part}/{i}" for part, n in (("train", 20), ("test", 3)) for i in range(n)]
    protocol, lists = make_split(names)
    assert protocol == "folders, holdout seed 0" and len(lists["holdout"]) == 2
    assert len(samples_of(lists, "train", "holdout")) == 18 and samples_of(lists, "val", "holdout") == lists["holdout"]
    assert samples_of(lists, "val", "test") == lists["test"] and len(samples_of(lists, "train", "test")) == 20
    drawn = make_split(names, fractions=(0.2, 0.3), seed=4)
    assert drawn == make_split(names, fractions=(0.2, 0.3), seed=4) != make_split(names, fractions=(0.2, 0.3), seed=5)
    assert {part: len(members) for part, members in drawn[1].items()} == {"train": 11, "val": 5, "test": 7}
    assert sorted(sum(drawn[1].values(), [])) == sorted(names)
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": names[:3], "val": names[3:4], "test": names[4:6]}))
    assert make_split(names, str(path)) == ("lists", {"train": names[:3], "val": names[3:4], "test": names[4:6]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": ["a"], "test": ["x"]}, "sample 'x' is not there"),
        ({"train": ["a", "a"], "test": ["b"]}, "sample 'a' is named twice"),
        ({"train": ["a"], "test": ["a"]}, "sample 'a' is named twice"),
        ({"train": ["a"]}, "no samples for 'test'"),
        ({"train": ["a"], "tset": ["b"]}, "and nothing else"),
        ([], "and nothing else"),
    ],
)
def test_bad_lists_are_refused(tmp_path, content, message):
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        make_split(["a", "b", "c"], str(tmp_path / "s.json"))


def test_bad_splits_are_refused():
    for names, arguments, message in [
        (["a", "b"], {}, "has 2 samples, wanted at least 3"),
        (["a", "b", "c"], {"fractions": (0.5, 0.5)}, "--fractions: got 0.5 and 0.5"),
        (["train/a", "test/b", "c"], {}, "sample 'c' lies in none of the folders"),
        (["a", "b", "c"], {"seed": -1}, "--seed"),
        (["a", "b", "c"], {"fractions": (0.1, 0.1), "split_file": "x"}, "got both"),
    ]:
        with pytest.raises(InputError, match=message):
            make_split(names, **arguments)


def test_normals_of_a_sphere_point_outward_and_have_length_one():
    mesh = surface(3)
    normals = point_normals(mesh.points, mesh.cells, 3, "x")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-12)
    scale = np.abs(mesh.points).max(axis=0)
    exact = mesh.points / scale**2
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    assert np.all((normals * exact).sum(axis=1) > 0.6)
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    np.testing.assert_allclose(point_normals(square, {"quad": np.array([[0, 1, 2, 3]])}, 3, "x"), [[0, 0, 1]] * 4)
    np.testing.assert_allclose(
        point_normals(square, {"triangle": np.array([[0, 1, 2], [0, 2, 3]])}, 3, "x"), [[0, 0, 1]] * 4
    )
    with pytest.raises(InputError, match="1 of 4 points belong to no face"):
        point_normals(square, {"triangle": np.array([[0, 1, 2]])}, 3, "x")
    with pytest.raises(InputError, match="wanted lines"):
        point_normals(square, {"triangle": np.array([[0, 1, 2]])}, 2, "x")


def test_wall_distance_and_averages_of_cells():
    points = np.array([[0.0, 0], [3, 4], [0, 1]])
    np.testing.assert_allclose(wall_distance(points, np.array([1, 0, 0]), "x")[:, 0], [0, 5, 1])
    with pytest.raises(InputError, match="nowhere above 0.5"):
        wall_distance(points, np.zeros(3), "x")
    cells = {"triangle": np.array([[0, 1, 2]]), "quad": np.array([[1, 2, 3, 4]])}
    averaged = average_to_points(np.array([2.0, 6.0]), cells, 5, "x")
    assert averaged[:, 0].tolist() == [2, 4, 4, 6, 6]
    with pytest.raises(InputError, match="1 of 6 points belong to no cell"):
        average_to_points(np.array([2.0, 6.0]), cells, 6, "x")


def test_loose_points_can_be_left_out(tmp_path):
    for i in range(4):
        points = np.random.rand(5, 3)
        mesh = Mesh(
            points, {"triangle": np.array([[0, 2, 4], [2, 4, 1]])}, {"p": np.arange(5.0)}, {"c": np.array([1.0, 3])}
        )
        write_mesh(tmp_path / f"{i}.vtu", mesh)
    data = OwnPointFieldDataset("train", str(tmp_path), target=["p", "c"], cells_to_points=True, drop_loose_points=True)
    sample = data[0]
    assert sample["target"].tolist() == [[0, 1], [1, 3], [2, 2], [4, 2]]
    assert sample["face"].tolist() == [[0, 2, 3], [2, 3, 1]]
    assert "points that belong to no cell are left out" in data.card()["notes"]


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
            OwnPointFieldDataset("train", **{"data_root": str(root), **arguments})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target", "nothing"], "has no field 'nothing'"),
        (["--target", "velocity"], "target 'velocity': column 2 is 0 everywhere, wanted a field that varies"),
        (["--target", "wall", "--feature", "wall"], "'wall' is named twice"),
        (["--target", "wall", "--unit", "wal=m"], "--unit: got 'wal=m'"),
        (["--target", "wall", "--fractions", "0.5", "0.6"], "--fractions: got 0.5 and 0.6"),
        (["--target", "wall", "--split-file", "none.json"], "none.json: is no file"),
        (["--target", "wall", "--parameters", "none.csv"], "none.csv: is no file"),
        ([], "--target: got none"),
    ],
)
def test_the_command_refuses_in_one_line_and_writes_nothing(files, tmp_path, prepare_tool, capsys, more, message):
    root, _ = files
    assert prepare_tool.main(["custom", "--src", str(root), "--dst", str(tmp_path / "out"), *more]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("look: ")]
    assert len(errors) == 1 and errors[0].startswith("error: ") and message in errors[0]
    assert not (tmp_path / "out").exists()


def test_names_that_clash_or_lead_out_are_refused(tmp_path, prepare_tool, capsys):
    np.savez(tmp_path / "a.npz", coord=np.random.rand(3, 3), p=np.arange(3.0))
    write_mesh(tmp_path / "a.vtp", Mesh(np.random.rand(3, 3), {}, {"p": np.arange(3.0)}))
    command = ["custom", "--src", str(tmp_path), "--dst", str(tmp_path / "out"), "--target", "p"]
    assert prepare_tool.main(command) == 2 and "are both" in capsys.readouterr().err
    (tmp_path / "a.vtp").rename(tmp_path / "a b.vtp")
    np.savez(tmp_path / "c.npz", coord=np.random.rand(3, 3), p=np.arange(3.0))
    assert prepare_tool.main(command) == 2
    assert "has a sample named 'a b'" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_damaged_prepared_folder_is_one_line(files, tmp_path, prepare_tool):
    root, _ = files
    out = tmp_path / "out"
    assert prepare(prepare_tool, root, out, *MORE) == 0
    fields = json.loads((out / "fields.json").read_text())
    for change in ({"format": 2}, {"target": None}, {"dimension": "3"}, {"target": [{"key": "../../x"}]}, {"notes": 1}):
        (out / "fields.json").write_text(json.dumps(fields | change))
        with pytest.raises(InputError, match="fields.json: is damaged, or of another version"):
            OwnPointFieldDataset("train", str(out))


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
