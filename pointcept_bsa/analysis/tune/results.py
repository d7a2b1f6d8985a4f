"""What a study leaves for people: a table, as Markdown and CSV, and a picture of what mattered."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pointcept_bsa.analysis.tune.study import REASON, Study
from pointcept_bsa.arguments.carried import config_path
from pointcept_bsa.files.atomic import write_csv, write_png, write_text
from pointcept_bsa.host import Config

FEWEST = 4  # complete trials without which importances mean nothing
COLUMNS = ("trial", "state", "seconds", "iterations")


def natural(error: float, metric: str) -> float:
    """The metric as it is known: errors are negated metrics where larger is better."""
    return error if metric.startswith("-") else -error


def metric_name(metric: str) -> str:
    return metric.removeprefix("-")


def shown(value: Any) -> str:
    """A parameter's value in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def error_of(trial: Any) -> float:
    """The smallest error of a trial so far; infinite where there was no evaluation."""
    return min(trial.intermediate_values.values(), default=math.inf)


def rows(study: Study, metric: str) -> list[dict[str, Any]]:
    """One a trial, complete ones first, the best at the top."""
    order = {"COMPLETE": 0, "PRUNED": 1, "RUNNING": 2, "FAIL": 3}
    found = []
    for trial in sorted(study.trials, key=lambda t: (order[t.state.name], error_of(t), t.number)):
        error = error_of(trial)
        found.append(
            {
                "trial": trial.number,
                "state": {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower()),
                metric_name(metric): "" if math.isinf(error) else natural(error, metric),
                "seconds": trial.user_attrs.get("seconds", ""),
                "iterations": trial.user_attrs.get("iterations", ""),
                **trial.params,
                "reason": trial.user_attrs.get(REASON, ""),
            }
        )
    return found


def write_tables(study: Study, metric: str, heading: Sequence[str]) -> list[Path]:
    """Write ``trials.md`` and ``trials.csv``."""
    table = rows(study, metric)
    header = list(table[0])
    cells = [[shown(row.get(name, "")).replace("|", "\\|") for name in header] for row in table]
    lines = ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *cells)]
    paths = [study.folder / "trials.md", study.folder / "trials.csv"]
    write_text(paths[0], "\n".join([*heading, "", *lines]) + "\n")
    write_csv(paths[1], header, [[row.get(name, "") for name in header] for row in table])
    return paths


def draw_importance(study: Study, metric: str) -> Path | str:
    """Optuna's importance plot in ``importance.png``; a word why not where it says nothing."""
    complete = study.complete
    if len(complete) < FEWEST:
        return f"no picture of importances: {len(complete)} complete trials, wanted at least {FEWEST}"
    if len({trial.value for trial in complete}) < 2:
        return "no picture of importances: all trials came to the same"
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_param_importances

    path = study.folder / "importance.png"
    with pyplot.style.context("default"):
        axes = plot_param_importances(study.study, target_name=metric_name(metric))
        axes.set_title(f"What the validation {metric_name(metric)} of {len(complete)} trials depends on", loc="left")
        figure: Any = axes.figure
        figure.set_size_inches(8, 1.5 + 0.45 * len(study.space))
        write_png(path, figure, bbox_inches="tight")
        pyplot.close(figure)
    return path


# The best trial as a config file that inherits from its base and has only what differs.


def changes(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What a config that inherits from ``base`` has to say to become ``new``; lists are said whole."""
    found: dict[str, Any] = {}
    for key in new:
        if key not in base:
            found[key] = new[key]
        elif isinstance(new[key], Mapping) and isinstance(base[key], Mapping):
            if base[key].keys() - new[key].keys():
                found[key] = {"_delete_": True, **new[key]}
            elif inner := changes(base[key], new[key]):
                found[key] = inner
        elif _plain(new[key]) != _plain(base[key]):
            found[key] = {"_delete_": True, **new[key]} if isinstance(new[key], Mapping) else new[key]
    return found


def write_best(
    path: Path, config: str, base: Mapping[str, Any], new: Mapping[str, Any], comment: Sequence[str], load: Callable
) -> None:
    """Write ``new`` as a file that inherits from the file ``config``, which is ``base``, and see that it is read so."""
    relative = Path(os.path.relpath(Path(config_path(config)).resolve(), path.parent.resolve())).as_posix()
    text = Config(changes(base, new)).pretty_text
    head = "".join(f"# {line}\n" for line in comment)
    write_text(path, f"{head}\n_base_ = [{relative!r}]\n\n{text}")
    found = load(str(path), {})
    assert not changes(new, found) and not changes(found, new), f"{path} does not say what it should"


def _plain(value: Any) -> Any:
    """For comparing: lists and tuples alike, numbers apart from truth values."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return (type(value).__name__, value) if isinstance(value, bool) else value
