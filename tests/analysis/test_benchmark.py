"""The benchmark: what is measured, how it is compared, what becomes of cases that do not fit."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path

import pytest
import torch

from pointcept_bsa.analysis.benchmark.case import NOT_ASKED, OOM, TOO_SLOW, Measurement
from pointcept_bsa.analysis.benchmark.inputs import input_shape, make_batch
from pointcept_bsa.analysis.benchmark.run import predict_seconds, run
from pointcept_bsa.analysis.benchmark.settings import Entry, backbone_configs, parse_entries, parse_entry
from pointcept_bsa.analysis.benchmark.timing import Timing, summarize, time_calls
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS, build_model
from pointcept_bsa.models import RegressionHead

ROOT = Path(__file__).resolve().parents[2]
BSA, FULL = (str(ROOT / f"configs/ellipsoid_flow/{name}.py") for name in ("bsa", "full_attention"))
SMALL = ["model.backbone.depth=1"]


def fake(times):
    """A measurement from ``times[backbone type](N) -> (forward ms, train ms, GiB)``, or an exception's message."""

    def measure(cfg, points, plan, build_optimizer):
        value = times[cfg["model"]["backbone"]["type"]](points)
        if value is None:
            return Measurement(OOM, OOM, parameters=5)
        forward, train, memory = value
        return Measurement("ok", "ok", 5, 1.5, Timing(forward, 0.1, 2), Timing(train, 0.2, 2), memory)

    return measure


TIMES = {
    "FullAttention-v1m1": lambda n: (n**2 / 1e4, n**2 / 5e3, n / 1e3) if n < 500 else None,
    "BSA-v1m1": lambda n: (n / 100, n / 50, n / 2e3),
}


def png_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def test_ratios_are_the_baselines_value_over_the_rows(benchmark_tool, benchmark_settings, capsys):
    rows = run(benchmark_settings(sizes=[400, 100]), benchmark_tool.load, benchmark_tool.build_optimizer, fake(TIMES))
    assert [(row.name, row.points) for row in rows] == [
        ("ellipsoid_flow/full_attention", 100),
        ("ellipsoid_flow/bsa", 100),
        ("ellipsoid_flow/full_attention", 400),
        ("ellipsoid_flow/bsa", 400),
    ]
    for row in rows:
        speedup = row.points / 100 if row.name.endswith("bsa") else 1.0
        assert (row.forward_x, row.train_x) == pytest.approx((speedup, speedup))
        assert row.memory_x == pytest.approx(2.0 if row.name.endswith("bsa") else 1.0)
    assert rows[1].points_per_second == pytest.approx(100 / 2e-3)
    printed = capsys.readouterr().out
    header = next(line for line in printed.splitlines() if line.startswith("| config"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        *("config", "N", "parameters", "GFLOPs", "forward ms (IQR)", "train ms (IQR)", "memory GiB", "points/s"),
        *("forward x", "train x", "memory x"),
    ]
    assert "[4/4] ellipsoid_flow/bsa N=400: forward 4.00 (0.100), train 8.00 (0.200) ms, 0.200 GiB" in printed


def test_files_hold_what_the_rows_hold(benchmark_tool, benchmark_settings):
    chosen = benchmark_settings(sizes=[100, 800])
    rows = run(chosen, benchmark_tool.load, benchmark_tool.build_optimizer, fake(TIMES))
    folder = Path(chosen.output)
    assert {p.name for p in folder.iterdir()} == {f"benchmark.{kind}" for kind in ("json", "csv", "md", "png")}
    content = json.loads((folder / "benchmark.json").read_text())
    assert content["rows"] == [vars(row) for row in rows]
    assert content["baseline"] == "ellipsoid_flow/full_attention"
    environment = content["environment"]
    assert environment["versions"]["torch"] == torch.__version__ and environment["dtype"] == "fp32"
    assert {"device", "date", "command", "cpu_threads"} <= environment.keys()
    with open(folder / "benchmark.csv", newline="") as file:
        records = list(csv.DictReader(file))
    expected = [{key: "" if value is None else str(value) for key, value in vars(row).items()} for row in rows]
    assert records == expected
    assert min(png_size(folder / "benchmark.png")) > 300


@pytest.mark.parametrize("sizes", [[100], [600, 700]])
def test_a_plot_without_curves_is_still_a_plot(benchmark_tool, benchmark_settings, sizes):
    chosen = benchmark_settings(config=[FULL], sizes=sizes)
    run(chosen, benchmark_tool.load, benchmark_tool.build_optimizer, fake(TIMES))
    assert min(png_size(Path(chosen.output) / "benchmark.png")) > 300


def test_a_case_that_cannot_be_done_in_time_is_a_row(benchmark_tool, benchmark_settings, capsys):
    times = {"FullAttention-v1m1": lambda n: (n**2, 2 * n**2, None), "BSA-v1m1": TIMES["BSA-v1m1"]}
    asked = []

    def measure(cfg, points, plan, build_optimizer):
        asked.append((cfg["model"]["backbone"]["type"], points))
        return fake(times)(cfg, points, plan, build_optimizer)

    rows = run(
        benchmark_settings(sizes=[32, 64, 128], max_seconds=60.0),
        benchmark_tool.load,
        benchmark_tool.build_optimizer,
        measure,
    )
    assert [row.forward for row in rows if row.name.endswith("full_attention")] == ["ok", "ok", TOO_SLOW]
    assert ("FullAttention-v1m1", 128) not in asked and ("BSA-v1m1", 128) in asked
    printed = capsys.readouterr().out
    assert "N=128: forward too slow, train too slow: skipped, predicted to take 115 s or more" in printed
    # 64 points: 3 * 4.096 s + 2 * 8.192 s = 28.672 s; four times that by the growth from 32 to 64
    assert predict_seconds(rows, "ellipsoid_flow/full_attention", 128) == pytest.approx(4 * 28.672)


def test_real_cases_on_the_cpu(benchmark_tool, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--config", BSA, f"gc={BSA}:model.backbone.group_compression=True", "--baseline", FULL]
    arguments += ["--sizes", "70", "130", "--repeats", "3", "--warmup", "1", "--batch-size", "2", "--dtype", "bf16"]
    arguments += ["--device", "cpu", "--output", str(out), "--options", *SMALL]
    assert benchmark_tool.main(arguments) == 0
    rows = json.loads((out / "benchmark.json").read_text())["rows"]
    assert len(rows) == 6 and {row["name"] for row in rows} >= {"gc"}
    for row in rows:
        assert row["forward"] == row["train"] == "ok"
        assert row["forward_ms"] > 0 and row["train_ms"] > 0 and row["gflops"] > 0
        assert row["forward_repeats"] == row["train_repeats"] == 3
        assert row["points_per_second"] == pytest.approx(2 * row["points"] / row["train_ms"] * 1e3)
        assert row["memory_gib"] is None and row["memory_x"] is None
        assert row["forward_x"] > 0
    assert "n/a" in capsys.readouterr().out


def test_forward_alone(benchmark_tool, benchmark_settings):
    (row,) = run(
        benchmark_settings(baseline=None, skip_train=True), benchmark_tool.load, benchmark_tool.build_optimizer
    )
    assert (row.forward, row.train) == ("ok", NOT_ASKED)
    assert row.train_ms is None and row.points_per_second is None and row.forward_x is None


@MODELS.register_module()
class GreedyHead(RegressionHead):
    """Takes a quintillion bytes: always, or to train."""

    def __init__(self, in_channels, out_channels, training_only):
        super().__init__(in_channels, out_channels)
        self.training_only = training_only

    def forward(self, feat):
        if self.training or not self.training_only:
            torch.empty(1 << 60, dtype=torch.uint8)
        return super().forward(feat)


@pytest.mark.parametrize("place", ["forward", "train"])
def test_running_out_of_memory_is_a_row(benchmark_tool, benchmark_settings, capsys, place):
    greedy = f"greedy={FULL}:model.head.type=GreedyHead,model.head.training_only={place == 'train'}"
    first, second = run(benchmark_settings(baseline=greedy), benchmark_tool.load, benchmark_tool.build_optimizer)
    assert first.parameters > 0
    assert (first.forward, first.train) == ("ok" if place == "train" else OOM, OOM)
    assert (second.forward, second.train) == ("ok", "ok")
    assert second.train_x is None
    assert "OOM" in capsys.readouterr().out


def test_other_errors_are_errors(benchmark_tool, benchmark_settings):
    def failing(*_):
        return torch.ones(2, 3) @ torch.ones(2, 3)

    with pytest.raises(RuntimeError, match="multiplied"):
        run(benchmark_settings(), benchmark_tool.load, failing)


def test_calls_take_the_inputs_in_turn_and_stop_at_the_budget():
    seen = []

    def timer(call):
        call()
        return 10.0

    assert time_calls(seen.append, "abc", timer, warmup=2, repeats=5, budget_ms=1e9) == Timing(10.0, 0.0, 5)
    assert "".join(seen) == "abcabca"
    # the first call is free, the second costs 10, then 20, 30, ... up to 45
    assert time_calls(seen.append, "abc", timer, warmup=2, repeats=50, budget_ms=45.0).repeats == 3
    assert time_calls(seen.append, "abc", timer, warmup=5, repeats=50, budget_ms=1.0) == Timing(10.0, None, 1)


def test_spread_is_the_interquartile_range():
    timing = summarize([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (timing.median_ms, timing.iqr_ms, timing.repeats) == (3.0, 2.0, 5)


@pytest.mark.parametrize("dimensionality", [2, 3])
def test_clouds_fit_and_differ(dimensionality):
    shape = (dimensionality, 5, 2)
    first, again, other = (make_batch(3000, 2, shape, seed, torch.device("cpu")) for seed in (0, 0, 1))
    assert first["coord"].shape == first["grid_coord"].shape == (6000, dimensionality)
    assert first["feat"].shape == (6000, 5) and first["target"].shape == (6000, 2)
    assert first["offset"].tolist() == [3000, 6000]
    assert first["coord"].abs().max() <= 1 and first["grid_coord"].min() == 0
    for cloud in first["grid_coord"].split(3000):
        assert len(cloud.unique(dim=0)) > 0.8 * 3000
    assert torch.equal(first["coord"], again["coord"]) and not torch.equal(first["coord"], other["coord"])
    assert not torch.equal(first["coord"][:3000], first["coord"][3000:])


def test_clouds_have_the_dimensions_of_the_config(benchmark_tool):
    for name, expected in (("periodic_hills", (2, 21, 2)), ("shapenet_car", (3, 3, 1))):
        cfg = benchmark_tool.load(str(ROOT / f"configs/{name}/bsa.py"), SMALL)
        assert input_shape(build_model(cfg["model"]), cfg) == expected


def test_a_model_without_a_normalizer_is_refused(benchmark_tool):
    with pytest.raises(InputError, match="Linear.*DefaultRegressor"):
        input_shape(torch.nn.Linear(1, 1), benchmark_tool.load(BSA, []))


def test_entries():
    assert parse_entry("configs/a/b.py") == Entry("a/b", "configs/a/b.py")
    options = ("model.backbone.topk=2", "model.x=1,2", "y=[3,4]")
    assert parse_entry(f"n=b.py:{','.join(options)}") == Entry("n", "b.py", options)
    assert parse_entry("a/b.py:model.backbone.topk=2").name == "a/b[topk=2]"
    entries, baseline = parse_entries([BSA, f"full={FULL}"], FULL)
    assert ([entry.name for entry in entries], baseline) == (["ellipsoid_flow/bsa", "full"], "full")
    assert parse_entries([BSA], FULL)[1] == parse_entries([BSA], FULL)[0][0].name


def test_backbones_are_named_or_all_that_are_registered(benchmark_tool):
    homes = {name: kind.__module__ for name, kind in MODELS.module_dict.items()}
    registered = {name for name, home in homes.items() if home.startswith("pointcept_bsa.backbones.")}
    paths = backbone_configs(["all"], benchmark_tool.load)
    types = [benchmark_tool.load(path, [])["model"]["backbone"]["type"] for path in paths]
    of_domains = {"ABUPTJoint-v1m1"}  # no clouds of one domain
    assert set(types) == registered - of_domains and len(types) == len(set(types))
    two = [f"configs/shapenet_car/{name}.py" for name in ("upt", "bsa")]
    assert backbone_configs(["UPT-v1m1", "BSA-v1m1", "UPT-v1m1"], benchmark_tool.load) == two


def test_backbones_stand_beside_configs(benchmark_tool, benchmark_settings):
    chosen = benchmark_settings(backbones=["BSA-v1m1", "PointNet-v1m1"], config=[BSA], options=[])
    measure = fake(TIMES | {"PointNet-v1m1": TIMES["BSA-v1m1"]})
    rows = run(chosen, benchmark_tool.load, benchmark_tool.build_optimizer, measure)
    assert [row.name for row in rows] == [
        *("ellipsoid_flow/full_attention", "ellipsoid_flow/bsa", "shapenet_car/bsa", "shapenet_car/pointnet")
    ]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--backbones", "UTP-v1m1"], "did you mean 'UPT-v1m1'"),
        (["--config", "nowhere.py"], "nowhere.py"),
        (["--config", BSA, BSA], "NAME=PATH"),
        (["--config", BSA, "--baseline", "elipsoid_flow/bsa"], "did you mean 'ellipsoid_flow/bsa'"),
        (["--config", BSA, "--sizes", "0"], "--sizes: got 0"),
        (["--config", BSA, "--sizes", "many"], "invalid int value"),
        (["--config", BSA, "--repeats", "0"], "--repeats: got 0"),
        (["--config", BSA, "--max-seconds", "nan"], "--max-seconds"),
        (["--config", BSA, "--dtype", "tf32", "--device", "cpu"], "tf32"),
        (["--config", BSA, "--options", "model.backbone.depth"], "wanted key=value"),
        (["--config", f"{BSA}:model.backbone.dept=1"], "did you mean 'depth'"),
        (["--config", f"{BSA}:modle.backbone.depth=1"], "did you mean 'model'"),
    ],
)
def test_mistakes_are_one_line(benchmark_tool, tmp_path, capsys, arguments, words):
    sizes = [] if "--sizes" in arguments else ["--sizes", "64"]
    assert benchmark_tool.main([*arguments, *sizes, "--output", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1 and words in message


@pytest.mark.gpu
def test_on_the_gpu(benchmark_tool, tmp_path):
    out = tmp_path / "out"
    arguments = ["--config", BSA, "--baseline", FULL, "--sizes", "512", "--dtype", "tf32", "--device", "cuda"]
    assert benchmark_tool.main([*arguments, "--repeats", "5", "--output", str(out), "--options", *SMALL]) == 0
    for row in json.loads((out / "benchmark.json").read_text())["rows"]:
        assert row["forward"] == row["train"] == "ok" and row["memory_gib"] > 0 and row["memory_x"] > 0
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_profile_holds_what_a_call_spends_its_time_on(benchmark_tool, benchmark_settings, tmp_path, capsys):
    run(benchmark_settings(profile=True, repeats=1), benchmark_tool.load, benchmark_tool.build_optimizer)
    printed = capsys.readouterr().out
    with open(tmp_path / "out" / "profile.csv", newline="") as file:
        records = list(csv.DictReader(file))
    assert {(r["config"], r["part"]) for r in records} == {
        (f"ellipsoid_flow/{name}", part) for name in ("bsa", "full_attention") for part in ("forward", "train")
    }
    forward = [r for r in records if r["config"] == "ellipsoid_flow/bsa" and r["part"] == "forward"]
    products = next(r for r in forward if r["kernel"] == "aten::addmm")
    assert int(products["launches"]) >= 6 and 0 < float(products["ms"]) < sum(float(r["ms"]) for r in forward)
    assert [float(r["ms"]) for r in forward] == sorted((float(r["ms"]) for r in forward), reverse=True)
    launches = sum(int(r["launches"]) for r in forward)
    assert f"ellipsoid_flow/bsa eager N=64, forward: {launches} launches" in printed
