"""All pictures of ``tools/visualize.py``: settings and opened runs in, files out; runtimes from the results of
``tools/benchmark.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from pointcept_bsa.analysis.benchmark.plot import draw_times
from pointcept_bsa.analysis.benchmark.report import Row
from pointcept_bsa.analysis.visualization.attention import (
    draw_attention,
    draw_gates,
    draw_receptive_field,
    draw_token_levels,
    heading,
)
from pointcept_bsa.analysis.visualization.capture import Capture, capture, choose_layer
from pointcept_bsa.analysis.visualization.drawing import Drawing, save
from pointcept_bsa.analysis.visualization.influence import draw_influence, gradient_influence
from pointcept_bsa.analysis.visualization.subject import Subject, choose_point, load_subject
from pointcept_bsa.analysis.visualization.trees import draw_levels, draw_rotated
from pointcept_bsa.arguments.words import WHAT
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import read_json
from pointcept_bsa.training.evaluation.canvas import Canvas
from pointcept_bsa.training.runs.opened_run import OpenedRun


@dataclass(frozen=True)
class Settings:
    """What to draw; see the options of ``tools/visualize.py``."""

    what: str
    split: str = "test"
    sample: str = "0"
    point: int | None = None
    near: Sequence[float] | None = None
    layer: int = -1
    formats: Sequence[str] = ("png",)
    view: tuple[float, float] = (22.0, 130.0)
    output: Path | None = None


def visualize(settings: Settings, runs: Sequence[OpenedRun]) -> list[Path]:
    """Draw ``settings.what`` of the runs and return the files written.

    Raises:
        InputError: runs, sample, point or layer that are not there, or a network without what is to be drawn.
    """
    if settings.what != "influence" and len(runs) != 1:
        raise InputError(f"{settings.what}: got {len(runs)} runs, wanted one")
    if not runs:
        raise InputError(f"{settings.what}: got no run, wanted a RUN or --config")
    first = runs[0]
    subject = load_subject(first.cfg, first.model, settings.split, settings.sample, first.folder)
    canvas = Canvas(subject.coord, subject.face, subject.up, settings.view)
    if settings.what == "influence":
        drawing = _influence(settings, runs, subject, canvas)
    else:
        drawing = _network(settings, first, capture(first.model, subject.batch), subject, canvas)
    folder = settings.output or (first.folder / "pictures" if first.folder else Path("exp/visualize"))
    return save(drawing, folder / settings.what, settings.formats, subject)


def _network(settings: Settings, run: OpenedRun, seen: Capture, subject: Subject, canvas: Canvas) -> Drawing:
    """The pictures of what one network does."""
    if settings.what == "gates":
        return draw_gates(subject, seen.calls, run.name)
    if settings.what in ("tree", "rotated"):
        if seen.tree is None:
            raise InputError(f"RUN: the network of {run.name!r} has no ball tree")
        if settings.what == "tree":
            return draw_levels(subject, canvas, seen.tree)
        return draw_rotated(subject, canvas, seen.tree, choose_point(subject, canvas, settings.point, settings.near))
    if settings.what == "levels":
        point = choose_point(subject, canvas, settings.point, settings.near)
        return draw_token_levels(subject, canvas, seen.calls, settings.layer, run.name, point)
    call = choose_layer(seen.calls, settings.layer)
    point = choose_point(subject, canvas, settings.point, settings.near)
    title = f"{heading(call, settings.layer, len(seen.calls))}, {run.name}"
    if settings.what == "attention":
        return draw_attention(subject, canvas, call, f"Attention in {title}", point)
    if settings.what == "receptive":
        return draw_receptive_field(subject, canvas, call, title, point)
    raise InputError(f"WHAT {settings.what!r}: wanted one of {list(WHAT)}")


def _influence(settings: Settings, runs: Sequence[OpenedRun], subject: Subject, canvas: Canvas) -> Drawing:
    """The influence in each run, on the same points."""
    point = choose_point(subject, canvas, settings.point, settings.near)
    influences = []
    for run in runs:
        own = load_subject(run.cfg, run.model, settings.split, settings.sample, run.folder)
        if own.coord.shape != subject.coord.shape or abs(own.coord - subject.coord).max() > 1e-6:
            raise InputError(f"RUN {run.name!r}: its sample {own.name!r} has other points than that of the first run")
        influences.append((run.name, gradient_influence(run.model, own.batch, point)))
    return draw_influence(subject, canvas, influences, point)


WITH_DEFAULT = [each.name for each in fields(Row) if each.default is not MISSING]  # null there: none was written


def draw_scaling(results: Sequence[str], output: Path) -> Path:
    """One picture of the rows of all results: files ``benchmark.json`` or folders that hold one.

    Raises:
        InputError: no such file, or another kind of file.
    """
    contents = [read_results(path) for path in results]
    rows: list[Row] = []
    for path, (part, _) in zip(results, contents):
        taken = {row.name for row in rows}
        for row in part:
            if row.name in taken:
                row.name = f"{row.name} ({Path(path).parent.name if Path(path).is_file() else Path(path).name})"
            rows.append(row)
    environments = [content["environment"] for _, content in contents]
    title = "; ".join(dict.fromkeys(f"{e.get('device', '?')}, {e.get('dtype', '?')}" for e in environments))
    draw_times(output, rows, contents[0][1].get("baseline"), title)
    return output


def read_results(path: str) -> tuple[list[Row], dict[str, Any]]:
    """Rows and the whole content of a result file. Raises InputError."""
    file = Path(path) / "benchmark.json" if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise InputError(f"RESULT {path!r}: no such file, wanted the benchmark.json of tools/benchmark.py")
    content = read_json(file, words_as_null=True)
    try:
        complete = [{"mode": "", "ops": "", **row} for row in content["rows"]]  # which older results lack
        rows = [_row(row) for row in complete]
        texts = [content["environment"].get(key, "") for key in ("device", "dtype")] + [content.get("baseline") or ""]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a name that is no text")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"RESULT {path!r}: not a result of tools/benchmark.py ({error})") from error
    if not rows:
        raise InputError(f"RESULT {path!r}: it has no rows")
    return rows, content


def _row(values: Mapping[str, Any]) -> Row:
    """Raises ValueError for an entry that is not of the kind that ``Row`` says, TypeError for one that is missing."""
    given = {each.name: values[each.name] for each in fields(Row) if each.name in values}
    row = Row(**{name: value for name, value in given.items() if value is not None or name not in WITH_DEFAULT})
    for each in fields(Row):
        value, kinds = getattr(row, each.name), str(each.type).split(" | ")
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e300
        good = {
            "None": value is None,
            "str": isinstance(value, str),
            "int": number and isinstance(value, int),
            "float": number,
        }
        if not any(good[kind] for kind in kinds) or (each.name in ("points", "batch_size") and value < 1):
            raise ValueError(f"{each.name} is {str(value)[:40]!r}")
    return row
