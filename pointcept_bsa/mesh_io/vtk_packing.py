"""How VTK's XML files pack the numbers of an array: by a compressor, in base64."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.source import MAX_RATIO

# One block of LZ4, the way VTK packs arrays with it.


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


LZMA_RATIO = 20000
Unpack = Callable[[bytes, int], bytes]  # a block and the size it has -> at most one byte more than that


def unpacker(name: str | None, where: object) -> Unpack | None:
    """What unfolds the blocks of a compressor; None without one. Raises ``InputError`` for an unknown one."""
    if name is None:
        return None
    if name == "vtkZLibDataCompressor":
        return lambda packed, size: zlib.decompressobj().decompress(packed, size + 1)
    if name == "vtkLZMADataCompressor":
        return lambda packed, size: lzma.LZMADecompressor().decompress(packed, size + 1)
    if name == "vtkLZ4DataCompressor":
        return unpack_lz4
    raise InputError(f"{where}: is packed by {name[:40]!r}, wanted zlib, lzma, lz4 or no compressor")


def unpacked_block(unpack: Unpack, packed: bytes, size: int, what: str, where: object) -> bytes:
    """The ``size`` bytes of a block. Raises ``InputError``: damaged, or of another size."""
    try:
        if size > max(MAX_RATIO, LZMA_RATIO) * len(packed):
            raise ValueError("says that it unfolds to more than it can")
        content = unpack(packed, size)
    except (zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        raise InputError(f"{where}: {what} has a damaged block ({error})") from None
    if len(content) != size:
        raise InputError(f"{where}: {what} has a block of another size than the {size} bytes it announces")
    return content


def encoded(length: int) -> int:
    """Characters of ``length`` bytes in base64."""
    return -(-length // 3) * 4
