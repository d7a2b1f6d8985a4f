"""Rows that a process wants of tables of which the others have the parts.

``n`` wanted rows, ``P`` own ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import all_to_all, numbers_of_all


@dataclass(frozen=True, eq=False)
class Requests:
    """Who wants which rows of whom; they are asked for once, and then fetched as often as there are tables.

    Attributes:
        rows: own rows that others want, process after process.
        send, receive: how many go to each process, and come from each.
        group: the processes.
        name: for the count of bytes; the requests are called ``name (requests)``, 8 bytes a row.
    """

    rows: Tensor
    send: tuple[int, ...]
    receive: tuple[int, ...]
    group: dist.ProcessGroup
    name: str

    @classmethod
    def of(cls, wanted: Tensor, rows: Sequence[int], group: dist.ProcessGroup, name: str) -> Requests:
        """Ask for rows. The host waits.

        Args:
            wanted: (n,) rows counted over the parts of all processes, rising, none twice.
            rows: of each process's part.
        """
        rank = dist.get_rank(group)
        ends = torch.tensor(rows, device=wanted.device).cumsum(0)
        upto = torch.searchsorted(wanted, ends)
        numbers = numbers_of_all(torch.diff(upto, prepend=upto.new_zeros(1)), wanted.device, group)
        receive, send = tuple(numbers[rank]), tuple(row[rank] for row in numbers)
        asked = all_to_all(wanted, receive, send, group, f"{name} (requests)")
        return cls(asked - sum(rows[:rank]), send, receive, group, name)

    def fetch(self, *tables: Tensor) -> Tensor:
        """The wanted rows (n, tables, ...) of tables of which these are the own parts (P, ...)."""
        given = torch.stack([_Given.apply(table, self.rows, self.send) for table in tables], 1)
        return all_to_all(given, self.send, self.receive, self.group, self.name)


class _Given(torch.autograd.Function):
    """Rows of a table, of which each process gets some, none twice: so gradients are summed in a fixed order."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, send: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.there = send, table.shape
        return table[rows]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (rows,), (send, shape) = ctx.saved_tensors, ctx.there
        out = grads[0].new_zeros(shape)
        for part, grad in zip(rows.split(send), grads[0].split(send), strict=True):
            out[part] = out[part] + grad
        return out, None, None
