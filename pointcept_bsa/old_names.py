"""Names of before, which configs and saved runs may still have, each with the name it has now."""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from pointcept_bsa.errors import InputError

ARGUMENTS = {"checkpoint": "recompute"}  # of backbones: a checkpoint is a file of weights
_OF_BACKBONE = re.compile(rf"(.*\bbackbone\.)({'|'.join(ARGUMENTS)})")


def takes_old_arguments(constructor: Callable[..., None]) -> Callable[..., None]:
    """A constructor that also takes the old names of its arguments, with a ``FutureWarning``.

    Raises:
        InputError: both names of one argument are given.
    """
    known = {old: new for old, new in ARGUMENTS.items() if new in inspect.signature(constructor).parameters}
    if not known:
        return constructor

    @functools.wraps(constructor)
    def construct(self: Any, *values: Any, **arguments: Any) -> None:
        for old in known.keys() & arguments.keys():
            new, value = known[old], arguments.pop(old)
            if new in arguments:
                raise InputError(f"{old}: got {value!r} beside {new}={arguments[new]!r}, wanted {new} alone")
            message = f"{type(self).__name__}: {old}={value!r} is the old name of {new}, write {new}={value!r}"
            warnings.warn(message, FutureWarning, stacklevel=2)  # a DeprecationWarning is not shown to users
            arguments[new] = value
        constructor(self, *values, **arguments)

    return construct


def old_arguments(arguments: list[str]) -> list[str]:
    """The old names that a class with these ``arguments`` takes, too."""
    return [old for old, new in ARGUMENTS.items() if new in arguments]


def argument(cfg: Mapping[str, Any], name: str, default: Any) -> Any:
    """What the config of a backbone says of its argument ``name``, under this or an old name."""
    found = [cfg[key] for key in (name, *old_arguments([name])) if key in cfg]
    return found[0] if found else default


def present_key(key: str) -> str:
    """A dotted key of a config with the name of now: ``...backbone.checkpoint`` becomes ``...backbone.recompute``."""
    found = _OF_BACKBONE.fullmatch(key)
    return key if found is None else found[1] + ARGUMENTS[found[2]]
