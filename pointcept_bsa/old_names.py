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
DATASETS = {"PointFieldDataset": "CustomFieldDataset", "PointLabelDataset": "CustomLabelDataset"}  # as registered
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


def present(key: str, value: Any) -> tuple[str, Any]:
    """A dotted key of a config and its value under the names of now.

    ``model.backbone.checkpoint`` becomes ``model.backbone.recompute``; so with registered names, values of ``...type``.
    """
    found = _OF_BACKBONE.fullmatch(key)
    key = key if found is None else found[1] + ARGUMENTS[found[2]]
    is_type = key.rpartition(".")[2] in ("type", "dataset_type") and isinstance(value, str)
    return key, DATASETS.get(value, value) if is_type else value
