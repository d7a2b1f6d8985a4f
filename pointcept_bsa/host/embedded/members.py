"""Several finished runs, opened to be tested as one: ``tools/test.py --ensemble RUN RUN ...``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.host.embedded.env import default_setup
from pointcept_bsa.host.embedded.opened_run import OpenedRun, open_run
from pointcept_bsa.host.flat_config import canonical, config_differences, flat_config
from pointcept_bsa.host.weight import identity

ENSEMBLE = "ensemble"  # the folder beside the first run, unless save_path is given
NOT_THE_DATA = ("data_root", "cache", "loop")  # where the data lie, how they are kept


def open_members(args: argparse.Namespace) -> tuple[Config, list[OpenedRun]]:
    """The config to test with, that of the first run, and all runs; nothing is written.

    Raises:
        InputError: other arguments beside it, fewer than two runs, one twice, one without weights, or of other data.
    """
    if args.config is not None:
        raise InputError(f"--config: got {args.config!r} with --ensemble, wanted none: the runs have theirs")
    if args.num_gpus != 1 or args.num_machines != 1:
        raise InputError(f"--num-gpus: got {args.num_gpus} with --ensemble, wanted one process")
    if len(args.ensemble) < 2:
        raise InputError(f"--ensemble: got one run {args.ensemble[0]!r}, wanted at least two")
    options = dict(args.options or {})
    save_path = options.pop("save_path", None)
    if "weight" in options:
        raise InputError("weight: got it with --ensemble, wanted the checkpoints as runs: --ensemble A.pth B.pth")
    runs = [open_run(path, options) for path in args.ensemble]
    contents = [identity(run.weight)["weight_sha256"] for run in runs]
    for i, run in enumerate(runs):
        twin = next((k for k in range(i) if contents[k] == contents[i]), None)
        if twin is not None:
            pair = f"{args.ensemble[twin]!r} and {args.ensemble[i]!r}"
            raise InputError(f"--ensemble: got {pair}, wanted runs with different weights")
        refuse_other_data(args.ensemble[0], runs[0].cfg, args.ensemble[i], run.cfg)
    cfg = runs[0].cfg
    folder = runs[0].folder or Path(args.ensemble[0]).resolve()
    cfg.save_path = str(folder.parent / ENSEMBLE) if save_path is None else str(save_path)
    if args.export is not None:
        cfg.test.export = args.export.split(",")
    cfg.context_parallel = 1
    return default_setup(cfg), runs


def refuse_other_data(first: str, own: Mapping[str, Any], name: str, other: Mapping[str, Any]) -> None:
    """Raise InputError unless both configs test on the same data, made into the same samples."""
    flat = [flat_config(cfg["data"]["test"], NOT_THE_DATA) for cfg in (own, other)]
    for key, values in config_differences(flat).items():
        mine, its = (" ".join(canonical(value).split())[:60] for value in values)
        raise InputError(
            f"--ensemble: data.test.{key} is {its} in {name!r} and {mine} in {first!r}, wanted runs of the same data, "
            "split and fields"
        )
