"""One block of LZ4, the way VTK packs arrays with it.

Our own decoder, because the format is this small and no other part of the package needs the library.
https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
"""

from __future__ import annotations


def unpack_lz4(packed: bytes, size: int) -> bytes:
    """Return the ``size`` bytes that a block holds.

    Raises:
        ValueError: a damaged block, or one of more than ``size`` bytes.
    """
    found = bytearray()
    position, end = 0, len(packed)

    def length(start: int) -> int:
        """``start``, or more if it is 15: then bytes follow that are added up, to the first one below 255."""
        nonlocal position
        while start >= 15:
            if position >= end:
                raise ValueError("ends within a length")
            byte = packed[position]
            position += 1
            start += byte
            if byte < 255:
                break
        return start

    while position < end:
        token = packed[position]
        position += 1
        literals = length(token >> 4)
        if literals > end - position or len(found) + literals > size:
            raise ValueError("announces more bytes than it has")
        found += packed[position : position + literals]
        position += literals
        if position == end:  # the last sequence has literals only
            break
        if end - position < 2:
            raise ValueError("ends within an offset")
        offset = packed[position] | packed[position + 1] << 8
        position += 2
        count = length(token & 15) + 4
        start = len(found) - offset
        if offset == 0 or start < 0 or len(found) + count > size:
            raise ValueError("repeats bytes that are not there")
        repeated = bytes(found[start : start + count])
        while len(repeated) < count:
            repeated += repeated
        found += repeated[:count]
    return bytes(found)
