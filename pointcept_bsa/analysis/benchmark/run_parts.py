"""All cases of ``--context-parallel``: see :mod:`.parts`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pointcept_bsa.analysis.benchmark.bandwidth import Bandwidth, bandwidth_table, measure_bandwidth
from pointcept_bsa.analysis.benchmark.case import OptimizerBuilder, Plan
from pointcept_bsa.analysis.benchmark.part_report import (
    PartRow,
    loss_table,
    part_table,
    profile_text,
    profiles_of,
    write_part_losses,
    write_parts,
)
from pointcept_bsa.analysis.benchmark.parts import losses_of_parts, measure_parts
from pointcept_bsa.analysis.benchmark.projection import Projected, project, projection_table
from pointcept_bsa.analysis.benchmark.settings import Entry, Settings, named
from pointcept_bsa.analysis.benchmark.timing import write_profiles
from pointcept_bsa.host import build_model, comm

Say = Callable[[str], None]


def share_clouds(
    settings: Settings,
    entries: Sequence[Entry],
    configs: Mapping[str, Mapping[str, Any]],
    plan: Plan,
    build_optimizer: OptimizerBuilder,
    folder: Path,
    environment: Mapping[str, Any],
) -> None:
    """Time every config at every size on every number of processes; or train it on each, and print the losses.

    ``folder`` gets ``parts.json``, ``.csv`` and ``.md``, and ``profile.csv`` from ``--profile``; or ``losses.csv``.
    """
    say: Say = partial(print, flush=True) if comm.is_main_process() else _nothing
    if settings.losses is not None:
        _compare_losses(settings, entries, configs, plan=plan, build_optimizer=build_optimizer, folder=folder, say=say)
        return
    rows: list[PartRow] = []
    found: list[Bandwidth] = []
    for processes in sorted(set(settings.context_parallel) - {1}):
        found += measure_bandwidth(processes, plan.device)
    for points in sorted(set(settings.sizes)):
        for entry in entries:
            with named(entry):
                for processes in settings.context_parallel:
                    cfg = configs[entry.name]
                    rows.append(measure_parts(entry.name, cfg, points, processes, plan, build_optimizer))
                    say(part_table(rows[-1:], environment["device"]).splitlines()[2])
                    if plan.profile:
                        say(profile_text(rows[-1]))
    if not comm.is_main_process():
        return
    projected = _project(entries, configs, rows, found, plan)
    tables = [bandwidth_table(found)] if found else []
    tables += [projection_table(projected)] if projected else []
    more = {"bandwidth": [asdict(each) | {"gb_s": each.gb_s} for each in found]}
    write_parts(folder, rows, environment, tables, **more, projection=[asdict(each) for each in projected])
    if plan.profile:
        write_profiles(folder / "profile.csv", [each for row in rows for each in profiles_of(row)])
    say("\n" + "\n\n".join([part_table(rows, environment["device"]), *tables]))
    say(f"\nWritten to {folder}/parts.{{json,csv,md}}" + (" and profile.csv" if plan.profile else ""))


def _project(
    entries: Sequence[Entry],
    configs: Mapping[str, Mapping[str, Any]],
    rows: Sequence[PartRow],
    found: Sequence[Bandwidth],
    plan: Plan,
) -> list[Projected]:
    """For each network that was trained on parts."""
    if not found or plan.skip_train:
        return []
    most = max(each.processes for each in found)
    of_most = [each for each in found if each.processes == most]
    out = []
    for entry in entries:
        model = build_model(configs[entry.name]["model"], path="model")
        out += project(entry.name, model, rows, of_most, plan.batch_size, 2 if plan.dtype == "bf16" else 4)
    return out


def _compare_losses(
    settings: Settings,
    entries: Sequence[Entry],
    configs: Mapping[str, Mapping[str, Any]],
    plan: Plan,
    build_optimizer: OptimizerBuilder,
    folder: Path,
    say: Say,
) -> None:
    assert settings.losses is not None
    curves: dict[tuple[str, int], dict[int, list[float]]] = {}
    for points in sorted(set(settings.sizes)):
        for entry in entries:
            with named(entry):
                own = curves[entry.name, points] = {}
                tell = partial(_tell, say, f"{entry.name} N={points:,} ")
                for processes in settings.context_parallel:
                    sizes = points, processes, settings.losses
                    own[processes] = losses_of_parts(configs[entry.name], *sizes, plan, build_optimizer, tell)
            say(f"{entry.name} N={points:,}\n{loss_table(own)}")
            if comm.is_main_process():
                write_part_losses(folder / "losses.csv", curves)
    say(f"Written to {folder}/losses.csv")


def _tell(say: Say, head: str, line: str) -> None:
    say(head + line)


def _nothing(line: str) -> None:
    pass
