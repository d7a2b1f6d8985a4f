"""Command lines: what the parsers of all tools share. Imports nothing heavy, so that ``--help`` answers at once.

A mistake in a command line is raised as ``InputError``, as all others are.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from pointcept_bsa.arguments.given import note_paths
from pointcept_bsa.errors import InputError

__all__ = ["DictAction", "Parser", "parse_options"]

CLOSED = "wanted a value whose brackets are closed, as in [1,2]"
SPACE = "\0"  # stands for a space while mmengine reads, which drops all of them; no command line can hold it


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are told as all others: raised as ``InputError``."""

    def error(self, message: str) -> NoReturn:
        """Raise ``InputError``."""
        raise InputError(f"{message} (see --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; texts among the values count as places that the user has named."""
        known, rest = super().parse_known_args(args, namespace)
        note_paths([vars(known), rest])
        return known, rest


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """The values of ``--options`` that ``words`` name, read as mmengine reads them, but for texts.

    A text keeps the spaces within it, and one that begins with ``~`` is a place in the user's home.
    Raises ``InputError`` for a word that is not KEY=VALUE.
    """
    options = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key or key != key.strip() or not all(key.split(".")):
            raise InputError(f"--options: got {word!r}, wanted KEY=VALUE without spaces around the sign, as in a.b=1")
        if value.lstrip("[( ").startswith(("{", "dict(")):
            raise InputError(f"--options {word}: wanted the values of a dict one by one, as in {key}.a=1 {key}.b=2")
        if value.startswith(("(", "[")) and any(value.count(a) != value.count(b) for a, b in ("()", "[]")):
            raise InputError(f"--options {word}: {CLOSED}")
        try:
            options[key] = _read(value)
        except (AssertionError, ValueError, IndexError, RecursionError) as error:
            raise InputError(f"--options {word}: {CLOSED}") from error
    return options


def _read(value: str) -> Any:
    """Numbers, words, lists and tuples of an option, as mmengine's; see ``parse_options`` for texts."""
    from mmengine.config import DictAction as MmengineAction

    value = value.strip()
    if value.startswith(("(", "[")) or "," in value:  # spaces beside these signs belong to no item
        value = re.sub(r"(?<=[,(\[])\s+|\s+(?=[,)\]])", "", value)
    return _texts(MmengineAction._parse_iterable(value.replace(" ", SPACE)))


def _texts(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_texts(item) for item in value)
    return os.path.expanduser(value.replace(SPACE, " ").strip()) if isinstance(value, str) else value


class DictAction(argparse.Action):
    """The argparse action of ``--options``; given twice, the later value of a key counts."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Put the values into ``namespace``. Raises ``InputError``."""
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest, None) or {}), **parse_options(values)})
