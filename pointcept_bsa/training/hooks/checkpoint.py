"""Weights of a run: loaded before it, saved after every epoch, now and then and on a signal, tested in the end."""

from __future__ import annotations

import math
import os

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.hook import HookBase
from pointcept_bsa.host.embedded.registry import HOOKS, TESTERS
from pointcept_bsa.host.weight import identity
from pointcept_bsa.training.checkpoints.checkpoint import evaluated_weights, load_checkpoint, load_weights, unwrap
from pointcept_bsa.training.checkpoints.state import check, collect, restore
from pointcept_bsa.training.checkpoints.store import CheckpointStore, load_newest
from pointcept_bsa.training.diagnosis import check_numbers
from pointcept_bsa.training.evaluation.training_range import refuse_other_inputs
from pointcept_bsa.training.processes.sharding import gathered
from pointcept_bsa.training.runs.folder import checkpoint_to_resume, is_own


@HOOKS.register_module()
class CheckpointLoader(HookBase):
    """Loads ``cfg.weight`` into the model; with ``cfg.resume`` also everything else of the run, to go on exactly.

    ``resume`` without ``weight`` takes ``{save_path}/model/model_last.pth``; where that is damaged, with a warning the
    one before it. Without ``resume`` the moving average is taken where the checkpoint has one.

    ``keywords`` in a tensor's name is replaced by ``replacement`` (once). ``strict`` (unlike Pointcept's, True) refuses
    a checkpoint of another model; False takes what fits by name, for fine-tuning under another head.
    """

    only_watches = True  # what a resumed run loads is the checkpoint's, see ``check``

    def __init__(self, keywords: str = "", replacement: str | None = None, strict: bool = True) -> None:
        self.keywords, self.strict = keywords, strict
        self.replacement = keywords if replacement is None else replacement

    def before_train(self) -> None:
        cfg = self.trainer.cfg
        path = checkpoint_to_resume(cfg) if cfg.resume else cfg.weight
        if path is None:
            return
        if cfg.resume:
            checkpoint, path = load_newest(path)
            check(self.trainer, checkpoint, path)
            weights = checkpoint["state_dict"]
        else:
            checkpoint = load_checkpoint(path)
            weights = evaluated_weights(checkpoint)
        if self.keywords:
            weights = {name.replace(self.keywords, self.replacement, 1): value for name, value in weights.items()}
        load_weights(self.trainer.model, weights, path, strict=self.strict or cfg.resume)
        average = " (their moving average)" if checkpoint.get("ema") and not cfg.resume else ""
        self.trainer.logger.info(f"Weights{average} loaded from {path}")
        if cfg.resume:
            restore(self.trainer, checkpoint, path, is_own(path, cfg))


@HOOKS.register_module()
class CheckpointSaver(HookBase):
    """Writes ``model_last.pth``, and ``model_best.pth`` when the metric is the largest yet.

    That is after every epoch, besides after every ``cfg.save_every`` iterations, and when SIGTERM or SIGINT has come.
    The last ``cfg.keep_last`` are kept, the newest first: ``model_last.pth``, ``model_last.1.pth``, ... Every file has
    its checksum beside it. The metric is ``comm_info["current_metric_value"]``; larger is better. ``save_freq=k`` also
    keeps ``epoch_{n}.pth`` every k epochs.
    """

    only_watches = True

    def __init__(self, save_freq: int | None = None) -> None:
        if save_freq is not None and (isinstance(save_freq, bool) or not isinstance(save_freq, int) or save_freq < 0):
            raise InputError(f"save_freq: got {save_freq!r}, wanted None or an integer of at least 0")
        self.save_freq = save_freq
        self._store: CheckpointStore | None = None
        self._is_best = False

    def after_epoch(self) -> None:
        self._is_best = self.trainer.cfg.evaluate and self._update_best()

    def at_save_point(self) -> None:
        trainer = self.trainer
        epoch = trainer.epochs_done
        epoch_over = epoch > trainer.epoch
        every = trainer.cfg.save_every
        if not (epoch_over or trainer.interrupted or (every is not None and trainer.global_iter % every == 0)):
            return
        check_numbers(trainer)
        checkpoint = collect(trainer)
        named = epoch_over and self.save_freq and epoch % self.save_freq == 0
        if comm.is_main_process():
            self._own_store().save(checkpoint, epoch_over and self._is_best, f"epoch_{epoch}.pth" if named else None)
        trainer.last_saved = trainer.global_iter

    def _own_store(self) -> CheckpointStore:
        cfg = self.trainer.cfg
        if self._store is None:
            self._store = CheckpointStore(os.path.join(cfg.save_path, "model"), cfg.keep_last)
        return self._store

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


@HOOKS.register_module()
class PreciseEvaluator(HookBase):
    """Runs ``cfg.test`` on the best weights of this run; on the last ones if ``test_last`` or if none was best.

    What the test returns is in ``trainer.comm_info["test_report"]`` for the hooks that follow.

    The tester and its data are made before the training, so that a mistake in them does not come out after it.
    """

    only_watches = True

    def __init__(self, test_last: bool = False) -> None:
        self.test_last = test_last

    def before_train(self) -> None:
        trainer = self.trainer
        self.tester = TESTERS.build(dict(cfg=trainer.cfg, model=trainer.model, **trainer.cfg.test), path="test")
        trained, tested = (loader.dataset for loader in (trainer.train_loader, self.tester.test_loader))
        if hasattr(trained, "input_description") and hasattr(tested, "input_description"):
            refuse_other_inputs(tested, trained.input_description, "data.train")

    def after_train(self) -> None:
        trainer = self.trainer
        comm.synchronize()  # the main process may still be writing
        if self.test_last or trainer.best_metric_value == -math.inf:
            average = trainer.ema.state_dict() if trainer.ema is not None else {}
            unwrap(trainer.model).load_state_dict(average, strict=False)
            self.tester.weight_identity = identity(self._last())
            trainer.logger.info(f"Testing the last weights{', their moving average' if average else ''}")
        else:
            path = os.path.join(trainer.cfg.save_path, "model", "model_best.pth")
            checkpoint = load_checkpoint(path)
            load_weights(trainer.model, evaluated_weights(checkpoint), path)
            self.tester.weight_identity = identity(path)
            trainer.logger.info(f"Testing {path}{', its moving average' if checkpoint.get('ema') else ''}")
        with gathered(unwrap(trainer.model)):
            trainer.comm_info["test_report"] = self.tester.test()

    def _last(self) -> str | None:
        """The file that has the weights in memory; None: they are not saved."""
        trainer = self.trainer
        path = os.path.join(trainer.cfg.save_path, "model", "model_last.pth")
        is_saved = trainer.last_saved == trainer.global_iter or trainer.start_epoch == trainer.max_epoch
        return path if is_saved and os.path.isfile(path) else None
