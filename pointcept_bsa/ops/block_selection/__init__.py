"""Choice of the blocks that each query group attends to."""

from __future__ import annotations

from torch import Tensor

from pointcept_bsa.dispatch import triton_installed, use_triton

from . import reference

if triton_installed():
    from . import triton_backend

__all__ = ["select_blocks"]


def select_blocks(
    q: Tensor,
    k: Tensor,
    groups: tuple[int, ...],
    blocks: tuple[int, ...],
    topk: int,
    *,
    balls: tuple[int, ...] | None = None,
    block_valid: Tensor | None = None,
    own: Tensor | None = None,
) -> Tensor:
    """The ``topk`` blocks of the own cloud with the largest <q, k>, per query group and head. No gradient.

    Args:
        q: (G, H, D) one query a group (the mean of its queries: the mean of dot products is the dot product of means).
        k: (L, H, D) coarse keys.
        groups, blocks: query groups and blocks of each cloud.
        topk: blocks to select.
        balls: balls of each cloud; then no group gets a block of its own ball. None: any block.
        block_valid: (L,) False for blocks without points.
        own: (G,) the ball of each group, counted over the batch, where groups are not those of the slots.

    Returns:
        (G, H, topk) index into the L blocks, ordered by falling score; -1 where there are fewer candidates. Of equal
        scores the kernels take the lower index first, the reference any. The kernels compare scores in float32, the
        reference in the dtype of q.

    Raises:
        InputError: ``PCBSA_OPS`` names no backend, or one that cannot take these arguments.
    """
    why_not = None
    if triton_installed():
        why_not = triton_backend.unsupported(q, k, topk)
    if use_triton("select_blocks", q, k, unsupported=why_not):
        return triton_backend.select_blocks_op(
            q.detach(),
            k.detach(),
            list(groups),
            list(blocks),
            topk,
            None if balls is None else list(balls),
            block_valid,
            own,
        )
    return reference.select_blocks(q, k, groups, blocks, topk, balls=balls, block_valid=block_valid, own=own)
