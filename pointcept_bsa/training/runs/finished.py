"""What a finished run says: its test, its config, its curves, its costs.

All of it is in the run's folder. The report of its test (``test/metrics.json``) keeps what comparing takes
(:func:`run_record`), so that reports alone, of a few kilobytes each, can be compared again when the folders are gone.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import read_json, read_json_lines
from pointcept_bsa.host.weight import of_other_weights
from pointcept_bsa.training.runs.flat_config import flat_config

Loader = Callable[[str], Mapping[str, Any]]  # reads a config file
SEED_FOLDER = re.compile(r"seed_(\d+)")
REPORT = Path("test", "metrics.json")


@dataclass(frozen=True)
class Run:
    """One finished run.

    ``path`` is its folder, or the report alone. ``report`` is its ``test/metrics.json``; ``config`` its config, flat
    (see :func:`.flat_config`; None where there is none, as for baselines); ``environment`` its ``env.json``;
    ``records`` the lines of ``metrics.jsonl``; where they are gone, what the report keeps of them is taken.
    ``stale`` says why the test is not of the checkpoint that lies there (None: it is).
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
    def kept(self) -> Mapping[str, Any]:
        """What the report keeps of the run, see :func:`run_record`."""
        return self.report.get("run") or {}

    @property
    def iterations(self) -> int | None:
        """Iterations that were trained."""
        return max((record["iter"] for record in self.train_records), default=self.kept.get("iterations"))

    @property
    def clouds_per_iteration(self) -> int | None:
        if self.config is None:
            return None
        return self.config.get("batch_size", 1) * self.config.get("gradient_accumulation_steps", 1)

    @property
    def train_seconds(self) -> float | None:
        """Seconds of all training steps together, without evaluations and the start."""
        clock = self._clock()
        return clock[-1][1] if clock else self.kept.get("train_seconds")

    def _clock(self) -> list[tuple[int, float]]:
        """[(iteration, seconds of training until then), ...] at the readings; empty where one has no time."""
        found, last, seconds = [], 0, 0.0
        for record in self.train_records:
            if record.get("iter_time") is None:
                return []
            seconds += record["iter_time"] * (record["iter"] - last)
            last = record["iter"]
            found.append((last, seconds))
        return found

    @property
    def ms_per_iteration(self) -> float | None:
        """Median over the readings of the training but the first, which has the warm-up in it."""
        times = [record["iter_time"] for record in self.train_records if record.get("iter_time") is not None]
        times = times[1:] if len(times) > 1 else times
        return 1e3 * statistics.median(times) if times else self.kept.get("ms_per_iteration")

    @property
    def memory_mb(self) -> float | None:
        """Peak memory of the training in MiB: the allocator's on CUDA, the process's on a CPU."""
        known = (r["memory_mb"] for r in self.train_records if r.get("memory_mb") is not None)
        return max(known, default=self.kept.get("memory_mb"))

    @property
    def name(self) -> str:
        """The path without the part that names the seed."""
        path = self.path.with_suffix("") if self.path.suffix == REPORT.suffix else self.path
        path = path.parent if path.name == REPORT.stem else path
        return str(path.parent if SEED_FOLDER.fullmatch(path.name) else path)

    def validation_curve(self) -> dict[str, list[tuple[int, float]]]:
        """{metric: [(iteration, value), ...]} of the evaluations during the training."""
        timed = self.timed_validation_curve()
        return {metric: [(iteration, value) for iteration, _, value in points] for metric, points in timed.items()}

    def timed_validation_curve(self) -> dict[str, list[tuple[int, float | None, float]]]:
        """{metric: [(iteration, seconds of training until then, value), ...]}."""
        if not self.records:
            return {metric: [tuple(p) for p in points] for metric, points in self.kept.get("validation", {}).items()}
        clock = dict(self._clock())
        ends: dict[int, int] = {}
        for record in self.train_records:
            ends[record["epoch"]] = max(record["iter"], ends.get(record["epoch"], 0))
        curves: dict[str, list[tuple[int, float | None, float]]] = {}
        for record in self.records:
            for key, value in record.items():
                if key.startswith("val/") and value is not None:
                    iteration = ends.get(record["step"], record["step"])
                    point = (iteration, clock.get(iteration), value)
                    curves.setdefault(key.removeprefix("val/"), []).append(point)
        return curves

    def training_curve(self, key: str) -> list[tuple[int, float]]:
        """[(iteration, value), ...] of ``loss``, ``lr``, ..."""
        return [(r["iter"], r[key]) for r in self.train_records if isinstance(r.get(key), int | float)]


def run_record(folder: Path | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a test's report keeps of the run that it tested.

    Args:
        folder: of the training; None: not known.
        config: of the test, flat.

    Returns:
        ``config``, ``environment``, ``iterations``, ``train_seconds``, ``ms_per_iteration``, ``memory_mb``,
        ``validation`` ({metric: [[iteration, seconds, value], ...]}); None or empty where nothing was recorded.
    """
    environment = folder / "env.json" if folder is not None else None
    run = Run(
        path=folder or Path(),
        report={},
        environment=_read_object(environment) if environment is not None and environment.is_file() else {},
        records=training_records(folder) if folder is not None else [],
    )
    return {
        "config": dict(config),
        "environment": run.environment,
        "iterations": run.iterations,
        "train_seconds": run.train_seconds,
        "ms_per_iteration": run.ms_per_iteration,
        "memory_mb": run.memory_mb,
        "validation": run.timed_validation_curve(),
    }


def tested(folder: Path | None) -> dict[str, Any] | None:
    """The report of the test in a run's folder, as it lies there; None where there is none that could be read."""
    try:
        report = None if folder is None else read_json(folder / REPORT, words_as_null=True)
    except (InputError, OSError):
        return None
    return report if isinstance(report, dict) else None


def find_runs(paths: Sequence[str], load: Loader) -> list[Run]:
    """The runs that ``paths`` name.

    Each is the folder of a run, one of ``seed_*`` runs (``tools/train.py --seeds``), a report (``metrics.json``, by
    whatever name), or a folder with runs or reports anywhere below it.

    Raises:
        InputError: nothing there, no finished run in it, files that cannot be read, the same run twice.
    """
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_file() and path.suffix == REPORT.suffix:
            found.append(path)
        elif path.is_dir():
            found += _runs_in(path)
        else:
            raise InputError(f"RUN {text!r}: is not a folder, and not a .json file of results")
    if not found:
        raise InputError("RUN: got none, wanted at least one folder of a run")
    resolved = [path.resolve() for path in found]
    for path, real in zip(found, resolved, strict=True):
        if resolved.count(real) > 1:
            raise InputError(f"RUN {str(path)!r}: is named twice")
    return [open_run(path, load) for path in found]


def _runs_in(folder: Path) -> list[Path]:
    """The runs and reports of a folder; itself where it is one, or where nothing is below it."""
    if (folder / REPORT).is_file():
        return [folder]
    if (folder / REPORT.name).is_file():
        return [folder / REPORT.name]
    seeds = [p for p in folder.iterdir() if p.is_dir() and SEED_FOLDER.fullmatch(p.name)]
    if seeds:
        by_number = sorted(seeds, key=lambda p: int(p.name.removeprefix("seed_")))
        return [run for seed in by_number for run in _runs_in(seed)]
    below = [path for path in sorted(folder.rglob(f"*{REPORT.suffix}"), key=_in_order) if _is_report(path)]
    runs = (path.parents[1] if path.parts[-2:] == REPORT.parts else path for path in below)
    return list(dict.fromkeys(runs)) or [folder]


def _in_order(path: Path) -> tuple[tuple[str, int], ...]:
    """Names with numbers by number: seed_2 before seed_10."""
    parts = re.split(r"(\d+)", str(path))
    return tuple((part, 0) if index % 2 == 0 else ("", int(part)) for index, part in enumerate(parts))


def _is_report(path: Path) -> bool:
    """Whether a JSON file is a test's report; other files of a run are not."""
    try:
        content = read_json(path, words_as_null=True)
    except InputError:
        return path.name == REPORT.name  # damaged: opening it will say so
    return isinstance(content, dict) and {"data", "metrics", "samples"} <= content.keys()


def open_run(folder: Path, load: Loader) -> Run:
    """Read a run's files, or a report alone.

    Raises:
        InputError: it has no ``test/metrics.json`` (it was not tested), or a file is damaged.
    """
    alone = folder.is_file()
    path = folder if alone else folder / REPORT
    if not path.is_file():
        raise InputError(f"RUN {str(folder)!r}: has no {REPORT}; not finished, or not a run's folder")
    report = _read_object(path)
    _check_report(report, path)
    config = folder / "config.py"
    env = folder / "env.json"
    kept = report.get("run", {})
    _check_kept(kept, path)
    environment = _checked(kept.get("environment"), f"{path}: run.environment")
    return Run(
        path=folder,
        report=report,
        config=flat_config(load(str(config))) if not alone and config.is_file() else kept.get("config"),
        environment=_read_object(env) if not alone and env.is_file() else environment,
        records=[] if alone else training_records(folder),
        stale=None if alone else of_other_weights(folder, report),
    )


# Where a report or an environment is read: the kind of value. A null counts as absent.
KINDS: dict[str, str] = {
    **dict.fromkeys(
        (
            "data",
            "metrics",
            "metrics_normalized",
            "metric_units",
            "backbone",
            "training",
            "validation",
            "gflops",
            "run",
        ),
        "object",
    ),
    **dict.fromkeys(("run.config", "run.environment", "run.validation"), "object"),
    **dict.fromkeys(("run.train_seconds", "run.ms_per_iteration", "run.memory_mb"), "number"),
    "run.iterations": "count",
    **dict.fromkeys(("data.dataset", "data.protocol", "data.split", "data.split_hash", "approximation"), "text"),
    **dict.fromkeys(("training.split_hash", "validation.split_hash", "validation.kind"), "text"),
    **dict.fromkeys(("validation.statement", "device"), "text"),
    **dict.fromkeys(("data.num_samples", "training.samples", "validation.samples", "parameters", "seed"), "count"),
    **dict.fromkeys(("data.target", "data.units", "command"), "list of texts"),
    "gflops.value": "number",
    "samples": "list of objects",
}


def _read_object(path: Path) -> dict[str, Any]:
    """The object in a file of a run, without its nulls, checked by ``KINDS``. Raises InputError."""
    return _checked(read_json(path, words_as_null=True), path)


def _checked(content: Any, where: object) -> dict[str, Any]:
    """An object without its nulls, empty for anything else. Raises InputError for what is of another kind."""
    if not isinstance(content, dict):
        content = {}
    content = {
        key: {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
        for key, value in content.items()
        if value is not None
    }
    for name, kind in KINDS.items():
        first, _, second = name.partition(".")
        value = content.get(first, {}).get(second) if second else content.get(first)
        if value is not None and not _is(value, kind):
            raise InputError(f"{where}: {name!r} is {_short(value)}, wanted a {kind}")
    return content


def _is(value: Any, kind: str) -> bool:
    if kind.startswith("list of "):
        one = kind.removeprefix("list of ").removesuffix("s")
        return isinstance(value, list) and all(_is(item, one) for item in value)
    if kind == "number":
        return _is_number(value)
    if kind == "count":
        return isinstance(value, int) and _is_number(value)
    return isinstance(value, dict if kind == "object" else str)


def _check_report(report: dict[str, Any], path: Path) -> None:
    """Raise InputError for what ``RegressionTester`` does not write."""
    for key in ("data", "metrics"):
        if key not in report:
            raise InputError(f"{path}: has no {key!r}, wanted what RegressionTester writes")
    for key in ("metrics", "metrics_normalized"):
        for metric, value in report.get(key, {}).items():
            good = isinstance(value, dict) and {"mean", "std"} <= value.keys()
            if not good or not all(each is None or _is_number(each) for each in value.values()):
                raise InputError(f"{path}: {key}[{metric!r}] is {_short(value)}, wanted numbers mean and std, or null")
    for number, sample in enumerate(report.get("samples", []), 1):
        normalized = sample.get("normalized") or {}
        good = isinstance(sample.get("name"), str) and isinstance(normalized, dict)
        values = [part.get(metric) for part in (sample, normalized) for metric in report["metrics"]] if good else []
        if not good or not all(each is None or _is_number(each) for each in values):
            raise InputError(f"{path}: sample {number} is {_short(sample)}, wanted its name and numbers or null")


def _check_kept(kept: dict[str, Any], path: Path) -> None:
    """Raise InputError for counts and curves that :func:`run_record` does not write."""
    for key in ("batch_size", "gradient_accumulation_steps"):
        if not _is(kept.get("config", {}).get(key, 1), "count"):
            raise InputError(f"{path}: run.config[{key!r}] is {_short(kept['config'][key])}, wanted a count")
    for metric, points in kept.get("validation", {}).items():
        good = isinstance(points, list) and all(isinstance(point, list) and len(point) == 3 for point in points)
        if not good or not all(
            _is(step, "count") and _is_number(value) and (seconds is None or _is_number(seconds))
            for step, seconds, value in points
        ):
            raise InputError(f"{path}: run.validation[{metric!r}] is no list of [iteration, seconds or null, value]")


def training_records(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``; none where there is no such file. Raises InputError."""
    path = folder / "metrics.jsonl"
    records = read_json_lines(path) if path.is_file() else []
    _check_records(records, path)
    return records


def _check_records(records: list[dict[str, Any]], path: Path) -> None:
    """Raise InputError for numbers of the training that are none; null: one that was not finite."""
    for number, record in enumerate(records, 1):
        curves = [key for key in record if key.startswith("val/")]
        counts = ["step"] if curves else []
        counts += ["iter", "epoch"] if record.get("kind") == "train" else []
        numbers = [record.get(key) for key in ("iter_time", "memory_mb", "loss", "lr", *curves)]
        good = all(_is(record.get(key), "count") for key in counts)
        if not good or not all(each is None or _is_number(each) for each in numbers):
            raise InputError(f"{path}: line {number} is no record of a training")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _short(value: Any) -> str:
    return " ".join(repr(value).split())[:60]


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); nan where there are too few, or one of them is not finite."""
    if not values or not all(map(math.isfinite, values)):
        return math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan
