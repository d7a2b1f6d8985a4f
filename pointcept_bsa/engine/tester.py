"""Testing: every sample judged in physical units, and a record of what was tested."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pointcept_bsa.engine.evaluation import Record, check_metrics, evaluate, summarize
from pointcept_bsa.engine.flops import count_flops
from pointcept_bsa.engine.picture import draw_fields
from pointcept_bsa.host import TESTERS, TesterBase, collate_fn, comm
from pointcept_bsa.host.batch import to_device


@TESTERS.register_module("RegressionTester")
class RegressionTester(TesterBase):
    """Judges ``cfg.data.test`` and writes ``{save_path}/test/metrics.json``.

    Metrics are computed per sample in physical units, then averaged over the samples; the mean and the standard
    deviation are printed. The file also has every sample's values, the data set's card (protocol, split and its hash),
    the seed, the number of parameters and the GFLOPs of one sample.

    Args:
        cfg, model, test_loader, verbose: as every tester.
        metrics: names from :data:`pointcept_bsa.metrics.METRICS`.
        key: the metric by which the worst and the median sample are found.
        pictures: draw these two samples: truth, prediction, error.
        save_predictions: write ``test/predictions/<name>.npz`` (coord, target, pred) for every sample.
    """

    def __init__(
        self,
        cfg: Any,
        model: nn.Module | None = None,
        test_loader: Any = None,
        verbose: bool = False,
        metrics: Sequence[str] = ("relative_l2", "mse", "rmse", "mae", "r2"),
        key: str = "relative_l2",
        pictures: bool = True,
        save_predictions: bool = False,
    ):
        check_metrics([*metrics, key], "test.metrics")
        super().__init__(cfg, model, test_loader, verbose)
        self.model: nn.Module
        self.metrics = tuple(dict.fromkeys([*metrics, key]))
        self.key = key
        self.pictures = pictures
        self.save_predictions = save_predictions
        self.folder = Path(cfg.save_path) / "test"

    def test(self) -> dict[str, Any]:
        """Run the test; returns what is written to ``metrics.json``."""
        start = time.perf_counter()
        on_batch = self.write_predictions if self.save_predictions else None
        records = evaluate(self.model, self.with_progress(), self.metrics, on_batch)
        report = self.report(records, time.perf_counter() - start)
        if comm.is_main_process():
            write_json(self.folder / "metrics.json", report)
            self.print(report)
            if self.pictures and records:
                self.draw(records)
        return report

    def with_progress(self) -> Iterator[Mapping[str, Any]]:
        """The batches, with a line about rate and time left now and then."""
        total, start = len(self.test_loader), time.perf_counter()
        last = start
        for i, batch in enumerate(self.test_loader):
            yield batch
            now = time.perf_counter()
            if now - last > 10:
                last, rate = now, (i + 1) / (now - start)
                self.logger.info(f"Test: {i + 1}/{total} batches, {rate:.2f}/s, {(total - i - 1) / rate:.0f} s left")

    def report(self, records: list[Record], seconds: float) -> dict[str, Any]:
        """What was tested, with what, and how it came out."""
        dataset = self.test_loader.dataset
        card = dataset.card() if hasattr(dataset, "card") else {}
        model = getattr(self.model, "module", self.model)
        backbone = self.cfg.model.get("backbone", self.cfg.model)
        return {
            "data": card,
            "units": "physical, per sample, then averaged over the samples",
            "metrics": summarize(records, self.metrics),
            "samples": records,
            "backbone": dict(backbone),
            "parameters": sum(p.numel() for p in model.parameters()),
            "gflops": self.gflops(model),
            "seed": self.seed(),
            "weight": getattr(self, "weight", None) or "the model in memory",
            "seconds": round(seconds, 3),
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name() if next(model.parameters()).is_cuda else "cpu",
        }

    def gflops(self, model: nn.Module) -> dict[str, float] | None:
        """GFLOPs of one forward pass over the first sample, and its number of points."""
        if len(self.test_loader.dataset) == 0:
            return None
        batch = self.batch_of(0)
        return {"points": len(batch["coord"]), "value": count_flops(model, batch) / 1e9}

    def seed(self) -> int | None:
        """The seed of the training: the checkpoint's where it carries one."""
        weight = getattr(self, "weight", None)
        if not weight or str(weight).endswith(".safetensors"):
            return self.cfg.seed
        return torch.load(weight, map_location="cpu", weights_only=True).get("seed")

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
            f"{'metric':<14}{'mean':>14}{'std':>14}   (physical units {card.get('units', '?')})",
            *(f"{m:<14}{s['mean']:>14.6g}{s['std']:>14.6g}" for m, s in report["metrics"].items()),
            *(f"note: {note}" for note in card.get("notes", [])),
            f"Written to {self.folder / 'metrics.json'}",
        ]
        for line in lines:
            self.logger.info(line)

    def draw(self, records: list[Record]) -> None:
        """Pictures of the worst and the median sample."""
        dataset = self.test_loader.dataset
        ordered = sorted(records, key=lambda r: r[self.key])
        index = {dataset.get_data_name(i): i for i in range(len(dataset))}
        for label, record in (("median", ordered[len(ordered) // 2]), ("worst", ordered[-1])):
            batch = self.batch_of(index[record["name"]])
            coord, target = (batch[key].cpu().numpy() for key in (where(batch), "target"))
            with torch.no_grad():
                pred = self.model.eval()(batch)["pred"].cpu().numpy()
            title = f"{record['name']}: {label} of {len(records)} samples, {self.key} {record[self.key]:.4g}"
            path = self.folder / f"{label}.png"
            up = getattr(dataset, "up_axis", "z")
            draw_fields(path, coord, target, pred, dataset.target_names, dataset.target_units, title, up)
            self.logger.info(f"Picture of the {label} sample: {path}")

    def write_predictions(self, batch: Mapping[str, Any], pred: torch.Tensor) -> None:
        """One file a sample; written beside and renamed, so never half there."""
        folder = self.folder / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"coord": batch[where(batch)], "target": batch["target"], "pred": pred.float()}
        lengths = torch.diff(batch["offset"], prepend=batch["offset"].new_zeros(1)).tolist()
        parts = {key: value.cpu().split(lengths) for key, value in arrays.items()}
        for i, name in enumerate(batch["name"]):
            path = folder / (name.replace("/", "__") + ".npz")
            temporary = path.with_suffix(".tmp.npz")
            np.savez(temporary, **{key: values[i].numpy() for key, values in parts.items()})
            os.replace(temporary, path)


def where(batch: Mapping[str, Any]) -> str:
    """Key of the coordinates as the data set gave them: transforms that scale them keep them as ``position``."""
    return "position" if "position" in batch else "coord"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write to a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1, default=str) + "\n")
    os.replace(temporary, path)
