"""The files of a run: whatever stands in them, they are read or refused in one line, and null is no number."""

from __future__ import annotations

import copy
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.analysis.comparison.comparison import compare
from pointcept_bsa.analysis.comparison.tables import csv_text, write_tables
from pointcept_bsa.analysis.report.page import write_report
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host import build_model
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.evaluation.provenance import provenance, record_data
from pointcept_bsa.training.evaluation.training_range import parse_training_range
from pointcept_bsa.training.runs.finished import find_runs, run_record
from pointcept_bsa.training.runs.flat_config import flat_config

from ..analysis.fake_runs import load, write_run

FILES = ("test/metrics.json", "metrics.jsonl", "env.json", "alone.json")
OTHERS = [None, True, 0, -1, 3, 1.5, 1e308, 10**400, "x", "", [], [1], ["a"], [None], {}, {"a": 1}, {"mean": None}]


def strict(word: str) -> None:
    raise ValueError(f"the word {word}")


def places(value, path=()):
    for key in value if isinstance(value, dict) else range(len(value)):
        yield (*path, key)
        if isinstance(value[key], dict | list):
            yield from places(value[key], (*path, key))


def changed(value, draw: random.Random):
    """``value`` with one place left out or holding something else."""
    value = copy.deepcopy(value)
    *path, last = draw.choice(list(places(value)))
    part = value
    for key in path:
        part = part[key]
    if draw.random() < 0.15:
        del part[last]
    else:
        part[last] = draw.choice(OTHERS)
    return value


@pytest.mark.parametrize("name", FILES)
def test_other_values_in_the_files_of_a_run(tmp_path, name):
    folders = [str(write_run(tmp_path / f"run{i}", 1.0 + i, depth=2 + i)) for i in range(2)]
    path = tmp_path / "run0" / name
    if name == "alone.json":  # a report without its folder, which keeps what comparing takes
        report = json.loads((tmp_path / "run0/test/metrics.json").read_text())
        kept = run_record(tmp_path / "run0", flat_config(load(str(tmp_path / "run0/config.py"))))
        write_json(path, {**report, "run": kept})
        folders[0] = str(path)
    lines = name.endswith("l")
    content = [json.loads(line) for line in path.read_text().splitlines()] if lines else json.loads(path.read_text())
    draw, refused = random.Random(0), 0
    for number in range(300):
        new = changed(content, draw)
        path.write_text("".join(json.dumps(record) + "\n" for record in new) if lines else json.dumps(new))
        try:
            runs = find_runs(folders, load)
            write_tables(compare(runs, force=True), tmp_path / "out")
            if number % 10 == 0:
                write_report(runs, tmp_path / "out.html", force=True)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            json.loads((tmp_path / "out/compare.json").read_text(), parse_constant=strict)
    assert 0 < refused < 300


@pytest.mark.parametrize("word", ["null", "NaN"])
def test_a_metric_that_was_not_finite_is_compared_as_none(tmp_path, word):
    """null of this version, the word NaN of earlier ones."""
    folders = [str(write_run(tmp_path / f"run{i}", 1.5 + i, depth=2 + i)) for i in range(2)]
    path = tmp_path / "run0/test/metrics.json"
    path.write_text(path.read_text().replace('"mean": 1.5, "std": 1.0', f'"mean": {word}, "std": {word}'))
    lines = tmp_path / "run0/metrics.jsonl"
    lines.write_text(lines.read_text().replace('"loss": 4.0', f'"loss": {word}'))
    runs = find_runs(folders, load)
    assert runs[0].report["metrics"]["mse"] == {"mean": None, "std": None}
    assert len(runs[0].training_curve("loss")) == len(runs[1].training_curve("loss")) - 1
    found = compare(runs)
    assert math.isnan(found.groups[0].metrics["mse"].mean) and found.groups[1].metrics["mse"].mean == 2.5
    write_tables(found, tmp_path / "out")
    written = json.loads((tmp_path / "out/compare.json").read_text(), parse_constant=strict)
    assert written["configs"][0]["metrics"]["mse"] == {"mean": None, "std": None, "values": [None]}
    header, row, *_ = (line.split(",") for line in csv_text(found).splitlines())
    assert row[header.index("mse_mean")] == "" and row[header.index("r2_mean")] == "0.5"
    write_report(runs, tmp_path / "out.html")


def test_a_damaged_record_of_the_samples_is_one_line(tmp_path):
    card = '{"train": {"card": {"num_samples": 1, "split_hash": ""}'
    for text in ("{", "[]", '{"train": 3}', card + "}}", card + ', "names": [1]}}'):
        (tmp_path / "data.json").write_text(text)
        with pytest.raises(InputError, match="data.json") as error:
            provenance(tmp_path, ["x"])
        assert "\n" not in str(error.value)
    record_data(tmp_path, object(), None)
    assert provenance(tmp_path, ["x"])["validation"]["kind"] == "unknown"


def test_a_strangers_training_range_is_read_or_refused():
    content = {
        "points": [3, 5],
        "fields": {"coord": {key: [0.0, 0.0, 0.5] for key in ("min", "max", "extent_min", "extent_max")}},
        "standardize": {"flow": {"mean": [1.0], "std": [2.0]}},
        "target": {"names": ["pressure"], "units": ["Pa"], "fields": [["pressure", 1]]},
        "surface_pressure": {"density": 1.0, "velocity": 20.0, "flow": [0.0, 0.0, 1.0], "up": [0.0, 1.0, 0.0]},
    }
    assert parse_training_range(json.dumps(content), "x") == content
    draw, refused = random.Random(0), 0
    for _ in range(500):
        try:
            found = parse_training_range(json.dumps(changed(content, draw)), "x")
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert all(map(math.isfinite, found["fields"]["coord"]["min"])) and found["target"]["names"]
    assert refused > 300


def test_a_test_of_one_sample_with_a_number_of_numpy_in_the_checkpoint(tmp_path):
    """Pointcept's evaluators leave numpy's numbers; one sample has no deviation: metrics.json is JSON all the same."""
    base = Path(__file__).parents[2] / "configs/ellipsoid_flow/full_attention.py"
    small = "num_samples=4, num_points=64"
    (tmp_path / "mine.py").write_text(
        f"_base_ = [{str(base)!r}]\nnum_worker = 0\ndevice = 'cpu'\ntest = dict(pictures=False)\n"
        f"model = dict(backbone=dict(depth=1))\n"
        f"data = dict(train=dict({small}), val=dict({small}), test=dict(num_samples=1, num_points=64))\n"
    )
    cfg = load_config(str(tmp_path / "mine.py"))
    model = build_model(cfg.model)
    model.normalizer.set([0.0], [1.0])
    path = tmp_path / "run/model/model_best.pth"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": model.state_dict(), "best_metric_value": np.float64(-0.5), "seed": np.int64(7)}, path)
    assert run_test(["--config", str(tmp_path / "mine.py"), "--options", f"save_path={tmp_path / 'run'}"]) == 0
    report = json.loads((tmp_path / "run/test/metrics.json").read_text(), parse_constant=strict)
    assert report["seed"] == 7 and report["metrics"]["relative_l2"]["std"] is None
    assert report["metrics"]["relative_l2"]["mean"] > 0
