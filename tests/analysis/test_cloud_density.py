"""Reports of tests at one density."""

from __future__ import annotations

import json

import pytest

from pointcept_bsa.analysis.comparison.comparison import compare
from pointcept_bsa.analysis.comparison.group import at_density
from pointcept_bsa.errors import InputError
from pointcept_bsa.training.runs.finished import find_runs

from .fake_runs import load, write_run


def denser(folder, whole, pieces, tested="whole", seed=0):
    """A run whose test went both ways; one sample, mean squared errors ``whole`` and ``pieces``."""
    path = write_run(folder, whole if tested == "whole" else pieces, seed=seed) / "test" / "metrics.json"
    report = json.loads(path.read_text())
    for key, mse in (("whole", whole), ("at_training_density", pieces)):
        report[key] = {
            "metrics": {"mse": {"mean": 1.5 * mse, "std": 0.5 * mse}},
            "metrics_normalized": {"mse": {"mean": mse / 2359.46, "std": 1.0}},
        }
        for number, sample in enumerate(report["samples"], 1):
            sample[key] = {"mse": number * mse}
    report["at_training_density"].update(piece_points=8192, votes=2)
    if tested != "whole":
        report["approximation"] = "2 of 2 clouds predicted in 2 to 2 random pieces"
    path.write_text(json.dumps(report))
    return folder


def test_the_metrics_and_the_paired_errors_are_those_of_the_density(tmp_path):
    denser(tmp_path / "a", 4.0, 1.0)
    denser(tmp_path / "b", 2.0, 3.0, tested="pieces")
    runs = find_runs([str(tmp_path / "a"), str(tmp_path / "b")], load)
    with pytest.raises(InputError, match="evaluation: 'whole clouds' in .*, '2 of 2 clouds predicted"):
        compare(at_density(runs, "tested"))
    for density, errors in (("whole", (4.0, 2.0)), ("training", (1.0, 3.0))):
        chosen = at_density(runs, density)
        assert [[sample["mse"] for sample in run.report["samples"]] for run in chosen] == [[e, 2 * e] for e in errors]
        found = compare(chosen, metrics=["mse"], force=True)  # the two have the same config here
        assert [value for group in found.groups for value in group.metrics["mse"].values] == [1.5 * e for e in errors]
    assert at_density(runs, "training")[0].report["approximation"] == "pieces of 8192 points, 2 vote(s)"
    assert at_density(runs, "whole")[1].report["approximation"] is None


def test_clouds_of_the_density_of_training_are_the_same_either_way(tmp_path):
    runs = find_runs([str(write_run(tmp_path / "a", 4.0))], load)
    assert at_density(runs, "training") == at_density(runs, "whole") == runs


def test_what_a_report_does_not_have_is_refused(tmp_path):
    folder = denser(tmp_path / "a", 4.0, 1.0, tested="pieces")
    path = folder / "test" / "metrics.json"
    report = json.loads(path.read_text())
    del report["samples"][1]["whole"]
    path.write_text(json.dumps(report))
    runs = find_runs([str(folder)], load)
    with pytest.raises(InputError, match="density: .* has no metrics 'whole'"):
        at_density(runs, "whole")
    with pytest.raises(InputError, match="density: got 'hole', wanted one of .*did you mean 'whole'"):
        at_density(runs, "hole")
