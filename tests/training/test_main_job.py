"""The main job with the tools' own code: real cars prepared, trained on, tested; and a user's mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.preparers import prepare
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.cli import train_main as run_train

CONFIG = str(Path(__file__).parents[2] / "configs" / "shapenet_car" / "bsa.py")
SMALL = ("device=cpu", "enable_amp=False", "num_worker=0", "seed=0", "evaluate=False", "max_iters=2", "eval_every=2")
NARROW = ("model.backbone.depth=1", "model.backbone.group_compression=True", "model.backbone.query_pooling=mlp")


@pytest.fixture(scope="module")
def cars(tmp_path_factory, real_data) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapenet_car"
    prepare("shapenet_car", src=str(real_data("shapenet_car_mini.npz")), dst=str(folder))
    return folder


@pytest.fixture
def options(cars, tmp_path):
    """Options of a short run on the four cars."""
    roots = [f"data.{split}.data_root={cars}" for split in ("train", "val", "test")]
    return [*SMALL, *NARROW, *roots, f"save_path={tmp_path / 'run'}"]


def train(*options) -> int:
    return run_train(["--config", CONFIG, "--options", *options])


def test_four_cars_are_trained_on_and_tested(options, tmp_path):
    assert train(*options) == 0
    run = tmp_path / "run"
    first = json.loads((run / "test" / "metrics.json").read_text())
    assert {p.name for p in run.iterdir()} >= {"config.py", "env.json", "train.log", "metrics.jsonl", "model", "test"}
    assert first["data"]["protocol"] == "mini" and first["data"]["units"] == ["Pa"]
    assert len(first["data"]["split_hash"]) == 16 and first["seed"] == 0
    assert [s["name"] for s in first["samples"]] == ["mini_car_3"]
    assert first["parameters"] == sum(v.numel() for k, v in state(run).items() if not k.startswith("normalizer."))
    assert first["gflops"]["points"] == 3586 and first["gflops"]["value"] > 0.1
    assert [path.name for path in (run / "test").glob("*.png")] == ["only.png"]
    assert (run / "test" / "only.png").read_bytes().startswith(b"\x89PNG")
    log = (run / "train.log").read_text()
    assert "+- nan" not in log and " nan" not in log and "Picture of the only sample" in log

    weight = f"weight={run / 'model' / 'model_last.pth'}"
    again = [o for o in options if not o.startswith("save_path")] + [f"save_path={tmp_path / 'again'}", weight]
    assert run_test(["--config", CONFIG, "--options", *again, "test.save_predictions=True"]) == 0
    second = json.loads((tmp_path / "again" / "test" / "metrics.json").read_text())
    assert second["metrics"]["mse"]["mean"] == pytest.approx(first["metrics"]["mse"]["mean"], rel=1e-5)
    assert second["seed"] == 0 and second["weight"].endswith("model_last.pth")
    saved = np.load(tmp_path / "again" / "test" / "predictions" / "mini_car_3.npz", allow_pickle=False)
    error = np.mean((saved["pred"] - saved["target"]) ** 2, dtype=np.float64)
    assert error == pytest.approx(second["metrics"]["mse"]["mean"], rel=1e-4)
    assert np.ptp(saved["coord"][:, 2]) > 3  # a car's length in metres: the coordinates are the physical ones


def state(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "model" / "model_last.pth", weights_only=True)["state_dict"]


def test_a_protocol_without_validation_samples_says_so(options, tmp_path):
    assert train(*options, "evaluate=True", "test.pictures=False") == 0
    log = (tmp_path / "run" / "train.log").read_text()
    assert "NO SAMPLES" in log and "no best checkpoint" in log
    assert not (tmp_path / "run" / "model" / "model_best.pth").exists()


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("max_iter=3", ["max_iter", "did you mean 'max_iters'"]),
        ("model.backbone.type=BSA-v1m2", ["model.backbone.type='BSA-v1m2'", "did you mean 'BSA-v1m1'"]),
        ("model.backbone.bal_size=64", ["model.backbone", "did you mean 'ball_size'"]),
        ("model.backbone.num_heads=7", ["num_heads: got 7", "divisor of the 64 channels"]),
        ("model.head.out_channels=2", ["target: got 1 channels, the head has 2"]),
        ("model.backbone.in_channels=5", ["feat: got 3 channels, wanted model.backbone.in_channels=5"]),
        ("data.train.data_root=/nowhere", ["/nowhere", "tools/prepare_data.py shapenet_car"]),
        ("data.train.protocol=C", ["protocol", "'C'"]),
        ("weight=/nowhere.pth", ["weight", "/nowhere.pth"]),
        ("test.metrics=[mze]", ["test", "did you mean 'mse'"]),
        ("hooks.5.key=mze", ["RegressionEvaluator", "did you mean 'mse'"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_checkpoint(options, tmp_path, capsys, mistake, words):
    assert train(*options, mistake) == 2
    refused(capsys, tmp_path, words)


def refused(capsys, tmp_path, words):
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    for word in words:
        assert word in errors[0]
    assert not list(tmp_path.glob("run/model/*"))
    assert not list(tmp_path.glob("run/**/*.tmp*"))


def with_nan(path: Path) -> None:
    values = np.load(path)
    values[7] = np.nan
    np.save(path, values)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def foreign(path: Path) -> None:
    path.write_text("not an array\n")


def empty(path: Path) -> None:
    np.save(path, np.load(path)[:0])


@pytest.mark.parametrize(
    ("damage", "file", "word"),
    [
        (with_nan, "pressure.npy", "NaN"),
        (with_nan, "coord.npy", "NaN"),
        (truncated, "pressure.npy", "pressure.npy"),
        (foreign, "coord.npy", "coord.npy"),
        (empty, "coord.npy", "no points"),
    ],
)
def test_damaged_data_name_the_file(cars, options, tmp_path, capsys, damage, file, word):
    copy = tmp_path / "cars"
    shutil.copytree(cars, copy)
    for i in range(3):
        damage(copy / f"mini_car_{i}" / file)
    assert train(*options, f"data.train.data_root={copy}") == 2
    refused(capsys, tmp_path, [word, file])


def test_a_checkpoint_of_another_model_is_refused(options, tmp_path, capsys):
    other = tmp_path / "other.pth"
    torch.save({"state_dict": {"backbone.embedding.weight": torch.zeros(3, 3)}, "epoch": 1}, other)
    assert run_test(["--config", CONFIG, "--options", *options, f"weight={other}"]) == 2
    refused(capsys, tmp_path, ["other.pth"])
    assert not (tmp_path / "run" / "test").exists()
