"""Which checkpoint a test takes, and whether a result is of the checkpoint that lies there; the same in both hosts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pointcept_bsa.errors import InputError


def resolve_weight(weight: str | None, save_path: str) -> str | None:
    """The checkpoint to test: ``weight``, or for None and ``"auto"`` the run's best, else its last, else None."""
    if weight not in (None, "auto"):
        return weight
    candidates = (os.path.join(save_path, "model", f"model_{which}.pth") for which in ("best", "last"))
    return next((path for path in candidates if os.path.isfile(path)), None)


def weight_to_test(weight: str | None, save_path: str) -> str:
    """As :func:`resolve_weight`; raises ``InputError`` where there is none, or no such file."""
    path = resolve_weight(weight, save_path)
    if path is None:
        raise InputError(
            f"weight: none given, and no model_best.pth or model_last.pth in {save_path}/model; "
            f"name a checkpoint with --options weight=PATH"
        )
    refuse_no_file(path)
    return path


def refuse_no_file(path: str | Path) -> None:
    """Raise ``InputError`` where ``weight=path`` is no file; of the folder of a run it names the checkpoint meant."""
    if os.path.isdir(path):
        inside = resolve_weight(None, str(path))
        meant = "a checkpoint in it" if inside is None else f"a checkpoint in it, as weight={inside}"
        raise InputError(f"weight={str(path)!r}: is a folder, wanted {meant}")
    if not os.path.isfile(path):
        raise InputError(f"weight={str(path)!r}: no such file")


def identity(path: str | Path | None) -> dict[str, str | None]:
    """What a result says about the file of its weights: ``weight_file``, its name, and ``weight_sha256``."""
    if path is None:
        return {"weight_file": None, "weight_sha256": None}
    with open(path, "rb") as file:
        return {"weight_file": Path(path).name, "weight_sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def of_other_weights(folder: str | Path, report: Any) -> str | None:
    """Why a result in the folder of a run is not that of the checkpoint that lies there.

    None: it is, or there is no checkpoint, or the result does not say what made it.

    Args:
        folder: of the run.
        report: ``test/metrics.json`` in it.
    """
    wanted = report.get("weight_sha256") if isinstance(report, Mapping) else None
    present = sorted(path for path in Path(folder, "model").glob("*.pth") if path.name != "model_new.pth")
    if not isinstance(wanted, str) or not present:
        return None
    named = [path for path in present if path.name == report.get("weight_file")]
    if any(identity(path)["weight_sha256"] == wanted for path in named or present):
        return None
    name = named[0].name if named else present[0].name
    return f"its test is of other weights than the {name} that lies there now (sha256 {wanted[:12]}...); test it again"
