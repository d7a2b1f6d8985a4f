"""A process of a run is killed; torchrun's agent starts all of them again, and the run goes on by itself."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from patience import PATIENCE
from processes import run_here, server, train_in
from test_training import assert_same_state, load
from test_two_processes import RANDOM
from torch.distributed import HashStore
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.processes import elastic, launch

WEIGHTS = ("state_dict", "optimizer", "scheduler", "ema", "rng", "iter")


def under_torchrun(arguments: list[str], said: str) -> None:
    """A worker of the agent. What it says is kept by start and rank."""
    number = f"{os.environ['TORCHELASTIC_RESTART_COUNT']}_{os.environ['RANK']}"
    run_here({}, train_main, arguments, f"{said}_{number}")


@pytest.fixture
def own_signals():
    """The agent takes the process's signal handlers for itself and keeps them; the tests that follow want theirs."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_a_lost_process_costs_no_more_than_the_way_from_the_last_checkpoint(config, tmp_path: Path):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    codes, said = train_in(2, config, *RANDOM, f"save_path={unbroken}")
    assert codes == [0, 0], said
    # an earlier start that came to no checkpoint lies in the folder
    killed.mkdir()
    (killed / "metrics.jsonl").write_text("{}\n")

    server()  # before torch makes one that has imported nothing
    agent = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="this one",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=1,
        monitor_interval=0.1,
        start_method="forkserver",
    )
    options = [*RANDOM[:-1], "hooks.7.type=KillAt", "hooks.7.iteration=5", f"save_path={killed}"]
    elastic_launch(agent, under_torchrun)(["--config", config, "--options", *options], str(tmp_path / "said"))
    first, again = ((tmp_path / f"said_{start}_0").read_text() for start in (0, 1))
    assert "RESTARTED" not in first and "iter 2/6" in first
    assert "RESTARTED by torchrun (launch this one): going on from" in again and "model_last.pth, iteration 4" in again
    for key in WEIGHTS:
        assert_same_state(load(killed)[key], load(unbroken)[key])


def test_a_start_takes_no_entry_of_the_dead_for_its_own():
    """Three starts in one store, each with another latecomer: one name for all of a start, another for each start."""
    store = HashStore()
    names = []
    for late in (0, 1, 2):
        with ThreadPoolExecutor(3) as pool:

            def start(rank: int, late: int = late) -> str:
                time.sleep(0.1 * (rank == late))
                return launch.agree_on_name(store, rank, 3, timedelta(seconds=PATIENCE))

            (name,) = set(pool.map(start, range(3)))
        names.append(name)
    assert len(set(names)) == 3
    with pytest.raises(InputError, match="waited in vain"):
        launch.agree_on_name(store, 1, 3, timedelta(seconds=0.1))


@pytest.mark.parametrize(("name", "expected"), [("job", "job"), ("none", None), (None, None)])
def test_names_of_launches(monkeypatch, name, expected):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    if name is not None:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", name)
    found = elastic.launch_name()
    assert found == expected if name != "none" else str(os.getppid()) in found


def test_without_torchrun_nothing_is_taken_up(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_last.pth").touch()
    cfg = Config(dict(save_path=str(tmp_path), resume=False, weight="w"))
    elastic.go_on_after_restart(cfg)
    assert cfg.weight == "w" and not cfg.resume
