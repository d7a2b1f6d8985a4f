"""What TensorBoard shows beside losses and metrics: gates, pictures of one sample, hyper-parameters with the result."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointcept_bsa.distributed.parts import sum_over_parts, whole_batch
from pointcept_bsa.host import HOOKS, HookBase, collate_fn, comm
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.evaluation.bounded import bounded, evaluation_mode, test_settings
from pointcept_bsa.training.evaluation.export_fields import draw_pictures
from pointcept_bsa.training.runs.flat_config import flat_config

# How much each branch of a sparse attention contributes: the means of its gates.

BRANCHES: dict[type[nn.Module], tuple[str, str, str]] = {
    BallSparseAttention: ("ball", "compression", "selection"),
    NativeSparseAttention: ("local", "compressed", "selected"),
}


class GateMeans:
    """Means of sigmoid gates over the real points and the heads, of the forward passes that were watched; of anchors
    and queries those of the anchors.

    Blocks are counted in the order of the model's modules.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = [m for m in model.modules() if type(m) in BRANCHES]
        self.sums: dict[int, Tensor] = {}  # block -> (3,)
        self.counts: dict[int, int] = {}
        self._valid: dict[int, Tensor | None] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """A context in which forward passes are watched. Only within it the layers have hooks: none is left to be
        captured in a CUDA graph."""
        handles = []
        for block, layer in enumerate(self.layers):
            handles.append(layer.register_forward_pre_hook(self._see_layout(block)))
            handles.append(layer.get_submodule("gate").register_forward_hook(self._see_gate(block)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _see_layout(self, block: int) -> Any:
        def hook(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
            self._valid[block] = arguments[1].valid

        return hook

    def _see_gate(self, block: int) -> Any:
        def hook(gate: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            if block not in self._valid:  # of queries behind anchors
                return
            values = output.detach().float().sigmoid().unflatten(-1, (3, -1)).mean(-1)  # (S, 3)
            valid = self._valid.pop(block)
            if valid is not None:
                values = values[valid]
            self.sums[block] = self.sums.get(block, torch.zeros_like(values[0])) + values.sum(0)
            self.counts[block] = self.counts.get(block, 0) + len(values)

        return hook

    def result(self) -> list[dict[str, float]]:
        """{branch: mean} of each block that was run; of whole clouds, also where processes have parts of them."""
        found = []
        for block, layer in enumerate(self.layers):
            if self.counts.get(block):
                sums, count = self.sums[block], self.sums[block].new_tensor([self.counts[block]])
                means = (sum_over_parts(sums) / sum_over_parts(count)).tolist()
                found.append(dict(zip(BRANCHES[type(layer)], means, strict=True)))
        return found


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
        model = unwrap(trainer.model)
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
        predict = bounded(model, test_settings(dataset), self.trainer.comm_info.get("training_points"))
        with evaluation_mode(model), means.watching() if means is not None else contextlib.nullcontext():
            return predict(batch)

    def _draw(self, dataset: Any, index: int, batch: Mapping[str, Any], pred: np.ndarray, step: int) -> None:
        from matplotlib.image import imread

        points = len(batch["coord"])
        if points > self.max_points:
            if not self._said:
                self.trainer.logger.info(f"BoardWriter: no picture of {points} points, {self.max_points} at most")
            self._said = True
            return
        title = f"{dataset.get_data_name(index)}, epoch {step}"
        with tempfile.TemporaryDirectory() as folder:
            stem = Path(folder) / "validation_sample"
            for path in draw_pictures(dataset, index, batch, pred, stem, lambda _: title):
                image = (imread(path)[..., :3] * 255).round().astype(np.uint8)
                self.trainer.writer.add_image(path.stem, image, step, dataformats="HWC")

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
