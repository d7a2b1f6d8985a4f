"""Points and their fields in a table, ``.csv``: a line of names, then a row a point.

All numbers are read as float64; a cell without a value is NaN. Columns of text or without a name, and what comes after
the table (``[Faces]`` of CFX), are left out. A table does not say how many rows it has: one that was cut short cannot
be told from a whole one, but in the middle of its last row.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.csv_text import MAX_COLUMNS, MAX_LINE, Header, Rows, find_header, line_blocks, open_table
from pointcept_bsa.mesh_io.mesh import Mesh
from pointcept_bsa.mesh_io.source import MAX_BYTES

SAMPLE = 100  # rows that tell columns of text
ROWS = 1 << 16  # written at once


def read_csv_mesh(path: Path) -> Mesh:
    """Raises ``InputError``: no names of coordinates, rows of other lengths, cells that are no numbers."""
    with open_table(path) as file:
        blocks = line_blocks(file, path)
        lines = next(blocks, [])
        header = find_header(lines, path)
        number = header.line + 1
        lines = lines[number:]
        rows = Rows(header, lines[:SAMPLE], path)
        pieces: dict[int, list[np.ndarray]] = {column: [] for column in rows.numbers}
        total = 0
        while True:
            found = rows.parse(lines, number + 1)
            number += len(lines)
            total += sum(values.nbytes for values in found)
            if total > MAX_BYTES:
                raise InputError(f"{path}: has more than {MAX_BYTES} bytes of numbers, wanted at most so many")
            for column, values in zip(rows.numbers, found, strict=True):
                pieces[column].append(values)
            if rows.section is not None or (more := next(blocks, None)) is None:
                break
            lines = more
    return _mesh(header, rows, {column: np.concatenate(pieces.pop(column)) for column in rows.numbers}, path)


def _mesh(header: Header, rows: Rows, values: dict[int, np.ndarray], path: Path) -> Mesh:
    columns, names = header.columns, header.names
    twice = [(own[0], other) for own in columns.axes for other in own[1:]]
    for first, second in (*twice, *columns.repeated):
        one, other = values.get(first), values.get(second)
        if one is not None and other is not None and not np.array_equal(one, other, equal_nan=True):
            raise InputError(
                f"{path}: columns {first + 1} and {second + 1}, {names[first][:80]!r} and {names[second][:80]!r}, have "
                "one meaning and different values, wanted one of them"
            )
    points = np.stack([values.pop(own[0]) for own in columns.axes], axis=1)
    fields = {}
    left_out = [names[column] for column in sorted(rows.texts) if names[column]]
    for name, own in columns.fields.items():
        numbers = [column for column in own if column in values]
        if len(own) == 1 and numbers:
            fields[name] = values.pop(own[0])
        elif len(numbers) == len(own):
            fields[name] = np.stack([values.pop(column) for column in own], axis=1)
        else:  # text among the components
            fields |= {names[column]: values.pop(column) for column in numbers}
    left_out += [f"column {column + 1} without a name" for column in columns.nameless]
    left_out += [] if rows.section is None else [f"section {rows.section}"]
    return Mesh(points, point_data=fields, left_out=tuple(dict.fromkeys(left_out)))


def write_csv_mesh(file: BinaryIO, mesh: Mesh, where: object) -> None:
    """Write ``x,y,z`` and the fields, those of several columns as ``name:0``, ``name:1``, ..; digits that give each
    number back.

    Raises:
        InputError: cells, data of cells or of the whole mesh, names that would not come back, integers above 2^53.
    """
    names = csv_names(mesh, where)
    file.write(_line(names).encode("utf-8", "replace"))
    fields = [mesh.points, *mesh.point_data.values()]
    columns = [column for values in fields for column in (values.T if values.ndim > 1 else [values])]
    for start in range(0, len(mesh.points), ROWS):
        texts = [_texts(column[start : start + ROWS]) for column in columns]
        file.write(("\n".join(map(",".join, zip(*texts, strict=True))) + "\n").encode())


def csv_names(mesh: Mesh, where: object) -> list[str]:
    """The names of the columns; raises the ``InputError`` of ``write_csv_mesh``."""
    clouds = {"vertex": np.arange(len(mesh.points))[:, None]}
    cells = any(name not in clouds or not np.array_equal(block, clouds[name]) for name, block in mesh.cells.items())
    more = [group for group in ("cell_data", "field_data") if getattr(mesh, group)]
    if cells or more:
        what = [*(["cells"] if cells else []), *more]
        raise InputError(f"{where}: a table holds points and their fields, the mesh has {what}; wanted .npz or .vtu")
    names, vectors = ["x", "y", "z"], {}
    for name, values in mesh.point_data.items():
        if values.dtype.kind in "iu" and values.size and max(abs(int(values.min())), abs(int(values.max()))) > 2**53:
            raise InputError(f"{where}: field {name!r} has integers above 2^53, which a table would not keep")
        count = 1 if values.ndim == 1 else values.shape[1]
        if count != 1:
            vectors[name] = tuple(range(len(names), len(names) + count))
        names += [name] if count == 1 else [f"{name}:{i}" for i in range(count)]
    if not _come_back(names, vectors):
        raise InputError(
            f"{where}: point fields {list(mesh.point_data)[:20]} would not be read from a table as they are, wanted at "
            f"most {MAX_COLUMNS} columns and names without line ends, outer spaces and those of coordinates"
        )
    return names


def _come_back(names: list[str], vectors: dict[str, tuple[int, ...]]) -> bool:
    """Whether the line of ``names`` is read as it is meant; fields ``a_0`` and ``a_1`` may become one."""
    line = _line(names)[:-1]
    if len(line) > MAX_LINE or any(end in line for end in "\r\n\0"):
        return False
    try:
        found = find_header([line, ",".join("0" for _ in names)], "")
    except InputError:
        return False
    columns = found.columns
    if found.names != tuple(names) or columns.repeated or columns.nameless:
        return False
    return columns.axes == ((0,), (1,), (2,)) and vectors.items() <= columns.fields.items()


def _line(names: list[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(names)
    return text.getvalue()


def _texts(values: np.ndarray) -> list[str]:
    if values.dtype.kind == "f" and values.dtype.itemsize == 4:
        return values.astype(str).tolist()  # the shortest that gives back a float32
    return list(map(repr, values.tolist()))
