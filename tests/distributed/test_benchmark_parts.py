"""What ``tools/benchmark.py --context-parallel`` measures, with two processes (gloo, CPU)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from together import together

from pointcept_bsa.analysis.benchmark.bandwidth import ALL_TO_ALL, SIZES, Bandwidth, measure_bandwidth, seconds
from pointcept_bsa.analysis.benchmark.case import Plan
from pointcept_bsa.analysis.benchmark.part_report import (
    PartRow,
    loss_table,
    part_table,
    profile_text,
    write_part_losses,
    write_parts,
)
from pointcept_bsa.analysis.benchmark.parts import losses_of_parts, measure_parts
from pointcept_bsa.analysis.benchmark.projection import POINTS, PROCESSES, project, projection_table
from pointcept_bsa.analysis.benchmark.timeline import covered, timeline_of
from pointcept_bsa.analysis.benchmark.traffic import Clouds, by_kind, loads
from pointcept_bsa.host import build_model
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.training.optimizer import build_optimizer

CONFIG = Path(__file__).parents[2] / "configs/ellipsoid_flow/bsa.py"
PLAN = Plan(torch.device("cpu"), repeats=2, warmup=1, batch_size=2)
SIZE = {"model.backbone.depth": 2, "model.backbone.ball_size": 32}
LEVELS = SIZE | {"model.backbone.near": 64, "model.backbone.fan": 2}
ENVIRONMENT = {"device": "a CPU", "date": "2026-01-01T00:00", "command": "benchmark.py"}


def measured(rank: int) -> dict:
    cfg, levels, told = load_config(str(CONFIG), SIZE), load_config(str(CONFIG), LEVELS), []
    recomputed = load_config(str(CONFIG), SIZE | {"model.backbone.recompute": "selective"})
    rows = [measure_parts("net", cfg, 200, processes, PLAN, build_optimizer) for processes in (1, 2)]
    more = replace(PLAN, repeats=1, batch_size=1)
    rows.append(measure_parts("levels", levels, 1200, 2, replace(more, profile=True), build_optimizer))
    flat = load_config(str(CONFIG), LEVELS | {"model.backbone.levels_beyond": 4096})
    rows.append(measure_parts("one level", flat, 200, 2, more, build_optimizer))
    rows.append(measure_parts("recomputed", recomputed, 200, 2, more, build_optimizer))
    curves = {r: losses_of_parts(cfg, 200, r, 12, PLAN, build_optimizer, told.append) for r in (1, 2)}
    return {"rows": rows, "curves": curves, "told": told, "bandwidth": measure_bandwidth(2, PLAN.device)}


@pytest.fixture(scope="module")
def found():
    return together(2, measured)


def test_times_bytes_and_losses_of_one_and_two_processes(found, tmp_path):
    (found, other) = found
    one, two = found["rows"][:2]
    assert (one.processes, two.processes) == (1, 2) and not one.sent
    assert one.train_ms > one.forward_ms > 0 and two.train_ms > 0
    # 2 layers, keys and values of 4 channels a head: the 32 blocks of 8 slots of the longer parts of both clouds
    channels = load_config(str(CONFIG))["model"]["backbone"]["channels"]
    assert two.sent["coarse"] == two.sent["coarse (gradient)"] == 2 * 2 * 16 * 2 * channels * 4
    assert found["curves"] == other["curves"]
    assert found["curves"][2] == pytest.approx(found["curves"][1], rel=1e-5)
    assert found["curves"][1][0] > found["curves"][1][-2]
    assert len(loss_table(found["curves"]).splitlines()) == 13
    write_parts(tmp_path, found["rows"], ENVIRONMENT)
    assert json.loads((tmp_path / "parts.json").read_text())["rows"][1]["sent"] == two.sent
    assert "| net | 200 | 2 |" in part_table(found["rows"], "a CPU")


def test_losses_are_told_on_the_way_and_written(found, tmp_path):
    told = [line.split(",")[0] for line in found[0]["told"]]
    assert told == [f"R = {r}: step {i}/12" for r in (1, 2) for i in (10, 12)]
    write_part_losses(tmp_path / "losses.csv", {("net", 200): found[0]["curves"]})
    head, first, *_, last = (tmp_path / "losses.csv").read_text().splitlines()
    assert head == "config,points,step,R=1,R=2" and first.startswith("net,200,1,") and last.startswith("net,200,12,")


def test_bytes_of_the_step_are_within_twice_the_formulas(found):
    for row in found[0]["rows"][1:]:
        sent = by_kind(row.sent)
        assert set(row.formulas) == set(sent) - {"selected"}
        for kind, size in row.formulas.items():
            assert sent[kind] / 2 <= size <= 2 * sent[kind], (row.name, kind)
    assert "descent" in found[0]["rows"][2].formulas
    assert "coarse" in found[0]["rows"][3].formulas and "tokens" not in found[0]["rows"][3].formulas
    assert "(" in part_table(found[0]["rows"][1:2], "a CPU").splitlines()[2]


def test_a_profile_tells_kernels_collectives_and_waits(found):
    row: PartRow = found[0]["rows"][2]
    assert list(row.timelines) == list(row.kernels) == ["forward", "train"]
    for each in row.timelines.values():
        assert min(each.kernels_ms, each.collectives_ms, each.waits_ms) > 0
        assert each.kernels_ms + each.collectives_ms + each.waits_ms - each.hidden_ms == pytest.approx(each.span_ms)
    text = profile_text(row)
    assert "R=2 train, the slowest process: " in text and "levels eager N=1,200, forward R=2" in text


def test_time_by_kind_is_that_of_the_union():
    assert covered([(0, 4), (1, 2), (3, 6), (8, 9)]) == 7
    spans = {"gemm": (0, 4), "ncclDevKernel_SendRecv": (3, 7), "copy": (9, 10)}
    events = [SimpleNamespace(name=name, thread=0, time_range=SimpleNamespace(start=1e3 * a, end=1e3 * b))
              for name, (a, b) in spans.items()]  # fmt: skip
    found = timeline_of(events, torch.device("cuda"))
    assert (found.span_ms, found.kernels_ms, found.collectives_ms, found.waits_ms) == (10, 5, 4, 2)
    assert found.hidden_ms == 1 and found.own_ms == 7


def test_bandwidth_is_measured_and_read_between_the_sizes(found):
    rows = found[0]["bandwidth"]
    assert [row.size for row in rows if row.collective == ALL_TO_ALL] == list(SIZES["cpu"])
    assert all(row.gb_s > 0 for row in rows)
    two = [Bandwidth(2, ALL_TO_ALL, 1000, 1.0), Bandwidth(2, ALL_TO_ALL, 3000, 2.0)]
    for size, ms in ((10, 1.0), (2000, 1.5), (6000, 4.0)):
        assert seconds(two, ALL_TO_ALL, 5, 5 * size) == pytest.approx(5 * ms / 1e3)


def test_projection_is_in_proportion_to_what_was_measured():
    model = build_model(load_config(str(CONFIG), LEVELS)["model"], path="model")
    rows = [PartRow("net", 1000, 1, 1.0, 100.0, 1.0, 2.0)]
    rows.append(PartRow("net", 1000, 2, 1.0, 60.0, 0.6, 1.2, {"selected": 4096}))
    speed = [Bandwidth(2, how, size, size / 1e8) for how in ("all_to_all", "all_gather") for size in (1, 10**9)]
    found = project("net", model, rows, speed, 1, 4)
    assert [each.processes for each in found] == list(PROCESSES)
    for each in found:
        own = POINTS / each.processes
        assert each.computing == pytest.approx(0.1 * own / 1000) and each.gib == pytest.approx(2.4 * own / 1000)
        assert each.sending == pytest.approx(sum(each.sent.values()) / 1e11, rel=1e-3)
        assert each.sent["rotation"] > 0 and each.sent["selected"] > 0
    assert len(projection_table(found).splitlines()) == 2 + len(PROCESSES) + 2
    assert project("net", model, rows[:1], speed, 1, 4) == []
    whole = build_model(load_config(str(CONFIG), SIZE)["model"], path="model")  # whose time grows with the points
    assert [each.computing for each in project("net", whole, rows, speed, 1, 4)] == [None] * len(PROCESSES)


def test_a_network_without_formulas_has_none():
    model = build_model(load_config(str(CONFIG.with_name("erwin.py")))["model"], path="model")
    assert loads(model, Clouds(1000, 1, 2, 4)) is None
