"""What a run tells: times and losses, measured every step, read from the device and written now and then. And what it
tells a model that is itself a hook."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.distributed import mesh
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.progress import Progress
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.hook import HookBase
from pointcept_bsa.host.embedded.registry import HOOKS
from pointcept_bsa.host.memory import peak_memory_mb
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.diagnosis import REMEDY, check_numbers
from pointcept_bsa.training.guard import finite_part

# Losses far above what they lately were.


class SpikeWatch:
    """Compares each value with the median of those before it.

    Args:
        factor: a value above ``factor`` times the median is a spike.
        window: how many values the median is of.
        patience: how many there must be before any is judged.
    """

    def __init__(self, factor: float = 5.0, window: int = 101, patience: int = 10) -> None:
        self.factor, self.patience = factor, patience
        self.values: deque[float] = deque(maxlen=window)

    def see(self, value: float) -> float | None:
        """Take in ``value``; the median if ``value`` is a spike, else None."""
        usual = median(self.values) if len(self.values) >= self.patience else None
        self.values.append(value)
        return usual if usual is not None and usual > 0 and value > self.factor * usual else None

    def load(self, values: Iterable[float]) -> None:
        """Go on from the values of an earlier run."""
        self.values = deque(values, maxlen=self.values.maxlen)


_COUNT = "finite:"  # begins the name of a sum that counts the finite values of a loss


@HOOKS.register_module()
class IterationTimer(HookBase):
    """Puts ``data_time`` (waiting for the batch) and ``batch_time`` (whole step), in seconds, into ``trainer.storage``.

    The first ``warmup_iter`` steps of the run do not count in the averages. On CUDA a single step's time is that of
    queueing it; over many steps the mean is the device's.
    """

    only_watches = True

    def __init__(self, warmup_iter: int = 1) -> None:
        self.warmup_iter = warmup_iter
        self._steps = 0

    def before_epoch(self) -> None:
        self._start = time.perf_counter()

    def before_step(self) -> None:
        self.trainer.storage.put_scalar("data_time", time.perf_counter() - self._start)

    def after_step(self) -> None:
        now = time.perf_counter()
        storage = self.trainer.storage
        storage.put_scalar("batch_time", now - self._start)
        self._start = now
        self._steps += 1
        if self._steps <= self.warmup_iter:
            storage.history("data_time").reset()
            storage.history("batch_time").reset()


@HOOKS.register_module()
class InformationWriter(HookBase):
    """Shows and writes the model's scalars, averaged since the last time, every ``cfg.log_interval`` iterations.

    Also at the end of an epoch and, with one process, after ``max_wait`` seconds (several read together, and no clock
    tells them the same time). Only then are the losses read from the device, averaged over the processes, and with them
    the trainer's guard: ``nan_guard="stop"`` ends the run at a loss that is not finite with an ``InputError`` that
    names its iteration and origin; with ``"skip"`` the means are those of the finite losses. A mean loss above
    ``spike`` times the running median of the readings is logged.
    """

    only_watches = True

    def __init__(self, max_wait: float = 5.0, spike: float = 5.0) -> None:
        self.max_wait = max_wait
        self._display: Progress | None = None
        self._spikes = SpikeWatch(spike)
        self._restart()

    def before_train(self) -> None:
        trainer = self.trainer
        if comm.is_main_process():
            say = trainer.logger.info
            self._display = Progress("iter", trainer.max_iter, "it", trainer.global_iter, sys.stdout, say, at_once=True)

    def before_epoch(self) -> None:
        self._since = time.perf_counter()

    def after_step(self) -> None:
        trainer = self.trainer
        for name, value in trainer.comm_info["model_output_dict"].items():
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise InputError(f"model: in training its output may hold scalar tensors only, {name!r} is not one")
            value = value.detach()
            if trainer.cfg.nan_guard == "skip":
                value, count = finite_part(value)
                self._add(f"{_COUNT}{name}", count)
            self._add(name, value)
        self._batches += 1
        self._clouds += _count_clouds(trainer.comm_info["input_dict"])
        if not trainer.stepped:
            return
        self._iters += 1
        self._timed += 1
        waited = comm.get_world_size() == 1 and time.perf_counter() - self._since >= self.max_wait
        if self._iters >= trainer.cfg.log_interval or waited:
            self._flush()

    def _add(self, name: str, value: Tensor) -> None:
        if name in self._sums:
            self._sums[name].add_(value)
        else:
            self._sums[name] = value.to(torch.float32, copy=True).reshape(())

    def after_epoch(self) -> None:
        if self._batches:
            self._flush()
        if self._display is not None:
            self._display.flush()
        storage = self.trainer.storage
        means = {name[6:]: history.avg for name, history in storage.histories().items() if name.startswith("train/")}
        if self.trainer.writer is not None and means:
            epoch = self.trainer.epoch + 1
            board = {f"loss_epoch/{name}": mean for name, mean in means.items()}
            self.trainer.writer.write({"kind": "epoch", "epoch": epoch, **means}, board, epoch)

    def after_train(self) -> None:
        self.on_exit()  # the test that may follow has its own way to show how far it is

    def on_exit(self) -> None:
        if self._display is not None:
            self._display.close()

    def _restart(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._batches = self._iters = 0
        self._since, self._clouds, self._timed = time.perf_counter(), 0, 0  # what was done in the time since

    def _flush(self) -> None:
        trainer = self.trainer
        check_numbers(trainer)
        sums = comm.reduce_dict(self._sums)
        totals = dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))
        names = [name for name in totals if not name.startswith(_COUNT)]
        counts = {name: totals.pop(_COUNT + name, self._batches) for name in names}
        losses = {name: total / counts[name] if counts[name] else math.nan for name, total in totals.items()}
        self._judge(losses)
        seconds = time.perf_counter() - self._since
        for name, value in losses.items():
            trainer.storage.put_scalar(name, value)
            trainer.storage.put_scalar(f"train/{name}", value)
        record = {
            "kind": "train",
            "iter": trainer.global_iter,
            "epoch": trainer.epoch + 1,
            "lr": trainer.optimizer.param_groups[0]["lr"],
            **losses,
            "iter_time": seconds / self._timed if self._timed else math.nan,
            "data_time": trainer.storage.history("data_time").avg,
            "samples_per_s": self._clouds * mesh.data_size() / max(seconds, 1e-9),
            "memory_mb": peak_memory_mb(trainer.device),
        }
        text = " ".join(f"{name} {value:.4g}" for name, value in losses.items())
        text += f" | lr {record['lr']:.3g} | {record['memory_mb']:.0f} MB"
        if self._display is not None:
            self._display.update(trainer.global_iter - self._display.done, text)
        if trainer.writer is not None:
            board = {
                **{f"loss/{name}": value for name, value in losses.items()},
                "params/lr": record["lr"],
                **{f"speed/{name}": record[name] for name in ("iter_time", "data_time", "samples_per_s")},
                "memory/peak_mb": record["memory_mb"],
            }
            trainer.writer.write(record, board, trainer.global_iter)
        self._restart()

    def _judge(self, losses: dict[str, float]) -> None:
        last = self.trainer.global_iter
        where = f"iterations {max(last - self._iters + 1, 1)} to {last}"
        for name, value in losses.items():
            if not math.isfinite(value) and self.trainer.cfg.nan_guard == "stop":
                raise InputError(f"{name} is {value} in {where}: the training has diverged; {REMEDY}")
        loss = losses.get("loss", math.nan)
        usual = self._spikes.see(loss) if math.isfinite(loss) else None
        if usual is not None:
            self.trainer.logger.warning(f"LOSS SPIKE: {loss:.4g} in {where}, lately {usual:.4g} (median)")

    def state_dict(self) -> dict[str, Any]:
        return {
            "sums": comm.reduce_dict(self._sums),  # each process goes on with the mean of all
            "counts": [self._batches, self._clouds, self._iters],
            "recent": list(self._spikes.values),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:
            sums, counts, recent = (dict(state["sums"]), list(state["counts"]), list(state["recent"]))
            if not all(isinstance(name, str) and isinstance(v, Tensor) and v.ndim == 0 for name, v in sums.items()):
                raise ValueError("sums: wanted numbers by name, as tensors")
            if not all(isinstance(value, int) and value >= 0 for value in counts):
                raise ValueError(f"counts: got {counts}, wanted integers of at least 0")
            if not all(isinstance(value, float) for value in recent):
                raise ValueError("recent: wanted numbers")
            self._sums = {name: value.to(self.trainer.device, torch.float32, copy=True) for name, value in sums.items()}
            self._batches, _, self._iters = counts  # the time before the break is not known, nor are its clouds timed
            self._spikes.load(recent)


def _count_clouds(batch: dict) -> int:
    return len(batch["offset"]) if "offset" in batch else 1


@HOOKS.register_module()
class ModelHook(HookBase):
    """Passes every moment on to the model if it derives from ``HookBase``."""

    only_watches = True  # the model is compared by its own key

    def before_train(self) -> None:
        model = unwrap(self.trainer.model)
        self.model = model if isinstance(model, HookBase) else HookBase()
        self.model.trainer = self.trainer
        self.model.before_train()

    def before_epoch(self) -> None:
        self.model.before_epoch()

    def before_step(self) -> None:
        self.model.before_step()

    def after_step(self) -> None:
        self.model.after_step()

    def after_epoch(self) -> None:
        self.model.after_epoch()

    def after_train(self) -> None:
        self.model.after_train()
