"""What TensorBoard shows beside losses and metrics: gates, pictures of one sample, hyper-parameters with the result."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pointcept_bsa.datasets.inputs import in_files, physical_target
from pointcept_bsa.distributed.parts import whole_batch
from pointcept_bsa.engine.bounded import bounded, test_settings
from pointcept_bsa.engine.domains import draw_view, views
from pointcept_bsa.engine.gates import GateMeans
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.host import HOOKS, HookBase, collate_fn, comm
from pointcept_bsa.host.batch import to_device
from pointcept_bsa.host.flat_config import flat_config

PARTS = ("model", "optimizer", "scheduler")  # of the config, in full; besides, the plain values at its top


@HOOKS.register_module("BoardWriter")
class BoardWriter(HookBase):
    """After each epoch, from one fixed validation sample: gate means a block, and a picture of its fields.

    At the end the hyper-parameters with the test's metrics (else the best validation metric). The sample is run once
    more in evaluation mode: the training's own steps, and CUDA graphs of them, stay as they are.
    Put it last in ``hooks``: it uses what the evaluator and the test have found.

    Args:
        sample: index of the validation sample.
        pictures: draw its fields.
        gates: write the gate means, of models that have gates.
        max_points: no picture of a cloud with more points than this, which is said once.
    """

    only_watches = True

    def __init__(self, sample: int = 0, pictures: bool = True, gates: bool = True, max_points: int = 200_000) -> None:
        self.sample, self.pictures, self.gates, self.max_points = sample, pictures, gates, max_points
        self._said = False

    def after_epoch(self) -> None:
        trainer = self.trainer
        if not trainer.cfg.evaluate:
            return
        dataset = trainer.val_loader.dataset
        model = getattr(trainer.model, "module", trainer.model)
        means = GateMeans(model) if self.gates else None
        if len(dataset) == 0 or not (self.pictures or (means is not None and means.layers)):
            return
        index = self.sample % len(dataset)
        own = to_device(collate_fn([dataset[index]]), next(model.parameters()).device)
        # In every process: their parameters may be in shards, and each may have a part of the cloud.
        batch, output = whole_batch(own, self._predict(model, dataset, own, means))
        found = means.result() if means is not None else []
        if not comm.is_main_process() or trainer.writer is None:
            return
        step = trainer.epoch + 1
        for block, gates in enumerate(found):
            for branch, value in gates.items():
                trainer.writer.add_scalar(f"network_gates/{branch}_block_{block:02d}", value, step)
        if self.pictures and "pred" in output and hasattr(dataset, "target_names"):
            self._draw(dataset, index, batch, output["pred"].float().cpu().numpy(), step)

    @torch.no_grad()
    def _predict(
        self, model: Any, dataset: Any, batch: Mapping[str, Any], means: GateMeans | None
    ) -> Mapping[str, Any]:
        training = model.training
        predict = bounded(model, test_settings(dataset), self.trainer.comm_info.get("training_points"))
        model.eval()
        try:
            if means is None:
                return predict(batch)
            with means.watching():
                return predict(batch)
        finally:
            model.train(training)

    def _draw(self, dataset: Any, index: int, batch: Mapping[str, Any], pred: np.ndarray, step: int) -> None:
        from matplotlib.image import imread

        coord = batch["position" if "position" in batch else "coord"].cpu().numpy()
        if len(coord) > self.max_points:
            if not self._said:
                self.trainer.logger.info(f"BoardWriter: no picture of {len(coord)} points, {self.max_points} at most")
            self._said = True
            return
        raw = dataset.get_data(index)
        face = raw.get("face") if len(raw["coord"]) == len(coord) else None
        title = f"{dataset.get_data_name(index)}, epoch {step}"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sample.png"
            up = getattr(dataset, "up_axis", "z")
            coord = in_files(dataset, "coord", coord)
            truth, pred = (physical_target(dataset, values) for values in (batch["target"].cpu().numpy(), pred))
            for view in views(dataset, batch[DOMAIN].cpu().numpy() if DOMAIN in batch else None):
                draw_view(path, view, coord, truth, pred, title, up, face)
                image = (imread(path)[..., :3] * 255).round().astype(np.uint8)
                self.trainer.writer.add_image(view.suffixed("validation_sample"), image, step, dataformats="HWC")

    def after_train(self) -> None:
        trainer = self.trainer
        if not comm.is_main_process() or trainer.writer is None:
            return
        report = trainer.comm_info.get("test_report") or {}
        metrics = {f"test/{metric}": s["mean"] for metric, s in report.get("metrics", {}).items()}
        if not metrics and math.isfinite(trainer.best_metric_value):
            metrics = {f"best/{trainer.comm_info.get('current_metric_name', 'metric')}": trainer.best_metric_value}
        if metrics:
            trainer.writer.add_hparams(hyper_parameters(trainer.cfg), metrics)


def hyper_parameters(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, texts and truth values of the config: seed, lengths, and all of model, optimizer and scheduler."""
    flat = {"seed": cfg.get("seed"), **flat_config(cfg)}
    return {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in flat.items()
        if value is not None and ("." not in key or key.split(".")[0] in PARTS) and key != "custom_imports"
    }
