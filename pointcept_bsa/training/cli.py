"""How every tool ends, and ``tools/train.py`` and ``tools/test.py``: arguments in, exit code out.

0: done. 2: the user's mistake, told in one line on standard error (``PCBSA_TRACEBACK=1`` shows where it was raised).
130, 143: interrupted by SIGINT (Ctrl-C), by SIGTERM; a training has saved its state and says so.
141: nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial

from pointcept_bsa.arguments.given import is_given, note_paths
from pointcept_bsa.arguments.train_and_test import test_parser, train_parser
from pointcept_bsa.errors import InputError, place_error
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.config import Config, load_config, run_custom_imports
from pointcept_bsa.host.embedded.logger import close_log_file
from pointcept_bsa.host.embedded.registry import TESTERS, TRAINERS
from pointcept_bsa.host.memory import OutOfMemory, is_out_of_memory
from pointcept_bsa.training.env import default_setup
from pointcept_bsa.training.first_look import look_at_data, parts_of_training
from pointcept_bsa.training.processes.elastic import go_on_after_restart
from pointcept_bsa.training.processes.faults import (
    dead_worker,
    first_cause,
    is_dead_worker,
    is_lost_process,
    lost_process,
    plain_message,
)
from pointcept_bsa.training.processes.interruption import Interrupted
from pointcept_bsa.training.processes.launch import launch
from pointcept_bsa.training.runs.folder import begin_from_weights, claim, unlock_folders
from pointcept_bsa.training.runs.seeds import Summarize, train_seeds


def train_main(argv: Sequence[str] | None = None, summarize: Summarize | None = None) -> int:
    """Train what a config describes; with ``--seeds`` several times, then call ``summarize(run folders, folder)``."""
    return exit_code(lambda: train(train_parser().parse_args(argv), summarize))


def train(args: argparse.Namespace, summarize: Summarize | None = None) -> int:
    """The same with a command line that is read."""
    if args.seeds is None:
        return _launch(_train, args)
    return train_seeds(args, partial(_launch, _train), partial(_launch, _test), exit_code, summarize)


def test_main(argv: Sequence[str] | None = None) -> int:
    """Test the model of a config with ``weight=PATH``, or the best (else last) checkpoint of its ``save_path``."""
    return exit_code(lambda: test(test_parser().parse_args(argv)))


def test(args: argparse.Namespace) -> int:
    """The same with a command line that is read."""
    if args.config is None or args.ensemble is not None:
        raise InputError("--config: got none, wanted a config file (or --ensemble RUN RUN with tools/test.py)")
    if args.export is not None:
        _refuse_no_export(load_config(args.config, args.options))
        args.options = {**(args.options or {}), "test.export": args.export.split(",")}
    return _launch(_test, args)


def _refuse_no_export(cfg: Config) -> None:
    tester = TESTERS.get(str(cfg.test.get("type")))
    if tester is not None and "export" not in inspect.signature(tester).parameters:
        raise InputError(
            f"--export: {cfg.test.type} writes no meshes, wanted none; tools/predict.py writes predictions onto a file"
        )


def _launch(work: Callable[[Config], None], args: argparse.Namespace) -> int:
    """``work`` in as many processes as ``args`` ask for."""
    cfg = load_config(args.config, args.options)
    return launch(
        _guarded,
        args.num_gpus,
        args.num_machines,
        args.machine_rank,
        args.dist_url,
        cfg.device,
        args=(work, cfg),
    )


def _guarded(work: Callable[[Config], None], cfg: Config) -> int:
    """``work`` in one of the processes, with the registrations a spawned process lacks."""

    def run() -> int:
        note_paths([cfg[key] for key in cfg])
        run_custom_imports(cfg)
        work(default_setup(cfg))
        return 0

    try:
        return exit_code(run)
    finally:
        close_log_file()


def exit_code(run: Callable[[], int]) -> int:
    """Call ``run``; a user's mistake or an interrupt becomes one line on standard error and an exit code."""
    try:
        return _translated(run)
    except InputError as error:
        if os.environ.get("PCBSA_TRACEBACK"):
            traceback.print_exc()
        where = f" (process {comm.get_rank()})" if comm.get_rank() else ""
        print(f"error{where}: {plain_message(error)}", file=sys.stderr, flush=True)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails again
        return 141
    except Interrupted as interrupted:
        if comm.is_main_process():
            print(interrupted, file=sys.stderr, flush=True)
        return interrupted.code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return 130


def _translated(run: Callable[[], int]) -> int:
    """``run()``; that another process died or memory ran out, which may come at any place, in our words."""
    try:
        return run()
    except Exception as error:
        told = _in_our_words(error)
        if told is None:
            raise
        raise told from error


def _in_our_words(error: Exception) -> InputError | None:
    # Torch tells of a dead process wherever the main one is, so also where somebody else makes its own error of it.
    if (cause := first_cause(error, is_dead_worker)) is not None:
        return dead_worker(cause)
    if (cause := first_cause(error, is_lost_process)) is not None:
        return lost_process(cause)
    if isinstance(error, InputError):
        return None
    if isinstance(error, OSError):
        return place_error(error, is_given)
    if is_out_of_memory(error):
        reason = ". ".join(plain_message(error).split(". ")[:2])  # what happened, and how much was asked for
        return OutOfMemory(
            f"out of memory ({reason}); lower batch_size, num_worker, the points of a cloud or the model; earlier "
            f"checkpoints are intact"
        )
    return None


def _train(cfg: Config) -> None:
    try:
        go_on_after_restart(cfg)
        if cfg.resume == "weights":
            begin_from_weights(cfg)
        claim(cfg)
        look_at_data(cfg, parts_of_training(cfg), for_network=True)
        trainer = TRAINERS.build(dict(cfg=cfg, **cfg.train), path="train")
        trainer.train()
    finally:
        unlock_folders()


def _test(cfg: Config) -> None:
    tester = TESTERS.build(dict(cfg=cfg, **cfg.test), path="test")
    tester.test()
