"""The one exception for a user's mistake, and the hint that goes with a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in a config, an argument, a path or a data file.

    The message is one line: the argument, the value received, the value wanted.
    The tools print it as ``error: <message>`` and exit with code 2, without a stack trace.
    """


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest of ``names``, or an empty string if none is close."""
    close = difflib.get_close_matches(str(name), [str(n) for n in names], n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
