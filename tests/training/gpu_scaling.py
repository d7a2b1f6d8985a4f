"""Two processes against one: the loss curve with the same global batch, and the points a second of each.

    PYTHONPATH=. python tests/training/gpu_scaling.py --config configs/shapenet_car/bsa.py --iters 100 --options ...
    PYTHONPATH=. python tests/training/gpu_scaling.py --config configs/ellipsoid_flow/bsa.py --device cpu --iters 8

Each run is a training of its own, started by torchrun (NCCL on CUDA, gloo on the CPU). Curve: the config's batch_size,
on 1 process and on ``--processes``. Speed: ``--batch-per-process`` clouds each, so that twice the processes train on
twice the points; the first ``--warmup`` iterations are left out. Prints one JSON object: the losses of both, their
largest relative difference, points/s, and the efficiency = points/s of P over P times those of 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def train(args: argparse.Namespace, processes: int, batch: int | None, iters: int, folder: Path, clocked: bool) -> dict:
    """Train in processes of torchrun; what ``SpeedMeter`` wrote, and the loss of every reading."""
    report = folder / "speed.json"
    options = [
        *args.options,
        f"save_path={folder}",
        f"device={args.device}",
        f"max_iters={iters}",
        f"eval_every={iters}",
    ]
    options += [
        "seed=0",
        "evaluate=False",
        f"log_interval={iters if clocked else 1}",
        f"num_worker={args.workers * processes}",
    ]
    options += [] if batch is None else [f"batch_size={batch}"]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launcher, __file__, "--work", str(report), "--warmup", str(args.warmup)]
    command += ["--config", args.config, "--options", *options]
    path = f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line.get("kind") == "train"]
    return {**json.loads(report.read_text()), "losses": losses}


def work(args: argparse.Namespace) -> int:
    """One process of a training, with a hook that counts points and takes the time."""
    import time

    import torch

    from pointcept_bsa.host.embedded import comm
    from pointcept_bsa.host.embedded.hook import HookBase
    from pointcept_bsa.host.embedded.registry import HOOKS
    from pointcept_bsa.training import cli

    @HOOKS.register_module()
    class SpeedMeter(HookBase):
        """Points a second of all processes after the first iterations."""

        def before_train(self) -> None:
            self.points = self.steps = 0

        def after_step(self) -> None:
            self.steps += 1
            if self.steps == args.warmup:
                self.start, self.points = self.now(), 0
            self.points += len(self.trainer.comm_info["input_dict"]["coord"]) * (self.steps > args.warmup)

        def now(self) -> float:
            if self.trainer.device.type == "cuda":
                torch.cuda.synchronize()
            comm.synchronize()
            return time.perf_counter()

        def after_epoch(self) -> None:
            seconds = self.now() - self.start
            points = sum(comm.all_gather(self.points))
            if comm.is_main_process():
                kind = torch.cuda.get_device_name() if self.trainer.device.type == "cuda" else "cpu"
                told = {"points_per_s": points / seconds, "device": kind, "mode": self.trainer.mode}
                Path(args.work).write_text(json.dumps(told))

    real = cli.load_config

    def load_config(*given: object) -> object:
        cfg = real(*given)
        keep = ("FitTargetNormalizer", "CheckpointLoader", "InformationWriter")
        cfg.hooks = [hook for hook in cfg.hooks if hook["type"] in keep] + [dict(type="SpeedMeter")]
        return cfg

    cli.load_config = load_config
    return cli.train_main(["--config", args.config, "--options", *args.options])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--iters", type=int, default=100, help="iterations of the loss curves")
    parser.add_argument("--speed-iters", type=int, default=None, help="of the speed runs (default --iters)")
    parser.add_argument("--batch-per-process", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="loading processes for each process")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args)
    speed_iters = args.speed_iters or args.iters
    if min(speed_iters, args.iters) <= args.warmup:
        parser.error(f"--iters {args.iters}: expected more than --warmup {args.warmup}")
    told: dict = {"config": args.config, "options": args.options, "processes": args.processes}
    with tempfile.TemporaryDirectory() as scratch:
        one, many = (
            train(args, count, None, args.iters, Path(scratch) / f"curve{count}", False)
            for count in (1, args.processes)
        )
        told["loss"] = {"1": one["losses"], str(args.processes): many["losses"]}
        pairs = list(zip(one["losses"], many["losses"], strict=True))
        told["largest_relative_difference"] = max(abs(a - b) / abs(a) for a, b in pairs)
        told["mode"], told["device"] = many["mode"], many["device"]
        speed = {}
        for count in (1, args.processes):
            folder = Path(scratch) / f"speed{count}"
            speed[count] = train(args, count, args.batch_per_process * count, speed_iters, folder, True)["points_per_s"]
    told["points_per_s"] = speed
    told["efficiency"] = speed[args.processes] / (args.processes * speed[1])
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
