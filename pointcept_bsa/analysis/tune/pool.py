"""Several workers at a time, and what they say."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from pointcept_bsa.analysis.tune.worker import Engine, Evaluation, Job, Outcome, work

GRACE, MOMENT = 10.0, 0.5  # seconds: until a worker is killed; after which the caller may look for signals


class _Worker:
    def __init__(self, engine: Engine, device: str | None, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = device
        self.connection, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, engine, device, threads))
        self.process.start()
        other.close()
        self.job: Job | None = None


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
            worker.process.join(GRACE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
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
        worker.process.join(GRACE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()

    def _device(self) -> str | None:
        """The GPU with the fewest workers, as CUDA_VISIBLE_DEVICES has it; None where there is one at most."""
        count = torch.cuda.device_count()
        if count < 2:
            return None
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = named.split(",")[:count] if named else [str(index) for index in range(count)]
        taken = [worker.device for worker in self.workers]
        return min(devices, key=taken.count)
