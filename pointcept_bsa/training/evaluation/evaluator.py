"""Evaluation on the validation set while training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import HOOKS, HOST, HookBase, comm
from pointcept_bsa.metrics import base_metric, higher_is_better
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.evaluation.bounded import (
    AT_TRAINING,
    BoundedModel,
    both_ways,
    bounded,
    describe_way,
    test_settings,
)
from pointcept_bsa.training.evaluation.evaluation import Record, check_metrics, evaluate, other_way, summarize, told
from pointcept_bsa.training.evaluation.fit import ConstantErrors, Fit, training_errors
from pointcept_bsa.training.evaluation.provenance import PointCounter, record_data, record_points, training_points
from pointcept_bsa.training.evaluation.running_statistics import compare_modes
from pointcept_bsa.training.evaluation.scalar_errors import ScalarErrors
from pointcept_bsa.training.evaluation.target_fields import TargetField, check_key, key_value, measures, target_fields
from pointcept_bsa.training.evaluation.untrained_levels import untrained_levels

Summary = dict[str, dict[str, float]]


@HOOKS.register_module("RegressionEvaluator")
class RegressionEvaluator(HookBase):
    """After each epoch, mean and standard deviation over the validation samples of metrics in physical units.

    A target of several fields (pressure and velocity) has the metrics of each, "velocity/relative_l2", and those of all
    together in normalised units alone: ``key="relative_l2"`` is then of these, ``key="velocity/relative_l2"`` of one.

    Publishes the mean of ``key`` (negated, unless larger is better) as the value of which ``CheckpointSaver`` keeps the
    largest; so it must stand before it in ``hooks``. An empty validation set is said aloud, and publishes nothing;
    under Pointcept, whose hooks cannot do without a metric, it is an InputError before the training. When the training
    begins it writes down which samples train and which validate (``{save_path}/data.json``), for the test to compare
    with its own.

    Where clouds have more points than in training, the metrics of whole clouds and those at the density of training
    are both told; ``test_cfg`` of the data set decides which count. A network with running statistics is judged on
    training samples with these and with the samples' own: if they do not fit, a line says what to do. After the last
    epoch a line says whether the network overfits, underfits, or is no better than a constant.

    Args:
        metrics: names from :data:`pointcept_bsa.metrics.METRICS` and, for fields that are vectors, "magnitude_mae" and
            "angle".
        key: the metric that chooses the best checkpoint.
    """

    def __init__(self, metrics: Sequence[str] = ("relative_l2", "mse", "mae"), key: str = "relative_l2"):
        check_metrics(metrics, "RegressionEvaluator.metrics", key)
        self.key = key
        self.metrics = tuple(dict.fromkeys([*metrics, base_metric(key)]))
        self.recorded = False
        self.counter = PointCounter()

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
            before = training_points(trainer.cfg.save_path, {}) if trainer.cfg.resume else None
            record_data(trainer.cfg.save_path, trainer.train_loader.dataset, val)
            if before is not None:
                record_points(trainer.cfg.save_path, before)
            self.recorded = True

    def before_step(self) -> None:
        self.counter.note(self.trainer.comm_info["input_dict"])

    def after_epoch(self) -> None:
        trainer = self.trainer
        trained = self.counter.result() or training_points(trainer.cfg.save_path, trainer.cfg)
        if trained is not None:
            trainer.comm_info["training_points"] = trained
            if comm.is_main_process():
                record_points(trainer.cfg.save_path, trained)
        if not trainer.cfg.evaluate:
            return
        self.check_running_statistics()
        test_cfg = test_settings(trainer.val_loader.dataset)
        predict, ways = bounded(trainer.model, test_cfg, trained), both_ways(trainer.model, test_cfg, trained)
        fields = target_fields(trainer.val_loader.dataset) if len(trainer.val_loader.dataset) else ()
        check_key(self.key, self.metrics, fields, "RegressionEvaluator.key")
        constant = ConstantErrors(unwrap(trainer.model), fields)
        several = len(fields) > 1
        scalars = ScalarErrors(trainer.val_loader.dataset)
        records = evaluate(
            predict,
            trainer.val_loader,
            metrics=self.metrics,
            judges=(constant, scalars),
            normalized=several,
            others=ways,
            fields=fields,
        )
        if not records:
            trainer.logger.warning("Validation: the set has NO SAMPLES; no metric, no best checkpoint")
            return
        summary, together = self.summarize(records, fields)
        self.tell(f"Validation, epoch {trainer.epoch + 1}, {len(records)} samples", "val", summary, together)
        self.report_ways(records, ways, fields)
        if (warning := untrained_levels(predict, trained, records, trainer.cfg)) is not None:
            trainer.logger.warning(warning)
        self.tell_scalars(scalars)
        if trainer.epoch + 1 == trainer.max_epoch:
            self.report_fit(records, constant.value(), fields)
        mean = key_value(summary, together, self.key)["mean"]
        if not math.isfinite(mean):
            infinite = [str(r["name"]) for r in records if not math.isfinite(self._value(r))]
            trainer.logger.warning(
                f"Validation: {self.key} is {mean:g} because of {', '.join(infinite[:3])} (a target that is zero at "
                "all points has no relative error, one that is constant no r2); hooks.5.key=mse lets another metric "
                "choose"
            )
        larger = higher_is_better(self.key)
        trainer.comm_info["current_metric_value"] = mean if larger else -mean
        trainer.comm_info["current_metric_name"] = self.key if larger else f"-{self.key}"

    def _value(self, record: Record) -> float:
        """The key of one sample."""
        return float(key_value(record, record.get("normalized", {}), self.key))

    def summarize(self, records: Sequence[Record], fields: Sequence[TargetField]) -> tuple[Summary, Summary]:
        """Means in physical units, and of several fields together in normalised units (of one field: none)."""
        physical = summarize(records, [measure.name for measure in measures(self.metrics, fields)])
        judged = [record["normalized"] for record in records if "normalized" in record]
        names = [name for name in self.metrics if judged and name in judged[0]]
        return physical, summarize(judged, names) if len(fields) > 1 else {}

    def tell(self, title: str, group: str, summary: Summary, together: Summary) -> None:
        """A line and curves of a summary."""
        trainer = self.trainer
        all_fields = f"; all fields together, normalised: {told(together)}" if together else ""
        trainer.logger.info(f"{title}: {told(summary)}{all_fields}")
        if comm.is_main_process() and trainer.writer is not None:
            for name, part in ((group, summary), (f"{group}_normalized", together)):
                for metric, s in part.items():
                    trainer.writer.add_scalar(f"{name}/{metric}", s["mean"], trainer.epoch + 1)

    def tell_scalars(self, scalars: ScalarErrors) -> None:
        """Lines and curves of the numbers of whole clouds, where the model predicts some."""
        trainer, curves, report = self.trainer, scalars.curves(), scalars.report()
        for line in scalars.lines(report) if report else ():
            trainer.logger.info(line)
        if comm.is_main_process() and trainer.writer is not None:
            for name, value in curves.items():
                trainer.writer.add_scalar(f"val_scalars/{name}", value, trainer.epoch + 1)

    def report_ways(
        self, records: Sequence[Record], ways: Mapping[str, BoundedModel], fields: Sequence[TargetField]
    ) -> None:
        """A line and curves of whole clouds and of the density of training, where one of them was split."""
        if not other_way(records, AT_TRAINING) and not any("pieces" in record for record in records):
            return
        for name, way in ways.items():
            if found := other_way(records, name):
                self.tell(f"  {describe_way(name, way)}", f"val_{name}", *self.summarize(found, fields))

    def report_fit(self, records: Sequence[Record], constant: float | None, fields: Sequence[TargetField]) -> None:
        """After the last epoch: training against validation, and against a constant, in a word."""
        trainer = self.trainer
        model = unwrap(trainer.model)
        clouds = trainer.cfg.get("batch_size_per_gpu") or 1
        training = training_errors(model, trainer.train_loader.dataset, clouds)
        if "relative_l2" not in self.metrics or not training:
            return
        summaries = self.summarize(other_way(records, AT_TRAINING) or records, fields)
        validation = key_value(*summaries, "relative_l2")["mean"]
        fit = Fit(sum(training) / len(training), validation, constant, len(training))
        trainer.logger.info(fit.verdict())

    def check_running_statistics(self) -> None:
        """Say so if evaluation with running statistics is much worse than with the samples' own."""
        trainer = self.trainer
        model = unwrap(trainer.model)
        clouds = trainer.cfg.get("batch_size_per_gpu") or 1
        errors = compare_modes(model, trainer.train_loader.dataset, clouds)
        if errors is not None and errors.differ:
            trainer.logger.warning(errors.advice())
