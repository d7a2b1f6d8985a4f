"""Baselines on data whose right answers are known, and the tool on a shipped config."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from pointcept_bsa.analysis.baselines import NearestSample, Sample, run_baselines
from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, Config

ROOT = Path(__file__).resolve().parents[2]
COUNTS = {"train": 6, "val": 0, "test": 3}
ALWAYS = {"constant_mean", "linear_least_squares", "nearest_sample"}  # whatever the data


@DATASETS.register_module("BaselineToyDataset")
class BaselineToyDataset(PointFieldDataset):
    """Clouds of a unit square at five heights; test sample i is training sample i + 1, its points in another order.

    ``field`` "linear": an affine function of coordinates and height, the same for all; "noise": random, of its own in
    every sample.
    """

    name = "toy"
    target_fields = ("value",)
    target_names = ("u", "v")
    target_units = ("m", "m")

    def __init__(self, split="train", field="linear", **common):
        self.field = field
        super().__init__(split=split, **common)

    def list_samples(self):
        return [f"{self.split}_{i}" for i in range(COUNTS[self.split])]

    def load_fields(self, index):
        number = index + (self.split == "test")
        rng = np.random.default_rng(number)
        coord = rng.random((40 + number, 3))
        height = np.full((len(coord), 1), 10.0 * number)
        value = rng.normal(size=(len(coord), 2))
        if self.field == "linear":
            value = np.stack([2 * coord[:, 0] - 3 * coord[:, 2] + height[:, 0] + 5, 1 - coord[:, 1]], axis=1)
        order = rng.permutation(len(coord)) if self.split == "test" else np.arange(len(coord))
        return {"coord": coord[order], "height": height, "value": value[order]}

    def target_statistics(self):
        raise AssertionError("baselines read the samples themselves")


def toy_config(field="linear", feat_keys=("coord", "height", "coord"), **test):
    steps = [dict(type="CollectPoints", feat_keys=feat_keys)]
    shuffled = [dict(type="SamplePoints", num_points=7), *steps]
    common = dict(type="BaselineToyDataset", field=field)
    return Config(
        dict(
            data=dict(
                train=dict(**common, split="train", transform=shuffled, loop=3),
                test=dict(**common, split="test", transform=steps, **test),
            )
        )
    )


def run(cfg, folder, *names):
    return run_baselines(cfg, folder, logging.getLogger("test"), names or None)


def test_linear_least_squares_finds_a_linear_field_though_features_repeat(tmp_path):
    report = run(toy_config(), tmp_path, "linear_least_squares")["linear_least_squares"]
    assert report["metrics"]["relative_l2"]["mean"] < 1e-6
    assert report["metrics"]["r2"]["mean"] == pytest.approx(1)


def test_linear_least_squares_is_numpys(tmp_path):
    cfg = toy_config("noise", ("coord",))
    train = [DATASETS.build(dict(type="BaselineToyDataset", field="noise")).get_data(i) for i in range(6)]
    rows = np.concatenate([np.c_[s["coord"], np.ones(len(s["coord"]))] for s in train]).astype(np.float64)
    weight = np.linalg.lstsq(rows, np.concatenate([s["target"] for s in train]).astype(np.float64), rcond=None)[0]
    sample = DATASETS.build(dict(type="BaselineToyDataset", field="noise", split="test")).get_data(1)
    difference = np.c_[sample["coord"], np.ones(len(sample["coord"]))] @ weight - sample["target"]
    report = run(cfg, tmp_path, "linear_least_squares")["linear_least_squares"]
    assert report["samples"][1]["name"] == "test_1" and report["samples"][1]["points"] == len(difference)
    assert report["samples"][1]["mse"] == pytest.approx(np.mean(difference**2), rel=1e-5)


def test_constant_mean_weighs_every_training_point_alike(tmp_path):
    train = DATASETS.build(dict(type="BaselineToyDataset"))
    mean = np.concatenate([s["target"] for s in train]).mean(axis=0, dtype=np.float64)
    report = run(toy_config(), tmp_path, "constant_mean")["constant_mean"]
    for record, sample in zip(
        report["samples"], DATASETS.build(dict(type="BaselineToyDataset", split="test")), strict=True
    ):
        assert record["mae"] == pytest.approx(np.abs(sample["target"] - mean).mean(), rel=1e-5)


def test_nearest_sample_finds_the_same_cloud_in_another_order(tmp_path):
    report = run(toy_config("noise"), tmp_path, "nearest_sample")["nearest_sample"]
    assert [record["mse"] for record in report["samples"]] == [0, 0, 0]


def test_nearest_sample_looks_at_global_parameters():
    """Three samples of one geometry and other parameters; the nearest parameter wins, whatever the columns' units."""
    points = np.random.default_rng(0).random((9, 2))
    cloud = [Sample(np.c_[points, np.full(9, p)], points, np.full((9, 1), p), str(p)) for p in (1e6, 2e6, 4e6)]
    baseline = NearestSample(num_probes=3)
    baseline.fit(iter(cloud))
    query = Sample(np.c_[points, np.full(9, 2.4e6)], points, np.zeros((9, 1)), "query")
    np.testing.assert_array_equal(baseline.predict(query), np.full((9, 1), 2e6))


def test_what_is_written_is_what_a_test_writes(tmp_path):
    assert run(toy_config(), tmp_path).keys() == ALWAYS
    for name in ALWAYS:
        report = json.loads((tmp_path / name / "test" / "metrics.json").read_text())
        assert {"data", "units", "metrics", "samples", "backbone", "parameters", "gflops", "seed"} <= report.keys()
        assert report["backbone"]["type"] == name and report["data"]["split"] == "test"
        assert report["fitted_on"]["num_samples"] == 6 and len(report["samples"]) == 3
        assert report["metrics"].keys() == {"relative_l2", "mse", "rmse", "mae", "r2", "magnitude_mae", "angle"}


@DATASETS.register_module("BaselineChargesDataset")
class BaselineChargesDataset(PointFieldDataset):
    """Five points, the same in every sample; the value at point i is 3 coulomb + 2, the charges are random."""

    name = "charges"
    target_fields = ("value",)
    target_names = ("u",)
    target_units = ("1",)
    vertices_correspond = True

    def __init__(self, split="train", rows=5, **common):
        self.rows = rows
        super().__init__(split=split, **common)

    def list_samples(self):
        return [f"{self.split}_{i}" for i in range(COUNTS[self.split])]

    def load_fields(self, index):
        rng = np.random.default_rng([index, self.split == "test"])
        coulomb = rng.normal(size=(self.rows + index * (self.rows != 5), 1))
        return {"coord": np.eye(len(coulomb), 3), "coulomb": coulomb, "value": 3 * coulomb + 2}


def charges_config(**own):
    common = dict(type="BaselineChargesDataset", transform=[dict(type="CollectPoints")], **own)
    return Config(dict(data=dict(train=dict(**common, split="train"), test=dict(**common, split="test"))))


def test_baselines_that_the_data_allow_are_found(tmp_path):
    reports = run(charges_config(), tmp_path)
    assert reports.keys() == ALWAYS | {"mean_field_by_index", "screened_coulomb_least_squares"}
    assert "no network may use" in reports["mean_field_by_index"]["backbone"]["meaning"]
    assert reports["screened_coulomb_least_squares"]["metrics"]["relative_l2"]["mean"] < 1e-6
    assert reports["linear_least_squares"]["metrics"]["relative_l2"]["mean"] > 0.1  # the features are places alone
    train = [DATASETS.build(dict(type="BaselineChargesDataset")).get_data(i)["target"] for i in range(6)]
    test = DATASETS.build(dict(type="BaselineChargesDataset", split="test"))
    mean = np.mean(train, axis=0, dtype=np.float64)
    for record, sample in zip(reports["mean_field_by_index"]["samples"], test, strict=True):
        assert record["mse"] == pytest.approx(np.mean((sample["target"] - mean) ** 2), rel=1e-5)


def test_baselines_that_the_data_do_not_allow_are_refused(tmp_path):
    for name, message in [
        ("mean_field_by_index", "wants vertices that correspond"),
        ("screened_coulomb_least_squares", "wants an input field 'coulomb'"),
    ]:
        with pytest.raises(InputError, match=message):
            run(toy_config(), tmp_path, name)
    with pytest.raises(InputError, match="mean_field_by_index: sample 'train_1' has 8 points"):
        run(charges_config(rows=7), tmp_path, "mean_field_by_index")


def test_wrong_input_is_named(tmp_path):
    with pytest.raises(InputError, match="did you mean 'constant_mean'"):
        run(toy_config(), tmp_path, "constant_men")
    cfg = toy_config()
    cfg.data.test.transform = [dict(type="SamplePoints", num_points=5), dict(type="CollectPoints")]
    with pytest.raises(InputError, match="CollectPoints over all points"):
        run(cfg, tmp_path)


def test_the_tool_on_a_shipped_config(tool, tmp_path, capsys):
    config = str(ROOT / "configs" / "ellipsoid_flow" / "bsa.py")
    small = [
        "data.train.num_samples=8",
        "data.train.num_points=64",
        "data.test.num_samples=3",
        "data.test.num_points=64",
    ]
    command = ["--config", config, "--options", f"save_path={tmp_path}/exp/bsa", *small]
    assert tool("baselines", *command) == 0
    folder = tmp_path / "exp" / "baselines"
    errors = {
        n: json.loads((folder / n / "test" / "metrics.json").read_text())["metrics"]["mse"]["mean"] for n in ALWAYS
    }
    assert errors["linear_least_squares"] < errors["constant_mean"]
    assert tool("baselines", *command, "--baselines", "linear_squares") == 2
    assert "did you mean 'linear_least_squares'" in capsys.readouterr().err
