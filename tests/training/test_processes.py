from __future__ import annotations

import os
import subprocess
import sys

import torch
from host_toys import REPOSITORY
from processes import train_in

from pointcept_bsa.training.cli import train_main


def test_two_processes_leave_out_the_same_step(config, run_dir):
    """One process's batch is bad; the gradient, which is both's, decides for both."""
    options = [f"save_path={run_dir}", "max_iters=6", "batch_size=4", "data.train.fault=one", "nan_guard=skip"]
    codes, said = train_in(2, config, *options, "data.train.points=5")
    assert codes == [0, 0], said
    saved = torch.load(run_dir / "model" / "model_last.pth", weights_only=True)
    assert saved["guard"][0] > 0 and saved["optimizer"]["state"][0]["step"] == 6 - saved["guard"][0]
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())


def test_a_mistake_in_spawned_processes_exits_with_2(config, tmp_path, capfd):
    options = [f"save_path={tmp_path / 'run'}", "model.fail=boom"]
    assert train_main(["--config", config, "--num-gpus", "2", "--options", *options]) == 2
    error = capfd.readouterr().err
    assert "model (ToyLine): boom" in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_tools_run_from_a_checkout(config, run_dir, tmp_path):
    def run(*command: str) -> subprocess.CompletedProcess:
        env = os.environ | {"PYTHONPATH": os.path.dirname(__file__), "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, *command], cwd=REPOSITORY, env=env, capture_output=True, text=True)

    done = run("tools/train.py", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "iter 12/12" in done.stdout
    done = run("tools/test.py", "--config", config, "--options", "weight=absent.pth")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: test (ToyTester): weight='absent.pth': no such file\n"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = run(*launcher, "tools/train.py", "--config", config, "--options", f"save_path={tmp_path / 'torchrun'}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "torchrun/model/model_last.pth").exists()
