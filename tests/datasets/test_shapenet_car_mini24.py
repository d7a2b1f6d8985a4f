"""Protocol mini24: the twenty cars and the four, real and made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pointcept_bsa.datasets.shapenet_car import ShapeNetCarDataset
from pointcept_bsa.errors import InputError

POINTS, FACES = 6, 4


@pytest.fixture(scope="module")
def real(real_data, tmp_path_factory, prepare_tool):
    path = tmp_path_factory.mktemp("mini24") / "cars"
    sources = [str(real_data(f"shapenet_car_{name}.npz")) for name in ("mini", "plaid_20")]  # in either order
    assert prepare_tool.main(["shapenet_car", "--src", *sources, "--dst", str(path)]) == 0
    return str(path)


def test_the_24_real_cars(real, real_data):
    parts = {split: ShapeNetCarDataset(split, real, with_normal=True) for split in ("train", "val", "test")}
    assert {split: len(data) for split, data in parts.items()} == {"train": 12, "val": 2, "test": 10}
    names = [name for data in parts.values() for name in data.data_list]
    assert len(set(names)) == 24
    assert parts["val"].data_list == ["plaid_car_07", "mini_car_0"]  # drawn by seed, for good
    assert parts["test"].data_list == [f"plaid_car_{i}" for i in range(10, 20)]
    plaid = np.load(real_data("shapenet_car_plaid_20.npz"), allow_pickle=False)
    mini = np.load(real_data("shapenet_car_mini.npz"), allow_pickle=False)
    for data in parts.values():
        for sample in data:
            kind, number = sample["name"].split("_car_")
            i = int(number)
            own = {k: plaid[k][i] for k in ("points", "pressure", "vertex_normals", "faces")} if kind == "plaid" else {}
            for key in () if own else ("points", "pressure", "vertex_normals"):
                own[key] = mini[f"{key}_{i}"]
            np.testing.assert_array_equal(sample["coord"], own["points"])
            np.testing.assert_array_equal(sample["target"][:, 0], own["pressure"])
            np.testing.assert_array_equal(sample["normal"], own["vertex_normals"])
            assert ("face" in sample) == (sample["name"] != "mini_car_3")
            if "face" in sample:
                assert _outward(sample) > 0.99


def _outward(sample):
    """The share of faces whose normal points as those of their corners do."""
    a, b, c = (sample["coord"][sample["face"][:, k]] for k in range(3))
    normal = sample["normal"][sample["face"]].sum(axis=1)
    return np.mean(np.einsum("fk,fk->f", np.cross(b - a, c - a), normal) >= 0)


def test_what_the_card_says(real):
    card = ShapeNetCarDataset("test", real, protocol="mini24").card()
    assert (card["protocol"], card["num_samples"]) == ("mini24", 10)
    assert "24 cars, split by this package: not to be compared with published numbers" in card["notes"]
    with open(f"{real}/README.md", encoding="utf-8") as file:
        text = file.read()
    for words in (
        "CC-BY-4.0",
        "https://zenodo.org/records/13993629",
        "no network may use the index",
        "| holdout | 2 |",
    ):
        assert words in text


def test_the_average_car_by_index(real):
    """The number that networks are measured against: 0.249, with the 14 cars and with the 12."""
    test = ShapeNetCarDataset("test", real)
    for validation in ("holdout", "test"):
        train = ShapeNetCarDataset("train", real, validation=validation)
        mean = np.mean([sample["target"] for sample in train], axis=0, dtype=np.float64)
        errors = [np.linalg.norm(mean - s["target"]) / np.linalg.norm(s["target"]) for s in test]
        assert np.mean(errors) == pytest.approx(0.249, abs=5e-4)
        constant = mean.mean()
        errors = [np.linalg.norm(constant - s["target"]) / np.linalg.norm(s["target"]) for s in test]
        assert np.mean(errors) == pytest.approx(0.793, abs=5e-4)


def test_the_nearest_car_by_index(real):
    """As the card says it of the 14 training cars."""
    train, test = ShapeNetCarDataset("train", real, validation="test"), ShapeNetCarDataset("test", real)
    places = np.stack([sample["coord"] for sample in train]).astype(np.float64)
    errors = []
    for sample in test:
        nearest = train[int(np.square(places - sample["coord"]).sum((1, 2)).argmin())]["target"]
        errors.append(np.linalg.norm(nearest - sample["target"]) / np.linalg.norm(sample["target"]))
    assert np.mean(errors) == pytest.approx(0.289, abs=5e-4)
    assert "the nearest of the 14 by index 0.289" in (Path(real) / "README.md").read_text()


def made_up(folder, **changes):
    """Five and two cars of six points; paths of the two files."""
    rng = np.random.default_rng(0)
    plaid = {
        "points": rng.random((5, POINTS, 3), np.float32),
        "pressure": rng.random((5, POINTS), np.float32),
        "faces": rng.integers(0, POINTS, (5, FACES, 3)),
        "vertex_normals": rng.random((5, POINTS, 3), np.float32),
        "split": np.array(["train", "test", "train", "test", "train"]),
    }
    mini = {}
    for i in range(2):
        mini |= {f"points_{i}": rng.random((POINTS, 3), np.float32), f"pressure_{i}": rng.random(POINTS, np.float32)}
        mini[f"vertex_normals_{i}"] = rng.random((POINTS, 3), np.float32)
    for name, arrays in (("plaid", plaid), ("mini", mini)):
        own = {key.removeprefix(f"{name}_"): value for key, value in changes.items() if key.startswith(name)}
        arrays |= own
        np.savez(folder / f"{name}.npz", **{key: value for key, value in arrays.items() if value is not None})
    return [str(folder / "plaid.npz"), str(folder / "mini.npz")]


def prepared(tool, sources, folder):
    return tool.main(["shapenet_car", "--src", *sources, "--dst", str(folder)])


def test_a_small_pair_of_files(tmp_path, prepare_tool):
    assert prepared(prepare_tool, made_up(tmp_path), tmp_path / "out") == 0
    data = [ShapeNetCarDataset(split, str(tmp_path / "out"), with_normal=True) for split in ("train", "val", "test")]
    assert [len(d) for d in data] == [3, 2, 2] and data[0].protocol == "mini7"
    assert data[2].data_list == ["plaid_car_01", "plaid_car_03"]
    assert {"mini_car_0", "mini_car_1"} <= {*data[0].data_list, *data[1].data_list}
    assert "CC-BY" not in (tmp_path / "out" / "README.md").read_text()  # said of those 24 cars alone


def test_wrong_files_are_refused_by_name(tmp_path, prepare_tool, capsys):
    nan = np.full((5, POINTS), np.nan, np.float32)
    for changes, message in [
        ({"plaid_faces": None}, "plaid.npz: has arrays ['points', 'pressure', 'split', 'vertex_normals'], wanted"),
        ({"plaid_pressure": np.zeros((5, 3))}, "'pressure' has shape (5, 3), wanted (5, 6)"),
        ({"plaid_pressure": nan}, "plaid.npz car 0: field 'pressure' has 6 NaN"),
        ({"plaid_split": np.array(["train"] * 4 + ["val"])}, "'split' holds 'val', wanted 'train' and 'test'"),
        ({"plaid_split": np.array(["train"] * 5)}, "'split' has no 'test'"),
        ({"plaid_split": np.array(["test"] * 5)}, "--src: has 2 cars to train, wanted more than the 2 that validate"),
        ({"mini_vertex_normals_1": None}, "wanted points_i and pressure_i and vertex_normals_i"),
        ({"mini_vertex_normals_1": np.zeros((2, 3))}, "mini.npz car 1: normals have shape (2, 3), wanted (6, 3)"),
        ({"mini_points_1": np.zeros((2, 3))}, "mini.npz car 1: has 2 points, wanted 6"),
    ]:
        sources = made_up(tmp_path, **changes)
        assert prepared(prepare_tool, sources, tmp_path / "out") == 2, changes
        err = capsys.readouterr().err
        assert message in err and err.count("error:") == 1, (changes, err)
    plaid, mini = made_up(tmp_path)
    for sources in ([plaid], [plaid, plaid], [mini, mini], [plaid, mini, mini]):
        assert prepared(prepare_tool, sources, tmp_path / "out") == 2
        assert "wanted shapenet_car_mini.npz, or shapenet_car_plaid_20.npz and" in capsys.readouterr().err
    assert prepared(prepare_tool, [str(tmp_path), str(tmp_path)], tmp_path / "out") == 2
    assert "--src: got 2 folders, wanted one" in capsys.readouterr().err
    assert prepare_tool.main(["shapenet_car", "--download", "--src", "a", "b", "--dst", str(tmp_path / "out")]) == 2
    assert "--src: got 2 places, wanted one with --download" in capsys.readouterr().err


def test_normals_that_are_not_there_are_missed(tmp_path, prepare_tool):
    _, mini = made_up(tmp_path)
    assert prepared(prepare_tool, [mini], tmp_path / "out") == 0
    with pytest.raises(InputError, match="with_normal: got True, but .* holds no normals"):
        ShapeNetCarDataset("train", str(tmp_path / "out"), with_normal=True)[0]
