"""Testing: every sample judged in physical units, and a record of what was tested."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.parts import whole_batch
from pointcept_bsa.files.checkpoint_file import read_checkpoint
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.files.progress import Progress
from pointcept_bsa.host import TESTERS, collate_fn, comm
from pointcept_bsa.host.weight import identity
from pointcept_bsa.metrics import base_metric, higher_is_better
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.evaluation.anchored import AnchoredModel
from pointcept_bsa.training.evaluation.bounded import (
    AT_TRAINING,
    WHOLE,
    both_ways,
    bounded,
    describe_way,
    test_settings,
)
from pointcept_bsa.training.evaluation.domains import check_domains
from pointcept_bsa.training.evaluation.evaluation import (
    TESTED,
    Record,
    check_metrics,
    evaluate,
    metric_lines,
    other_way,
    summarize,
)
from pointcept_bsa.training.evaluation.export_fields import (
    FieldExporter,
    check_export,
    draw_pictures,
    save_predictions,
)
from pointcept_bsa.training.evaluation.fit import KEY, ConstantErrors, compared_with_constant, constant_warning
from pointcept_bsa.training.evaluation.flops import gflops_of
from pointcept_bsa.training.evaluation.force_errors import ForceErrors
from pointcept_bsa.training.evaluation.provenance import provenance, sample_names, training_points
from pointcept_bsa.training.evaluation.published import comparison_lines, published_for
from pointcept_bsa.training.evaluation.scalar_errors import ScalarErrors
from pointcept_bsa.training.evaluation.target_fields import check_key, key_value, measures, target_fields
from pointcept_bsa.training.evaluation.tester_base import TesterBase
from pointcept_bsa.training.evaluation.training_range import check_same_inputs
from pointcept_bsa.training.evaluation.uncertainty import PICTURE, UncertaintyCurves, draw_uncertainty, with_uncertainty
from pointcept_bsa.training.evaluation.untrained_levels import untrained_levels
from pointcept_bsa.training.runs.finished import run_record, tested
from pointcept_bsa.training.runs.flat_config import flat_config

OF_WHOLE_CLOUDS = {"forces"}  # judges that cannot do with parts of clouds
PICTURES, ONLY = ("best", "median", "worst"), ("only",)
VALIDATION_NOTES = ("validation =", "no validation samples")


@TESTERS.register_module("RegressionTester")
class RegressionTester(TesterBase):
    """Judges ``cfg.data.test`` and writes ``{save_path}/test/metrics.json``.

    Metrics are computed per sample, then averaged over the samples, in physical units and in those of the model's
    target normaliser; mean and standard deviation are printed, published results of the same protocol beside them. The
    file also has every sample's values, the data set's card (protocol, split and its hash), which samples
    trained and validated, the seed, the number of parameters and the GFLOPs of one sample, and of the run its config,
    times and validation curve: enough for ``tools/compare.py`` without the run's folder. Where clouds have more points
    than in training it has ``whole`` and ``at_training_density``, too: the metrics of whole clouds, and of clouds in
    random pieces of as many points as those of training; ``data.test.test_cfg`` decides which are *the* metrics.

    A target of several fields has the metrics of each, "velocity/relative_l2", in its own unit (``metric_units``), and
    those of all together in normalised units alone. A field that is a vector is judged as one. Of a model that predicts
    a variance there are ``nll``, ``coverage_68``, ``coverage_95``, ``spread`` and ``ause``, and ``uncertainty``, the
    curves behind them, with a picture. Of surface pressures there are ``forces``, see :class:`.ForceErrors`;
    of models that predict numbers of whole clouds ``scalars``.

    Args:
        cfg, model, test_loader, verbose: as every tester.
        metrics: names from :data:`pointcept_bsa.metrics.METRICS` and, for fields that are vectors, "magnitude_mae"
            (lengths) and "angle" (directions).
        key: the metric by which the best, the median and the worst sample are found; of several fields together
            "relative_l2", of one "velocity/relative_l2".
        pictures: draw these three samples: truth, prediction, error.
        save_predictions: write ``test/predictions/<name>.npz`` (coord, target, pred, maybe spread) for every sample.
        export: write ``test/export/<name>.<format>`` for every sample, see :class:`.FieldExporter`; with "png" the
            pictures, too.
    """

    shares_clouds = True

    def __init__(
        self,
        cfg: Any,
        model: nn.Module | None = None,
        test_loader: Any = None,
        verbose: bool = False,
        metrics: Sequence[str] = TESTED,
        key: str = "relative_l2",
        pictures: bool = True,
        save_predictions: bool = False,
        export: Sequence[str] = (),
    ):
        export = check_export(export)
        check_metrics(metrics, "test.metrics", key)
        super().__init__(cfg, model, test_loader, verbose)
        self.model: nn.Module
        check_domains(unwrap(self.model), self.test_loader.dataset)
        in_training = model is not None and self.run_folder() == Path(cfg.save_path)
        if not in_training:  # which compares with its own data
            check_same_inputs(self.test_loader.dataset, self.run_folder())
        self.metrics = with_uncertainty([*metrics, base_metric(key)], self.model)
        self.key = key
        self.fields = target_fields(self.test_loader.dataset)
        check_key(key, self.metrics, self.fields, "test.key")
        self.pictures = pictures or "png" in export
        self.save_predictions = save_predictions
        self.folder = Path(cfg.save_path) / "test"
        say = self.logger.info if comm.is_main_process() else lambda line: None
        self.export_fields = FieldExporter(self.folder / "export", export, self.test_loader.dataset, say)

    def test(self) -> dict[str, Any]:
        """Run the test; returns what is written to ``metrics.json``."""
        start = time.perf_counter()
        test_cfg, self.trained = test_settings(self.test_loader.dataset), training_points(self.run_folder(), self.cfg)
        self.predict = bounded(self.model, test_cfg, self.trained)
        self.ways = both_ways(self.model, test_cfg, self.trained)
        batches = self.with_progress()
        self.constant = ConstantErrors(unwrap(self.model), self.fields)
        self.judges = self.judges_of_samples()
        judged: dict[str, Any] = {"judges": (self.after_batch,), "others": self.ways, "fields": self.fields}
        records = evaluate(self.predict, batches, self.metrics, normalized=True, **judged)
        report = self.report(records, time.perf_counter() - start)
        if comm.is_main_process():
            self.say_what_is_replaced(report)
            write_json(self.folder / "metrics.json", report)
            self.print(report)
        if self.pictures and records and mesh.data_rank() == 0:
            self.draw(records)
            if comm.is_main_process():
                self.draw_uncertainty(report)
        return report

    def judges_of_samples(self) -> dict[str, Any]:
        """What else is told of the whole test, by its name in the report."""
        dataset = self.test_loader.dataset
        return {
            "scalars": ScalarErrors(dataset),
            "forces": ForceErrors(dataset),
            "uncertainty": UncertaintyCurves(self.fields),
        }

    def say_what_is_replaced(self, report: Mapping[str, Any]) -> None:
        """A result of other weights that lies there goes, and is named."""
        path, before = self.folder / "metrics.json", (tested(self.folder.parent) or {}).get("weight_sha256")
        if isinstance(before, str) and before != report["weight_sha256"]:
            self.logger.warning(f"{path}: the result of other weights (sha256 {before[:12]}...) is replaced")

    def with_progress(self) -> Iterator[Mapping[str, Any]]:
        """The batches, with a line about rate and time left now and then."""
        if not comm.is_main_process():
            yield from self.test_loader
            return
        progress = Progress("test", len(self.test_loader), "batches", say=self.logger.info)
        try:
            for batch in self.test_loader:
                yield batch
                progress.update()
        finally:
            progress.close()

    def report(self, records: list[Record], seconds: float) -> dict[str, Any]:
        """What was tested, with what, and how it came out."""
        dataset = self.test_loader.dataset
        card = dataset.card() if hasattr(dataset, "card") else {}
        if "notes" in card:  # a test set does not know how the training was validated: "validation" tells, from names
            card["notes"] = [note for note in card["notes"] if not note.startswith(VALIDATION_NOTES)]
        model = unwrap(self.model)
        return {
            "data": card,
            "units": "physical, per sample, then averaged over the samples",
            "metrics": self.physical(records),
            "metrics_normalized": self.normalized(records),
            KEY: self.compared_with_constant(records),
            "metric_units": {measure.name: measure.unit for measure in measures(self.metrics, self.fields)},
            **provenance(self.run_folder(), sample_names(dataset, card) if card else []),
            "run": run_record(self.run_folder(), flat_config(self.cfg)),
            **{name: judge.report() for name, judge in self.judges.items()},
            "published": published_for(card, records),
            "approximation": self.approximation(records),
            **{name: self.other_way(records, name) for name in (WHOLE, AT_TRAINING)},
            "samples": records,
            "backbone": dict(self.cfg.model.get("backbone", self.cfg.model)),
            "parameters": sum(p.numel() for p in model.parameters()),
            "gflops": self.gflops(model),
            "seed": self.seed(),
            "weight": getattr(self, "weight", None) or "the model in memory",
            **(getattr(self, "weight_identity", None) or identity(getattr(self, "weight", None))),
            "seconds": round(seconds, 3),
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name() if next(model.parameters()).is_cuda else "cpu",
        }

    def compared_with_constant(self, records: list[Record]) -> dict[str, float] | None:
        """The network's relative L2, and that of the mean training target."""
        errors = self.constant.errors()
        if "relative_l2" not in self.metrics or not records:
            return None
        own = [key_value(record, record.get("normalized", {}), "relative_l2") for record in records]
        return compared_with_constant(sum(own) / len(own), errors)

    def physical(self, records: list[Record]) -> dict[str, dict[str, float]]:
        """The summary in physical units."""
        return summarize(records, [measure.name for measure in measures(self.metrics, self.fields)])

    def normalized(self, records: list[Record]) -> dict[str, dict[str, float]]:
        """The summary in normalised units; empty for a model without a normaliser."""
        judged = [record["normalized"] for record in records if "normalized" in record]
        names = [measure.name for measure in measures(self.metrics, self.fields, normalized=True)]
        return summarize(judged, names) if judged else {}

    def run_folder(self) -> Path | None:
        """The folder of the training: that of the weights, or of the run that tests what it has in memory."""
        weight = getattr(self, "weight", None)
        if weight is None:
            return Path(self.cfg.save_path)
        folder = Path(weight).resolve().parent
        return folder.parent if folder.name == "model" else None

    def other_way(self, records: list[Record], name: str) -> dict[str, Any] | None:
        """The summaries of a way of :func:`.both_ways`; None where it was not gone, or no cloud is split in any."""
        found, way = other_way(records, name), self.ways.get(name)
        split = other_way(records, AT_TRAINING) or any("pieces" in record for record in records)
        if not found or not split or way is None:
            return None
        pieces = {} if name == WHOLE else {"piece_points": way.piece_points, "votes": way.votes}
        return {**pieces, "metrics": self.physical(found), "metrics_normalized": self.normalized(found)}

    def approximation(self, records: list[Record]) -> str | None:
        """What ``data.test.test_cfg`` made of the clouds; None if the model saw every cloud whole."""
        if isinstance(self.predict, AnchoredModel):
            return self.predict.describe()
        split = [record["pieces"] for record in records if "pieces" in record]
        if not split:
            return None
        which = f"{len(split)} of {len(records)} clouds"
        if self.predict.piece_points is not None:
            return (
                f"{which} predicted in {min(split)} to {max(split)} random pieces of {self.predict.piece_points} "
                f"points, {self.predict.votes} vote(s)"
            )
        return (
            f"{which} exceed max_points={self.predict.max_points}: predicted in "
            f"2 to {max(split)} random pieces, {self.predict.votes} vote(s); NOT what the model says of the whole cloud"
        )

    def kind_of_split(self) -> str:
        """Pieces that spare memory are one thing, pieces of the density of training another."""
        if isinstance(self.predict, AnchoredModel):
            return "from anchors"
        return "APPROXIMATE" if self.predict.piece_points is None else "in pieces"

    def gflops(self, model: nn.Module) -> dict[str, float] | None:
        """GFLOPs of one forward pass over the first sample, and its number of points."""
        if len(self.test_loader.dataset) == 0:
            return None
        return gflops_of(model, self.batch_of(0), self.predict)

    def seed(self) -> int | None:
        """The seed of the training: the checkpoint's where it carries one."""
        weight = getattr(self, "weight", None)
        if not weight or str(weight).endswith(".safetensors"):
            return self.cfg.seed
        return read_checkpoint(weight).get("seed")

    def batch_of(self, index: int) -> dict[str, Any]:
        """One test sample as a batch on the model's device."""
        return to_device(collate_fn([self.test_loader.dataset[index]]), next(self.model.parameters()).device)

    def print(self, report: Mapping[str, Any]) -> None:
        card = report["data"]
        gflops = report["gflops"]
        cost = f", {gflops['value']:.2f} GFLOPs at {gflops['points']} points" if gflops else ""
        lines = [
            f"Test on {card.get('dataset', '?')}, protocol {card.get('protocol', '?')}, split {card.get('split', '?')} "
            f"({len(report['samples'])} samples, hash {card.get('split_hash', '?')}), seed {report['seed']}",
            f"{report['backbone'].get('type')}: {report['parameters']:,} parameters{cost}",
            f"Validation: {report['validation']['statement']}",
            *metric_lines(report, f"(physical: {card.get('units', '?')})", report["metric_units"]),
            *self.ways_lines(report),
            *(line for name, judge in self.judges.items() if report[name] for line in judge.lines(report[name])),
            *(f"note: {note}" for note in card.get("notes", [])),
            *([f"{self.kind_of_split()}: {report['approximation']}"] if report["approximation"] else []),
            *comparison_lines(report),
            f"Written to {self.folder / 'metrics.json'}",
        ]
        for line in lines:
            self.logger.info(line)
        untrained = untrained_levels(self.predict, self.trained, report["samples"], self.cfg)
        for warning in filter(None, (constant_warning(report), untrained)):
            self.logger.warning(warning)

    def ways_lines(self, report: Mapping[str, Any]) -> list[str]:
        """The same table for whole clouds and for the density of training, where these are two."""
        lines = []
        for name in (WHOLE, AT_TRAINING):
            if found := report[name]:
                lines.append(f"{describe_way(name, self.ways[name])}:")
                lines += metric_lines(found)
        return lines

    def draw(self, records: list[Record]) -> None:
        """Pictures of the best, the median and the worst sample; of two, or of the only one, no more than there are."""
        dataset = self.test_loader.dataset
        ordered = sorted(records, key=self.value, reverse=higher_is_better(self.key))
        index = {dataset.get_data_name(i): i for i in range(len(dataset))}
        self.model.eval()
        chosen = {"best": ordered[0], "median": ordered[len(ordered) // 2], "worst": ordered[-1]}
        if len(ordered) < 3:
            chosen = {"best": ordered[0], "worst": ordered[-1]} if len(ordered) == 2 else {"only": ordered[0]}
        gone = {*PICTURES, *ONLY} - set(chosen) if comm.is_main_process() else ()
        for label in gone:  # of an earlier test
            for path in (self.folder / f"{label}.png", *self.folder.glob(f"{label}_*.png")):
                path.unlink(missing_ok=True)
        for label, record in chosen.items():
            batch = self.batch_of(index[record["name"]])
            with torch.no_grad():
                batch, output = whole_batch(batch, self.predict(batch))
            if not comm.is_main_process():
                continue
            of = f"{label} of {len(records)} samples" if len(records) > 1 else "the only sample"
            title, pred = partial(self.title, record, of), output["pred"].cpu().numpy()
            for path in draw_pictures(dataset, index[record["name"]], batch, pred, self.folder / label, title):
                self.logger.info(f"Picture of the {label} sample: {path}")

    def title(self, record: Record, of: str, domain: str) -> str:
        """Above a picture of a sample, or of a domain of it."""
        return f"{record['name']}: {of}, {self.told(record, domain)}"

    def draw_uncertainty(self, report: Mapping[str, Any]) -> None:
        """The picture of a predicted variance; that of an earlier test goes where there is none."""
        path, found = self.folder / PICTURE, report["uncertainty"]
        if found is None:
            path.unlink(missing_ok=True)
            return
        names = {field: "ause" if len(found["fields"]) == 1 else f"{field}/ause" for field in found["fields"]}
        ause = {field: report["metrics"][name]["mean"] for field, name in names.items()}
        draw_uncertainty(path, found, ause, f"Uncertainty, mean over {len(report['samples'])} samples")
        self.logger.info(f"Picture of the uncertainty: {path}")

    def value(self, record: Record) -> float:
        """The number by which a sample is better or worse than others."""
        return key_value(record, record.get("normalized", {}), self.key)

    def told(self, record: Record, domain: str = "") -> str:
        """That number, and of several fields what it is of and that of each, or of each of a ``domain``."""
        metric, own = base_metric(self.key), f"{self.key} {self.value(record):.4g}"
        if len(self.fields) < 2:
            return own
        together = " (all fields, normalised)" if metric == self.key else ""
        prefix = f"{domain}/" if domain else ""
        names = [f"{field.name}/{metric}" for field in self.fields if field.name.startswith(prefix)]
        told = [f"{name.removeprefix(prefix)} {record[name]:.4g}" for name in names if name != self.key]
        return ", ".join([own + together, *told])

    def after_batch(self, batch: Mapping[str, Any], output: Mapping[str, torch.Tensor]) -> None:
        """What else is done with a batch that was judged."""
        self.constant(batch, output)
        for name, judge in self.judges.items():
            if name not in OF_WHOLE_CLOUDS:
                judge(batch, output)
        if mesh.context_size() > 1 and not self.wants_whole_clouds():
            return
        batch, output = whole_batch(batch, output)
        if mesh.context_rank() > 0:
            return
        with mesh.whole_clouds():
            for name in OF_WHOLE_CLOUDS & set(self.judges):
                self.judges[name](batch, output)
            pred = output["pred"].double()
            self.write_files(batch, pred, output["variance"].sqrt() if "variance" in output else None)

    def wants_whole_clouds(self) -> bool:
        """Whether something is done with a judged batch that cannot be done with parts of clouds."""
        forces = self.judges["forces"].surface is not None
        return forces or self.save_predictions or bool(self.export_fields.formats)

    def write_files(self, batch: Mapping[str, Any], pred: torch.Tensor, spread: torch.Tensor | None) -> None:
        """The files of every sample that were asked for; ``spread`` (N, K) is the predicted standard deviation."""
        if self.save_predictions:
            save_predictions(self.folder / "predictions", self.test_loader.dataset, batch, pred, spread)
        self.export_fields(batch, pred, spread)
