from __future__ import annotations

import json
import math

import pytest
import torch
from host_toys import read_metrics

from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.scheduler import build_scheduler


def train(config: str, *options: str) -> int:
    return train_main(["--config", config, *(["--options", *options] if options else [])])


def load(run_dir, which: str = "last") -> dict:
    return torch.load(run_dir / "model" / f"model_{which}.pth", weights_only=True)


def assert_same_run(left: dict, right: dict) -> None:
    """Equal checkpoints, but for the times they tell of."""
    times = ("storage", "metrics_bytes")
    assert left.keys() == right.keys()
    assert_same_state(*({key: state[key] for key in state if key not in times} for state in (left, right)))


def assert_same_state(left: object, right: object) -> None:
    """Equal to the last bit, containers and tensors alike."""
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same_state(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same_state(a, b)
    else:
        assert left == right


def test_a_run_leaves_what_it_should(config, run_dir, toys):
    assert train(config) == 0
    assert load(run_dir)["epoch"] == 2 and load(run_dir)["iter"] == 12  # 6 samples, twice a pass, 2 a batch
    assert load(run_dir, "best")["best_metric_value"] == 0.3
    assert set(load(run_dir)) >= {"epoch", "state_dict", "optimizer", "scheduler", "scaler", "best_metric_value"}
    records = read_metrics(run_dir)
    assert [record["iter"] for record in records] == list(range(1, 13))
    assert {"lr", "loss", "epoch", "iter_time", "data_time", "samples_per_s", "memory_mb"} <= records[0].keys()
    assert records[-1]["loss"] < records[0]["loss"]
    assert json.loads((run_dir / "env.json").read_text())["seed"] == 3
    assert "12 iterations in 2 epochs" in (run_dir / "train.log").read_text()
    assert len(toys.ToyTester.results) == 1
    assert not list(run_dir.rglob("*.tmp")) and list(run_dir.glob("events.out.tfevents.*"))


def test_hooks_are_called_in_order(config, toys):
    assert train(config, "max_iters=3", "eval_epoch=2", "hooks.5.type=Diary", "hooks.5.tag=b:", "evaluate=False") == 0
    steps = ["before_step", "b:before_step", "after_step", "b:after_step"]
    epoch = ["before_epoch", "b:before_epoch"]
    done = ["after_epoch", "b:after_epoch"]
    expected = ["before_train", "b:before_train", *epoch, *steps, *done, *epoch, *steps, *steps, *done]
    assert toys.Diary.notes == [*expected, "after_train", "b:after_train"]


@pytest.mark.parametrize(
    ("options", "iters", "batches", "epochs"),
    [
        (("max_iters=7",), 7, 7, 2),
        (("max_iters=7", "eval_every=3"), 7, 7, 3),
        (("gradient_accumulation_steps=4",), 3, 12, 2),
        (("gradient_accumulation_steps=5",), 2, 10, 2),
        (("batch_size=4",), 6, 6, 2),
        (("batch_size=100",), 2, 2, 2),
    ],
)
def test_length_of_a_run(config, run_dir, toys, options, iters, batches, epochs):
    assert train(config, *options) == 0
    assert load(run_dir)["iter"] == iters
    assert load(run_dir)["optimizer"]["state"][0]["step"] == iters
    assert load(run_dir)["scheduler"]["last_epoch"] == iters
    assert toys.Diary.notes.count("after_step") == batches
    assert toys.Diary.notes.count("after_epoch") == epochs


def test_accumulated_batches_make_the_gradient_of_one(config, run_dir):
    """Clouds of one batch and of several accumulated ones give the same step where all clouds weigh the same."""
    states = []
    for name, options in {"two": ("batch_size=1", "gradient_accumulation_steps=2"), "one": ("batch_size=1",)}.items():
        options += (f"save_path={run_dir / name}",)
        assert train(config, "max_iters=1", "data.train.num_samples=1", "optimizer.type=SGD", *options) == 0
        states.append(load(run_dir / name)["state_dict"])
    torch.testing.assert_close(states[0], states[1])


SCHEDULERS = [
    {"type": "OneCycleLR", "max_lr": 0.05},
    {"type": "CosineAnnealingLR"},
    {"type": "PolyLR"},
    {"type": "WarmupCosineLR", "warmup_iters": 3, "eta_min": 1e-4},
    {"type": "MultiStepLR", "milestones": [0.5, 0.8]},
    {"type": "MultiStepWithWarmupLR", "milestones": [0.5, 0.8]},
]


@pytest.mark.parametrize(
    ("scheduler", "workers"),
    [*((scheduler, 0) for scheduler in SCHEDULERS), (SCHEDULERS[0], 2)],
    ids=lambda value: value["type"] if isinstance(value, dict) else str(value),
)
def test_a_resumed_run_ends_as_an_unbroken_one(config, tmp_path, toys, scheduler, workers):
    path = tmp_path / "with_scheduler.py"
    path.write_text(f'_base_ = ["toy.py"]\nscheduler = dict(_delete_=True, **{scheduler!r})\n')
    common = ("model.dropout=0.5", "data.train.noise=0.5", "max_iters=10", "eval_epoch=4", f"num_worker={workers}")
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert train(str(path), *common, f"save_path={unbroken}") == 0
    names = list(toys.Diary.names)
    toys.Diary.names.clear()
    with pytest.raises(RuntimeError, match="killed"):
        train(str(path), *common, f"save_path={broken}", "hooks.1.type=StopAt", "hooks.1.epoch=2")
    assert load(broken)["epoch"] == 2
    torch.manual_seed(99)  # whatever another process would have
    assert train(str(path), *common, f"save_path={broken}", "resume=True", "seed=None") == 0
    assert toys.Diary.names == names
    assert_same_run(load(unbroken), load(broken))  # weights, optimizer, schedule, generators, config


def test_resume_of_a_finished_run_only_tests(config, run_dir, toys):
    assert train(config) == 0
    assert train(config, "resume=True") == 0
    assert toys.Diary.notes.count("before_train") == 2 and toys.Diary.notes.count("after_epoch") == 2
    assert toys.ToyTester.results[0] == toys.ToyTester.results[1]


def test_nan_metric_never_is_the_best(config, run_dir, toys, capsys):
    assert train(config, "hooks.5.metrics=[nan,0.1]") == 0
    assert load(run_dir, "best")["epoch"] == 2
    assert train(config, "hooks.5.metrics=[nan,nan]", f"save_path={run_dir / 'none'}") == 0
    out = capsys.readouterr().out
    assert "cannot be the best" in out and "there is no model_best.pth" in out
    assert not (run_dir / "none" / "model" / "model_best.pth").exists()
    assert len(toys.ToyTester.results) == 2


def test_nan_loss_stops_with_the_iteration(config, run_dir, capsys):
    assert train(config, "data.train.fault=target") == 2
    error = capsys.readouterr().err
    assert (
        "not finite in iteration 1: the batch's 'target' is not finite (samples train_" in error
        and error.count("\n") == 1
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_is_named_in_one_line(config, capsys, workers):
    assert train(config, "data.train.fault=file", f"num_worker={workers}") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: sample_") and error.endswith(".npy: 3 values are NaN\n") and error.count("\n") == 1


def test_save_path_that_cannot_be(config, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train(config, f"save_path={tmp_path / 'file' / 'run'}") == 2
    assert "save_path=" in capsys.readouterr().err


def test_foreign_checkpoints_are_refused_in_one_line(config, run_dir, tmp_path, capsys):
    assert train(config) == 0
    last = run_dir / "model" / "model_last.pth"
    other = tmp_path / "other.pth"
    torch.save({"state_dict": {"module.linear.weight": torch.zeros(2, 3), "head.bias": torch.zeros(1)}}, other)
    broken, code = tmp_path / "broken.pth", tmp_path / "code.pth"
    broken.write_bytes(last.read_bytes()[:500])
    torch.save({"state_dict": train}, code)
    wanted = {
        other: "1 missing keys (first: linear.bias), 1 unexpected keys (first: head.bias), "
        "1 of another shape (first: linear.weight is (2, 3), the model has (1, 3))",
        broken: "not a readable checkpoint",
        code: "not a readable checkpoint",
    }
    for path, message in wanted.items():
        for main in (train_main, run_test):
            assert main(["--config", config, "--options", f"weight={path}", f"save_path={tmp_path / 'new'}"]) == 2
            error = capsys.readouterr().err
            assert message in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_the_test_tool_leaves_the_training_as_it_was(config, run_dir, toys, capsys):
    assert train(config) == 0
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert run_test(["--config", config, "--options", "seed=77"]) == 0
    assert "model_best.pth" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    assert toys.ToyTester.results[0] == toys.ToyTester.results[1]


def test_the_saved_config_can_be_run_again(config, run_dir, tmp_path):
    assert train(config, "max_iters=3") == 0
    assert train(str(run_dir / "config.py"), f"save_path={tmp_path / 'again'}") == 0
    assert_same_state(load(run_dir)["state_dict"], load(tmp_path / "again")["state_dict"])


def test_parameter_groups(config, run_dir, capsys):
    groups = 'param_dicts=[{"keyword":"bias","lr_scale":0.1,"weight_decay":0.0}]'
    path = config.replace("toy.py", "groups.py")
    with open(path, "w") as file:
        file.write('_base_ = ["toy.py"]\n' + groups + "\n" + 'scheduler = dict(_delete_=True, type="PolyLR")\n')
    assert train(path, "max_iters=2") == 0
    first, second = load(run_dir)["optimizer"]["param_groups"]
    assert second["initial_lr"] == pytest.approx(0.1 * first["initial_lr"]) and second["weight_decay"] == 0
    assert train(path, "param_dicts.0.keyword=absent", f"save_path={run_dir / 'absent'}") == 2
    assert "param_dicts[0].keyword='absent'" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast_on_the_cpu(config, run_dir, dtype):
    assert train(config, "enable_amp=True", f"amp_dtype={dtype}", "clip_grad=1.0") == 0
    records = read_metrics(run_dir)
    assert records[-1]["loss"] < records[0]["loss"]


def test_warmup_cosine_by_hand():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_scheduler({"type": "WarmupCosineLR", "warmup_iters": 2, "eta_min": 0.2}, optimizer, total_steps=6)
    rates = []
    for _ in range(7):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    cosine = [0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(5)]
    assert rates == pytest.approx([1 / 3, 2 / 3, *cosine])
