"""A finished run, opened to be used: its config, its model with the weights, where they came from."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config, load_config
from pointcept_bsa.host.embedded.logger import get_root_logger
from pointcept_bsa.host.embedded.registry import build_model
from pointcept_bsa.host.weight import identity, of_other_weights, resolve_weight
from pointcept_bsa.training.checkpoints.checkpoint import (
    evaluated_weights,
    load_checkpoint,
    load_weights,
    no_larger_than,
)
from pointcept_bsa.training.checkpoints.export import load_metadata
from pointcept_bsa.training.env import default_setup, get_device
from pointcept_bsa.training.runs.finished import tested
from pointcept_bsa.training.runs.flat_config import canonical, config_differences, flat_config
from pointcept_bsa.training.runs.portable_config import read_portable_config


@dataclass(frozen=True)
class OpenedRun:
    """A model with its config.

    Attributes:
        cfg: of the run, with the options given.
        model: in evaluation mode, on its device.
        weight: the file loaded; None: not trained.
        folder: of the run; None: the weights came alone.
        metadata: texts that a ``.safetensors`` file carries besides.
        name: short, for headings.
    """

    cfg: Config
    model: nn.Module
    weight: Path | None
    folder: Path | None
    name: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def open_run(run: str, options: Mapping[str, Any] | None = None) -> OpenedRun:
    """Open the folder of a run (its best, else its last checkpoint), one of its checkpoints, or a ``.safetensors``.

    Args:
        run: a path.
        options: config values that replace the run's own.

    Raises:
        InputError: nothing there, no config, weights of another model; of a file that came alone, a config that is
            more than data.
    """
    found = run if Path(run).is_file() else resolve_weight(None, run)
    if found is None:
        raise InputError(f"RUN {run!r}: neither a checkpoint nor a folder with model/model_best.pth or model_last.pth")
    weight, metadata, folder = Path(found), {}, None
    if weight.suffix == ".safetensors":
        metadata = load_metadata(weight)
        if "config" not in metadata:
            raise InputError(f"RUN {run!r}: it carries no config; wanted a file of tools/export.py")
        cfg = read_portable_config(metadata["config"], f"RUN {run!r}", options)
    else:
        folder = run_folder(weight)
        if folder is None:
            raise InputError(
                f"RUN {run!r}: not in the folder of a run (<run>/model, beside <run>/config.py, which says what model "
                "it is); for weights that came alone wanted a file of tools/export.py"
            )
        cfg = load_config(str(folder / "config.py"), options)
    weights = evaluated_weights(load_checkpoint(weight))
    with no_larger_than(weights, weight):
        model = build_model(cfg.model, path="model").to(get_device(cfg))
    load_weights(model, weights, weight)
    _warn_of_result(folder)
    name = folder.name if folder is not None else weight.stem
    return OpenedRun(cfg, model.eval(), weight, folder, name, metadata)


def _warn_of_result(folder: Path | None) -> None:
    """Say that the test beside the weights is not theirs."""
    found = None if folder is None else of_other_weights(folder, tested(folder))
    if found is not None:
        get_root_logger().warning(f"{folder}: {found}")


def open_config(path: str, options: Mapping[str, Any] | None = None) -> OpenedRun:
    """The model of a config as it begins, not trained; target statistics that are not there yet count as 0 and 1."""
    cfg = load_config(path, options)
    model = build_model(cfg.model, path="model").to(get_device(cfg))
    normalizer = getattr(model, "normalizer", None)
    if normalizer is not None and not bool(normalizer.fitted):
        normalizer.set([0.0] * len(normalizer.mean), [1.0] * len(normalizer.std))
    return OpenedRun(cfg, model.eval(), None, None, f"{Path(path).stem} (not trained)")


def run_folder(weight: str | Path) -> Path | None:
    """The folder of the run that a checkpoint lies in (``<run>/model/<checkpoint>`` beside ``<run>/config.py``).

    None: it came alone. Only the ``config.py`` of a run's own folder is executed, no other that happens to be near.
    """
    for path in (Path(os.path.abspath(weight)), Path(weight).resolve()):
        if path.parent.name == "model" and (path.parent.parent / "config.py").is_file():
            return path.parent.parent
    return None


# Several finished runs, opened to be tested as one: ``tools/test.py --ensemble RUN RUN ...``.

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
