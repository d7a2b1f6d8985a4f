"""Runs in several processes, and what is compared of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from host_toys import read_metrics
from processes import train_in

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = [{base!r}]
custom_imports = dict(imports=["pointcept_bsa", "parts_toys", "host_toys"], allow_failed_imports=False)
device = "cpu"
num_worker = 0
batch_size = 2
max_iters = 6
eval_every = 3
log_interval = 1
cuda_graph = False
"""


def written(folder: Path, base: str, text: str) -> str:
    path = folder / "config.py"
    path.write_text(CONFIG.format(base=str(ROOT / "configs" / "_base_" / f"{base}.py")) + text)
    return str(path)


def curve(folder: Path) -> list[float]:
    return [record["loss"] for record in read_metrics(folder)]


def run(count: int, config: str, folder: Path, *options: str, **arguments: bool) -> Path:
    codes, said = train_in(count, config, f"save_path={folder}", *options, **arguments)
    assert codes == [0] * count, said
    return folder


def numbers(folder: Path) -> dict:
    """What a test has found."""
    report = json.loads((folder / "test" / "metrics.json").read_text())
    keys = ("metrics", "metrics_normalized", "whole", "at_training_density", "constant", "forces", "scalars")
    return {key: report[key] for key in (*keys, "uncertainty", "gflops")}


def assert_close(found, wanted) -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_close(found[key], wanted[key])
    elif isinstance(wanted, list):
        for own, other in zip(found, wanted, strict=True):
            assert_close(own, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    else:
        assert found == wanted
