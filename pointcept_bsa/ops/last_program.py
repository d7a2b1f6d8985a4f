"""Sums over the programs of a launch, taken by the last of them: parts of Triton kernels.

Every program stores its partial sum, then counts itself in. The last one to do so sees all partial sums and adds them
up in the order of the programs, so that the result does not depend on which one it is.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def is_last(COUNTER, programs):
    """Whether all ``programs`` have come here, this one being the last: then it sees what they stored before.

    ``COUNTER``, see :func:`pointcept_bsa.ops.launch.counters`, is zero before and afterwards.
    """
    tl.debug_barrier()  # every thread of this program has stored
    last = tl.atomic_add(COUNTER, 1, sem="acq_rel", scope="gpu") == programs - 1
    if last:
        tl.store(COUNTER, 0)
    return last


@triton.jit
def sum_of_parts(PARTS, programs, stride, column, inside, AT_ONCE: tl.constexpr):
    """Sum over the programs of PARTS (programs, stride), at some columns where ``inside``; zero elsewhere."""
    total = tl.zeros([AT_ONCE, column.shape[0]], tl.float32)
    for first in range(0, programs, AT_ONCE):
        row = first + tl.arange(0, AT_ONCE)
        place = row.to(tl.int64)[:, None] * stride + column[None, :]
        total += tl.load(PARTS + place, mask=(row < programs)[:, None] & inside[None, :], other=0.0,
                         cache_modifier=".cg")  # fmt: skip
    return tl.sum(total, 0)
