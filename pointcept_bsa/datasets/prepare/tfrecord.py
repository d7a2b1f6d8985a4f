"""Reading TFRecord files of ``tf.train.Example`` messages without TensorFlow.

A record is: length (uint64), masked CRC-32C of the length (uint32), the data, masked CRC-32C of the data (uint32), all
little endian. The data are a protocol buffer: ``Example { features { feature: map name -> Feature } }``; here a
feature is a list of bytes that holds one serialised ``TensorProto``. Every fault is an ``InputError`` that names file
and record; nothing is allocated that the file cannot fill.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pointcept_bsa.datasets.prepare.crc32c import masked_crc32c
from pointcept_bsa.datasets.prepare.protobuf import (
    LENGTH_DELIMITED,
    VARINT,
    WireError,
    fields_of,
    packed_floats,
    single_bytes,
)
from pointcept_bsa.errors import InputError

HEADER = 12
FOOTER = 4
MAX_RECORD = 1 << 28  # bytes; a record of 5000 halos has about 250 kB
DT_FLOAT = 1


@dataclass(frozen=True)
class RecordPlace:
    """Where the data of a record lie."""

    path: Path
    number: int
    start: int
    length: int

    def __str__(self) -> str:
        return f"{self.path} record {self.number}"


def scan_records(path: Path) -> list[RecordPlace]:
    """Return the places of all records of a file, after checking every length against the file's size.

    Raises:
        InputError: missing, truncated or foreign file, a wrong checksum of a length.
    """
    try:
        with path.open("rb") as file:
            return list(_scan(file, path, path.stat().st_size))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a TFRecord file") from None


def _scan(file: BinaryIO, path: Path, size: int) -> Iterator[RecordPlace]:
    start, number = 0, 0
    while start < size:
        file.seek(start)
        header = file.read(HEADER)
        if len(header) < HEADER:
            raise InputError(f"{path} record {number}: ends after {len(header)} of {HEADER} header bytes: truncated")
        length, checksum = struct.unpack("<QI", header)
        if masked_crc32c(header[:8]) != checksum:
            raise InputError(f"{path} record {number}: checksum of its length is wrong: damaged, or no TFRecord file")
        end = start + HEADER + length + FOOTER
        if end > size:
            raise InputError(f"{path} record {number}: {size - start} of {end - start} bytes are there: truncated")
        if length > MAX_RECORD:
            raise InputError(f"{path} record {number}: has {length} bytes, wanted at most {MAX_RECORD}")
        yield RecordPlace(path, number, start + HEADER, length)
        start, number = end, number + 1


def read_record(place: RecordPlace) -> bytes:
    """Return the data of a record.

    Raises:
        InputError: the file has gone or shrunk, the checksum is wrong.
    """
    try:
        with place.path.open("rb") as file:
            file.seek(place.start)
            content = file.read(place.length + FOOTER)
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror})") from None
    if len(content) != place.length + FOOTER:
        raise InputError(f"{place}: {len(content)} of {place.length + FOOTER} bytes are there: truncated")
    data = content[: place.length]
    if masked_crc32c(data) != struct.unpack("<I", content[place.length :])[0]:
        raise InputError(f"{place}: checksum of its data is wrong: damaged")
    return data


def parse_example(data: bytes, names: tuple[str, ...], where: object) -> dict[str, np.ndarray]:
    """Return the float tensors ``names`` of a serialised ``tf.train.Example``.

    Raises:
        InputError: no such message, a feature that is missing or holds anything but one float tensor.
    """
    try:
        features = _features(data)
        missing = [name for name in names if name not in features]
        if missing:
            raise InputError(f"{where}: has features {sorted(features)}, wanted also {missing}")
        return {name: _float_tensor(features[name], name) for name in names}
    except WireError as error:
        raise InputError(f"{where}: is not a tf.train.Example of float tensors ({error})") from None


def _features(data: bytes) -> dict[str, bytes]:
    """Name -> serialised ``Feature``. Example: features = 1; Features: map entries = 1 {key = 1, value = 2}."""
    features = {}
    for number, kind, value in fields_of(single_bytes(data, 1, "Example.features")):
        if (number, kind) != (1, LENGTH_DELIMITED) or not isinstance(value, bytes):
            continue
        name = single_bytes(value, 1, "name of a feature")
        try:
            features[name.decode()] = single_bytes(value, 2, "a feature")
        except UnicodeDecodeError:
            raise WireError("the name of a feature is no text") from None
    return features


def _float_tensor(feature: bytes, name: str) -> np.ndarray:
    """Feature: bytes_list = 1 {value = 1}; TensorProto: dtype = 1, shape = 2, content = 4, float_val = 5."""
    tensor = single_bytes(single_bytes(feature, 1, f"bytes_list of {name!r}"), 1, f"bytes of {name!r}")
    dtype, content, values = 0, b"", b""
    shape: tuple[int, ...] = ()
    for number, kind, value in fields_of(tensor):
        if number == 1 and kind == VARINT:
            dtype = int(value)
        elif number == 2 and isinstance(value, bytes):
            shape = _shape(value)
        elif number == 4 and isinstance(value, bytes):
            content = value
        elif number == 5:
            values += packed_floats(kind, value)
    if dtype != DT_FLOAT:
        raise WireError(f"{name!r} has TensorFlow's dtype {dtype}, wanted {DT_FLOAT} (float32)")
    flat = np.frombuffer(_whole(content or values, name), dtype="<f4")
    count = 1
    for length in shape:
        count *= length
    if len(flat) != count:
        raise WireError(f"{name!r} holds {len(flat)} numbers, wanted {count} as its shape {shape} says")
    return flat.astype(np.float32).reshape(shape)


def _shape(message: bytes) -> tuple[int, ...]:
    """TensorShapeProto: dim = 2 {size = 1}."""
    shape = []
    for number, _, dim in fields_of(message):
        if number == 2 and isinstance(dim, bytes):
            sizes = [int(value) for n, kind, value in fields_of(dim) if (n, kind) == (1, VARINT)]
            shape.append(sizes[-1] if sizes else 0)
    if any(size >= 1 << 63 for size in shape):
        raise WireError("a tensor has a shape of unknown length")
    return tuple(shape)


def _whole(values: bytes, name: str) -> bytes:
    if len(values) % 4:
        raise WireError(f"{name!r} has {len(values)} bytes, wanted a multiple of 4")
    return values
