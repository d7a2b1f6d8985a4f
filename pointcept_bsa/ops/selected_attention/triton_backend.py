"""Selected attention by the Triton kernels, as the custom op ``pcbsa::selected_attention``.

Legend as in ``kernels.py``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pointcept_bsa.dispatch import interpreted, on_device_of
from pointcept_bsa.ops.launch import contiguous_rows, counters, power_of_2, precision
from pointcept_bsa.ops.operator import operator
from pointcept_bsa.ops.side_streams import deferred, wait_for_deferred, worth_it

BLOCK_SIZES = (4, 8, 16, 32, 64)
MAX_TOPK, MAX_HEAD_DIM, MAX_ROWS = 64, 256, 128

# Tile parameters. rows: rows a program holds at least (in the keys' gradient: at a time); keys: columns of a tile of
# logits, at most; warps and stages as Triton means them. "many": groups that fill a tensor core's tile (R >= 16).
TILES: dict[str, dict[str, dict[str, int]]] = {
    "few": {
        "forward": dict(rows=16, keys=64, warps=1, stages=2),
        "backward_queries": dict(rows=16, keys=64, warps=1, stages=2),
        "backward_keys": dict(rows=32, warps=1, stages=2),
    },
    "many": {
        "forward": dict(rows=16, keys=64, warps=1, stages=3),
        "backward_queries": dict(rows=16, keys=64, warps=1, stages=3),
        "backward_keys": dict(rows=64, warps=2, stages=2),
    },
}
# Entries of a list that one program works off: about a CHUNKS-th of all selections, within these bounds.
CHUNKS, CHUNK_BOUNDS = 8192, (32, 1024)


def unsupported(q: Tensor, k: Tensor, v: Tensor, index: Tensor, block_size: int) -> str | None:
    """What the kernels cannot do of a call, or None."""
    groups, kv_heads, topk = index.shape
    slots, heads, dim = q.shape
    if k.dtype != q.dtype or v.dtype != q.dtype:
        return f"k, v: got {k.dtype} and {v.dtype}, wanted {q.dtype} as q"
    if groups == 0 or k.shape[0] == 0:
        return f"got {groups} groups and {k.shape[0]} keys, wanted at least one of each"
    if block_size not in BLOCK_SIZES:
        return f"block_size: got {block_size}, wanted one of {BLOCK_SIZES}"
    if not 1 <= topk <= MAX_TOPK:
        return f"topk: got {topk}, wanted 1 to {MAX_TOPK}"
    if dim > MAX_HEAD_DIM:
        return f"head dim: got {dim}, wanted at most {MAX_HEAD_DIM}"
    if slots // groups * (heads // kv_heads) > MAX_ROWS:
        return f"got {slots // groups} queries x {heads // kv_heads} heads a selection, wanted at most {MAX_ROWS}"
    return None


@operator("pcbsa::selected_attention")
def selected_attention_op(
    q: Tensor, k: Tensor, v: Tensor, index: Tensor, block_size: int, valid: Tensor | None, lists: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Output (S, H, D) as the reference, and the base-2 log-sum-exp (S, H) of the scaled logits.

    ``lists``: what :func:`selection_lists` gives, for the backward pass; may be empty.
    """
    from .kernels import forward

    q, k, v = (contiguous_rows(t) for t in (q, k, v))
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = q.new_empty(q.shape[:2], dtype=torch.float32)
    grid, options = _by_query("forward", q, k, v, index, block_size, valid)
    with on_device_of(q):
        forward[grid](q, k, v, index.contiguous(), valid, out, lse, index.shape[0], _scale(q), **options)
    return out, lse


@selected_attention_op.register_fake
def _(q, k, v, index, block_size, valid, lists):
    return torch.empty(q.shape, dtype=q.dtype, device=q.device), q.new_empty(q.shape[:2], dtype=torch.float32)


@operator("pcbsa::selected_attention_backward")
def selected_attention_backward_op(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index: Tensor,
    out: Tensor,
    lse: Tensor,
    block_size: int,
    valid: Tensor | None,
    lists: list[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v. The same in every run: sums are taken in a fixed order."""
    grad, q, k, v = (contiguous_rows(t) for t in (grad, q, k, v))
    index = index.contiguous()
    grad_q, grad_k, grad_v = (torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (q, k, v))
    delta = torch.empty_like(lse)
    with on_device_of(q):
        _queries(grad, q, k, v, index, out, lse, delta, grad_q, block_size, valid)
        lists = lists or selection_lists(index, k.shape[0] // block_size)
        _keys(grad, q, k, v, index, lists, lse, delta, grad_k, grad_v, block_size, valid)
    return grad_q, grad_k, grad_v


def _queries(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index: Tensor,
    out: Tensor,
    lse: Tensor,
    delta: Tensor,
    grad_q: Tensor,
    block_size: int,
    valid: Tensor | None,
) -> None:
    """Write ``grad_q``, and <grad, out> of each row into ``delta``."""
    from .kernels import backward_queries

    grid, options = _by_query("backward_queries", q, k, v, index, block_size, valid)
    backward_queries[grid](
        grad,
        q,
        k,
        v,
        index,
        valid,
        out,
        lse,
        delta,
        grad_q,
        index.shape[0],
        _scale(q),
        G_ROW=grad.stride(0),
        G_HEAD=grad.stride(1),
        **options,
    )


def _keys(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    index: Tensor,
    lists: list[Tensor],
    lse: Tensor,
    delta: Tensor,
    grad_k: Tensor,
    grad_v: Tensor,
    block_size: int,
    valid: Tensor | None,
) -> None:
    """Write ``grad_k`` and ``grad_v``."""
    from .kernels_inverse import backward_keys, sum_chunks

    options = _options(q, k, v, index, block_size, valid)
    blocks = k.shape[0] // block_size
    num_lists = k.shape[1] * blocks
    chunk = chunk_size(index.numel())
    selections = index.numel() // index.shape[1]
    # At most: a list of n entries has (n - 1) // chunk. The host does not know how long they are and must not ask:
    # that would make it wait, and could not be captured. Programs without a chunk return.
    further_a_head = selections // chunk
    further_chunks = k.shape[1] * further_a_head
    order, bounds, further = lists
    area = block_size * options["DIM"]
    partial = q.new_empty((2, max(1, 2 * further_chunks), area), dtype=torch.float32)
    tile = _tile(options["ROWS"])["backward_keys"]
    pack = max(1, tile["rows"] // options["ROWS"])
    backward_keys[(num_lists + further_chunks,)](
        grad,
        q,
        k,
        v,
        valid,
        index,
        lse,
        delta,
        order,
        bounds,
        further,
        *partial,
        grad_k,
        grad_v,
        num_lists,
        blocks,
        selections,
        max(1, further_a_head),
        _scale(q),
        G_ROW=grad.stride(0),
        G_HEAD=grad.stride(1),
        PACK=pack,
        CHUNK=chunk,
        num_warps=_warps(tile["warps"], pack * options["ROWS"], block_size, options["DIM"], 2 * area, q),
        num_stages=tile["stages"],
        **options,
    )
    if further_chunks:
        shape = {name: options[name] for name in ("HKV", "D", "DIM", "BLOCK")}
        at_once = max(1, min(16, 4096 // area))
        sum_chunks[(further_chunks,)](further, *partial, grad_k, grad_v, blocks, further_a_head, TILE=at_once, **shape)


@selected_attention_backward_op.register_fake
def _(grad, q, k, v, index, out, lse, block_size, valid, lists):
    return tuple(torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (q, k, v))


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    q, k, v, index, block_size, valid, lists = inputs
    ctx.save_for_backward(q, k, v, index, valid, *output, *lists)
    ctx.block_size, ctx.lists = block_size, len(lists)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, _grad_lse: Tensor | None) -> tuple[Any, ...]:
    none = None, None, None, [None] * ctx.lists
    if grad is None:
        return None, None, None, *none
    q, k, v, index, valid, out, lse, *lists = ctx.saved_tensors
    if lists:
        wait_for_deferred(q)
    grads = selected_attention_backward_op(grad, q, k, v, index, out, lse, ctx.block_size, valid, lists)
    return (*grads, *none)


selected_attention_op.register_autograd(_backward, setup_context=_save)


@register_flop_formula(torch.ops.pcbsa.selected_attention)
def _flops(q, k, v, index, block_size, *args, **kwargs) -> int:
    """Queries times keys and weights times values, of every selection whether taken or not."""
    return 4 * q[0] * q[1] * q[2] * index[2] * block_size


@register_flop_formula(torch.ops.pcbsa.selected_attention_backward)
def _flops_backward(grad, q, k, v, index, out, lse, block_size, *args, **kwargs) -> int:
    """As of the plain operator: the logits that are computed again are not counted."""
    return 2 * _flops(q, k, v, index, block_size)


COUNTED = 4096  # selections of a head that are sorted by counting: the work grows with their square
TILE, AT_ONCE = 32, 256  # of them that a program places, and that it compares them with at a time
NARROW_LISTS = 1 << 16  # that are told apart by keys of 16 bits
MAX_SCAN = 2048  # lists whose running sum is taken at a time


def chunk_size(selections: int) -> int:
    """Entries of a list of selections that one program works off."""
    low, high = CHUNK_BOUNDS
    return min(high, max(low, power_of_2(max(1, selections // CHUNKS))))


@operator("pcbsa::selection_lists")
def selection_lists_op(index: Tensor, blocks: int) -> list[Tensor]:
    """As :func:`selection_lists`."""
    index = index.contiguous()
    with on_device_of(index):
        return list(_lists(index, blocks, chunk_size(index.numel())))


@selection_lists_op.register_fake
def _(index, blocks):
    heads = index.shape[1]
    shapes = (index.numel(),), (heads * blocks, 2), (heads, blocks)
    types = torch.int32 if _are_counted(index, blocks) else torch.int64, torch.int32, torch.int64
    return [index.new_empty(shape, dtype=dtype) for shape, dtype in zip(shapes, types, strict=True)]


def selection_lists(index: Tensor, blocks: int) -> list[Tensor]:
    """The groups that selected each block, as the gradient of the keys wants them: see ``kernels_inverse``."""
    lists: list[Tensor] = selection_lists_op(index, blocks)
    return lists


def precomputed_lists(q: Tensor, index: Tensor, blocks: int) -> list[Tensor]:
    """In a captured training step the lists, made beside the forward pass; else none: the backward pass makes them."""
    if not (torch.is_grad_enabled() and q.requires_grad and worth_it(q)):
        return []
    with deferred(q):
        return selection_lists(index, blocks)


def _lists(index: Tensor, blocks: int, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Places of the selections sorted by (head, block), bounds of these lists, and for each head the running sum of
    their further chunks. The list of a head's last block may hold selections of none, too."""
    if _are_counted(index, blocks):
        return _lists_by_counting(index, blocks, chunk)
    return _lists_by_sorting(index, blocks, chunk)


def _are_counted(index: Tensor, blocks: int) -> bool:
    return index.numel() <= index.shape[1] * COUNTED and (blocks + 1) * COUNTED < 1 << 31


def _lists_by_counting(index: Tensor, blocks: int, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    from .kernels_inverse import lists_by_counting

    heads, selections = index.shape[1], index.numel() // index.shape[1]
    order = index.new_empty(index.numel(), dtype=torch.int32)
    bounds = index.new_empty((heads * blocks, 2), dtype=torch.int32)
    further = index.new_empty((heads, blocks), dtype=torch.int64)
    grid = -(-selections // TILE) + -(-(blocks + 1) // TILE), heads
    lists_by_counting[grid](
        index, order, bounds, further, counters(index, heads), selections, blocks, HKV=heads, TOPK=index.shape[2],
        CHUNK=chunk, SCALE=COUNTED, TILE=TILE, AT_ONCE=AT_ONCE, SCAN=power_of_2(min(blocks, MAX_SCAN)),
    )  # fmt: skip
    return order, bounds, further


def _lists_by_sorting(index: Tensor, blocks: int, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    from .kernels_inverse import key_of_selection, list_bounds

    size, heads, tile = index.numel(), index.shape[1], 1024
    num_lists = heads * blocks
    narrow = num_lists <= NARROW_LISTS
    keys = index.new_empty(size, dtype=torch.int16 if narrow else torch.int32)
    key_of_selection[(-(-size // tile),)](
        index, keys, size, blocks, HKV=heads, TOPK=index.shape[2], NARROW=narrow, TILE=tile
    )
    keys, order = torch.sort(keys, stable=True)  # a list in rising order of its groups: sums in the same order
    bounds = index.new_empty((num_lists, 2), dtype=torch.int32)
    chunks = index.new_empty(num_lists, dtype=torch.int32)
    tile = 128
    list_bounds[(-(-num_lists // tile),)](
        keys, bounds, chunks, size, num_lists, blocks, CHUNK=chunk, STEPS=size.bit_length(), NARROW=narrow, TILE=tile
    )
    return order, bounds, chunks.view(heads, blocks).cumsum(1)


def _by_query(
    kernel: str, q: Tensor, k: Tensor, v: Tensor, index: Tensor, block_size: int, valid: Tensor | None
) -> tuple[tuple[int], dict[str, Any]]:
    """Grid and options of the kernels that go by query."""
    options = _options(q, k, v, index, block_size, valid)
    tile = _tile(options["ROWS"])[kernel]
    columns = min(tile["keys"], 4096 // options["DIM"])
    pack = max(1, min(tile["rows"] // options["ROWS"], 256 // block_size))
    step = max(1, 16 // (pack * block_size), min(columns // (pack * block_size), power_of_2(index.shape[2])))
    rows = pack * options["ROWS"]
    warps = _warps(tile["warps"], rows, pack * step * block_size, options["DIM"], rows * options["DIM"], q)
    options |= dict(PACK=pack, STEP=step, num_warps=warps, num_stages=tile["stages"])
    return (-(-index.shape[0] // pack) * k.shape[1],), options


def _options(q: Tensor, k: Tensor, v: Tensor, index: Tensor, block_size: int, valid: Tensor | None) -> dict[str, Any]:
    """What all kernels ask for."""
    share, group = q.shape[1] // k.shape[1], q.shape[0] // index.shape[0]
    return dict(
        Q_ROW=q.stride(0),
        Q_HEAD=q.stride(1),
        K_ROW=k.stride(0),
        K_HEAD=k.stride(1),
        V_ROW=v.stride(0),
        V_HEAD=v.stride(1),
        HKV=k.shape[1],
        SHARE=share,
        D=q.shape[2],
        DIM=max(16, power_of_2(q.shape[2])),
        GROUP=group,
        ROWS=power_of_2(group * share),
        BLOCK=block_size,
        TOPK=index.shape[2],
        HAS_VALID=valid is not None,
        EMPTY_ROWS=valid is not None and valid.shape[0] == q.shape[0],
        PRECISION=precision(),
        UPCAST=interpreted(),
    )


def _tile(rows: int) -> dict[str, dict[str, int]]:
    return TILES["many" if rows >= 16 else "few"]


def _warps(least: int, rows: int, columns: int, dim: int, sums: int, q: Tensor) -> int:
    """So many that the tiles, and ``sums`` float32 sums, fit in registers; float32 goes without tensor cores."""
    tiles = max(2 * rows * columns, rows * dim, columns * dim) * (q.element_size() // 2) ** 2
    return min(8, max(least, tiles // 4096, sums // 2048))


def _scale(q: Tensor) -> float:
    return math.log2(math.e) / math.sqrt(q.shape[2])
