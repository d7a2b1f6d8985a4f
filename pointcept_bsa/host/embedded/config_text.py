"""A config as text that can be loaded again, and as plain data for files that carry no code.

Written by hand: mmengine's ``pretty_text`` writes what Python cannot read back (``inf``, ``nan``, numpy's numbers,
paths, keys that are words of the language), and formats it with yapf for a second. Here every value stands as Python's
own literal, and what has none is refused by name.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import LONGEST

INDENT = "    "
WIDTH = 100
MAX_DEPTH = 40  # of dicts and lists in each other; Python reads up to about 90


def plain_values(value: Any, where: str) -> Any:
    """``value`` with numpy's numbers and arrays as Python's numbers and lists, paths and numpy's texts as texts.

    So a run trains with what its ``config.py`` will say. Dicts and lists are changed in place. Raises InputError for
    numbers that Python would not write.
    """
    if isinstance(value, dict):
        for key in list(value):
            plain_values(key, f"{where}: a key")
            found = plain_values(item := dict.__getitem__(value, key), f"{where}.{key}")
            if found is not item:
                value[key] = found
    elif isinstance(value, list):
        value[:] = [plain_values(item, f"{where}.{i}") for i, item in enumerate(value)]
    elif type(value) in (tuple, set, frozenset):
        return type(value)(plain_values(item, where) for item in value)
    elif isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "fiubUS":
        return value.tolist()
    elif isinstance(value, PurePath):
        return str(value)
    elif isinstance(value, int):
        _check_digits(value, where)
    return value


def _check_digits(value: int, where: str) -> None:
    if not _is_writable(value):
        raise InputError(f"{where}: is a number of too many digits, wanted fewer than {LONGEST}")


def _is_writable(value: int | str) -> bool:
    """Whether a number has so few digits that everyone reads it, whether a text is Unicode (half a pair is not)."""
    if isinstance(value, str):
        return value.isascii() or value == value.encode("utf-8", "replace").decode()
    return abs(value) < 10 ** (LONGEST - 1)


def python_text(values: Mapping[str, Any]) -> str:
    """Lines ``key = value`` of a Python file, sorted by key.

    Raises:
        InputError: a value that cannot be written so that it is read as it was, named by its key.
    """
    lines = [f"{key} = {_text(values[key], key, 0)}\n" for key in sorted(values)]
    return "".join(lines)


def json_values(value: Any, where: str) -> Any:
    """``value`` as JSON has it: tuples as lists.

    Raises:
        InputError: a value that is no dict by names, list, text, truth value, finite number or None.
    """
    if value is None or (isinstance(value, str | int) and _is_writable(value)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, dict) and all(isinstance(key, str) and _is_writable(key) for key in value):
        return {key: json_values(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item, f"{where}.{i}") for i, item in enumerate(value)]
    raise InputError(f"{where}={short(value)}: has no form as data, wanted numbers, texts, lists and dicts of them")


def _text(value: Any, where: str, depth: int) -> str:
    """The literal of a value; containers that are too long for a line take a line an item."""
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: is nested more than {MAX_DEPTH} deep, config.py could not be read again")
    kind = type(value)
    if value is None or kind in (bool, int, complex, bytes):
        return _number(value, where)
    if isinstance(value, str):
        return repr(str.__str__(value)).replace("{{", "{\\x7b")  # mmengine replaces {{ ... }} in the text of a config
    if kind is float:
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if isinstance(value, dict):
        return _dict(value, where, depth)
    if kind in (set, frozenset):
        items = sorted(_text(item, where, depth + 1) for item in value)
        text = f"{{{', '.join(items)}}}" if items else "set()"
        return text if kind is set else f"frozenset({text})"
    if isinstance(value, list) or kind is tuple:
        items = [_text(item, f"{where}.{i}", depth + 1) for i, item in enumerate(value)]
        if kind is tuple:
            return _joined("(", items, ",)" if len(items) == 1 else ")", depth)
        return _joined("[", items, "]", depth)
    raise InputError(
        f"{where}={short(value)}: cannot be written into config.py so that it is read again; wanted numbers, texts, "
        "lists and dicts of them, and registered names"
    )


def _number(value: Any, where: str) -> str:
    if isinstance(value, complex) and not (math.isfinite(value.real) and math.isfinite(value.imag)):
        raise InputError(f"{where}={value}: cannot be written into config.py, wanted a finite complex number")
    if isinstance(value, complex):  # its repr is an addition, which loses the sign of a zero
        return f"complex({value.real!r}, {value.imag!r})"
    if isinstance(value, int):
        _check_digits(value, where)
    return repr(value).replace("{{", "{\\x7b")


def _dict(value: dict[Any, Any], where: str, depth: int) -> str:
    keys = sorted(value, key=lambda key: (str(type(key)), str(key)))
    items = {key: _text(dict.__getitem__(value, key), f"{where}.{key}", depth + 1) for key in keys}
    if all(type(key) is str and key.isidentifier() and key.isascii() and not keyword.iskeyword(key) for key in keys):
        return _joined("dict(", [f"{key}={text}" for key, text in items.items()], ")", depth)
    return _joined("{", [f"{_text(key, where, depth + 1)}: {text}" for key, text in items.items()], "}", depth)


def _joined(left: str, items: list[str], right: str, depth: int) -> str:
    short = f"{left}{', '.join(items)}{right}"
    if len(short) + len(INDENT) * depth <= WIDTH and "\n" not in short or not items:
        return short
    inside = "".join(f"{INDENT * (depth + 1)}{item},\n" for item in items)
    return f"{left}\n{inside}{INDENT * depth}{right.lstrip(',')}"


def short(value: Any) -> str:
    """``value`` for a message."""
    try:
        return " ".join(repr(value).split())[:80]
    except Exception:  # noqa: BLE001 - of a class of someone else's, or a number that Python does not write
        return type(value).__name__
