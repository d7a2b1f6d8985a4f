"""How VTK's XML files pack the numbers of an array: by a compressor, in base64."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable

from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.lz4_block import unpack_lz4
from pointcept_bsa.mesh_io.source import MAX_RATIO

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
