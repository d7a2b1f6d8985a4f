"""A folder has one run: not overwritten, not shared, and its results are those of its weights."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from host_toys import REPOSITORY, read_metrics
from patience import wait_for
from processes import train_in
from test_survival import environment
from test_training import train

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config, load_config
from pointcept_bsa.host.weight import identity, of_other_weights
from pointcept_bsa.training.processes import elastic
from pointcept_bsa.training.runs import folder
from pointcept_bsa.training.runs import folder as lock


def contents(run_dir: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file() and path.name != ".lock"}


def test_repeating_the_command_destroys_nothing(config, run_dir, capsys):
    assert train(config) == 0
    before = contents(run_dir)
    capsys.readouterr()
    assert train(config, "max_iters=3") == 2
    error = capsys.readouterr().err
    names = "model_best.pth, model_last.1.pth, model_last.pth"
    assert error.startswith(f"error: save_path={str(run_dir)!r}: holds a run ({names}), which is not overwritten; ")
    assert f"resume=True goes on with it, save_path={run_dir}/version_1 begins another, resume=weights" in error
    assert error.count("\n") == 1
    assert contents(run_dir) == before
    assert (
        train(config, "max_iters=3", f"save_path={run_dir}/version_1") == 0
        and contents(run_dir).items() > before.items()
    )


def test_nor_under_several_processes(config, run_dir):
    assert train(config) == 0
    before = contents(run_dir)
    codes, said = train_in(2, config, "max_iters=3")
    assert codes == [2, 2] and said.count("which is not overwritten") == 2
    assert contents(run_dir) == before


def test_a_result_alone_is_not_overwritten(config, run_dir, capsys):
    (run_dir / "test").mkdir(parents=True)
    (run_dir / "test" / "metrics.json").write_text("{}")
    assert train(config) == 2
    error = capsys.readouterr().err
    assert "holds a run (test/metrics.json)" in error and "goes on" not in error


def test_going_on_elsewhere_wants_a_folder_without_a_run(config, run_dir, tmp_path, capsys):
    assert train(config) == 0 and train(config, f"save_path={tmp_path / 'other'}") == 0
    before = contents(run_dir)
    options = (f"weight={tmp_path / 'other'}/model/model_last.pth", "resume=True")
    capsys.readouterr()
    assert train(config, *options) == 2
    assert "holds another run" in capsys.readouterr().err and contents(run_dir) == before


def test_what_came_to_no_checkpoint_is_put_aside(config, run_dir, capsys):
    for number in (1, 2):
        with pytest.raises(RuntimeError, match="killed"):
            train(config, "hooks.4.type=StopAt", f"hooks.4.iteration={number + 1}")
    (run_dir / "notes.txt").write_text("mine")
    assert train(config) == 0
    assert f"no checkpoint here; what it wrote is in {run_dir}/broken_off_2" in capsys.readouterr().out
    assert [record["iter"] for record in read_metrics(run_dir)] == list(range(1, 13))
    for number in (1, 2):
        aside = run_dir / f"broken_off_{number}"
        assert len(read_metrics(aside)) == number + 1 and (aside / "config.py").is_file()
        assert list(aside.glob("events.out.tfevents.*")) and "iter" in (aside / "train.log").read_text()
    assert len(list(run_dir.glob("events.out.tfevents.*"))) == 1 and (run_dir / "notes.txt").read_text() == "mine"


def test_broken_off_within_its_first_save_it_is_no_run(config, run_dir):
    assert train(config, "max_iters=2") == 0
    model = run_dir / "model"
    os.link(model / "model_best.pth", model / "model_new.pth")
    assert folder.what_it_holds(run_dir).startswith("model_best.pth, model_last")
    for path in model.glob("model_last*"):
        path.unlink()
    assert folder.what_it_holds(run_dir) is None
    assert train(config, "max_iters=2") == 0 and (run_dir / "broken_off_1" / "model" / "model_best.pth").is_file()
    (model / "model_last.pth").unlink()  # to save space
    assert folder.what_it_holds(run_dir).startswith("model_best.pth")


@pytest.fixture
def running(config, run_dir):
    """A training in a process of its own, which has a checkpoint and two workers."""
    options = [f"save_path={run_dir}", "num_worker=2", "max_iters=1000000", "save_every=50", "eval_epoch=1"]
    command = [sys.executable, "tools/train.py", "--config", config, "--options", *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment(), **quiet)
    wait_for((run_dir / "model" / "model_last.pth").is_file)
    yield process
    process.kill()
    process.wait()


def test_a_second_training_is_refused_while_one_runs(config, run_dir, running, capsys):
    text = (run_dir / "config.py").read_text()
    for options in ((), ("resume=True", "max_iters=1000000"), ("resume=weights", f"save_path={run_dir}/../run")):
        if options[:1] == ("resume=weights",):
            assert train(config, *options, "max_iters=2") == 0  # beside it
            assert (run_dir / "version_1" / "model" / "model_last.pth").is_file()
            continue
        assert train(config, *options) == 2
        error = capsys.readouterr().err
        assert f"process {running.pid} on " in error and "is training into this folder" in error
        assert error.count("\n") == 1
    assert running.poll() is None and (run_dir / "config.py").read_text() == text
    # its workers, alive for a while after a kill, do not keep the lock
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    lock.lock_folder(run_dir)
    lock.unlock_folders()


def test_a_file_system_without_locks_is_said(config, run_dir, capsys, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert train(config, "max_iters=2") == 0
    assert f"{run_dir} cannot be locked (No locks available): a second training" in capsys.readouterr().out


def test_the_lock_goes_with_a_failed_start(config, run_dir, capsys):
    run_dir.mkdir()
    assert train(config, "optimizer.type=Nope") == 2
    with open(run_dir / ".lock") as file:  # as another process has it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert train(config, "max_iters=2") == 2 and "is training into this folder" in capsys.readouterr().err
    assert train(config, "max_iters=2") == 0
    with open(run_dir / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_restart_takes_its_own_launch_alone(config, run_dir, monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    assert train(config, "max_iters=2") == 0
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "two")
    assert train(config, "resume=weights", "max_iters=3") == 0
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "three")
    cfg = load_config(config)
    elastic.go_on_after_restart(cfg)
    assert not cfg.resume
    with pytest.raises(InputError, match="which is not overwritten"):
        folder.claim(cfg)
    assert train(config, "resume=weights", "max_iters=3") == 0
    cfg = load_config(config, {"resume": "weights"})
    elastic.go_on_after_restart(cfg)
    assert (cfg.resume, cfg.weight, cfg.save_path) == (True, None, str(run_dir / "version_2"))
    lock.unlock_folders()


def test_no_weights_of_a_launch_that_went_on(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    cfg = Config(dict(save_path=str(tmp_path), resume="weights", weight="w"))
    elastic.go_on_after_restart(cfg)
    assert cfg.resume == "weights" and cfg.weight == "w"


def test_a_result_is_of_the_weights_that_lie_there(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    torch.save({"a": torch.zeros(1)}, model / "model_best.pth")
    torch.save({"a": torch.ones(1)}, model / "model_last.pth")
    best, last = identity(model / "model_best.pth"), identity(model / "model_last.pth")
    assert best["weight_file"] == "model_best.pth" and best != last
    assert of_other_weights(tmp_path, best) is None and of_other_weights(tmp_path, last) is None
    assert of_other_weights(tmp_path, {**last, "weight_file": "elsewhere.pth"}) is None  # a copy of one of them
    assert of_other_weights(tmp_path, {"mse": 1}) is None  # does not say
    torch.save({"a": torch.zeros(2)}, model / "model_best.pth")
    assert "its test is of other weights than the model_best.pth" in of_other_weights(tmp_path, best)
    assert of_other_weights(tmp_path, last) is None
    (model / "model_best.pth").unlink()
    assert "than the model_last.pth" in of_other_weights(tmp_path, best)
    (model / "model_last.pth").unlink()
    assert of_other_weights(tmp_path, best) is None  # no checkpoint to compare with
    assert json.dumps(identity(None)) == '{"weight_file": null, "weight_sha256": null}'
