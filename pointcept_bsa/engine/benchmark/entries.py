"""What is compared: configs, each with a name and options of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pointcept_bsa.arguments.carried import config_names, config_path
from pointcept_bsa.errors import InputError, nearest

Loader = Callable[[str, Sequence[str]], Mapping[str, Any]]  # (path, key=value texts) -> config
ALL = "all"
DATA_SET = "shapenet_car"  # whose configs stand for their backbones: every backbone has one


@dataclass(frozen=True)
class Entry:
    """One config of the comparison; ``options`` are texts ``key=value`` that apply to it alone."""

    name: str
    path: str
    options: tuple[str, ...] = ()


def parse_entry(text: str, argument: str = "--config") -> Entry:
    """Read ``[NAME=]PATH[:key=value,...]``.

    A comma starts a new option only where a key and ``=`` follow it, so lists need no quotes. The default name is the
    last folder and the file, ``shapenet_car/bsa``, with the options in brackets.
    """
    head, colon, tail = text.partition(":")
    name, equals, path = head.partition("=")
    if not equals:
        name, path = "", head
    options = tuple(re.split(r",(?=[\w.]+=)", tail)) if colon else ()
    check_options(options, f"{argument} {text!r}")
    if not path or (equals and not name):
        raise InputError(f"{argument} {text!r}: wanted [NAME=]PATH[:key=value,...]")
    return Entry(name or _default_name(path, options), path, options)


def check_options(options: Sequence[str], argument: str) -> None:
    """Raise InputError unless every option is ``key=value``."""
    for option in options:
        if not option.partition("=")[0] or "=" not in option:
            raise InputError(f"{argument}: got the option {option!r}, wanted key=value")


def _default_name(path: str, options: Sequence[str]) -> str:
    name = "/".join(os.path.splitext(path)[0].split(os.sep)[-2:])
    return f"{name}[{','.join(option.removeprefix('model.backbone.') for option in options)}]" if options else name


def parse_entries(texts: Sequence[str], baseline: str | None) -> tuple[list[Entry], str | None]:
    """The entries, and the name of the baseline among them.

    ``baseline`` is the name of an entry, or an entry as in ``texts``: the same one, or another, which then comes first.
    """
    entries = [parse_entry(text) for text in texts]
    name = baseline
    if baseline is not None and baseline not in [entry.name for entry in entries]:
        wanted = parse_entry(baseline, "--baseline")
        same = [e for e in entries if (e.path, e.options) == (wanted.path, wanted.options)]
        if not same and not os.path.isfile(config_path(wanted.path)):
            names = [entry.name for entry in entries]
            raise InputError(f"--baseline {baseline!r}: neither a file nor one of {names}{nearest(baseline, names)}")
        if not same:
            entries.insert(0, wanted)
        name = same[0].name if same else wanted.name
    seen = [entry.name for entry in entries]
    for each in seen:
        if seen.count(each) > 1:
            raise InputError(f"--config: the name {each!r} stands for two of them, wanted NAME=PATH to tell them apart")
    return entries, name


def backbone_configs(names: Sequence[str], load: Loader) -> list[str]:
    """Paths of configs of ``DATA_SET``, one for each registered name of a backbone, or one for each backbone there is.

    Of several configs with the same backbone the first by name counts, ``bsa`` before ``bsa_group_compression``.

    Raises:
        InputError: a name that no config has.
    """
    if not names:
        return []
    paths = [f"configs/{name}.py" for name in config_names() if name.startswith(f"{DATA_SET}/")]
    found: dict[str, str] = {}
    for path in paths:
        found.setdefault(load(path, [])["model"]["backbone"]["type"], path)
    known = [ALL, *found]
    for name in names:
        if name not in known:
            raise InputError(f"--backbones: got {name!r}, wanted one or more of {known}{nearest(name, known)}")
    return list(found.values()) if ALL in names else [found[name] for name in dict.fromkeys(names)]
