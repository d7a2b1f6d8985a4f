"""Published numbers: a sound table, shown beside tests of the same protocol and refused beside others."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets import airfoil, cosmology, elasticity, molecular_dynamics, pipe
from pointcept_bsa.datasets.prepare import mlcfd
from pointcept_bsa.metrics import base_metric
from pointcept_bsa.training.evaluation.evaluation import KNOWN
from pointcept_bsa.training.evaluation.published import comparison_lines, published_for, published_table

CARD = {"dataset": "shapenet_car", "protocol": "A", "split": "test", "num_samples": 189}


def report(card=CARD, **metrics):
    return {
        "data": card,
        "backbone": {"type": "BSA-v1m1"},
        "seed": 3,
        "metrics": {name: {"mean": value, "std": 0.0} for name, value in metrics.items()},
        "metrics_normalized": {"mse": {"mean": 0.61, "std": 0.0}},
        "validation": {"statement": "50 samples"},
    }


def test_every_result_has_a_source_and_a_protocol_and_a_metric_of_ours():
    table = published_table()
    protocols = {(p["dataset"], p["protocol"]) for p in table["protocols"]}
    assert isinstance(table["version"], int) and len(table["results"]) > 20
    for row in table["results"]:
        assert row["source"] in table["sources"] and (row["dataset"], row["protocol"]) in protocols
        assert base_metric(row["metric"]) in KNOWN and row["units"] in ("physical", "normalized") and row["value"] > 0
    keys = [(r["dataset"], r["protocol"], r["metric"], r["model"], r["table"]) for r in table["results"]]
    assert len(set(keys)) == len(keys)


def test_protocols_are_named_and_counted_as_the_data_sets_do():
    found = {(p["dataset"], p["protocol"]): p["test_samples"] for p in published_table()["protocols"]}
    windows = molecular_dynamics.FRAMES["test"] - molecular_dynamics.HISTORY
    assert found == {
        ("shapenet_car", "A"): 189,
        ("shapenet_car", "B"): 100,
        ("elasticity", elasticity.PROTOCOL): elasticity.NUM_TEST,
        ("airfoil", airfoil.PROTOCOL): 200,
        ("pipe", pipe.PROTOCOL): 200,
        ("cosmology", cosmology.PROTOCOL): cosmology.COUNTS["test"],
        ("molecular_dynamics", molecular_dynamics.PROTOCOL): windows * molecular_dynamics.COUNTS["test"],
    }


def test_numbers_of_the_papers():
    values = {(r["dataset"], r["metric"], r["model"], r["table"]): r["value"] for r in published_table()["results"]}
    assert values["shapenet_car", "mse", "BSA", "Table 1"] == 14.31
    assert values["shapenet_car", "mse", "Full Attention", "Table 1"] == 13.29
    assert values["elasticity", "relative_l2", "Full Attention", "Table 2"] == 0.0030
    assert values["shapenet_car", "relative_l2", "PointNet", "ShapeNet-Car, surface pressure"] == 0.1104
    assert values["pipe", "relative_l2", "Transolver", "six standard benchmarks"] == 0.0033
    assert values["molecular_dynamics", "nll", "Erwin, as published", "Table 1"] == 0.71


@pytest.mark.parametrize(("metric", "best"), [("velocity/mse", "lower"), ("velocity/r2", "higher")])
def test_a_field_of_several_is_compared_with_that_field(metric, best):
    rows = [
        {"dataset": "shapenet_car", "protocol": "A", "metric": metric, "units": "physical", "model": model,
         "value": value, "source": "s", "table": "T"}
        for model, value in (("lower", 0.1), ("higher", 0.9))
    ]  # fmt: skip
    table = {**published_table(), "results": rows, "sources": {"s": {"short": "someone"}}}
    lines = comparison_lines(report(**{metric: 0.5, "pressure/mse": 0.01}), table)
    first, own, last = lines[2:5]
    assert f"{metric}, physical units" in lines[1] and best in first and "this run" in own and best not in last
    assert not any("pressure" in line for line in lines)


def test_our_run_stands_in_its_place_among_those_of_the_same_protocol():
    lines = comparison_lines(report(mse=15.0))
    at = [i for i, line in enumerate(lines) if "this run" in line]
    assert len(at) == 1 and "BSA-v1m1" in lines[at[0]] and "seed 3" in lines[at[0]]
    assert "14.8  BSA with group compression" in lines[at[0] - 1] and "15.85  Erwin" in lines[at[0] + 1]
    assert any("here: 50 samples" in line for line in lines)


def test_normalised_results_meet_normalised_ones():
    card = {"dataset": "cosmology", "protocol": "8192/512/512", "split": "test", "num_samples": 512}
    lines = comparison_lines(report(card, mse=70000.0))
    assert any("0.61" in line and "this run" in line for line in lines)
    assert not any("70000" in line for line in lines)


def test_a_metric_that_was_not_measured_is_said():
    assert any("mse, physical units: not measured" in line for line in comparison_lines(report(mae=1.0)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": "mini", "num_samples": 1}, ["'mini'", "'A'", "'B'", "189"]),
        ({"split": "val", "num_samples": 50}, ["189 test samples", "'val'"]),
        ({"num_samples": 188}, ["188 samples"]),
        ({"dataset": "periodic_hills"}, ["periodic_hills"]),
    ],
)
def test_other_protocols_and_samples_are_not_compared(change, words):
    card = {**CARD, **change}
    assert published_for(card)["rows"] == []
    lines = comparison_lines(report(card, mse=15.0))
    assert len(lines) == 1 and all(word in lines[0] for word in words)
    assert "14.31" not in lines[0]


def test_a_test_of_some_points_of_a_car_is_not_compared():
    whole = [{"name": "a", "points": 3586}, {"name": "b", "points": 3586}]
    assert len(comparison_lines({**report(mse=15.0), "samples": whole})) > 5
    for counts, words in (((1024, 1024), "is of 1024 points"), ((1024, 3586), "is of 1024 to 3586 points")):
        samples = [{"name": str(i), "points": count} for i, count in enumerate(counts)]
        lines = comparison_lines({**report(mse=15.0), "samples": samples})
        assert len(lines) == 1 and "of all 3586 points of a sample" in lines[0] and words in lines[0]
        assert published_for(CARD, samples)["rows"] == []


def test_points_of_a_sample_are_those_of_the_data_sets():
    found = {(p["dataset"], p["protocol"]): p.get("points") for p in published_table()["protocols"]}
    assert found["shapenet_car", "A"] == found["shapenet_car", "B"] == mlcfd.RAW_POINTS - 96
    assert found["airfoil", airfoil.PROTOCOL] == np.prod(airfoil.RAW.mesh)
    assert found["pipe", pipe.PROTOCOL] == np.prod(pipe.RAW.mesh)
    assert found["elasticity", elasticity.PROTOCOL] == 972 and "(972, 2)" in elasticity.CARD
    assert found["cosmology", cosmology.PROTOCOL] == 5000 and "(5000, 3)" in cosmology.CARD
    assert found["molecular_dynamics", molecular_dynamics.PROTOCOL] is None  # a chain has as many beads as it has


def test_a_prediction_in_pieces_is_not_compared():
    lines = comparison_lines({**report(mse=15.0), "approximation": "in pieces"})
    assert len(lines) == 1 and "in pieces" in lines[0]
