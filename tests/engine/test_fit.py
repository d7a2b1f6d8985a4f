"""The word about a fit, and that a training says it."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.engine.fit import ConstantErrors, Fit, training_errors
from pointcept_bsa.host.embedded.cli import train_main

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
    constant({"target": target, "offset": torch.tensor([2, 4])}, target)
    assert constant.errors == pytest.approx([(1 / 5) ** 0.5, (5 / 25) ** 0.5])
    assert ConstantErrors(torch.nn.Linear(1, 1)).value is None


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
