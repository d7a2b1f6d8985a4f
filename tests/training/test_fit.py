"""The word about a fit, and that a training says it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from pointcept_bsa.host import comm
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.evaluation.fit import (
    ConstantErrors,
    Fit,
    compared_with_constant,
    constant_warning,
    training_errors,
)

from .conftest import ROOT, SMALL


@pytest.mark.parametrize(
    ("training", "validation", "constant", "word"),
    [
        (0.05, 0.06, 0.8, "neither over- nor underfits"),
        (0.05, 0.06, None, "neither over- nor underfits"),
        (0.05, 0.2, 0.8, "OVERFITS: "),
        (0.05, 0.9, 0.8, "OVERFITS, and is NO BETTER THAN A CONSTANT"),
        (0.5, 0.6, 0.8, "UNDERFITS"),
        (0.79, 0.79, 0.8, "NO BETTER THAN A CONSTANT"),
        (float("nan"), float("nan"), 0.8, "NO BETTER THAN A CONSTANT"),
    ],
)
def test_the_word(training, validation, constant, word):
    line = Fit(training, validation, constant, 8).verdict()
    assert line.startswith(f"Fit: {word}") and "\n" not in line


def test_the_constant_is_the_mean_training_target():
    model = torch.nn.Linear(1, 1)
    model.normalizer = torch.nn.Module()
    model.normalizer.register_buffer("mean", torch.tensor([2.0]))
    constant = ConstantErrors(model)
    target = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    batch = {"target": target, "offset": torch.tensor([2, 4]), "name": ["a", "b"]}
    constant(batch, target)
    assert constant.errors == pytest.approx([(1 / 5) ** 0.5, (5 / 25) ** 0.5])
    constant(batch, target)  # a distributed sampler repeats samples where they do not divide
    assert len(constant.errors) == 2
    assert ConstantErrors(torch.nn.Linear(1, 1)).value is None


def test_the_constant_is_judged_on_the_samples_of_all_processes(monkeypatch):
    model = torch.nn.Linear(1, 1)
    model.normalizer = torch.nn.Module()
    model.normalizer.register_buffer("mean", torch.tensor([2.0]))
    constant = ConstantErrors(model)
    constant({"target": torch.tensor([[1.0]]), "offset": torch.tensor([1]), "name": ["b"]}, None)
    monkeypatch.setattr(comm, "all_gather", lambda records: [records, [{"name": "a", "error": 4.0}]])
    assert constant.errors == [4.0, 1.0] and constant.value == 2.5


def test_training_errors_leave_the_mode_as_it_is():
    class Exact(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = torch.nn.Parameter(torch.ones(1))

        def forward(self, batch):
            assert not self.training
            return {"pred": batch["target"] * 1.5}

    data = [dict(target=torch.rand(7, 2), coord=torch.rand(7, 3), offset=torch.tensor([7])) for _ in range(20)]
    model = Exact().train()
    errors = training_errors(model, data, 3)
    assert len(errors) == 9 and errors == pytest.approx([0.5] * 9)
    assert model.training


def test_a_training_says_it(tmp_path):
    options = [*SMALL, f"save_path={tmp_path}", "evaluate=True"]
    assert train_main(["--config", str(ROOT / "configs/ellipsoid_flow/bsa.py"), "--options", *options]) == 0
    lines = [line for line in (tmp_path / "train.log").read_text().splitlines() if " Fit: " in line]
    assert len(lines) == 1 and "training samples" in lines[0] and "of a constant" in lines[0]


def test_a_test_is_held_against_the_constant():
    assert compared_with_constant(0.2, [0.5, 0.7]) == {"relative_l2": pytest.approx(0.6), "network": 0.2}
    assert compared_with_constant(0.2, []) is None
    for network, warned in ((0.2, False), (0.56, False), (0.58, True), (0.9, True), (None, True), (float("nan"), True)):
        line = constant_warning({"constant": {"relative_l2": 0.6, "network": network}})
        assert (line is not None) == warned
        assert line is None or line.startswith("NO BETTER THAN A CONSTANT: relative_l2 ")
    for damaged in ({}, {"constant": None}, {"constant": 3}, {"constant": {"network": 1.0}}):
        assert constant_warning(damaged) is None


def test_tools_warn_of_a_network_that_is_a_constant(tmp_path, small_run, tool, capsys):
    """The weights of the head zero: what is predicted is the mean of the training targets."""
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    good = json.loads((run / "test" / "metrics.json").read_text())["constant"]
    path = run / "model" / "model_best.pth"
    checkpoint = torch.load(path, weights_only=False)
    for name, weight in checkpoint["state_dict"].items():
        if name.startswith("head."):
            weight.zero_()
    torch.save(checkpoint, path)
    for other in (*run.glob("model/*.sha256"), run / "model" / "model_last.pth"):
        other.unlink(missing_ok=True)
    config = ["--config", str(run / "config.py"), "--options", f"save_path={run}", "resume=False", f"weight={path}"]
    assert tool("test", *config) == 0
    assert "W NO BETTER THAN A CONSTANT" in capsys.readouterr().out
    report = json.loads((run / "test" / "metrics.json").read_text())
    assert report["constant"]["network"] == pytest.approx(report["constant"]["relative_l2"], rel=1e-5)
    assert report["constant"]["relative_l2"] == pytest.approx(good["relative_l2"])

    assert tool("compare", str(run)) == 0
    assert capsys.readouterr().out.startswith(f"**{run}: NO BETTER THAN A CONSTANT")
    assert tool("report", str(run), "--output", str(tmp_path / "report.html")) == 0
    assert "No better than a constant." in (tmp_path / "report.html").read_text()
    np.save(tmp_path / "cloud.npy", np.random.rand(60, 3))
    weights = str(tmp_path / "model.safetensors")
    capsys.readouterr()
    assert tool("export", str(run), "--output", weights) == 0
    assert "WARNING: NO BETTER" in capsys.readouterr().out
    for source in (str(run), weights):
        words = ["--weight", source, "--input", str(tmp_path / "cloud.npy"), "--output", str(tmp_path / "out.vtp")]
        tool("predict", *words)
        assert "WARNING: NO BETTER THAN A CONSTANT" in capsys.readouterr().out
