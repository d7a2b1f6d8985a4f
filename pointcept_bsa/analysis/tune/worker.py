"""A process that trains one trial after the other: starting Python and CUDA takes longer than many a trial."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from pointcept_bsa.analysis.tune.key_path import key_paths, put, value_at
from pointcept_bsa.analysis.tune.space import Settings
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import build_dataset
from pointcept_bsa.host.memory import is_out_of_memory

IN_CHANNELS = "model.backbone.in_channels"
OUTPUT = "output.txt"


@dataclass(frozen=True)
class Engine:
    """What the host does for us; functions of modules, so that a new process finds them.

    Attributes:
        load: reads a config file with options and checks it.
        check: checks a config again.
        hash: of what a config trains.
        shorten: makes a config a trial of so many iterations and evaluations.
        train: trains a trial with one who is told of its beginning and its evaluations; returns the seconds.
        stopped: what ``train`` raises when he wanted it.
        release: frees the device.
        sweep: trains with a rising learning rate; returns learning rates and losses.
    """

    load: Callable[[str, Mapping[str, Any]], Any]
    check: Callable[[Any], None]
    hash: Callable[[Any], str]
    shorten: Callable[[Any, int, int], None]
    train: Callable[[Any, Any], float]
    stopped: type[Exception]
    release: Callable[[], None]
    sweep: Callable[[Any, float, float, int], list[tuple[float, float]]]


@dataclass(frozen=True)
class Job:
    """A trial to be trained."""

    number: int
    config: str
    options: Mapping[str, Any]
    settings: Settings
    budget: int
    evaluations: int
    seed: int
    folder: Path
    workers: int | None = None  # loading processes at most


@dataclass(frozen=True)
class Evaluation:
    """Sent while training; ``error``: the smaller the better. The answer is whether to stop."""

    iteration: int
    error: float
    metric: str


@dataclass(frozen=True)
class Outcome:
    """The last word about a trial.

    Attributes:
        state: "complete", "pruned" or "failed".
        reason: of a failure, in one line.
        seconds: of the training.
        derived: settings that follow from those of the trial (the number of input features).
        began: an iteration was trained.
        spoilt: the process may not be what it was (a crash, memory that ran out) and ends.
    """

    state: str
    reason: str = ""
    seconds: float | None = None
    derived: Settings = field(default_factory=list)
    began: bool = True
    spoilt: bool = False


def work(connection: Connection, engine: Engine, device: str | None, threads: int) -> None:
    """Train the jobs that come, until the other side is closed, or one of them spoils this process."""
    os.setpgid(0, 0)  # Ctrl-C comes to the parent alone, which ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    torch.set_num_threads(threads)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    outcome = Outcome("complete")
    try:
        while not outcome.spoilt:
            job = connection.recv()
            _into_file(job.folder)
            outcome = run_job(job, engine, connection)
            engine.release()
            if outcome.state != "failed":  # what it printed is in its train.log
                (job.folder / OUTPUT).unlink(missing_ok=True)
            connection.send(outcome)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the search has ended


def _leave_with_parent() -> None:
    """Wait for the search to end, also by a kill; a training then ends with its iteration."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


class _Listener:
    """Passes on what a training tells."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.has_begun = connection, False

    def began(self) -> None:
        self.has_begun = True

    def evaluated(self, iteration: int, error: float, metric: str) -> bool:
        self.connection.send(Evaluation(iteration, error, metric))
        return self.connection.recv()


def run_job(job: Job, engine: Engine, connection: Connection) -> Outcome:
    """Train one job; whatever goes wrong is an outcome."""
    derived: Settings = []

    listener = _Listener(connection)
    try:
        cfg, derived = build_config(job, engine)
        engine.shorten(cfg, job.budget, job.evaluations)
        cfg.save_path, cfg.seed = str(job.folder), job.seed if cfg.seed is None else cfg.seed
        cfg.num_worker = cfg.num_worker if job.workers is None else min(cfg.num_worker, job.workers)
        engine.check(cfg)
        return Outcome("complete", "", engine.train(cfg, listener), derived)
    except engine.stopped:
        return Outcome("pruned", derived=derived)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # noqa: BLE001 (a crash of whatever kind is a trial's outcome, not the search's end)
        traceback.print_exc()
        spoilt = is_out_of_memory(error) or not isinstance(error, InputError)
        return Outcome("failed", _reason(error), derived=derived, began=listener.has_begun, spoilt=spoilt)


def build_config(job: Job, engine: Engine) -> tuple[Any, Settings]:
    """The config of a job, and what follows from its settings."""
    cfg = engine.load(job.config, job.options)
    for place, value in job.settings:
        put(cfg, place, value)
    derived = follow(cfg, job.settings)
    return cfg, derived


def follow(cfg: Any, settings: Settings) -> Settings:
    """Settings of other features want another ``model.backbone.in_channels``: that of a training sample. Sets it."""
    touched = {place[0] for place, _ in settings}
    named = tuple(IN_CHANNELS.split("."))
    if "data" not in touched or any(place == named for place, _ in settings):
        return []
    if "in_channels" not in cfg.model.get("backbone", {}):
        return []
    place = key_paths(cfg, IN_CHANNELS)[0]
    width = build_dataset(cfg.data.train, path="data.train")[0]["feat"].shape[1]
    if width == value_at(cfg, place):
        return []
    put(cfg, place, int(width))
    return [(place, int(width))]


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    if isinstance(error, InputError):
        return text
    if is_out_of_memory(error):
        return f"out of memory ({text[:120]})"
    return f"{type(error).__name__}: {text}"


def _into_file(folder: Path) -> None:
    """What this process and its children print goes to a file of the trial from now on."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
