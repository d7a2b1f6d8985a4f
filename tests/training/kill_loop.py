"""Kills training runs with SIGKILL at random moments, resumes them, and compares their ends with the unbroken run.

    PYTHONPATH=. python tests/training/kill_loop.py --kills 100 [--seed 0]

A run is a process forked from this one. It counts the lines of Python that it executes in each phase (training,
evaluation, saving) inside the host and the toys, and kills itself at a line drawn beforehand: every
place between two lines is as likely as any other of its phase, the middle of writing a checkpoint included. It is
resumed, and killed again, ``--kills`` times in all; whenever it comes to its end the next run starts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from toy_config import CONFIG

from pointcept_bsa.training.cli import train_main

HERE = Path(__file__).resolve().parent
HOST = str(HERE.parents[1] / "pointcept_bsa" / "training")
PHASES = ("training", "evaluation", "saving")
OPTIONS = ["model.dropout=0.5", "data.train.noise=0.5", "max_iters=11", "eval_every=4", "save_every=3"]
OPTIONS += ["gradient_accumulation_steps=2", "log_interval=2", "ema.decay=0.9", "hooks.5.draw=True"]
TIMES = ("iter_time", "data_time", "samples_per_s", "memory_mb", "batch_time")


class Killer:
    """Counts traced lines by phase; at line ``at`` of ``phase`` the process is no more."""

    def __init__(self, phase: str | None, at: int) -> None:
        self.counts: Counter[str] = Counter()
        self.phase, self.at = phase, at
        self.stack: list[str] = ["training"]

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith((HOST, str(HERE))):
            return None
        phase = {"_save_point": "saving", "after_epoch": "evaluation"}.get(code.co_name)
        if phase is not None:
            self.stack.append(phase)
        pops = phase is not None

        def local(_: FrameType, event: str, __: Any) -> Any:
            if event == "line":
                self.count()
            elif event == "return" and pops:
                self.stack.pop()
            return local

        return local

    def count(self) -> None:
        phase = self.stack[-1]
        self.counts[phase] += 1
        if phase == self.phase and self.counts[phase] == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def run(config: Path, folder: Path, resume: bool, phase: str | None = None, at: int = 0) -> tuple[int, Counter[str]]:
    """Train in a forked process: its wait status, and, if it came to its end, the lines it executed by phase."""
    report = folder.with_suffix(".json")
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        killer = Killer(phase, at)
        with open(os.devnull, "w") as nothing:
            sys.stdout = nothing
            sys.settrace(killer.trace)
            options = [*OPTIONS, f"save_path={folder}", f"resume={resume}"]
            code = train_main(["--config", str(config), "--options", *options])
            sys.settrace(None)
        report.write_text(json.dumps(killer.counts))
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    return status, Counter(json.loads(report.read_text())) if report.exists() else Counter()


def result(folder: Path) -> dict[str, Any]:
    """What must not depend on kills: the checkpoints but for times, and the lines of metrics.jsonl but for times."""
    states = {}
    for which in ("last", "last.1", "best"):
        state = torch.load(folder / "model" / f"model_{which}.pth", weights_only=True)
        states[which] = {key: value for key, value in state.items() if key not in ("storage", "metrics_bytes")}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    metrics = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
    return {"states": states, "metrics": metrics}


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Where two results differ in a single bit."""
    if type(left) is not type(right):
        return [path]
    if isinstance(left, torch.Tensor):
        return [] if torch.equal(left, right) else [path]
    if isinstance(left, dict) and left.keys() == right.keys():
        return [found for key in left for found in differences(left[key], right[key], f"{path}.{key}")]
    if isinstance(left, list | tuple) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return [found for i, (a, b) in pairs for found in differences(a, b, f"{path}[{i}]")]
    return [] if left == right else [path]


def kill_and_compare(kills: int, seed: int, work: Path) -> dict[str, Any]:
    """Kill ``kills`` times; tells where, how many runs came to their end, how many of them equal the unbroken one."""
    config, draw = work / "toy.py", random.Random(seed)
    config.write_text(CONFIG.format(save_path=str(work / "unused")))
    warm = ["--config", str(config), "--options", *OPTIONS, f"save_path={work / 'warm'}"]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        assert train_main(warm) == 0  # imports what the processes would each import
    status, lines = run(config, work / "unbroken", resume=False)
    assert status == 0
    expected = result(work / "unbroken")
    told: dict[str, Any] = {"kills": Counter(), "runs": 0, "equal": 0, "differences": [], "failures": []}
    folder = work / "killed"
    resume, left = False, kills
    while True:
        phase = draw.choice(PHASES) if left else None
        status, _ = run(config, folder, resume, phase, draw.randint(1, lines[phase]) if phase else 0)
        resume = (folder / "model" / "model_last.pth").exists()
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            told["kills"][phase] += 1
            left -= 1
            continue
        if status != 0:
            told["failures"].append(status)
            break
        told["runs"] += 1
        found = differences(expected, result(folder))
        told["equal"] += not found
        told["differences"] += found[:3]
        if not left:
            break
        shutil.rmtree(folder)
        resume = False
    return {**told, "kills": dict(told["kills"])}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        told = kill_and_compare(args.kills, args.seed, Path(work))
    print(json.dumps(told))
    return 0 if told["runs"] == told["equal"] and told["runs"] and not told["failures"] else 1


if __name__ == "__main__":
    sys.exit(main())
