"""Folders of finished runs, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

CARD = {
    "dataset": "shapenet_car",
    "protocol": "A",
    "split": "test",
    "num_samples": 189,
    "split_hash": "0123456789abcdef",
    "target": ["pressure"],
    "units": ["Pa"],
    "notes": [],
}


def write_run(
    folder: Path,
    mse: float,
    seed: int = 0,
    depth: int = 2,
    kind: str = "separate",
    iterations: int = 4,
    backbone: str = "BSA-v1m1",
    card: dict | None = None,
    training: str = "1111111111111111",
    r2: float = 0.5,
) -> Path:
    """A run with metrics, curves, environment and config (which ``load`` below reads)."""
    (folder / "test").mkdir(parents=True)
    report = {
        "data": {**CARD, **(card or {})},
        "metrics": {"mse": {"mean": mse, "std": 1.0}, "r2": {"mean": r2, "std": 0.1}},
        "metrics_normalized": {"mse": {"mean": mse / 2359.46, "std": 1.0}},
        "samples": [{"name": name, "points": 3, "mse": f * mse, "r2": r2} for name, f in (("x", 1), ("y", 2))],
        "training": {"samples": 650, "split_hash": training, "shared_with_test": 0},
        "validation": {"samples": 50, "split_hash": "2222", "kind": kind, "statement": f"50 samples, {kind}"},
        "backbone": {"type": backbone, "depth": depth},
        "parameters": 1234567,
        "gflops": {"points": 3586, "value": 27.9123},
        "seed": seed,
    }
    (folder / "test" / "metrics.json").write_text(json.dumps(report))
    config = {"save_path": str(folder), "seed": seed, "batch_size": 2, "model": {"backbone": {"depth": depth}}}
    (folder / "config.py").write_text(json.dumps(config))
    (folder / "env.json").write_text(json.dumps({"device": "cpu", "torch": "2", "command": ["train.py", "a b"]}))
    lines = [{"kind": "train", "iter": i + 1, "epoch": 1 + i // 2, "lr": 0.1 / (i + 1), "loss": 4.0 / (i + 1)}
             for i in range(iterations)]  # fmt: skip
    for line in lines:
        line.update(iter_time=9.0 if line["iter"] == 1 else 0.02, memory_mb=100.0 + line["iter"])
    lines[2:2] = [{"step": 1, "val/mse": 30.0 + seed}]
    lines.append({"step": 2, "val/mse": 20.0 + seed})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def load(path: str) -> dict:
    return json.loads(Path(path).read_text())
