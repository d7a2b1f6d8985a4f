"""What the folder of a finished run says: its test, its config, its curves, its costs."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.flat_config import flat_config
from pointcept_bsa.host.weight import of_other_weights

Loader = Callable[[str], Mapping[str, Any]]  # reads a config file
SEED_FOLDER = re.compile(r"seed_(\d+)")


@dataclass(frozen=True)
class Run:
    """One finished run.

    ``report`` is its ``test/metrics.json``; ``config`` its config, flat (see :func:`.flat_config`; None where there
    is none, as for baselines); ``environment`` its ``env.json``; ``records`` the lines of
    ``metrics.jsonl``; ``stale`` says why the test is not of the checkpoint that lies there (None: it is).
    """

    path: Path
    report: dict[str, Any]
    config: dict[str, Any] | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    stale: str | None = None

    @property
    def card(self) -> Mapping[str, Any]:
        return self.report.get("data", {})

    @property
    def backbone(self) -> str:
        return str(self.report.get("backbone", {}).get("type", "?"))

    @property
    def seed(self) -> int | None:
        return self.report.get("seed")

    @property
    def train_records(self) -> list[dict[str, Any]]:
        return [record for record in self.records if record.get("kind") == "train"]

    @property
    def iterations(self) -> int | None:
        """Iterations that were trained."""
        return max((record["iter"] for record in self.train_records), default=None)

    @property
    def clouds_per_iteration(self) -> int | None:
        if self.config is None:
            return None
        return self.config.get("batch_size", 1) * self.config.get("gradient_accumulation_steps", 1)

    @property
    def ms_per_iteration(self) -> float | None:
        """Median over the readings of the training but the first, which has the warm-up in it."""
        times = [record["iter_time"] for record in self.train_records if record.get("iter_time") is not None]
        times = times[1:] if len(times) > 1 else times
        return 1e3 * statistics.median(times) if times else None

    @property
    def memory_mb(self) -> float | None:
        """Peak memory of the training in MiB: the allocator's on CUDA, the process's on a CPU."""
        return max((r["memory_mb"] for r in self.train_records if r.get("memory_mb") is not None), default=None)

    @property
    def name(self) -> str:
        """The folder's path without the part that names the seed."""
        return str(self.path.parent if SEED_FOLDER.fullmatch(self.path.name) else self.path)

    def validation_curve(self) -> dict[str, list[tuple[int, float]]]:
        """{metric: [(iteration, value), ...]} of the evaluations during the training."""
        ends: dict[int, int] = {}
        for record in self.train_records:
            ends[record["epoch"]] = max(record["iter"], ends.get(record["epoch"], 0))
        curves: dict[str, list[tuple[int, float]]] = {}
        for record in self.records:
            for key, value in record.items():
                if key.startswith("val/") and value is not None:
                    iteration = ends.get(record["step"], record["step"])
                    curves.setdefault(key.removeprefix("val/"), []).append((iteration, value))
        return curves

    def training_curve(self, key: str) -> list[tuple[int, float]]:
        """[(iteration, value), ...] of ``loss``, ``lr``, ..."""
        return [(r["iter"], r[key]) for r in self.train_records if isinstance(r.get(key), int | float)]


def find_runs(paths: Sequence[str], load: Loader) -> list[Run]:
    """The runs that ``paths`` name: folders of a run each, or folders of ``seed_*`` runs (``tools/train.py --seeds``).

    Raises:
        InputError: no folder, no finished run in it, files that cannot be read, the same run twice.
    """
    folders: list[Path] = []
    for text in paths:
        path = Path(text)
        if not path.is_dir():
            raise InputError(f"RUN {text!r}: is not a folder")
        seeds = sorted(
            (p for p in path.iterdir() if p.is_dir() and SEED_FOLDER.fullmatch(p.name)),
            key=lambda p: int(p.name.removeprefix("seed_")),
        )
        folders += seeds or [path]
    if not folders:
        raise InputError("RUN: got none, wanted at least one folder of a run")
    resolved = [folder.resolve() for folder in folders]
    for folder, real in zip(folders, resolved, strict=True):
        if resolved.count(real) > 1:
            raise InputError(f"RUN {str(folder)!r}: is named twice")
    return [open_run(folder, load) for folder in folders]


def open_run(folder: Path, load: Loader) -> Run:
    """Read a run's files.

    Raises:
        InputError: it has no ``test/metrics.json`` (it was not tested), or a file is damaged.
    """
    path = folder / "test" / "metrics.json"
    if not path.is_file():
        raise InputError(f"RUN {str(folder)!r}: has no test/metrics.json; not finished, or not a run's folder")
    report = _read_json(path)
    for key in ("data", "metrics"):
        if not isinstance(report, dict) or key not in report:
            raise InputError(f"{path}: has no {key!r}, wanted what RegressionTester writes")
    config = folder / "config.py"
    env = folder / "env.json"
    return Run(
        path=folder,
        report=report,
        config=flat_config(load(str(config))) if config.is_file() else None,
        environment=_read_json(env) if env.is_file() else {},
        records=_read_lines(folder / "metrics.jsonl"),
        stale=of_other_weights(folder, report),
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; a last line that was cut short by an interruption is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    records = []
    for number, line in enumerate(lines):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            if number + 1 < len(lines):
                raise InputError(f"{path}: line {number + 1} cannot be read ({error})") from error
    return [record for record in records if isinstance(record, dict)]


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); nan where there are too few."""
    mean = statistics.fmean(values) if values else math.nan
    return mean, statistics.stdev(values) if len(values) > 1 else math.nan
