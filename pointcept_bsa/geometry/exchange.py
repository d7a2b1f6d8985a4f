"""Rows that change the process, and come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from pointcept_bsa.distributed.collectives import all_to_all, numbers_of_all
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
    def to(cls, target: Tensor, group: dist.ProcessGroup, name: str, key: Tensor | None = None) -> Exchange:
        """An exchange in which row i goes to process ``target[i]``; rows for the same one in the order of ``key`` (n,),
        default their own. The host waits."""
        processes = dist.get_world_size(group)
        order = (target if key is None else key).argsort(stable=True)
        inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        ends = torch.searchsorted(target[order], torch.arange(processes, device=order.device), right=True)
        numbers, rank = (
            numbers_of_all(torch.diff(ends, prepend=ends.new_zeros(1)), target.device, group),
            dist.get_rank(group),
        )
        return cls(order, inverse, tuple(numbers[rank]), tuple(row[rank] for row in numbers), group, name)

    def forth(self, x: Tensor) -> Tensor:
        """(n, ...) own rows -> those that arrive here."""
        return all_to_all(reorder(x, self.order, self.inverse), self.send, self.receive, self.group, self.name)

    def back(self, x: Tensor) -> Tensor:
        """Rows as :meth:`forth` gives them -> (n, ...) in the order of the own rows."""
        return reorder(all_to_all(x, self.receive, self.send, self.group, self.name), self.inverse, self.order)


def places_of(lengths: Sequence[Sequence[int]], rank: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of own rows, cloud after cloud: the cloud of each, and its place among the rows of all processes.

    Args:
        lengths: rows of each cloud in each process, (R, B).
    """
    own = torch.tensor(lengths[rank], device=device)
    cloud = torch.arange(len(own), device=device).repeat_interleave(own, output_size=sum(lengths[rank]))
    before = sum(map(sum, lengths[:rank]))
    return cloud, before + torch.arange(len(cloud), device=device)
