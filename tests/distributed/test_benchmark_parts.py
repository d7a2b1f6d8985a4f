"""What ``tools/benchmark.py --context-parallel`` measures, with two processes (gloo, CPU)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from together import together

from pointcept_bsa.analysis.benchmark.case import Plan
from pointcept_bsa.analysis.benchmark.parts import loss_table, losses_of_parts, measure_parts, part_table, write_parts
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.training.optimizer import build_optimizer

CONFIG = Path(__file__).parents[2] / "configs/ellipsoid_flow/bsa.py"
PLAN = Plan(torch.device("cpu"), repeats=2, warmup=1, batch_size=2)


def measured(rank: int) -> dict:
    cfg = load_config(str(CONFIG), {"model.backbone.depth": 2, "model.backbone.ball_size": 32})
    rows = [measure_parts("net", cfg, 200, processes, PLAN, build_optimizer) for processes in (1, 2)]
    curves = {r: losses_of_parts(cfg, 200, r, 4, PLAN, build_optimizer) for r in (1, 2)}
    return {"rows": rows, "curves": curves}


def test_times_bytes_and_losses_of_one_and_two_processes(tmp_path):
    found, other = together(2, measured)
    one, two = found["rows"]
    assert (one.processes, two.processes) == (1, 2) and not one.sent
    assert one.train_ms > one.forward_ms > 0 and two.train_ms > 0
    # 2 layers, keys and values of 4 channels a head: the 32 blocks of 8 slots of the longer parts of both clouds
    channels = load_config(str(CONFIG))["model"]["backbone"]["channels"]
    assert two.sent["coarse"] == two.sent["coarse (gradient)"] == 2 * 2 * 16 * 2 * channels * 4
    assert found["curves"] == other["curves"]
    assert found["curves"][2] == pytest.approx(found["curves"][1], rel=1e-5)
    assert found["curves"][1][0] > found["curves"][1][-2]
    assert len(loss_table(found["curves"]).splitlines()) == 5
    environment = {"device": "a CPU", "date": "2026-01-01T00:00", "command": "benchmark.py"}
    write_parts(tmp_path, found["rows"], environment)
    assert json.loads((tmp_path / "parts.json").read_text())["rows"][1]["sent"] == two.sent
    assert "| net | 200 | 2 |" in part_table(found["rows"], "a CPU")
