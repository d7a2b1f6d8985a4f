"""Training losses of several runs, reading by reading: whether they are the same training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pointcept_bsa.errors import InputError
from pointcept_bsa.training.runs.finished import training_records


def loss_table(folders: Sequence[str]) -> str:
    """The losses of the iterations that all runs have read, a line each, and the largest relative difference.

    Differences are those to the first run, over its loss; the runs need not be finished.

    Raises:
        InputError: fewer than two folders, one without losses, or none in common.
    """
    if len(folders) < 2:
        raise InputError(f"--losses: got one run {' '.join(folders)!r}, wanted at least two")
    curves = [losses(Path(folder)) for folder in folders]
    common = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not common:
        raise InputError("--losses: the runs have read no loss at the same iteration, wanted the same log_interval")
    largest, at = max((difference([curve[step] for curve in curves]), step) for step in common)
    names = [Path(folder).resolve().name for folder in folders]
    width = max(14, *(len(name) + 2 for name in names))
    lines = ["iteration" + "".join(f"{name:>{width}}" for name in names)]
    lines += [f"{step:>9}" + "".join(f"{curve[step]:>{width}.7g}" for curve in curves) for step in common]
    return "\n".join([*lines, f"largest relative difference: {largest:.2g}, at iteration {at}"])


def losses(folder: Path) -> dict[int, float]:
    """The mean loss of each reading of a run by its iteration. Raises InputError for a folder without any."""
    records = [record for record in training_records(folder) if record.get("kind") == "train"]
    found = {record["iter"]: record["loss"] for record in records if record.get("loss") is not None}
    if not found:
        raise InputError(f"--losses: {str(folder)!r} has no losses in its metrics.jsonl, wanted the folder of a run")
    return found


def difference(values: Sequence[float]) -> float:
    """The largest of the others to the first, relative to it."""
    first = values[0]
    return max(abs(value - first) / max(abs(first), 1e-300) for value in values[1:])
