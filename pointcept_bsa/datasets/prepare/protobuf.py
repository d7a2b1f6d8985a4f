"""The wire format of protocol buffers, as far as reading needs it: numbered fields of four kinds."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """Bytes that are no message, or not the message that is wanted."""


def fields_of(message: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield (field number, kind, value) of a message: an integer for VARINT, else the bytes.

    Raises:
        WireError: a field reaches beyond the message, a kind that does not exist.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise WireError("a field has number 0")
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, kind, value
            continue
        if kind == LENGTH_DELIMITED:
            length, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise WireError(f"a field is of kind {kind}, which does not exist")
        if length > len(message) - at:
            raise WireError(f"a field of {length} bytes has only {len(message) - at}")
        yield number, kind, message[at : at + length]
        at += length


def single_bytes(message: bytes, wanted: int, what: str) -> bytes:
    """Return the one length-delimited field ``wanted``; of a field that comes again the last counts, as in protobuf.

    Raises:
        WireError: there is none; it is named ``what``.
    """
    found = None
    for number, kind, value in fields_of(message):
        if (number, kind) == (wanted, LENGTH_DELIMITED):
            found = value
    if not isinstance(found, bytes):
        raise WireError(f"{what} is missing")
    return found


def packed_floats(kind: int, value: int | bytes) -> bytes:
    """Return the little-endian bytes of a ``repeated float`` field, packed or single."""
    if kind not in (LENGTH_DELIMITED, FIXED32) or not isinstance(value, bytes):
        raise WireError(f"floats are of kind {kind}")
    return value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise WireError("ends inside a number")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise WireError("a number has more than 10 bytes")
