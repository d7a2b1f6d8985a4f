"""Rows that change the process, and come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import all_to_all, numbers_of_all
from pointcept_bsa.geometry.host_tables import integers
from pointcept_bsa.geometry.reorder import reorder


@dataclass(frozen=True, eq=False)
class Exchange:
    """Each own row goes to one process, and arrives there behind those of processes before this one.

    Attributes:
        order: (n,) own rows in the order of where they go.
        inverse: (n,) the inverse permutation.
        send, receive: rows for each process, and from each.
        group: the processes.
        name: for the count of bytes.
    """

    order: Tensor
    inverse: Tensor
    send: tuple[int, ...]
    receive: tuple[int, ...]
    group: dist.ProcessGroup
    name: str

    @classmethod
    def to(cls, target: Tensor, group: dist.ProcessGroup, name: str) -> Exchange:
        """An exchange in which row i goes to process ``target[i]``; rows for the same one in their order. The host
        waits."""
        return cls.several(target.unsqueeze(0), group, name)[0]

    @classmethod
    def several(cls, targets: Tensor, group: dist.ProcessGroup, name: str) -> tuple[Exchange, ...]:
        """T of them, in which row i goes to ``targets[t, i]`` of (T, n). The host waits once."""
        trees, rows = targets.shape
        processes, rank = dist.get_world_size(group), dist.get_rank(group)
        target, order = targets.sort(dim=1, stable=True)
        every = torch.arange(rows, device=order.device).expand_as(order)
        inverse = torch.empty_like(order).scatter_(1, order, every)
        each = integers(tuple(range(processes)) * trees, order.device).view(trees, processes)
        upto = numbers_of_all(torch.searchsorted(target, each, right=True).view(-1), order.device, group)
        found = []
        for t in range(trees):
            numbers = [_steps(row[t * processes : (t + 1) * processes]) for row in upto]
            send, receive = numbers[rank], tuple(row[rank] for row in numbers)
            found.append(cls(order[t], inverse[t], send, receive, group, name))
        return tuple(found)

    def forth(self, x: Tensor) -> Tensor:
        """(n, ...) own rows -> those that arrive here."""
        return all_to_all(reorder(x, self.order, self.inverse), self.send, self.receive, self.group, self.name)

    def back(self, x: Tensor) -> Tensor:
        """Rows as :meth:`forth` gives them -> (n, ...) in the order of the own rows."""
        return reorder(all_to_all(x, self.receive, self.send, self.group, self.name), self.inverse, self.order)


def forth_together(exchanges: Sequence[Exchange], x: Tensor) -> Tensor:
    """Own rows (T, n, ...) of each exchange -> those that arrive here, exchange by exchange, all sent at once. No
    gradient."""
    ordered = [rows[each.order].split(each.send) for each, rows in zip(exchanges, x, strict=True)]
    rows = torch.cat(list(chain.from_iterable(zip(*ordered, strict=True))))
    send = [sum(of_process) for of_process in zip(*(each.send for each in exchanges), strict=True)]
    receive = list(zip(*(each.receive for each in exchanges), strict=True))
    came = all_to_all(rows, send, list(map(sum, receive)), exchanges[0].group, exchanges[0].name)
    pieces = came.split(list(chain.from_iterable(receive)))  # process by process
    return torch.cat([piece for t in range(len(exchanges)) for piece in pieces[t :: len(exchanges)]])


def _steps(upto: Sequence[int]) -> tuple[int, ...]:
    """Numbers whose sums are these."""
    return tuple(b - a for a, b in pairwise([0, *upto]))
