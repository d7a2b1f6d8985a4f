"""How every tool ends, and ``tools/train.py`` and ``tools/test.py``: arguments in, exit code out.

0: done. 2: the user's mistake, told in one line on standard error (``PCBSA_TRACEBACK=1`` shows where it was raised).
130, 143: interrupted by SIGINT (Ctrl-C), by SIGTERM; a training has saved its state and says so.
141: nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from pointcept_bsa.errors import InputError, place_error
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.config import Config, DictAction, load_config, run_custom_imports
from pointcept_bsa.host.embedded.elastic import go_on_after_restart
from pointcept_bsa.host.embedded.env import default_setup
from pointcept_bsa.host.embedded.faults import (
    dead_worker,
    is_dead_worker,
    is_lost_process,
    lost_process,
    plain_message,
)
from pointcept_bsa.host.embedded.folder import begin_from_weights, claim
from pointcept_bsa.host.embedded.interruption import Interrupted
from pointcept_bsa.host.embedded.launch import launch
from pointcept_bsa.host.embedded.lock import unlock_folders
from pointcept_bsa.host.embedded.logger import close_log_file
from pointcept_bsa.host.embedded.registry import TESTERS, TRAINERS
from pointcept_bsa.host.embedded.seeds import Summarize, train_seeds
from pointcept_bsa.host.memory import OutOfMemory, is_out_of_memory


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are told as all others: raised as ``InputError``."""

    def error(self, message: str) -> NoReturn:
        """Raise ``InputError``."""
        raise InputError(f"{message} (see --help)")


def make_parser(description: str) -> argparse.ArgumentParser:
    """The arguments both tools take; Pointcept's, and ``--config`` for short."""
    parser = Parser(description=description)
    parser.add_argument("--config", "--config-file", dest="config", required=True, metavar="FILE", help="config file")
    parser.add_argument(
        "--options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="config values: a.b=1 hooks.1.type=Z"
    )
    parser.add_argument(
        "--num-gpus", type=int, default=1, help="processes on this machine, a GPU each (device=cpu: none)"
    )
    parser.add_argument("--num-machines", type=int, default=1, help="number of machines")
    parser.add_argument("--machine-rank", type=int, default=0, help="which of them this is, from 0")
    parser.add_argument("--dist-url", default="auto", help="tcp://HOST:PORT of the first machine")
    return parser


def train_main(argv: Sequence[str] | None = None, summarize: Summarize | None = None) -> int:
    """Train what a config describes; with ``--seeds`` several times, then call ``summarize(run folders, folder)``."""

    def run() -> int:
        parser = make_parser("Train the model of a config file.")
        parser.add_argument(
            "--seeds",
            metavar="N|A,B,...",
            help="one training after the other with seeds 0 to N - 1, or A, B, ...: into save_path/seed_A, ..., each "
            "tested; the same command goes on with what is not finished",
        )
        args = parser.parse_args(argv)
        if args.seeds is None:
            return _launch(_train, args)
        return train_seeds(args, partial(_launch, _train), partial(_launch, _test), exit_code, summarize)

    return exit_code(run)


def test_main(argv: Sequence[str] | None = None) -> int:
    """Test the model of a config with ``weight=PATH``, or the best (else last) checkpoint of its ``save_path``."""

    def run() -> int:
        parser = make_parser("Test the model of a config file.")
        parser.add_argument(
            "--export",
            metavar="F,G",
            help="files of every sample in test/export: vtp, vtu, vtk, ply, npz; png: pictures of the best, the median "
            "and the worst sample",
        )
        args = parser.parse_args(argv)
        if args.export is not None:
            args.options = {**(args.options or {}), "test.export": args.export.split(",")}
        return _launch(_test, args)

    return exit_code(run)


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
    except OSError as error:
        mistake = place_error(error)
        if mistake is None:
            raise
        raise mistake from error
    except (RuntimeError, MemoryError) as error:
        if is_dead_worker(error):
            raise dead_worker(error) from error
        if is_lost_process(error):
            raise lost_process(error) from error
        if is_out_of_memory(error):
            reason = plain_message(error).split(". ")[0]
            raise OutOfMemory(
                f"out of memory ({reason}); lower batch_size, num_worker, the points of a cloud or the model; earlier "
                f"checkpoints are intact"
            ) from error
        raise


def _train(cfg: Config) -> None:
    try:
        go_on_after_restart(cfg)
        if cfg.resume == "weights":
            begin_from_weights(cfg)
        claim(cfg)
        trainer = TRAINERS.build(dict(cfg=cfg, **cfg.train), path="train")
        trainer.train()
    finally:
        unlock_folders()


def _test(cfg: Config) -> None:
    tester = TESTERS.build(dict(cfg=cfg, **cfg.test), path="test")
    tester.test()
