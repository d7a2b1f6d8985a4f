"""Evaluation on the validation set while training."""

from __future__ import annotations

from collections.abc import Sequence

from pointcept_bsa.engine.bounded import bounded
from pointcept_bsa.engine.evaluation import check_metrics, evaluate, summarize
from pointcept_bsa.engine.provenance import record_data
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import HOOKS, HOST, HookBase, comm
from pointcept_bsa.metrics import HIGHER_IS_BETTER


@HOOKS.register_module("RegressionEvaluator")
class RegressionEvaluator(HookBase):
    """After each epoch, mean and standard deviation over the validation samples of metrics in physical units.

    Publishes the mean of ``key`` (negated, unless larger is better) as the value of which ``CheckpointSaver`` keeps the
    largest; so it must stand before it in ``hooks``. An empty validation set is said aloud, and publishes nothing;
    under Pointcept, whose hooks cannot do without a metric, it is an InputError before the training. When the training
    begins it writes down which samples train and which validate (``{save_path}/data.json``), for the test to compare
    with its own.

    Args:
        metrics: names from :data:`pointcept_bsa.metrics.METRICS`.
        key: the metric that chooses the best checkpoint.
    """

    def __init__(self, metrics: Sequence[str] = ("relative_l2", "mse", "mae"), key: str = "relative_l2"):
        check_metrics([*metrics, key], "RegressionEvaluator.metrics")
        self.key = key
        self.metrics = tuple(dict.fromkeys([*metrics, key]))
        self.recorded = False

    def before_train(self) -> None:
        if HOST == "pointcept" and self.trainer.cfg.evaluate and len(self.trainer.val_loader.dataset) == 0:
            raise InputError(
                "data.val: has no samples, wanted some under Pointcept, or evaluate=False with test_last=True in "
                "PreciseEvaluator (ShapeNetCarDataset: validation='test')"
            )

    def before_epoch(self) -> None:
        trainer = self.trainer
        if comm.is_main_process() and not self.recorded:
            val = trainer.val_loader.dataset if trainer.cfg.evaluate else None
            record_data(trainer.cfg.save_path, trainer.train_loader.dataset, val)
            self.recorded = True

    def after_epoch(self) -> None:
        trainer = self.trainer
        if not trainer.cfg.evaluate:
            return
        records = evaluate(bounded(trainer.model, trainer.val_loader.dataset), trainer.val_loader, self.metrics)
        if not records:
            trainer.logger.warning("Validation: the set has NO SAMPLES; no metric, no best checkpoint")
            return
        summary = summarize(records, self.metrics)
        text = ", ".join(f"{m} {s['mean']:.5g} +- {s['std']:.3g}" for m, s in summary.items())
        trainer.logger.info(f"Validation, epoch {trainer.epoch + 1}, {len(records)} samples: {text}")
        if comm.is_main_process() and trainer.writer is not None:
            for metric, s in summary.items():
                trainer.writer.add_scalar(f"val/{metric}", s["mean"], trainer.epoch + 1)
        mean = summary[self.key]["mean"]
        larger = self.key in HIGHER_IS_BETTER
        trainer.comm_info["current_metric_value"] = mean if larger else -mean
        trainer.comm_info["current_metric_name"] = self.key if larger else f"-{self.key}"
