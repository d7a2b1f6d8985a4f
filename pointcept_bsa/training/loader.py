"""Loaders, and the plan of how long to train and when to evaluate.

The training batches are a pure function of the seed and of their position in an endless stream. So a run that is
resumed sees the batches, and the random augmentations, that it would have seen without the break, with any number of
workers (torch's own random numbers in a data set need at least one for that).

An *iteration* is one step of the optimizer; it takes ``gradient_accumulation_steps`` batches. An *epoch*, as in
Pointcept's trainer, is the stretch between two evaluations, of which there are ``max_epoch``.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, get_worker_info

from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.parts import cut
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.logger import get_root_logger
from pointcept_bsa.training.env import seeded
from pointcept_bsa.training.processes.faults import guarded

GRACE = 1  # seconds
Draw = tuple[int, int]  # (index of the sample in the data set, number of this draw in the stream)


class StreamBatchSampler(Sampler[list[Draw]]):
    """Batches of one epoch of an endless stream: one random order of the data after the other.

    A pass leaves out the last, incomplete batch; with fewer samples than a batch it is one small batch (padded by
    repetition to a multiple of the processes). Every process gets its own share of each batch; those that share clouds
    get the same. ``len`` is that of the span told by ``set_span``; iteration leaves out the ``skip`` batches of it that
    a resumed run has had.
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int) -> None:
        self.num_samples, self.seed = num_samples, seed
        self.rank, self.world_size = mesh.data_rank(), mesh.data_size()
        self.batch_size = min(batch_size, -(-num_samples // self.world_size) * self.world_size)
        self.batches_per_pass = max(num_samples // self.batch_size, 1)
        self._order_of, self._order = -1, np.empty(0, dtype=np.int64)  # the pass last asked for
        self.set_span(range(self.batches_per_pass))

    def set_span(self, span: range, skip: int = 0) -> None:
        """Choose the batches to come, as positions in the stream."""
        self.span, self.skip = span, skip

    def __len__(self) -> int:
        return len(self.span)

    def __iter__(self) -> Iterator[list[Draw]]:
        return map(self.draws, self.span[self.skip :])

    def draws(self, position: int) -> list[Draw]:
        """This process's share of the batch at a position of the stream."""
        number, batch = divmod(position, self.batches_per_pass)
        if number != self._order_of:
            self._order_of, self._order = number, self._make_order(number)
        first = batch * self.batch_size + self.rank
        places = range(first, (batch + 1) * self.batch_size, self.world_size)
        offset = position * self.batch_size - batch * self.batch_size
        return [(int(self._order[place % self.num_samples]), offset + place) for place in places]

    def _make_order(self, number: int) -> np.ndarray:
        return np.random.default_rng((self.seed, number)).permutation(self.num_samples)


class SeededSamples(Dataset):
    """A data set whose random transforms depend on the seed and the draw alone; else it is the data set it wraps."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, draw: Draw | int) -> Any:
        if not isinstance(draw, tuple):
            return self.take(draw)
        index, number = draw
        seed = _mix(self.seed, number)
        random.seed(seed)
        np.random.seed(seed)
        if get_worker_info() is not None:  # in the main process torch's generator is the model's
            torch.manual_seed(seed)
        return self.take(index)

    def take(self, index: int) -> Any:
        """The sample of an index of the data set."""
        return self.dataset[index]


class SharedSamples(SeededSamples):
    """A data set of which each process that shares the clouds has a part of every sample.

    All of them draw the whole sample alike, also in evaluation, where it depends on its place in the data set alone.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        super().__init__(dataset, seed)
        self.rank, self.size = mesh.context_rank(), mesh.context_size()

    def __getitem__(self, draw: Draw | int) -> Any:
        with seeded(_mix(self.seed, draw[1]) if isinstance(draw, tuple) else draw):
            return super().__getitem__(draw)

    def take(self, index: int) -> Any:
        part = self.dataset.get_part(index, self.rank, self.size) if hasattr(self.dataset, "get_part") else None
        return cut(self.dataset[index], self.rank, self.size) if part is None else part


def _mix(seed: int, number: int) -> int:
    """A well mixed 32-bit seed from two integers (the finaliser of splitmix64; numpy's SeedSequence is 20x slower)."""
    mask = 2**64 - 1
    bits = (seed * 0x9E3779B97F4A7C15 + number + 1) * 0xBF58476D1CE4E5B9 & mask
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & mask
    return (bits ^ bits >> 31) & 0xFFFFFFFF


class GuardedLoader(DataLoader):
    """A loader whose faults (a lost folder, a dead process) are ``InputError``; ``path`` is named in them."""

    path = "data"

    def check_worker_number_rationality(self) -> None:
        """Where torch would warn at every loader of every process: one line, once."""
        _tell_of_many(self.num_workers)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return guarded(super().__iter__(), self.path, self.num_workers)


@cache
def _tell_of_many(num_workers: int) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if num_workers > cores:
        get_root_logger().info(
            f"num_worker: {num_workers} loading processes on {cores} CPU cores; fewer may load faster"
        )


class TrainLoader(GuardedLoader):
    """A loader that also takes the plan's epochs."""

    path = "data.train"
    batch_sampler: StreamBatchSampler
    dataset: SeededSamples

    def start_epoch(self, plan: TrainingPlan, epoch: int, skip: int = 0) -> None:
        """Make ``len`` that of ``epoch``; iteration leaves out its first ``skip`` batches."""
        self.batch_sampler.set_span(plan.batches(epoch), skip)

    def end_processes(self) -> None:
        """Let the loading processes end, if nobody iterates any more. Garbage collection finds their queues closed and
        waits five seconds for each."""
        self._iterator = None

    def batch_at(self, position: int) -> Any:
        """The batch at a position of the stream, built in this process; random states are as before afterwards."""
        with seeded(position):
            return self.collate_fn([self.dataset[draw] for draw in self.batch_sampler.draws(position)])


def quiet_worker(number: int) -> None:
    """Signals reach every process of a terminal, or of a batch system's job; the main one decides what becomes of them.

    A Ctrl-C is left to it. SIGTERM ends this process, but ``GRACE`` seconds later: that it has died would break off the
    main one's step wherever it is, unless the same signal has come there first.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave_later)


def _leave_later(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGALRM, _leave)
    signal.alarm(GRACE)


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def build_train_loader(
    dataset: Any, batch_size: int, num_workers: int, seed: int, collate_fn: Callable, pin_memory: bool
) -> TrainLoader:
    """Loader of the training stream; ``batch_size`` counts all processes, ``num_workers`` those of this one."""
    refuse_empty(dataset, "data.train")
    return TrainLoader(
        (SharedSamples if mesh.context_size() > 1 else SeededSamples)(dataset, seed),
        batch_sampler=StreamBatchSampler(len(dataset), batch_size, seed),
        num_workers=num_workers,
        collate_fn=collate_fn,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=quiet_worker,
        generator=torch.Generator(),  # seeds the workers, whose seeds do not matter; the global one is the model's
    )


def build_eval_loader(
    dataset: Any, path: str, batch_size: int, num_workers: int, collate_fn: Callable, pin_memory: bool
) -> DataLoader:
    """Loader of a validation or test set in order; each process gets its share, no sample twice.

    Processes that share clouds get the same samples, a part of each.
    """
    if path != "data.val":  # a protocol may have no validation samples: the evaluator says so
        refuse_empty(dataset, path)
    share = range(mesh.data_rank(), len(dataset), mesh.data_size())
    loader = GuardedLoader(
        SharedSamples(dataset, 0) if mesh.context_size() > 1 else dataset,
        batch_sampler=BatchSampler(share, batch_size, drop_last=False),
        num_workers=num_workers,
        collate_fn=collate_fn,
        pin_memory=pin_memory,
        worker_init_fn=quiet_worker,
    )
    loader.path = path
    return loader


def refuse_empty(dataset: Any, path: str) -> None:
    """Raise ``InputError`` for a data set without samples."""
    if len(dataset) == 0:
        raise InputError(f"{path}: the data set has no samples")


@dataclass(frozen=True)
class TrainingPlan:
    """``ends[e]`` is the number of iterations done when ``e`` epochs are over; ``ends[0] = 0``."""

    ends: tuple[int, ...]
    accumulate: int = 1

    @property
    def max_epoch(self) -> int:
        return len(self.ends) - 1

    @property
    def total_iters(self) -> int:
        return self.ends[-1]

    def batches(self, epoch: int) -> range:
        """The batches of an epoch, as positions in the endless stream of batches."""
        return range(self.ends[epoch] * self.accumulate, self.ends[epoch + 1] * self.accumulate)


def make_plan(
    batches_per_pass: int,
    eval_epoch: int,
    accumulate: int = 1,
    max_iters: int | None = None,
    eval_every: int | None = None,
) -> TrainingPlan:
    """Plan a run over data that make ``batches_per_pass`` batches.

    Without ``max_iters``: ``eval_epoch`` epochs of one pass each (the data set repeats itself ``epoch // eval_epoch``
    times in a pass). With it: exactly ``max_iters`` iterations however many passes that takes, with an epoch every
    ``eval_every`` iterations, or else ``eval_epoch`` epochs of equal length.
    """
    if max_iters is None:
        ends = [epoch * batches_per_pass // accumulate for epoch in range(eval_epoch + 1)]
        if ends[-1] == 0:
            batches = batches_per_pass * eval_epoch
            raise InputError(f"gradient_accumulation_steps={accumulate}: more than the {batches} batches of the run")
    elif eval_every is not None:
        ends = [*range(0, max_iters, eval_every), max_iters]
    else:
        ends = sorted({epoch * max_iters // eval_epoch for epoch in range(eval_epoch + 1)})
    return TrainingPlan(tuple(ends), accumulate)
