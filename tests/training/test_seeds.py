"""--seeds: every seed in its folder, nothing done twice, an interruption made good."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest

from pointcept_bsa.arguments.train_and_test import train_parser
from pointcept_bsa.errors import InputError
from pointcept_bsa.training import cli
from pointcept_bsa.training.checkpoints.checkpoint import load_checkpoint
from pointcept_bsa.training.runs.seeds import parse_seeds, train_seeds


@pytest.mark.parametrize(
    ("text", "numbers"), [("3", [0, 1, 2]), ("1", [0]), ("0,1,2", [0, 1, 2]), ("7,3", [7, 3]), ("5,", [5])]
)
def test_parse(text, numbers):
    assert parse_seeds(text) == numbers


@pytest.mark.parametrize("text", ["", "0", "-1", "a", "1,1", "1.5", ",", "1,,2"])
def test_parse_refuses(text):
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds(text)


class Here(list):
    """Runs in this process, so that tests are quick, without a test; lists the seeds that were trained and tested."""

    def __call__(self, args, train, test, exit_code):
        name = Path(args.options["save_path"]).name
        if train is not None:
            self.append((name, "resumed" if args.options["resume"] else "trained"))
            code = exit_code(lambda: train(args))
            if code:
                return code
        metrics = Path(args.options["save_path"], "test", "metrics.json")
        metrics.parent.mkdir(exist_ok=True)
        metrics.write_text("{}")
        self.append((name, "tested"))
        return 0


@pytest.fixture
def here(toys):
    return Here()


def train_one(args):
    return cli.train(argparse.Namespace(**vars(args) | dict(seeds=None)))


def run(config, *argv, runner, summaries=None):
    """What train_main does, with that runner."""
    summarize = None if summaries is None else lambda runs, folder: summaries.append((runs, folder))
    args = train_parser().parse_args(["--config", config, *argv])
    return cli.exit_code(lambda: train_seeds(args, train_one, cli.test, cli.exit_code, summarize, runner))


def test_each_seed_has_its_folder_and_the_summary_gets_all(config, run_dir, here):
    summaries = []
    assert run(config, "--seeds", "2", runner=here, summaries=summaries) == 0
    assert here == [("seed_0", "trained"), ("seed_0", "tested"), ("seed_1", "trained"), ("seed_1", "tested")]
    assert summaries == [([str(run_dir / "seed_0"), str(run_dir / "seed_1")], str(run_dir))]
    found = [load_checkpoint(run_dir / f"seed_{i}" / "model" / "model_last.pth")["seed"] for i in (0, 1)]
    assert found == [0, 1]


def test_what_is_done_is_not_done_again_and_more_seeds_are_added(config, here, capsys):
    assert run(config, "--seeds", "1", runner=here) == 0
    here.clear()
    assert run(config, "--seeds", "0,4", runner=here) == 0
    assert here == [("seed_4", "trained"), ("seed_4", "tested")]
    assert "seed 0: done" in capsys.readouterr().out


def test_the_same_command_goes_on_after_an_interruption(config, here, capsys):
    hook = ["--options", "hooks.4.type=SignalAt", "hooks.4.iteration=2"]
    assert run(config, "--seeds", "2", *hook, runner=here) == 143
    assert "the same command goes on with seed 0, 1" in capsys.readouterr().err
    assert run(config, "--seeds", "2", *hook, runner=here) == 143  # seed 0 passes, seed 1 is interrupted in its turn
    assert run(config, "--seeds", "2", *hook, runner=here) == 0
    assert [what for what in here if what[1] != "tested"] == [
        ("seed_0", "trained"),
        ("seed_0", "resumed"),
        ("seed_1", "trained"),
        ("seed_1", "resumed"),
    ]


def test_a_checkpoint_before_the_end_is_gone_on_with(config, run_dir, here):
    every = ["--options", "save_every=5"]
    assert run(config, "--seeds", "1", *every, runner=here) == 0
    here.clear()
    last = run_dir / "seed_0" / "model" / "model_last.pth"
    for kind in ("", ".sha256"):
        last.with_name(f"model_last.1.pth{kind}").replace(f"{last}{kind}")
    assert load_checkpoint(last)["iter"] < 12
    assert run(config, "--seeds", "1", *every, runner=here) == 0
    assert here == [("seed_0", "resumed"), ("seed_0", "tested")] and load_checkpoint(last)["iter"] == 12


def test_a_finished_run_with_an_older_test_is_tested_again(config, run_dir, here):
    assert run(config, "--seeds", "1", runner=here) == 0
    here.clear()
    os.utime(run_dir / "seed_0" / "test" / "metrics.json", (1, 1))
    assert run(config, "--seeds", "1", runner=here) == 0
    assert here == [("seed_0", "tested")]


def test_a_failure_ends_it_with_its_code(config, here, capsys):
    assert run(config, "--seeds", "2", "--options", "optimizer.type=Nope", runner=here) == 2
    assert here == [("seed_0", "trained")]
    assert "goes on with seed 0, 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--options", "seed=3"], "seed=3"),
        (["--options", "resume=True"], "resume=True"),
        (["--num-machines", "2", "--dist-url", "tcp://a:1"], "several machines"),
    ],
)
def test_contradictions_are_refused(config, run_dir, here, capsys, argv, words):
    assert run(config, "--seeds", "2", *argv, runner=here) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1
    assert here == [] and not run_dir.exists()


def test_under_torchrun_it_is_refused(config, here, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert run(config, "--seeds", "2", runner=here) == 2
    assert "torchrun" in capsys.readouterr().err


def test_a_run_of_another_config_is_refused_with_what_differs(config, here, capsys):
    assert run(config, "--seeds", "1", runner=here) == 0
    here.clear()
    assert run(config, "--seeds", "1", "--options", "optimizer.lr=0.7", runner=here) == 2
    assert "optimizer.lr: 0.3 there, 0.7 here" in capsys.readouterr().err
    assert here == []


def test_in_processes_of_their_own(config, run_dir, toys, capfd):
    """One seed for real; ToyTester writes no metrics.json, so the test is run after the training, and said."""
    assert cli.train_main(["--config", config, "--seeds", "9,"], lambda runs, folder: None) == 0
    folder = run_dir / "seed_9"
    assert json.loads((folder / "env.json").read_text())["seed"] == 9
    assert (folder / "test.log").is_file()
    assert "no summary: the tester wrote no" in capfd.readouterr().out
