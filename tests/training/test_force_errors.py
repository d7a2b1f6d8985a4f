"""Scores over samples, and forces of predicted fields against those of the true ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.ellipsoid_flow import EllipsoidFlowDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import collate_fn
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.evaluation.force_errors import ForceErrors
from pointcept_bsa.training.evaluation.scalar_errors import sample_scores, score_lines

COLLECT = [dict(type="CollectPoints")]


def test_scores_are_those_worked_by_hand():
    target, pred = np.array([[1.0, 5], [2, 5], [6, 5]]), np.array([[2.0, 5], [2, 5], [4, 8]])
    scores = sample_scores(pred, target, ("drag", "lift"), ("N", "m"))
    assert scores["drag"] == pytest.approx(
        {"unit": "N", "r2": 1 - 5 / 14, "mae": 1.0, "bias": -1 / 3, "mean": 3.0, "std": (14 / 3) ** 0.5}
    )
    assert scores["lift"]["r2"] is None and scores["lift"]["mae"] == 1.0
    assert sample_scores(pred[:1], target[:1], ("a", "b"), ("", ""))["a"]["r2"] is None
    assert "drag [N]" in score_lines("force", scores)[1] and " - " in score_lines("force", scores)[2]


def batches(dataset, size=2):
    samples = [dataset[i] for i in range(len(dataset))]
    return [collate_fn(samples[i : i + size]) for i in range(0, len(samples), size)]


def judged(dataset, change):
    judge = ForceErrors(dataset)
    for batch in batches(dataset):
        judge(batch, {"pred": change(batch["target"])})
    return judge.report(), judge


def test_the_true_field_has_the_true_forces_and_half_of_it_half():
    dataset = EllipsoidFlowDataset("test", 5, 400, transform=COLLECT, with_face=True)
    report, judge = judged(dataset, lambda target: target)
    assert all(score["r2"] == 1 and score["mae"] == 0 for score in report["scores"].values())
    assert report["vector_error"]["max"] == 0 and len(report["samples"]) == 5 and not report["open_surfaces"]
    half, _ = judged(dataset, lambda target: target / 2)
    for before, after in zip(report["samples"], half["samples"], strict=True):
        assert after["predicted"] == pytest.approx({key: v / 2 for key, v in before["true"].items()}, abs=1e-7)
    assert report["scores"]["pitch"]["unit"] == "m^3" and any("pitch" in line for line in judge.lines(report))


def test_the_true_moments_are_those_of_the_flow_and_the_forces_vanish():
    dataset = EllipsoidFlowDataset("test", 3, 4000, transform=COLLECT, with_face=True, scalars=("yaw", "pitch"))
    report, _ = judged(dataset, lambda target: target)
    for i, record in enumerate(report["samples"]):
        true, exact = record["true"], dataset.get_data(i)["scalars"][0]
        assert [true["yaw"], true["pitch"]] == pytest.approx(exact, abs=0.01)
        assert np.linalg.norm([true["drag"], true["lift"], true["side"], true["roll"]]) < 0.02
    assert max(abs(record["true"]["pitch"]) for record in report["samples"]) > 0.1


def test_shear_counts_where_the_data_name_it(monkeypatch):
    class Sheared(EllipsoidFlowDataset):
        target_fields = ("pressure_coefficient", "shear")
        target_names = ("pressure_coefficient", "shear_x", "shear_y", "shear_z")
        target_units = ("1",) * 4
        surface_pressure = {**EllipsoidFlowDataset.surface_pressure, "shear": "shear"}

        def load_fields(self, index):
            fields = super().load_fields(index)
            return fields | {"shear": np.tile([[0.5, 0.0, 0.0]], (len(fields["coord"]), 1))}

    dataset = Sheared("test", 1, 2000, axes=(1.0, 1.0), transform=COLLECT, with_face=True)
    report, _ = judged(dataset, lambda target: target * torch.tensor([1.0, 0, 0, 0]))
    (record,) = report["samples"]
    assert record["true"]["drag"] - record["predicted"]["drag"] == pytest.approx(0.5 * 4 * np.pi, rel=0.01)
    assert "shear" in report["of"]


def test_samples_without_faces_have_no_forces():
    assert judged(EllipsoidFlowDataset("test", 2, 50, transform=COLLECT), lambda target: target)[0] is None
    cut = EllipsoidFlowDataset(
        "test", 2, 50, transform=[dict(type="SamplePoints", num_points=30), *COLLECT], with_face=True
    )
    assert judged(cut, lambda target: target)[0] is None
    with pytest.raises(InputError, match="with_face: got True with num_points=3"):
        EllipsoidFlowDataset("test", 2, 3, with_face=True)


def test_a_test_writes_the_forces(small_run, tmp_path, capsys):
    options = [f"save_path={tmp_path}", f"weight={small_run}/model/model_last.pth", "test.pictures=False"]
    assert run_test(["--config", str(small_run / "config.py"), "--options", *options]) == 0
    report = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert len(report["forces"]["samples"]) == len(report["samples"]) == 4
    assert set(report["forces"]["scores"]) == {"drag", "lift", "side", "roll", "yaw", "pitch"}
    assert "Forces of 4 surfaces" in capsys.readouterr().out
