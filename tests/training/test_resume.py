"""What a resumed run may change, what it may not, and what a new run takes from an old one."""

from __future__ import annotations

import json

import pytest
import torch
from host_toys import read_metrics
from test_entries import write
from test_training import assert_same_run, assert_same_state, load, train

from pointcept_bsa.host.embedded.config import config_hash, load_config

ITERATIONS = ("max_iters=12", "eval_every=4", "save_every=1")


def stop(config: str, iteration: int, *options: str) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train(config, *ITERATIONS, "hooks.4.type=StopAt", f"hooks.4.iteration={iteration}", *options)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("model.dropout=0.5", "model.dropout: - there, 0.5 here"),
        ("batch_size=3", "batch_size: 2 there, 3 here"),
        ("gradient_accumulation_steps=2", "gradient_accumulation_steps: 1 there, 2 here"),
        ("optimizer.lr=0.1", "optimizer.lr: 0.3 there, 0.1 here"),
        ("optimizer.type=SGD", "optimizer.type: 'AdamW' there, 'SGD' here"),
        ("scheduler.max_lr=0.2", "scheduler.max_lr: 0.3 there, 0.2 here"),
        ("data.train.noise=0.5", "data.train.noise: - there, 0.5 here"),
        ("data.train.num_samples=7", "data.train.num_samples: - there, 7 here"),
        ("data.val.num_samples=1", "data.val.num_samples: 2 there, 1 here"),
        ("clip_grad=1.0", "clip_grad: None there, 1.0 here"),
        ("ema.decay=0.5", "ema.decay: - there, 0.5 here"),
        ("enable_amp=True", "enable_amp: False there, True here"),
        ("matmul_precision=high", "matmul_precision: 'highest' there, 'high' here"),
        ("evaluate=False", "evaluate: True there, False here"),
        ("seed=4", "seed: 3 there, 4 here"),
        ("hooks.5.draw=True", "hooks.ToyEvaluator.draw: - there, True here"),
        ("max_iters=8", "max_iters: 12 there, 8 here"),
    ],
)
def test_a_key_that_matters_is_refused_and_named(config, run_dir, capsys, option, words):
    stop(config, 6)
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock"}
    capsys.readouterr()
    assert train(config, *ITERATIONS, "resume=True", option) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and "resume=weights begins a new run" in error
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("optimizer", ["AdamW", "Muon"])
def test_how_a_step_is_computed_is_this_machines(config, run_dir, optimizer):
    """A checkpoint of a captured or fused training on a GPU goes on here; one that maximises the loss does not."""
    options = (f"optimizer.type={optimizer}", "scheduler.cycle_momentum=False")
    stop(config, 6, *options)
    checkpoint, path = load(run_dir), run_dir / "model" / "model_last.pth"
    parts = checkpoint["optimizer"].get("parts", {"": checkpoint["optimizer"]})
    groups = [group for part in parts.values() for group in part["param_groups"] if "betas" in group]
    for group in groups:
        group.update(capturable=True, fused=True, foreach=True, differentiable=True)
    write(checkpoint, path)
    assert train(config, *ITERATIONS, "resume=True", *options) == 0
    taken = load(run_dir)["optimizer"]
    taken = [group for part in taken.get("parts", {"": taken}).values() for group in part["param_groups"]]
    assert not any(group.get("capturable") or group.get("fused") for group in taken)
    for group in groups:
        group["maximize"] = True
    write(checkpoint, path)
    assert train(config, *ITERATIONS, "resume=True", *options) == 2


def test_many_keys_are_counted(config, capsys):
    stop(config, 6)
    capsys.readouterr()
    other = ("batch_size=3", "optimizer.lr=0.1", "clip_grad=1.0", "ema.decay=0.5", "evaluate=False", "seed=4")
    assert train(config, *ITERATIONS, "resume=True", *other) == 2
    assert "; and 2 more; set them" in capsys.readouterr().err


def test_other_samples_under_the_same_keys_are_refused(config, tmp_path, capsys):
    listing = tmp_path / "listing"
    listing.write_text("some")
    listed = ("data.train.type=ListedCloud", f"data.train.listing={listing}")
    stop(config, 6, *listed)
    listing.write_text("other")
    assert train(config, *ITERATIONS, "resume=True", *listed) == 2
    assert "data.train: other samples (hash some there, other here)" in capsys.readouterr().err
    listing.write_text("some")
    assert train(config, *ITERATIONS, "resume=True", *listed) == 0


def test_what_does_not_matter_is_taken_and_told(config, run_dir, tmp_path, capsys):
    assert train(config, *ITERATIONS, f"save_path={tmp_path / 'unbroken'}") == 0
    stop(config, 6)
    capsys.readouterr()
    other = (
        "num_worker=1",
        "log_interval=3",
        "keep_last=3",
        "nan_guard=skip",
        "test.verbose=True",
        "hooks.1.type=Diary",
    )
    assert train(config, *ITERATIONS, "resume=True", *other) == 0
    taken = next(line for line in capsys.readouterr().out.splitlines() if "taken from this config" in line)
    for words in ("num_worker: 0 there, 1 here", "keep_last: 2 there, 3 here", "nan_guard: 'stop' there, 'skip' here"):
        assert words in taken
    assert "hooks" not in taken  # Diary and ModelHook only watch
    now = load_config(str(run_dir / "config.py"))
    assert (now.num_worker, now.keep_last, now.resume, now.weight) == (1, 3, False, None)
    assert_same_state(load(run_dir)["state_dict"], load(tmp_path / "unbroken")["state_dict"])


def test_smaller_batches_of_which_more_make_an_iteration(config, run_dir, tmp_path, capsys):
    """As after a lack of memory: the same clouds an iteration."""
    clouds = ("data.train.points=5", "data.train.num_samples=8")
    assert train(config, *ITERATIONS, *clouds, "batch_size=4", f"save_path={tmp_path / 'unbroken'}") == 0
    stop(config, 6, *clouds, "batch_size=4")
    capsys.readouterr()
    assert train(config, *ITERATIONS, *clouds, "batch_size=2", "gradient_accumulation_steps=2", "resume=True") == 0
    assert "batch_size: 4 there, 2 here; gradient_accumulation_steps: 1 there, 2 here" in capsys.readouterr().out
    assert load(run_dir)["iter"] == 12
    expected = load(tmp_path / "unbroken")["state_dict"]
    torch.testing.assert_close(load(run_dir)["state_dict"], expected, rtol=1e-5, atol=1e-6)  # sums in another order


def test_evaluations_at_other_iterations(config, run_dir, tmp_path, toys):
    """Epochs that are done keep their numbers; the training is the same."""
    assert train(config, *ITERATIONS, f"save_path={tmp_path / 'unbroken'}") == 0
    stop(config, 6)
    assert load(run_dir)["ends"] == [0, 4]
    assert train(config, "max_iters=12", "eval_every=3", "resume=True") == 0
    assert load(run_dir)["ends"] == [0, 4, 6, 9, 12] and load(run_dir)["epoch"] == 4
    assert_same_state(load(run_dir)["state_dict"], load(tmp_path / "unbroken")["state_dict"])
    ends = {record["epoch"]: record["iter"] for record in read_metrics(run_dir)}
    assert ends == {1: 4, 2: 6, 3: 9, 4: 12}


@pytest.mark.parametrize("schedule", ["OneCycleLR", "CosineAnnealingLR", "WarmupCosineLR", "MultiStepLR"])
@pytest.mark.parametrize("done", [6, 12])
def test_a_longer_run_has_the_schedule_of_its_length_from_there_on(config, run_dir, tmp_path, capsys, schedule, done):
    path = config.replace("toy.py", "long.py")
    own = {
        "OneCycleLR": dict(max_lr=0.3),
        "WarmupCosineLR": dict(warmup_ratio=0.2),
        "MultiStepLR": dict(milestones=[0.5]),
    }
    with open(path, "w") as file:
        file.write(
            f'_base_ = ["toy.py"]\nscheduler = dict(_delete_=True, type="{schedule}", **{own.get(schedule, {})})\n'
        )
    longer = ("max_iters=20", "eval_every=4", "save_every=1", f"save_path={tmp_path / 'longer'}")
    assert train(path, *longer) == 0
    rates = {record["iter"]: record["lr"] for record in read_metrics(tmp_path / "longer")}
    if done < 12:
        stop(path, done)
    else:
        assert train(path, *ITERATIONS) == 0
    before = {record["iter"]: record["lr"] for record in read_metrics(run_dir)}
    capsys.readouterr()
    assert train(path, *ITERATIONS, "max_iters=20", "resume=True") == 0
    out = capsys.readouterr().out
    assert f"LONGER RUN: 12 -> 20 iterations. From iteration {done} on the schedule is that of 20 iterations" in out
    assert "max_iters: 12 there, 20 here" in out
    now = {record["iter"]: record["lr"] for record in read_metrics(run_dir)}
    assert list(now) == list(range(1, 21))
    for iteration, rate in now.items():  # a record is written after the schedule's step
        assert rate == pytest.approx((before if iteration <= done else rates)[iteration], rel=1e-9)
    found = load(run_dir)
    assert (found["iter"], found["total_iters"], found["ends"]) == (20, 20, [0, 4, 8, 12, 16, 20])
    assert_same_state(found["scheduler"], load(tmp_path / "longer")["scheduler"])
    assert load_config(str(run_dir / "config.py")).max_iters == 20
    assert train(path, *ITERATIONS, "max_iters=20", "resume=True") == 0  # which goes on from a longer run's checkpoint


def test_a_longer_run_in_epochs(config, run_dir):
    assert train(config) == 0
    assert train(config, "resume=True", "epoch=8", "eval_epoch=4") == 0
    assert load(run_dir)["ends"] == [0, 6, 12, 18, 24] and load(run_dir)["iter"] == 24


def test_weights_alone_begin_a_run_of_their_own(config, run_dir, capsys):
    assert train(config, "ema.decay=0.9") == 0
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock"}
    other = ("optimizer.type=SGD", "optimizer.lr=0.001", "max_iters=3", "seed=9")
    assert train(config, "resume=weights", *other) == 0
    assert {path: path.read_bytes() for path in before} == before
    out = capsys.readouterr().out
    assert f"the weights of {run_dir}/model/model_last.pth alone are taken" in out
    version = run_dir / "version_1"
    found = load(version)
    assert (found["iter"], found["total_iters"], found["seed"]) == (3, 3, 9)
    now = load_config(str(version / "config.py"))
    assert (now.weight, now.resume, now.save_path) == (f"{run_dir}/model/model_last.pth", False, str(version))
    assert train(config, "resume=weights", *other) == 0 and load(run_dir / "version_2")["iter"] == 3
    assert_same_state(load(run_dir / "version_2")["state_dict"], found["state_dict"])
    # a named checkpoint and a fresh folder; the first step begins at the weights
    fresh = run_dir.parent / "fresh"
    options = (
        f"weight={run_dir}/model/model_best.pth",
        f"save_path={fresh}",
        "optimizer.lr=0",
        "scheduler.max_lr=1e-30",
    )
    assert train(config, "resume=weights", "max_iters=1", *options) == 0
    average = load(run_dir, "best")["ema"]["linear.weight"]
    torch.testing.assert_close(load(fresh)["state_dict"]["linear.weight"], average)


def test_weights_of_nothing(config, run_dir, capsys):
    assert train(config, "resume=weights") == 2
    assert "no such file" in capsys.readouterr().err and not run_dir.exists()


def earlier_version(run_dir, **changes) -> None:
    """Its last checkpoint as one written before there were records."""
    checkpoint = {key: value for key, value in load(run_dir).items() if key not in ("record", "ends")}
    for path in (run_dir / "model").glob("model_last*"):
        path.unlink()
    write({**checkpoint, **changes}, run_dir / "model" / "model_last.pth")


def test_a_checkpoint_without_a_record(config, run_dir, tmp_path, capsys):
    assert train(config, *ITERATIONS, f"save_path={tmp_path / 'unbroken'}") == 0
    stop(config, 6)  # with another hook than below: another hash, so its config.py tells the keys
    earlier_version(run_dir)
    capsys.readouterr()
    assert train(config, *ITERATIONS, "resume=True", "optimizer.lr=0.7") == 2
    assert "optimizer.lr: 0.3 there, 0.7 here" in capsys.readouterr().err
    assert train(config, *ITERATIONS, "resume=True") == 0
    assert_same_run(load(tmp_path / "unbroken"), load(run_dir))


def test_a_checkpoint_without_a_record_whose_hash_counted_private_names(config, run_dir, capsys):
    stop(config, 6)
    path = run_dir / "config.py"
    path.write_text(path.read_text() + "_own = dict(a=1)\n")
    known = config_hash(load_config(str(path)), private=True)
    assert known != config_hash(load_config(str(path)))
    earlier_version(run_dir, config_hash=known)
    capsys.readouterr()
    assert train(config, *ITERATIONS, "resume=True", "optimizer.lr=0.7") == 2
    assert "optimizer.lr: 0.3 there, 0.7 here" in capsys.readouterr().err


def test_a_checkpoint_without_a_record_and_its_config(config, run_dir, capsys):
    stop(config, 6)
    earlier_version(run_dir)
    (run_dir / "config.py").write_text("")
    (run_dir / "config.py").unlink()
    assert train(config, *ITERATIONS, "resume=True") == 2
    error = capsys.readouterr().err
    assert "was trained by another config (hash " in error and "cannot be told" in error and error.count("\n") == 1
    assert train(config, *ITERATIONS, "hooks.4.type=StopAt", "hooks.4.iteration=100", "resume=True") == 2  # 100, not 6
    assert train(config, *ITERATIONS, "resume=weights") == 0


def test_pointcepts_checkpoint_is_taken_with_a_warning(config, run_dir, capsys):
    stop(config, 4, "seed=3")
    checkpoint = load(run_dir)
    names = ("epoch", "state_dict", "optimizer", "scheduler", "scaler", "best_metric_value")
    for path in (run_dir / "model").glob("model_last*"):
        path.unlink()
    write({name: checkpoint[name] for name in names} | {"epoch": 1}, run_dir / "model" / "model_last.pth")
    assert train(config, *ITERATIONS, "resume=True") == 0
    assert "does not say what trained it" in capsys.readouterr().out
    assert load(run_dir)["iter"] == 12


def test_resume_wants_a_loader(config, run_dir, capsys):
    stop(config, 6)
    capsys.readouterr()
    assert train(config, *ITERATIONS, "resume=True", "hooks.0.type=Diary") == 2
    assert "hooks has no CheckpointLoader" in capsys.readouterr().err


def test_a_run_that_goes_on_elsewhere_takes_its_best_weights_along(config, run_dir, tmp_path, toys, capsys):
    stop(config, 10, "hooks.5.metrics=[0.9,0.1,0.1]")
    other = ("hooks.5.metrics=[0.9,0.1,0.1]", f"weight={run_dir}/model/model_last.pth")
    assert train(config, *ITERATIONS, "resume=True", *other, f"save_path={tmp_path / 'there'}") == 0
    assert load(tmp_path / "there", "best")["iter"] == 4 and load(tmp_path / "there")["best_metric_value"] == 0.9
    (run_dir / "model" / "model_best.pth").unlink()
    assert train(config, *ITERATIONS, "resume=True", *other, f"save_path={tmp_path / 'lost'}") == 0
    assert "the best weights are sought anew" in capsys.readouterr().out
    assert load(tmp_path / "lost", "best")["best_metric_value"] == 0.1


def test_the_record_is_plain(config, run_dir):
    assert train(config, "max_iters=2") == 0
    record = load(run_dir)["record"]
    assert json.loads(json.dumps(record)) == record
    assert record["config"]["optimizer.lr"] == 0.3 and record["train"]["samples"] == 6
