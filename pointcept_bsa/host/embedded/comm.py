"""Talking between the processes of a run; with one process every function is a plain answer."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.distributed as dist

_local_rank = 0


def _initialised() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _initialised() else 1


def get_rank() -> int:
    """Index of this process among all of them."""
    return dist.get_rank() if _initialised() else 0


def get_local_rank() -> int:
    """Index of this process on its machine; also the index of its GPU."""
    return _local_rank if _initialised() else 0


def set_local_rank(rank: int) -> None:
    """Told once by the launcher."""
    global _local_rank
    _local_rank = rank


def is_main_process() -> bool:
    """True in the process that writes files and logs."""
    return get_rank() == 0


def synchronize() -> None:
    """Wait until every process has come here."""
    if get_world_size() == 1:
        return
    if dist.get_backend() == "nccl":
        dist.barrier(device_ids=[torch.cuda.current_device()])
    else:
        dist.barrier()


@cache
def _object_group() -> Any:
    """A group that moves Python objects through the CPU, whatever moves the tensors."""
    return dist.new_group(backend="gloo") if dist.get_backend() == "nccl" else dist.group.WORLD


def all_gather(data: Any) -> list[Any]:
    """Picklable ``data`` of every process, in rank order, in every process."""
    if get_world_size() == 1:
        return [data]
    gathered: list[Any] = [None] * get_world_size()
    dist.all_gather_object(gathered, data, group=_object_group())
    return gathered


def gather(data: Any, dst: int = 0) -> list[Any]:
    """As ``all_gather``, but only process ``dst`` gets the list; the others get an empty one."""
    if get_world_size() == 1:
        return [data]
    gathered: list[Any] | None = [None] * get_world_size() if get_rank() == dst else None
    dist.gather_object(data, gathered, dst=dst, group=_object_group())
    return gathered or []


def broadcast(data: Any, src: int = 0) -> Any:
    """Picklable ``data`` of process ``src``, in every process."""
    if get_world_size() == 1:
        return data
    box = [data]
    dist.broadcast_object_list(box, src=src, group=_object_group())
    return box[0]


@torch.no_grad()
def reduce_dict(input_dict: dict[str, torch.Tensor], average: bool = True) -> dict[str, torch.Tensor]:
    """Sum (or mean) over processes of a dict of tensors of one shape, the same keys in every process."""
    if get_world_size() == 1 or not input_dict:
        return dict(input_dict)
    names = sorted(input_dict)
    values = torch.stack([input_dict[name].detach().float() for name in names])
    dist.all_reduce(values)
    if average:
        values /= get_world_size()
    return dict(zip(names, values, strict=True))
