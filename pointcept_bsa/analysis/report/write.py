"""From runs to the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pointcept_bsa.analysis.comparison.comparison import compare
from pointcept_bsa.analysis.report.page import page
from pointcept_bsa.arguments.words import UNITS
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_text
from pointcept_bsa.training.runs.finished import Run


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
