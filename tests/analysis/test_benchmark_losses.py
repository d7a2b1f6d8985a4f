"""The benchmark's trainings with kernels and in plain torch: from the same start, compared, written, drawn."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pointcept_bsa.analysis.benchmark import losses
from pointcept_bsa.analysis.benchmark.case import Plan
from pointcept_bsa.analysis.benchmark.losses import (
    LossCurves,
    Training,
    passes,
    round_weights,
    train_both,
    write_losses,
)
from pointcept_bsa.analysis.benchmark.plot import draw_losses
from pointcept_bsa.analysis.benchmark.variants import OPS_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
BSA = str(ROOT / "configs/ellipsoid_flow/bsa.py")
TINY = [f"model.backbone.{x}" for x in ("depth=1", "ball_size=32", "channels=16")] + ["model.head.in_channels=16"]
CPU = torch.device("cpu")


def test_both_paths_train_on_the_same(benchmark_tool, tmp_path):
    seen, told = [], []

    def build_optimizer(*given):
        seen.append(os.environ[OPS_VARIABLE])
        return benchmark_tool.build_optimizer(*given)

    training = Training(
        benchmark_tool.load(BSA, TINY), 40, 6, Plan(CPU), build_optimizer, benchmark_tool.build_scheduler
    )
    curves = train_both("bsa", training, 2, told.append)
    assert seen == ["auto", "reference", "reference", "auto", "reference"]
    assert curves.losses["auto"] == curves.losses["reference"] and curves.final["auto"] == curves.final["reference"]
    first, second = curves.losses["auto"]
    assert first[-1] < first[0] and first[0] != second[0]  # seeds are other weights
    assert 0 < curves.early("reference_rounded") < 1e-3 and "start rounded by 2^-23" in curves.summary()
    assert len(told) == 5 and told[2].startswith("bsa N=40 training 3/5 (reference_rounded, seed 0): 6 steps in ")
    assert " left " in told[3] and " left " not in told[4]
    write_losses(tmp_path / "losses.csv", [curves, curves])
    with open(tmp_path / "losses.csv", newline="") as file:
        records = list(csv.DictReader(file))
    assert list(records[0]) == ["config", "points", "seed", "step", "auto", "reference", "reference_rounded"]
    assert len(records) == 24 and [record["seed"] for record in records[:12]] == ["0"] * 6 + ["1"] * 6
    assert float(records[5]["reference_rounded"]) == curves.losses["reference_rounded"][0][5]
    assert float(records[11]["reference"]) == second[5] and records[11]["reference_rounded"] == ""
    draw_losses(tmp_path / "losses.png", [curves, curves], "title")
    assert sorted(os.listdir(tmp_path)) == ["losses.csv", "losses.png"]


def test_the_schedule_of_the_config_spans_the_steps(benchmark_tool):
    """Here it ends half-way, so the later steps move nothing."""
    rates = []

    def build_scheduler(cfg, optimizer, steps):
        optimizer.register_step_pre_hook(lambda *rest: rates.append(optimizer.param_groups[0]["lr"]))
        return benchmark_tool.build_scheduler(cfg, optimizer, steps)

    cfg = benchmark_tool.load(BSA, TINY)
    cfg["scheduler"] = dict(type="MultiStepLR", milestones=[0.5], gamma=0.0)
    training = Training(cfg, 40, 10, Plan(CPU), benchmark_tool.build_optimizer, build_scheduler)
    curve, final = training.run("auto", 0, print)
    assert rates == [cfg.optimizer["lr"]] * 5 + [0.0] * 5
    assert curve[5] == curve[9] and final > 0  # the same batch and the same weights
    constant = replace(training, cfg={key: value for key, value in cfg.items() if key != "scheduler"})
    moving, _ = constant.run("auto", 0, print)
    assert moving[:6] == curve[:6] and moving[9] != moving[5] and len(rates) == 10


def test_long_trainings_tell_where_they_are(benchmark_tool, monkeypatch):
    monkeypatch.setattr(losses, "TELL_SECONDS", -1.0)
    told = []
    training = Training(
        benchmark_tool.load(BSA, TINY), 40, 3, Plan(CPU), benchmark_tool.build_optimizer, benchmark_tool.build_scheduler
    )
    training.run("reference", 0, told.append)
    assert [line.split(",")[0] for line in told] == ["step 1/3", "step 2/3"] and "s left" in told[0]


@pytest.mark.parametrize("power", losses.ROUNDING.values())
def test_weights_are_rounded_by_one_part_everywhere(power):
    nets = [torch.nn.Linear(30, 20) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    before = nets[0].weight.detach().clone()
    for net in nets:
        round_weights(net, 2.0**power)
    moved = nets[0].weight.detach() / before - 1
    assert torch.allclose(moved.abs(), torch.tensor(2.0**power), rtol=0, atol=1.3e-7)
    assert (moved > 0).any() and (moved < 0).any() and torch.equal(nets[0].weight, nets[1].weight)


def test_paths_that_differ_are_told(tmp_path):
    auto, reference = [[1.0, 0.5], [1.0, 0.3]], [[1.0, 0.4], [1.0, 0.3]]
    curves = LossCurves(
        *("a", 5, dict(auto=auto, reference=reference, reference_rounded=[[1.0, 0.5]])),
        dict(auto=[0.1, 0.3], reference=[0.2, 0.2], reference_rounded=[0.7]),
        -9,
    )
    assert curves.differences("auto").tolist() == [[0.0, pytest.approx(0.25)], [0.0, 0.0]]
    line = curves.summary()
    assert line == (
        "a N=5, 2 steps, 2 seeds: largest relative difference of the losses in the first 2 steps 2.5e-01 (auto to "
        "reference), 2.5e-01 (reference to itself, start rounded by 2^-9); evaluated after training 0.2 +- 0.14 "
        "(auto), 0.2 +- 0 (reference); mean loss of the last 1 pass 0.7 +- 0.071 (auto), 0.675 +- 0.035 (reference)"
    )
    auto[1][0] = float("nan")
    assert "steps nan (auto" in curves.summary()


def test_only_the_first_steps_and_whole_passes_are_compared():
    reference = [4.0, 3.0, 2.0, 1.0] * 20
    auto = [*reference[:20], *(2 * x for x in reference[20:])]
    trainings = dict(auto=[auto], reference=[reference], reference_rounded=[reference])
    curves = LossCurves("a", 5, trainings, {path: [1.0] for path in trainings})
    assert curves.early("auto") == 0.0 and curves.differences("auto")[0, 20:].tolist() == [1.0] * 60
    assert "last 12 passes 5 (auto), 2.5 (reference)" in curves.summary()
    assert passes(reference[:11]) == [2.5, 2.5] and passes(reference[:2]) == [3.5]


def test_losses_of_several_seeds_through_the_tool(benchmark_tool, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--config", f"net={BSA}", "--sizes", "40", "--losses", "2", "--seeds", "2", "--device", "cpu"]
    assert benchmark_tool.main([*arguments, "--dtype", "bf16", "--output", str(out), "--options", *TINY]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 7 and "2 seeds: " in printed[5] and "rounded by 2^-9" in printed[5]
    assert len((out / "losses.csv").read_text().splitlines()) == 5 and (out / "losses.png").stat().st_size > 5000
