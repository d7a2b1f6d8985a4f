"""``--seeds``: one training after the other, each in a process of its own, each tested, none done twice."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config, load_config
from pointcept_bsa.host.weight import of_other_weights
from pointcept_bsa.training.checkpoints.checkpoint import load_checkpoint
from pointcept_bsa.training.processes.interruption import forwarding
from pointcept_bsa.training.runs.finished import REPORT, tested
from pointcept_bsa.training.runs.flat_config import config_differences, flat_config

Summarize = Callable[[Sequence[str], str], None]
Work = Callable[[argparse.Namespace], int]
Runner = Callable[[argparse.Namespace, Work | None, Work, Callable[[Callable[[], int]], int]], int]
OWN_KEYS = ("seed", "resume")


def parse_seeds(text: str) -> list[int]:
    """``"3"`` is 0, 1, 2; ``"4,7"`` is 4, 7; ``"5,"`` is 5 alone. Raises ``InputError``."""
    words = [word.strip() for word in text.split(",")]
    words = words[:-1] if len(words) > 1 and not words[-1] else words
    if not all(word.isdecimal() for word in words):
        raise InputError(f"--seeds {text!r}: expected a number of seeds (3) or seeds with commas (0,1,2)")
    numbers = [int(word) for word in words]
    if "," not in text:
        numbers = list(range(numbers[0]))
    if not numbers or len(set(numbers)) != len(numbers):
        raise InputError(f"--seeds {text!r}: expected at least one seed, and none of them twice")
    return numbers


def train_seeds(
    args: argparse.Namespace,
    train: Work,
    test: Work,
    exit_code: Callable[[Callable[[], int]], int],
    summarize: Summarize | None,
    runner: Runner | None = None,
) -> int:
    """Train and test with every seed of ``args.seeds`` in ``{save_path}/seed_{seed}``; returns the exit code.

    A folder whose training is finished is not trained again, one that was interrupted goes on. The first that fails or
    is interrupted ends it. In the end ``summarize(folders, save_path)`` is called.

    Args:
        args: of the command line.
        train, test: what a single run does with its ``args``.
        exit_code: turns errors into a line and an exit code.
        summarize: see above.
        runner: runs one seed (``args``, ``train`` or None, ``test``, ``exit_code``); by default :func:`in_process`.

    Raises:
        InputError: a seed twice, options that contradict ``--seeds``, a folder with a run of another config.
    """
    runner = in_process if runner is None else runner
    seeds, options = parse_seeds(args.seeds), dict(args.options or {})
    for key in OWN_KEYS:
        if key in options:
            raise InputError(f"--options {key}={options[key]}: not with --seeds, which sets it for every run")
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ or args.num_machines > 1:
        raise InputError("--seeds: not under torchrun or on several machines; use --num-gpus, or start each seed alone")
    cfg = load_config(args.config, options)
    folders = {seed: Path(cfg.save_path) / f"seed_{seed}" for seed in seeds}
    states = {seed: _state(folder, cfg) for seed, folder in folders.items()}
    for seed, folder in folders.items():
        print(f"--- seed {seed}: {states[seed]}, {folder}", flush=True)
        if states[seed] == "done":
            continue
        settings = {**options, "seed": seed, "save_path": str(folder), "resume": states[seed] == "goes on"}
        own = argparse.Namespace(**{**vars(args), "options": settings})
        code = runner(own, None if states[seed] == "to be tested" else train, test, exit_code)
        if code:
            rest = _listed(seeds[seeds.index(seed) :])
            print(f"stopped at seed {seed}; the same command goes on with {rest}", file=sys.stderr, flush=True)
            return code
    missing = [folder for folder in folders.values() if not (folder / REPORT).is_file()]
    if summarize is None or missing:
        print("no summary" + (f": the tester wrote no {missing[0] / REPORT}" if missing else ""), flush=True)
        return 0
    summarize([str(folder) for folder in folders.values()], cfg.save_path)
    return 0


def _listed(seeds: Sequence[int]) -> str:
    return "seed " + ", ".join(map(str, seeds))


def _state(folder: Path, cfg: Config) -> str:
    """ "new", "goes on", "to be tested" or "done"; raises ``InputError`` for a run of another config."""
    last, config = folder / "model" / "model_last.pth", folder / "config.py"
    if not last.is_file():
        return "new"
    if config.is_file():
        _check_same(folder, load_config(str(config)), cfg)
    checkpoint = load_checkpoint(last)
    done, total = checkpoint.get("iter", 0), checkpoint.get("total_iters", 1)
    if not (isinstance(done, int) and isinstance(total, int)):
        raise InputError(f"--seeds: {last}: its iter and total_iters are {done!r}, {total!r}, wanted integers")
    if done < total:
        return "goes on"
    return "done" if _is_tested(folder, last) else "to be tested"


def _is_tested(folder: Path, last: Path) -> bool:
    """Whether the result is that of the weights that lie there; of one that does not say, whether it is the younger."""
    report = tested(folder)
    if report is not None and report.get("weight_sha256") is not None:
        return of_other_weights(folder, report) is None
    return report is not None and (folder / REPORT).stat().st_mtime >= last.stat().st_mtime


def _check_same(folder: Path, there: Config, here: Config) -> None:
    found = config_differences([flat_config(there), flat_config(here)])
    if found:
        shown = "; ".join(f"{key}: {old!r} there, {new!r} here" for key, (old, new) in list(found.items())[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise InputError(f"--seeds: {folder} holds a run of another config ({shown}{more}); name another save_path")


def in_process(
    args: argparse.Namespace, train: Work | None, test: Work, exit_code: Callable[[Callable[[], int]], int]
) -> int:
    """Run one seed in a fresh process, so that nothing of the one before is left in memory or in its peak."""
    process = multiprocessing.get_context("spawn").Process(target=_one_seed, args=(args, train, test, exit_code))
    early: list[int] = []  # signals that came before there was a process to pass them on to

    def send(number: int) -> None:
        if process.pid is None:
            early.append(number)
        elif process.is_alive():
            os.kill(process.pid, number)

    with forwarding(send):
        process.start()
        if early:
            send(early[0])
        process.join()
    code = process.exitcode or 0
    return 128 - code if code < 0 else code


def _one_seed(
    args: argparse.Namespace, train: Work | None, test: Work, exit_code: Callable[[Callable[[], int]], Any]
) -> None:
    """Train, and test unless the training's own hooks have."""
    os.setpgid(0, 0)  # Ctrl-C comes to the parent alone, which passes it on once
    code = exit_code(lambda: train(args)) if train is not None else 0
    metrics = Path(args.options["save_path"]) / REPORT
    if not code and (train is None or not metrics.is_file()):
        code = exit_code(lambda: test(args))
    sys.exit(code)
