"""The page: text, tables and pictures of a comparison, with nothing fetched from anywhere.

Whatever comes from a run or a user goes through ``text``.
"""

from __future__ import annotations

import base64
import datetime
import shlex
from collections.abc import Iterable, Sequence
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any

from pointcept_bsa.engine.comparison import Comparison
from pointcept_bsa.engine.comparison_tables import COSTS, cost_cells, plus_minus, verdict_cells, verdict_headings
from pointcept_bsa.engine.constant import constant_warnings
from pointcept_bsa.engine.published import chosen_by
from pointcept_bsa.engine.report.chart import COLOURS
from pointcept_bsa.engine.report.curves import charts
from pointcept_bsa.engine.report.style import CSS
from pointcept_bsa.engine.runs import Run
from pointcept_bsa.engine.tester import ONLY, PICTURES
from pointcept_bsa.host.flat_config import config_differences

# The page may show what is in it, and load nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def text(value: Any) -> str:
    """A value as text of the page."""
    return escape(str(value), quote=True)


def page(comparison: Comparison, other: Comparison | None, title: str) -> str:
    """The whole document.

    Args:
        comparison: what the tables and curves show.
        other: the same runs in the other units, folded away; None: not measured.
        title: heading.
    """
    card = comparison.groups[0].runs[0].card
    count = sum(len(group.runs) for group in comparison.groups)
    lead = (
        f"{plural(count, 'run')} of {plural(len(comparison.groups), 'config')} on {card.get('dataset')}, "
        f"protocol {card.get('protocol')}, {card.get('num_samples')} {card.get('split')} samples "
        f"(hash {card.get('split_hash')})"
    )
    made = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    body = [
        f'<h1>{text(title)}</h1><p class="lead">{text(lead)}</p><p class="lead note">Made {made}</p>',
        warning(comparison.differences),
        useless(constant_warnings(run for group in comparison.groups for run in group.runs)),
        section("Results", results(comparison) + notes(comparison.notes) + folded(other)),
        section("Curves", legend(comparison) + f'<div class="charts">{"".join(charts(comparison))}</div>'),
        section("What the configs differ in", differences(comparison)),
        section("Pictures", pictures(comparison)),
        section("Runs", provenance_table(comparison) + environment_table(comparison)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def section(heading: str, content: str) -> str:
    return f"<section><h2>{text(heading)}</h2>\n{content}</section>"


def warning(found: Sequence[str]) -> str:
    if not found:
        return ""
    items = "".join(f"<li>{text(each)}</li>" for each in found)
    return f'<div class="warning"><strong>These runs cannot be compared.</strong> They differ in:<ul>{items}</ul></div>'


def useless(found: Sequence[str]) -> str:
    items = "".join(f"<li>{text(each)}</li>" for each in found)
    return f'<div class="warning"><strong>No better than a constant.</strong><ul>{items}</ul></div>' if found else ""


def notes(found: Iterable[str]) -> str:
    return f'<ul class="note">{"".join(f"<li>{text(note)}</li>" for note in found)}</ul>'


def table(header: Sequence[tuple[str, bool]], rows: Iterable[str]) -> str:
    """``header``: (name, whether its column holds numbers); ``rows``: finished ``tr`` elements."""
    cells = "".join(f"<th{' class=number' if number else ''}>{text(name)}</th>" for name, number in header)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def key(colour: int) -> str:
    return f'<span class="key" style="background: var(--c{colour % COLOURS})"></span>'


def legend(comparison: Comparison) -> str:
    items = "".join(f"<span>{key(i)}{text(group.label)}</span>" for i, group in enumerate(comparison.groups))
    several = any(len(group.runs) > 1 for group in comparison.groups)
    thin = "<span>thin: single seeds, thick: their mean</span>" if several else ""
    return f'<div class="legend">{items}{thin}</div>'


def results(comparison: Comparison) -> str:
    """The table of metrics and costs, with published results below."""
    header = [("config", False), ("backbone", False), ("seeds", False)]
    further = verdict_headings(comparison)
    above = [comparison.headings[metric] for metric in comparison.metrics]
    header += [(name, True) for name in (*above, *further, *COSTS)]
    mixed = len({group.validation for group in comparison.groups}) > 1  # else a note says it for all
    header += [("validation", False)] if mixed else []
    rows = []
    for i, group in enumerate(comparison.groups):
        cells = [
            f'<td class="plain">{key(i)}{text(group.label)}</td>',
            f'<td class="plain">{text(group.backbone)}</td>',
        ]
        cells.append(f"<td>{text(group.seeds)}</td>")
        for metric in comparison.metrics:
            value = group.metrics[metric]
            kind = "number best" if group.label in comparison.leaders[metric] else "number"
            cells.append(f'<td class="{kind}">{text(plus_minus(value.mean, value.std, chr(177)))}</td>')
        shown = (*verdict_cells(comparison, group), *cost_cells(group))
        cells += [f'<td class="number">{text(cell)}</td>' for cell in shown]
        cells += [f"<td>{text(group.validation)}</td>"] if mixed else []
        rows.append(f"<tr>{''.join(cells)}</tr>")
    for row in comparison.published:
        values = [f"{row['value']:g}" if metric == row["metric"] else "" for metric in comparison.metrics]
        cells = [
            f"<td>published: {text(row['model'])}</td><td>{text(row['source'])}, {text(row['table'])}</td><td></td>"
        ]
        cells += [f'<td class="number">{value}</td>' for value in values]
        rows.append(f'<tr class="published">{"".join(cells)}{"<td></td>" * (len(further) + len(COSTS) + mixed)}</tr>')
    return f'<p class="note">In {text(comparison.units)} units.</p>' + table(header, rows)


def folded(other: Comparison | None) -> str:
    if other is None:
        return ""
    return f"<details><summary>The same in {text(other.units)} units</summary>{results(other)}</details>"


def differences(comparison: Comparison) -> str:
    """Keys of the config that are not the same in all groups."""
    with_config = [group for group in comparison.groups if group.runs[0].config is not None]
    absent = [group.label for group in comparison.groups if group.runs[0].config is None]
    said = f'<p class="note">Without a config: {text(", ".join(absent))}</p>' if absent else ""
    found = config_differences([group.runs[0].config or {} for group in with_config])
    if not found:
        return said + "<p>Nothing but the seed.</p>"
    rows = [
        f"<tr><td><code>{text(name)}</code></td>{''.join(f'<td><code>{text(v)}</code></td>' for v in values)}</tr>"
        for name, values in found.items()
    ]
    return said + table([("key", False), *((group.label, False) for group in with_config)], rows)


def pictures(comparison: Comparison) -> str:
    """The test's pictures of the first run of each config, those there are."""
    parts = []
    for group in comparison.groups:
        run = group.runs[0]
        folder = run.path / "test"
        there = {which: drawn(folder, which) for which in (ONLY if drawn(folder, ONLY[0]) else PICTURES)}
        parts.append(f"<h3>{text(group.label)}, seed {text('-' if run.seed is None else run.seed)}</h3>")
        absent = [which for which, paths in there.items() if not paths]
        if absent:
            parts.append(f'<p class="note">The test drew no picture of: {text(", ".join(absent))}.</p>')
        for path in chain.from_iterable(there.values()):
            which = path.stem.replace("_", ", ")
            image = base64.b64encode(path.read_bytes()).decode("ascii")
            alt = f"{which} test sample of {group.label}: truth, prediction, error"
            source = f"data:image/png;base64,{image}"
            parts.append(f'<figure><figcaption>{which}</figcaption><img alt="{text(alt)}" src="{source}"></figure>')
    return f'<div class="pictures">{"".join(parts)}</div>'


def drawn(folder: Path, which: str) -> list[Path]:
    """The pictures of a sample: one, or one of each domain."""
    whole = folder / f"{which}.png"
    return [whole] if whole.is_file() else sorted(folder.glob(f"{which}_*.png"))


def named_runs(comparison: Comparison) -> list[tuple[str, Run]]:
    """The runs with a first cell for their row."""
    return [
        (f'<td class="plain">{key(i)}{text(group.label)}, seed {known(run.seed)}</td>', run)
        for i, group in enumerate(comparison.groups)
        for run in group.runs
    ]


def provenance_table(comparison: Comparison) -> str:
    """Lengths, hashes of the samples, folders."""
    header = [("run", False), ("iterations", True), ("clouds/iteration", True)]
    header += [("training samples", False), ("validation", False), ("test samples", False), ("folder", False)]
    rows = []
    for name, run in named_runs(comparison):
        training, validation = run.report.get("training", {}), run.report.get("validation", {})
        cells = [name, *(f'<td class="number">{known(v)}</td>' for v in (run.iterations, run.clouds_per_iteration))]
        cells.append(f"<td>{hashed(training.get('samples'), training.get('split_hash'))}</td>")
        statement = text(chosen_by(run.report))
        cells.append(f"<td>{hashed(validation.get('samples'), validation.get('split_hash'))}<br>{statement}</td>")
        cells.append(f"<td>{hashed(run.card.get('num_samples'), run.card.get('split_hash'))}</td>")
        cells.append(f"<td><code>{text(run.path)}</code></td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return table(header, rows)


def known(value: Any) -> str:
    return "-" if value is None else text(f"{value:,}" if isinstance(value, int) else value)


def hashed(count: Any, digits: Any) -> str:
    return "-" if count is None else f"{known(count)} <code>{text(digits)}</code>"


def environment_table(comparison: Comparison) -> str:
    """What each run ran on."""
    names = {"device": "device", "world_size": "processes", "torch": "torch", "cuda": "CUDA", "python": "Python"}
    names |= {"platform": "platform", "command": "command"}
    rows = []
    for first, run in named_runs(comparison):
        values = [run.environment.get(name) for name in names]
        values[-1] = shlex.join(values[-1]) if isinstance(values[-1], list) else values[-1]
        cells = "".join(f"<td class=plain>{'-' if v is None else f'<code>{text(v)}</code>'}</td>" for v in values[:-1])
        command = "-" if values[-1] is None else f"<code>{text(values[-1])}</code>"
        rows.append(f"<tr>{first}{cells}<td class=command>{command}</td></tr>")
    inside = table([("run", False), *((name, False) for name in names.values())], rows)
    return f"<details open><summary>Environment</summary>{inside}</details>"
