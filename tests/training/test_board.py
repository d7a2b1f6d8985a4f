"""TensorBoard: a short real training, its event files read back; gates against numbers set by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from pointcept_bsa.host import MODELS
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.evaluation.board import GateMeans, hyper_parameters
from pointcept_bsa.training.events import EventStorage, MetricsWriter
from pointcept_bsa.training.hooks import information

CONFIG = str(Path(__file__).parents[2] / "configs" / "ellipsoid_flow" / "bsa.py")
OPTIONS = ["device=cpu", "num_worker=0", "max_iters=4", "eval_every=2", "log_interval=1", "model.backbone.depth=2"]
SIZES = [f"data.{split}.num_samples={n}" for split, n in (("train", 8), ("val", 2), ("test", 2))]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("board") / "run"
    options = [*OPTIONS, *SIZES, "test.pictures=False", f"save_path={folder}"]
    assert train_main(["--config", CONFIG, "--options", *options]) == 0
    return folder


def test_a_reading_after_a_break_is_timed_by_its_own_iterations(monkeypatch):
    """Two iterations of a second after a break in the middle of a reading of five: a second each, not 0.4."""
    now = [100.0]
    monkeypatch.setattr(information.time, "perf_counter", lambda: now[0])
    trainer = MagicMock(
        guard=None, epoch=0, global_iter=5, stepped=True, device=torch.device("cpu"), storage=EventStorage()
    )
    trainer.optimizer.param_groups = [{"lr": 0.1}]
    trainer.cfg.log_interval, trainer.cfg.nan_guard = 5, "stop"
    trainer.comm_info = {"model_output_dict": {"loss": torch.tensor(1.0)}, "input_dict": {"offset": torch.ones(4)}}
    writer = information.InformationWriter()
    writer.trainer = trainer
    writer.load_state_dict({"sums": {"loss": torch.tensor(6.0)}, "counts": [3, 12, 3], "recent": []})
    writer.before_epoch()
    for _ in range(2):
        now[0] += 1.0
        writer.after_step()
    record = trainer.writer.write.call_args.args[0]
    assert record["loss"] == pytest.approx((6 + 2) / 5)
    assert record["iter_time"] == pytest.approx(1.0) and record["samples_per_s"] == pytest.approx(4.0)


def events(folder: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def test_scalars_of_training_gates_and_costs(run):
    board = events(run)
    tags = set(board.Tags()["scalars"])
    assert tags >= {"params/lr", "loss/loss", "loss_epoch/loss", "val/relative_l2", "memory/peak_mb"}
    assert tags >= {"speed/iter_time", "speed/data_time", "speed/samples_per_s"}
    assert min(tags) == "loss/loss"  # as TensorBoard sorts its groups
    branches = ("ball", "compression", "selection")
    gates = {f"network_gates/{branch}_block_0{i}" for branch in branches for i in (0, 1)}
    assert {tag for tag in tags if "gates" in tag} == gates
    assert [event.step for event in board.Scalars("loss/loss")] == [1, 2, 3, 4]
    for tag in ("loss_epoch/loss", "val/relative_l2"):
        assert [event.step for event in board.Scalars(tag)] == [2, 4]
    for tag in gates:
        assert [event.step for event in board.Scalars(tag)] == [2, 4]
        assert all(0 < event.value < 1 for event in board.Scalars(tag))


def test_pictures_of_one_sample_at_every_evaluation(run):
    images = events(run).Images("validation_sample")
    assert [image.step for image in images] == [2, 4]
    assert images[0].encoded_image_string.startswith(b"\x89PNG") and images[0].width > 800


def test_hyper_parameters_with_the_result_of_the_test(run):
    tested = json.loads((run / "test" / "metrics.json").read_text())["metrics"]["relative_l2"]["mean"]
    board = events(run / "hparams")
    assert board.Scalars("test/relative_l2")[0].value == pytest.approx(tested)
    assert "hparams" in board.Tags()["tensors"] or board.summary_metadata  # the plug-in's own record


def test_which_values_are_hyper_parameters():
    cfg = {
        "seed": 3,
        "batch_size": 4,
        "clip_grad": None,
        "custom_imports": {"imports": ["x"]},
        "hooks": [{"type": "A"}],
        "model": {"backbone": {"depth": 2, "strides": (1, 2)}},
        "data": {"train": {"type": "B"}},
    }
    assert hyper_parameters(cfg) == {
        "seed": 3,
        "batch_size": 4,
        "model.backbone.depth": 2,
        "model.backbone.strides": "[1, 2]",
    }


@pytest.mark.parametrize(
    ("kind", "branches", "own"),
    [
        ("BSA-v1m1", ("ball", "compression", "selection"), {}),
        ("ErwinNSA-v1m1", ("local", "compressed", "selected"), {}),
        ("FullAttention-v1m1", (), {}),
    ],
)
def test_gate_means_are_those_of_the_layers(kind, branches, own):
    model = MODELS.build(dict(type=kind, in_channels=3, channels=16, depth=2, num_heads=2, **own)).eval()
    logits = (-1.0, 0.0, 2.0)
    for name, parameter in model.named_parameters():
        if ".gate." in name:
            parameter.data.zero_()
            if name.endswith("bias"):
                parameter.data.copy_(torch.tensor(logits).repeat_interleave(len(parameter) // 3))
    coord = torch.rand(300, 3)
    means = GateMeans(model)
    with torch.no_grad(), means.watching():
        model(dict(coord=coord, feat=coord, offset=torch.tensor([100, 300])))
    expected = dict(zip(branches, (1 / (1 + math.exp(-x)) for x in logits)))
    assert means.result() == [pytest.approx(expected)] * (2 if branches else 0)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_hyper_parameters_that_are_not_finite_are_texts(tmp_path):
    """TensorBoard makes JSON of them, which has no such numbers."""
    writer = MetricsWriter(str(tmp_path))
    writer.add_hparams({"clip_grad": float("inf"), "lr": 0.5, "type": "Adam"}, {"test/mse": float("nan")})
    writer.write({"step": 1, "loss": float("nan"), "lr": float("inf")}, {"loss": float("nan")}, 1)
    writer.close()
    found = events(tmp_path / "hparams").summary_metadata["_hparams_/session_start_info"]
    metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    started = metadata.parse_session_start_info_plugin_data(found.plugin_data.content)
    to_json = pytest.importorskip("google.protobuf.json_format").MessageToJson  # as TensorBoard's server does
    hparams = json.loads(to_json(started))["hparams"]
    assert hparams == {"clip_grad": "inf", "lr": 0.5, "type": "Adam"}
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": None, "lr": None}
