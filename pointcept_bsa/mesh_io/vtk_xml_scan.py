"""The markup of a VTK XML file of any size, without the numbers that lie in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.joined_file import JoinedFile

WINDOW = 1 << 20
MOST = 1 << 26  # bytes of markup
ARRAY = rb"""<(?:DataArray|Array)\b(?:[^>"']|"[^"]*"|'[^']*')*>"""
NEXT = re.compile(ARRAY + rb"|(<AppendedData\b[^>]*>\s*_)")


class Markup(NamedTuple):
    """What is left of a file without its numbers.

    ``contents``: for each array of ``text``, in order, where its text begins, and where that ends. ``appended``: where
    the data behind the markup begin, and the element that says how they are written.
    """

    text: bytes
    contents: list[tuple[int, int]]
    appended: tuple[int, bytes] | None


def scan(file: JoinedFile, where: object, length: Callable[[bytes, bytes, int], int]) -> Markup:
    """Find the markup.

    Args:
        length: the markup so far, the tag of an array and where its text begins -> how many bytes of text there are at
            least, so that they need not be read.

    Raises:
        InputError: ends within an array, or more markup than any file has.
    """
    pieces: list[bytes] = []
    contents: list[tuple[int, int]] = []
    position = kept = 0
    while True:
        window = file.read(position, WINDOW)
        found = NEXT.search(window)
        if found is None:
            cut = window.rfind(b"<") if len(window) == WINDOW else len(window)
            if cut <= 0 and window:
                raise InputError(f"{where}: is no XML: has a tag, or a text, of more than {WINDOW} bytes")
            pieces.append(window[:cut])
            position, kept = position + cut, kept + cut
            if len(window) < WINDOW:
                return Markup(b"".join(pieces), contents, None)
        elif found.group(1):
            pieces += [window[: found.start()], b"</VTKFile>"]
            return Markup(b"".join(pieces), contents, (position + found.end(), found.group(1)))
        else:
            pieces.append(window[: found.end()])
            position, kept = position + found.end(), kept + found.end()
            end = position
            if not found.group().endswith(b"/>"):
                end = _next_tag(file, position + length(pieces[0], found.group(), position), where)
            contents.append((position, end))
            position = end
        if kept > MOST:
            raise InputError(f"{where}: has more than {MOST} bytes of markup, wanted the numbers within DataArrays")


def _next_tag(file: JoinedFile, position: int, where: object) -> int:
    while window := file.read(position, WINDOW):
        found = window.find(b"<")
        if found >= 0:
            return position + found
        position += len(window)
    raise InputError(f"{where}: ends within an array: truncated")
