"""Who attends to whom, branch by branch: the attention weights that the layers themselves never write down.

``S`` slots, ``R`` of them asked about, ``H`` heads, ``D`` channels a head, ``m`` slots a ball, ``l`` slots a block,
``g`` slots that share a selection.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pointcept_bsa.analysis.visualization.capture import LayerCall
from pointcept_bsa.geometry.ball_tree import BallLayout
from pointcept_bsa.layers.attention import BallAttention, FullAttention
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.token_levels import Tokens

BALL, SELECTION, COMPRESSION, FULL = "ball", "selection", "compression", "full"


@torch.no_grad()
def branch_weights(call: LayerCall, rows: Tensor) -> dict[str, Tensor]:
    """Attention weights of the slots ``rows`` (R,) to every slot, for each branch: (R, H, S), without the gates.

    They sum to 1 over the slots, or are all 0 where the branch sees nothing. The weight of a coarse key is that of
    the l slots of its block together, an l-th each (also of slots that hold no point).
    """
    module = call.module
    if isinstance(module, FullAttention):
        assert call.centred is not None
        q, k, _ = module.qkv(call.x + module.position(call.centred)).unflatten(-1, (3, module.num_heads, -1)).unbind(-3)
        if module.query_key is not None:
            q, k = module.query_key(q, k, call.centred)
        return {FULL: (torch.einsum("rhd,shd->rhs", q[rows], k) / math.sqrt(q.shape[-1])).softmax(-1)}
    assert call.layout is not None
    if isinstance(module, NativeSparseAttention):
        return _native(module, call.x, call.layout, rows)
    assert isinstance(module, BallAttention | BallSparseAttention)
    q, k = queries_and_keys(call)
    ball = ball_weights(q, k, call.layout, module.sigma, rows)
    if isinstance(module, BallAttention):
        return {BALL: ball}
    q_cmp, k_cmp, tokens = coarse(module, q, k, call.layout)
    asking = q_cmp[rows // module.block_size] if module.group_compression else q[rows]
    chosen = module.select(q_cmp, k_cmp, call.layout, tokens)[rows // module.group_size]
    weight = coarse_weights(asking, k_cmp, call.layout) if tokens is None else token_weights(asking, tokens, rows)
    return {BALL: ball, SELECTION: selected_weights(q[rows], k, chosen, call.layout), COMPRESSION: weight}


def queries_and_keys(call: LayerCall) -> tuple[Tensor, Tensor]:
    """Of BSA and of ball attention: (S, H, D) each."""
    module, layout = call.module, call.layout
    assert isinstance(module, BallAttention | BallSparseAttention) and layout is not None
    h = call.x + module.position(layout.relative)
    q, k, _ = module.qkv(h).unflatten(-1, (3, module.num_heads, -1)).unbind(-3)
    return (q, k) if module.query_key is None else module.query_key(q, k, layout.coord)


def coarse(
    module: BallSparseAttention, q: Tensor, k: Tensor, layout: BallLayout
) -> tuple[Tensor, Tensor, Tokens | None]:
    """Queries of the groups, keys of the blocks, and the tokens of all levels where there are any."""
    k_cmp = module.pool_k(k, layout.valid)
    q_cmp = module.pool_q(q, layout.valid) if module.group_size > 1 else q
    return q_cmp, k_cmp, None if module.levels is None else module.levels(k_cmp, k_cmp, layout)


def _native(module: NativeSparseAttention, x: Tensor, layout: BallLayout, rows: Tensor) -> dict[str, Tensor]:
    h = x + module.position(layout.relative)
    q = module.query(h).unflatten(-1, (module.num_heads, -1))
    k, _ = module.key_value(h).unflatten(-1, (2, module.num_kv_heads, -1)).unbind(-3)
    if module.query_key is not None:
        q, k = module.query_key(q, k, layout.coord)
    k_cmp = module.pool_k(k, layout.valid)
    shared = module.num_heads // module.num_kv_heads
    chosen = module.select(q, k_cmp, layout)[rows].repeat_interleave(shared, 1)
    k, k_cmp = (t.repeat_interleave(shared, 1) for t in (k, k_cmp))
    return {
        BALL: ball_weights(q, k, layout, module.sigma, rows),
        SELECTION: selected_weights(q[rows], k, chosen, layout),
        COMPRESSION: coarse_weights(q[rows], k_cmp, layout),
    }


def ball_weights(q: Tensor, k: Tensor, layout: BallLayout, sigma: Tensor | None, rows: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D) + sigma distance) inside the ball of each row: (R, H, S)."""
    m = layout.ball_size
    seen = (rows // m * m).unsqueeze(1) + torch.arange(m, device=rows.device)  # (R, m)
    logits = torch.einsum("rhd,rmhd->rhm", q[rows], k[seen]) / math.sqrt(q.shape[-1])
    if sigma is not None:
        distance = (layout.coord[rows].unsqueeze(1) - layout.coord[seen]).norm(dim=-1)
        logits = logits + sigma.view(1, -1, 1) * distance.unsqueeze(1)
    return _spread(logits, seen.unsqueeze(1).expand_as(logits), None, layout)


def selected_weights(q: Tensor, k: Tensor, chosen: Tensor, layout: BallLayout) -> Tensor:
    """softmax(q k^T / sqrt(D)) over the points of the ``chosen`` blocks (R, H, K), -1 for none: (R, H, S)."""
    seen = chosen.clamp(min=0).unsqueeze(-1) * layout.block_size + torch.arange(layout.block_size, device=q.device)
    seen = seen.flatten(-2)  # (R, H, K l)
    heads = torch.arange(q.shape[1], device=q.device).view(1, -1, 1)
    logits = (q.unsqueeze(2) * k[seen, heads]).sum(-1) / math.sqrt(q.shape[-1])
    return _spread(logits, seen, (chosen >= 0).repeat_interleave(layout.block_size, -1), layout)


def coarse_weights(q: Tensor, k_cmp: Tensor, layout: BallLayout) -> Tensor:
    """softmax(q k_cmp^T / sqrt(D)) over the blocks, an l-th of it to each slot of a block: (R, H, S)."""
    logits = torch.einsum("rhd,shd->rhs", q, k_cmp) / math.sqrt(q.shape[-1])
    if layout.block_valid is not None:
        logits = logits.masked_fill(~layout.block_valid, -torch.inf)
    return logits.softmax(-1).repeat_interleave(layout.block_size, -1) / layout.block_size


def token_weights(q: Tensor, tokens: Tokens, rows: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D) + log c) over the tokens that each row sees, shared out among their slots: (R, H, S)."""
    layout, plan = tokens.layout, tokens.plan
    node = torch.bucketize(rows, torch.tensor(plan.nodes, device=q.device).cumsum(0), right=True)
    seen = torch.zeros(len(plan.nodes), sum(plan.totals) + 1, dtype=torch.bool, device=q.device)
    seen.scatter_(1, torch.tensor(plan.seen, device=q.device).long() % seen.shape[1], True)  # -1 is behind the last
    logits = torch.einsum("rhd,thd->rht", q, torch.cat(tokens.k)) / math.sqrt(q.shape[-1]) + tokens.counts.log
    weight = logits.masked_fill(~seen[node, :-1].unsqueeze(1), -torch.inf).softmax(-1)
    slots = layout.coord.shape[0]
    out = torch.zeros(1, dtype=q.dtype, device=q.device)
    for level, part in enumerate(weight.split(plan.totals, -1)):
        size = plan.sizes.token(level)
        width = torch.full((part.shape[-1],), size, device=q.device)
        width[-1] = slots - size * (part.shape[-1] - 1)
        out = out + (part / width).repeat_interleave(width, -1)
    return out


def _spread(logits: Tensor, seen: Tensor, mask: Tensor | None, layout: BallLayout) -> Tensor:
    """Softmax of the logits (R, H, n) over the slots ``seen``, written to their places: (R, H, S)."""
    if layout.valid is not None:
        mask = layout.valid[seen] if mask is None else mask & layout.valid[seen]
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    weight = logits.softmax(-1).nan_to_num(0.0)  # a row that sees nothing
    return weight.new_zeros(*logits.shape[:2], layout.coord.shape[0]).scatter_add_(-1, seen, weight)


def point_weights(call: LayerCall, point: int) -> dict[str, Tensor]:
    """Attention of one point to every point, averaged over the heads: (N,) for each branch, as :func:`branch_weights`.

    At a pooled level the weight of a slot is shared out among its points.
    """
    sharing = torch.bincount(call.slot, minlength=call.x.shape[0]).clamp(min=1)
    weights = branch_weights(call, call.slot[point : point + 1])
    return {branch: (weight[0].mean(0) / sharing)[call.slot] for branch, weight in weights.items()}


def block_map(call: LayerCall, blocks: int = 256, queries: int = 1920) -> dict[str, Tensor]:
    """Attention between stretches of the tree order: (n, n) for each branch, from a query's stretch to a key's.

    Args:
        blocks: at most so many stretches, of a power of two of slots.
        queries: about so many slots are asked, spread evenly.
    """
    slots = call.x.shape[0]
    size = 1 << (math.ceil(slots / blocks) - 1).bit_length()
    count = math.ceil(slots / size)
    rows = torch.arange(0, slots, max(1, slots // queries), device=call.x.device)
    if call.layout is not None and call.layout.valid is not None:
        rows = rows[call.layout.valid[rows]]
    stretch = torch.arange(slots, device=call.x.device) // size
    sums: dict[str, Tensor] = {}
    asked = torch.bincount(stretch[rows], minlength=count).clamp(min=1).unsqueeze(1)
    for part in rows.split(64):
        for branch, weight in branch_weights(call, part).items():
            mean = weight.mean(1)  # (r, S)
            to_stretch = mean.new_zeros(len(part), count).index_add_(1, stretch, mean)
            total = sums.setdefault(branch, mean.new_zeros(count, count))
            total.index_add_(0, stretch[part], to_stretch)
    return {branch: total / asked for branch, total in sums.items()}
