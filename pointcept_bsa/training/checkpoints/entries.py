"""Every entry of a checkpoint judged before any of it is used: its type, its shape, that it is of this run's parts.

(Weights and their average are judged by whoever reads the file, see :func:`.load_checkpoint`.)

A checkpoint may come from another version, another host, another optimizer, or from someone's script. What does not fit
is an ``InputError`` that names the entry, what is in it and what was wanted.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.training.checkpoints.checkpoint import is_plain_tensor
from pointcept_bsa.training.processes.sharding import STEP_SETTINGS

if TYPE_CHECKING:
    from pointcept_bsa.training.trainer import DefaultTrainer

NEEDED = ("epoch", "optimizer", "scheduler", "best_metric_value")  # Pointcept's own have these
# Of a schedule, what the config and the length of the run say; the rest moves from step to step.
CONFIGURED = ("total_steps", "T_max", "milestones", "base_lrs", "gamma", "eta_min")
# Settings of torch's optimizers that came with some version of it and mean nothing where they are absent.
NEWER_SETTINGS = ("maximize", *STEP_SETTINGS, "decoupled_weight_decay")
LARGEST = 10**300  # of whole numbers
LARGEST_SETTING = 1e10  # of an optimizer: products of two are still numbers of float32
REFUSED = (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, ArithmeticError)


class Wrong(Exception):
    """``(entry, what is wrong with it)``."""


def check_entries(checkpoint: Mapping[str, Any], path: str, wanted: frozenset[str]) -> None:
    """Judge what can be judged without a trainer.

    ``wanted``: names that a checkpoint of this version (one with a ``record``) has. Raises ``InputError``.
    """
    absent = [key for key in NEEDED if key not in checkpoint]
    if absent:
        raise InputError(f"resume=True: {path!r} has no {', '.join(absent)}; it can only be a weight")
    absent = sorted(wanted - checkpoint.keys()) if "record" in checkpoint else []
    if absent:
        raise InputError(f"resume=True: {path!r} has no {', '.join(absent)}, which every checkpoint has")
    try:
        for key in ("epoch", "iter", "total_iters", "metrics_bytes", "seed"):
            _check(key, checkpoint, _is_count, "an integer of at least 0", optional=key in ("metrics_bytes", "seed"))
        for key in ("config_hash", "launch"):
            _check(key, checkpoint, lambda value: isinstance(value, str), "a text", optional=True)
        best = checkpoint["best_metric_value"]
        if not _is_number(best) or best != best:
            raise Wrong("best_metric_value", f"{_told(best)}, wanted a number")
        _check_ends(checkpoint)
        for key in ("optimizer", "scheduler"):
            _check(key, checkpoint, lambda value: isinstance(value, dict), "a dict")
        _check("scaler", checkpoint, _is_numbers_by_name, "None or numbers by name", optional=True)
        _check("guard", checkpoint, _is_three_numbers, "None or three numbers", optional=True)
        _check_storage(checkpoint.get("storage", {}))
        _check("hooks", checkpoint, _is_dict_of_dicts, "a dict of dicts", optional=True)
        _check_record(checkpoint.get("record"))
        _check_rng(checkpoint.get("rng", []))
    except Wrong as wrong:
        raise _refusal(path, wrong) from wrong


def check_fits(trainer: DefaultTrainer, checkpoint: Mapping[str, Any], path: str, same_length: bool) -> None:
    """Judge what must be of this trainer's own kind: optimizer, schedule, moving average, scaler, weights.

    ``same_length``: of the run, so that the schedule's settings must be the same. Raises ``InputError``.
    """
    try:
        parts = getattr(trainer.optimizer, "parts", None)  # several optimizers in one: Muon
        state = checkpoint["optimizer"]
        if parts is None:
            _check_optimizer("optimizer", trainer.optimizer, state, checkpoint.get("iter", 1))
        else:
            found = state.get("parts")
            if not isinstance(found, dict) or found.keys() != parts.keys():
                raise Wrong("optimizer", f"it is not {type(trainer.optimizer).__name__}'s over these parameters")
            for name, part in parts.items():
                _check_optimizer(f"optimizer.parts.{name}", part, found[name], checkpoint.get("iter", 1))
        _check_scheduler(trainer.scheduler, checkpoint["scheduler"], checkpoint.get("iter"), same_length)
        if trainer.scaler is not None and checkpoint.get("scaler"):
            _check_keys("scaler", checkpoint["scaler"], trainer.scaler.state_dict())
        if trainer.ema is not None and checkpoint.get("ema"):
            _check_average(checkpoint["ema"], trainer.ema.parameters)
        names = dict(trainer.model.named_parameters())
        for name, value in checkpoint["state_dict"].items():
            if name in names or name.removeprefix("module.") in names:
                _check_no_nan(f"state_dict.{name}", value)
    except Wrong as wrong:
        raise _refusal(path, wrong) from wrong


def usable_schedule(scheduler: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a checked state that this version of the scheduler has."""
    own = scheduler.state_dict()
    return {key: value for key, value in state.items() if key in own}


def refused_by(path: str, entry: str, error: Exception) -> InputError:
    """Of an entry whose owner could not load it."""
    return _refusal(path, Wrong(entry, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"))


def _refusal(path: str, wrong: Wrong) -> InputError:
    entry, what = (" ".join(str(part).split()) for part in wrong.args)
    return InputError(
        f"resume=True: {path!r}: its entry {entry!r} does not fit: {what}; resume=weights begins a new run from "
        f"its weights"
    )


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    text = repr(value)
    return f"got {text if len(text) <= 40 else type(value).__name__}"


def _check(key: str, checkpoint: Mapping[str, Any], test: Any, wanted: str, optional: bool = False) -> None:
    if key not in checkpoint:
        return
    value = checkpoint[key]
    if not (test(value) or (optional and value is None)):
        raise Wrong(key, f"{_told(value)}, wanted {wanted}")


def _is_number(value: Any) -> bool:
    """That a float can hold, NaN and the infinite ones among them."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < LARGEST
    return isinstance(value, float | np.integer | np.floating)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and bool(np.isfinite(float(value)))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_numbers_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and _is_finite(v) for k, v in value.items())


def _is_three_numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_finite, value))


def _is_dict_of_dicts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, dict) for k, v in value.items())


def _check_ends(checkpoint: Mapping[str, Any]) -> None:
    ends = checkpoint.get("ends")
    if ends is None and "record" not in checkpoint:
        return
    if not isinstance(ends, list) or not all(map(_is_count, ends)) or ends[:1] != [0] or ends != sorted(ends):
        raise Wrong("ends", f"{_told(ends)}, wanted rising iterations from 0")
    iteration = checkpoint.get("iter")
    if len(ends) != checkpoint["epoch"] + 1 or not isinstance(iteration, int) or iteration < ends[-1]:
        raise Wrong("ends", f"{len(ends)} ends of epochs do not fit epoch {checkpoint['epoch']}, iteration {iteration}")


def _check_storage(storage: Any) -> None:
    good = isinstance(storage, dict) and all(isinstance(name, str) for name in storage)
    for value in storage.values() if good else ():
        good = good and isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_number, value))
        good = good and _is_count(value[2])
    if not good:
        raise Wrong("storage", f"{_told(storage)}, wanted three numbers by name")


def _check_record(record: Any) -> None:
    if record is None:
        return
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise Wrong("record", f"{_told(record)}, wanted a dict with a dict 'config'")
    if not all(isinstance(key, str) for key in record["config"]):
        raise Wrong("record", "keys of its config that are no texts")
    numbers = [record["config"].get(key, 1) for key in ("epoch", "eval_epoch")]
    if not all(_is_count(number) and number for number in numbers):
        raise Wrong("record", "its epoch and eval_epoch are not both positive integers")
    train = record.get("train")
    if train is not None and not (isinstance(train, dict) and _is_count(train.get("samples"))):
        raise Wrong("record", f"its 'train' is {_told(train)}, wanted the number of samples and their hash")


def _check_no_nan(entry: str, value: Tensor) -> None:
    if value.is_floating_point() and bool(torch.isnan(value).any()):
        raise Wrong(entry, "it is NaN")


def _check_average(averages: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    for name in parameters:
        if name not in averages:
            raise Wrong("ema", f"it has no {name}")
    for name, value in averages.items():
        if name not in parameters:
            raise Wrong(f"ema.{name}", "the model has no such parameter")
        if value.shape != parameters[name].shape or not value.is_floating_point():
            raise Wrong(f"ema.{name}", f"{_told(value)}, wanted shape {tuple(parameters[name].shape)}")
        _check_no_nan(f"ema.{name}", value)


def _check_rng(states: Any) -> None:
    """By generators of their own, which take what a generator takes."""
    if not isinstance(states, list) or not all(isinstance(state, dict) for state in states):
        raise Wrong("rng", f"{_told(states)}, wanted a list with a state for every process")
    for state in states:
        try:
            version, numbers, gauss = state["python"]
            random.Random(0).setstate((version, tuple(numbers), gauss))
            if not (gauss is None or _is_number(gauss)):
                raise ValueError(f"python's third entry is {gauss!r}")
            name, keys, *rest = state["numpy"]
            if not is_plain_tensor(keys):
                raise TypeError(f"numpy's keys: {_told(keys)}")
            np.random.RandomState(0).set_state((name, keys.numpy().astype(np.uint32), *rest))
            if not all(map(_is_finite, rest)):
                raise ValueError(f"numpy's last entries are {rest!r}")
            torch.Generator().set_state(state["torch"].cpu())
            if state["cuda"] is not None:
                if not isinstance(state["cuda"], Tensor):
                    raise TypeError(f"cuda's is {state['cuda']!r}")
                if torch.cuda.is_available():
                    torch.Generator("cuda").set_state(state["cuda"].cpu())
        except (*REFUSED, OverflowError, SystemError) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
            raise Wrong("rng", f"it is no state of the random number generators ({reason})") from error


def _check_keys(entry: str, found: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    if found.keys() != own.keys():
        raise Wrong(entry, f"it has {_names(found)}, wanted {_names(own)}")


def _names(values: Any) -> str:
    names = sorted(str(name) for name in values)
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "nothing"


def _check_optimizer(entry: str, optimizer: torch.optim.Optimizer, state: Any, iteration: int) -> None:
    if not isinstance(state, dict) or not {"state", "param_groups"} <= state.keys():
        raise Wrong(entry, f"{_told(state)}, wanted a dict with 'state' and 'param_groups'")
    groups, own = state["param_groups"], optimizer.state_dict()["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(own):
        number = len(groups) if isinstance(groups, list) else _told(groups)
        raise Wrong(f"{entry}.param_groups", f"{number} groups of parameters, this run has {len(own)}")
    parameters: dict[int, tuple[int, Tensor]] = {}
    for index, (found, mine) in enumerate(zip(groups, own, strict=True)):
        _check_group(f"{entry}.param_groups[{index}]", found, mine)
        for number, parameter in zip(mine["params"], optimizer.param_groups[index]["params"], strict=True):
            parameters[number] = index, parameter
    entries = state["state"]
    if not isinstance(entries, dict) or not all(key in parameters for key in entries):
        raise Wrong(f"{entry}.state", f"{_told(entries)}, wanted the states of {len(parameters)} parameters by number")
    schemas = _schemas(optimizer)
    if not entries and iteration and any(schemas or ()):
        raise Wrong(f"{entry}.state", f"it is empty after {iteration} iterations")
    for number, found in entries.items():
        index, parameter = parameters[number]
        _check_state(f"{entry}.state[{number}]", found, parameter, schemas[index] if schemas is not None else None)


def _check_group(entry: str, found: Any, own: Mapping[str, Any]) -> None:
    numbers = found.get("params") if isinstance(found, dict) else None
    if not isinstance(numbers, list) or not all(map(_is_count, numbers)):
        raise Wrong(entry, f"{_told(found)}, wanted a dict with numbers of parameters, 'params'")
    if found["params"] != own["params"]:
        raise Wrong(entry, f"{len(found['params'])} parameters, this run's has {len(own['params'])}")
    for key, value in own.items():
        if key not in found:
            if key not in NEWER_SETTINGS:
                raise Wrong(entry, f"no {key!r}: another optimizer's, or another schedule's")
        elif key not in ("params", *STEP_SETTINGS) and not (
            _alike(found[key], value) and _in_range(key, found[key], value)
        ):
            raise Wrong(f"{entry}.{key}", f"{_told(found[key])}, wanted one like {value!r}")


def _in_range(key: str, found: Any, own: Any) -> bool:
    """Whether a setting of an optimizer, of the right kind, is one that it may come to: schedules move the floats."""
    if isinstance(own, int):
        return found == own
    if key == "betas":
        return all(0 <= beta < 1 for beta in found)
    return not isinstance(own, float) or (0 if own >= 0 else -LARGEST_SETTING) <= found <= LARGEST_SETTING


def _alike(found: Any, own: Any) -> bool:
    """Whether two settings are of one kind; a number is finite, a text the same."""
    if isinstance(own, list | tuple):
        same_length = isinstance(found, list | tuple) and len(found) == len(own)
        return same_length and all(_alike(a, b) for a, b in zip(found, own, strict=True))
    if isinstance(own, Mapping):
        same_keys = isinstance(found, Mapping) and found.keys() == own.keys()
        return same_keys and all(_alike(found[key], value) for key, value in own.items())
    if own is None or isinstance(own, bool):
        return found is None or isinstance(found, bool)
    if _is_number(own):
        return _is_finite(found) or (_is_number(found) and found == own)
    if isinstance(own, Tensor):
        return is_plain_tensor(found) and found.shape == own.shape
    return isinstance(found, type(own)) and (not isinstance(own, str) or found == own)


def _schemas(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]] | None:
    """For each group what the optimizer keeps of a parameter: name to ``"like"`` (in shape), ``"number"``, ``"other"``.

    Found by one step of an optimizer of the same class and settings over small parameters of their own. None for one
    that cannot be tried in this way.
    """
    groups = [
        {**group, "params": [_small(group["params"][0])] if group["params"] else []} for group in optimizer.param_groups
    ]
    scratch = object.__new__(type(optimizer))
    try:
        scratch.__setstate__({"defaults": optimizer.defaults, "state": defaultdict(dict), "param_groups": groups})
        scratch.step()
    except Exception:  # noqa: BLE001 - an optimizer of someone else's
        return None
    return [
        {name: _kind(value, p) for p in group["params"] for name, value in scratch.state[p].items()}
        for group in scratch.param_groups
    ]


def _small(parameter: Tensor) -> Tensor:
    small = torch.nn.Parameter(
        torch.zeros(tuple(range(2, 2 + parameter.ndim)), dtype=parameter.dtype, device=parameter.device)
    )
    small.grad = torch.zeros_like(small)
    return small


def _kind(value: Any, parameter: Tensor) -> str:
    if isinstance(value, Tensor) and value.shape == parameter.shape and parameter.ndim:
        return "like"
    return "number" if _is_number(value) or (isinstance(value, Tensor) and value.ndim == 0) else "other"


def _check_state(entry: str, found: Any, parameter: Tensor, schema: Mapping[str, str] | None) -> None:
    if not isinstance(found, dict):
        raise Wrong(entry, f"{_told(found)}, wanted a dict")
    if schema is not None:
        _check_keys(entry, found, schema)
    for name, value in found.items():
        kind = (schema or {}).get(name, "other")
        if isinstance(value, Tensor):
            if not is_plain_tensor(value):
                raise Wrong(f"{entry}.{name}", "wanted a dense tensor of real numbers")
            _check_no_nan(f"{entry}.{name}", value)
        if kind == "like" and not (isinstance(value, Tensor) and value.shape == parameter.shape):
            raise Wrong(f"{entry}.{name}", f"{_told(value)}, wanted a tensor of shape {tuple(parameter.shape)}")
        number = value.item() if isinstance(value, Tensor) and value.numel() == 1 and value.ndim == 0 else value
        if kind == "number" and not (_is_finite(number) and number >= 0):
            raise Wrong(f"{entry}.{name}", f"{_told(value)}, wanted a number of at least 0")


def _check_scheduler(scheduler: Any, state: Mapping[str, Any], iteration: Any, same_length: bool) -> None:
    own = scheduler.state_dict()
    private = {key for key in (*own, *state) if isinstance(key, str) and key.startswith("_")} | {"verbose"}
    if {*state} - private != own.keys() - private:
        raise Wrong("scheduler", f"it has {_names({*state} - private)}, wanted {_names(own.keys() - private)}")
    for key, value in own.items():
        if key not in state or (key in CONFIGURED and not same_length):
            continue
        if not _alike(state[key], value):
            raise Wrong(f"scheduler.{key}", f"{_told(state[key])}, wanted one like {_told(value)[4:]}")
        if same_length and key in CONFIGURED and not _equal(state[key], value):
            raise Wrong(f"scheduler.{key}", f"{_told(state[key])}, this run's is {value!r}")
    if isinstance(iteration, int) and _is_number(own.get("last_epoch")) and state["last_epoch"] != iteration:
        raise Wrong("scheduler.last_epoch", f"got {state['last_epoch']!r}, the checkpoint is of iteration {iteration}")


def _equal(found: Any, own: Any) -> bool:
    if isinstance(own, list | tuple):
        return len(found) == len(own) and all(map(_equal, found, own))
    if _is_number(own):
        return abs(float(found) - float(own)) <= 1e-9 * max(abs(float(own)), 1.0)
    return found == own
