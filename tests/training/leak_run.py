"""A long run of tiny iterations, watched for memory and file handles that grow.

    PYTHONPATH=. python tests/training/leak_run.py --iters 100000 [--device cuda] [--workers 2]

Trains a toy model on toy clouds with all hooks, a checkpoint every tenth of the run and an evaluation every fifth, and
notes at each reading the resident memory and the open files of the process and of the processes that load data.
Ends with 1 if after the first fifth (caches fill) memory grew by more than ``--allow`` MiB, or files were left open.
Linux only (reads /proc).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from toy_config import CONFIG

from pointcept_bsa.host import HOOKS, HookBase
from pointcept_bsa.training.cli import train_main

NOTES: list[dict] = []


def children(pid: int) -> list[int]:
    """Process numbers of the children."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(number) for number in (task / "children").read_text().split()]
    return found


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@HOOKS.register_module()
class Watch(HookBase):
    """Notes memory and files every so many iterations."""

    def __init__(self, every: int) -> None:
        self.every = every

    def after_step(self) -> None:
        if self.trainer.global_iter % self.every or not self.trainer.stepped:
            return
        gc.collect()
        pids = [os.getpid(), *children(os.getpid())]
        note = {
            "iter": self.trainer.global_iter,
            "rss_mb": round(resident_mb(pids[0]), 1),
            "workers_rss_mb": round(sum(map(resident_mb, pids[1:])), 1),
            "files": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
            "processes": len(pids),
            "objects": len(gc.get_objects()),
        }
        if self.trainer.device.type == "cuda":
            note["cuda_mb"] = round(torch.cuda.memory_allocated() / 2**20, 2)
        NOTES.append(note)
        print(json.dumps(note), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iters", type=int, default=100_000)
    parser.add_argument("--readings", type=int, default=20)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--allow", type=float, default=16.0, help="MiB")
    args = parser.parse_args()
    torch.set_num_threads(1)
    every = max(args.iters // args.readings, 1)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "toy.py"
        config.write_text(CONFIG.format(save_path=f"{folder}/run"))
        options = [f"max_iters={args.iters}", f"eval_every={max(args.iters // 5, 1)}", f"device={args.device}"]
        options += [f"save_every={max(args.iters // 10, 1)}", f"num_worker={args.workers}", "log_interval=50"]
        options += ["model.type=CloudLine", "model.dropout=0.1", "clip_grad=1.0", "ema.decay=0.99", "data.train.loop=1"]
        options += ["hooks.4.type=Watch", f"hooks.4.every={every}", "optimizer.lr=0.001", "scheduler.max_lr=0.001"]
        code = train_main(["--config", str(config), "--options", *options])
    if code:
        return code
    settled = [note for note in NOTES if note["iter"] >= args.iters / 5] or NOTES
    grown = {key: round(settled[-1][key] - settled[0][key], 2) for key in settled[0] if key != "iter"}
    print(json.dumps({"iterations": args.iters, "first": settled[0], "last": settled[-1], "grown": grown}))
    leaked = grown["rss_mb"] > args.allow or grown.get("cuda_mb", 0) > args.allow
    return int(leaked or grown["files"] > 0 or grown["threads"] > 0)


if __name__ == "__main__":
    sys.exit(main())
