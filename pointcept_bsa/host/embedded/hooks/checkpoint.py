"""Loading before training, saving after every epoch."""

from __future__ import annotations

import math
import os
from typing import Any

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.checkpoint import (
    copy_atomic,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    unwrap,
)
from pointcept_bsa.host.embedded.env import get_rng_state, set_rng_state
from pointcept_bsa.host.embedded.hooks.base import HookBase
from pointcept_bsa.host.embedded.registry import HOOKS


@HOOKS.register_module()
class CheckpointLoader(HookBase):
    """Loads ``cfg.weight`` into the model; with ``cfg.resume`` also everything else of the run.

    ``resume`` without ``weight`` takes ``{save_path}/model/model_last.pth``. ``keywords`` in a tensor's name is
    replaced by ``replacement`` (once). ``strict`` (unlike Pointcept's, True) refuses a checkpoint of another model;
    False takes what fits by name, for fine-tuning under another head.
    """

    def __init__(self, keywords: str = "", replacement: str | None = None, strict: bool = True) -> None:
        self.keywords, self.strict = keywords, strict
        self.replacement = keywords if replacement is None else replacement

    def before_train(self) -> None:
        cfg = self.trainer.cfg
        path = cfg.weight
        if path is None and cfg.resume:
            path = os.path.join(cfg.save_path, "model", "model_last.pth")
        if path is None:
            return
        checkpoint = load_checkpoint(path)
        weights = checkpoint["state_dict"]
        if self.keywords:
            weights = {name.replace(self.keywords, self.replacement, 1): value for name, value in weights.items()}
        load_weights(self.trainer.model, weights, path, strict=self.strict or cfg.resume)
        self.trainer.logger.info(f"Weights loaded from {path}")
        if cfg.resume:
            self._resume(checkpoint, path)

    def _resume(self, checkpoint: dict[str, Any], path: str) -> None:
        trainer = self.trainer
        absent = [key for key in ("epoch", "optimizer", "scheduler", "best_metric_value") if key not in checkpoint]
        if absent:
            raise InputError(f"resume=True: {path!r} has no {', '.join(absent)}; it can only be a weight")
        epoch = checkpoint["epoch"]
        planned = trainer.plan.ends[epoch] if epoch <= trainer.max_epoch else None
        if planned is None or checkpoint.get("iter", planned) != planned:
            raise InputError(
                f"resume=True: {path!r} was written after epoch {epoch}, iteration {checkpoint.get('iter', '?')}, "
                f"which this config does not come to: epoch, max_iters, eval_every, batch_size or the data differ"
            )
        trainer.optimizer.load_state_dict(checkpoint["optimizer"])
        trainer.scheduler.load_state_dict(checkpoint["scheduler"])
        if trainer.scaler is not None and checkpoint.get("scaler"):
            trainer.scaler.load_state_dict(checkpoint["scaler"])
        trainer.start_epoch, trainer.global_iter = epoch, planned
        trainer.best_metric_value = checkpoint["best_metric_value"]
        states = checkpoint.get("rng", [])
        if comm.get_rank() < len(states):
            set_rng_state(states[comm.get_rank()], trainer.device)
        if checkpoint.get("seed", trainer.cfg.seed) != trainer.cfg.seed:
            trainer.reseed(checkpoint["seed"])
        trainer.logger.info(f"Resuming after epoch {epoch} of {trainer.max_epoch}, iteration {planned}")


@HOOKS.register_module()
class CheckpointSaver(HookBase):
    """Writes ``model_last.pth`` after every epoch, ``model_best.pth`` when the metric is the largest yet.

    The metric is ``comm_info["current_metric_value"]``; larger is better. ``save_freq=k`` also keeps
    ``epoch_{n}.pth`` every k epochs.
    """

    def __init__(self, save_freq: int | None = None) -> None:
        self.save_freq = save_freq
        self._saved = False

    def after_epoch(self) -> None:
        trainer = self.trainer
        is_best = trainer.cfg.evaluate and self._update_best()
        rng = comm.gather(get_rng_state(trainer.device))
        if not comm.is_main_process():
            return
        folder = os.path.join(trainer.cfg.save_path, "model")
        last, best = (os.path.join(folder, f"model_{which}.pth") for which in ("last", "best"))
        if not self._saved and trainer.start_epoch == 0 and os.path.exists(best):
            os.remove(best)  # of an earlier run in this folder, whose last checkpoint goes now
        self._saved = True
        save_checkpoint(self._checkpoint(rng), last)
        if is_best:
            copy_atomic(last, best)
        if self.save_freq and (trainer.epoch + 1) % self.save_freq == 0:
            copy_atomic(last, os.path.join(folder, f"epoch_{trainer.epoch + 1}.pth"))

    def after_train(self) -> None:
        if self.trainer.cfg.evaluate and self.trainer.best_metric_value == -math.inf:
            self.trainer.logger.warning("No epoch had a finite metric: there is no model_best.pth, only model_last.pth")

    def _update_best(self) -> bool:
        """Compare the epoch's metric with the best one; every process comes to the same answer."""
        trainer = self.trainer
        value = comm.broadcast(trainer.comm_info.get("current_metric_value"))
        name = trainer.comm_info.get("current_metric_name", "metric")
        if value is None:
            trainer.logger.warning("No evaluator before CheckpointSaver in hooks gave a metric: no best checkpoint")
            return False
        value = float(value)
        if not math.isfinite(value):
            trainer.logger.warning(f"{name} is {value}: this epoch cannot be the best")
            return False
        if value <= trainer.best_metric_value:
            return False
        trainer.best_metric_value = value
        trainer.logger.info(f"Best {name} so far: {value:.6g}")
        return True

    def _checkpoint(self, rng: list[dict[str, Any]]) -> dict[str, Any]:
        trainer = self.trainer
        return {
            "epoch": trainer.epoch + 1,
            "iter": trainer.global_iter,
            "state_dict": unwrap(trainer.model).state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "scheduler": trainer.scheduler.state_dict(),
            "scaler": trainer.scaler.state_dict() if trainer.scaler is not None else None,
            "best_metric_value": trainer.best_metric_value,
            "rng": rng,
            "seed": trainer.cfg.seed,
            "config_hash": trainer.config_hash,
        }
