"""JSON, read strictly and written so that everyone can read it (RFC 8259).

A number that is not finite has no JSON form: it is written as null. Files of earlier versions hold the words NaN and
Infinity; readers of a run's own files take these for null, too (``words_as_null``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_text

LONGEST = 300  # digits of a whole number: others could not be counted with


def parse_json(text: str | bytes, where: object, words_as_null: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        text: UTF-8 if bytes, with or without a byte order mark.
        where: what an error names.
        words_as_null: take NaN, Infinity and numbers too large for float64 for null instead of refusing them.

    Raises:
        InputError: not JSON, a name twice in one object, a text that is no Unicode, a number that is not finite.
    """

    def word(name: str) -> None:
        if not words_as_null:
            raise ValueError(f"it holds {name[:40]}, which is no number of JSON")

    def number(digits: str) -> float | None:
        value = float(digits)
        if math.isfinite(value):
            return value
        word(digits)
        return None

    def whole(digits: str) -> int | None:
        return int(digits) if len(digits) <= LONGEST else word(digits)  # type: ignore[func-returns-value]

    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(text, parse_constant=word, parse_float=number, parse_int=whole, object_pairs_hook=_object)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
        return value
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON, it cannot be read ({' '.join(str(error).split())[:150]})") from None


def read_json(path: str | Path, words_as_null: bool = False) -> Any:
    """The value in a file; see :func:`parse_json`. Raises InputError, also for a file that cannot be read."""
    return parse_json(_read(Path(path)), path, words_as_null)


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines; a last one that was cut short by an interruption is left out.

    NaN counts as null. Raises InputError for any other line that is no JSON object.
    """
    lines = _read(Path(path)).split(b"\n")
    ended = lines[-1] == b""
    lines = lines[:-1] if ended else lines
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = parse_json(line, f"{path}: line {number}", words_as_null=True)
            if not isinstance(record, dict):
                raise InputError(f"{path}: line {number}: is no object, wanted a record")
            records.append(record)
        except InputError:
            if number < len(lines):
                raise
    return records


def plain(value: Any) -> Any:
    """``value`` in the types of JSON: numbers of numpy become Python's, arrays and tuples lists, sets sorted lists.

    What is not finite becomes None; what has no JSON form (a path, a type) its text. Texts that are no Unicode (bytes
    of file names) get ``?`` for what is not.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return int(value) if abs(value) < 10 ** (LONGEST - 1) else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Set):
        return sorted((plain(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return plain(str(value))


def json_text(value: Any, indent: int | None = 1) -> str:
    """JSON of :func:`plain` of ``value``, ending in a line end; ``indent=None``: on one line."""
    return json.dumps(plain(value), indent=indent, allow_nan=False) + "\n"


def write_json(path: str | Path, content: Any) -> None:
    """Write :func:`json_text` whole or not at all. Raises InputError where it cannot be written."""
    write_text(path, json_text(content))


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise InputError(f"{path}: is no file, wanted JSON")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {double[:40]!r} comes twice in one object")
    return found
