"""A target of several fields: each judged by itself in its unit, vectors as vectors, all together normalised alone."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pointcept_bsa.analysis.comparison.comparison import compare
from pointcept_bsa.analysis.comparison.tables import csv_text, markdown
from pointcept_bsa.datasets.prepare.custom import prepare_custom
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import collate_fn
from pointcept_bsa.losses.regression import RelativeL2Loss
from pointcept_bsa.metrics import angle, higher_is_better, magnitude_mae
from pointcept_bsa.models.normalizer import TargetNormalizer
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.evaluation.evaluation import check_metrics, evaluate, judge
from pointcept_bsa.training.evaluation.evaluator import RegressionEvaluator
from pointcept_bsa.training.evaluation.fit import ConstantErrors
from pointcept_bsa.training.evaluation.target_fields import (
    TargetField,
    check_key,
    key_value,
    measures,
    outweighed,
    target_fields,
    unit_of,
)
from pointcept_bsa.training.runs.finished import find_runs

from ..analysis.fake_runs import load, write_run

FLOW = (TargetField("pressure", 0, 1, "Pa"), TargetField("velocity", 1, 3, "m/s"))
METRICS = ("relative_l2", "mse", "angle")


def test_length_and_direction_of_vectors():
    target = torch.tensor([[3.0, 0, 0], [0, 0, 1], [0, 0, 0], [2, 0, 0]], dtype=torch.float64)
    pred = torch.tensor([[0.0, 5, 0], [0, 0, 2], [9, 9, 9], [0, 0, 0]], dtype=torch.float64)
    offset = torch.tensor([3, 4])
    lengths = magnitude_mae(pred, target, offset).tolist()
    assert lengths == pytest.approx([(2 + 1 + 9 * math.sqrt(3)) / 3, 2])
    # 90 degrees weighted by 3, 0 by 1, none where there is no direction; a prediction of length 0 is 90 degrees off.
    assert angle(pred, target, offset).tolist() == pytest.approx([90 * 3 / 4, 90])
    assert angle(-target[:2], target[:2], torch.tensor([2])).item() == pytest.approx(180)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    torch.testing.assert_close(angle(pred @ turn, target @ turn, offset), angle(pred, target, offset))
    assert angle(pred[2:3], target[2:3], torch.tensor([1])).isnan().all()


def test_names_and_units():
    physical = {m.name: m.unit for m in measures(METRICS, FLOW)}
    assert physical == {
        "pressure/relative_l2": "1",
        "velocity/relative_l2": "1",
        "pressure/mse": "Pa^2",
        "velocity/mse": "(m/s)^2",
        "velocity/angle": "degrees",
    }
    normalized = [m.name for m in measures(METRICS, FLOW, normalized=True)]
    assert normalized == ["relative_l2", "mse", *(n for n in physical if "angle" not in n)]
    one = {m.name: m.unit for m in measures(METRICS, FLOW[:1])}
    assert one == {"relative_l2": "1", "mse": "Pa^2"}
    assert [m.name for m in measures(METRICS, FLOW[1:])] == [*METRICS]
    assert [m.name for m in measures(METRICS, ())] == ["relative_l2", "mse"]
    assert unit_of("rmse", "kT/e") == "kT/e" and unit_of("mse", "unknown") == "unknown" and unit_of("r2", "Pa") == "1"
    assert higher_is_better("velocity/r2") and not higher_is_better("velocity/mse")


def test_a_field_is_judged_as_if_it_were_alone():
    pred, target, offset = torch.randn(9, 4), torch.randn(9, 4), torch.tensor([4, 9])
    both = judge(pred, target, offset, ["a", "b"], measures(METRICS, FLOW))
    velocity = TargetField("velocity", 0, 3, "m/s")
    alone = judge(pred[:, 1:], target[:, 1:], offset, ["a", "b"], measures(METRICS, [velocity]))
    for record, own in zip(both, alone, strict=True):
        assert "relative_l2" not in record
        assert {name: record[f"velocity/{name}"] for name in METRICS} == {name: own[name] for name in METRICS}


def test_vectors_far_from_zero_are_judged_whole():
    field = (TargetField("velocity", 0, 2, "m/s", (1000.0, 0.0)),)
    target, pred = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[-1.0, 0.0]]).double()
    (record,) = judge(pred, target, torch.tensor([1]), ["a"], measures(["angle", "mse"], field))
    assert record["angle"] == pytest.approx(0) and record["mse"] == pytest.approx(2)


class Off(torch.nn.Module):
    """Predicts the target and a constant."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.normalizer = TargetNormalizer(4, mean=[10.0, 0, 0, 0], std=[100.0, 1, 1, 1])

    def forward(self, batch):
        return {"pred": batch["target"] + torch.tensor([100.0, 1, 0, 0])}


def batches():
    target = torch.cat([torch.rand(5, 1) * 1e5, torch.rand(5, 3)], 1)
    return [collate_fn([{"coord": torch.rand(5, 3), "target": target, "offset": torch.tensor([5]), "name": "a"}])]


def test_all_fields_together_are_normalised_and_a_key_may_name_one():
    model = Off()
    (record,) = evaluate(model, batches(), ["mse"], normalized=True, fields=FLOW)
    assert record["pressure/mse"] == pytest.approx(1e4, rel=1e-4) and record["velocity/mse"] == pytest.approx(1 / 3)
    assert record["normalized"]["mse"] == pytest.approx(2 / 4, rel=1e-4)
    assert key_value(record, record["normalized"], "mse") == record["normalized"]["mse"]
    assert key_value(record, record["normalized"], "velocity/mse") == record["velocity/mse"]
    with pytest.raises(InputError, match="no normalizer.*pressure/mse"):
        key_value(record, {}, "mse")
    with pytest.raises(InputError, match="did you mean 'velocity/mse'"):
        check_key("velocty/mse", ["mse"], FLOW, "test.key")
    with pytest.raises(InputError, match="msee"):
        check_metrics(["mse"], "test.metrics", "velocity/msee")


def test_the_constant_has_error_one_of_all_fields_together():
    constant = ConstantErrors(Off(), FLOW)
    constant(batches()[0], torch.zeros(5, 4))
    assert constant.value() == pytest.approx(1)


def test_a_loss_that_mixes_units_is_told():
    physical, normalised = RelativeL2Loss(), RelativeL2Loss(physical=False)
    line = outweighed([normalised, physical], FLOW)
    assert line.startswith("model.criteria: RelativeL2Loss takes pressure [Pa], velocity [m/s]") and "\n" not in line
    assert outweighed([normalised], FLOW) is None and outweighed([physical], FLOW[:1]) is None
    evaluator, flow = RegressionEvaluator(), SimpleNamespace(target_fields=("pressure",), target_names=("p",))
    flow.target_units = ("Pa",)
    assert evaluator.losses_of_fields(SimpleNamespace(criteria=[physical]), flow) == []


def test_fields_of_data_sets():
    car = SimpleNamespace(target_fields=("pressure",), target_names=("pressure",), target_units=("Pa",))
    assert target_fields(car) == (TargetField("pressure", 0, 1, "Pa"),)
    assert target_fields(object()) == ()


@pytest.fixture(scope="module")
def flow_run(tmp_path_factory):
    """A run on clouds of pressure and velocity: prepared, trained for a moment, tested."""
    root = tmp_path_factory.mktemp("flow")
    rng = np.random.default_rng(0)
    (root / "raw").mkdir()
    for i in range(8):
        coord = rng.random((60 + i, 3))
        pressure, velocity = 1e5 + 1e4 * coord[:, 0], 5 + coord - coord[:, [1, 2, 0]]
        np.savez(root / f"raw/s{i}.npz", coord=coord, pressure=pressure, velocity=velocity)
    target, unit = ("pressure", "velocity"), ("pressure=Pa", "velocity=m/s")
    prepare_custom(str(root / "raw"), str(root / "data"), target=target, unit=unit)
    small = ["max_iters=2", "eval_every=1", "num_worker=0", "device=cpu", "seed=0", "model.backbone.depth=1"]
    command = ["--config", str(root / "data/full_attention.py"), "--options", f"save_path={root / 'run'}", *small]
    assert train_main(command) == 0
    options = [f"save_path={root / 'run'}", f"weight={root / 'run/model/model_best.pth'}"]
    options.append("test.save_predictions=True")
    assert run_test(["--config", str(root / "run/config.py"), "--options", *options]) == 0
    return root / "run"


def test_the_report_has_every_field_in_its_unit(flow_run):
    report = json.loads((flow_run / "test/metrics.json").read_text())
    assert report["metric_units"]["pressure/rmse"] == "Pa" and report["metric_units"]["velocity/mse"] == "(m/s)^2"
    assert report["metrics"].keys() == report["metric_units"].keys() and "mse" not in report["metrics"]
    assert {"relative_l2", "pressure/relative_l2"} <= report["metrics_normalized"].keys()
    for sample in report["samples"]:
        with np.load(flow_run / f"test/predictions/{sample['name']}.npz") as arrays:
            error, truth = arrays["pred"] - arrays["target"], arrays["target"]
        assert sample["pressure/mae"] == pytest.approx(np.abs(error[:, 0]).mean(), rel=1e-4)
        lengths = np.linalg.norm(truth[:, 1:] + error[:, 1:], axis=1) - np.linalg.norm(truth[:, 1:], axis=1)
        assert sample["velocity/magnitude_mae"] == pytest.approx(np.abs(lengths).mean(), rel=1e-4)
        relative = np.linalg.norm(error[:, 1:]) / np.linalg.norm(truth[:, 1:])
        assert sample["velocity/relative_l2"] == pytest.approx(relative, rel=1e-4)
        assert 0 < sample["velocity/angle"] < 180
    log = (flow_run / "train.log").read_text()
    assert "TOGETHER IN THEIR OWN UNITS" not in log  # as prepared
    assert "velocity/relative_l2" in log and "all fields together, normalised: relative_l2" in log
    curves = [json.loads(line) for line in (flow_run / "metrics.jsonl").read_text().splitlines()]
    names = {name for line in curves for name in line}
    assert {"val/pressure/mse", "val/velocity/mse", "val_normalized/relative_l2"} <= names and "val/mse" not in names


def test_tables_name_the_fields_and_old_results_stay_as_they_are(flow_run, tmp_path):
    found = compare(find_runs([str(flow_run)], lambda path: {}))
    assert found.metrics[:2] == ("pressure/relative_l2", "velocity/relative_l2")
    assert "velocity/mse [(m/s)^2]" in markdown(found) and "pressure/mse_mean" in csv_text(found)
    together = compare(find_runs([str(flow_run)], lambda path: {}), units="normalized")
    assert together.metrics[0] == "relative_l2"
    old = compare(find_runs([str(write_run(tmp_path / "old", 5.0))], load))
    assert old.metrics == ("mse", "r2") and "| mse " in markdown(old)


def test_a_key_may_be_of_one_field(flow_run, tmp_path, capsys):
    options = [f"save_path={tmp_path}", f"weight={flow_run / 'model/model_best.pth'}"]
    command = ["--config", str(flow_run / "config.py"), "--options", *options]
    assert run_test([*command, "test.key=velocity/mse", "test.pictures=False"]) == 0
    assert run_test([*command, "test.key=velocty/mse"]) == 2
    assert "test.key: got 'velocty/mse', wanted one of" in capsys.readouterr().err


def test_a_training_in_mixed_units_says_so(flow_run, tmp_path):
    command = ["--config", str(flow_run / "config.py"), "--options", f"save_path={tmp_path}", "seed=0", "max_iters=1"]
    assert train_main([*command, "eval_every=1", "model.criteria.0.physical=True", "test.pictures=False"]) == 0
    log = (tmp_path / "train.log").read_text()
    assert log.count("RelativeL2Loss takes pressure [Pa], velocity [m/s] TOGETHER IN THEIR OWN UNITS") == 1
