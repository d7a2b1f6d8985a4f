"""Everything that a run consists of, as a checkpoint, and back.

A checkpoint is of a moment between two iterations (or after an epoch's evaluation). What follows from it alone is
what an unbroken run would do: the batches are a function of their position, and all else is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.checkpoint import unwrap
from pointcept_bsa.host.embedded.elastic import launch_name
from pointcept_bsa.host.embedded.env import get_rng_state, seed_stream, set_rng_state
from pointcept_bsa.host.embedded.sharding import load_optimizer_state, model_state, optimizer_state

if TYPE_CHECKING:
    from pointcept_bsa.host.embedded.trainer import DefaultTrainer

NEEDED = ("epoch", "optimizer", "scheduler", "best_metric_value")


def collect(trainer: DefaultTrainer) -> dict[str, Any]:
    """The checkpoint of this moment: tensors, numbers, text and plain containers. Called in every process."""
    rng = comm.gather(get_rng_state(trainer.device))
    return {
        "epoch": trainer.epochs_done,
        "iter": trainer.global_iter,
        "total_iters": trainer.max_iter,
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
    }


def scaler_state(scaler: torch.amp.GradScaler | None, enable_amp: bool) -> dict[str, Any] | None:
    """Its state; with bfloat16, which needs no scaler, that of a new one: Pointcept loads one whenever it resumes."""
    if scaler is None and enable_amp:
        scaler = torch.amp.GradScaler("cpu")
    return None if scaler is None else scaler.state_dict()


def restore(trainer: DefaultTrainer, checkpoint: dict[str, Any], path: str, own: bool) -> None:
    """Undo ``collect``, but for the weights. ``own``: the checkpoint is of the run in this very folder.

    Raises ``InputError`` if the checkpoint is of a run of another length.
    """
    absent = [key for key in NEEDED if key not in checkpoint]
    if absent:
        raise InputError(f"resume=True: {path!r} has no {', '.join(absent)}; it can only be a weight")
    epoch, iteration = checkpoint["epoch"], _position(trainer, checkpoint, path)
    load_optimizer_state(trainer.optimizer, checkpoint["optimizer"])
    trainer.scheduler.load_state_dict(checkpoint["scheduler"])
    if trainer.scaler is not None and checkpoint.get("scaler"):
        trainer.scaler.load_state_dict(checkpoint["scaler"])
    if trainer.ema is not None:
        if not checkpoint.get("ema"):
            trainer.logger.warning(f"{path} has no moving average (ema): it begins anew")
        trainer.ema.load_state_dict(checkpoint.get("ema") or {})
    if trainer.guard is not None and checkpoint.get("guard"):
        trainer.guard.load_state_dict(checkpoint["guard"])
    trainer.start_epoch, trainer.global_iter = epoch, iteration
    trainer.best_metric_value = checkpoint["best_metric_value"]
    trainer.storage.load_state_dict(checkpoint.get("storage", {}))
    for index, hook in enumerate(trainer.hooks):
        hook.load_state_dict(checkpoint.get("hooks", {}).get(f"{index}.{type(hook).__name__}", {}))
    if own and trainer.writer is not None and checkpoint.get("metrics_bytes") is not None:
        trainer.writer.trim(checkpoint["metrics_bytes"], iteration)
    if checkpoint.get("seed", trainer.cfg.seed) != trainer.cfg.seed:
        trainer.reseed(checkpoint["seed"])
    _restore_random_streams(trainer, checkpoint.get("rng", []), path)
    trainer.logger.info(f"Resuming after epoch {epoch} of {trainer.max_epoch}, iteration {iteration}")


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


def _position(trainer: DefaultTrainer, checkpoint: dict[str, Any], path: str) -> int:
    """The iterations done, if this run's plan comes to that point."""
    epoch, ends = checkpoint["epoch"], trainer.plan.ends
    last = min(epoch + 1, trainer.max_epoch)
    iteration = checkpoint.get("iter", ends[epoch] if epoch <= trainer.max_epoch else -1)
    same_length = checkpoint.get("total_iters", trainer.max_iter) == trainer.max_iter
    if not same_length or epoch > trainer.max_epoch or not ends[epoch] <= iteration <= ends[last]:
        raise InputError(
            f"resume=True: {path!r} was written after epoch {epoch}, iteration {checkpoint.get('iter', '?')} of "
            f"{checkpoint.get('total_iters', '?')}, this config's run has {trainer.max_epoch} epochs and "
            f"{trainer.max_iter} iterations: epoch, max_iters, eval_every, batch_size or the data differ"
        )
    return iteration
