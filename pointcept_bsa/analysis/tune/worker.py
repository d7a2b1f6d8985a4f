"""Processes that train trials, several at a time, each one after the other: starting Python and CUDA takes longer than
many a trial."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from pointcept_bsa.analysis.tune.space import Settings, key_paths, put, value_at
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


GRACE, MOMENT = 10.0, 0.5  # seconds: until a worker is killed; after which the caller may look for signals


def _context(engine: Engine) -> Any:
    """Where the system can, workers are copies of a process that has imported what the engine needs, but begun nothing:
    one that follows upon a crash starts at once."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    needed = {"torch", __name__, *(getattr(engine, part.name).__module__ for part in fields(engine))}
    context.set_forkserver_preload(sorted(needed))  # what is found on the path of a new Python; the rest is for later
    return context


class _Worker:
    def __init__(self, engine: Engine, device: str | None, threads: int) -> None:
        context = _context(engine)
        self.device = device
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, engine, device, threads))
        self.process.start()
        other.close()
        self.job: Job | None = None

    def end(self) -> None:
        """Wait for it, but not for ever."""
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Pool:
    """Up to ``size`` workers, spread over the GPUs; a context, which ends them."""

    def __init__(self, engine: Engine, size: int) -> None:
        self.engine, self.size = engine, size
        self.threads = max(1, (os.cpu_count() or 1) // size)
        self.workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.connection.close()
            if worker.process.is_alive():
                worker.process.terminate()
        for worker in self.workers:
            worker.end()
        self.workers.clear()

    @property
    def running(self) -> list[Job]:
        """Jobs that are being trained."""
        return [worker.job for worker in self.workers if worker.job is not None]

    def start(self, job: Job) -> None:
        """Give a job to a worker that has none; a new one where there is none."""
        free = next((worker for worker in self.workers if worker.job is None), None)
        if free is None:
            free = _Worker(self.engine, self._device(), self.threads)
            self.workers.append(free)
        free.job = job
        try:
            free.connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has died: its sentinel says so

    def messages(self) -> Iterator[tuple[Job, Evaluation | Outcome, Connection]]:
        """Wait a moment, then what has come: (job, message, where the answer to an evaluation goes)."""
        waiting: list[Any] = [w.connection for w in self.workers] + [w.process.sentinel for w in self.workers]
        ready = wait(waiting, timeout=MOMENT)
        for worker in list(self.workers):
            if worker.connection not in ready and worker.process.sentinel not in ready:
                continue
            message = self._receive(worker)
            job = worker.job
            if isinstance(message, Outcome):
                worker.job = None
                if message.spoilt:
                    self._forget(worker)
            if job is not None and message is not None:
                yield job, message, worker.connection

    def _receive(self, worker: _Worker) -> Evaluation | Outcome | None:
        try:
            if worker.connection.poll():
                return worker.connection.recv()
        except (EOFError, ConnectionResetError):
            pass
        if worker.process.is_alive() and worker.process.sentinel not in wait([worker.process.sentinel], timeout=1.0):
            return None
        worker.process.join()
        code = worker.process.exitcode
        killed = " (killed: out of memory?)" if code == -9 else ""
        return Outcome("failed", f"its process ended with exit code {code}{killed}", spoilt=True)

    def _forget(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.connection.close()
        worker.end()

    def _device(self) -> str | None:
        """The GPU with the fewest workers, as CUDA_VISIBLE_DEVICES has it; None where there is one at most."""
        count = torch.cuda.device_count()
        if count < 2:
            return None
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = named.split(",")[:count] if named else [str(index) for index in range(count)]
        taken = [worker.device for worker in self.workers]
        return min(devices, key=taken.count)
