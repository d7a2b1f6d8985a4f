"""One step of the selection by descent, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_ELEMENTS = 2**26  # of gathered keys at once


@torch.no_grad()
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
    """Of the children of some tokens the ``keep`` with the largest <q, k>, per query group and head.

    Args:
        q: (G, H, D) one query a group.
        k: (T, H, D) keys of the children's level.
        parents: (G, H, W) tokens of the level above; -1 for none.
        first_child: (T' + 1,) first child of each of those.
        hidden: (T,) True for children without points.
        fan: most children of a token.
        keep: how many to keep.
        own: groups and children in a ball; then no group gets a child in its own ball. None: any child.
        ball: (G,) with ``own``, the ball of each group, where groups are not those of the slots.

    Returns:
        (G, H, keep) children by falling score; -1 where there are fewer.
    """
    step = max(1, MAX_ELEMENTS // (k.shape[1] * k.shape[2] * parents.shape[2] * fan))
    balls = torch.arange(len(q), device=q.device) // (own[0] if own else 1) if ball is None else ball
    heads = torch.arange(k.shape[1], device=k.device).view(1, -1, 1)
    out = []
    for rows, inside, above in zip(q.split(step), balls.split(step), parents.split(step), strict=True):
        first, end = (first_child[above.clamp(min=0) + i].long().unsqueeze(-1) for i in (0, 1))
        child = first + torch.arange(fan, device=q.device)
        gone = ((child >= end) | (above < 0).unsqueeze(-1)).flatten(-2)
        child = child.clamp(max=len(k) - 1).flatten(-2)
        gone |= hidden[child]
        if own is not None:
            gone |= inside.view(-1, 1, 1) == child // own[1]
        scores = (k[child, heads] @ rows.unsqueeze(-1)).squeeze(-1).float().masked_fill(gone, -torch.inf)
        best, place = scores.topk(min(keep, scores.shape[-1]), dim=-1)
        chosen = child.gather(-1, place).masked_fill(best == -torch.inf, -1)
        out.append(F.pad(chosen, (0, keep - chosen.shape[-1]), value=-1))
    return torch.cat(out)
