"""One step of the selection by descent: the best children of the tokens that were kept."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference

if triton_installed():
    from . import triton_backend

__all__ = ["best_children"]


def best_children(
    q: Tensor,
    k: Tensor,
    parents: Tensor,
    first_child: Tensor,
    hidden: Tensor,
    fan: int,
    keep: int,
    own: tuple[int, int] | None = None,
    ball: Tensor | None = None,
) -> Tensor:
    """Of the children of some tokens the ``keep`` with the largest <q, k>: see :func:`.reference.best_children`."""
    why_not = triton_backend.unsupported(q, k, keep) if triton_installed() else None
    if use_triton("best_children", q, k, unsupported=why_not):
        sizes = list(own or ())
        return triton_backend.best_children_op(q, k, parents, first_child, hidden, fan, keep, sizes, ball)
    return reference.best_children(
        q, k, parents=parents, first_child=first_child, hidden=hidden, fan=fan, keep=keep, own=own, ball=ball
    )
