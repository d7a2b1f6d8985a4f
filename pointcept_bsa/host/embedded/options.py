"""``--options``: words KEY=VALUE into config values, or one line that says which word is wrong."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction as MmengineAction

from pointcept_bsa.errors import InputError

__all__ = ["DictAction", "parse_options"]

CLOSED = "wanted a value whose brackets are closed, as in [1,2]"


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """The values that ``words`` name, read as mmengine reads them. Raises ``InputError`` for any other word."""
    options = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key or key != key.strip() or not all(key.split(".")):
            raise InputError(f"--options: got {word!r}, wanted KEY=VALUE without spaces around the sign, as in a.b=1")
        if value.lstrip("[( ").startswith("{"):
            raise InputError(f"--options {word}: wanted the values of a dict one by one, as in {key}.a=1 {key}.b=2")
        if value.startswith(("(", "[")) and any(value.count(a) != value.count(b) for a, b in ("()", "[]")):
            raise InputError(f"--options {word}: {CLOSED}")
        try:
            options[key] = MmengineAction._parse_iterable(value)
        except (AssertionError, ValueError, IndexError, RecursionError) as error:
            raise InputError(f"--options {word}: {CLOSED}") from error
    return options


class DictAction(argparse.Action):
    """The argparse action of ``--options``; given twice, the later value of a key counts."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Put the values into ``namespace``. Raises ``InputError``."""
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest, None) or {}), **parse_options(values)})
