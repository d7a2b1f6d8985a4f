"""The search space: the config's key ``search``.

``search`` maps a name to what may be there::

    search = {
        "optimizer.lr": dict(type="log", low=1e-4, high=1e-2),            # between low and high, by the logarithm
        "scheduler.warmup_ratio": dict(type="linear", low=0.0, high=0.2),
        "model.backbone.depth": dict(type="int", low=4, high=12, step=2),
        "clip_grad": dict(choices=[None, 1.0]),                           # one of these values
        "width": dict(choices={                                           # a choice that sets several keys; free name
            "narrow": {"model.backbone.channels": 32, "model.backbone.num_heads": 4},
            "wide": {"model.backbone.channels": 96, "model.backbone.num_heads": 8},
        }),
    }

An entry with ``only=("BSA-v1m1", ...)`` is for configs whose ``model.backbone`` is of one of these types alone, so
that a base can say what is searched of each network.

A dotted path is a place in the config, or many: ``optimizer.lr`` is one; ``*`` stands for every item of a dict or a
list; at a list a name stands for the items whose ``type`` it is: ``data.*.transform.FourierFeatures.num_bands``.
Numbers index lists.

The config's own values always belong to the space (a range is widened, a choice added), so that the config as it stands
is one of the trials.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.json_file import json_text
from pointcept_bsa.host import DATASETS, HOOKS, LOSSES, MODELS, OPTIMIZERS, SCHEDULERS, TRANSFORMS, Config

KeyPath = tuple[str | int, ...]
DICTS = (Mapping, Config)
REGISTRIES = (MODELS, DATASETS, TRANSFORMS, OPTIMIZERS, SCHEDULERS, LOSSES, HOOKS)
Settings = list[tuple[KeyPath, Any]]
RANGES = ("log", "linear", "int")
UNCHANGED = "as it stands"


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high`` for all of ``key_paths``; ``base`` is the config's own."""

    name: str
    key_paths: tuple[KeyPath, ...]
    type: str
    low: float
    high: float
    step: int
    base: float

    def settings(self, value: Any) -> Settings:
        """What a value sets; nothing where it is the config's own."""
        value = int(value) if self.type == "int" else value if value == self.base else float(f"{value:.4g}")
        return [] if value == self.base else [(place, value) for place in self.key_paths]


@dataclass(frozen=True)
class Choice:
    """``options``: {label: what it sets}; ``base`` is the label of the config's own values."""

    name: str
    options: Mapping[str, Settings]
    base: str

    def settings(self, label: Any) -> Settings:
        """What a label sets; nothing where it is the config's own."""
        return [] if label == self.base else list(self.options[label])


Parameter = Range | Choice


def read_space(cfg: Mapping[str, Any]) -> list[Parameter]:
    """The parameters of ``cfg.search``.

    Raises:
        InputError: there is none, unknown keys, values that are no range or choice.
    """
    search = cfg.get("search")
    if not search:
        raise InputError(
            "search: the config has none, wanted e.g. search={'optimizer.lr': dict(type='log', low=1e-4, high=1e-2)}"
        )
    wanted = {str(name): entry for name, entry in search.items() if _is_of_its_network(cfg, str(name), entry)}
    return [_parameter(cfg, name, _without_only(entry)) for name, entry in wanted.items()]


def settings_of(space: list[Parameter], values: Mapping[str, Any]) -> Settings:
    """What the values of all parameters set."""
    return [setting for parameter in space for setting in parameter.settings(values[parameter.name])]


def base_values(space: list[Parameter]) -> dict[str, Any]:
    """The values of the config as it stands."""
    return {parameter.name: parameter.base for parameter in space}


def _is_of_its_network(cfg: Mapping[str, Any], name: str, entry: Any) -> bool:
    """Whether an entry is for the network of this config. Raises InputError: ``only`` is no list of types."""
    if not isinstance(entry, Mapping) or "only" not in entry:
        return True
    networks = entry["only"]
    if not isinstance(networks, list | tuple) or not all(isinstance(network, str) for network in networks):
        raise InputError(f"search[{name!r}]: got only={networks!r}, wanted a list of types of model.backbone")
    return cfg["model"].get("backbone", {}).get("type") in networks


def _without_only(entry: Any) -> Any:
    return {key: value for key, value in entry.items() if key != "only"} if isinstance(entry, Mapping) else entry


def _parameter(cfg: Mapping[str, Any], name: str, entry: Any) -> Parameter:
    if isinstance(entry, Mapping) and set(entry) == {"choices"} and entry["choices"]:
        choices = entry["choices"]
        if isinstance(choices, Mapping):
            return _labelled(cfg, name, choices)
        if isinstance(choices, list | tuple):
            return _listed(cfg, name, choices)
    if isinstance(entry, Mapping) and entry.get("type") in RANGES and set(entry) - {"step"} == {"type", "low", "high"}:
        return _range(cfg, name, entry)
    raise InputError(
        f"search[{name!r}]: got {_plain(entry)}, wanted dict(type='log'|'linear'|'int', low=A, high=B) or "
        f"dict(choices=[...]) or dict(choices=dict(label={{key: value}}, ...))"
    )


def _range(cfg: Mapping[str, Any], name: str, entry: Mapping[str, Any]) -> Range:
    kind, low, high, step = entry["type"], entry["low"], entry["high"], entry.get("step", 1)
    numbers = int if kind == "int" else int | float
    if not all(isinstance(v, numbers) and not isinstance(v, bool) for v in (low, high)) or not low < high:
        wanted = "whole numbers" if kind == "int" else "numbers"
        raise InputError(f"search[{name!r}]: got low={low!r}, high={high!r}, wanted {wanted} with low < high")
    if not isinstance(step, int) or step < 1 or (step > 1 and kind != "int"):
        raise InputError(f"search[{name!r}]: got step={step!r}, wanted a positive integer, and type='int'")
    if kind == "log" and low <= 0:
        raise InputError(f"search[{name!r}]: got low={low!r}, wanted above 0 with type='log'")
    found = key_paths(cfg, name)
    base = _common(cfg, name, found)
    if not isinstance(base, numbers) or isinstance(base, bool) or (kind == "log" and base <= 0):
        raise InputError(
            f"search[{name!r}]: the config's own value is {base!r}, which no range of type {kind!r} holds; "
            f"wanted choices=[{base!r}, ...]"
        )
    low, high = min(low, base), max(high, base)
    if kind == "int" and (base - low) % step:
        raise InputError(f"search[{name!r}]: steps of {step} from {low} leave out the config's own value, {base}")
    return Range(name, tuple(found), type=kind, low=low, high=high, step=step, base=base)


def _listed(cfg: Mapping[str, Any], name: str, choices: Any) -> Choice:
    found = key_paths(cfg, name)
    base = _common(cfg, name, found)
    values = list(choices) if any(_same(base, value) for value in choices) else [base, *choices]
    options = {_plain(value): [(place, value) for place in found] for value in values}
    if len(options) < len(values):
        raise InputError(f"search[{name!r}]: got choices {_plain(list(choices))}, wanted each of them once")
    return Choice(name, options, next(_plain(value) for value in values if _same(base, value)))


def _labelled(cfg: Mapping[str, Any], name: str, choices: Mapping[str, Any]) -> Choice:
    options: dict[str, Settings] = {}
    for label, keys in choices.items():
        if not isinstance(keys, Mapping):
            raise InputError(f"search[{name!r}]: choice {label!r} is {_plain(keys)}, wanted dict of key: value")
        options[str(label)] = [(place, value) for key, value in keys.items() for place in key_paths(cfg, str(key))]
    own = [label for label, set_ in options.items() if all(_same(value_at(cfg, p), v) for p, v in set_)]
    if not own:
        options = {UNCHANGED: [], **options}
    return Choice(name, options, own[0] if own else UNCHANGED)


def _common(cfg: Mapping[str, Any], name: str, found: list[KeyPath]) -> Any:
    values = [value_at(cfg, place) for place in found]
    for place, value in zip(found, values, strict=True):
        if not _same(value, values[0]):
            first, other = (".".join(map(str, p)) for p in (found[0], place))
            raise InputError(f"search[{name!r}]: {first} is {values[0]!r} and {other} is {value!r}; wanted one value")
    return values[0]


def _same(a: Any, b: Any) -> bool:
    """Equality, where True is not 1, and a tuple is the list of the same items."""
    return _plain(a) == _plain(b) if isinstance(a, bool) or isinstance(b, bool) else _listlike(a) == _listlike(b)


def _listlike(value: Any) -> Any:
    return [_listlike(item) for item in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> str:
    """A short text of a value, the same in every process."""
    return json_text(value, indent=None).strip() if isinstance(value, Mapping | list | tuple) else repr(value)


# Places in a config.


def key_paths(cfg: Any, path: str) -> list[KeyPath]:
    """The places that ``path`` names; the last key may be absent where the class that is built there takes it.

    Raises:
        InputError: a key that the config does not have.
    """
    found = list(_walk(cfg, path.split("."), (), path))
    if not found:
        raise InputError(f"search: {path!r} names nothing in the config")
    return found


def _walk(node: Any, keys: list[str], before: KeyPath, path: str) -> Iterator[KeyPath]:
    if not keys:
        yield before
        return
    key, rest = keys[0], keys[1:]
    steps = _steps(node, key)
    if not steps and isinstance(node, DICTS) and not rest and key in _arguments(node):
        steps = [key]
        yield (*before, key)
        return
    if not steps:
        known = _names(node)
        where = ".".join(map(str, before)) or "the config"
        raise InputError(
            f"search: got {path!r}, but {where} has no {key!r}{nearest(key, known) or f'; it has {sorted(known)}'}"
        )
    if key == "*" and rest:  # beside the parts of ``data`` there may be numbers and lists of names
        steps = [step for step in steps if isinstance(node[step], DICTS)] or steps
    for step in steps:
        yield from _walk(node[step], rest, (*before, step), path)


def _steps(node: Any, key: str) -> list[Any]:
    """Keys or indices of the items of ``node`` that ``key`` stands for."""
    if isinstance(node, DICTS):
        return list(node) if key == "*" else [key] if key in node else []
    if isinstance(node, list | tuple):
        if key.isdecimal():
            return [int(key)] if int(key) < len(node) else []
        kinds = [item.get("type") if isinstance(item, Mapping) else None for item in node]
        return [index for index, kind in enumerate(kinds) if key in ("*", kind)]
    return []


def _names(node: Any) -> set[str]:
    if isinstance(node, DICTS):
        return {str(key) for key in node} | set(_arguments(node))
    if isinstance(node, list | tuple):
        return {str(item["type"]) for item in node if isinstance(item, Mapping) and "type" in item}
    return set()


def _arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    """{argument: default} of the class that ``node`` builds; empty where it builds none."""
    built = next((r.get(node["type"]) for r in REGISTRIES if "type" in node and r.get(node["type"])), None)
    if built is None:
        return {}
    parameters = inspect.signature(built).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def value_at(cfg: Any, place: KeyPath) -> Any:
    """What stands there; the class's default where nothing does."""
    *way, last = place
    node = cfg
    for step in way:
        node = node[step]
    if isinstance(node, DICTS) and last not in node:
        return _arguments(node)[str(last)]
    return node[last]


def put(cfg: Any, place: KeyPath, value: Any) -> None:
    """Write ``value`` there; a tuple on the way becomes a list."""
    node = cfg
    for step, following in zip(place[:-1], place[1:], strict=True):
        if isinstance(node[step], tuple) and isinstance(following, int):
            node[step] = list(node[step])
        node = node[step]
    node[place[-1]] = value
