"""PointFieldDataset and ``prepare_data.py custom``: files of any kind to samples, by named fields."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from types import SimpleNamespace

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
    assert prepare(prepare_tool, root, tmp_path / "out", *MORE, "--dry-run") == 2
    out, error = capsys.readouterr()
    assert "error: dry run: a run would stop: " in error
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
        "and 2 more samples; --dry-run lists them); --skip-bad leaves such samples out",
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
    assert prepare(prepare_tool, root, cut, *MORE) == 130
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
    (tmp_path / "a.vtp").unlink()
    np.savez(tmp_path / "c.npz", coord=np.random.rand(3, 3), p=np.arange(3.0))
    for name, message in (("a?b", "has a sample named 'a?b'"), ("A", "would share a folder"), (" b", "named ' b'")):
        np.savez(tmp_path / f"{name}.npz", coord=np.random.rand(3, 3), p=np.arange(3.0))
        for more in ((), ("--dry-run",)):
            assert prepare_tool.main([*command, *more]) == 2
            assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
        (tmp_path / f"{name}.npz").unlink()


def test_names_with_spaces_and_letters_of_any_language_are_samples(tmp_path, prepare_tool):
    names = ["case 1", "Fäll 2", unicodedata.normalize("NFD", "Fäll 3"), "部品/4", "a.b"]
    for i, name in enumerate(names):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / "src" / f"{name}.npz", coord=np.random.rand(3, 3), p=np.arange(3.0) + i)
    rows = [f"{unicodedata.normalize('NFC', name)},{i}" for i, name in enumerate(names)]
    (tmp_path / "cases.csv").write_text("\n".join(["name,mach", *rows]))
    nfc = [unicodedata.normalize("NFC", name) for name in names]
    (tmp_path / "split.json").write_text(json.dumps({"train": nfc[1:4], "val": nfc[:1], "test": nfc[4:]}))
    command = ["custom", "--src", str(tmp_path / "src"), "--dst", str(tmp_path / "out"), "--target", "p"]
    command += ["--feature", "mach", "--parameters", str(tmp_path / "cases.csv")]
    command += ["--split-file", str(tmp_path / "split.json")]
    assert prepare_tool.main([*command, "--dry-run"]) == 0 and not (tmp_path / "out").exists()
    assert prepare_tool.main(command) == 0
    for data in open_all(data_root=str(tmp_path / "out")).values():
        for name in data.data_list:
            number = names.index(name)
            np.testing.assert_array_equal(data.store.read(name)["mach"], [[number]])
            np.testing.assert_array_equal(data.store.read(name)["p"].ravel(), np.arange(3.0) + number)


@pytest.mark.parametrize(
    "text",
    [
        "name,mach, mach\nc,0.3,0.8\n",
        "name,mach,Mach\nc,0.3,0.8\n",
        "name,Fäll,Fa\u0308ll\nc,0.3,0.8\n",
        "name,mach\nc,0.3\n c,0.8\n",
        '{"c": {"mach": 0.3, "mach": 0.8}}',
        '{"c": {"mach": 0.3, " mach": 0.8}}',
        '{"c": {"mach": 0.3}, "c": {"mach": 0.8}}',
        '{"c": {"mach": 0.3}, "c ": {"mach": 0.8}}',
    ],
)
def test_parameters_that_can_be_read_two_ways_are_refused(text, tmp_path):
    path = tmp_path / ("cases.json" if text.startswith("{") else "cases.csv")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="have one name|is there twice|comes twice in one object"):
        read_parameters(path)


def test_a_row_or_a_name_of_two_things_is_refused(files, tmp_path, prepare_tool, capsys):
    root, meshes = files
    (root / "a").mkdir()
    write_mesh(root / "a" / "s00.vtp", meshes["s00"])
    for row, message in (
        ("s00,alpha", "row 's00' fits the samples 'a/s00' and 's00'"),
        ("s01,mach", "'mach' is a field"),
    ):
        name, key = row.split(",")
        (tmp_path / "cases.csv").write_text(f"name,{key}\n{name},1\n")
        more = ["--feature", key, "--parameters", str(tmp_path / "cases.csv")]
        assert prepare(prepare_tool, root, tmp_path / "out", *more) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "split.json").write_text('{"train": ["s00"], "train": ["s01"], "test": ["s02"]}')
    assert prepare(prepare_tool, root, tmp_path / "out", "--split-file", str(tmp_path / "split.json")) == 2
    assert "the name 'train' comes twice" in capsys.readouterr().err


def test_the_dry_run_finds_what_stops_a_run(files, tmp_path, prepare_tool, capsys):
    """The same line from both, whatever is in the way."""
    root, _ = files
    (tmp_path / "file").write_text("")
    assert prepare(prepare_tool, root, tmp_path / "there", *MORE) == 0
    (tmp_path / "some").mkdir()
    write_mesh(tmp_path / "some" / "other.vtp", surface(0))
    for i in range(3):
        write_mesh(tmp_path / "some" / f"x{i}.vtp", surface(i))
    capsys.readouterr()
    for source, out, more in (
        (root, tmp_path / "file", MORE),
        (root, tmp_path / "file" / "below", MORE),
        (root, tmp_path / "there", ()),  # another recipe
        (tmp_path / "some", tmp_path / "there", MORE),  # other samples
        (root, tmp_path / "new", ("--feature", "no_such")),
        (root, tmp_path / "new", ("--target", "velocity")),  # whose third column is 0 everywhere
    ):
        lines = []
        for last in (("--dry-run",), ()):
            assert prepare(prepare_tool, source, out, *more, *last) == 2
            lines.append(capsys.readouterr().err.strip().splitlines()[-1])
        told = lines[0].removeprefix("error: dry run: a run would stop: ")
        assert told != lines[0] and told.startswith(lines[1].removeprefix("error: ")), lines
        assert not (tmp_path / "new").exists()


def test_a_disk_that_is_too_small_is_told_before(files, tmp_path, prepare_tool, capsys, monkeypatch):
    from pointcept_bsa.datasets.prepare import layout

    monkeypatch.setattr(layout.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    for more in ((), ("--dry-run",)):
        assert prepare(prepare_tool, files[0], tmp_path / "out", *MORE, *more) == 2
        assert "MB free, wanted" in capsys.readouterr().err and not (tmp_path / "out").exists()


def far_files(folder, spread=0.0):
    """Points 0.1 m apart at UTM coordinates, a pressure of 0.01 Pa about 101325 Pa; ``spread``: of the samples."""
    folder.mkdir()
    x, y = (axis.ravel() * 0.1 for axis in np.meshgrid(np.arange(20), np.arange(20)))
    meshes = {}
    for i in range(6):
        points = np.stack([x, y, np.sin(x)], axis=1) + [501234.0 + i * spread, 5212345.0, 300.0 + 0.01 * i]
        meshes[f"s{i}"] = Mesh(points, point_data={"p": 101325 + 0.01 * np.sin(x + i), "t": 1e6 + 1e-3 * y})
        np.savez(folder / f"s{i}.npz", points=points, **meshes[f"s{i}"].point_data)
    return meshes


def test_constants_are_subtracted_before_float32(tmp_path, prepare_tool, capsys):
    meshes = far_files(tmp_path / "src")
    command = [
        "custom",
        "--src",
        str(tmp_path / "src"),
        "--dst",
        str(tmp_path / "out"),
        "--target",
        "p",
        "--feature",
        "t",
    ]
    assert prepare_tool.main(command) == 0
    assert "kept in float64" in capsys.readouterr().out
    statistics = json.loads((tmp_path / "out" / "stats.json").read_text())["protocols"].popitem()[1]
    assert set(statistics["offsets"]) == {"coord", "p", "t"}
    assert "coord: far from 0" in (tmp_path / "out" / "README.md").read_text()
    for data in (
        OwnPointFieldDataset("train", str(tmp_path / "out")),
        OwnPointFieldDataset("train", str(tmp_path / "src"), ["p"], ["t"]),
    ):
        for i in range(len(data)):
            sample, mesh = data[i], meshes[data.get_data_name(i)]
            assert sample["coord"].dtype == sample["target"].dtype == sample["t"].dtype == np.float32
            physical = data.input_description.physical
            np.testing.assert_allclose(physical("coord", sample["coord"]), mesh.points, rtol=0, atol=1e-6)
            np.testing.assert_allclose(physical("t", sample["t"])[:, 0], mesh.point_data["t"], rtol=0, atol=1e-9)
            target = sample["target"].astype(np.float64) + data.target_offset()
            np.testing.assert_allclose(target[:, 0], mesh.point_data["p"], rtol=0, atol=1e-8)
        found = data.target_statistics()
        train = np.concatenate([meshes[name].point_data["p"] for name in data.store.lists["train"]])
        assert found["mean"][0] == pytest.approx(train.mean() - data.target_offset()[0], abs=1e-9)
        assert found["std"][0] == pytest.approx(train.std(), rel=1e-6)
        assert any("101325" in note and "relative errors" in note for note in data.notes())


def test_what_float32_cannot_hold_is_told(tmp_path, prepare_tool, capsys):
    far_files(tmp_path / "src", spread=1e8)
    command = ["custom", "--src", str(tmp_path / "src"), "--dst", str(tmp_path / "out"), "--target", "p"]
    assert prepare_tool.main([*command, "--dry-run"]) == 0
    told = "precision: field 'coord' in 5 samples: float32 rounds by more than 0.001 of its range"
    assert told in capsys.readouterr().out
    assert prepare_tool.main(command) == 0
    assert told in capsys.readouterr().out
    assert told in OwnPointFieldDataset("train", str(tmp_path / "out")).notes()


def test_points_that_fall_together_are_told(tmp_path, prepare_tool, capsys):
    for i in range(4):
        points = np.stack([np.arange(50) * 0.1 + i * 1e8, np.zeros(50), np.zeros(50)], axis=1)
        points = np.concatenate([points, points[:1] + [0, 5e6, 0]])  # a sample of a large extent
        np.savez(tmp_path / f"s{i}.npz", points=points, p=np.arange(51.0))
    command = ["custom", "--src", str(tmp_path), "--dst", str(tmp_path / "out"), "--target", "p", "--dimension", "3"]
    assert prepare_tool.main(command) == 0
    assert "points of 3 samples fall together with others in float32" in capsys.readouterr().out
    assert "fall together" in (tmp_path / "out" / "README.md").read_text()


def test_folders_prepared_before_have_no_constants(tmp_path, prepare_tool):
    """As an earlier version wrote them: float32, no offsets."""
    far_files(tmp_path / "src")
    out = tmp_path / "out"
    command = ["custom", "--src", str(tmp_path / "src"), "--dst", str(out), "--target", "p"]
    assert prepare_tool.main(command) == 0
    statistics = json.loads((out / "stats.json").read_text())
    for protocol in statistics["protocols"].values():
        del protocol["offsets"]
    (out / "stats.json").write_text(json.dumps(statistics))
    for path in out.glob("*/*.npy"):
        np.save(path, np.load(path).astype(np.float32))
    sample = OwnPointFieldDataset("train", str(out))[0]
    np.testing.assert_array_equal(sample["coord"], np.load(out / sample["name"] / "coord.npy"))
    assert prepare_tool.main(command) == 0  # again: writes what was float32 anew
    assert np.load(out / "s0" / "coord.npy").dtype == np.float64
    statistics["protocols"] = {
        name: value | {"offsets": {"coord": ["x"]}} for name, value in statistics["protocols"].items()
    }
    (out / "stats.json").write_text(json.dumps(statistics))
    with pytest.raises(InputError, match="'offsets' of protocol"):
        OwnPointFieldDataset("train", str(out))


def test_numbers_beyond_float32_are_refused(tmp_path):
    far_files(tmp_path / "src")
    for i in range(6):
        values = np.load(tmp_path / "src" / f"s{i}.npz")
        np.savez(tmp_path / "src" / f"s{i}.npz", points=values["points"], p=np.linspace(-1e300, 1e300, 400))
    with pytest.raises(InputError, match="beyond 3.4e38"):
        OwnPointFieldDataset("train", str(tmp_path / "src"), ["p"])[0]


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


def test_options_that_nothing_asks_for_are_refused(files, tmp_path, prepare_tool, capsys):
    root, _ = files
    (tmp_path / "cases.csv").write_text("name,alpha\ns00,1\n")
    for more, message in (
        (("--wall-mask", "wall"), "no field wall_distance"),
        (("--parameters", str(tmp_path / "cases.csv"), "--feature", "mach"), "none of the columns ['alpha']"),
        (("--unit", "Static Pressure=Pa", "Static Pressure=kPa"), "twice, wanted one unit"),
    ):
        assert prepare(prepare_tool, root, tmp_path / "out", *more) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="units: got 'wal'.*did you mean 'wall'"):
        OwnPointFieldDataset("train", str(root), target=["wall"], units={"wal": "m"})


def test_a_field_named_like_columns_of_another_is_refused(tmp_path):
    for i in range(4):
        fields = {"v": np.random.rand(5, 3), "v[0]": np.random.rand(5)}
        write_mesh(tmp_path / f"s{i}.vtu", Mesh(np.random.rand(5, 3), {}, fields))
    with pytest.raises(InputError, match=r"'v\[0\]' is a field and columns of 'v'"):
        OwnPointFieldDataset("train", str(tmp_path), target=["v[0]"])
    assert OwnPointFieldDataset("train", str(tmp_path), target=["v[1]"])[0]["target"].shape == (5, 1)
