"""Which places a user has named: by the words of the command line, and by the values of a config.

A file that is missing there is the user's mistake; any other one is a fault of the program.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_paths: set[str] = set()


def note_paths(values: Any) -> None:
    """Remember all texts in ``values`` (nested dicts and lists) as places that were named."""
    if isinstance(values, str | os.PathLike):
        if values:
            _paths.add(os.path.abspath(values))
    elif isinstance(values, Mapping):
        note_paths(list(values.values()))
    elif isinstance(values, list | tuple | set):
        for value in values:
            note_paths(value)


def is_given(path: str | bytes | int | os.PathLike[str]) -> bool:
    """Whether ``path`` was named, lies below what was, or above it. No file of the package itself was."""
    if isinstance(path, int):  # a descriptor
        return False
    place = os.path.abspath(os.fsdecode(path))
    return not _below(place, PACKAGE) and any(_below(place, given) or _below(given, place) for given in _paths)


def _below(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
