"""All cases of a comparison: settings in, table and files out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pointcept_bsa.analysis.benchmark.case import (
    NOT_ASKED,
    OK,
    TOO_SLOW,
    Measurement,
    OptimizerBuilder,
    Plan,
    measure_case,
)
from pointcept_bsa.analysis.benchmark.depth import can_extrapolate, extrapolate
from pointcept_bsa.analysis.benchmark.losses import SchedulerBuilder, Training, train_both, write_losses
from pointcept_bsa.analysis.benchmark.plot import draw_losses, draw_times
from pointcept_bsa.analysis.benchmark.published_erwin import load_published
from pointcept_bsa.analysis.benchmark.queries import measure_queries, query_table, write_queries
from pointcept_bsa.analysis.benchmark.report import (
    Row,
    add_ratios,
    make_row,
    progress_line,
    summary,
    table,
    write_results,
)
from pointcept_bsa.analysis.benchmark.run_parts import share_clouds
from pointcept_bsa.analysis.benchmark.settings import Entry, Loader, Settings, backbone_configs, named, parse_entries
from pointcept_bsa.analysis.benchmark.timing import Profile, describe_environment, write_profiles
from pointcept_bsa.analysis.benchmark.trees import measure_trees, tree_table, write_trees
from pointcept_bsa.analysis.benchmark.variants import REFERENCE, is_dense
from pointcept_bsa.errors import InputError

Measure = Callable[[Mapping[str, Any], int, Plan, OptimizerBuilder], Measurement]
PUBLISHED = "published code, without tree and edges"


@dataclass(frozen=True)
class Variant:
    """A config in one mode, on one path of the operators: a line of the plot."""

    entry: Entry
    cfg: Mapping[str, Any]
    plan: Plan


def run(
    settings: Settings,
    load: Loader,
    build_optimizer: OptimizerBuilder,
    measure: Measure = measure_case,
    build_scheduler: SchedulerBuilder | None = None,
) -> list[Row]:
    """Do what the settings ask for; print progress and tables.

    ``output`` gets ``benchmark.json``, ``.csv`` and ``.md``, written anew after every case, and at the end
    ``benchmark.png``; ``profile.csv`` from ``--profile``; ``tree.*`` from ``--tree``; from ``--losses``, instead of
    ``benchmark.*``, ``losses.csv`` and ``losses.png``; from ``--queries`` ``queries.*``; from ``--context-parallel``
    what :func:`.share_clouds` says.

    Args:
        settings: the command line.
        load: reads a config with options.
        build_optimizer: the host's.
        measure: what measures one case.
        build_scheduler: the host's; only ``--losses`` needs it.

    Raises:
        InputError: a mistake in the arguments or a config.
    """
    plan = settings.plan()
    more = [path for path in backbone_configs(settings.backbones, load) if path not in settings.config]
    entries, baseline = parse_entries([*settings.config, *more], settings.baseline)
    if settings.erwin_checkout is not None:
        load_published(settings.erwin_checkout)
    configs = {}
    for entry in entries:
        with named(entry):
            configs[entry.name] = load(entry.path, [*settings.options, *entry.options])
    folder = _make_folder(settings.output)
    environment = describe_environment(plan.device, plan.dtype)
    if settings.tree:
        trees = measure_trees(settings.tree, plan.device, plan.repeats, plan.warmup, plan.max_seconds)
        write_trees(folder, trees, environment)
        print(f"\n{tree_table(trees, environment['device'])}\nWritten to {folder}/tree.{{json,csv,md}}\n")
    if settings.context_parallel:
        share_clouds(
            settings,
            entries,
            configs=configs,
            plan=plan,
            build_optimizer=build_optimizer,
            folder=folder,
            environment=environment,
        )
        return []
    if settings.losses is not None:
        if build_scheduler is None:
            raise TypeError("run: wanted build_scheduler, since the settings ask for losses")
        compare_losses(
            settings,
            entries,
            configs=configs,
            plan=plan,
            build_optimizer=build_optimizer,
            build_scheduler=build_scheduler,
            folder=folder,
            environment=environment,
        )
        return []
    if settings.queries is not None:
        count_queries(settings, entries, configs, plan, folder, environment)
        return []
    if not entries:
        return []
    variants, published = plan_variants(settings, entries, configs, plan)
    rows = _measure_all(
        settings,
        variants,
        baseline=baseline,
        published=published,
        build_optimizer=build_optimizer,
        measure=measure,
        folder=folder,
        environment=environment,
    )
    draw_times(folder / "benchmark.png", rows, baseline, f"{environment['device']}, {plan.dtype}")
    best = summary(rows, baseline, published)
    print(f"\n{table(rows, baseline, plan)}\n\n{best}Written to {folder}/benchmark.{{json,csv,md,png}}")
    return rows


def plan_variants(
    settings: Settings, entries: Sequence[Entry], configs: Mapping[str, Mapping[str, Any]], plan: Plan
) -> tuple[list[Variant], dict[str, str]]:
    """What is measured at each size, in order; and the name of the published code's rows by the config's.

    The published code runs in TF32 on CUDA, as its training scripts do, whatever the others run in.
    """
    variants, published = [], {}
    for entry in entries:
        cfg = configs[entry.name]
        for ops in (plan.ops, REFERENCE) if settings.reference and not is_dense(cfg) else (plan.ops,):
            variants += [Variant(entry, cfg, replace(plan, mode=mode, ops=ops)) for mode in settings.modes]
        if settings.erwin_checkout is not None and cfg["model"]["backbone"]["type"] == "Erwin-v1m1":
            theirs = replace(entry, name=f"{entry.name} ({PUBLISHED})")
            published[entry.name] = theirs.name
            own = replace(plan, erwin_checkout=settings.erwin_checkout)
            own = replace(own, dtype="tf32" if plan.device.type == "cuda" else "fp32")
            variants += [Variant(theirs, cfg, replace(own, mode=mode)) for mode in settings.modes]
    if settings.erwin_checkout is not None and not published:
        raise InputError("--erwin-checkout: none of --config has the backbone Erwin-v1m1 to compare it with")
    return variants, published


def _measure_all(
    settings: Settings,
    variants: Sequence[Variant],
    baseline: str | None,
    published: dict[str, str],
    build_optimizer: OptimizerBuilder,
    measure: Measure,
    folder: Path,
    environment: Mapping[str, Any],
) -> list[Row]:
    sizes = sorted(set(settings.sizes))
    total = len(sizes) * len(variants)
    rows: list[Row] = []
    profiles: list[Profile] = []
    for points in sizes:
        for entry, cfg, plan in ((v.entry, v.cfg, v.plan) for v in variants):
            before = [row for row in rows if (row.mode, row.ops) == (plan.mode, plan.ops or "")]
            seconds = predict_seconds(before, entry.name, points)
            with named(entry):
                if seconds <= plan.max_seconds:
                    result = measure(cfg, points, plan, build_optimizer)
                elif settings.extrapolate_depth and can_extrapolate(cfg):
                    result = extrapolate(cfg, partial(_measure_again, measure, points, plan, build_optimizer))
                else:
                    result = Measurement(TOO_SLOW, NOT_ASKED if plan.skip_train else TOO_SLOW)
            rows.append(make_row(entry, cfg, points, plan, result))
            print(f"[{len(rows)}/{total}] {progress_line(rows[-1], plan, seconds)}", flush=True)
            found = [Profile(entry.name, points, plan.mode, part, known) for part, known in result.kernels.items()]
            if found:
                profiles += found
                print(*(each.table() for each in found), sep="\n", flush=True)
                write_profiles(folder / "profile.csv", profiles)
            add_ratios(rows, baseline)
            write_results(folder, rows, environment, baseline, plan, summary(rows, baseline, published))
    return rows


def _measure_again(
    measure: Measure, points: int, plan: Plan, build_optimizer: OptimizerBuilder, cfg: Mapping[str, Any]
) -> Measurement:
    return measure(cfg, points, plan, build_optimizer)


def compare_losses(
    settings: Settings,
    entries: Sequence[Entry],
    configs: Mapping[str, Mapping[str, Any]],
    plan: Plan,
    build_optimizer: OptimizerBuilder,
    build_scheduler: SchedulerBuilder,
    folder: Path,
    environment: Mapping[str, Any],
) -> None:
    """Train every config at every size on both paths of the operators; print how far apart they are."""
    assert settings.losses is not None
    curves = []
    title = f"{environment['device']}, {plan.dtype}, same weights and batches"
    for points in sorted(set(settings.sizes)):
        for entry in entries:
            with named(entry):
                cfg = configs[entry.name]
                training = Training(cfg, points, settings.losses, plan, build_optimizer, build_scheduler)
                curves.append(train_both(entry.name, training, settings.seeds, partial(print, flush=True)))
            print(curves[-1].summary(), flush=True)
            write_losses(folder / "losses.csv", curves)
            draw_losses(folder / "losses.png", curves, title)
    print(f"Written to {folder}/losses.{{csv,png}}")


def count_queries(
    settings: Settings,
    entries: Sequence[Entry],
    configs: Mapping[str, Mapping[str, Any]],
    plan: Plan,
    folder: Path,
    environment: Mapping[str, Any],
) -> None:
    """Predict from anchors with every config and every number of anchors."""
    assert settings.queries is not None
    rows = []
    for anchors in sorted(set(settings.sizes)):
        for entry in entries:
            with named(entry):
                sizes = anchors, settings.queries, settings.chunk
                rows.append(measure_queries(entry.name, configs[entry.name], *sizes, plan, partial(print, flush=True)))
            write_queries(folder, rows, environment)
    print(f"\n{query_table(rows, environment['device'])}\n\nWritten to {folder}/queries.{{json,csv,md}}")


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


def _make_folder(path: str) -> Path:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {path!r}: cannot be created ({error.strerror})") from error
    return Path(path)
