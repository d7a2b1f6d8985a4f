"""The processes of a run as a table: rows share a cloud, columns share nothing but the weights.

With ``context_parallel=R`` each ``R`` consecutive processes hold the parts of the same clouds (dimension ``context``);
the groups see different clouds (dimension ``data``). A batch of a process in such a group holds a part of the points of
*every* cloud of the group's batch, in order: those of rank 0 come first.

What is summed over the parts (:func:`.parts.sum_over_parts`) is the same in all processes of a group, so is the loss.
The backward pass of every collective is its adjoint: gradients are those of the sum of all losses. So the mean of the
gradients over *all* processes is the gradient of the mean loss over the groups, as without ``context_parallel``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch.distributed as dist

from pointcept_bsa.errors import InputError

_mesh: Any = None
_alone = False


def create(context_parallel: int, device_type: str) -> None:
    """Lay the processes out, ``context_parallel`` of them for a cloud. Called once in every process.

    Raises:
        InputError: a number that does not divide that of the processes.
    """
    world = _world()
    if context_parallel < 1 or world % context_parallel:
        raise InputError(f"context_parallel: got {context_parallel}, wanted a divisor of the {world} processes")
    global _mesh
    _mesh = None
    if context_parallel > 1:
        from torch.distributed.device_mesh import init_device_mesh  # a second's import, for those who want it

        shape = (world // context_parallel, context_parallel)
        _mesh = init_device_mesh(device_type, shape, mesh_dim_names=("data", "context"))


@contextlib.contextmanager
def whole_clouds() -> Iterator[None]:
    """Within, this process has its clouds to itself."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def context_group() -> dist.ProcessGroup | None:
    """The processes that share this one's clouds; None where it has them to itself."""
    return None if _mesh is None or _alone else _mesh.get_group("context")


def data_group() -> dist.ProcessGroup | None:
    """The processes that hold the same part of other clouds; None without ``context_parallel``."""
    return None if _mesh is None else _mesh.get_group("data")


def context_size() -> int:
    """R, the processes of a cloud."""
    return 1 if _mesh is None or _alone else int(_mesh.size(1))


def context_rank() -> int:
    """Which part of its clouds this process holds."""
    return 0 if _mesh is None or _alone else int(_mesh.get_local_rank("context"))


def data_size() -> int:
    """The groups of processes that see different clouds; without ``context_parallel`` the processes."""
    return _world() if _mesh is None else int(_mesh.size(0))


def data_rank() -> int:
    """Which of these groups this process is in."""
    if _mesh is None:
        return dist.get_rank() if _initialised() else 0
    return int(_mesh.get_local_rank("data"))


def _initialised() -> bool:
    return dist.is_available() and dist.is_initialized()


def _world() -> int:
    return dist.get_world_size() if _initialised() else 1
