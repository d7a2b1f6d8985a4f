"""Reading TFRecord files of ``tf.train.Example`` messages, with the messages and checksums that TensorBoard brings.

A record is: length (uint64), masked CRC-32C of the length (uint32), the data, masked CRC-32C of the data (uint32), all
little endian. TensorBoard's own reader takes any length a record announces; here every one is compared with the file's
size and ``MAX_RECORD`` first. The data are a protocol buffer, ``Example { features { feature: map name -> Feature }}``;
here a feature is a list of bytes that holds one serialised ``TensorProto``. Every fault is an ``InputError`` that names
file and record.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pointcept_bsa.errors import InputError

HEADER = 12
FOOTER = 4
MAX_RECORD = 1 << 28  # bytes; a record of 5000 halos has about 250 kB
DT_FLOAT = 1
# tf.train.Example, of which TensorBoard has no class; a map is a list of entries with key and value.
EXAMPLE = """
name: "example.proto" syntax: "proto3"
message_type { name: "Example" field { name: "features" number: 1 type_name: "Features" } }
message_type { name: "Features" field { name: "feature" number: 1 type_name: "Entry" label: LABEL_REPEATED } }
message_type { name: "Entry" field { name: "key" number: 1 type: TYPE_STRING }
                             field { name: "value" number: 2 type_name: "Feature" } }
message_type { name: "Feature" field { name: "bytes_list" number: 1 type_name: "BytesList" } }
message_type { name: "BytesList" field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
"""


@dataclass(frozen=True)
class RecordSpan:
    """Where the data of a record lie."""

    path: Path
    number: int
    start: int
    length: int

    def __str__(self) -> str:
        return f"{self.path} record {self.number}"


def scan_records(path: Path) -> list[RecordSpan]:
    """Return the places of all records of a file, after checking every length against the file's size.

    Raises:
        InputError: missing, truncated or foreign file, a wrong checksum of a length.
    """
    try:
        with path.open("rb") as file:
            return list(_scan(file, path, path.stat().st_size))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a TFRecord file") from None


def _masked_crc32c(data: bytes) -> int:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    return masked_crc32c(data)


def _scan(file: BinaryIO, path: Path, size: int) -> Iterator[RecordSpan]:
    start, number = 0, 0
    while start < size:
        file.seek(start)
        header = file.read(HEADER)
        if len(header) < HEADER:
            raise InputError(f"{path} record {number}: ends after {len(header)} of {HEADER} header bytes: truncated")
        length, checksum = struct.unpack("<QI", header)
        if _masked_crc32c(header[:8]) != checksum:
            raise InputError(f"{path} record {number}: checksum of its length is wrong: damaged, or no TFRecord file")
        end = start + HEADER + length + FOOTER
        if end > size:
            raise InputError(f"{path} record {number}: {size - start} of {end - start} bytes are there: truncated")
        if length > MAX_RECORD:
            raise InputError(f"{path} record {number}: has {length} bytes, wanted at most {MAX_RECORD}")
        yield RecordSpan(path, number, start + HEADER, length)
        start, number = end, number + 1


def read_record(place: RecordSpan) -> bytes:
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
    if _masked_crc32c(data) != struct.unpack("<I", content[place.length :])[0]:
        raise InputError(f"{place}: checksum of its data is wrong: damaged")
    return data


def parse_example(data: bytes, names: tuple[str, ...], where: object) -> dict[str, np.ndarray]:
    """Return the float tensors ``names`` of a serialised ``tf.train.Example``.

    Raises:
        InputError: no such message, a feature that is missing or holds anything but one float tensor.
    """
    from google.protobuf.message import DecodeError

    try:
        example = _example_class().FromString(data)
        if not example.HasField("features"):
            raise ValueError("Example.features is missing")
        features = {entry.key: entry.value for entry in example.features.feature}
        missing = [name for name in names if name not in features]
        if missing:
            raise InputError(f"{where}: has features {sorted(features)}, wanted also {missing}")
        return {name: _float_tensor(features[name], name) for name in names}
    except InputError:
        raise
    except (DecodeError, ValueError) as error:
        raise InputError(f"{where}: is not a tf.train.Example of float tensors ({error})") from None


@lru_cache(maxsize=1)
def _example_class() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    file = text_format.Parse(EXAMPLE, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Example"))


def _float_tensor(feature: Any, name: str) -> np.ndarray:
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    if not feature.HasField("bytes_list"):
        raise ValueError(f"bytes_list of {name!r} is missing")
    if not feature.bytes_list.value:
        raise ValueError(f"bytes of {name!r} is missing")
    tensor = TensorProto.FromString(feature.bytes_list.value[-1])
    if tensor.dtype != DT_FLOAT:
        raise ValueError(f"{name!r} has TensorFlow's dtype {tensor.dtype}, wanted {DT_FLOAT} (float32)")
    content = tensor.tensor_content
    if len(content) % 4:
        raise ValueError(f"{name!r} has {len(content)} bytes, wanted a multiple of 4")
    flat = np.frombuffer(content, "<f4") if content else np.array(tensor.float_val)
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if min(shape, default=0) < 0:
        raise ValueError("a tensor has a shape of unknown length")
    if len(flat) != math.prod(shape):
        raise ValueError(f"{name!r} holds {len(flat)} numbers, wanted {math.prod(shape)} as its shape {shape} says")
    return flat.astype(np.float32).reshape(shape)
