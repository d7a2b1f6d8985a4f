"""The best trial as a config file that inherits from its base and has only what differs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pointcept_bsa.arguments.carried import config_path
from pointcept_bsa.files.atomic import write_text
from pointcept_bsa.host import Config


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
