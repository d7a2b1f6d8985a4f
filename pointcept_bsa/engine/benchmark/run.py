"""All cases of a comparison: settings in, table and files out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pointcept_bsa.engine.benchmark.case import (
    DTYPES,
    NOT_ASKED,
    OK,
    TOO_SLOW,
    Measurement,
    OptimizerBuilder,
    Plan,
    measure_case,
)
from pointcept_bsa.engine.benchmark.entries import Entry, check_options, parse_entries
from pointcept_bsa.engine.benchmark.environment import describe_environment
from pointcept_bsa.engine.benchmark.plot import draw_times
from pointcept_bsa.engine.benchmark.report import Row, add_ratios, make_row, progress_line, table, write_results
from pointcept_bsa.errors import InputError

Loader = Callable[[str, Sequence[str]], Mapping[str, Any]]  # (path, key=value texts) -> config
Measure = Callable[[Mapping[str, Any], int, Plan, OptimizerBuilder], Measurement]


@dataclass(frozen=True)
class Settings:
    """The options of ``tools/benchmark.py``. Raises InputError for values out of range."""

    config: Sequence[str]
    sizes: Sequence[int]
    baseline: str | None = None
    dtype: str = "fp32"
    device: str = "auto"
    repeats: int = 20
    warmup: int = 5
    batch_size: int = 1
    max_seconds: float = 60.0
    skip_train: bool = False
    options: Sequence[str] = field(default_factory=list)
    output: str = "exp/benchmark"

    def __post_init__(self) -> None:
        numbers = {"--repeats": self.repeats, "--warmup": self.warmup, "--batch-size": self.batch_size}
        for name, value in [*numbers.items(), *(("--sizes", size) for size in self.sizes)]:
            if value < 1:
                raise InputError(f"{name}: got {value}, wanted at least 1")
        if not 0 < self.max_seconds < math.inf:
            raise InputError(f"--max-seconds: got {self.max_seconds}, wanted a positive number")
        if not self.config or not self.sizes:
            raise InputError("--config and --sizes: wanted at least one of each")
        if self.dtype not in DTYPES:
            raise InputError(f"--dtype: got {self.dtype!r}, wanted one of {list(DTYPES)}")
        check_options(self.options, "--options")

    def plan(self) -> Plan:
        """What holds for every case. Raises InputError for a device that is not there."""
        has_cuda = torch.cuda.is_available()
        if self.device == "cuda" and not has_cuda:
            raise InputError("--device cuda: this machine has no CUDA device, wanted cpu or auto")
        device = torch.device("cpu" if self.device == "cpu" or not has_cuda else "cuda")
        if self.dtype == "tf32" and device.type == "cpu":
            raise InputError("--dtype tf32: there is none on the CPU, wanted fp32 or bf16")
        return Plan(device, self.dtype, self.repeats, self.warmup, self.batch_size, self.skip_train, self.max_seconds)


def run(
    settings: Settings, load: Loader, build_optimizer: OptimizerBuilder, measure: Measure = measure_case
) -> list[Row]:
    """Measure every config at every size, smallest first; print progress and the table.

    ``output`` gets ``benchmark.json``, ``.csv`` and ``.md``, written anew after every case, and at
    the end ``benchmark.png``.

    Args:
        settings: the command line.
        load: reads a config with options.
        build_optimizer: the host's.
        measure: what measures one case.

    Raises:
        InputError: a mistake in the arguments or a config.
    """
    plan = settings.plan()
    entries, baseline = parse_entries(settings.config, settings.baseline)
    configs = {}
    for entry in entries:
        with _named(entry):
            configs[entry.name] = load(entry.path, [*settings.options, *entry.options])
    folder = _make_folder(settings.output)
    environment = describe_environment(plan.device, plan.dtype)
    sizes = sorted(set(settings.sizes))
    total = len(sizes) * len(entries)
    rows: list[Row] = []
    for points in sizes:
        for entry in entries:
            cfg = configs[entry.name]
            if (seconds := predict_seconds(rows, entry.name, points)) > plan.max_seconds:
                result = Measurement(TOO_SLOW, NOT_ASKED if plan.skip_train else TOO_SLOW)
            else:
                with _named(entry):
                    result = measure(cfg, points, plan, build_optimizer)
            rows.append(make_row(entry, cfg, points, plan, result))
            print(f"[{len(rows)}/{total}] {progress_line(rows[-1], plan, seconds)}", flush=True)
            add_ratios(rows, baseline)
            write_results(folder, rows, environment, baseline, plan)
    draw_times(folder / "benchmark.png", rows, baseline, f"{environment['device']}, {plan.dtype}")
    print(f"\n{table(rows, baseline, plan)}\nWritten to {folder}/benchmark.{{json,csv,md,png}}")
    return rows


def predict_seconds(rows: Sequence[Row], name: str, points: int) -> float:
    """The least time that a case will take, from the earlier sizes of the same config; 0 where there are none.

    The least is three forward passes (warm-up, timed, FLOPs) and two train steps. Time grows with the power of N seen
    between the last two sizes (0 to 2), or in proportion to N where there is only one.
    """
    seen = [row for row in rows if row.name == name and row.forward == OK and row.forward_ms is not None]
    if not seen:
        return 0.0
    cost = [(3 * (row.forward_ms or 0.0) + 2 * (row.train_ms or 0.0)) / 1e3 for row in seen]
    power = 1.0
    if len(seen) > 1 and seen[-1].points > seen[-2].points and cost[-2] > 0 and cost[-1] > 0:
        power = math.log(cost[-1] / cost[-2]) / math.log(seen[-1].points / seen[-2].points)
    return cost[-1] * (points / seen[-1].points) ** min(max(power, 0.0), 2.0)


@contextlib.contextmanager
def _named(entry: Entry) -> Iterator[None]:
    """Put the name of the entry in front of a user's mistake."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{entry.name}: {error}") from error


def _make_folder(path: str) -> Path:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {path!r}: cannot be created ({error.strerror})") from error
    return Path(path)
