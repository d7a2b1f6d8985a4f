"""CRC-32C (Castagnoli), the checksum of TFRecord files, with numpy.

A checksum is linear in the bits of the data: long data are cut into lanes that are worked through side by side, then
put together by matrices over GF(2) that let a register pass over the bytes behind it. Reflected polynomial 0x82F63B78.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

POLYNOMIAL = 0x82F63B78
LANES = 512  # a power of two
SHORT = 4 * LANES  # up to so many bytes one after the other is faster
MASK_DELTA = 0xA282EAD8


def _make_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    return table


_TABLE = _make_table()
_TABLE_LIST = _TABLE.tolist()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of ``data``; of b"123456789" it is 0xE3069283."""
    if len(data) <= SHORT:
        register = 0xFFFFFFFF
        for byte in data:
            register = _TABLE_LIST[(register ^ byte) & 255] ^ (register >> 8)
        return register ^ 0xFFFFFFFF
    width = -(-len(data) // LANES)
    padded = np.zeros(LANES * width, dtype=np.uint8)  # zeros in front leave an empty register empty
    padded[-len(data) :] = np.frombuffer(data, dtype=np.uint8)
    first = len(padded) - len(data)
    padded[first : first + 4] ^= 255  # the register's start value, moved into the data
    columns = np.ascontiguousarray(padded.reshape(LANES, width).T)
    registers = np.zeros(LANES, dtype=np.uint32)
    for column in columns:
        registers = _TABLE[(registers ^ column) & 255] ^ (registers >> 8)
    while len(registers) > 1:
        registers = _apply(_zeros_operator(width), registers[0::2]) ^ registers[1::2]
        width *= 2
    return int(registers[0]) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C as TFRecord stores it: turned by 15 bits, plus a constant."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


@lru_cache(maxsize=256)
def _zeros_operator(count: int) -> np.ndarray:
    """What ``count`` zero bytes do to a register: the images (32,) of its bits."""
    if count == 1:
        bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
        return _TABLE[bits & 255] ^ (bits >> 8)
    half = _zeros_operator(count // 2)
    twice = _apply(half, half)
    return _apply(_zeros_operator(1), twice) if count % 2 else twice


def _apply(operator: np.ndarray, registers: np.ndarray) -> np.ndarray:
    """Images of ``registers`` (n,) under an operator (32,)."""
    bits = (registers[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.bitwise_xor.reduce(np.where(bits, operator, np.uint32(0)), axis=1)
