"""Exponentials shared out between two units of an NVIDIA multiprocessor, as PTX for a Triton kernel."""

from __future__ import annotations

import functools
import struct

SIZE = 8  # exponentials of one piece of PTX
# 2^f for -1/2 <= f <= 1/2: the cubic of least greatest relative error, 7.5e-5 (a bf16 keeps 3.9e-3).
CUBIC = (0.99992807, 0.69326099, 0.24261112, 0.05517167)
ROUND = 12582912.0  # 1.5 2^23: a float32 near it ends in the integer that was added
LOWEST = -126.0  # below it 2^x is no normal number


@functools.cache
def exponential(factor: float, share: int, bounded: bool) -> str:
    """PTX that computes 2^(factor x) of 8 float32 numbers: operands $0 .. $7 from $8 .. $15.

    Args:
        factor: known when compiled.
        share: how many of the 8 are polynomials, on the multiply-add units; the others take the special function unit.
        bounded: -126 < factor x < 127 for all numbers; otherwise polynomials raise what is below to 2^-126.
    """
    lines = ["{", ".reg .f32 x, n, p;", ".reg .b32 i, j;"]
    # Evenly among the others, so that both units always have work.
    polynomials = {round((place + 0.5) * SIZE / share - 0.5) for place in range(share)} if share else set()
    for place in range(SIZE):
        write = _polynomial if place in polynomials else _special
        lines += write(f"${place}", f"${place + SIZE}", factor, bounded)
    return "\n".join([*lines, "}"])


def _special(out: str, x: str, factor: float, bounded: bool) -> list[str]:
    if factor == 1.0:
        return [f"ex2.approx.ftz.f32 {out}, {x};"]
    return [f"mul.f32 x, {x}, {_hex(factor)};", f"ex2.approx.ftz.f32 {out}, x;"]


def _polynomial(out: str, x: str, factor: float, bounded: bool) -> list[str]:
    """2^x = 2^n p(x - n), n the nearest integer, which is added to the exponent of p."""
    lines = [] if bounded else [f"max.f32 x, {x}, {_hex(LOWEST / factor)};"]
    x = x if bounded else "x"
    lines += [
        # n = ROUND + the nearest integer, in the low bits of i; then n = x factor - that integer, in [-1/2, 1/2].
        f"fma.rn.f32 n, {x}, {_hex(factor)}, {_hex(ROUND)};",
        "mov.b32 i, n;",
        f"sub.f32 n, n, {_hex(ROUND)};",
        "neg.f32 n, n;",
        f"fma.rn.f32 n, {x}, {_hex(factor)}, n;",
        f"fma.rn.f32 p, n, {_hex(CUBIC[3])}, {_hex(CUBIC[2])};",
        f"fma.rn.f32 p, p, n, {_hex(CUBIC[1])};",
        f"fma.rn.f32 p, p, n, {_hex(CUBIC[0])};",
        # The exponent of a float32 begins at bit 23; of i, the bits that ROUND has set are shifted out.
        "shl.b32 i, i, 23;",
        "mov.b32 j, p;",
        "add.s32 j, j, i;",
        f"mov.b32 {out}, j;",
    ]
    return lines


def _hex(number: float) -> str:
    return f"0f{struct.unpack('>I', struct.pack('>f', number))[0]:08X}"
