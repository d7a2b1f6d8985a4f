"""Everything that a run consists of, as a checkpoint, and back.

A checkpoint is of a moment between two iterations (or after an epoch's evaluation). What follows from it alone is
what an unbroken run would do: the batches are a function of their position, and all else is in it.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.checkpoints.entries import REFUSED, check_entries, check_fits, refused_by, usable_schedule
from pointcept_bsa.training.checkpoints.record import check_record
from pointcept_bsa.training.env import get_rng_state, seed_stream, set_rng_state
from pointcept_bsa.training.loader import TrainingPlan
from pointcept_bsa.training.processes.elastic import launch_name
from pointcept_bsa.training.processes.sharding import load_optimizer_state, model_state, optimizer_state

if TYPE_CHECKING:
    from pointcept_bsa.training.trainer import DefaultTrainer

# What ``collect`` makes.
ENTRIES = frozenset(("epoch", "iter", "total_iters", "ends", "state_dict", "optimizer", "scheduler", "scaler", "ema"))
ENTRIES |= {"guard", "best_metric_value", "rng", "storage", "hooks", "metrics_bytes", "seed", "config_hash", "launch"}
ENTRIES |= {"record"}


def collect(trainer: DefaultTrainer) -> dict[str, Any]:
    """The checkpoint of this moment: tensors, numbers, text and plain containers. Called in every process."""
    rng = comm.gather(get_rng_state(trainer.device))
    return {
        "epoch": trainer.epochs_done,
        "iter": trainer.global_iter,
        "total_iters": trainer.max_iter,
        "ends": list(trainer.plan.ends[: trainer.epochs_done + 1]),
        "state_dict": model_state(unwrap(trainer.model)),
        "optimizer": optimizer_state(trainer.optimizer),
        "scheduler": trainer.scheduler.state_dict(),
        "scaler": scaler_state(trainer.scaler, trainer.cfg.enable_amp),
        "ema": trainer.ema.state_dict() if trainer.ema is not None else None,
        "guard": trainer.guard.state_dict() if trainer.guard is not None else None,
        "best_metric_value": trainer.best_metric_value,
        "rng": rng,
        "storage": trainer.storage.state_dict(),
        "hooks": {f"{index}.{type(hook).__name__}": hook.state_dict() for index, hook in enumerate(trainer.hooks)},
        "metrics_bytes": trainer.writer.position() if trainer.writer is not None else None,
        "seed": trainer.cfg.seed,
        "config_hash": trainer.config_hash,
        "launch": launch_name(),
        "record": trainer.record(),
    }


def scaler_state(scaler: torch.amp.GradScaler | None, enable_amp: bool) -> dict[str, Any] | None:
    """Its state; with bfloat16, which needs no scaler, that of a new one: Pointcept loads one whenever it resumes."""
    if scaler is None and enable_amp:
        scaler = torch.amp.GradScaler("cpu")
    return None if scaler is None else scaler.state_dict()


def check(trainer: DefaultTrainer, checkpoint: dict[str, Any], path: str) -> None:
    """Refuse a checkpoint that this run cannot go on from exactly, before anything is changed.

    Raises ``InputError``: an entry of another type or shape, another config than the one that trained it.
    """
    check_entries(checkpoint, path, ENTRIES)
    check_record(trainer, checkpoint, path)
    plan = _continued(trainer, checkpoint, path)
    check_fits(trainer, checkpoint, path, plan.total_iters == checkpoint.get("total_iters", plan.total_iters))


def restore(trainer: DefaultTrainer, checkpoint: dict[str, Any], path: str, own: bool) -> None:
    """Undo ``collect``, but for the weights, of what ``check`` has found good.

    ``own``: the checkpoint is of the run in this very folder. Raises ``InputError`` if a hook or a part of someone
    else's cannot load what it has saved.
    """
    plan, total = _continued(trainer, checkpoint, path), checkpoint.get("total_iters")
    epoch = checkpoint["epoch"]
    iteration = checkpoint.get("iter")
    iteration = plan.ends[epoch] if iteration is None else iteration
    entry = "optimizer"
    try:
        if total is not None and plan.total_iters != total:
            _restore_optimizer_of_a_longer_run(trainer, checkpoint, iteration)
        else:
            load_optimizer_state(trainer.optimizer, checkpoint["optimizer"])
            entry = "scheduler"
            trainer.scheduler.load_state_dict(usable_schedule(trainer.scheduler, checkpoint["scheduler"]))
        entry = "scaler"
        if trainer.scaler is not None and checkpoint.get("scaler"):
            trainer.scaler.load_state_dict(checkpoint["scaler"])
        if trainer.ema is not None:
            if not checkpoint.get("ema"):
                trainer.logger.warning(f"{path} has no moving average (ema): it begins anew")
            trainer.ema.load_state_dict(checkpoint.get("ema") or {})
        if trainer.guard is not None and checkpoint.get("guard"):
            trainer.guard.load_state_dict(checkpoint["guard"])
        for index, hook in enumerate(trainer.hooks):
            entry = f"{index}.{type(hook).__name__}"
            hook.load_state_dict((checkpoint.get("hooks") or {}).get(entry, {}))
    except REFUSED as error:
        raise refused_by(path, entry, error) from error
    trainer.adopt_plan(plan)
    trainer.start_epoch, trainer.global_iter = epoch, iteration
    trainer.best_metric_value = float(checkpoint["best_metric_value"])
    _find_best(trainer, path, own)
    trainer.storage.load_state_dict(checkpoint.get("storage", {}))
    if checkpoint.get("seed") not in (None, trainer.cfg.seed):
        trainer.reseed(checkpoint["seed"])
    _restore_random_streams(trainer, checkpoint.get("rng", []), path)
    trainer.resumed = True
    trainer.origin = ((checkpoint.get("record") or {}).get("config") or {}).get("weight")
    if own and trainer.writer is not None and checkpoint.get("metrics_bytes") is not None:
        trainer.writer.trim(checkpoint["metrics_bytes"], iteration)
    trainer.logger.info(f"Resuming after epoch {epoch} of {trainer.max_epoch}, iteration {iteration}")


def _restore_optimizer_of_a_longer_run(trainer: DefaultTrainer, checkpoint: dict[str, Any], iteration: int) -> None:
    """The optimizer's memory from the checkpoint; its rates from the schedule of the new length, at this iteration."""
    for _ in range(iteration):
        trainer.scheduler.step()
    settings = [
        {key: value for key, value in group.items() if key != "params"} for group in trainer.optimizer.param_groups
    ]
    load_optimizer_state(trainer.optimizer, checkpoint["optimizer"])
    before = trainer.optimizer.param_groups[0]["lr"]
    for group, values in zip(trainer.optimizer.param_groups, settings, strict=True):
        group.update(values)
    trainer.logger.warning(
        f"LONGER RUN: {checkpoint['total_iters']} -> {trainer.max_iter} iterations. From iteration {iteration} on the "
        f"schedule is that of {trainer.max_iter} iterations: the learning rate goes from {before:.3g} to "
        f"{trainer.optimizer.param_groups[0]['lr']:.3g}. A run of this length from its beginning had other rates before"
    )


def _find_best(trainer: DefaultTrainer, path: str, own: bool) -> None:
    """The best weights so far lie beside the checkpoint; a run in another folder takes them along."""
    if trainer.best_metric_value == -math.inf:
        return
    best = os.path.join(os.path.dirname(path), "model_best.pth")
    if not os.path.isfile(best):
        trainer.logger.warning(f"{best} is not there: the best weights are sought anew, among those from here on")
        trainer.best_metric_value = -math.inf
    elif not own:
        trainer.best_file = best


def _restore_random_streams(trainer: DefaultTrainer, states: list[dict[str, Any]], path: str) -> None:
    """Each process takes its own stream up again; those that had none begin one."""
    rank, size = comm.get_rank(), comm.get_world_size()
    if len(states) != size:
        trainer.logger.warning(
            f"{path} was written by {len(states)} processes, this run has {size}. As before: the batches and their "
            f"augmentation, the optimizer's state, the schedule. Not as before: what the model draws at random "
            f"(dropout) and the order of sums, so the run goes on, but not bit for bit as it would have"
        )
    if rank < len(states):
        set_rng_state(states[rank], trainer.device)
    else:
        seed_stream(trainer.cfg.seed, rank, trainer.global_iter)


def _continued(trainer: DefaultTrainer, checkpoint: dict[str, Any], path: str) -> TrainingPlan:
    """This run's plan, with the epochs that are done ending where they did; ``InputError`` if it does not lead there.

    Epochs keep their numbers so, whatever ``max_iters`` and ``eval_every`` are now.
    """
    plan, epoch, done, iteration = trainer.plan, checkpoint["epoch"], checkpoint.get("ends"), checkpoint.get("iter")
    total = checkpoint.get("total_iters", plan.total_iters)
    if epoch <= plan.max_epoch and done in (None, list(plan.ends[: epoch + 1])) and total == plan.total_iters:
        if iteration is None or plan.ends[epoch] <= iteration <= plan.ends[min(epoch + 1, plan.max_epoch)]:
            return plan
    if done is not None and iteration is not None and iteration <= total <= plan.total_iters:
        ends = (*done, *(end for end in plan.ends if end > done[-1] and end >= iteration))
        return TrainingPlan(ends, plan.accumulate)
    raise InputError(
        f"resume=True: {path!r} was written after epoch {epoch}, iteration {checkpoint.get('iter', '?')} of "
        f"{checkpoint.get('total_iters', '?')}, this config's run has {trainer.max_epoch} epochs and "
        f"{trainer.max_iter} iterations: epoch, max_iters, eval_every, batch_size or the data differ"
    )
