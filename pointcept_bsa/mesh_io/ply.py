"""PLY, the Stanford polygon format, as text and binary.

Point data are the scalar properties of the vertices beside x, y, z; cell data those of the faces. A field of several
columns is written as ``name_0``, ``name_1``, .. with a comment ``columns name K`` in the header, by which it is read
back as one; files from elsewhere keep a field a property. Names with spaces are written with %20, which a comment says.
Integers of 64 bits, which PLY has not, are written as 32 bits or as doubles where that keeps them. Other elements than
vertices and faces are passed over.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.mesh import Fields, Mesh
from pointcept_bsa.mesh_io.source import Source, read_file, text_numbers, whole_number

TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
TYPES |= {"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"}
NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint"}
NAMES |= {"f4": "float", "f8": "double"}
CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}
FACE_LISTS = ("vertex_indices", "vertex_index")
MAX_PROPERTIES = 1000
QUOTED = ["comment", "quoted", "names"]  # names of this file have %20 for a space, as in URLs
WORD = re.compile(rb"\S+")


@dataclass
class _Property:
    name: str
    kind: str
    count_kind: str = ""  # of a list


@dataclass
class _Element:
    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)


def read_ply(path: Path) -> Mesh:
    """Raises ``InputError``: not a whole PLY file with vertices x, y and z (or x and y)."""
    source = Source(read_file(path, "a PLY file"), path)
    order, elements, columns = _read_header(source)
    scalars: dict[str, Fields] = {}
    lists: dict[str, dict[str, list[np.ndarray]]] = {}
    for element in elements:
        scalars[element.name], lists[element.name] = _read_element(source, element, order)
    vertex = scalars.get("vertex", {})
    axes = [axis for axis in "xyz" if axis in vertex]
    if axes not in (["x", "y"], ["x", "y", "z"]):
        raise InputError(f"{path}: vertices have properties {list(vertex)[:20]}, wanted x, y and z")
    points = np.stack([vertex[axis].astype(np.float64) for axis in axes], axis=1)
    face_lists = lists.get("face", {})
    faces = next((face_lists[name] for name in FACE_LISTS if name in face_lists), [])
    cells, rows = _faces(faces, path)
    face = scalars.get("face", {})
    if face and len(rows) != len(next(iter(face.values()))):
        raise InputError(f"{path}: faces have no property {FACE_LISTS[0]!r}, wanted one")
    return Mesh(
        points,
        cells,
        _joined({name: values for name, values in vertex.items() if name not in axes}, columns, "vertex"),
        _joined({name: values[rows] for name, values in face.items()}, columns, "face"),
        left_out=tuple(f"element {element.name}" for element in elements if element.name not in ("vertex", "face")),
    )


def _read_header(source: Source) -> tuple[str, list[_Element], dict[tuple[str, str], int]]:
    """Byte order ("" for text), elements, and the columns that comments announce."""
    where = source.where
    first = re.match(rb"ply[ \t]*(\r\n|\r|\n)", source.data)
    if first is None:
        raise InputError(f"{where}: is not a PLY file (it does not begin with 'ply')")
    orders = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
    order, elements, columns, quoted = None, [], {}, False
    ending = b"\r" if first.group(1) == b"\r" else b"\n"  # binary data may begin with the other one
    source.position = first.end()
    for line in source.filled_lines(ending):
        words = line.split()
        if words[0] == "end_header":
            break
        if words[0] == "format" and len(words) == 3 and words[1] in orders:
            order = orders[words[1]]
        elif words[0] == "element" and len(words) == 3:
            elements.append(_Element(words[1], whole_number(words[2], f"element {words[1][:40]}", where)))
        elif words[0] == "property" and elements:
            elements[-1].properties.append(_property(words, where))
        elif words[:2] == ["comment", "columns"] and len(words) == 5 and words[4].isdigit() and len(words[4]) < 4:
            columns[words[2], words[3]] = int(words[4])
        elif words == QUOTED:
            quoted = True
        elif words[0] not in ("comment", "obj_info"):
            raise InputError(f"{where}: has the header line {line[:60]!r}, which PLY does not know")
    else:
        raise InputError(f"{where}: its header has no end: truncated")
    if order is None:
        raise InputError(f"{where}: has no format, wanted one of {list(orders)}")
    names = [element.name for element in elements]
    for element in elements:
        own = [item.name for item in element.properties]
        if len(set(own)) != len(own) or len(own) > MAX_PROPERTIES or names.count(element.name) > 1:
            raise InputError(f"{where}: element {element.name[:40]!r} or a property of it is there twice")
    if quoted:
        for item in (item for element in elements for item in element.properties):
            item.name = unquote(item.name)
        columns = {(element, unquote(name)): count for (element, name), count in columns.items()}
    return order, elements, columns


def _property(words: list[str], where: object) -> _Property:
    if len(words) == 3 and words[1] in TYPES:
        return _Property(words[2], TYPES[words[1]])
    if len(words) == 5 and words[1] == "list" and words[2] in TYPES and words[3] in TYPES and TYPES[words[2]][0] != "f":
        return _Property(words[4], TYPES[words[3]], TYPES[words[2]])
    raise InputError(f"{where}: has the header line {' '.join(words)[:60]!r}, wanted a property and its type")


def _read_element(source: Source, element: _Element, order: str) -> tuple[Fields, dict[str, list[np.ndarray]]]:
    if not element.properties:
        return {}, {}
    if any(item.count_kind for item in element.properties):
        return _read_lists(source, element, order)
    what = f"element {element.name[:40]}"
    if order:
        dtype = np.dtype([(item.name, order + item.kind) for item in element.properties])
        table = _binary_table(source, dtype, element.count, what)
        return {item.name: table[item.name] for item in element.properties}, {}
    width = len(element.properties)
    words = source.words(element.count * width, what)
    return {
        item.name: text_numbers(words[i::width], np.dtype(item.kind), what, source.where)
        for i, item in enumerate(element.properties)
    }, {}


def _binary_table(source: Source, dtype: np.dtype, count: int, what: str) -> np.ndarray:
    if count * dtype.itemsize > source.rest:
        raise InputError(f"{source.where}: {what} announces {count * dtype.itemsize} bytes, {source.rest} are left")
    table = np.frombuffer(source.data, dtype, count, source.position)
    source.position += count * dtype.itemsize
    return table


def _read_lists(source: Source, element: _Element, order: str) -> tuple[Fields, dict[str, list[np.ndarray]]]:
    """Elements with lists, one after the other; all at once where every list has the length of the first one's."""
    if order:
        table = _uniform_table(source, element, order)
        if table is not None:
            scalars = {item.name: table[item.name] for item in element.properties if not item.count_kind}
            return scalars, {item.name: list(table[item.name]) for item in element.properties if item.count_kind}
    next_number = _binary_numbers(source, order) if order else _text_numbers(source)
    values: dict[str, list] = {item.name: [] for item in element.properties}
    for _ in range(element.count):
        for item in element.properties:
            if not item.count_kind:
                values[item.name].append(next_number(item.kind, 1)[0])
                continue
            length = int(next_number(item.count_kind, 1)[0])
            if length < 0:
                raise InputError(f"{source.where}: a list {item.name[:40]!r} has length {length}")
            values[item.name].append(np.array(next_number(item.kind, length), item.kind))
    scalars = {i.name: np.array(values[i.name], i.kind) for i in element.properties if not i.count_kind}
    return scalars, {item.name: values[item.name] for item in element.properties if item.count_kind}


def _uniform_table(source: Source, element: _Element, order: str) -> np.ndarray | None:
    start = source.position
    next_number, lengths = _binary_numbers(source, order), {}
    fields: list[tuple] = []
    if element.count == 0:
        return None
    for item in element.properties:
        if not item.count_kind:
            next_number(item.kind, 1)
            fields.append((item.name, order + item.kind))
            continue
        length = int(next_number(item.count_kind, 1)[0])
        next_number(item.kind, max(length, 0))
        fields += [(f"count of {item.name}", order + item.count_kind), (item.name, order + item.kind, (length,))]
        lengths[f"count of {item.name}"] = length
    source.position = start
    dtype = np.dtype(fields)
    if element.count * dtype.itemsize > source.rest:
        return None
    table = np.frombuffer(source.data, dtype, element.count, start)
    if any(not np.all(table[name] == length) for name, length in lengths.items()):
        return None
    source.position += element.count * dtype.itemsize
    return table


def _binary_numbers(source: Source, order: str):
    def take(kind: str, count: int) -> tuple:
        code = f"{order}{count}{CODES[kind]}"
        size = count * int(kind[1])
        if size > source.rest:
            raise InputError(f"{source.where}: ends within its elements: truncated")
        values = struct.unpack_from(code, source.data, source.position)
        source.position += size
        return values

    return take


def _text_numbers(source: Source):
    words = WORD.finditer(source.data, source.position)

    def take(kind: str, count: int) -> list:
        if count > (source.rest + 1) // 2:
            raise InputError(f"{source.where}: ends within its elements: truncated")
        found = list(islice(words, count))
        if len(found) < count:
            raise InputError(f"{source.where}: ends within its elements: truncated")
        if found:
            source.position = found[-1].end()
        return text_numbers([word.group() for word in found], np.dtype(kind), "a list", source.where).tolist()

    return take


def _faces(faces: list[np.ndarray], where: object) -> tuple[Fields, np.ndarray]:
    """Faces by name of their kind, and their rows in that order."""
    sizes = np.array([len(face) for face in faces], np.int64)
    names = {1: "vertex", 2: "line", 3: "triangle", 4: "quad"}
    cells: Fields = {}
    rows = [np.empty(0, np.int64)]
    kinds, first = np.unique(sizes, return_index=True)
    for size in kinds[np.argsort(first)].tolist():
        if size == 0:
            raise InputError(f"{where}: has a face without points")
        members = np.flatnonzero(sizes == size)
        block = np.stack([faces[i] for i in members])
        if block.dtype.kind not in "iu":
            raise InputError(f"{where}: faces hold {block.dtype} numbers, wanted integers")
        cells[names.get(size, f"polygon{size}")] = block.astype(np.int64)
        rows.append(members)
    return cells, np.concatenate(rows)


def _joined(fields: Fields, columns: dict[tuple[str, str], int], element: str) -> Fields:
    """Fields of several columns put together as the comments say."""
    joined = dict(fields)
    for (owner, name), count in columns.items():
        parts = [f"{name}_{i}" for i in range(count)]
        if owner == element and parts and name not in joined and all(part in joined for part in parts):
            joined[name] = np.stack([joined.pop(part) for part in parts], axis=1)
    return joined


def write_ply(file: BinaryIO, mesh: Mesh, where: object) -> None:
    """Write a little-endian binary PLY file.

    Raises:
        InputError: cells other than points, lines and polygons, two fields of one name, integers above 2^53, data of
            the whole mesh.
    """
    if mesh.field_data:
        raise InputError(f"{where}: PLY holds no data of the whole mesh, got {list(mesh.field_data)}")
    header = ["ply", "format binary_little_endian 1.0"]
    points = {axis: mesh.points[:, i] for i, axis in enumerate("xyz")}
    vertex, vertex_comments = _split(mesh.point_data, "vertex", where)
    face, face_comments = _split(mesh.cell_data, "face", where)
    if any("%" in line for line in [*vertex, *face, *vertex_comments, *face_comments]):
        header.append(" ".join(QUOTED))
    header += vertex_comments + face_comments
    taken = [name for name in vertex if name in points]
    if taken:
        raise InputError(f"{where}: point fields are named {taken}, which are the names of PLY's coordinates")
    table = points | vertex
    header += [f"element vertex {len(mesh.points)}", *_property_lines(table)]
    header += [f"element face {mesh.num_cells}", "property list uint int vertex_indices", *_property_lines(face)]
    file.write("\n".join([*header, "end_header", ""]).encode())
    file.write(_table(table, len(mesh.points)).tobytes())
    start = 0
    for name, block in mesh.cells.items():
        if not re.fullmatch(r"vertex|line|triangle|quad|polygon\d*", name):
            raise InputError(f"{where}: PLY holds polygons, the mesh has cells {name!r}; wanted .vtu, .vtk or .npz")
        rows = slice(start, start + len(block))
        own = {"count of points": np.full(len(block), block.shape[1], np.uint32), "points": block.astype(np.int32)}
        file.write(_table(own | {n: values[rows] for n, values in face.items()}, len(block)).tobytes())
        start += len(block)


def _split(fields: Fields, element: str, where: object) -> tuple[Fields, list[str]]:
    """Fields of one column each, and the comments that tell how to put them together."""
    columns: Fields = {}
    comments = []
    for name, values in fields.items():
        values = _narrowed(values, name, where)
        plain = re.sub(r"[\s%\x00-\x1f]", lambda found: quote(found.group()), name)
        if not plain:
            raise InputError(f"{where}: a {element} field has no name, wanted one")
        parts = {plain: values}
        if values.ndim > 1:
            comments.append(f"comment columns {element} {plain} {values.shape[1]}")
            parts = {f"{plain}_{i}": values[:, i] for i in range(values.shape[1])}
        double = [part for part in parts if part in columns]
        if double:
            raise InputError(f"{where}: two {element} fields would be called {double[0]!r}, wanted other names")
        columns |= parts
    return columns, comments


def _narrowed(values: np.ndarray, name: str, where: object) -> np.ndarray:
    """The same numbers in a type that PLY has."""
    if values.dtype.str[1:] in NAMES:
        return values
    for kind in (np.int32, np.uint32, np.float64):
        with np.errstate(invalid="ignore"):
            narrow = values.astype(kind)
            if np.array_equal(narrow.astype(values.dtype), values) and (
                kind is not np.float64 or not values.size or max(abs(int(values.min())), int(values.max())) <= 2**53
            ):
                return narrow
    raise InputError(f"{where}: field {name!r} holds integers up to {values.max()}, wanted at most 2^53 as PLY has")


def _property_lines(fields: Fields) -> list[str]:
    return [f"property {NAMES[values.dtype.str[1:]]} {name}" for name, values in fields.items()]


def _table(fields: Fields, rows: int) -> np.ndarray:
    table = np.empty(rows, [(n, values.dtype.newbyteorder("<"), values.shape[1:]) for n, values in fields.items()])
    for name, values in fields.items():
        table[name] = values
    return table
