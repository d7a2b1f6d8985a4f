"""The study: trials by Optuna, in a file that only the process that searches writes; and what it leaves for people: a
table, as Markdown and CSV, and a picture of what mattered."""

from __future__ import annotations

import fcntl
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pointcept_bsa.analysis.comparison.tables import markdown_table
from pointcept_bsa.analysis.tune.space import Choice, Parameter, base_values
from pointcept_bsa.arguments.carried import config_path
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_csv, write_png, write_text
from pointcept_bsa.files.json_file import plain, read_json, write_json
from pointcept_bsa.host import Config

FILE, IDENTITY, LOCK = "study.db", "study.json", "study.lock"
STARTUP = 6  # trials drawn at random, the config as it stands among them, before the sampler learns from them
REASON, REPEATS = "reason", "repeats"  # attributes of a trial: why it failed; which interrupted one it repeats


def import_optuna() -> ModuleType:
    """Optuna, quiet. Raises InputError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            f"tools/tune.py needs Optuna, which is not installed ({error}): "
            f"python -m pip install -c constraints.txt -e '.[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


class Study:
    """An Optuna study in ``folder``; smaller values are better. Close it, or use it as a context.

    Args:
        folder: made if it is not there.
        space: what is searched.
        identity: what must be the same for a study to go on: the hash of the config, the search space, ...
        seed: of the draws. With one process at a time a study that was interrupted ends as one that was not.
        pruner: "median", "halving" (successive halving) or "none".
        warmup: evaluations of a trial that the median does not judge.

    Raises:
        InputError: the folder has a study of another identity, is in use, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        space: list[Parameter],
        identity: Mapping[str, Any],
        seed: int,
        pruner: str = "median",
        warmup: int = 0,
    ) -> None:
        self.optuna = import_optuna()
        self.folder, self.space, self.seed = folder, space, seed
        self._lock = _locked(folder)
        try:
            _check_identity(folder, identity)
            self.study = self.optuna.create_study(
                storage=f"sqlite:///{folder / FILE}",
                study_name="tune",
                direction="minimize",
                load_if_exists=True,
                pruner=self._pruner(pruner, warmup),
            )
        except self.optuna.exceptions.StorageInternalError as error:
            self.close()
            raise InputError(f"{folder / FILE}: cannot be used ({' '.join(str(error).split())[:200]})") from error
        except InputError:
            self.close()
            raise
        if not self.study.trials:
            self.study.enqueue_trial(base_values(space))
        self._go_on()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the folder go."""
        self._lock.close()

    @property
    def trials(self) -> list[Any]:
        """Optuna's trials that are not interrupted ones, by number."""
        return [t for t in self.study.trials if t.state.name != "WAITING" and not _interrupted(t)]

    @property
    def done(self) -> list[Any]:
        """Complete, pruned and failed trials."""
        return [trial for trial in self.trials if trial.state.is_finished()]

    @property
    def complete(self) -> list[Any]:
        return [trial for trial in self.trials if trial.state.name == "COMPLETE"]

    @property
    def best(self) -> Any | None:
        """The complete trial with the smallest error."""
        return min(self.complete, key=lambda trial: trial.value, default=None)

    def ask(self) -> Any:
        """A new trial; its draws depend on the seed, on how many there are, and on what is known of them."""
        draw = np.random.SeedSequence([self.seed, len(self.trials)]).generate_state(1)
        self.study.sampler = self.optuna.samplers.TPESampler(seed=int(draw[0]), n_startup_trials=STARTUP)
        return self.study.ask(fixed_distributions=self._distributions())

    def tell(self, trial: Any, state: str, reason: str = "", **attributes: Any) -> None:
        """The trial is over: "complete", "pruned" or "failed"; the value is its smallest error so far.

        A failure has a reason; a trial that failed without one was interrupted, and is repeated when the study goes on.
        """
        for key, value in {**attributes, REASON: reason}.items():
            if value not in ("", None, []):
                trial.set_user_attr(key, value)
        states = self.optuna.trial.TrialState
        if state == "complete":
            intermediate = self.study.trials[trial.number].intermediate_values
            self.study.tell(trial, min(intermediate.values()))
        else:
            self.study.tell(trial, state=states.PRUNED if state == "pruned" else states.FAIL)

    def _distributions(self) -> dict[str, Any]:
        kinds = self.optuna.distributions
        found: dict[str, Any] = {}
        for p in self.space:
            if isinstance(p, Choice):
                found[p.name] = kinds.CategoricalDistribution(list(p.options))
            elif p.type == "int":
                high = int(p.low) + (int(p.high) - int(p.low)) // p.step * p.step
                found[p.name] = kinds.IntDistribution(int(p.low), high, step=p.step)
            else:
                found[p.name] = kinds.FloatDistribution(float(p.low), float(p.high), log=p.type == "log")
        return found

    def _pruner(self, name: str, warmup: int) -> Any:
        pruners = self.optuna.pruners
        if name == "median":
            return pruners.MedianPruner(n_startup_trials=STARTUP - 1, n_warmup_steps=warmup)
        if name == "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
        return pruners.NopPruner()

    def _go_on(self) -> None:
        """Trials that were running when the study was interrupted are queued again, with their values."""
        states = self.optuna.trial.TrialState
        for trial in self.study.get_trials(states=(states.RUNNING,)):
            self.study.tell(trial.number, state=states.FAIL)
        trials = self.study.trials
        repeated = {trial.user_attrs.get(REPEATS) for trial in trials}
        for trial in trials:
            if _interrupted(trial) and trial.number not in repeated:
                self.study.enqueue_trial(trial.params, user_attrs={REPEATS: trial.number})


def _interrupted(trial: Any) -> bool:
    return trial.state.name == "FAIL" and REASON not in trial.user_attrs


def _check_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    path = folder / IDENTITY
    if not path.is_file():
        if (folder / FILE).is_file():
            raise InputError(f"--output {str(folder)!r}: has a {FILE} without {IDENTITY}; name another folder")
        write_json(path, identity)
        return
    there = read_json(path)
    if not isinstance(there, dict):
        raise InputError(f"{path}: is no object, wanted what tools/tune.py writes")
    here = plain(identity)
    differing = [key for key in {**here, **there} if here.get(key) != there.get(key)]
    if differing:
        shown = "; ".join(_difference(key, *(found.get(key) for found in (there, here))) for key in differing)
        raise InputError(f"--output {str(folder)!r}: has the study of another config ({shown}); name another")


def _difference(key: str, there: Any, here: Any) -> str:
    """What differs; of two search spaces only the names."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        return f"{key}: other {', '.join(names)}"
    return f"{key}: {there!r} there, {here!r} here"


def _locked(folder: Path) -> Any:
    """An open file that no other process can lock; dying lets it go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK, "a")
    except OSError as error:
        raise InputError(f"--output {str(folder)!r}: cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InputError(f"--output {str(folder)!r}: another tools/tune.py is at work there") from error
    return lock


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
    paths = [study.folder / "trials.md", study.folder / "trials.csv"]
    write_text(paths[0], "\n".join([*heading, "", *markdown_table(header, cells)]) + "\n")
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
