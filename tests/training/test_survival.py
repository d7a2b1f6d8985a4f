"""Runs that are killed, interrupted, or lose their disk, their data or their workers.

Environment
    PCBSA_KILLS   how many kills to survive (default 6)
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from host_toys import REPOSITORY, read_metrics
from patience import PATIENCE, wait_for
from test_training import assert_same_run, load, train

from pointcept_bsa.errors import InputError
from pointcept_bsa.training.checkpoints import files
from pointcept_bsa.training.checkpoints.store import CheckpointStore
from pointcept_bsa.training.cli import exit_code
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.loader import GRACE, quiet_worker
from pointcept_bsa.training.processes.faults import DeadWorkerError, guarded

HERE = Path(__file__).parent


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{REPOSITORY}", "OMP_NUM_THREADS": "1"}


def break_off(config: str, epoch: int, *options: str) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train(config, "hooks.1.type=StopAt", f"hooks.1.epoch={epoch}", *options)


def test_killed_runs_end_as_the_unbroken_one():
    command = [sys.executable, str(HERE / "kill_loop.py"), "--kills", os.environ.get("PCBSA_KILLS", "6")]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["runs"] == told["equal"] >= 1 and not told["failures"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_within_an_epoch(config, tmp_path, toys, workers, accumulate):
    common = ("model.dropout=0.5", "data.train.noise=0.5", "max_iters=10", "eval_epoch=2", "save_every=2")
    common += (f"num_worker={workers}", f"gradient_accumulation_steps={accumulate}", "log_interval=3", "ema.decay=0.9")
    common += ("hooks.3.max_wait=1000",)  # else a slow step has its losses read, and kept, at another iteration
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert train(config, *common, f"save_path={unbroken}") == 0
    names = list(toys.Diary.names)
    toys.Diary.names.clear()
    # In the second epoch at iteration 5; the checkpoint before the epoch's end is that of iteration 4.
    break_off(config, 1, *common, f"save_path={broken}")
    model = broken / "model"
    assert load(broken)["iter"] == 5
    for name in ("model_last.pth", "model_last.pth.sha256"):
        (model / name).unlink()
        (model / name.replace("last", "last.1")).rename(model / name)
    assert load(broken)["iter"] == 4 and load(broken)["epoch"] == 0
    toys.Diary.names[4 * accumulate :] = []
    torch.manual_seed(99)
    assert train(config, *common, f"save_path={broken}", "resume=True") == 0
    assert toys.Diary.names == names
    assert_same_run(load(unbroken), load(broken))
    for kind in ("train", "epoch"):
        first, second = (
            [(r["iter"], r["loss"]) if kind == "train" else r for r in read_metrics(f, kind)]
            for f in (unbroken, broken)
        )
        assert first == second


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_leave(config, tmp_path, run_dir, capsys, number, code):
    unbroken = tmp_path / "unbroken"
    common = ("max_iters=12", "eval_epoch=2", "model.dropout=0.5", "hooks.4.type=SignalAt")
    assert train(config, *common, f"save_path={unbroken}") == 0
    assert train(config, *common, "hooks.4.iteration=4", f"hooks.4.number={int(number)}") == code
    error = capsys.readouterr().err
    assert error == (
        f"interrupted by {signal.Signals(number).name}: iteration 5 of 12, "
        f"saved; go on with resume=True save_path={run_dir}\n"
    )
    assert load(run_dir)["iter"] == 5 and load(run_dir)["epoch"] == 0
    assert train(config, *common, "resume=True") == 0
    assert_same_run(load(unbroken), load(run_dir))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_in_the_evaluation_waits_for_its_end(config, run_dir, capsys):
    assert train(config, "hooks.4.type=SignalAt", "hooks.4.epoch=0") == 143
    assert load(run_dir)["epoch"] == 1
    assert "iteration 6 of 12, saved" in capsys.readouterr().err


def test_a_signal_to_all_processes_of_a_run_saves(config, run_dir, tmp_path):
    """As a batch system sends it: to the main process and to those that load data."""
    options = ["num_worker=2", "max_iters=100000", "save_every=50000", f"save_path={run_dir}"]
    command = [sys.executable, "tools/train.py", "--config", config, "--options", *options]
    run = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: (run_dir / "metrics.jsonl").exists() and len(read_metrics(run_dir)) > 20)
    os.killpg(run.pid, signal.SIGTERM)
    error = run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 143, error
    assert error.startswith("interrupted by SIGTERM") and "saved" in error and "Traceback" not in error
    assert load(run_dir)["iter"] > 20


def load_for_ever(ready) -> None:
    quiet_worker(0)
    ready.set()
    while True:
        time.sleep(0.01)


def test_a_loading_process_outlives_the_signal_that_the_main_one_gets_too():
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    loading = context.Process(target=load_for_ever, args=(ready,), daemon=True)
    loading.start()
    assert ready.wait(PATIENCE)
    start = time.monotonic()
    os.kill(loading.pid, signal.SIGTERM)
    loading.join(PATIENCE)
    assert time.monotonic() - start > 0.9 * GRACE and loading.exitcode == -signal.SIGTERM


def test_two_processes_leave_together(config, run_dir):
    options = ["max_iters=100000", "batch_size=4", f"save_path={run_dir}", "data.train.points=5"]
    command = [sys.executable, "tools/train.py", "--config", config, "--num-gpus", "2", "--options", *options]
    run = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: (run_dir / "metrics.jsonl").exists() and len(read_metrics(run_dir)) > 5)
    run.send_signal(signal.SIGTERM)
    error = run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 143, error
    assert error.count("interrupted by SIGTERM") == 1 and "Traceback" not in error
    assert len(load(run_dir)["rng"]) == 2 and load(run_dir)["iter"] % 10 == 0


def test_checksums_are_of_the_files_and_the_last_two_are_kept(config, run_dir):
    assert train(config, "save_every=2", "hooks.6.save_freq=1", "keep_last=3") == 0
    model = run_dir / "model"
    names = {path.name for path in model.iterdir() if path.suffix == ".pth"}
    assert names == {f"model_{n}.pth" for n in ("last", "last.1", "last.2", "best")} | {"epoch_1.pth", "epoch_2.pth"}
    assert [load(run_dir, n)["iter"] for n in ("last", "last.1", "last.2")] == [12, 12, 10]
    for path in model.glob("*.pth"):
        assert files.is_intact(path) and len(files.read_checksums(path)) == 1
    done = subprocess.run(["sha256sum", "-c", *(p.name for p in model.glob("*.sha256"))], cwd=model)
    assert done.returncode == 0


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    os.unlink(path)
    path.write_bytes(data)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(config, tmp_path, run_dir, capsys):
    unbroken = tmp_path / "unbroken"
    common = ("max_iters=8", "eval_epoch=2", "save_every=1")
    assert train(config, *common, f"save_path={unbroken}") == 0
    break_off(config, 1, *common)
    damage(run_dir / "model" / "model_last.pth")
    assert train(config, *common, "resume=True") == 0
    warning = next(line for line in capsys.readouterr().out.splitlines() if "TAKING THE ONE BEFORE" in line)
    assert "model_last.pth': damaged" in warning and "model_last.1.pth" in warning
    assert_same_run(load(unbroken), load(run_dir))


def test_without_a_good_checkpoint_all_are_named(config, run_dir, capsys):
    assert train(config, "save_every=2") == 0
    for name in ("model_last.pth", "model_last.1.pth"):
        damage(run_dir / "model" / name)
    assert train(config, "resume=True") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "model_last.pth': damaged" in error and "model_last.1.pth': damaged" in error
    assert "no good checkpoint is left" in error
    assert run_test(["--config", config, "--options", f"weight={run_dir}/model/model_last.pth"]) == 2
    assert "damaged" in capsys.readouterr().err


class FullDisk:
    """From the given call on, what the host writes to files fails as on a full disk."""

    def __init__(self, monkeypatch, after: int) -> None:
        self.left, self.write = after, files.Hashing.write
        monkeypatch.setattr(files.Hashing, "write", lambda file, data: self(file, data))

    def __call__(self, file, data):
        if self.left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.left -= 1
        return self.write(file, data)


@pytest.mark.parametrize("after", [400, 417, 460, 501, 555])
def test_a_full_disk_is_one_line_and_spares_the_checkpoints(config, run_dir, capsys, monkeypatch, after):
    FullDisk(monkeypatch, after)
    code = train(config, "max_iters=20", "save_every=1")
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and "No space left on device" in error
    assert "could not be written" in error and "model_last.pth" in error
    monkeypatch.undo()
    assert not list(run_dir.rglob("*.tmp"))
    for path in (run_dir / "model").glob("model_last*.pth"):
        assert files.is_intact(path)
    assert train(config, "max_iters=20", "resume=True") == 0


def test_a_lost_folder_is_one_line(config, run_dir, capsys):
    assert (
        train(config, "hooks.4.type=Mover", f"hooks.4.folder={run_dir / 'model'}", "max_iters=4", "save_every=1") == 2
    )
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "checkpoint of iteration 3 could not be written" in error
    assert files.is_intact(run_dir / "model.moved" / "model_last.pth")


@pytest.mark.parametrize("workers", [0, 1])
def test_lost_data_are_one_line(config, capsys, workers):
    assert train(config, "data.train.fault=lost", f"num_worker={workers}") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: data.train: data cannot be read: ") and "sample_" in error
    assert error.count("\n") == 1 and "Traceback" not in error


def test_a_dead_worker_is_told_once():
    """torch's handler of a child's end would raise the same again wherever Python is, also in a destructor."""
    pipe = iter([1])

    def batches():
        yield from pipe
        raise ConnectionResetError(104, "Connection reset by peer")

    def loud(number, frame):
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    before = signal.signal(signal.SIGCHLD, loud)
    try:
        with pytest.raises(DeadWorkerError, match="a process that loads data has died"):
            list(guarded(batches(), "data.train", workers=1))
        os.kill(os.getpid(), signal.SIGCHLD)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_dead_worker_is_one_line(config, run_dir):
    options = ["num_worker=1", "max_iters=100000", "save_every=5", f"save_path={run_dir}"]
    command = [sys.executable, "tools/train.py", "--config", config, "--options", *options]
    run = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: (run_dir / "model" / "model_last.pth").exists())
    children = [child for task in Path(f"/proc/{run.pid}/task").iterdir() for child in children_of(task)]
    (worker,) = [child for child in children if commands_of(child) == commands_of(run.pid)]  # a fork of it
    os.kill(worker, signal.SIGKILL)
    error = run.communicate(timeout=PATIENCE)[1]
    assert run.returncode == 2, error
    assert error.startswith("error: num_worker: a process that loads data has died") and error.count("\n") == 1
    assert files.is_intact(run_dir / "model" / "model_last.pth") and load(run_dir)["iter"] >= 5


def children_of(task: Path) -> list[int]:
    return [int(number) for number in (task / "children").read_text().split()]


def commands_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.parametrize("stop", [None, 3])
def test_no_process_that_loads_data_outlives_the_training(config, stop):
    """Where garbage collection ends them it waits for each of them for 5 seconds, after each trial of a search."""
    before = set(torch.multiprocessing.active_children())  # those of earlier tests may end meanwhile
    if stop is None:
        assert train(config, "num_worker=2") == 0
    else:
        with pytest.raises(RuntimeError, match="^killed$"):
            train(config, "num_worker=2", "hooks.4.type=StopAt", f"hooks.4.iteration={stop}")
    assert not set(torch.multiprocessing.active_children()) - before


def test_a_dead_worker_is_told_wherever_torch_says_so(tmp_path, capfd):
    # Torch raises it from a signal handler, so also in the middle of a save.
    class Cut:
        def __reduce__(self):
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed. ")

    store = CheckpointStore(tmp_path, keep_last=2)
    store.save({"iter": 5})
    assert exit_code(lambda: store.save({"iter": 10, "cut": Cut()})) == 2
    error = capfd.readouterr().err
    assert error.startswith(
        "error: num_worker: a process that loads data has died (DataLoader worker (pid 1) is killed"
    )
    assert error.count("\n") == 1
    assert torch.load(tmp_path / "model_last.pth", weights_only=True)["iter"] == 5


@pytest.mark.parametrize(
    ("error", "workers", "message"),
    [
        (EOFError(), 1, "num_worker: a process that loads data has died (EOFError)"),
        (ConnectionResetError(104, "Connection reset by peer"), 1, "num_worker: a process that loads data has died"),
        (OSError(24, "Too many open files"), 1, "data.val: data cannot be read: [Errno 24] Too many open files"),
        (EOFError("cut"), 0, "data.val: data cannot be read: cut"),
        (RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed."), 1, "num_worker: a process"),
    ],
)
def test_faults_of_loading(error, workers, message):
    def batches():
        yield 1
        raise error

    with pytest.raises(InputError) as found:
        list(guarded(batches(), "data.val", workers))
    assert str(found.value).startswith(message)
