"""Top-k block selection in plain torch (BSA eq. 6, 7, 12 and 14)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Scores are computed for so many (group, block) pairs of all heads at once: 256 MiB in float32.
MAX_SCORES = 2**26


@torch.no_grad()
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
    """The ``topk`` blocks of the own cloud with the largest <q, k>, per query group and head.

    Args:
        q: (G, H, D) one query a group (the mean of its queries: the mean of dot products is the dot product of means).
        k: (L, H, D) coarse keys.
        groups, blocks: query groups and blocks of each cloud.
        topk: blocks to select.
        balls: balls of each cloud; then no group gets a block of its own ball. None: any block.
        block_valid: (L,) False for blocks without points.
        own: (G,) the ball of each group, counted over the batch, where groups are not those of the slots.

    Returns:
        (G, H, topk) index into the L blocks, ordered by falling score; -1 where there are fewer candidates.
    """
    group_ends, block_ends = _ends(groups), _ends(blocks)
    selected = q.new_full((q.shape[0], q.shape[1], topk), -1, dtype=torch.long)
    for cloud, (num_groups, num_blocks) in enumerate(zip(groups, blocks, strict=True)):
        group_start, block_start = group_ends[cloud] - num_groups, block_ends[cloud] - num_blocks
        keys = k[block_start : block_ends[cloud]].permute(1, 2, 0)  # (H, D, L)
        hidden = None if block_valid is None else ~block_valid[block_start : block_ends[cloud]]
        step = max(1, MAX_SCORES // (num_blocks * q.shape[1]))
        for first in range(0, num_groups, step):
            rows = torch.arange(first, min(first + step, num_groups), device=q.device)
            scores = (q[group_start + rows].transpose(0, 1) @ keys).float()  # (H, rows, L)
            if hidden is not None:
                scores = scores.masked_fill(hidden, -torch.inf)
            if balls is not None:
                if own is None:
                    ball = rows // (num_groups // balls[cloud])
                else:
                    ball = own[group_start + rows] - sum(balls[:cloud])
                scores = scores.masked_fill(_inside(ball, num_blocks, balls[cloud]), -torch.inf)
            best, index = scores.topk(min(topk, num_blocks), dim=-1)
            index = torch.where(best > -torch.inf, index + block_start, -1).transpose(0, 1)
            selected[group_start + rows] = F.pad(index, (0, topk - index.shape[-1]), value=-1)
    return selected


def _inside(ball: Tensor, num_blocks: int, num_balls: int) -> Tensor:
    """(rows, L) True where the block lies in the ball (rows,)."""
    columns = torch.arange(num_blocks, device=ball.device)
    return ball.unsqueeze(1) == columns // (num_blocks // num_balls)


def _ends(lengths: tuple[int, ...]) -> list[int]:
    return [sum(lengths[: i + 1]) for i in range(len(lengths))]
