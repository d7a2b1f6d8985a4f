"""The command line of ``tools/benchmark.py``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from pointcept_bsa.engine.benchmark.case import DTYPES
from pointcept_bsa.engine.benchmark.run import Settings
from pointcept_bsa.errors import InputError

DESCRIPTION = """Time the networks of configs on synthetic clouds and compare them in one table.

A config is PATH, NAME=PATH, PATH:KEY=VALUE,... or NAME=PATH:KEY=VALUE,...; so
  --config configs/shapenet_car/bsa.py gc=configs/shapenet_car/bsa.py:model.backbone.group_compression=True
compares one config with a variant of itself."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see --help)")


def parse_settings(argv: Sequence[str] | None = None) -> Settings:
    """The command line as settings. Raises InputError."""
    parser = _Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", required=True, metavar="CONFIG", help="what to compare, see above")
    parser.add_argument("--sizes", nargs="+", type=int, required=True, metavar="N", help="points a cloud")
    parser.add_argument("--baseline", metavar="CONFIG", help="what the ratios refer to: one of --config or another")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="bf16 is autocast (default %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls a case (default %(default)s)")
    parser.add_argument("--warmup", type=int, default=5, help="calls before them (default %(default)s)")
    parser.add_argument("--batch-size", type=int, default=1, help="clouds a batch (default %(default)s)")
    parser.add_argument("--max-seconds", type=float, default=60.0, help="limit of a case (default %(default)s)")
    parser.add_argument("--skip-train", action="store_true", help="forward pass only")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="config values of all configs")
    parser.add_argument("--output", default="exp/benchmark", metavar="DIR", help="default %(default)s")
    return Settings(**vars(parser.parse_args(argv)))
