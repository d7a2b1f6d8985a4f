"""The one exception for a user's mistake, and the hint that goes with a misspelt name."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["InputError", "nearest", "place_error", "raised_message"]


class InputError(ValueError):
    """A mistake in a config, an argument, a path or a data file.

    The message is one line: the argument, the value received, the value wanted. Line ends that a value brings in
    become spaces. The tools print it as ``error: <message>`` and exit with code 2, without a stack trace.
    """

    def __init__(self, message: object) -> None:
        super().__init__(" ".join(raised_message(str(message)).splitlines()))


def raised_message(text: str) -> str:
    """The message of an error that torch has brought from a loading process, without the trace that it puts before."""
    return re.split(r"\n[\w.]*Error: ", text)[-1] if "Original Traceback" in text else text


# Of a place that the user named; other numbers are for the program to handle.
_PLACE = {"ENOENT", "EEXIST", "ENOTDIR", "EISDIR", "EACCES", "EPERM", "EROFS", "ENAMETOOLONG", "ELOOP", "ENOTEMPTY"}
_SPACE = {"ENOSPC", "EDQUOT", "EFBIG", "EIO"}


def place_error(error: OSError, is_given: Callable[[Any], bool]) -> InputError | None:
    """``error`` as a user's mistake if it tells of a file, folder or disk that cannot be used, else None.

    That a file is not there is one only for a path that ``is_given``, as the user's names are.
    """
    name = errno.errorcode.get(error.errno or 0)
    if name == "ENOENT" and error.filename is not None and not is_given(error.filename):
        return None
    if name in _SPACE or (name in _PLACE and error.filename is not None):
        where = f"{error.filename}: " if error.filename is not None else ""
        return InputError(f"{where}cannot be read or written ({error.strerror})")
    return None


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest of ``names``, or an empty string if none is close."""
    close = difflib.get_close_matches(str(name), [str(n) for n in names], n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
