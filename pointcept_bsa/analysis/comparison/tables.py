"""A comparison as Markdown, CSV and LaTeX; and the training losses of several runs, reading by reading."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pointcept_bsa.analysis.comparison.comparison import Comparison, compare
from pointcept_bsa.analysis.comparison.group import Group, Value
from pointcept_bsa.analysis.comparison.statistics import Verdict
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_text
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.training.evaluation.fit import constant_warnings
from pointcept_bsa.training.runs.finished import Loader, find_runs, training_records

VERDICT = ("ratio", "ratio_low", "ratio_high", "p", "samples", "verdict")
COSTS = ("parameters", "GFLOPs", "ms/iteration", "training s", "memory MiB")


def plus_minus(mean: float, std: float, sign: str = "+-") -> str:
    """``0.0550 +- 0.0029``: the deviation with two digits, the mean with as many decimals; without one four digits."""
    if not math.isfinite(std) or std <= 0:
        return f"{mean:.4g}"
    decimals = 1 - math.floor(math.log10(std))
    if decimals > 8 or abs(mean) >= 1e7:
        return f"{mean:.3e} {sign} {std:.1e}"
    if decimals < 0:
        return f"{round(mean, decimals):.0f} {sign} {round(std, decimals):.0f}"
    return f"{mean:.{decimals}f} {sign} {std:.{decimals}f}"


def cost_cells(group: Group) -> list[str]:
    """Parameters, GFLOPs, ms an iteration, seconds of training, peak memory; empty where not known."""
    return [
        "" if group.parameters is None else f"{group.parameters:,}",
        "" if group.gflops is None else f"{group.gflops:.4g}",
        "" if group.ms_per_iteration is None else f"{group.ms_per_iteration:.4g}",
        "" if group.train_seconds is None else f"{group.train_seconds:.4g}",
        "" if group.memory_mb is None else f"{group.memory_mb:,.0f}",
    ]


def verdict_text(verdict: Verdict | None) -> str:
    """``0.83 (0.75 to 0.92) better``."""
    if verdict is None:
        return "no test"
    return f"{verdict.ratio:.3g} ({verdict.low:.3g} to {verdict.high:.3g}) {verdict.word}"


def verdict_record(verdict: Verdict | None) -> dict[str, Any]:
    """The parts ``VERDICT``; None each where there is no test."""
    if verdict is None:
        return dict.fromkeys(VERDICT)
    return {
        "ratio": verdict.ratio,
        "ratio_low": verdict.low,
        "ratio_high": verdict.high,
        "p": verdict.adjusted,
        "samples": verdict.samples,
        "verdict": verdict.word,
    }


def verdict_headings(comparison: Comparison) -> list[str]:
    """Headings of the columns about the first metric: the verdicts, and what is reached at equal cost."""
    if comparison.reference is None:
        return []
    verdicts = f"{comparison.metrics[0]} against {comparison.reference}"
    return [verdicts, *(column.heading for column in comparison.equal)]


def verdict_cells(comparison: Comparison, group: Group) -> list[str]:
    """The cells below :func:`verdict_headings`."""
    if comparison.reference is None:
        return []
    first = comparison.verdicts[comparison.metrics[0]]
    verdict = "reference" if group.label == comparison.reference else verdict_text(first[group.label])
    values = [column.values.get(group.label) for column in comparison.equal]
    return [verdict, *("" if value is None else f"{value:.4g}" for value in values)]


def _rows(
    comparison: Comparison, escape: Callable[[str], str], bold: Callable[[str], str], sign: str
) -> tuple[list[str], list[list[str]]]:
    """Header and body; ``escape`` for texts, ``bold`` around what leads in a metric."""
    further = verdict_headings(comparison)
    above = [comparison.headings[metric] for metric in comparison.metrics]
    header = ["config", "backbone", "seeds", *above, *further, *COSTS, "validation"]

    def cell(group: Group, metric: str) -> str:
        value: Value = group.metrics[metric]
        text = plus_minus(value.mean, value.std, sign)
        return bold(text) if group.label in comparison.leaders[metric] else text

    body = [
        [escape(group.label), escape(group.backbone), escape(group.seeds)]
        + [cell(group, metric) for metric in comparison.metrics]
        + [escape(text) for text in (*verdict_cells(comparison, group), *cost_cells(group), group.validation)]
        for group in comparison.groups
    ]
    for row in comparison.published:
        values = [f"{row['value']:g}" if metric == row["metric"] else "" for metric in comparison.metrics]
        source = f"{row['source']}, {row['table']}"
        empty = [""] * (len(further) + len(COSTS) + 1)
        body.append([escape(f"published: {row['model']}"), escape(source), "", *values, *empty])
    return [escape(text) for text in header], body


def markdown_table(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose cells are Markdown, with columns one below the other."""
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in (header, *body)]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def markdown(comparison: Comparison) -> str:
    """A table for people, what it is of below it."""
    header, body = _rows(comparison, lambda text: text.replace("|", "\\|"), lambda text: f"**{text}**", "+-")
    warning = [f"**NOT COMPARABLE: {text}**" for text in comparison.differences]
    warning += [f"**{text}**" for text in constant_warnings(run for group in comparison.groups for run in group.runs)]
    notes = [f"- {note}" for note in (f"{comparison.units} units", *comparison.notes)]
    return "\n".join([*warning, *([""] if warning else []), *markdown_table(header, body), "", *notes]) + "\n"


def csv_text(comparison: Comparison) -> str:
    """A row a config, numbers bare: of each metric mean, std, values of the seeds, and the test against the reference
    (ratio, its interval, p adjusted, verdict)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    parts = ("mean", "std", "values", *VERDICT)
    columns = [f"{metric}_{part}" for metric in comparison.metrics for part in parts]
    costs = ("parameters", "gflops", "ms_per_iteration", "train_seconds", "memory_mib")
    equal = [column.heading for column in comparison.equal]
    last = ("reference", "validation", "not_comparable")
    writer.writerow(["config", "backbone", "seeds", "units", *columns, *costs, *equal, *last])
    for group in comparison.groups:
        cells: list[Any] = []
        for metric in comparison.metrics:
            value = group.metrics[metric]
            std = value.std if math.isfinite(value.std) else ""
            mean = value.mean if math.isfinite(value.mean) else ""
            verdict = verdict_record(comparison.verdicts[metric].get(group.label))
            cells += [mean, std, " ".join(str(v) for v in value.values), *(verdict[key] for key in VERDICT)]
        known = (group.parameters, group.gflops, group.ms_per_iteration, group.train_seconds, group.memory_mb)
        reached = [column.values.get(group.label) for column in comparison.equal]
        warning = "; ".join(comparison.differences)
        seeds = group.seeds.replace(",", "")
        cells += [*known, *reached, comparison.reference, group.validation, warning]
        whole = [group.label, group.backbone, seeds, comparison.units, *cells]
        writer.writerow(["" if cell is None else cell for cell in whole])
    for row in comparison.published:
        cells = []
        for metric in comparison.metrics:
            cells += [row["value"] if metric == row["metric"] else "", *[""] * (len(parts) - 1)]
        name, source = f"published: {row['model']}", f"{row['source']}, {row['table']}"
        writer.writerow([name, source, "", comparison.units, *cells, *[""] * (len(costs) + len(equal) + len(last))])
    return out.getvalue()


LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def latex(comparison: Comparison) -> str:
    """A ``tabular`` with booktabs' rules, notes as comments above it."""
    header, body = _rows(comparison, escape_latex, lambda text: rf"$\mathbf{{{text}}}$", r"\pm")
    numeric = range(3, 3 + len(comparison.metrics))
    for row in body:
        for i in numeric:
            if row[i] and not row[i].startswith("$"):
                row[i] = f"${row[i]}$"
    own, published = body[: len(comparison.groups)], body[len(comparison.groups) :]
    lines = [f"% NOT COMPARABLE: {_one_line(text)}" for text in comparison.differences]
    lines += [f"% {_one_line(note)}" for note in (f"{comparison.units} units", *comparison.notes)]
    lines += [r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{lll{'r' * (len(header) - 4)}l}}", r"\toprule"]
    lines += [_latex_line(header), r"\midrule", *map(_latex_line, own)]
    if published:
        lines += [r"\midrule", *map(_latex_line, published)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The same for programs."""
    return {
        "units": comparison.units,
        "reference": comparison.reference,
        "not_comparable": list(comparison.differences),
        "notes": list(comparison.notes),
        "configs": [
            {
                "config": group.label,
                "backbone": group.backbone,
                "runs": [str(run.path) for run in group.runs],
                "seeds": [run.seed for run in group.runs],
                "metrics": {
                    metric: {"mean": v.mean, "std": v.std, "values": list(v.values)}
                    for metric, v in group.metrics.items()
                },
                "against_reference": {
                    metric: verdict_record(of[group.label])
                    for metric, of in comparison.verdicts.items()
                    if group.label in of
                },
                "at_equal_cost": {
                    column.heading: column.values[group.label]
                    for column in comparison.equal
                    if group.label in column.values
                },
                "parameters": group.parameters,
                "gflops": group.gflops,
                "ms_per_iteration": group.ms_per_iteration,
                "train_seconds": group.train_seconds,
                "memory_mib": group.memory_mb,
                "validation": group.validation,
            }
            for group in comparison.groups
        ],
        "published": [dict(row) for row in comparison.published],
    }


def write_tables(comparison: Comparison, folder: str | Path, name: str = "compare") -> list[Path]:
    """Write ``<name>.md``, ``.csv``, ``.tex`` and ``.json``; everything is made before the first is written."""
    folder = Path(folder)
    texts = {"md": markdown(comparison), "csv": csv_text(comparison), "tex": latex(comparison)}
    content = as_json(comparison)
    for suffix, text in texts.items():
        write_text(folder / f"{name}.{suffix}", text)
    write_json(folder / f"{name}.json", content)
    return [folder / f"{name}.{suffix}" for suffix in (*texts, "json")]


def summarize_seeds(load: Loader, runs: Sequence[str], folder: str) -> None:
    """Print mean and deviation over the runs of one config and write them as ``folder/seeds.{md,csv,tex,json}``."""
    found = compare(find_runs(runs, load), force=True)
    for path in write_tables(found, folder, "seeds"):
        print(f"Written: {path}")
    print(markdown(found), end="")


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
