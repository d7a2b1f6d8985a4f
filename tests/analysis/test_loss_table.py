"""Losses of runs side by side."""

from __future__ import annotations

import json

import pytest

from pointcept_bsa.analysis.comparison.tables import loss_table
from pointcept_bsa.errors import InputError


@pytest.fixture
def runs(tmp_path):
    curves = {"one": {1: 2.0, 2: 1.0, 3: 0.5}, "two": {1: 2.0, 2: 1.01, 4: 0.5}, "none": {}}
    for name, curve in curves.items():
        (tmp_path / name).mkdir()
        records = [{"kind": "train", "iter": step, "epoch": 1, "loss": loss} for step, loss in curve.items()]
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def test_a_line_an_iteration_and_the_largest_difference(runs, tool, capsys):
    assert tool("compare", str(runs / "one"), str(runs / "two"), "--losses") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [["iteration", "one", "two"], ["1", "2", "2"], ["2", "1", "1.01"]]
    assert " ".join(lines[3]) == "largest relative difference: 0.01, at iteration 2" and len(lines) == 4


def test_what_cannot_be_put_side_by_side_is_refused(runs):
    with pytest.raises(InputError, match="wanted at least two"):
        loss_table([str(runs / "one")])
    with pytest.raises(InputError, match="none' has no losses"):
        loss_table([str(runs / "one"), str(runs / "none")])
