"""Whether a tested network is better than predicting the mean of its training targets everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pointcept_bsa.engine.fit import AS_A_CONSTANT
from pointcept_bsa.engine.runs import REPORT, Run
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import read_json
from pointcept_bsa.host.weight import of_other_weights

KEY = "constant"  # of a report
WARNING = "warning"  # of the metadata of exported weights


def beside_constant(network: float, errors: Iterable[float]) -> dict[str, float] | None:
    """What a test's report keeps under ``KEY``: means over the test samples of two relative L2 errors.

    Args:
        network: that of the network.
        errors: of the constant, a number a sample; none where it is not known.

    Returns:
        ``{"relative_l2": of the constant, "network": of the network}``.
    """
    found = list(errors)
    return {"relative_l2": sum(found) / len(found), "network": network} if found else None


def constant_warning(report: Mapping[str, Any]) -> str | None:
    """A line about a test whose network is no better than the constant; None where it is, or nothing is known."""
    found = report.get(KEY)
    network, constant = (found.get("network"), found.get("relative_l2")) if isinstance(found, Mapping) else (None, None)
    if not isinstance(constant, int | float):
        return None
    network = network if isinstance(network, int | float) else math.nan  # JSON has null for it
    if network < AS_A_CONSTANT * constant:
        return None
    return (
        f"NO BETTER THAN A CONSTANT: relative_l2 {network:.3g} on the test samples, of the mean of the training "
        f"targets {constant:.3g}; what this network predicts says nothing"
    )


def constant_warnings(runs: Iterable[Run]) -> list[str]:
    """The lines of finished runs, with their paths."""
    return [f"{run.path}: {line}" for run in runs if (line := constant_warning(run.report)) is not None]


def warning_of_folder(folder: Path | None) -> str | None:
    """The line of the test of the weights that lie in the folder of a run; None without such a test."""
    path = None if folder is None else folder / REPORT
    if folder is None or path is None or not path.is_file():
        return None
    try:
        report = read_json(path, words_as_null=True)
    except (InputError, OSError):
        return None  # it is not the result that is used here
    if not isinstance(report, Mapping) or of_other_weights(folder, report) is not None:
        return None
    return constant_warning(report)
