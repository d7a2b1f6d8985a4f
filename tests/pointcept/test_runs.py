"""Real runs in a real Pointcept, with its own tools, on the CPU: train, resume, test, and checkpoints between hosts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "shapenet_car"
IN_ORDER = """
_base_ = [{base!r}]
custom_imports = dict(imports=["pointcept_bsa", "in_order"], allow_failed_imports=False)
data = dict(train=dict(type="CarsInOrder"))
batch_size = 1
evaluate = False
"""
SMALL = {
    "bsa": ("depth=1", "ball_size=128", "group_compression=True", "query_pooling=mlp"),
    "erwin": ("enc_depths=[1,1]", "dec_depths=[1]", "mp_steps=1"),
    "erwin_nsa": ("depth=1", "num_selected=4"),
}
COMMON = ("seed=5", "num_worker=1", "enable_amp=False", "data.val.validation=test", "test.pictures=False")
EMBEDDED = ("device=cpu", "log_interval=1", "cuda_graph=False")


@pytest.fixture
def start(checkout, run_python, cars, tmp_path):
    """``start("pointcept", "train", "bsa", *options)``: the output of a tool run in that host."""

    def run(
        host: str,
        tool: str,
        network: str,
        *options: str,
        config: Path | None = None,
        launcher: tuple[str, ...] = (),
        **more: int,
    ) -> str:
        config = str(config or CONFIGS / f"{network}.py")
        roots = [f"data.{split}.data_root={cars}" for split in ("train", "val", "test")]
        sizes = [f"model.backbone.{size}" for size in SMALL[network]]
        if host == "pointcept":
            command = [
                "-m",
                "pointcept_bsa.host.pointcept",
                tool,
                "--pointcept",
                str(checkout),
                "--stub-missing",
                "--cpu",
            ]
            return run_python(
                *command, "--config", config, *launcher, "--options", *COMMON, *roots, *sizes, *options, **more
            )
        command = [str(ROOT / "tools" / f"{tool}.py"), "--config", config]
        return run_python(*command, "--options", *COMMON, *EMBEDDED, *roots, *sizes, *options)

    return run


def metrics(run: Path) -> dict[str, float]:
    report = json.loads((run / "test" / "metrics.json").read_text())
    return {name: value["mean"] for name, value in report["metrics"].items()}


@pytest.mark.parametrize("network", SMALL)
def test_train_resume_and_test_and_exchange_checkpoints(network, start, tmp_path):
    there, here = tmp_path / "pointcept", tmp_path / "embedded"
    last = there / "model" / "model_last.pth"
    start("pointcept", "train", network, f"save_path={there}", "epoch=1", "eval_epoch=1")
    assert torch.load(last, weights_only=True)["epoch"] == 1
    length = ("epoch=2", "eval_epoch=2")
    log = start("pointcept", "train", network, f"save_path={there}", *length, "resume=True", f"weight={last}")
    assert "Resuming train at eval epoch: 1" in log and "Train: [2/2]" in log and "Train: [1/2]" not in log
    saved = torch.load(last, weights_only=True)
    assert saved["epoch"] == 2 and saved["state_dict"]["normalizer.fitted"]
    assert saved["best_metric_value"] == pytest.approx(-metrics(there)["relative_l2"], rel=1e-5)

    # its test alone (weight=None: the best of save_path), and the embedded host's with the same file
    trained = metrics(there)
    start("pointcept", "test", network, f"save_path={there}")
    assert metrics(there) == pytest.approx(trained, rel=1e-5)
    best = f"weight={there / 'model' / 'model_best.pth'}"
    start("embedded", "test", network, f"save_path={tmp_path / 'test_here'}", best)
    assert metrics(tmp_path / "test_here") == pytest.approx(trained, rel=1e-5)

    # and the other way round
    start("embedded", "train", network, f"save_path={here}", "max_iters=2", "eval_every=1")
    best = f"weight={here / 'model' / 'model_best.pth'}"
    start("pointcept", "test", network, f"save_path={tmp_path / 'test_there'}", best)
    assert metrics(tmp_path / "test_there") == pytest.approx(metrics(here), rel=1e-5)


def test_losses_of_both_hosts_are_equal(start, tmp_path):
    """Same seed, same order of data: thirty iterations of BSA. The initial weights are drawn from the seed, too."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tmp_path / "in_order.py"
    config.write_text(IN_ORDER.format(base=str(CONFIGS / "bsa.py")))
    there, here = tmp_path / "pointcept", tmp_path / "embedded"
    last = "hooks.7.test_last=True"
    start("pointcept", "train", "bsa", f"save_path={there}", last, "epoch=10", "eval_epoch=10", config=config)
    start("embedded", "train", "bsa", f"save_path={here}", last, "max_iters=30", "eval_every=30", config=config)
    board = EventAccumulator(str(there)).Reload()
    losses_there = [event.value for event in board.Scalars("train_batch/loss")]
    lines = [json.loads(line) for line in (here / "metrics.jsonl").read_text().splitlines()]
    losses_here = [line["loss"] for line in lines if line.get("kind") == "train"]
    assert len(losses_there) == len(losses_here) == 30
    assert losses_there == pytest.approx(losses_here, rel=1e-5)
    assert metrics(there) == pytest.approx(metrics(here), rel=1e-4)


def test_two_processes(start, tmp_path):
    """Pointcept's own launcher with two processes; on the CPU they talk through gloo."""
    options = (f"save_path={tmp_path}", "epoch=1", "eval_epoch=1", "batch_size=2", "num_worker=2", "evaluate=False")
    log = start("pointcept", "train", "bsa", *options, "hooks.7.test_last=True", launcher=("--num-gpus", "2"))
    assert "Train: [1/1][2/2]" in log and metrics(tmp_path)["relative_l2"] > 0
    weights = torch.load(tmp_path / "model" / "model_last.pth", weights_only=True)["state_dict"]
    assert all(name.startswith("module.") for name in weights)
    last = f"weight={tmp_path / 'model' / 'model_last.pth'}"
    start("embedded", "test", "bsa", f"save_path={tmp_path / 'test_here'}", last)
    assert metrics(tmp_path / "test_here") == pytest.approx(metrics(tmp_path), rel=1e-5)


def test_no_validation_samples_is_told_before_the_training(start, tmp_path):
    options = ("data.val.validation=holdout", f"save_path={tmp_path}", "epoch=1", "eval_epoch=1")
    output = start("pointcept", "train", "bsa", *options, returncode=1)
    assert "data.val: has no samples" in output and "Train: [1/1]" not in output


def test_a_mistake_is_one_line_under_pointcept_too(start, checkout, run_python, tmp_path):
    config = str(ROOT / "configs" / "ellipsoid_flow" / "bsa.py")
    command = ["-m", "pointcept_bsa.host.pointcept", "train", "--pointcept", str(checkout), "--stub-missing", "--cpu"]
    wrong = ["--config", config, "--options", "data.train.split=trian", "num_worker=1", f"save_path={tmp_path}"]
    output = run_python(*command, *wrong, returncode=2)
    assert "error: " in output and "did you mean 'train'" in output and "Traceback" not in output
