"""ShapeNetCarDataset on the four real cars, and what it says when the folder is not right."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pointcept_bsa.datasets.shapenet_car import ShapeNetCarDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS


@pytest.fixture(scope="module")
def mini(real_data, tmp_path_factory, prepare_tool):
    path = tmp_path_factory.mktemp("mini") / "cars"
    source = real_data("shapenet_car_mini.npz")
    assert prepare_tool.main(["shapenet_car", "--src", str(source), "--dst", str(path)]) == 0
    return path


def test_the_four_real_cars(mini, real_data):
    raw = np.load(real_data("shapenet_car_mini.npz"), allow_pickle=False)
    train, test = ShapeNetCarDataset("train", str(mini)), ShapeNetCarDataset("test", str(mini))
    assert [len(train), len(ShapeNetCarDataset("val", str(mini))), len(test)] == [3, 0, 1]
    for i, sample in enumerate([*train, *test]):
        np.testing.assert_array_equal(sample["coord"], raw[f"points_{i}"])
        np.testing.assert_array_equal(sample["target"][:, 0], raw[f"pressure_{i}"])
        assert ("face" in sample) == (i < 3)
    assert train.get_data_name(0) == "mini_car_0" and test[0]["name"] == "mini_car_3"
    assert "face" not in ShapeNetCarDataset("train", str(mini), with_face=False)[0]


def test_statistics_are_those_of_the_three_training_cars(mini, real_data):
    raw = np.load(real_data("shapenet_car_mini.npz"), allow_pickle=False)
    pressure = np.concatenate([raw[f"pressure_{i}"] for i in range(3)]).astype(np.float64)
    for split in ("train", "val", "test"):
        statistics = ShapeNetCarDataset(split, str(mini)).target_statistics()
        np.testing.assert_allclose([*statistics["mean"], *statistics["std"]], [pressure.mean(), pressure.std()])


def test_card(mini):
    card = ShapeNetCarDataset("test", str(mini)).card()
    assert (card["dataset"], card["protocol"], card["split"]) == ("shapenet_car", "mini", "test")
    assert (card["num_samples"], card["target"], card["units"]) == (1, ["pressure"], ["Pa"])
    assert any("default" in note for note in card["notes"]) and "no validation samples" in card["notes"]
    paper = ShapeNetCarDataset("val", str(mini), validation="test")
    assert "validation = test samples (the paper's protocol)" in paper.card()["notes"]
    assert paper.data_list == ["mini_car_3"]


def test_builds_from_a_config_with_transforms(mini):
    steps = [
        {"type": "ScaleCoord", "min": (-2, -1, -4.5), "max": (2, 4.5, 6)},
        {"type": "SamplePoints", "num_points": 100},
        {"type": "CollectPoints"},
    ]
    data = DATASETS.build(
        {
            "type": "ShapeNetCarDataset",
            "split": "train",
            "data_root": str(mini),
            "transform": steps,
            "loop": 2,
            "cache": True,
        }
    )
    sample = data[5]
    assert len(data) == 6 and sample["coord"].shape == (100, 3) and sample["name"] == "mini_car_2"
    assert 0 <= float(sample["coord"].min()) and float(sample["coord"].max()) <= 1


def test_wrong_arguments_are_named(mini):
    for arguments, message in [
        ({"protocol": "A"}, "protocol: got 'A', .* has \\['mini'\\]"),
        ({"protocol": "min"}, "did you mean 'mini'"),
        ({"validation": "holdot"}, "did you mean 'holdout'"),
    ]:
        with pytest.raises(InputError, match=message):
            ShapeNetCarDataset("train", str(mini), **arguments)


def test_a_missing_folder_prints_the_commands_that_make_it(tmp_path):
    root = str(tmp_path / "cars")
    with pytest.raises(InputError) as error:
        ShapeNetCarDataset("train", root)
    message = str(error.value)
    command = f"python tools/prepare_data.py shapenet_car --dst {root}"
    assert f"{command} --src <mlcfd_data folder>" in message and f"{command} --download" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: np.save(p, np.full(3586, np.nan, np.float32)), "pressure.npy: field 'pressure' has 3586 NaN"),
        (lambda p: p.write_bytes(p.read_bytes()[:500]), "pressure.npy: truncated"),
        (lambda p: p.write_text("hello"), "pressure.npy: is not a .npy file"),
        (lambda p: p.unlink(), "pressure.npy: cannot be read"),
        (lambda p: np.save(p, np.zeros(3585, np.float32)), "pressure.npy: field 'pressure' has 3585 rows, wanted 3586"),
        (lambda p: np.save(p, np.zeros((3586, 1), np.float32)), "pressure.npy: has shape"),
        (lambda p: np.save(p.with_name("coord.npy"), np.zeros((0, 3), np.float32)), "'mini_car_0' has no points"),
        (lambda p: (p.parents[1] / "split.json").write_text("{"), "split.json: is not JSON"),
        (lambda p: (p.parents[1] / "stats.json").write_text("[]"), "stats.json: has no 'protocols'"),
    ],
)
def test_damaged_data_are_refused_by_file(mini, tmp_path, damage, message):
    root = tmp_path / "cars"
    shutil.copytree(mini, root)
    damage(root / "mini_car_0" / "pressure.npy")
    with pytest.raises(InputError, match=message):
        ShapeNetCarDataset("train", str(root))[0]


def test_mini_does_not_replace_other_data(mini, real_data, tmp_path, prepare_tool, make_raw_car, capsys):
    for i in range(2):
        make_raw_car(tmp_path / "raw" / "param0" / f"car{i}")
    out = str(tmp_path / "out")
    assert prepare_tool.main(["shapenet_car", "--src", str(tmp_path / "raw"), "--dst", out, "--allow-partial"]) == 0
    command = ["shapenet_car", "--src", str(real_data("shapenet_car_mini.npz")), "--dst", out]
    assert prepare_tool.main(command) == 2
    assert "already holds other data" in capsys.readouterr().err
    assert prepare_tool.main([*command, "--overwrite"]) == 0
    assert ShapeNetCarDataset("train", out).protocol == "mini"


def test_a_foreign_npz_is_refused(tmp_path, prepare_tool, capsys):
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    assert prepare_tool.main(["shapenet_car", "--src", str(tmp_path / "x.npz"), "--dst", str(tmp_path / "o")]) == 2
    assert "x.npz: has arrays ['a'], wanted points_i and pressure_i" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
