"""Runs side by side: numbers worked by hand, and refusals."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import runpy
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_runs import load, write_run

from pointcept_bsa.analysis.comparison.comparison import compare
from pointcept_bsa.analysis.comparison.tables import (
    csv_text,
    escape_latex,
    latex,
    markdown,
    plus_minus,
    summarize_seeds,
    write_tables,
)
from pointcept_bsa.errors import InputError
from pointcept_bsa.training.runs.finished import find_runs, open_run, run_record
from pointcept_bsa.training.runs.flat_config import flat_config

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def two(tmp_path):
    """Three seeds of a small network and two of a deeper one."""
    for seed, mse in enumerate((10.0, 12.0, 14.0)):
        write_run(tmp_path / "small" / f"seed_{seed}", mse, seed)
    for seed, mse in enumerate((15.0, 16.0)):
        write_run(tmp_path / "deep" / f"seed_{seed}", mse, seed, depth=9, r2=0.9)
    return [str(tmp_path / "small"), str(tmp_path / "deep")]


def compared(paths, **options):
    return compare(find_runs(paths, load), **options)


def test_rows_are_configs_with_mean_and_deviation_over_seeds(two):
    small, deep = compared(two).groups
    assert (small.label, small.seeds, deep.label, deep.seeds) == ("small", "0, 1, 2", "deep", "0, 1")
    assert (small.metrics["mse"].mean, small.metrics["mse"].std) == (12.0, 2.0)
    assert deep.metrics["mse"].std == pytest.approx(math.sqrt(0.5))
    assert small.ms_per_iteration == pytest.approx(20)  # without the first reading, the warm-up
    assert small.memory_mb == 104.0 and small.parameters == 1234567


def test_normalised_units(two):
    assert compared(two, units="normalized").groups[0].metrics["mse"].mean == pytest.approx(12 / 2359.46)


def test_one_seed_has_no_deviation(tmp_path):
    found = compared([str(write_run(tmp_path / "one", 3.0))])
    assert math.isnan(found.groups[0].metrics["mse"].std)
    assert any("one seed only" in note for note in found.notes)
    assert "| 3 " in markdown(found) and "nan" not in markdown(found) + csv_text(found) + latex(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"card": {"dataset": "elasticity"}}, "data set: 'shapenet_car' in"),
        ({"card": {"protocol": "B"}}, "protocol: 'A' in"),
        ({"card": {"split": "val"}}, "split: 'test' in"),
        ({"card": {"split_hash": "ff"}}, "hash of the test samples"),
        ({"card": {"target": ["velocity"]}}, "target: 'pressure'"),
        ({"points": 4}, "points of the test samples: 7172 in"),
        ({"training": "ee"}, "hash of the training samples"),
        ({"kind": "test"}, "validation: 'separate' in"),
        ({"iterations": 5}, "iterations: 4 in"),
    ],
)
def test_what_must_not_differ_is_refused_and_named(two, tmp_path, change, words):
    odd = str(write_run(tmp_path / "odd", 1.0, depth=5, **change))
    with pytest.raises(InputError, match="cannot be compared") as refusal:
        compared([*two, odd])
    assert words in str(refusal.value) and odd in str(refusal.value) and "\n" not in str(refusal.value)
    forced = compared([*two, odd], force=True)
    assert any(words in text for text in forced.differences)
    for text in (markdown(forced), latex(forced)):
        assert "NOT COMPARABLE" in text.splitlines()[0]
    assert words in list(csv.DictReader(io.StringIO(csv_text(forced))))[0]["not_comparable"]


@pytest.mark.parametrize("value", [None, 1e299])
def test_a_seed_that_diverged_leaves_no_mean_and_no_end(tmp_path, value):
    """Its metric is null. (A very large one is a number.)"""
    for seed, mse in ((0, 2.0), (1, value)):
        write_run(tmp_path / "runs" / f"seed_{seed}", mse or 0.0, seed=seed)
        path = tmp_path / "runs" / f"seed_{seed}" / "test" / "metrics.json"
        report = json.loads(path.read_text())
        report["metrics"]["mse"] = {"mean": mse, "std": mse}
        path.write_text(json.dumps(report))
    found = compare(find_runs([str(tmp_path / "runs")], load)).groups[0].metrics["mse"]
    assert math.isnan(found.mean) == math.isnan(found.std) == (value is None)


def test_one_run_copied_is_not_two_seeds(two, tmp_path):
    copy = str(write_run(tmp_path / "copy", 11.0, seed=1))
    with pytest.raises(InputError, match="seed 1 of the same config comes 2 times"):
        compared([*two, copy])


def test_published_results_of_the_protocol_come_along_and_of_another_do_not(two, tmp_path):
    text = markdown(compared(two))
    assert "published: BSA " in text and "14.31" in text and "chosen so" in text
    mini = str(write_run(tmp_path / "m", 1.0, card={"protocol": "mini", "num_samples": 1}))
    text = markdown(compared([mini]))
    assert "14.31" not in text and "no comparison: this test is of protocol 'mini'" in text


def test_the_best_is_bold_and_for_r2_that_is_the_largest(two):
    rows = markdown(compared(two)).splitlines()
    assert "**12.0 +- 2.0**" in rows[2] and "| 0.5 " in rows[2] and "**0.9**" in rows[3]


def test_csv_has_bare_numbers(two):
    row = next(csv.DictReader(io.StringIO(csv_text(compared(two)))))
    assert float(row["mse_mean"]) == 12 and float(row["mse_std"]) == 2 and row["mse_values"] == "10.0 12.0 14.0"
    assert row["seeds"] == "0 1 2" and int(row["parameters"]) == 1234567


def test_latex_rows_have_all_columns_and_no_bare_specials(two, tmp_path):
    odd = str(write_run(tmp_path / "a_b%c&d#{$", 1.0, depth=5))
    text = latex(compared([*two, odd]))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = text.split(r"\begin{tabular}{")[1].split("}")[0]
    assert all(row.count(" & ") + 1 == len(columns) for row in rows)
    assert r"a\_b\%c\&d\#\{\$" in text and r"12.0 \pm 2.0" in text
    assert escape_latex("\\^~") == r"\textbackslash{}\textasciicircum{}\textasciitilde{}"


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (0.05498, 0.00291, "0.0550 +- 0.0029"),
        (12.0, 2.0, "12.0 +- 2.0"),
        (1234.5, 120.0, "1230 +- 120"),
        (3.0, float("nan"), "3"),
        (3.25, 0.0, "3.25"),
        (2e-9, 1e-10, "2.000e-09 +- 1.0e-10"),
    ],
)
def test_deviations_have_two_digits(mean, std, text):
    assert plus_minus(mean, std) == text


def test_all_tables_are_written(two, tmp_path):
    paths = write_tables(compared(two), tmp_path / "out")
    assert sorted(p.name for p in paths) == ["compare.csv", "compare.json", "compare.md", "compare.tex"]
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["configs"][0]["seeds"] == [0, 1, 2]
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_summary_of_seeds(two, capsys):
    summarize_seeds(load, [f"{two[0]}/seed_{i}" for i in range(3)], two[0])
    assert "12.0 +- 2.0" in (Path(two[0]) / "seeds.md").read_text() and "12.0 +- 2.0" in capsys.readouterr().out


def test_validation_values_stand_at_the_iteration_of_their_epoch(two):
    run = find_runs(two, load)[1]
    assert run.validation_curve() == {"mse": [(2, 31.0), (4, 21.0)]}
    assert run.training_curve("loss")[-1] == (4, 1.0)


def test_a_line_cut_short_at_the_end_is_left_out_and_elsewhere_refused(two):
    folder = Path(two[0]) / "seed_0"
    path = folder / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"kind": "tra')
    assert len(open_run(folder, load).records) == len(whole.splitlines())
    path.write_text('{"kind": "tra\n' + whole)
    with pytest.raises(InputError, match="line 1: is not JSON"):
        open_run(folder, load)


def tool(name, *argv):
    return runpy.run_path(str(TOOLS / f"{name}.py"))["main"]([str(a) for a in argv])


@pytest.mark.parametrize("name", ["compare", "report"])
@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda folder: None, "is not a folder"),
        (lambda folder: folder.mkdir(), "has no test/metrics.json"),
        (lambda folder: (write_run(folder, 1.0) / "test" / "metrics.json").write_text("{"), "cannot be read"),
        (lambda folder: (write_run(folder, 1.0) / "test" / "metrics.json").write_text("[]"), "has no 'data'"),
        (lambda folder: (write_run(folder, 1.0) / "config.py").write_text("model ="), "config.py"),
    ],
)
def test_a_bad_run_is_one_line_and_nothing_is_written(tmp_path, capsys, name, prepare, words):
    folder, output = tmp_path / "run", tmp_path / ("out.html" if name == "report" else "out")
    prepare(folder)
    assert tool(name, folder, "--output", output) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: ") and words in errors[0]
    assert not output.exists()


@pytest.mark.parametrize("options", [["--metrics", "mze"], ["--output", "{file}"]])
def test_mistakes_in_options(two, tmp_path, capsys, options):
    (tmp_path / "file").write_text("")
    for path in two:  # the tool reads real configs
        for config in Path(path).glob("*/config.py"):
            config.unlink()
    options = [o.replace("{file}", str(tmp_path / "file")) for o in options]
    assert tool("compare", *two, *options) == 2
    assert capsys.readouterr().err.startswith("error: ")


# ------------------------------------------------------------------- better or not, at equal cost, from reports alone


def write_sampled(folder, factor, seed=0, parameters=1000, samples=12, seconds=0.01, values=(4.0, 2.0), **options):
    """A run of so many samples, with times and a validation curve of its own."""
    write_run(folder, factor, seed, **options)
    path = folder / "test" / "metrics.json"
    report = json.loads(path.read_text())
    draw = random.Random(f"{seed} {factor}")
    wobble = [math.exp(draw.gauss(0, 0.02)) for _ in range(samples)]
    report["samples"] = [{"name": f"s{i}", "mse": factor * (1 + i) * w} for i, w in enumerate(wobble)]
    report["parameters"] = parameters
    path.write_text(json.dumps(report))
    lines = [{"kind": "train", "iter": i, "epoch": i, "loss": 1.0, "lr": 1.0, "iter_time": seconds} for i in (1, 2)]
    lines += [{"step": i + 1, "val/mse": value} for i, value in enumerate(values)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def three(tmp_path):
    """Three seeds each of a reference, a better and an equal network."""
    for seed in range(3):
        write_sampled(tmp_path / "ref" / f"seed_{seed}", 1.0, seed, depth=1)
        write_sampled(tmp_path / "good" / f"seed_{seed}", 0.5, seed, depth=2, parameters=4000, seconds=0.02)
        write_sampled(tmp_path / "same" / f"seed_{seed}", 1.0, seed + 5, depth=3, parameters=1050)
    return [str(tmp_path / name) for name in ("ref", "good", "same")]


def test_better_is_what_the_test_says(three):
    found = compared(three)
    assert found.reference == "ref"
    verdicts = found.verdicts["mse"]
    assert {label: verdict.word for label, verdict in verdicts.items()} == {"good": "better", "same": "not told apart"}
    assert verdicts["good"].ratio == pytest.approx(0.5, rel=0.02) and verdicts["good"].samples == 12
    assert found.leaders["mse"] == {"good"}
    text = markdown(found)
    assert "mse against ref" in text and ") better" in text and "Holm for 2 comparisons" in text
    assert "over 12 samples and these seeds: 3 (ref), 3 (good), 3 (same)" in text
    row = list(csv.DictReader(io.StringIO(csv_text(found))))[1]
    assert row["mse_verdict"] == "better" and row["mse_samples"] == "12" and row["reference"] == "ref"
    assert float(row["mse_ratio_low"]) < 0.5 < float(row["mse_ratio_high"])


def test_one_test_sample_tells_nothing_apart(tmp_path):
    for name, mse in (("good", 1.0), ("bad", 50.0)):
        folder = write_run(tmp_path / name, mse, depth=len(name))
        report = json.loads((folder / "test/metrics.json").read_text())
        (folder / "test/metrics.json").write_text(json.dumps(report | {"samples": report["samples"][:1]}))
    found = compared([str(tmp_path / "good"), str(tmp_path / "bad")])
    assert found.leaders["mse"] == frozenset() and "**" not in markdown(found)
    assert "no paired test and nothing in bold: 1 common test samples, wanted at least 2" in found.notes


def test_another_reference(three):
    for name in ("good", three[1], f"{three[1]}/seed_0"):
        verdicts = compared(three, reference=name).verdicts["mse"]
        assert {label: verdict.word for label, verdict in verdicts.items()} == {"ref": "worse", "same": "worse"}
    with pytest.raises(InputError, match=r"--reference 'godo': .*did you mean 'good'"):
        compared(three, reference="godo")


def test_what_is_not_told_apart_from_the_best_is_bold_as_well(three):
    found = compared([three[0], three[2]])
    assert found.leaders["mse"] == {"ref", "same"}
    rows = markdown(found).splitlines()[2:4]
    assert all("**" in row for row in rows)


def test_one_seed_is_ahead_and_not_better(three):
    text = markdown(compared([f"{path}/seed_0" for path in three]))
    assert ") ahead" in text and "better" not in text and "of these weights and not of the network" in text


def test_r2_is_judged_by_what_is_left_to_explain(tmp_path):
    for label, rest in (("a", 0.2), ("b", 0.1)):
        for seed in range(3):
            folder = write_run(tmp_path / label / f"seed_{seed}", 1.0, seed, depth=ord(label))
            path = folder / "test" / "metrics.json"
            report = json.loads(path.read_text())
            report["samples"] = [{"name": str(i), "r2": 1 - rest * (1 + 0.1 * i + 0.01 * seed)} for i in range(8)]
            path.write_text(json.dumps(report))
    verdict = compared([str(tmp_path / "a"), str(tmp_path / "b")], metrics=["r2"]).verdicts["r2"]["b"]
    assert verdict.ratio == pytest.approx(0.5) and verdict.word == "better"


def test_equal_parameters_and_equal_time(three, tmp_path):
    big = [str(write_sampled(tmp_path / "big" / "seed_0", 0.25, 0, depth=8, parameters=16000))]
    found = compared([*three[:2], *big], reference="good", force=True)
    columns = {column.heading: column.values for column in found.equal}
    assert columns["mse at 4,000 parameters"] == pytest.approx({"good": 0.5, "ref": 0.5, "big": 0.5})  # 1 and 0.25
    # ref and big are over after 0.02 s; good has its first evaluation there and its second at 0.04 s.
    assert columns["validation mse after 0.02 s"] == pytest.approx({"ref": 2.0, "good": 4.0, "big": 2.0})
    assert compared(three).groups[1].train_seconds == pytest.approx(0.04)
    other = str(write_sampled(tmp_path / "other", 0.1, 0, parameters=5000, backbone="Erwin-v1m1"))
    near = {c.heading: c.values for c in compared([*three, other], force=True).equal}["mse at 1,000 parameters"]
    assert near == pytest.approx({"ref": 1.0, "same": 1.0, "good": 1.0})  # of the other no smaller size is known


def test_another_structure_is_no_size_of_a_backbone(three, tmp_path):
    """Group compression, or levels of tokens, make another network: its error is not that of BSA at BSA's size."""
    for label, more in (("grouped", {"group_compression": True}), ("levels", {"near": 2048})):
        folder = write_sampled(tmp_path / label, 0.7, 0, depth=4, parameters=2500)
        path = folder / "test" / "metrics.json"
        report = json.loads(path.read_text())
        report["backbone"] |= more
        path.write_text(json.dumps(report))
    found = compared([*three[:2], str(tmp_path / "grouped"), str(tmp_path / "levels")], force=True)
    assert found.equal[0].heading == "mse at 1,000 parameters"
    assert found.equal[0].values == pytest.approx({"ref": 1.0, "good": 1.0})


def test_what_has_no_paired_test_has_no_leader(three):
    """Of a negative log likelihood there is no ratio, of a coverage not even a better one."""
    for path in three:
        for folder in Path(path).iterdir():
            report = json.loads((folder / "test" / "metrics.json").read_text())
            report["metrics"] |= {name: {"mean": 0.5, "std": 0.1} for name in ("nll", "coverage_95")}
            report["samples"] = [{**sample, "nll": -0.5, "coverage_95": 0.9} for sample in report["samples"]]
            (folder / "test" / "metrics.json").write_text(json.dumps(report))
    found = compared(three, metrics=["nll", "coverage_95"])
    assert found.leaders == {"nll": frozenset(), "coverage_95": frozenset()}
    assert "**" not in markdown(found) and "no paired test" in markdown(found)


def test_reports_alone_make_the_same_table(three, tmp_path):
    """As RegressionTester writes them: with what they keep of the run."""
    for path in three:
        for folder in Path(path).iterdir():
            report = json.loads((folder / "test" / "metrics.json").read_text())
            report["run"] = run_record(folder, flat_config(load(str(folder / "config.py"))))
            report["run"]["environment"] = json.loads((folder / "env.json").read_text())
            (folder / "test" / "metrics.json").write_text(json.dumps(report))
            for form in ("kept/{0}/{1}.json", "deeper/{0}/{1}/metrics.json"):
                target = tmp_path / form.format(Path(path).name, folder.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(report))
            (tmp_path / "kept" / "seeds.json").write_text('{"configs": []}')  # another file
    whole = markdown(compared(sorted(three)))
    assert "training s" in whole and "validation mse after" in whole
    for folder in ("kept", "deeper"):
        assert markdown(compared([str(tmp_path / folder)])) == whole
    files = [str(path) for path in sorted((tmp_path / "kept").glob("*/*.json"))]
    assert markdown(compared(files)) == whole


def test_a_folder_above_runs_finds_them_in_the_order_of_their_seeds(three, tmp_path):
    for seed in (3, 10):
        write_sampled(tmp_path / "ref" / f"seed_{seed}", 1.0, seed, depth=1)
    found = find_runs([str(tmp_path)], load)
    assert [run.seed for run in found if run.path.parent.name == "ref"] == [0, 1, 2, 3, 10]
    assert len(found) == 11 and all(run.path.is_dir() for run in found)
