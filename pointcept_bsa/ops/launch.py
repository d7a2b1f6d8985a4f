"""What the launches of several kernels have in common."""

from __future__ import annotations

import math

import torch

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import triton
import triton.language as tl
from torch import Tensor


def power_of_2(size: int, least: int = 1) -> int:
    """The smallest power of two that holds ``size``, at least ``least``."""
    return max(least, 1 << (size - 1).bit_length())


def precision() -> str:
    """How the kernels multiply float32: as ``torch.backends.cuda.matmul`` says."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def as_bytes(valid: Tensor | None) -> Tensor | None:
    """A mask as the kernels read it."""
    return None if valid is None else valid.contiguous().view(torch.uint8)


def contiguous_rows(x: Tensor) -> Tensor:
    """The tensor itself where the numbers of its last axis lie side by side, else a copy in which they do."""
    return x if x.stride(-1) == 1 else x.contiguous()


def alignment(*tensors: Tensor) -> int:
    """The largest power of two, up to 16 bytes, of elements that all strides but the last are multiples of."""
    itemsize = max(t.element_size() for t in tensors)
    strides = (stride for t in tensors for size, stride in zip(t.shape[:-1], t.stride()[:-1], strict=True) if size > 1)
    return math.gcd(16 // itemsize, *strides)


ARENA = 1 << 18  # counters for graphs
_of_streams: dict[tuple[torch.device, int], Tensor] = {}
_of_graphs: dict[torch.device, list[Tensor]] = {}


def counters(like: Tensor, count: int) -> Tensor:
    """Zeros (count,) int32 on the device of ``like``, which no other launch counts with at the same time.

    The kernel leaves them zero. Launches on one stream run one after the other and share them. A launch captured into
    a CUDA graph, which may be replayed beside anything, gets some of its own, for good; where they have run out the
    graph sets zeros itself.
    """
    if not like.is_cuda:
        return torch.zeros(count, dtype=torch.int32)
    if torch.cuda.is_current_stream_capturing():
        count = -(-count // 4) * 4  # kernels are compiled for pointers that 16 bytes divide
        free = _of_graphs.get(like.device)
        if free is None or free[0].shape[0] < count:
            return torch.zeros(count, dtype=torch.int32, device=like.device)
        mine, free[0] = free[0][:count], free[0][count:]
        return mine
    key = like.device, torch.cuda.current_stream(like.device).cuda_stream
    if key not in _of_streams or _of_streams[key].shape[0] < count:
        _of_streams[key] = torch.zeros(max(count, 4096), dtype=torch.int32, device=like.device)
    if like.device not in _of_graphs:
        _of_graphs[like.device] = [torch.zeros(ARENA, dtype=torch.int32, device=like.device)]
        torch.cuda.current_stream(like.device).synchronize()  # other streams find zeros there
    return _of_streams[key][:count]


# Sums over the programs of a launch, taken by the last of them: parts of Triton kernels.


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
