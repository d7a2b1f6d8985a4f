"""Collectives of :mod:`torch.distributed` through which gradients pass.

``R`` processes of a group, ``n`` rows of this one, which may be others than those of the rest. Each process calls them
in the same order. ``name`` is what :func:`.traffic.counted` adds the bytes up for; those of the backward pass are
called ``name (gradient)``. Counted is what leaves the process: of a gather the own rows R - 1 times, of a
reduce-scatter as much as of the gather whose gradient it is, of an exchange the rows for others, of a sum
2 (R - 1) / R of the tensor (a ring).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.traffic import count

# torch 2.13 calls them so; before they had longer names
_all_gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
GRADIENT = " (gradient)"
NUMBERS = "numbers"  # integers that the host waits for
GRADIENTS = "gradients"  # of the parameters


class Beside(NamedTuple):
    """Tables (m, ...) of which the rows, below each other, go along with those of a :class:`Gathering`, without a
    gradient.

    Attributes:
        tables: of this process.
        rows: of each process, of all tables.
        name: for the count of bytes.
    """

    tables: tuple[Tensor, ...]
    rows: tuple[int, ...]
    name: str


class Gathering:
    """The rows of all processes, on their way.

    Args:
        x: (n, ...) own rows.
        rows: of each process.
        group: the processes.
        name: for the count of bytes.
        pieces: first and last row of runs among all rows, process after process, in the order in which the result has
            them; None: as they are.
    """

    def __init__(
        self,
        x: Tensor,
        rows: Sequence[int],
        group: dist.ProcessGroup,
        name: str,
        pieces: Sequence[tuple[int, int]] | None = None,
        beside: Beside | None = None,
    ):
        self.rows, self.group, self.name, self.beside = tuple(rows), group, name, beside
        self.longest = max(rows)
        self.stride = self.longest + (0 if beside is None else max(beside.rows))  # of a process in the buffer
        self.work: Any = None
        self.shard: Tensor | None = None  # of the gradient
        self.kept: tuple[Tensor, ...] = ()  # alive while they are sent
        self.pieces = self._in_buffer(pieces, self.stride)
        self.pieces_back = self.pieces if beside is None else self._in_buffer(pieces, self.longest)
        self.out: Tensor | None = _Depart.apply(x, self)

    def wait(self) -> Tensor:
        """(sum of rows, ...), in the order of the pieces. Called once."""
        # Held no longer: autograd's graph refers to this object, which would refer to the graph.
        departed, self.out = self.out, None
        out, self.far = _Arrive.apply(departed, self)
        return out

    def _in_buffer(self, pieces: Sequence[tuple[int, int]] | None, stride: int) -> list[tuple[int, int]] | None:
        """Where the pieces lie in a buffer in which every process has ``stride`` rows; None: the buffer is it."""
        even = len(set(self.rows)) == 1 and stride == self.longest
        ends = [sum(self.rows[:rank]) for rank in range(len(self.rows) + 1)]
        runs = list(pieces) if pieces is not None else list(zip(ends, ends[1:], strict=False))
        if even and runs[0][0] == 0 and all(a[1] == b[0] for a, b in zip(runs, runs[1:], strict=False)):
            return None
        places = []
        for start, end in runs:
            # A run lies within the rows of one process; an empty one counts as the first one's.
            rank = next(r for r in range(len(self.rows)) if ends[r] <= start < ends[r + 1] or start == end)
            places.append((start - ends[rank] + rank * stride, end - ends[rank] + rank * stride))
        return places

    def depart(self, x: Tensor) -> Tensor:
        # The collective takes as many rows of each process: shorter parts are filled up with zeros.
        processes = len(self.rows)
        count(self.name, (processes - 1) * self.longest * x[:1].numel(), x)
        if self.beside is None:
            x = _filled(x, self.longest)
        else:
            x = _filled(torch.cat([_filled(x, self.longest), *self.beside.tables]), self.stride)
            count(self.beside.name, (processes - 1) * (x.numel() - self.longest * x[:1].numel()), x)
        buffer = x.new_empty(processes * self.stride, *x.shape[1:])
        self.work = _all_gather(buffer, x, group=self.group, async_op=True)
        self.kept = (x,)
        return buffer

    def arrive(self, buffer: Tensor) -> tuple[Tensor, Tensor | None]:
        self.work.wait()
        self.work, self.kept, far = None, (), None
        if self.beside is not None:
            starts = (rank * self.stride + self.longest for rank in range(len(self.rows)))
            far = torch.cat([buffer[a : a + n] for a, n in zip(starts, self.beside.rows, strict=True)])
            self.beside = None  # its tables are no longer held
        # A view, so that autograd sees a tensor of its own and nothing is copied.
        if self.pieces is None:
            return buffer.view_as(buffer), far
        return torch.cat([buffer[start:end] for start, end in self.pieces]), far

    def depart_back(self, grad: Tensor) -> Tensor:
        buffer, processes = grad.contiguous(), len(self.rows)
        if self.pieces_back is not None:  # what only fills up a shorter part has no gradient
            buffer = grad.new_zeros(processes * self.longest, *grad.shape[1:])
            parts = grad.split([end - start for start, end in self.pieces_back])
            for part, (start, end) in zip(parts, self.pieces_back, strict=True):
                buffer[start:end] = part
        shard = grad.new_empty(self.longest, *grad.shape[1:])
        count(self.name + GRADIENT, (processes - 1) * shard.numel(), shard)
        self.work = _reduce_scatter(shard, buffer, group=self.group, async_op=True)
        self.shard, self.kept = shard, (buffer,)
        if self.stride == self.longest:
            return buffer
        return grad.new_empty(()).expand(processes * self.stride, *grad.shape[1:])

    def arrive_back(self) -> Tensor:
        assert self.shard is not None
        self.work.wait()
        shard, self.shard, self.work, self.kept = self.shard, None, None, ()
        return shard[: self.rows[self.group.rank()]]


class _Depart(torch.autograd.Function):
    """Begins the gather; its gradient is what the reduce-scatter of :class:`_Arrive` brings."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gathering: Gathering) -> Tensor:
        ctx.gathering = gathering
        return gathering.depart(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.gathering.arrive_back(), None


class _Arrive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, buffer: Tensor, gathering: Gathering) -> tuple[Tensor, Tensor | None]:
        ctx.gathering = gathering
        ctx.set_materialize_grads(False)
        out, far = gathering.arrive(buffer)
        if far is not None:
            ctx.mark_non_differentiable(far)
        return out, far

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # Given on as the gradient of the buffer is what is being sent, or something of its shape: nobody reads its
        # numbers. It makes autograd call :class:`_Depart` after this, and whatever it does in between goes on while the
        # sums are on their way.
        return ctx.gathering.depart_back(grads[0]), None


def all_gather(
    x: Tensor,
    rows: Sequence[int],
    group: dist.ProcessGroup,
    name: str,
    pieces: Sequence[tuple[int, int]] | None = None,
) -> Tensor:
    """The rows (n, ...) of all processes, one process after the other; the gradient is reduce-scattered.

    See :class:`Gathering`, of which other work may go on in the meantime.
    """
    return Gathering(x, rows, group, name, pieces).wait()


def all_to_all(x: Tensor, send: Sequence[int], receive: Sequence[int], group: dist.ProcessGroup, name: str) -> Tensor:
    """Rows for each process, ``send`` of them, one after the other, for the ``receive`` rows that each has for this
    one; the gradient goes back the same way."""
    out: Tensor = _AllToAll.apply(x, tuple(send), tuple(receive), group, name)
    return out


def begin_all_to_all(
    x: Tensor, send: Sequence[int], receive: Sequence[int], group: dist.ProcessGroup, name: str
) -> tuple[Tensor, Any]:
    """Rows as :func:`all_to_all` takes them -> those that are on their way, and what to ``wait()`` for. No gradient."""
    x = x.contiguous()
    out = x.new_empty(sum(receive), *x.shape[1:])
    others = sum(send) - send[group.rank()]
    count(name, others * x[:1].numel() if len(x) else 0, x)
    return out, dist.all_to_all_single(out, x, list(receive), list(send), group=group, async_op=True)


class _AllToAll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, send: tuple[int, ...], receive: tuple[int, ...], group: dist.ProcessGroup, name: str
    ) -> Tensor:
        ctx.there = send, receive, group, name
        out, work = begin_all_to_all(x, send, receive, group, name)
        work.wait()
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        send, receive, group, name = ctx.there
        return _AllToAll.apply(grads[0], receive, send, group, name + GRADIENT), None, None, None, None


def all_sum(x: Tensor, group: dist.ProcessGroup, name: str) -> Tensor:
    """The sum of the tensors of all processes; so is its gradient."""
    out: Tensor = _AllSum.apply(x, group, name)
    return out


class _AllSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup, name: str) -> Tensor:
        ctx.there = group, name
        # ``reduce`` works in place.
        return reduce(x.clone(memory_format=torch.contiguous_format), group, name)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        group, name = ctx.there
        return _AllSum.apply(grads[0], group, name + GRADIENT), None, None


def reduce(x: Tensor, group: dist.ProcessGroup, name: str, how: str = "SUM") -> Tensor:
    """``x`` reduced over the processes, in place, as the name of a ``ReduceOp`` says. No gradient."""
    processes = group.size()
    count(name, 2 * (processes - 1) * x.numel() // processes, x)
    dist.all_reduce(x, getattr(dist.ReduceOp, how), group=group)
    return x


class ToHost:
    """A few integers (n,) of the device, on their way to the host.

    The host waits for them alone, in :meth:`wait`, and not for work that the device was given after this was made.
    """

    def __init__(self, x: Tensor):
        self.event: torch.cuda.Event | None = None
        self.there = x
        if x.is_cuda:
            # Only a copy to pinned memory does not hold the host; the event tells when it is there.
            there = torch.empty(x.shape, dtype=x.dtype, device="cpu", pin_memory=True)
            self.there = there.copy_(x, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record(torch.cuda.current_stream(x.device))

    def wait(self) -> list[int]:
        """The integers."""
        if self.event is not None:
            self.event.synchronize()
        numbers: list[int] = self.there.tolist()
        return numbers


def numbers_of_all(values: Sequence[int] | Tensor, device: torch.device, group: dist.ProcessGroup) -> list[list[int]]:
    """A few integers of each process, on the host of all, which waits for them. Counted as ``numbers``."""
    own = torch.as_tensor(values, dtype=torch.long, device=device)
    count(NUMBERS, (group.size() - 1) * len(own), own)
    out = own.new_empty(group.size() * len(own))
    _all_gather(out, own, group=group)
    numbers = ToHost(out).wait()
    return [numbers[start : start + len(own)] for start in range(0, len(numbers), len(own))]


def _filled(x: Tensor, rows: int) -> Tensor:
    """x (n, ...) with rows behind its own up to ``rows``."""
    if len(x) == rows:
        return x.contiguous()
    out = x.new_zeros(rows, *x.shape[1:])
    out[: len(x)] = x
    return out
