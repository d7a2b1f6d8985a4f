"""Damage done to files: bytes changed, cut, doubled and put in; numbers made huge; words exchanged."""

from __future__ import annotations

import re
import struct

from hypothesis import strategies as st

HUGE = (0, 1, 2, 127, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**53, 2**62, 2**63 - 1, 2**64 - 1)
WORDS = tuple(str(number).encode() for number in HUGE) + (b"-1", b"-9223372036854775808", b"1e400", b"nan", b"inf", b"")
WORDS += (
    b"2.5",
    b"1_0",
    b"0x10",
    b"9" * 30,
    b"9" * 5000,
    b"../../x",
    b"/etc/passwd",
    b"\xff\xfe",
    b"\xd9\xa3",
    b"None",
    b"x",
)
NUMBER = re.compile(rb"\d+")
WORD = re.compile(rb"[A-Za-z_]{2,}|\d+|\S")

KINDS = ("set", "flip", "delete", "double", "insert", "cut", "number", "word", "binary", "exchange")
operations = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 2**20), st.integers(0, 2**20), st.binary(max_size=8)),
    min_size=1,
    max_size=4,
)


def mutate(content: bytes, steps: list[tuple[str, int, int, bytes]]) -> bytes:
    """Return ``content`` after the steps, each ``(kind, place, amount, bytes)``."""
    for step in steps:
        content = _one(content, *step)
    return content


def _one(content: bytes, kind: str, place: int, amount: int, data: bytes) -> bytes:
    size = len(content)
    if size == 0:
        return data
    at = place % size
    if kind == "set":
        return content[:at] + bytes([amount % 256]) + content[at + 1 :]
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ (1 << amount % 8)]) + content[at + 1 :]
    if kind == "delete":
        return content[:at] + content[at + 1 + amount % min(64, size) :]
    if kind == "double":
        end = at + 1 + amount % 200
        return content[:end] + content[at:end] + content[end:]
    if kind == "insert":
        return content[:at] + data + content[at:]
    if kind == "cut":
        return content[:at]
    if kind == "binary":
        width, order = (4, 8)[amount % 2], "<>"[amount // 2 % 2]
        number = HUGE[amount // 4 % len(HUGE)] % 2 ** (8 * width)
        packed = struct.pack(f"{order}{'I' if width == 4 else 'Q'}", number)
        return content[:at] + packed + content[at + width :]
    found = list((NUMBER if kind == "number" else WORD).finditer(content, at, at + 400)) or list(WORD.finditer(content))
    if not found:
        return content + data
    chosen = found[amount % len(found)]
    if kind == "exchange":
        other = found[(amount // 7) % len(found)]
        return content[: chosen.start()] + other.group() + content[chosen.end() :]
    word = WORDS[amount // 11 % len(WORDS)]
    return content[: chosen.start()] + word + content[chosen.end() :]
