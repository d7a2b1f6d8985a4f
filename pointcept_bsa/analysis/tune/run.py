"""The search, which asks for trials, has them trained and writes down what came of it; the learning-rate range test."""

from __future__ import annotations

import copy
import math
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.analysis.tune.space import Parameter, Settings, put, read_space, settings_of
from pointcept_bsa.analysis.tune.study import (
    Study,
    draw_importance,
    error_of,
    import_optuna,
    metric_name,
    natural,
    shown,
    write_best,
    write_tables,
)
from pointcept_bsa.analysis.tune.worker import Engine, Evaluation, Job, Outcome, Pool
from pointcept_bsa.arguments.words import PRUNERS
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.atomic import write_csv, write_png
from pointcept_bsa.files.json_file import plain
from pointcept_bsa.host import build_dataset
from pointcept_bsa.training.processes.interruption import forwarding

MOST_EVALUATIONS = 10
HOW_READ = ("transform", "test_mode", "cache", "test_cfg", "loop")  # of a data set; the rest says which samples
VALIDATION_ON_TEST = "wanted validation samples that are not those of the test: a search chooses by validation"


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        config: file.
        trials: in all, those of an earlier call counted; interrupted ones are not.
        budget: iterations of a trial.
        options: config values.
        processes: trials at a time.
        output: folder; None: ``save_path``/tune.
        evaluations: of a trial; None: as many as the config's own, at most ``MOST_EVALUATIONS``.
        pruner: see :class:`.Study`.
        seed: of the draws, and of every trial's training unless the config has its own.
    """

    config: str
    trials: int | None
    budget: int
    options: Mapping[str, Any] = field(default_factory=dict)
    processes: int = 1
    output: str | None = None
    evaluations: int | None = None
    pruner: str = "median"
    seed: int = 0


class StudyInterrupted(Exception):
    """A signal came; ``number`` is its."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


def tune(wanted: Wanted, engine: Engine, say: Callable[[str], None] = print) -> Path:
    """Search; returns the file of the best config. The same call goes on with a study that was interrupted.

    Raises:
        InputError: a mistake in config, search space or arguments; a study of another config; no trial was complete.
        StudyInterrupted: SIGINT or SIGTERM came; what was done is kept.
    """
    check_arguments(wanted)
    assert wanted.trials is not None
    cfg = engine.load(wanted.config, wanted.options)
    space = read_space(cfg)
    check_validation(cfg)
    evaluations = evaluations_of(cfg, wanted)
    folder = Path(wanted.output or Path(cfg.save_path) / "tune")
    identity = {
        "config": engine.hash(cfg),
        "search": plain(cfg.search),
        "budget": wanted.budget,
        "evaluations": evaluations,
        "seed": wanted.seed,
    }
    import_optuna()
    with Study(folder, space, identity, wanted.seed, wanted.pruner, warmup=evaluations // 4) as study:
        search = _Search(wanted, engine, study, space, evaluations, say)
        received: list[int] = []  # signals that break off a wait
        with forwarding(received.append):
            search.run(received)
        return search.conclude()


class _Search:
    def __init__(
        self,
        wanted: Wanted,
        engine: Engine,
        study: Study,
        space: list[Parameter],
        evaluations: int,
        say: Callable[[str], None],
    ) -> None:
        self.wanted, self.engine, self.study, self.say = wanted, engine, study, say
        self.space, self.evaluations = space, evaluations
        self.metric = next((t.user_attrs["metric"] for t in study.trials if "metric" in t.user_attrs), "-error")
        self.running: dict[int, Any] = {}
        self.last: dict[int, Evaluation] = {}

    def run(self, received: list[int]) -> None:
        """Until there are as many trials as wanted."""
        done = len(self.study.done)
        self.say(
            f"{self.study.folder}: {done} of {self.wanted.trials} trials done, {self.wanted.budget} iterations each, "
            f"evaluated {self.evaluations} times, {self.wanted.processes} at a time"
        )
        with Pool(self.engine, self.wanted.processes) as pool:
            while True:
                while not received and len(pool.running) < pool.size and self._to_go() > 0:
                    pool.start(self._next())
                if received or not pool.running:
                    break
                for job, message, connection in pool.messages():
                    if isinstance(message, Evaluation):
                        connection.send(self._evaluated(job.number, message))
                    else:
                        self._over(job.number, message)
        if received:  # trials without an end are repeated
            raise StudyInterrupted(
                received[0],
                f"interrupted by {signal.Signals(received[0]).name}: {len(self.study.done)} of {self.wanted.trials} "
                f"trials done; the same command goes on",
            )

    def _to_go(self) -> int:
        assert self.wanted.trials is not None
        return self.wanted.trials - len(self.study.done) - len(self.running)

    def _next(self) -> Job:
        trial = self.study.ask()
        self.running[trial.number] = trial
        cpus = _loading_processes(self.wanted.processes)
        return Job(
            trial.number,
            self.wanted.config,
            options=dict(self.wanted.options),
            settings=settings_of(self.space, trial.params),
            budget=self.wanted.budget,
            evaluations=self.evaluations,
            seed=self.wanted.seed,
            folder=self.study.folder / "trials" / f"{trial.number:04d}",
            workers=cpus,
        )

    def _evaluated(self, number: int, found: Evaluation) -> bool:
        """Whether to stop the trial here."""
        trial = self.running[number]
        if number not in self.last:
            trial.set_user_attr("metric", found.metric)
            self.metric = found.metric
        step = sum(1 for _ in self.study.study.trials[number].intermediate_values)
        trial.report(min(found.error, error_of(self.study.study.trials[number])), step)
        self.last[number] = found
        return step + 1 < self.evaluations and trial.should_prune()

    def _over(self, number: int, outcome: Outcome) -> None:
        trial, last = self.running.pop(number), self.last.get(number)
        if outcome.state == "failed" and not outcome.began and not settings_of(self.space, trial.params):
            raise InputError(f"the config as it stands cannot be trained: {outcome.reason}")  # trial 0 will be repeated
        self.study.tell(
            trial,
            outcome.state,
            outcome.reason,
            seconds=None if outcome.seconds is None else round(outcome.seconds, 1),
            iterations=None if last is None else last.iteration,
            derived=[[list(place), value] for place, value in outcome.derived],
        )
        best = self.study.best
        error = error_of(self.study.study.trials[number])
        value = "" if last is None else f" {metric_name(self.metric)} {self._shown(error)}"
        lead = "" if best is None else f" (best {self._shown(best.value)}, trial {best.number})"
        what = outcome.state if outcome.state == "complete" else outcome.state.upper()
        reason = f": {outcome.reason}" if outcome.reason else ""
        values = ", ".join(f"{key}={shown(v)}" for key, v in trial.params.items())
        self.say(f"trial {number} {what}{reason}{value}{lead}, {values}")

    def _shown(self, error: float) -> str:
        return f"{natural(error, self.metric):.5g}"

    def conclude(self) -> Path:
        """Write the results."""
        study, wanted = self.study, self.wanted
        if not study.done:
            raise InputError(f"--trials {wanted.trials}: no trial was made")
        states = [trial.state.name for trial in study.done]
        failed, pruned = states.count("FAIL"), states.count("PRUNED")
        best = study.best
        counts = f"{len(study.complete)} complete, {pruned} pruned, {failed} failed"
        counts = f"{len(states)} trials of {wanted.budget} iterations ({counts})"
        heading = [f"{wanted.config}: {counts}. Chosen on validation alone; the test set was not read."]
        paths = write_tables(study, self.metric, heading)
        if best is None:
            reason = next(t.user_attrs.get("reason", "") for t in study.done)
            raise InputError(f"none of {counts} was complete, the first: {reason}; see {paths[0]}")
        name = metric_name(self.metric)
        own = next((t for t in study.done if not settings_of(self.space, t.params)), None)
        unchanged = (
            f"as it stands {self._shown(own.value)} (trial {own.number})"
            if own is not None and own.state.name == "COMPLETE"
            else "as it stands was not complete"
        )
        comment = [
            f"The best of {counts}.",
            f"Trial {best.number}: validation {name} {self._shown(best.value)}; the config {unchanged}.",
        ]
        path = self._write_best(best, comment)
        picture = draw_importance(study, self.metric)
        for each in (*paths, picture, path):
            self.say(f"Written: {each}" if isinstance(each, Path) else each)
        self.say(comment[1])
        return path

    def _write_best(self, best: Any, comment: list[str]) -> Path:
        base = self.engine.load(self.wanted.config, {})
        new = copy.deepcopy(self.engine.load(self.wanted.config, self.wanted.options))
        derived: Settings = [(tuple(place), value) for place, value in best.user_attrs.get("derived", [])]
        for place, value in (*settings_of(self.space, best.params), *derived):
            put(new, place, value)
        new.save_path = f"{new.save_path}_tuned"
        path = self.study.folder / "best.py"
        write_best(path, self.wanted.config, base, new, comment, self.engine.load)
        return path


def _loading_processes(at_a_time: int) -> int | None:
    """Loading processes a trial may have, where several share the machine."""
    return None if at_a_time == 1 else max(1, (os.cpu_count() or 1) // at_a_time - 1)


def check_arguments(wanted: Wanted) -> None:
    """Raise InputError for numbers that are none."""
    for name in ("trials", "budget", "processes", "evaluations"):
        value = getattr(wanted, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: expected a positive integer")
    if wanted.pruner not in PRUNERS:
        raise InputError(
            f"--pruner {wanted.pruner!r}: expected one of {', '.join(PRUNERS)}{nearest(wanted.pruner, PRUNERS)}"
        )
    if wanted.seed < 0:
        raise InputError(f"--seed {wanted.seed}: expected an integer of at least 0")


def evaluations_of(cfg: Any, wanted: Wanted) -> int:
    """How often a trial is evaluated: as often as the config's own training, within limits."""
    if wanted.evaluations is not None:
        own = wanted.evaluations
    elif cfg.max_iters is not None and cfg.eval_every is not None:
        own = min(math.ceil(cfg.max_iters / cfg.eval_every), MOST_EVALUATIONS)
    else:
        own = min(cfg.eval_epoch, MOST_EVALUATIONS)
    own = min(own, wanted.budget)
    return math.ceil(wanted.budget / math.ceil(wanted.budget / own))


def check_validation(cfg: Any) -> None:
    """Raise InputError unless the config validates, on samples other than the test's."""
    if not cfg.evaluate:
        raise InputError("evaluate=False: wanted True, a search chooses by validation")
    val, test = cfg.data.val, cfg.data.test
    for part in ("train", "val"):
        if cfg.data[part].get("validation") == "test":
            raise InputError(f"data.{part}.validation='test': {VALIDATION_ON_TEST}")
    samples = [{key: each[key] for key in each if key not in HOW_READ} for each in (val, test)]
    if val.get("split") == "test" or samples[0] == samples[1]:
        raise InputError(f"data.val: reads the test set (split={val.get('split')!r}); {VALIDATION_ON_TEST}")
    if len(build_dataset(val, path="data.val")) == 0:
        raise InputError("data.val: has no samples, wanted some: a search chooses by validation")


# The learning-rate range test (Smith 2017, "Cyclical learning rates for training neural networks").

FEWEST = 20  # iterations of which something can be said
SMOOTHING = 0.04  # width of the Gaussian by which losses are averaged, as a share of the iterations


def find_learning_rate(
    wanted: Wanted, rates: Sequence[float], engine: Engine, say: Callable[[str], None] = print
) -> tuple[float, float]:
    """Train once while the learning rate rises from ``rates[0]`` to ``rates[1]``; write ``lr_range.{csv,png}``.

    Returns:
        Where the smoothed loss falls fastest, and a tenth of where it is lowest.

    Raises:
        InputError: rates that are none; a loss that is not finite from the beginning.
    """
    low, high = rates
    check_arguments(wanted)
    if not 0 < low < high < float("inf"):
        raise InputError(f"--lr-range {low:g} {high:g}: expected 0 < LOW < HIGH")
    if wanted.budget < FEWEST:
        raise InputError(f"--budget {wanted.budget}: expected at least {FEWEST} iterations for --lr-range")
    cfg = engine.load(wanted.config, wanted.options)
    folder = Path(wanted.output or Path(cfg.save_path) / "tune")
    cfg.save_path, cfg.seed = str(folder / "lr_range"), wanted.seed if cfg.seed is None else cfg.seed
    found = engine.sweep(cfg, low, high, wanted.budget)
    if len(found) < FEWEST:
        raise InputError(f"--lr-range {low:g} {high:g}: the loss went up at once; lower LOW")
    rate, loss = np.array(found).T
    smooth = smoothed(loss)
    steepest, tenth = steepest_rate(rate, smooth), float(rate[smooth.argmin()]) / 10
    columns = rate.tolist(), loss.tolist(), smooth.tolist()
    write_csv(folder / "lr_range.csv", ["lr", "loss", "smoothed"], list(zip(*columns, strict=True)))
    _draw(folder / "lr_range.png", rate, loss, smooth, steepest, tenth)
    say(f"Written: {folder / 'lr_range.csv'}, {folder / 'lr_range.png'}")
    end = f", stopped at {rate[-1]:.3g}" if len(found) < wanted.budget else ""
    say(f"{len(found)} iterations{end}: the loss falls fastest at {steepest:.2g}, is lowest at {10 * tenth:.2g}")
    say(f"Take a tenth of the latter, optimizer.lr={tenth:.2g}, or search from there up to it")
    return steepest, tenth


def smoothed(loss: np.ndarray) -> np.ndarray:
    """(I,) losses averaged with their neighbours, of which there are fewer at the ends.

    Losses of a training that explodes are cut at as much above those of the beginning as the lowest is below.
    """
    first = loss[: max(len(loss) // 10, 1)].mean()
    loss = np.minimum(loss, 2 * first - loss.min())
    place = np.arange(len(loss))
    weight = np.exp(-0.5 * ((place[:, None] - place) / (SMOOTHING * len(loss))) ** 2)  # (I, I)
    return weight @ loss / weight.sum(axis=1)


def steepest_rate(rate: np.ndarray, smooth: np.ndarray) -> float:
    """The learning rate, below that of the lowest loss, where the loss falls fastest by the logarithm of the rate."""
    slope = np.gradient(smooth, np.log(rate))[: max(int(smooth.argmin()), 1)]
    return float(rate[slope.argmin()])


def _draw(path: Path, rate: np.ndarray, loss: np.ndarray, smooth: np.ndarray, steepest: float, tenth: float) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    axes.plot(rate, loss, color="0.75", linewidth=0.8, label="loss")
    axes.plot(rate, smooth, color="C0", label="smoothed")
    axes.axvline(steepest, color="C1", linestyle="--", label=f"falls fastest: {steepest:.2g}")
    axes.axvline(tenth, color="C2", linestyle="--", label=f"a tenth of the lowest: {tenth:.2g}")
    axes.set_xscale("log")
    margin = 0.05 * (smooth.max() - smooth.min())
    axes.set_ylim(smooth.min() - 2 * margin, smooth.max() + 2 * margin)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend()
    write_png(path, figure, bbox_inches="tight")
