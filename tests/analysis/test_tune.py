"""tools/tune.py: what is searched, what becomes of each trial, what is left; the test set is never read."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE, wait_for

from pointcept_bsa.analysis.tune import study as study_module
from pointcept_bsa.analysis.tune.run import Wanted, check_validation, evaluations_of
from pointcept_bsa.analysis.tune.space import read_space
from pointcept_bsa.analysis.tune.study import Study
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import Config
from pointcept_bsa.host.embedded.config import load_config

sys.path.insert(0, str(Path(__file__).parent))  # spawned processes, too, import fake_trials by name
import fake_trials
from fake_trials import search, table

pytest.importorskip("optuna", reason="missing: package optuna (part of the extra [test])")

ROOT = Path(__file__).resolve().parents[2]
REGRESSIONS = sorted((ROOT / "configs").glob("[!_]*/*.py"))


@pytest.fixture
def make(tmp_path):
    return partial(fake_trials.wanted, tmp_path)


def test_a_search_finds_the_valley_and_begins_with_the_config_as_it_stands(make):
    wanted = make(trials=20, processes=2, options={"num_worker": 9})
    best, lines = search(wanted)
    found = fake_trials.load(str(best), {})
    assert 3e-3 < found.optimizer.lr < 3e-2 and found.save_path.endswith("run_tuned")
    text = best.read_text()
    assert "_base_ = ['../config.py']" in text and "optimizer = dict(lr=" in text and "data" not in text
    assert "num_worker = 9" in text  # an option given is part of what was tuned
    trials = table(wanted)
    assert len(trials) == 20 and {row["state"] for row in trials} == {"complete", "pruned"}
    assert [row for row in trials if row["trial"] == "0"][0]["optimizer.lr"] == "0.001"
    errors = [float(row["relative_l2"]) for row in trials if row["state"] == "complete"]
    assert errors == sorted(errors) and float(trials[0]["optimizer.lr"]) == pytest.approx(found.optimizer.lr, rel=1e-3)
    pruned = [row for row in trials if row["state"] == "pruned"]
    assert all(int(row["iterations"]) < 8 for row in pruned)
    assert Path(wanted.output, "importance.png").stat().st_size > 5000
    assert lines[-1].startswith("Trial ") and "the config as it stands 1.35" in lines[-1]
    acts = [Path(wanted.output, "trials", "0000", "act.txt").read_text().split()]
    assert acts == [["train", "0", str(max(1, (os.cpu_count() or 1) // 2 - 1)), "3"]]


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(make):
    acts = ["crash", "memory", "diverge", "die", "unbuildable"]
    wanted = make(f"{{'model.act': dict(choices={['train', *acts]})}}", trials=16, processes=2)
    best, lines = search(wanted)
    trials = table(wanted)
    assert len(trials) == 16 and "act" not in best.read_text()
    reasons = {row["model.act"].strip("'"): row["reason"] for row in trials if row["state"] == "failed"}
    assert {row["model.act"] for row in trials if row["state"] == "complete"} == {"'train'"}
    assert len(reasons) >= 3
    told = {
        "crash": "RuntimeError: a kernel went wrong",
        "memory": "out of memory (CUDA out of memory. Tried to allocate 2.00 GiB)",
        "diverge": "relative_l2 of the validation is nan: the training has diverged",
        "die": "its process ended with exit code -9 (killed: out of memory?)",
        "unbuildable": "model: cannot be built",
    }
    assert reasons == {act: told[act] for act in reasons}
    assert any("FAILED: " in line for line in lines)
    number = next(row["trial"] for row in trials if row["state"] == "failed" and "die" not in row["model.act"])
    assert "Traceback" in Path(wanted.output, "trials", f"{int(number):04d}", "output.txt").read_text()


def test_no_trial_complete_is_an_error_that_tells_the_first_reason(make):
    wanted = make(options={"model.act": "crash"}, trials=2)
    with pytest.raises(InputError, match=r"2 failed\) was complete, the first: RuntimeError: a kernel went wrong"):
        search(wanted)
    assert len(table(wanted)) == 2


def test_a_config_that_cannot_be_built_ends_the_search_and_costs_no_trial(make):
    wanted = make(options={"model.act": "unbuildable"})
    with pytest.raises(InputError, match="as it stands cannot be trained: model: cannot be built"):
        search(wanted)
    space = read_space(fake_trials.load(wanted.config, {}))
    identity = {}
    Path(wanted.output, study_module.IDENTITY).write_text("{}")
    with Study(Path(wanted.output), space, identity, 0) as study:
        assert study.done == [] and study.ask().params == {"optimizer.lr": 1e-3}


def test_more_trials_add_to_a_study_and_none_is_made_twice(make):
    _, lines = search(make(trials=2))
    assert sum(line.startswith("trial ") for line in lines) == 2
    _, lines = search(make(trials=2))
    assert not any(line.startswith("trial ") for line in lines)
    _, lines = search(make(trials=5))
    assert [line.split()[1] for line in lines if line.startswith("trial ")] == ["2", "3", "4"]


def test_the_same_seed_draws_the_same_and_another_does_not(make, tmp_path):
    drawn = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        wanted = make(trials=9, seed=seed, output=str(tmp_path / name))
        search(wanted)
        drawn.append([(row["trial"], row["optimizer.lr"], row["state"]) for row in table(wanted)])
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(options={"optimizer.type": "Lion"}), "config: .*AdamW.* there, .*Lion.* here"),
        (dict(search="{'optimizer.lr': dict(type='log', low=1e-4, high=1)}"), "search: "),
        (dict(budget=9), "budget: 8 there, 9 here"),
        (dict(evaluations=2), "evaluations: 4 there, 2 here"),
        (dict(seed=4), "seed: 0 there, 4 here"),
    ],
)
def test_the_study_of_another_config_is_refused_and_kept(make, change, words):
    search(make(trials=1))
    with pytest.raises(InputError, match=f"has the study of another config.*{words}"):
        search(make(trials=1, **change))
    _, lines = search(make(trials=1))
    assert "1 of 1 trials done" in lines[0]


def test_a_folder_in_use_is_refused(make):
    wanted = make()
    space = read_space(fake_trials.load(wanted.config, {}))
    with Study(Path(wanted.output), space, {}, 0), pytest.raises(InputError, match="another tools/tune.py is at work"):
        search(wanted)


def test_features_that_are_searched_set_the_number_of_input_channels(make):
    wanted = make("{'data.*.bands': dict(choices=[1, 4])}", trials=8)
    best, _ = search(wanted)
    channels = {row["data.*.bands"]: row["trial"] for row in table(wanted)}
    for bands, width in (("1", "3"), ("4", "9")):
        written = Path(wanted.output, "trials", f"{int(channels[bands]):04d}", "act.txt").read_text()
        assert written.split()[3] == width
    found = fake_trials.load(str(best), {})
    assert found.model.backbone.in_channels == 1 + 2 * found.data.train.bands == 1 + 2 * found.data.test.bands


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"evaluate": False}, "evaluate=False: wanted True"),
        ({"data.val.num_samples": 0}, "data.val: has no samples"),
        ({"data.val.split": "test"}, "data.val: reads the test set"),
        ({"data.test.split": "val", "data.test.num_samples": 2}, "data.val: reads the test set"),
        ({"data.val.validation": "test"}, "data.val.validation='test'"),
    ],
)
def test_without_a_validation_of_its_own_nothing_is_searched(make, change, words):
    wanted = make(options=change)
    with pytest.raises(InputError, match=words):
        search(wanted)
    assert not Path(wanted.output).exists()


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_shipped_config_validates_on_its_test(path, tmp_path, monkeypatch):
    """Nothing else is wrong with it than that its data may not be here."""
    monkeypatch.chdir(tmp_path)
    try:
        check_validation(load_config(str(path)))
    except InputError as error:
        assert re.match(r"data\.val \(\w+\): data_root: '[\w/]+' is not a folder; make it with: ", str(error))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(trials=0), "--trials 0"),
        (dict(budget=0), "--budget 0"),
        (dict(processes=0), "--processes 0"),
        (dict(evaluations=0), "--evaluations 0"),
        (dict(pruner="medain"), "did you mean 'median'"),
        (dict(seed=-1), "--seed -1"),
    ],
)
def test_arguments_out_of_range_are_refused(make, change, words):
    with pytest.raises(InputError, match=words):
        search(make(**change))


def test_optuna_missing_is_told_with_the_remedy(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"-e '\.\[tune\]'"):
        search(make())


@pytest.mark.parametrize(
    ("max_iters", "eval_every", "budget", "evaluations", "expected"),
    [
        (4000, 500, 1000, None, 8),
        (750000, 10000, 1000, None, 10),  # 75 of its own
        (400, 150, 100, None, 3),
        (400, 100, 3, None, 3),
        (400, 100, 10, 4, 4),
        (400, 100, 10, 7, 5),  # every 2 iterations
    ],
)
def test_number_of_evaluations(max_iters, eval_every, budget, evaluations, expected):
    cfg = Config(dict(max_iters=max_iters, eval_every=eval_every, eval_epoch=9))
    assert evaluations_of(cfg, Wanted("", 1, budget, evaluations=evaluations)) == expected


@pytest.mark.parametrize("pruner", ["halving", "none"])
def test_the_other_pruners_work(make, pruner):
    wanted = make(trials=10, pruner=pruner)
    search(wanted)
    pruned = [row["state"] for row in table(wanted)].count("pruned")
    assert (pruned == 0) == (pruner == "none")


SCRIPT = """
import signal, sys
sys.path.insert(0, {folder!r})
import fake_trials
from fake_trials import search, table
from pointcept_bsa.analysis.tune.run import StudyInterrupted, Wanted, tune
if __name__ == "__main__":
    try:
        tune(Wanted({config!r}, 3, 8, output={output!r}, options={{"model.act": {act!r}}}), fake_trials.ENGINE)
    except StudyInterrupted as interrupted:
        print(interrupted)
        sys.exit(128 + interrupted.number)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_study_goes_on_with_the_trial_it_was_at(make, tmp_path, number):
    """The fake hash of the config holds ``act``, so that the second call makes the study its own first."""
    wanted = make()
    script = tmp_path / "search.py"
    text = SCRIPT.format(folder=str(Path(__file__).parent), config=wanted.config, output=wanted.output, act="wait")
    script.write_text(text)
    said = tmp_path / "said.txt"
    with said.open("w") as file:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=file)
    began = Path(wanted.output, "trials", "0000", "act.txt")
    wait_for(lambda: began.exists() or process.poll() is not None)
    assert process.poll() is None
    process.send_signal(number)
    process.wait(timeout=PATIENCE)
    if number == signal.SIGTERM:
        assert process.returncode == 143 and "0 of 3 trials done; the same command goes on" in said.read_text()
    identity = Path(wanted.output, study_module.IDENTITY)
    identity.write_text(identity.read_text().replace("'wait'", "'train'"))
    _, lines = search(wanted)
    assert sum(line.startswith("trial ") for line in lines) == 3
    assert sorted(row["trial"] for row in table(wanted)) == ["1", "2", "3"]
    first = next(row for row in table(wanted) if row["trial"] == "1")
    assert first["optimizer.lr"] == "0.001"  # the config as it stands, which was not over


def write_own_data(folder):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):  # no folder "test"
        (folder / split).mkdir(parents=True)
        for index in range(4):
            coord = rng.uniform(-1, 1, (96, 3)).astype(np.float32)
            np.savez(folder / split / f"{index}.npz", coord=coord, pressure=coord.sum(axis=1))


def test_the_tool_trains_for_real_and_never_looks_at_the_test_set(tool, tmp_path, capsys):
    """There is no folder of test samples, and the class of the test data does not exist."""
    write_own_data(tmp_path / "data")
    output = tmp_path / "study"
    options = [
        *(f"data.{split}.data_root={tmp_path / 'data'}" for split in ("train", "val", "test")),
        *(f"data.{split}.target=(pressure,)" for split in ("train", "val")),
        "data.test.type=NoSuchDataSet",
        "device=cpu",
        "num_worker=0",
        "model.backbone.depth=1",
        "model.backbone.channels=16",
        "model.backbone.ball_size=32",
    ]
    config = str(ROOT / "configs/custom/bsa.py")
    argv = ["--config", config, "--trials", "3", "--budget", "4", "--evaluations", "2", "--output", str(output)]
    assert tool("tune", *argv, "--options", *options) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert said.count("\ntrial ") == 3 and "no picture of importances: 3 complete trials" in said
    best = load_config(str(output / "best.py"))
    assert best.save_path == "exp/custom/bsa_tuned" and best.max_iters == 20000
    bands = best.data.train.transform[0].num_bands
    assert best.model.backbone.in_channels == 3 * (2 * bands + 1)
    kept = {path.name for path in (output / "trials" / "0000").iterdir()}
    assert kept == {"config.py", "metrics.jsonl", "train.log"}


def test_a_mistake_is_one_line_and_exit_code_2(tool, capsys):
    config = str(ROOT / "configs/custom/bsa.py")
    argv = ["--config", config, "--trials", "1", "--budget", "4", "--output", "never"]
    assert tool("tune", *argv, "--options", "evaluate=False") == 2
    assert capsys.readouterr().err.startswith("error: evaluate=False: wanted True")
    assert not Path("never").exists()
