"""The benchmark's modes, paths of the operators, attention backends, published code and trees."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pointcept_bsa.analysis.benchmark.case import OK, Measurement, Plan, build_case, measure_case
from pointcept_bsa.analysis.benchmark.depth import extrapolate
from pointcept_bsa.analysis.benchmark.report import summary
from pointcept_bsa.analysis.benchmark.run import run
from pointcept_bsa.analysis.benchmark.timing import Timing
from pointcept_bsa.analysis.benchmark.trees import measure_trees
from pointcept_bsa.analysis.benchmark.variants import (
    OPS_VARIABLE,
    SDPA_VARIABLE,
    attention_backend,
    dense_backends,
    operators,
)

ROOT = Path(__file__).resolve().parents[2]
BSA, FULL, ERWIN = (str(ROOT / f"configs/ellipsoid_flow/{name}.py") for name in ("bsa", "full_attention", "erwin"))
SMALL = ["model.backbone.depth=1"]
SMALL_ERWIN = [
    f"model.backbone.{x}" for x in ("enc_depths=[1,1]", "dec_depths=[1]", "mp_steps=1", "ball_sizes=[64,64]")
]
CPU = torch.device("cpu")


def fake(cfg, points, plan, build_optimizer):
    """Dense 100 ms eagerly and 50 as a graph; BSA 40 and 10, in plain torch twice that."""
    dense = cfg["model"]["backbone"]["type"] == "FullAttention-v1m1"
    time = {("eager", True): 100.0, ("graph", True): 50.0, ("eager", False): 40.0, ("graph", False): 10.0}
    value = time[plan.mode, dense] * (2 if plan.ops == "reference" else 1)
    backend = "cuDNN" if dense else None
    return Measurement(
        *(OK, OK, 5, 1.5, Timing(value, 0.1, 2), Timing(3 * value, 0.2, 2), value / 10),
        forward_backend=backend,
        train_backend=backend,
    )


def test_ratios_are_within_a_mode_and_at_best(benchmark_tool, benchmark_settings, capsys):
    chosen = benchmark_settings(modes=("eager", "graph"), reference=True)
    rows = run(chosen, benchmark_tool.load, benchmark_tool.build_optimizer, fake)
    found = {(row.name.split("/")[1], row.mode, row.ops): row for row in rows}
    assert len(found) == len(rows) == 6  # dense attention has no kernels of ours to compare with
    assert found["bsa", "eager", "auto"].train_x == pytest.approx(2.5)
    assert found["bsa", "graph", "auto"].train_x == pytest.approx(5.0)
    assert found["bsa", "graph", "reference"].train_x == pytest.approx(2.5)
    kernels = found["bsa", "graph", "auto"]
    ratios = (kernels.forward_reference_x, kernels.train_reference_x, kernels.memory_reference_x)
    assert ratios == pytest.approx((2.0, 2.0, 2.0)) and found["bsa", "graph", "reference"].train_reference_x is None
    best = summary(rows, "ellipsoid_flow/full_attention", {}).splitlines()
    assert [c.strip() for c in best[3].strip("|").split("|")][:6] == [
        *("ellipsoid_flow/bsa", "64", "10.0 (graph)", "30.0 (graph)", "1.00", "5.00")
    ]
    printed = capsys.readouterr().out
    assert "fastest attention backend: cuDNN (forward), cuDNN (train)" in printed and "|  mode |" in printed
    assert "config at its best" in (Path(chosen.output) / "benchmark.md").read_text()


def test_a_graph_on_the_cpu_is_a_row_that_says_what_it_needs(benchmark_tool, benchmark_settings, capsys):
    small = [*SMALL, "model.backbone.ball_size=32", "model.backbone.channels=16", "model.head.in_channels=16"]
    rows = run(
        benchmark_settings(baseline=None, modes=("eager", "graph"), options=small),
        benchmark_tool.load,
        benchmark_tool.build_optimizer,
    )
    assert [(row.mode, row.forward, row.train) for row in rows] == [
        ("eager", "ok", "ok"),
        ("graph", "needs CUDA", "needs CUDA"),
    ]
    assert "needs CUDA" in capsys.readouterr().out


def test_a_network_that_cannot_be_compiled_is_a_row(benchmark_tool):
    """Here without a C++ compiler."""
    plan = Plan(CPU, mode="compile")
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler"), "fx_graph_cache": False}):
        result = measure_case(benchmark_tool.load(BSA, SMALL), 64, plan, benchmark_tool.build_optimizer)
    assert result.forward == result.train and result.parameters > 0
    assert result.forward.startswith("cannot be compiled: ") and "No working C++ compiler found" in result.forward


@pytest.mark.parametrize("flash, wanted", [(2.0, "flash"), (4.0, None)])
def test_the_fastest_attention_backend_counts_and_those_that_refuse_are_told(benchmark_tool, flash, wanted):
    """The CPU has FlashAttention alone, and what the operators choose by themselves: here so many milliseconds."""

    def timer(call):
        call()
        return flash if os.environ.get(SDPA_VARIABLE) == "flash" else 3.0

    plan = Plan(CPU, backends=("cuDNN", "flash", None, "efficient", "narrow"), timer=timer)
    result = measure_case(benchmark_tool.load(FULL, SMALL), 64, plan, benchmark_tool.build_optimizer)
    assert (result.forward, result.forward_backend) == (result.train, result.train_backend) == (OK, wanted)
    assert result.train_time.median_ms == result.forward_time.median_ms == min(flash, 3.0)
    refused = {f"{name} (not for this shape)" for name in ("cuDNN", "efficient", "narrow")}  # which is not for float32
    assert set(result.refused) == refused


def test_attention_that_no_backend_takes_is_a_row(benchmark_tool):
    plan = Plan(CPU, backends=("narrow", "cuDNN"))
    result = measure_case(benchmark_tool.load(FULL, SMALL), 64, plan, benchmark_tool.build_optimizer)
    why = "narrow (not for this shape), cuDNN (not for this shape)"
    assert result.forward == result.train == f"no attention backend took it: {why}"


def test_a_dense_network_runs_under_every_backend_unless_one_is_chosen(benchmark_tool, monkeypatch):
    monkeypatch.delenv(SDPA_VARIABLE, raising=False)
    cuda = torch.device("cuda")
    assert "narrow" in dense_backends(benchmark_tool.load(FULL, SMALL), cuda)
    assert (
        dense_backends(benchmark_tool.load(BSA, SMALL), cuda)
        == dense_backends(benchmark_tool.load(FULL, SMALL), CPU)
        == (None,)
    )
    monkeypatch.setenv(SDPA_VARIABLE, "cudnn")
    assert dense_backends(benchmark_tool.load(FULL, SMALL), cuda) == (None,)


def test_operators_are_told_through_the_environment(monkeypatch):
    monkeypatch.delenv(OPS_VARIABLE, raising=False)
    with operators("reference"):
        assert os.environ[OPS_VARIABLE] == "reference"
        with operators(None):
            assert os.environ[OPS_VARIABLE] == "reference"
    assert OPS_VARIABLE not in os.environ


def test_attention_backend_is_told_to_torch_and_to_the_operators(monkeypatch):
    monkeypatch.delenv(SDPA_VARIABLE, raising=False)
    with attention_backend("cuDNN"):
        assert os.environ[SDPA_VARIABLE] == "cudnn"
        assert torch.backends.cuda.cudnn_sdp_enabled() and not torch.backends.cuda.math_sdp_enabled()
    assert SDPA_VARIABLE not in os.environ and torch.backends.cuda.math_sdp_enabled()


def test_a_deep_stack_from_two_shallow_ones(benchmark_tool, benchmark_settings):
    def measure(cfg):
        depth = cfg["model"]["backbone"]["depth"]
        return Measurement("ok", "ok", 10 + depth, 2.0 * depth, Timing(1 + 3 * depth, 0.1, 2), None, 0.5 + depth)

    cfg = benchmark_tool.load(BSA, ["model.backbone.depth=18"])
    result = extrapolate(cfg, measure)
    assert (result.parameters, result.gflops, result.forward_time.median_ms) == (28, 36.0, 55.0)
    assert result.memory_gib == 18.5 and result.train_time is None and cfg["model"]["backbone"]["depth"] == 18

    def slow(cfg, points, plan, build_optimizer):
        return replace(measure(cfg), forward_time=Timing(9e4, None, 1))

    chosen = benchmark_settings(
        sizes=[64, 6400], options=["model.backbone.depth=3"], baseline=None, extrapolate_depth=True
    )
    rows = run(chosen, benchmark_tool.load, benchmark_tool.build_optimizer, slow)
    assert [row.note for row in rows] == ["", "extrapolated from depths 1 and 2"] and rows[1].memory_gib == 3.5


PUBLISHED = """
import torch
import torch_cluster
from balltree import build_balltree_with_rotations


class ErwinTransformer(torch.nn.Module):
    def __init__(self, c_in, c_hidden, ball_sizes, rotate, decode, **rest):
        super().__init__()
        self.embed, self.ball_sizes = torch.nn.Linear(c_in, c_hidden[0]), ball_sizes
        assert rotate == 45 and decode and ball_sizes == [64, 64] and rest["enc_depths"] == [1, 1]

    def forward(self, x, pos, batch, edge_index, tree_idx, tree_idx_rot, tree_mask):
        assert len(tree_idx) == 2 * 128 and int(tree_mask.sum()) == len(pos)
        assert sorted(tree_idx[tree_mask].tolist()) == list(range(len(pos)))
        assert (batch[tree_idx][:128] == 0).all() and (batch[tree_idx][128:] == 1).all()
        assert torch.equal(batch[edge_index[0]], batch[edge_index[1]])
        assert sorted(tree_idx_rot.pop(0).tolist()) == list(range(len(tree_idx)))
        return self.embed(x)
"""


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "checkout" / "models"
    folder.mkdir(parents=True)
    (folder / "erwin.py").write_text(PUBLISHED)
    return str(folder.parent)


def test_published_erwin_is_a_row_at_the_same_configuration(benchmark_tool, benchmark_settings, published, capsys):
    chosen = benchmark_settings(config=[ERWIN], sizes=[100], batch_size=2, baseline=None, options=SMALL_ERWIN)
    rows = run(replace(chosen, erwin_checkout=published), benchmark_tool.load, benchmark_tool.build_optimizer)
    assert len(rows) == 2 and "published code, without tree and edges" in rows[1].name
    assert rows[1].train == "ok" and rows[1].parameters < rows[0].parameters
    assert "train x published" in capsys.readouterr().out


def test_published_erwin_gives_what_ours_gives(benchmark_tool):
    """The real code, where ``ERWIN`` names its checkout: same weights, same tree, same prediction."""
    checkout = os.environ.get("ERWIN")
    if not checkout:
        pytest.skip("missing: a checkout of maxxxzdn/erwin (set ERWIN to its folder)")
    from pointcept_bsa.training.checkpoints.published_erwin import convert_erwin_state_dict

    cfg = benchmark_tool.load(ERWIN, SMALL_ERWIN)
    theirs, (batch, *_) = build_case(cfg, 128, Plan(CPU, batch_size=2, erwin_checkout=checkout))
    ours, _ = build_case(cfg, 128, Plan(CPU, batch_size=2))
    ours.backbone.load_state_dict(convert_erwin_state_dict(theirs.backbone.network.state_dict()))
    with torch.no_grad():
        expected = theirs.backbone.eval()(batch)
        assert torch.allclose(ours.backbone.eval()(batch)["feat"], expected, atol=1e-4)


def test_trees_are_timed(benchmark_tool, tmp_path, capsys):
    assert (
        benchmark_tool.main(["--tree", "300", "40", "--device", "cpu", "--repeats", "2", "--output", str(tmp_path)])
        == 0
    )
    rows = json.loads((tmp_path / "tree.json").read_text())["rows"]
    assert [(row["points"], row["rotated"]) for row in rows] == [(40, False), (40, True), (300, False), (300, True)]
    assert all(row["own_ms"] > 0 for row in rows) and rows[0]["scipy_ms"] > 0 and rows[1]["scipy_ms"] is None
    has_peer = importlib.util.find_spec("balltree") is not None
    assert (rows[3]["balltree_ms"] is not None) == has_peer and rows[0]["balltree_ms"] is None
    assert ("not installed" in capsys.readouterr().out) != has_peer


def test_trees_without_the_peer(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "balltree", None)
    (main, _) = measure_trees([300], CPU, 1, 1, 5.0)
    assert main.balltree_ms is None and main.scipy_x == pytest.approx(main.scipy_ms / main.own_ms)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--config", BSA, "--sizes", "64", "--mode", "eager,grahp"], "did you mean 'graph'"),
        (["--config", BSA, "--sizes", "64", "--mode", "eager,eager"], "wanted each once"),
        (["--config", BSA, "--sizes", "64", "--erwin-checkout", "nowhere"], "wanted a checkout of maxxxzdn/erwin"),
        (["--config", BSA], "--config and --sizes"),
        (["--tree", "0"], "--tree: got 0"),
        (["--tree", "100", "--losses", "5"], "--losses: wanted --config"),
        (["--config", BSA, "--sizes", "64", "--losses", "5", "--seeds", "0"], "--seeds: got 0, wanted at least 1"),
        (["--config", BSA, "--sizes", "64", "--losses", "5", "--seeds", "two"], "--seeds: invalid int value: 'two'"),
        (["--config", BSA, "--sizes", "64", "--seeds", "3"], "--seeds: got 3, wanted --losses"),
        ([], "--config and --sizes"),
    ],
)
def test_mistakes_are_one_line(benchmark_tool, tmp_path, capsys, arguments, words):
    assert benchmark_tool.main([*arguments, "--output", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1 and words in message


def test_published_code_wants_an_erwin_to_compare_with(benchmark_tool, tmp_path, published, capsys):
    arguments = ["--config", BSA, "--sizes", "64", "--erwin-checkout", published, "--output", str(tmp_path / "out")]
    assert benchmark_tool.main(arguments) == 2 and "Erwin-v1m1" in capsys.readouterr().err


@pytest.mark.gpu
def test_modes_on_the_gpu(benchmark_tool, tmp_path, monkeypatch):
    """Graphs of forward and train step exist; dense attention was timed under each backend, and one of them counts."""
    monkeypatch.delenv(SDPA_VARIABLE, raising=False)
    out, cuda = tmp_path / "out", torch.device("cuda")
    tried = {name: set(dense_backends(benchmark_tool.load(path, SMALL), cuda))
             for name, path in (("bsa", BSA), ("full_attention", FULL))}  # fmt: skip
    arguments = ["--config", BSA, "--baseline", FULL, "--sizes", "512", "--dtype", "bf16", "--mode", "eager,graph"]
    assert (
        benchmark_tool.main([*arguments, "--reference", "--repeats", "3", "--output", str(out), "--options", *SMALL])
        == 0
    )
    rows = json.loads((out / "benchmark.json").read_text())["rows"]
    assert len(rows) == 6
    for row in rows:
        assert row["forward"] == row["train"] == "ok" and row["memory_gib"] > 0 and row["train_x"] > 0
        assert {row["forward_backend"], row["train_backend"]} <= tried[row["name"].split("/")[1]]
    assert sum(row["train_backend"] is not None for row in rows) == 2  # the dense network in each mode


def test_static_geometry_comes_with_the_batch(benchmark_tool, benchmark_settings, capsys):
    plain, given = (
        build_case(benchmark_tool.load(BSA, SMALL), 70, Plan(CPU, batch_size=2, static_geometry=static))
        for static in (False, True)
    )
    assert "tree_order" not in plain[1][0] and given[1][0]["tree_order"].shape == (140, 2)
    given[0].load_state_dict(plain[0].state_dict())
    outs = [network.eval()(dict(batches[0]))["pred"] for network, batches in (plain, given)]
    assert torch.equal(*outs)
    run(benchmark_settings(static_geometry=True, skip_train=True), benchmark_tool.load, benchmark_tool.build_optimizer)
    assert "trees of the points and neighbours are given" in capsys.readouterr().out
