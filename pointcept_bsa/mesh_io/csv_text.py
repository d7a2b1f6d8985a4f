"""The text of a table: the line with the names of its columns, what separates them, and its rows as numbers.

A file is read by blocks of lines, by numpy's C parser; lines that it refuses are looked at one by one, for cells
without a value, comments and what an error is about.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.csv_columns import Columns, columns_of
from pointcept_bsa.mesh_io.source import MAX_BYTES, decoded

BLOCK = 1 << 22  # characters read at once
MAX_LINE = 1 << 16  # characters
MAX_COLUMNS = 1000
HEAD = 200  # lines in which the names are looked for
SEPARATORS = (",", ";", "\t", " ")
COMMENTS = ("#", "%", "//")
DATA = "[data]"  # of CFX: after it come the names
MISSING = frozenset(
    ("", "null", "na", "n/a", "-nan", "nan(ind)", "-nan(ind)", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind")
)
# possessive, so that many spaces take no time
HOLES = r"(?:^(?=[ ]*+(?:null[ ]*+)?{0})|(?<={0}))[ ]*+(?:null[ ]*+)?(?={0}|$)"
DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")
WANTED = "a line of column names with x, y (and z), X [ m ], x-coordinate or Points:0 and so on"


class Header(NamedTuple):
    """``line``: number of the line with the names, from 0; ``names`` as the file has them, without outer spaces."""

    line: int
    separator: str
    names: tuple[str, ...]
    columns: Columns


def open_table(path: Path) -> TextIO:
    """Open a text in UTF-8, UTF-16 with a byte order mark or Latin-1; line ends of any system.

    Raises:
        InputError: no file, more than ``MAX_BYTES``, no right to read.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: is no file, wanted a table of points")
        if (size := os.path.getsize(path)) > MAX_BYTES:
            raise InputError(f"{path}: has {size} bytes, wanted at most {MAX_BYTES}")
        with path.open("rb") as file:
            wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        # bytes of other encodings are kept apart for the names, see find_header
        encoding, errors = ("utf-16", "replace") if wide else ("utf-8-sig", "surrogateescape")
        return path.open(encoding=encoding, errors=errors, newline=None)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a table of points") from None


def line_blocks(file: TextIO, where: object) -> Iterator[list[str]]:
    """The lines of a text, many at a time. Raises ``InputError`` for a line that no table has, or a disk that fails."""
    rest = ""
    while True:
        try:
            text = file.read(BLOCK)
        except OSError as error:
            raise InputError(f"{where}: cannot be read ({error.strerror}), wanted a table of points") from None
        lines = (rest + text).split("\n")
        rest = lines.pop() if text else ""
        if len(rest) > MAX_LINE:
            raise InputError(f"{where}: has a line of more than {MAX_LINE} characters, wanted a table, a row a point")
        if lines:
            yield lines
        if not text:
            return


def find_header(lines: Sequence[str], where: object) -> Header:
    """The first of the first lines that names coordinates and is followed by a row, if there are rows.

    Titles and comments may come before; the names may be in a comment.

    Raises:
        InputError: there is none.
    """
    head = list(lines[:HEAD])
    marks = [number for number, line in enumerate(head) if line.strip().lower() == DATA]
    start = marks[0] + 1 if marks else 0
    found = [header for number in range(start, len(head)) for header in _headers(head, number)]
    header = next((header for header in found if _is_row(_following(lines, header), header)), None)
    if header is None and not found:
        raise InputError(f"{where}: {_first_line(head[start:])}, wanted {WANTED}")
    return header or found[0]


def split(line: str, separator: str) -> list[str]:
    """The cells of a line without the spaces around them. Raises ``csv.Error`` for a cell of absurd length."""
    if separator == " ":
        line = re.sub(r"\s", " ", line).strip()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]


def is_number(cell: str) -> bool:
    """Whether a cell is a number as numpy reads it."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.lower() in MISSING


class Rows:
    """Rows under a header as numbers.

    Args:
        header: what is above.
        lines: some of the first rows, which tell columns of text.
        where: what an error names.

    Attributes:
        texts: columns of text, which are not read.
        section: the line that ended the table, as ``[Faces]`` of CFX; None so far.
    """

    def __init__(self, header: Header, lines: Sequence[str], where: object) -> None:
        self.header, self.where = header, where
        self.section: str | None = None
        self.texts = self._texts(lines)
        self.numbers = [column for column in range(len(header.names)) if column not in self.texts]
        kinds = ["U1" if column in self.texts else "f8" for column in range(len(header.names))]
        self._holes = re.compile(HOLES.format(header.separator), re.IGNORECASE | re.MULTILINE)
        self._dtype = np.dtype([(f"c{column}", kind) for column, kind in enumerate(kinds)])

    def parse(self, lines: Sequence[str], number: int) -> list[np.ndarray]:
        """The columns ``numbers`` (n,) of rows; ``number``: of the first of the lines, from 1.

        Raises:
            InputError: a row of more or fewer columns than the header has, a cell that is no number.
        """
        table = self._table(lines)
        if table is None and self.header.separator != " ":
            table = self._table(self._holes.sub("nan", "\n".join(lines)).split("\n"))
        if table is None:
            return self._parse_one_by_one(lines, number)
        return [np.ascontiguousarray(table[f"c{column}"]) for column in self.numbers]

    def _table(self, lines: Sequence[str]) -> np.ndarray | None:
        """Rows at once; None if a line is none."""
        separator = None if self.header.separator == " " else self.header.separator
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # no data
                table = np.loadtxt(
                    lines, self._dtype, comments=None, delimiter=separator, ndmin=1, encoding=None, quotechar='"'
                )
        except ValueError:
            return None
        return table if len(table) == sum(map(bool, lines)) else None  # fewer: a quote that has no end on its line

    def _parse_one_by_one(self, lines: Sequence[str], start: int) -> list[np.ndarray]:
        rows: list[list[float]] = []
        for number, line in enumerate(lines, start):
            text = line.strip()
            if text.startswith("[") and text.endswith("]"):
                self.section = text[:60]
                break
            if not text or text.startswith(COMMENTS):
                continue
            try:
                cells = split(line, self.header.separator)
            except csv.Error as error:
                raise InputError(f"{self.where}: line {number}: is no row ({error})") from None
            if len(cells) != len(self.header.names):
                raise InputError(
                    f"{self.where}: line {number} has {len(cells)} columns, wanted {len(self.header.names)} as in the "
                    f"line of names ({', '.join(self.header.names)[:80]})"
                )
            rows.append([self._number(cells[column], column, number) for column in self.numbers])
        return list(np.array(rows, np.float64).reshape(len(rows), len(self.numbers)).T)

    def _number(self, cell: str, column: int, number: int) -> float:
        if is_missing(cell):
            return np.nan
        if is_number(cell):
            return float(cell)
        wanted = "a number"
        if DECIMAL_COMMA.fullmatch(cell):
            wanted += " with a decimal point"
        name = self.header.names[column]
        raise InputError(f"{self.where}: line {number}: column {name[:80]!r} is {cell[:40]!r}, wanted {wanted}")

    def _texts(self, lines: Sequence[str]) -> frozenset[int]:
        """Columns, other than coordinates, whose first cell with a value is a text."""
        names, columns = self.header.names, self.header.columns
        unknown = set(range(len(names))) - {column for own in columns.axes for column in own}
        texts = set()
        for line in lines:
            try:
                cells = split(line, self.header.separator)
            except csv.Error:  # told when it is read
                cells = []
            if len(cells) != len(names) or line.strip().startswith(COMMENTS):
                continue
            for column in [column for column in unknown if not is_missing(cells[column])]:
                unknown.remove(column)
                if not is_number(cells[column]) and not DECIMAL_COMMA.fullmatch(cells[column]):
                    texts.add(column)
        return frozenset(texts)


def _headers(lines: Sequence[str], number: int) -> Iterator[Header]:
    """The ways in which a line names coordinates, by separator."""
    text = lines[number].strip(" ").lstrip("#%/ ")
    for separator in SEPARATORS if len(text) <= MAX_LINE else ():
        if text.count(separator) >= (MAX_LINE if separator == " " else MAX_COLUMNS):
            continue
        try:
            cells = split(text, separator)
        except csv.Error:
            continue
        names = tuple(decoded(cell.encode("utf-8", "surrogateescape")).strip() for cell in cells)
        columns = columns_of(names) if 2 <= len(names) <= MAX_COLUMNS else None
        if columns is not None:
            yield Header(number, separator, names, columns)


def _following(lines: Sequence[str], header: Header) -> str:
    """The next line that is no comment; "" at the end."""
    rest = (line for line in lines[header.line + 1 : header.line + HEAD] if line.strip())
    return next((line for line in rest if not line.strip().startswith(COMMENTS)), "")


def _is_row(line: str, header: Header) -> bool:
    try:
        cells = split(line, header.separator)
    except csv.Error:
        return False
    places = [column for own in header.columns.axes for column in own]
    return len(cells) == len(header.names) and all(is_number(cells[c]) or is_missing(cells[c]) for c in places)


def _first_line(lines: Sequence[str]) -> str:
    """What a table without names begins with."""
    first = next((line.strip() for line in lines if line.strip()), None)
    if first is None:
        return "is empty"
    try:
        most = max((split(first[:MAX_LINE], separator) for separator in SEPARATORS), key=len)
    except csv.Error:
        most = []
    if len(most) > MAX_COLUMNS:
        return f"begins with a line of {len(most)} columns, more than {MAX_COLUMNS}"
    if most and all(is_number(cell) for cell in most):
        return f"begins with a row of {len(most)} numbers"
    printable = "".join(letter if letter.isprintable() else "?" for letter in first[:80])
    return f"names no coordinates, it begins with {printable!r}"
