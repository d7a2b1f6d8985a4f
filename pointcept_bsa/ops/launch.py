"""What the launches of several kernels have in common."""

from __future__ import annotations

import functools
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


def takes_ptx(x: Tensor) -> bool:
    """Whether kernels with NVIDIA's instructions may take x: on compute capability 8.0 or later, or interpreted."""
    return not x.is_cuda or _of_nvidia(x.get_device())


@functools.cache
def _of_nvidia(device: int) -> bool:
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def as_bytes(valid: Tensor | None) -> Tensor | None:
    """A mask as the kernels read it."""
    return None if valid is None else valid.contiguous().view(torch.uint8)


def contiguous_rows(x: Tensor) -> Tensor:
    """The tensor itself where the numbers of its last axis lie side by side, else a copy in which they do."""
    return x if x.stride(-1) == 1 else x.contiguous()


def alignment(*tensors: Tensor) -> int:
    """The largest power of two, up to 16 bytes, of elements that all strides but the last are multiples of."""
    itemsize = max(t.element_size() for t in tensors)
    # An axis of size 1 is never stepped along: its stride may be any number, and says nothing.
    strides = (stride for t in tensors for size, stride in zip(t.shape[:-1], t.stride()[:-1], strict=True) if size > 1)
    return math.gcd(16 // itemsize, *strides)


ARENA = 1 << 18  # counters for graphs
STREAM = 4096  # at least, for a stream


class Counters:
    """The counters of a device: zeros (int32), of which no two launches that may run at the same time get the same.

    A kernel leaves them zero.
    """

    def __init__(self, device: torch.device, arena: int = ARENA) -> None:
        self.device = device
        self._of_streams: dict[int, Tensor] = {}
        self._free = self._zeros(arena)

    def along(self, stream: int, count: int) -> Tensor:
        """Those (count,) of a stream, by its number: its launches run one after the other and share them."""
        found = self._of_streams.get(stream)
        if found is None or len(found) < count:
            found = self._of_streams[stream] = self._zeros(max(count, STREAM))
        return found[:count]

    def of_graph(self, count: int) -> Tensor:
        """At least so many for a launch that is captured: its own, for good, as the graph may be replayed beside
        anything. Where the ``arena`` has run out the graph sets zeros itself."""
        count = -(-count // 4) * 4  # kernels are compiled for pointers that 16 bytes divide
        if len(self._free) < count:
            return self._zeros(count)
        mine, self._free = self._free[:count], self._free[count:]
        return mine

    def _zeros(self, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.int32, device=self.device)


_counters: dict[torch.device, Counters] = {}


def counters(like: Tensor, count: int) -> Tensor:
    """Zeros (count,) int32 on the device of ``like``, which no other launch counts with at the same time.

    The kernel leaves them zero. See :class:`Counters`.
    """
    if not like.is_cuda:
        return torch.zeros(count, dtype=torch.int32)
    of_device = _counters.get(like.device)
    if torch.cuda.is_current_stream_capturing():
        return (of_device or Counters(like.device, arena=0)).of_graph(count)
    stream = torch.cuda.current_stream(like.device)
    if of_device is None:
        of_device = _counters[like.device] = Counters(like.device)
        stream.synchronize()  # other streams find zeros there
    return of_device.along(stream.cuda_stream, count)


# Sums over the programs of a launch, taken by the last of them: parts of Triton kernels. Each program stores its part,
# the last one adds all parts up by their numbers: the same order in every run, whoever is last. Floats added by
# atomics would come in another order each time; a second kernel for the sum would be one launch more.


@triton.jit
def is_last(COUNTER, programs):
    """Whether all ``programs`` have come here, this one being the last: then it sees what they stored before.

    ``COUNTER``, see :func:`pointcept_bsa.ops.launch.counters`, is zero before and afterwards.
    """
    tl.debug_barrier()  # every thread of this program has stored
    # Release: what was stored here is seen by who counts later. Acquire: the last sees what all have stored.
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
        # .cg reads past L1, which is not kept up to date with what other multiprocessors store.
        total += tl.load(PARTS + place, mask=(row < programs)[:, None] & inside[None, :], other=0.0,
                         cache_modifier=".cg")  # fmt: skip
    return tl.sum(total, 0)
