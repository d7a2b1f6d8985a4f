"""A finished run, opened to be used: its config, its model with the weights, where they came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import read_json
from pointcept_bsa.host.embedded.checkpoint import evaluated_weights, load_checkpoint, load_weights, no_larger_than
from pointcept_bsa.host.embedded.config import Config, load_config
from pointcept_bsa.host.embedded.env import get_device
from pointcept_bsa.host.embedded.export import load_metadata
from pointcept_bsa.host.embedded.logger import get_root_logger
from pointcept_bsa.host.embedded.portable_config import read_portable_config
from pointcept_bsa.host.embedded.registry import build_model
from pointcept_bsa.host.weight import of_other_weights, resolve_weight


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
    report = None if folder is None else folder / "test" / "metrics.json"
    if folder is None or report is None or not report.is_file():
        return
    try:
        found = of_other_weights(folder, read_json(report, words_as_null=True))
    except (InputError, OSError):
        return  # it is not the result that is used here
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
