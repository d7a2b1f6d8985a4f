"""``tools/train.py`` and ``tools/test.py``: arguments in, exit code out.

0: done. 2: the user's mistake, told in one line on standard error (``PCBSA_TRACEBACK=1`` shows where it was raised).
130, 143: interrupted by SIGINT (Ctrl-C), by SIGTERM; a training has saved its state and says so.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.config import Config, DictAction, load_config, run_custom_imports
from pointcept_bsa.host.embedded.env import default_setup
from pointcept_bsa.host.embedded.faults import dead_worker, is_dead_worker, plain_message
from pointcept_bsa.host.embedded.interruption import Interrupted
from pointcept_bsa.host.embedded.launch import launch
from pointcept_bsa.host.embedded.logger import close_log_file
from pointcept_bsa.host.embedded.registry import TESTERS, TRAINERS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see --help)")


def make_parser(description: str) -> argparse.ArgumentParser:
    """The arguments both tools take; Pointcept's, and ``--config`` for short."""
    parser = _Parser(description=description)
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


def train_main(argv: Sequence[str] | None = None) -> int:
    """Train what a config describes."""
    return _main("Train the model of a config file.", _train, argv)


def test_main(argv: Sequence[str] | None = None) -> int:
    """Test the model of a config with ``weight=PATH``, or the best (else last) checkpoint of its ``save_path``."""
    return _main("Test the model of a config file.", _test, argv)


def _main(description: str, work: Callable[[Config], None], argv: Sequence[str] | None) -> int:
    def run() -> int:
        args = make_parser(description).parse_args(argv)
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

    return exit_code(run)


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
    except Interrupted as interrupted:
        if comm.is_main_process():
            print(interrupted, file=sys.stderr, flush=True)
        return interrupted.code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return 130


def _translated(run: Callable[[], int]) -> int:
    """``run()``; torch's word that a loading process died, which may come at any place, in ours."""
    try:
        return run()
    except RuntimeError as error:
        if not is_dead_worker(error):
            raise
        raise dead_worker(error) from error


def _train(cfg: Config) -> None:
    trainer = TRAINERS.build(dict(cfg=cfg, **cfg.train), path="train")
    trainer.train()


def _test(cfg: Config) -> None:
    tester = TESTERS.build(dict(cfg=cfg, **cfg.test), path="test")
    tester.test()
