"""One step of the selection by descent: the best children of the tokens that were kept."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference

if triton_installed():
    from . import triton_backend

__all__ = ["best_children", "compares_in_turn"]

# Of so few tokens most are in the runs that hold the best, which the kernels of the choice of blocks compare twice.
# Measured with 64 and 128 tokens, heads of 8 channels.
IN_TURN, NARROW = 256, 16


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


def compares_in_turn(q: Tensor, k: Tensor, tokens: int, keep: int) -> bool:
    """Whether :func:`best_children` is the way to the ``keep`` best of so many tokens that are children of one parent.

    Its kernel goes through them one after the other; wide heads and many tokens want matrix products.
    """
    if tokens > IN_TURN or q.shape[-1] > NARROW or not triton_installed():
        return False
    return triton_backend.unsupported(q, k, keep) is None and use_triton("best_children", q, k)
