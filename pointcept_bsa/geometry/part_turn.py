"""Rows from the order of one tree to that of another, of which processes have parts.

Most rows stay in their process: the others are on their way while these are put in order.

``S`` own slots in both trees, ``n`` rows that go to other processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointcept_bsa.distributed.collectives import GRADIENT, all_to_all, begin_all_to_all

NAME = "rotation"  # for the count of bytes


@dataclass(frozen=True, eq=False)
class OneWay:
    """What a process does in one direction.

    Attributes:
        source: (S,) own row for each slot; any for those that others fill.
        leaving: (n,) own rows that go to others, process after process.
        send, receive: how many go to each process, and come from each.
        arriving: the slots of those that come.
    """

    source: Tensor
    leaving: Tensor
    send: tuple[int, ...]
    receive: tuple[int, ...]
    arriving: Tensor

    @cached_property
    def places(self) -> Tensor:
        """(S,) own row for each slot, or -1 - i for the i-th of those that come."""
        coming = torch.arange(len(self.arriving), device=self.arriving.device)
        return self.source.index_copy(0, self.arriving, -1 - coming)


@dataclass(frozen=True, eq=False)
class Turn:
    """Both directions. What comes is exact: no row is computed with."""

    there: OneWay
    back: OneWay
    group: dist.ProcessGroup

    @classmethod
    def of(cls, owner: Tensor, place: Tensor, rows: np.ndarray, group: dist.ProcessGroup) -> Turn:
        """From each own row (S,) to slot ``place`` of process ``owner``; each has S of them, too.

        Args:
            rows: (R, R) how many each process has for each.
        """
        processes, rank = dist.get_world_size(group), dist.get_rank(group)
        order = owner.masked_fill(owner == rank, processes).argsort(stable=True)  # what stays comes last
        others = rows - np.diag(np.diag(rows))
        send, receive = tuple(others[rank].tolist()), tuple(others[:, rank].tolist())
        leaving, staying = order[: sum(send)], order[sum(send) :]
        arriving = all_to_all(place[leaving], send, receive, group, "tree")
        source = torch.zeros_like(order).index_copy_(0, place[staying], staying)
        there = OneWay(source, leaving, send, receive, arriving)
        return cls(there, OneWay(place.masked_fill(owner != rank, 0), arriving, receive, send, leaving), group)

    def __call__(self, x: Tensor, *, back: bool = False) -> Tensor:
        """(S, ...) in the order of the rows -> in that of the slots, or back."""
        ways = (self.back, self.there) if back else (self.there, self.back)
        out: Tensor = _Turned.apply(x, *ways, self.group, NAME)
        return out

    def exchanged(
        self, x: Tensor, summand: Tensor | None, *, back: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """The rows of x + summand (S, ...) that change the process, for whoever puts all in order: x and the summand,
        the ``places`` of the slots among the rows that stay and those that come, and the latter.

        The first two are for one use alone, and what that leaves of the gradients of rows that go counts for nothing.
        """
        way, inverse = (self.back, self.there) if back else (self.there, self.back)
        x, summand, came = _Exchanged.apply(x, summand, way, inverse, self.group, NAME)
        return x, summand, way.places, came


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, way: OneWay, inverse: OneWay, group: dist.ProcessGroup, name: str) -> Tensor:
        ctx.there = inverse, way, group, name
        came, work = begin_all_to_all(x[way.leaving], way.send, way.receive, group, name)
        out = x[way.source]
        work.wait()
        return out.index_copy_(0, way.arriving, came)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        way, inverse, group, name = ctx.there
        return _Turned.apply(grads[0], way, inverse, group, name + GRADIENT), None, None, None, None


class _Exchanged(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, summand: Tensor | None, way: OneWay, inverse: OneWay, group: dist.ProcessGroup, name: str
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        ctx.there = way, inverse, group, name
        rows = x[way.leaving]
        if summand is not None:
            rows = rows + summand[way.leaving]
        came, work = begin_all_to_all(rows, way.send, way.receive, group, name)
        work.wait()
        return x.view_as(x), None if summand is None else summand.view_as(summand), came

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        way, inverse, group, name = ctx.there
        came, work = begin_all_to_all(grads[2], inverse.send, inverse.receive, group, name + GRADIENT)
        work.wait()
        # Nobody else has these gradients: the results are for one use.
        for grad in grads[:2]:
            if grad is not None:
                grad.index_copy_(0, way.leaving, came.to(grad.dtype))
        return grads[0], grads[1], None, None, None, None
