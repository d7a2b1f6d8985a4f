"""Places in a config by dotted paths, for many places at once.

``optimizer.lr`` is one place. ``*`` stands for every item of a dict or a list; at a list a name stands for the items
whose ``type`` it is: ``data.*.transform.FourierFeatures.num_bands``. Numbers index lists.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import DATASETS, HOOKS, LOSSES, MODELS, OPTIMIZERS, SCHEDULERS, TRANSFORMS, Config

KeyPath = tuple[str | int, ...]
DICTS = (Mapping, Config)
REGISTRIES = (MODELS, DATASETS, TRANSFORMS, OPTIMIZERS, SCHEDULERS, LOSSES, HOOKS)


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
