"""Own data with a class a point: prepared, trained on with the written config, tested."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from pointcept_bsa.__main__ import main
from pointcept_bsa.analysis.tune.space import key_paths
from pointcept_bsa.datasets.custom.labels import count_labels
from pointcept_bsa.datasets.custom.recipe import Recipe
from pointcept_bsa.datasets.custom.suggested_config import NETWORKS
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS, build_dataset, collate_fn
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.cli import train_main


def write_clouds(folder, dtype=np.int32):
    """Material 2 where x is below a half, else 7; three points a cloud have none."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(8):
        coord = rng.random((60 + i, 3))
        material = np.where(coord[:, 0] < 0.5, 2, 7).astype(dtype)
        material[:3] = -4
        np.savez(folder / f"s{i}.npz", coord=coord, material=material, density=rng.random(len(coord)))


@pytest.fixture
def prepared(tmp_path, prepare_tool):
    write_clouds(tmp_path / "raw")
    command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "data"), "--label", "material"]
    assert prepare_tool.main([*command, "--feature", "density"]) == 0
    return tmp_path / "data"


def test_labels_become_classes_in_order_and_those_below_0_none(prepared):
    for split in ("train", "val", "test"):
        data = build_dataset(dict(type="CustomLabelDataset", split=split, data_root=str(prepared)))
        for i in range(len(data)):
            sample = data.get_data(i)
            raw = np.load(prepared.parent / f"raw/{sample['name']}.npz")["material"]
            assert sample["segment"].dtype == np.int64 and "target" not in sample
            np.testing.assert_array_equal(sample["segment"], np.select([raw == 2, raw == 7], [0, 1], -1))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_written_configs_fit(prepared, network):
    cfg = load_config(str(prepared / f"{network}.py"))
    data, model = build_dataset(cfg.data.train), MODELS.build(cfg.model)
    loss = model.train()(collate_fn([data[0], data[1]]))["loss"]
    loss.backward()
    assert loss.isfinite() and cfg.data.names == ["2", "7"] and cfg.model.num_classes == 2


def test_a_network_learns_is_tested_and_predicts_what_was_tested(prepared, tmp_path, predict_tool):
    options = [f"save_path={tmp_path / 'run'}", "max_iters=40", "eval_every=40", "num_worker=0", "device=cpu", "seed=0"]
    config = str(prepared / "full_attention.py")
    assert train_main(["--config", config, "--options", *options, "model.backbone.depth=1"]) == 0
    report = json.loads((tmp_path / "run/test/metrics.json").read_text())
    assert report["names"] == ["2", "7"] and report["mIoU"] > 0.8
    assert (tmp_path / "run/training_range.json").is_file()
    (name,) = report["scenes"]
    pred = np.load(tmp_path / f"run/result/{name}_pred.npy")
    with np.load(tmp_path / f"raw/{name}.npz") as raw:
        counted = raw["material"] >= 0
        assert np.mean(np.array([2, 7])[pred][counted] == raw["material"][counted]) > 0.8
    command = ["--weight", str(tmp_path / "run"), "--input", str(tmp_path / f"raw/{name}.npz"), "--output"]
    assert predict_tool.main([*command, str(tmp_path / "out")]) == 0
    predicted = read_mesh(tmp_path / f"out/{name}.vtp").point_data["predicted_material"]
    assert predicted.dtype.kind == "i"
    np.testing.assert_array_equal(predicted, np.array([2, 7])[pred])
    (record,) = json.loads((tmp_path / "out/predictions.json").read_text())["files"]
    assert record["targets"]["material"]["points"] == {"2": int((pred == 0).sum()), "7": int((pred == 1).sum())}
    assert record["training_range"] == "inside"


def test_a_test_of_labels_says_that_it_exports_nothing(prepared, tmp_path, capsys):
    command = ["--config", str(prepared / "bsa.py"), "--export", "vtu", "--options", f"save_path={tmp_path / 'run'}"]
    assert run_test(command) == 2
    assert "--export: SemSegTester writes no meshes, wanted none; tools/predict.py" in capsys.readouterr().err


def test_baselines_are_of_fields(prepared, capsys):
    assert main(["baselines", "--config", str(prepared / "bsa.py")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    wanted = "CustomLabelDataset has classes of points, which baselines do not predict"
    assert error == f"error: data.train: {wanted}"


def test_the_search_of_the_written_config_finds_the_features(prepared):
    cfg = load_config(str(prepared / "bsa.py"))
    places = key_paths(cfg, "data.*.transform.FourierFeatures.num_bands")
    assert [place[1] for place in places] == ["train", "val", "test"] and "num_classes" in cfg.data


def test_the_dry_run_counts_them(tmp_path, prepare_tool, capsys):
    write_clouds(tmp_path / "raw")
    command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "data"), "--label", "material"]
    assert prepare_tool.main([*command, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "label 'material': 2 classes; share of the points: -4: " in said and "24 points below 0" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "density"], "label 'density' has values that are no integers"),
        (["--label", "material", "--target", "density"], "wanted labels alone, or fields"),
        (["--label", "matrial"], "did you mean 'material'"),
        (["--label", "material[0:0]"], "columns 0 to 0"),
    ],
)
def test_what_is_no_label_is_one_line(tmp_path, prepare_tool, capsys, arguments, message):
    write_clouds(tmp_path / "raw")
    command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "data")]
    assert prepare_tool.main([*command, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and not (tmp_path / "data").exists()


def test_labels_far_from_0_are_exact(tmp_path, prepare_tool):
    """Of numbers like these a field of floats would be given without a constant."""
    (tmp_path / "raw").mkdir()
    for i in range(4):
        np.savez(tmp_path / f"raw/{i}.npz", coord=np.random.rand(9, 3), material=np.arange(9) % 2 + 20001)
    command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "data"), "--label", "material"]
    assert prepare_tool.main(command) == 0
    data = build_dataset(dict(type="CustomLabelDataset", data_root=str(tmp_path / "data")))
    assert data.get_data(0)["segment"].tolist() == [0, 1] * 4 + [0]


def test_of_labels_of_cells_a_point_has_that_of_most_of_its_cells(tmp_path, prepare_tool):
    """Two triangles and two lines of materials 5 and 3; where these are as many at a point, it has the smaller."""
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [-1, 1, 0]], float)
    cells = {"triangle": np.array([[0, 1, 2], [0, 2, 3]]), "line": np.array([[3, 4], [4, 0]])}
    (tmp_path / "raw").mkdir()
    for i in range(4):
        write_mesh(tmp_path / f"raw/{i}.vtu", Mesh(points, cells, {}, {"material": np.array([5, 3, 5, 3])}))
    command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "data"), "--label", "material"]
    assert prepare_tool.main(command) == 2
    assert prepare_tool.main([*command, "--cells-to-points"]) == 0
    data = build_dataset(dict(type="CustomLabelDataset", data_root=str(tmp_path / "data")))
    assert np.array([3, 5])[data.get_data(0)["segment"]].tolist() == [3, 5, 3, 3, 3]
    assert any("a point has the label of most of its cells" in note for note in data.card()["notes"])
    assert json.loads((tmp_path / "data/fields.json").read_text())["recipe"].keys() == asdict(Recipe()).keys() - {
        "label"
    }


def test_one_class_is_refused(tmp_path, prepare_tool, capsys):
    (tmp_path / "raw").mkdir()
    for i in range(4):
        np.savez(tmp_path / f"raw/{i}.npz", coord=np.random.rand(9, 3), material=np.ones(9, int))
    command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "data"), "--label", "material"]
    assert prepare_tool.main(command) == 2
    assert "--label material: has 1 labels from 0 on, wanted 2 to" in capsys.readouterr().err
    with pytest.raises(InputError, match="wanted one integer a point"):
        count_labels(np.zeros((3, 2)), "material", "here")


def test_labels_and_fields_are_not_taken_for_each_other(prepared, tmp_path, prepare_tool):
    with pytest.raises(InputError, match="holds labels, wanted type='CustomLabelDataset'"):
        build_dataset(dict(type="CustomFieldDataset", data_root=str(prepared)))
    command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "fields"), "--target", "density"]
    assert prepare_tool.main(command) == 0
    with pytest.raises(InputError, match="was prepared without --label"):
        build_dataset(dict(type="CustomLabelDataset", data_root=str(tmp_path / "fields")))
    with pytest.raises(InputError, match="no prepared folder of labels"):
        build_dataset(dict(type="CustomLabelDataset", data_root=str(tmp_path / "raw")))
    content = json.loads((prepared / "fields.json").read_text())
    for damaged in ([7, 2], [2], ["2", "7"], [-1, 2], 3):
        (prepared / "fields.json").write_text(json.dumps({**content, "labels": damaged}))
        with pytest.raises(InputError, match="is damaged"):
            build_dataset(dict(type="CustomLabelDataset", data_root=str(prepared)))


def test_a_test_sample_is_the_whole_cloud_as_one_fragment(prepared):
    cfg = load_config(str(prepared / "bsa.py"))
    sample = build_dataset(cfg.data.test)[0]
    (fragment,) = sample["fragment_list"]
    assert torch.equal(fragment["index"], torch.arange(len(sample["segment"])))
    assert len(fragment["feat"]) == len(sample["segment"])
