"""A trial of a search: a training without checkpoints and without a test, of which nothing stays."""

from __future__ import annotations

import gc

import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import check_config, load_config
from pointcept_bsa.training.trainer import DefaultTrainer
from pointcept_bsa.training.trial import TrialStopped, shorten, sweep_learning_rate, train_trial


class Listener:
    def __init__(self, stop_at=None):
        self.stop_at, self.begun, self.heard = stop_at, 0, []

    def began(self):
        self.begun += 1

    def evaluated(self, iteration, error, metric):
        self.heard.append((iteration, round(error, 6), metric))
        return len(self.heard) == self.stop_at


@pytest.fixture
def trial(config):
    def make(**changes):
        cfg = load_config(config, changes)
        shorten(cfg, 6, 3)
        check_config(cfg)
        return cfg

    return make


def test_a_trial_tells_its_errors_and_leaves_three_files(trial, run_dir, toys):
    listener = Listener()
    assert train_trial(trial(), listener) > 0
    assert (listener.begun, listener.heard) == (1, [(2, -0.1, "toy"), (4, -0.3, "toy"), (6, -0.2, "toy")])
    assert {path.name for path in run_dir.iterdir()} == {"config.py", "metrics.jsonl", "train.log"}
    assert toys.ToyTester.results == []  # no test


def test_the_test_data_are_not_there(trial, toys):
    cfg = trial(**{"data.test.type": "NoSuchDataSet", "data.test.fault": "file"})
    train_trial(cfg, Listener())
    assert cfg.data.test == {"type": "withheld from a search"}


def test_a_trial_that_is_stopped_ends_there(trial, toys):
    listener = Listener(stop_at=2)
    with pytest.raises(TrialStopped):
        train_trial(trial(), listener)
    assert [iteration for iteration, *_ in listener.heard] == [2, 4]


@pytest.mark.parametrize(
    ("changes", "words", "begun"),
    [
        ({"hooks.5.metrics": [0.1, float("nan"), 0.2]}, "toy of the validation is nan", 1),
        ({"hooks.5.type": "Diary", "hooks.5.metrics": None}, "hooks", 0),
        ({"model.bad_at": 3, "model.bad_step": True}, "iteration", 1),
        ({"data.train.fault": "file"}, "3 values are NaN", 0),
    ],
)
def test_what_goes_wrong_is_one_line(trial, toys, changes, words, begun):
    listener = Listener()
    with pytest.raises(InputError, match=words):
        train_trial(trial(**changes), listener)
    assert listener.begun == begun


def test_no_evaluator_is_an_error(trial, toys):
    cfg = trial()
    cfg.hooks = [hook for hook in cfg.hooks if hook["type"] != "ToyEvaluator"]
    with pytest.raises(InputError, match="no evaluator published a metric"):
        train_trial(cfg, Listener())


@pytest.mark.parametrize("stop_at", [None, 1])
def test_nothing_refers_to_a_trainer_that_is_done(trial, toys, stop_at):
    def alive():
        gc.collect()
        return sum(type(each) in (DefaultTrainer, toys.ToyLine) for each in gc.get_objects())

    class Counting(Listener):
        def evaluated(self, *of):
            self.within = alive()
            return super().evaluated(*of)

    before, listener = alive(), Counting(stop_at)
    try:
        train_trial(trial(), listener)
    except TrialStopped:
        pass
    assert listener.within == before + 2 and alive() == before


def test_a_sweep_raises_the_learning_rate_evenly_in_its_logarithm(config, run_dir, toys):
    cfg = load_config(config, {"data.test.fault": "file", "data.val.fault": "file"})
    found = sweep_learning_rate(cfg, 1e-4, 1e-2, 40)
    rates = [rate for rate, _ in found]
    assert (
        len(found) == 40
        and rates[0] == pytest.approx(1e-4)
        and rates[-1] == pytest.approx(1e-2 ** (39 / 40) * 1e-4 ** (1 / 40))
    )
    assert max(b / a for a, b in zip(rates, rates[1:], strict=False)) == pytest.approx(100 ** (1 / 40))
    assert {path.name for path in run_dir.iterdir()} == {"config.py", "train.log"}
    assert toys.ToyTester.results == []


def test_a_sweep_ends_where_the_loss_explodes(config, toys):
    cfg = load_config(config, {"optimizer.type": "SGD", "data.train.noise": 1.0})
    found = sweep_learning_rate(cfg, 1e-3, 1e3, 400)
    assert len(found) < 350 and found[-1][0] < 1e3
