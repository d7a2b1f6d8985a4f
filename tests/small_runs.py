"""A small trained run, and the tools called in this process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pointcept_bsa.__main__ import main as pcbsa
from pointcept_bsa.analysis.benchmark.settings import Settings
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.optimizer import build_optimizer
from pointcept_bsa.training.scheduler import build_scheduler

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    "max_iters=2",
    "eval_every=2",
    "batch_size=2",
    "num_worker=0",
    "device=cpu",
    "seed=0",
    "data.train.num_samples=6",
    "data.val.num_samples=2",
    "data.test.num_samples=4",
    *(f"data.{split}.num_points=96" for split in ("train", "val", "test")),
    "model.backbone.depth=2",
    "model.backbone.ball_size=32",
]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a BSA network trained for a moment on ellipsoids (never to be written to)."""
    folder = tmp_path_factory.mktemp("runs") / "bsa"
    config = str(ROOT / "configs/ellipsoid_flow/bsa.py")
    assert train_main(["--config", config, "--options", f"save_path={folder}", *SMALL]) == 0
    return folder


def load_tool(name: str) -> ModuleType:
    """The script tools/<name>.py as a module."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tool() -> Callable[..., int]:
    """``tool("predict", "--weight", ...)`` calls the main function of tools/predict.py."""

    def call(name: str, *arguments: str) -> int:
        return pcbsa([name.removesuffix("_data"), *arguments])

    return call


@pytest.fixture(scope="module")
def benchmark_tool() -> ModuleType:
    """tools/benchmark.py, with what it imports where it needs it."""
    tool = load_tool("benchmark")
    tool.build_optimizer, tool.build_scheduler = build_optimizer, build_scheduler
    return tool


@pytest.fixture
def benchmark_settings(tmp_path: Path) -> Callable[..., Settings]:
    """``benchmark_settings(sizes=[32])``: BSA against full attention, one block each, on the CPU, and what is given."""
    bsa, full = (str(ROOT / f"configs/ellipsoid_flow/{name}.py") for name in ("bsa", "full_attention"))

    def make(**changes: Any) -> Settings:
        defaults: dict[str, Any] = dict(
            config=[bsa],
            baseline=full,
            sizes=[64],
            repeats=2,
            warmup=1,
            device="cpu",
            options=["model.backbone.depth=1"],
            output=str(tmp_path / "out"),
        )
        return Settings(**defaults | changes)

    return make
