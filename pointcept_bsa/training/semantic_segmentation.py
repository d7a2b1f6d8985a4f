"""Judging labels of points, under Pointcept's names: while training, and by test-time views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_file
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.files.npy_file import write_npy
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.collate import collate_fn
from pointcept_bsa.host.embedded.hook import HookBase
from pointcept_bsa.host.embedded.registry import HOOKS, TESTERS
from pointcept_bsa.host.weight import identity
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.evaluation.embedded_tester import TesterBase


def class_counts(pred: Tensor, segment: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """(3, K) points of each class: predicted rightly, predicted or labelled so, labelled so; ignored ones left out."""
    pred, segment = pred[segment != ignore_index], segment[segment != ignore_index]
    hits = torch.bincount(segment[pred == segment], minlength=num_classes)
    labelled, predicted = (torch.bincount(each, minlength=num_classes) for each in (segment, pred))
    return torch.stack([hits, labelled + predicted - hits, labelled]).cpu()


def scores(counts: Tensor) -> dict[str, Any]:
    """mIoU, mAcc, allAcc and IoU by class; a class without points counts as 0, as in Pointcept."""
    hits, union, labelled = counts.double()
    iou, accuracy = hits / (union + 1e-10), hits / (labelled + 1e-10)
    total = float(hits.sum() / (labelled.sum() + 1e-10))
    return {"mIoU": float(iou.mean()), "mAcc": float(accuracy.mean()), "allAcc": total, "iou": iou.tolist()}


def _saving(array: np.ndarray) -> Callable[[Any], object]:
    return lambda file: write_npy(file, array)


@HOOKS.register_module()
class SemSegEvaluator(HookBase):
    """After each epoch the mIoU of the validation scenes, of which ``CheckpointSaver`` keeps the largest."""

    def __init__(self, write_cls_iou: bool = False) -> None:
        self.write_cls_iou = write_cls_iou

    @torch.no_grad()
    def after_epoch(self) -> None:
        trainer = self.trainer
        if not trainer.cfg.evaluate:
            return
        data = trainer.cfg.data
        assert trainer.val_loader is not None
        counts = torch.zeros(3, data.num_classes, dtype=torch.long)
        trainer.model.eval()
        for batch in trainer.val_loader:
            batch = to_device(batch, trainer.device)
            pred = trainer.model(batch)["seg_logits"].argmax(1)
            counts += class_counts(pred, batch["segment"], data.num_classes, data.ignore_index)
        trainer.model.train()
        report = scores(torch.stack(comm.all_gather(counts)).sum(0))
        text = "/".join(f"{report[key]:.4f}" for key in ("mIoU", "mAcc", "allAcc"))
        trainer.logger.info(f"Validation, epoch {trainer.epoch + 1}: mIoU/mAcc/allAcc {text}")
        if trainer.writer is not None:
            for key in ("mIoU", "mAcc", "allAcc"):
                trainer.writer.add_scalar(f"val/{key}", report[key], trainer.epoch + 1)
            for name, value in zip(data.names if self.write_cls_iou else [], report["iou"], strict=False):
                trainer.writer.add_scalar(f"val/IoU {name}", value, trainer.epoch + 1)
        trainer.comm_info["current_metric_value"] = report["mIoU"]
        trainer.comm_info["current_metric_name"] = "mIoU"


@TESTERS.register_module()
class SemSegTester(TesterBase):
    """Sums the class probabilities of a scene's fragments and judges the largest at every point.

    Writes ``result/{scene}_pred.npy`` and ``test/metrics.json`` under ``save_path``; every scene is predicted anew.
    """

    @torch.no_grad()
    def test(self) -> dict[str, Any]:
        """Run the test; returns what is written to ``metrics.json``."""
        data, folder = self.cfg.data, Path(self.cfg.save_path)
        (folder / "result").mkdir(parents=True, exist_ok=True)
        records: dict[str, Tensor] = {}
        self.model.eval()
        for (scene,) in self.test_loader:
            pred, segment = self.predict(scene).argmax(1), torch.as_tensor(scene["segment"])
            records[scene["name"]] = class_counts(pred, segment.long(), data.num_classes, data.ignore_index)
            write_file(folder / "result" / f"{scene['name']}_pred.npy", _saving(pred.numpy()))
        found = {name: counts for part in comm.all_gather(records) for name, counts in part.items()}
        report = scores(torch.stack(list(found.values())).sum(0))
        report |= {"names": list(data.names), "scenes": {name: scores(found[name])["mIoU"] for name in sorted(found)}}
        report |= self.weight_identity or identity(None)
        if comm.is_main_process():
            (folder / "test").mkdir(exist_ok=True)
            write_json(folder / "test" / "metrics.json", report)
            text = "/".join(f"{report[key]:.4f}" for key in ("mIoU", "mAcc", "allAcc"))
            self.logger.info(f"Test of {len(found)} scenes: mIoU/mAcc/allAcc {text}")
            for name, value in zip(data.names, report["iou"], strict=True):
                self.logger.info(f"{name:<16} IoU {value:.4f}")
        return report

    def predict(self, scene: dict[str, Any]) -> Tensor:
        """(N, K) class probabilities of the scene's points, summed over its fragments."""
        total = torch.zeros(len(scene["segment"]), self.cfg.data.num_classes)
        device = next(self.model.parameters()).device
        for fragment in scene["fragment_list"]:
            logits = self.model(to_device(collate_fn([fragment]), device))["seg_logits"]
            total[fragment["index"]] += logits.float().softmax(1).cpu()
        return total

    @staticmethod
    def collate_fn(samples: list[Any]) -> Any:
        """Scenes are tested one by one."""
        if len(samples) > 1:
            raise InputError(f"batch_size_test: got {len(samples)} scenes a process, wanted 1")
        return samples
