"""The page: text, tables and pictures of a comparison, with nothing fetched from anywhere (``page.html``)."""

from __future__ import annotations

import base64
import datetime
import shlex
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pointcept_bsa.analysis.comparison.comparison import Comparison, compare
from pointcept_bsa.analysis.comparison.tables import COSTS, cost_cells, plus_minus, verdict_cells, verdict_headings
from pointcept_bsa.analysis.report.chart import COLOURS, charts
from pointcept_bsa.arguments.words import UNITS
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_text
from pointcept_bsa.training.evaluation.fit import constant_warnings
from pointcept_bsa.training.evaluation.published import chosen_by
from pointcept_bsa.training.evaluation.tester import ONLY, PICTURES
from pointcept_bsa.training.runs.finished import Run
from pointcept_bsa.training.runs.flat_config import config_differences

ENVIRONMENT = {"device": "device", "world_size": "processes", "torch": "torch", "cuda": "CUDA", "python": "Python"}
ENVIRONMENT |= {"platform": "platform", "command": "command"}


def page(comparison: Comparison, other: Comparison | None, title: str) -> str:
    """The whole document.

    Args:
        comparison: what the tables and curves show.
        other: the same runs in the other units, folded away; None: not measured.
        title: heading.
    """
    groups = comparison.groups
    card = groups[0].runs[0].card
    runs = [(number, group, run) for number, group in enumerate(groups) for run in group.runs]
    with_config = [group for group in groups if group.runs[0].config is not None]
    return _template().render(
        title=title,
        lead=(
            f"{plural(len(runs), 'run')} of {plural(len(groups), 'config')} on {card.get('dataset')}, "
            f"protocol {card.get('protocol')}, {card.get('num_samples')} {card.get('split')} samples "
            f"(hash {card.get('split_hash')})"
        ),
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        shown=comparison,
        other=other,
        useless=constant_warnings(run for _, _, run in runs),
        charts=charts(comparison),
        with_config=[group.label for group in with_config],
        without_config=[group.label for group in groups if group.runs[0].config is None],
        differences=config_differences([group.runs[0].config or {} for group in with_config]),
        pictures=pictures(comparison),
        runs=runs,
    )


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("pointcept_bsa.analysis", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"known": known, "command": command}
    environment.globals |= {
        "chosen_by": chosen_by,
        "colours": COLOURS,
        "cost_cells": cost_cells,
        "costs": list(COSTS),
        "environment": ENVIRONMENT,
        "plus_minus": plus_minus,
        "verdict_cells": verdict_cells,
        "verdict_headings": verdict_headings,
    }
    return environment.get_template("page.html")


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def pictures(comparison: Comparison) -> list[tuple[str, Any, list[str], list[tuple[str, str]]]]:
    """Of the first run of each config: label, seed, what the test drew no picture of, and (which, PNG) of the rest."""
    found = []
    for group in comparison.groups:
        run = group.runs[0]
        folder = run.path / "test"
        there = {which: drawn(folder, which) for which in (ONLY if drawn(folder, ONLY[0]) else PICTURES)}
        absent = [which for which, paths in there.items() if not paths]
        images = [
            (path.stem.replace("_", ", "), base64.b64encode(path.read_bytes()).decode("ascii"))
            for path in chain.from_iterable(there.values())
        ]
        found.append((group.label, run.seed, absent, images))
    return found


def drawn(folder: Path, which: str) -> list[Path]:
    """The pictures of a sample: one, or one of each domain."""
    whole = folder / f"{which}.png"
    return [whole] if whole.is_file() else sorted(folder.glob(f"{which}_*.png"))


def known(value: Any) -> Any:
    """Numbers with commas, "-" for what is not recorded."""
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else value


def command(value: Any) -> Any:
    """A list of words as it is typed."""
    return shlex.join(value) if isinstance(value, list) else value


def write_report(
    runs: Sequence[Run],
    output: str | Path,
    title: str | None = None,
    metrics: Sequence[str] | None = None,
    units: str = "physical",
    force: bool = False,
    reference: str | None = None,
) -> Path:
    """Write the page of ``runs`` to ``output``; arguments as of :func:`.compare`.

    Raises:
        InputError: runs that cannot be compared, an output that is no ``.html`` file or cannot be written.
    """
    path = Path(output)
    if path.suffix not in (".html", ".htm") or path.is_dir():
        raise InputError(f"--output {str(output)!r}: expected the name of a file that ends in .html")
    found = compare(runs, metrics, units, force, reference)
    other = next(name for name in UNITS if name != units)
    has_other = all(run.report.get(UNITS[other]) for run in runs)
    second = compare(runs, metrics, other, force=True, reference=reference) if has_other else None
    write_text(path, page(found, second, title or f"{found.groups[0].runs[0].card.get('dataset')}: runs compared"))
    return path
