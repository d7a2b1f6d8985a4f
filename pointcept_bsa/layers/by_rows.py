"""What treats each row for itself, in parts."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

ROWS_AT_ONCE = 1 << 16  # where no gradient is wanted


def by_rows(function: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
    """``function(*inputs)``, which treats each row for itself, in parts.

    The same numbers (a matrix product of another height may round otherwise), less memory.
    """
    rows = inputs[0].shape[0]
    if rows <= ROWS_AT_ONCE:
        return function(*inputs)
    out: tuple[Tensor, ...] = ()
    for first in range(0, rows, ROWS_AT_ONCE):
        results = function(*(t[first : first + ROWS_AT_ONCE] for t in inputs))
        out = out or tuple(result.new_empty(rows, *result.shape[1:]) for result in results)
        for whole, part in zip(out, results, strict=True):
            whole[first : first + ROWS_AT_ONCE] = part
    return out
