"""Numbers that are not finite, spikes, moving averages, precision, optimizers."""

from __future__ import annotations

import math
import sys
import types

import pytest
import torch
from host_toys import read_metrics
from test_training import assert_same_run, assert_same_state, load, train
from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.registry import OPTIMIZERS
from pointcept_bsa.training import muon
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.guard import NanGuard, total_norm
from pointcept_bsa.training.hooks.information import SpikeWatch
from pointcept_bsa.training.muon import orthogonalize
from pointcept_bsa.training.optimizer import MovingAverage, build_optimizer

BAD = "model.bad_at"


def test_stop_names_the_iteration_and_the_first_bad_module(config, run_dir, capsys):
    assert train(config, f"{BAD}=3", "model.bad_step=True", "log_interval=5", "max_iters=12") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the loss or its gradient is not finite in iteration 4: first module whose output")
    assert "not finite: middle (Breaker) (samples train_" in error and error.count("\n") == 1


def test_stop_leaves_the_weights_of_the_last_good_step(config, run_dir, tmp_path, toys):
    kept = {}
    toys.Diary.at_save_point = lambda hook: kept.update(
        {hook.trainer.global_iter: hook.trainer.model.state_dict()["linear.weight"].clone()}
    )
    try:
        assert train(config, f"{BAD}=3", "model.bad_step=True", "log_interval=5", "max_iters=12") == 2
    finally:
        del toys.Diary.at_save_point
    assert list(kept) == [1, 2, 3, 4]  # and read at iteration 5
    assert not torch.equal(kept[2], kept[3]) and torch.equal(kept[3], kept[4])


def test_a_checkpoint_is_not_written_after_a_bad_iteration(config, run_dir, capsys):
    options = (f"{BAD}=3", "model.bad_step=True", "log_interval=100", "max_iters=12", "save_every=2")
    assert train(config, *options) == 2
    assert load(run_dir)["iter"] == 2


def test_the_batch_or_the_weights_are_named(config, capsys):
    assert train(config, "data.train.fault=target", "log_interval=3") == 2
    assert "iteration 1: the batch's 'target' is not finite (samples train_" in capsys.readouterr().err
    assert train(config, "optimizer.lr=1e38", "scheduler.max_lr=1e38", "optimizer.type=SGD") == 2
    assert "first module whose output is not finite" in capsys.readouterr().err


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_skip_leaves_out_the_step_alone(config, run_dir, capsys, kind, fused):
    options = ("max_iters=12", "log_interval=4", f"optimizer.type={kind}", f"optimizer.fused={fused}")
    assert train(config, *options, f"{BAD}=6", "model.bad_step=True", "nan_guard=skip") == 0
    out = capsys.readouterr().out
    assert out.count("NOT FINITE: 1 steps left out up to iteration 10; the first in iteration 7: first module") == 1
    saved = load(run_dir)
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())
    assert saved["guard"][0] == 1 and saved["scheduler"]["last_epoch"] == 12
    assert all(math.isfinite(record["loss"]) for record in read_metrics(run_dir))
    if kind == "AdamW":
        assert saved["optimizer"]["state"][0]["step"] == 11


def test_skip_sees_gradients(config, run_dir, capsys):
    """A finite loss whose gradient is not: the square root at 0."""
    options = ("max_iters=6", "nan_guard=skip", f"{BAD}=2", "model.bad_step=gradient")
    assert train(config, *options) == 0
    assert "so what was not came from the backward pass" in capsys.readouterr().out
    assert all(torch.isfinite(value).all() for value in load(run_dir)["state_dict"].values())


def test_skip_gives_up(config, capsys, monkeypatch):
    monkeypatch.setattr("pointcept_bsa.training.diagnosis.MAX_IN_A_ROW", 4)
    assert train(config, "data.train.fault=target", "nan_guard=skip") == 2
    assert "nan_guard='skip': 4 iterations in a row, to 4" in capsys.readouterr().err


def test_without_a_guard_the_run_goes_on(config, run_dir):
    assert train(config, "data.train.fault=target", "nan_guard=None", "evaluate=False", "max_iters=3") == 0
    assert [record["loss"] for record in read_metrics(run_dir)] == [None] * 3


def test_the_guard_does_not_change_a_good_run(config, tmp_path):
    states = []
    for mode in ("stop", "skip", "None"):
        folder = tmp_path / mode
        assert train(config, f"save_path={folder}", f"nan_guard={mode}", "model.dropout=0.5", "clip_grad=1.0") == 0
        states.append(load(folder)["state_dict"])
    assert_same_state(states[0], states[1])
    assert_same_state(states[0], states[2])


@pytest.mark.parametrize("mode", ["stop", "skip"])
def test_the_fused_step_is_left_out_on_the_device(mode):
    """What CUDA does: the optimizer gets the flag, the host reads nothing."""

    class OnDevice(NanGuard):
        def end_iteration(self, iteration):
            bad = super().end_iteration(iteration)
            assert bad.dtype == torch.float32
            return bad

    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    guard = OnDevice(mode, torch.device("cpu"))
    seen = []
    for iteration, loss in enumerate([1.0, math.inf, 1.0, math.nan, 1.0], start=1):
        weight.grad = torch.ones(3) * (loss if math.isfinite(loss) else math.nan)
        guard.note(torch.tensor(loss))
        bad = guard.end_iteration(iteration)
        optimizer.grad_scale, optimizer.found_inf = None, bad
        optimizer.step()
        seen.append(weight[0].item())
    moved = [a != b for a, b in zip([1.0, *seen], seen, strict=False)]
    assert moved == ([True, False, True, False, True] if mode == "skip" else [True] + [False] * 4)
    assert guard.read(5) == ((2, 2, 0) if mode == "skip" else (4, 2, 4))


def test_spikes_are_told(config, capsys):
    assert train(config, "max_iters=40", "model.spike_at=25", "optimizer.lr=1e-5", "scheduler.max_lr=1e-5") == 0
    out = capsys.readouterr().out
    assert out.count("LOSS SPIKE") == 1 and "in iterations 26 to 26, lately" in out
    watch = SpikeWatch(factor=2.0, window=3, patience=2)
    assert [watch.see(v) for v in (1.0, 9.0, 2.0, 5.0, 4.1)] == [None, None, None, 2.0, None]


def test_moving_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    average = MovingAverage(model, decay=0.75)
    for value in (1.0, 5.0, 9.0):
        nn.init.constant_(model.weight, value)
        average.update()
    expected = 0.75 * (0.75 * 1 + 0.25 * 5) + 0.25 * 9
    assert average.averages["weight"].item() == pytest.approx(expected)
    with average.swapped_in():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 9.0
    with pytest.raises(InputError, match="other parameters"):
        average.load_state_dict({"bias": torch.zeros(1)})


def test_the_moving_average_is_evaluated_saved_and_tested(config, run_dir, tmp_path, toys, capsys):
    assert train(config, "ema.decay=0.9", "hooks.5.draw=True", "max_iters=12", f"save_path={run_dir}") == 0
    assert "ema: the moving average" in capsys.readouterr().out
    saved = load(run_dir, "best")
    assert saved["ema"].keys() == saved["state_dict"].keys()
    assert not torch.equal(saved["ema"]["linear.weight"], saved["state_dict"]["linear.weight"])
    assert run_test(["--config", config]) == 0
    assert "moving average (ema)" in capsys.readouterr().out
    assert toys.ToyTester.results[0] == toys.ToyTester.results[1]  # after the training, and from the file
    plain = tmp_path / "plain"
    assert train(config, "max_iters=12", f"save_path={plain}") == 0
    assert_same_state(load(plain)["state_dict"], load(run_dir)["state_dict"])  # the training itself is the same


def test_matmul_precision(config, tmp_path):
    assert train(config, "matmul_precision=high", "max_iters=1") == 0
    assert torch.get_float32_matmul_precision() == "high" and torch.backends.cudnn.allow_tf32
    assert train(config, "max_iters=1", f"save_path={tmp_path / 'highest'}") == 0
    assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32


def test_muon_trains_and_resumes(config, tmp_path):
    path = tmp_path / "muon.py"
    path.write_text('_base_ = ["toy.py"]\nscheduler = dict(_delete_=True, type="PolyLR")\n')
    options = ("optimizer.type=Muon", "optimizer.lr=0.5", "max_iters=10")
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert train(str(path), *options, f"save_path={unbroken}") == 0
    records = read_metrics(unbroken)
    assert records[-1]["loss"] < records[0]["loss"]
    with pytest.raises(RuntimeError, match="killed"):
        train(str(path), *options, f"save_path={broken}", "hooks.1.type=StopAt", "hooks.1.epoch=1")
    assert train(str(path), *options, f"save_path={broken}", "resume=True") == 0
    assert_same_run(load(unbroken), load(broken))


def test_muon_takes_the_matrices_and_adamw_the_rest():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    params = [{"keyword": "1.weight", "adamw": True, "lr_scale": 0.1}]
    optimizer = build_optimizer({"type": "Muon", "lr": 0.1}, model, params)
    parts = optimizer.parts
    assert isinstance(parts["adamw"], torch.optim.AdamW)
    assert [p.shape for g in parts["muon"].param_groups for p in g["params"]] == [(4, 3)]
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.1, 0.1, 0.01])


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon to compare with")
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_steps_as_torchs(adjust, nesterov):
    shapes = [(8, 24), (24, 8), (8, 24), (6, 6), (24, 8), (8, 24)]
    start = [torch.randn(s, generator=torch.Generator().manual_seed(7)) for s in shapes]
    ours, torchs = ([nn.Parameter(p.clone()) for p in start] for _ in range(2))
    options = {"lr": 0.05, "weight_decay": 0.1, "momentum": 0.9, "nesterov": nesterov, "adjust_lr_fn": adjust}
    own = build_optimizer({"type": "Muon", **options}, nn.ParameterList(ours))
    reference = torch.optim.Muon(torchs, **options)
    for step in range(3):
        for p, q in zip(ours, torchs, strict=True):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
            q.grad = p.grad.clone()
        own.step()
        reference.step()
    for p, q in zip(ours, torchs, strict=True):  # torch's iterates in bfloat16, also on a CPU
        moved = 3 * 0.05 * (0.2 * 24**0.5 if adjust == "match_rms_adamw" else 3**0.5)
        torch.testing.assert_close(p, q, rtol=0, atol=0.02 * moved)
    mine, its = own.state_dict()["parts"]["muon"]["state"], reference.state_dict()["state"]
    assert mine.keys() == its.keys()
    for index in mine:
        torch.testing.assert_close(mine[index]["momentum_buffer"], its[index]["momentum_buffer"])


@pytest.mark.parametrize("shape", [(3, 8, 24), (3, 24, 8), (2, 16, 16)])
def test_orthogonalized_matrices_keep_their_singular_vectors(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrices.double(), full_matrices=False)
    turned = orthogonalize(matrices).double()
    core = u.mT @ turned @ vh.mT
    values = core.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.3 and values.max() < 1.3
    assert (core - torch.diag_embed(values)).abs().max() < 1e-4


TORCHS = [n for n in OPTIMIZERS.module_dict if hasattr(torch.optim, n)]


@pytest.mark.parametrize("kind", TORCHS)
def test_optimizers_of_torch_go_by_the_names_of_their_classes(kind):
    model = nn.Linear(3, 3)
    before = model.weight.detach().clone()
    optimizer = build_optimizer({"type": kind, "lr": 1e-2}, model)
    model(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()
    assert type(optimizer).__name__ == kind and not torch.equal(model.weight, before)


def test_optimizers_of_timm_go_by_name_too_after_torchs(monkeypatch):
    assert {"RAdam", "NAdam", "Adafactor", "RMSprop"} < set(TORCHS) and "LBFGS" not in OPTIMIZERS
    known = dict(OPTIMIZERS.module_dict)
    timm = types.ModuleType("timm.optim")
    timm.Adan, timm.RAdam = (type(n, (torch.optim.SGD,), {}) for n in ("Adan", "RAdam"))
    timm.Lookahead = type("Lookahead", (torch.optim.SGD,), {})
    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(optim=timm))
    monkeypatch.setitem(sys.modules, "timm.optim", timm)
    try:
        assert type(build_optimizer({"type": "Adan", "lr": 0.1}, nn.Linear(2, 2))) is timm.Adan
        assert type(build_optimizer({"type": "RAdam"}, nn.Linear(2, 2))) is torch.optim.RAdam
        with pytest.raises(InputError, match=r"optimizer.type='Adann'.*did you mean 'Adan'"):
            build_optimizer({"type": "Adann"}, nn.Linear(2, 2))
        with pytest.raises(InputError, match=r"optimizer.type='Lookahead' is not in the optimizers registry"):
            build_optimizer({"type": "Lookahead"}, nn.Linear(2, 2))
    finally:
        for name in set(OPTIMIZERS.module_dict) - set(known):
            del OPTIMIZERS.module_dict[name]


def test_a_timm_that_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"optimizer.type='Adan' is none of ours.*did you mean 'Adam'.*timm's cannot"):
        build_optimizer({"type": "Adan"}, nn.Linear(2, 2))


def test_lion_is_timms_or_an_error_that_says_so():
    try:
        optimizer = build_optimizer({"type": "Lion", "lr": 1e-3}, nn.Linear(2, 2))
    except InputError as error:
        assert "Lion is timm's, which cannot be imported" in str(error)
        return
    assert type(optimizer).__name__ == "Lion"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("nan_guard=go", "nan_guard='go': expected 'stop', 'skip' or None"),
        ("ema.decay=1.5", "ema={'decay': 1.5}: expected None or dict(decay="),
        ("matmul_precision=low", "matmul_precision='low'"),
        ("save_every=0", "save_every=0: expected None or a positive integer"),
        ("keep_last=0", "keep_last=0: expected a positive integer"),
    ],
)
def test_new_keys_are_checked(config, capsys, option, message):
    assert train(config, option) == 2
    assert message in capsys.readouterr().err


@pytest.mark.gpu
def test_muon_captured_steps_as_muon(monkeypatch):
    """With a schedule, a gradient that moves in memory, and a state that is loaded on the way."""
    results = []
    for eager in (3, 1000):
        monkeypatch.setattr(muon, "EAGER_STEPS", eager)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).cuda()
        optimizer = build_optimizer({"type": "Muon", "lr": 0.1}, model)
        x = torch.randn(32, 8, device="cuda")
        for step in range(16):
            model(x).square().mean().backward()
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (1 + step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=step == 10)
            if step == 7:
                optimizer.load_state_dict(optimizer.state_dict())
        assert (optimizer.parts["muon"]._graph is not None) == (eager == 3)
        results.append([p.detach().clone() for p in model.parameters()])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["stop", "skip"])
def test_no_step_waits_for_the_device(mode):
    """The guard and the moving average, under torch's alarm for synchronisation."""
    model = nn.Linear(8, 8).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    guard, average = NanGuard(mode, torch.device("cuda")), MovingAverage(model)
    x, bad = torch.ones(4, 8, device="cuda"), torch.tensor(math.nan, device="cuda")
    seen = []
    torch.cuda.set_sync_debug_mode("error")
    try:
        for iteration in range(1, 6):
            loss = model(x).square().mean() * (bad if iteration in (2, 4) else 1.0)
            loss.backward()
            guard.note(loss)
            if mode == "skip":
                guard.note(total_norm(model.parameters(), 1.0))
            guard.step(optimizer, iteration)
            average.update()
            optimizer.zero_grad()
            seen.append(model.weight.detach().clone())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    moved = [not torch.equal(a, b) for a, b in zip(seen, seen[1:], strict=False)]
    assert moved == ([False, True, False, True] if mode == "skip" else [False] * 4)
    assert guard.read(5) == ((2, 2, 0) if mode == "skip" else (4, 2, 4))
