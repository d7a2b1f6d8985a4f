"""Every kernel compiles for a Hopper GPU. That needs no GPU, and finds what Triton's interpreter lets pass."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch

from pointcept_bsa import dispatch
from pointcept_bsa.geometry.tree_plan import plan_tree
from pointcept_bsa.ops.ball_attention import triton_backend as ball
from pointcept_bsa.ops.block_mlp import triton_backend as block_mlp
from pointcept_bsa.ops.block_pooling import triton_backend as pooling
from pointcept_bsa.ops.block_selection import triton_backend as selection
from pointcept_bsa.ops.column_sum import triton_backend as column_sum
from pointcept_bsa.ops.dense_attention import narrow
from pointcept_bsa.ops.fan_out import triton_backend as fan_out
from pointcept_bsa.ops.gated_sum import triton_backend as gates
from pointcept_bsa.ops.rms_norm import triton_backend as rms_norm
from pointcept_bsa.ops.selected_attention import triton_backend as selected
from pointcept_bsa.ops.silu_product import triton_backend as silu_product
from pointcept_bsa.ops.swiglu import triton_backend as swiglu
from pointcept_bsa.ops.tree_attention import triton_backend as tree_attention
from pointcept_bsa.ops.tree_descent import triton_backend as tree_descent

from .interpreter import INTERPRETED

triton = pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")

POINTERS = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.uint8: "*u8",
    torch.bool: "*i1",
}
SCALARS = {float: "fp32", int: "i32"}
OPTIONS = ("num_warps", "num_stages")


class CompileOnly:
    """Stands in for a kernel: a launch compiles it for sm_90 and runs nothing."""

    def __init__(self, kernel) -> None:
        self.kernel, self.compiled = kernel, []

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *arguments, **named):
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        options = {name: named.pop(name) for name in OPTIONS if name in named}
        values = dict(zip([p.name for p in self.kernel.params], arguments)) | named
        signature, constants, aligned = {}, {}, {}
        for place, parameter in enumerate(self.kernel.params):
            value = values[parameter.name]
            if parameter.is_constexpr or value is None:
                signature[parameter.name] = "constexpr"
                constants[(place,)] = value
            elif isinstance(value, torch.Tensor):
                signature[parameter.name] = POINTERS[value.dtype]
                aligned[(place,)] = [["tt.divisibility", 16]]
            else:
                signature[parameter.name] = SCALARS[type(value)]
        source = ASTSource(self.kernel, signature, constants, aligned)
        self.compiled.append(triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options))


LAUNCHED = {
    "ops.ball_attention.kernels": ("forward_kernel", "key_gradient_kernel", "query_gradient_kernel"),
    "ops.ball_attention.narrow_kernels": ("forward_kernel", "query_gradient_kernel", "key_gradient_kernel"),
    "ops.tree_attention.kernels": ("forward_kernel", "query_gradient_kernel", "token_gradient_kernel", "sum_kernel"),
    "ops.tree_attention.packed_kernels": ("pack_lists_kernel", "sum_lists_kernel"),
    "ops.tree_descent.kernels": ("best_children_kernel",),
    "ops.gated_sum.kernels": ("forward_kernel", "backward_kernel"),
    "ops.block_pooling.kernels": ("forward_kernel", "backward_kernel"),
    "ops.block_mlp.kernels": ("forward_kernel", "input_gradient_kernel", "weight_gradient_kernel"),
    "ops.rms_norm.kernels": ("forward_kernel", "backward_kernel"),
    "ops.column_sum.kernels": ("kernel",),
    "ops.fan_out.kernels": ("sum_kernel",),
    "ops.silu_product.kernels": (
        "forward_kernel",
        "backward_kernel",
        "halves_kernel",
        "halves_backward_kernel",
    ),
    "ops.swiglu.kernels": ("forward_kernel", "input_gradient_kernel", "weight_gradient_kernel"),
    "ops.dense_attention.narrow_kernels": ("pack_keys_kernel", "forward_kernel"),
    "ops.dense_attention.narrow_gradient_kernels": (
        "pack_queries_kernel",
        "key_gradient_kernel",
        "sum_parts_kernel",
        "query_gradient_kernel",
    ),
    "ops.selected_attention.kernels": ("forward", "backward_queries"),
    "ops.selected_attention.kernels_inverse": (
        "backward_keys",
        "key_of_selection",
        "list_bounds",
        "lists_by_counting",
        "sum_chunks",
    ),
    "ops.block_selection.kernels": ("best_stretches", "best_in_stretches"),
    "geometry.split_keys_triton": ("_extents", "_keys"),
    "geometry.tree_runs_triton": ("_sort_runs", "_merge_runs"),
    "geometry.tree_finish_triton": ("_finish",),
    "geometry.neighbors_triton": ("_nearest",),
    "ops.mean_message.kernels": ("_messages", "_message_gradients", "_sum_at_senders"),
    "geometry.neighbors_pruned_triton": ("_codes", "_boxes", "_nearest_blocks"),
}
HEADS, WIDTH, SLOTS = 4, 16, 1024
VALID = torch.ones(SLOTS, dtype=torch.bool)


def qkv(dtype=torch.bfloat16):
    return torch.zeros(SLOTS, 3, HEADS, WIDTH, dtype=dtype).unbind(1)


def ball_attention():
    coord, sigma = torch.zeros(SLOTS, 3), torch.zeros(HEADS)
    for size in (256, 512):  # all keys of a ball in a tile, and not
        out, lse = ball._forward(*qkv(), coord, sigma, VALID, size)
        ball._backward(out, *qkv(), coord, sigma, VALID, out, lse, size)
    for rows in (16, 64):  # of queries that are not among the keys
        tiles = torch.zeros(SLOTS // rows, dtype=torch.long)
        ball.query_ball_attention_op(*qkv(), tiles, 256, coord, coord, sigma, VALID)


def ball_attention_of_narrow_heads():
    coord, sigma, valid = torch.zeros(4 * SLOTS, 3), torch.zeros(32), torch.ones(4 * SLOTS, dtype=torch.bool)
    for heads in (2, 32):  # that leave room on a GPU, and not
        q, k, v = torch.zeros(4 * SLOTS, 3, heads, 8, dtype=torch.bfloat16).unbind(1)
        for mask, weight in ((valid, sigma[:heads]), (None, None)):
            out, lse = ball._forward(q, k, v, coord, weight, mask, 256)
            ball._backward(out, q, k, v, coord, weight, mask, out, lse, 256)


def gated_sum():
    branches = [torch.zeros(SLOTS, HEADS, WIDTH, dtype=torch.bfloat16) for _ in range(3)]
    gate = torch.zeros(SLOTS, 3 * HEADS, dtype=torch.bfloat16)
    gates._backward(gates._forward(*branches, gate), *branches, gate)


def block_mean():
    pooling._backward(pooling._forward(qkv()[0], VALID, 8), VALID, 8)


def mlp_of_blocks():
    inputs = 8 * WIDTH
    shapes = ((2 * inputs, inputs), (2 * inputs,), (WIDTH, 2 * inputs), (WIDTH,))
    weights = [torch.zeros(shape, dtype=torch.bfloat16) for shape in shapes]
    out = block_mlp._forward([qkv()[1]] * 2, weights * 2, 8, VALID)
    block_mlp._backward(out, [qkv()[1]] * 2, weights * 2, 8, VALID)


def norm():
    x, weight, place = torch.zeros(SLOTS, 64), torch.zeros(64), torch.zeros(SLOTS, 3)
    order, sixteen = torch.arange(SLOTS), torch.bfloat16
    out, _, scale = rms_norm._forward(x, weight, 1e-6, sixteen, *[None] * 7)
    rms_norm._backward(out, None, x, weight, scale, None, None, None, False, 0)
    further = x.to(sixteen), weight, order, place, torch.zeros(64, 3), weight
    for others in (None, torch.zeros(5, 64)):
        out, total, scale = rms_norm._forward(x, weight, 1e-6, sixteen, *further, others)
        rms_norm._backward(out, x, total, weight, scale, order, place, sixteen, True, 0 if others is None else 5)


def sum_of_columns():
    column_sum._column_sum(torch.zeros(SLOTS, 192, dtype=torch.bfloat16), torch.float32)


def product_with_silu():
    x = torch.zeros(SLOTS, 256, dtype=torch.bfloat16)
    silu_product._backward(silu_product._forward(x, x), x, x)
    silu_product._halves_backward(silu_product._halves(x), x)


def feed_forward():
    for channels in (24, 64):  # that are no power of two, and the widest
        x = torch.zeros(SLOTS, channels, dtype=torch.bfloat16)
        shapes = ((4 * channels, channels), (4 * channels,)) * 2 + ((channels, 4 * channels), (channels,))
        weights = [torch.zeros(s, dtype=torch.bfloat16 if len(s) > 1 else torch.float32) for s in shapes]
        swiglu._backward(swiglu._forward(x, weights), x, weights)


def sum_of_parts():
    x = torch.zeros(SLOTS, HEADS, WIDTH, dtype=torch.bfloat16)
    fan_out.sum_parts_triton([[x] * 4, [x] * 3, [x] * 3], [HEADS * WIDTH] * 3, (SLOTS, 3, HEADS, WIDTH))
    gate, kv = torch.zeros(SLOTS, 3 * HEADS, dtype=torch.bfloat16), x[:, :1]
    widths = HEADS * WIDTH, WIDTH, WIDTH, 3 * HEADS
    fan_out.sum_parts_triton([[x] * 3, [kv] * 3, [], [gate]], widths, (SLOTS, sum(widths)), torch.float32)


def attention_of_narrow_heads():
    mask = VALID.view(1, -1)
    for width in (4, 8, 16):  # channels twice in the padding (FOLD): always, in the forward pass alone, never
        q, k, v = (torch.zeros(1, SLOTS, 2, width, dtype=torch.bfloat16) for _ in range(3))
        out, lse = narrow._forward(q, k, v, mask)
        narrow._backward(out, q, k, v, mask, out, lse)
    for width in (8, 16):
        levels(torch.bfloat16, width)


def levels(dtype, dim):
    q = torch.zeros(64, 2, dim, dtype=dtype)
    k = torch.zeros(16, 2, dim, dtype=dtype)
    starts, lengths, offsets = torch.tensor([0, 64]), torch.tensor([16]), torch.arange(17)
    tables = (t.int() for t in (starts, lengths, torch.arange(16)[None], offsets, torch.arange(16)))
    lists = (torch.zeros(16), *tables)
    out, lse = tree_attention._forward(q, k, k, *lists, 64)
    tree_attention._backward(out, q, k, k, *lists, out, lse, 64)


def attention_to_selected_blocks():
    for group, kv_heads, size in ((8, HEADS, 8), (1, 1, 32)):
        q, k, v = (t[:, :n] for t, n in zip(qkv(), (HEADS, kv_heads, kv_heads), strict=True))
        index = torch.zeros(SLOTS // group, kv_heads, 4, dtype=torch.long)
        out, lse = selected.selected_attention_op(q, k, v, index, size, VALID, [])
        selected.selected_attention_backward_op(out, q, k, v, index, out, lse, size, VALID, [])
    selected._lists_by_sorting(index, SLOTS // size, 32)


def selection_of_blocks():
    q, k = qkv()[0][: SLOTS // 8], qkv()[1][: SLOTS // 8]
    for own in (None, torch.zeros(SLOTS // 8, dtype=torch.long)):
        selection.select_blocks_op(q, k, [SLOTS // 8], [SLOTS // 8], 4, [SLOTS // 256], None, own)


def attention_to_levels():
    levels(torch.float32, 8)
    levels(torch.bfloat16, 64)


def descent():
    q, k = torch.zeros(32, 2, 8), torch.zeros(64, 2, 8)
    parents, first, hidden = torch.zeros(32, 2, 4, dtype=torch.int64), torch.arange(0, 72, 8), torch.zeros(64) > 0
    for own, balls in (([], None), ([8, 8], None), ([1, 8], torch.zeros(32, dtype=torch.int64))):
        tree_descent.best_children_op(q, k, parents, first, hidden, 8, 4, own, balls)


def tree_order():
    from pointcept_bsa.geometry.tree_sort_triton import sort_into_tree_triton

    levels = plan_tree((2048,), 256, 8).levels
    for sizes in (dict(), dict(runs=(64,))):  # in runs; by keys, as a run of 64 is too small
        sort_into_tree_triton(torch.zeros(2, 2048, 3), levels, **sizes)


def neighbors():
    from pointcept_bsa.geometry.neighbors_triton import nearest_triton

    for points in (100, 3000):  # too few to leave any out, and not
        nearest_triton(torch.zeros(points, 3), (points,), 16)


def messages_of_neighbors():
    from pointcept_bsa.ops.mean_message import triton_backend as messages

    sent, matrix = torch.zeros(SLOTS, 64, dtype=torch.bfloat16), torch.zeros(64, 3, dtype=torch.bfloat16)
    norm, index = torch.zeros(64), torch.zeros(SLOTS, 16, dtype=torch.long)
    relative, weight = torch.zeros(SLOTS, 16, 3), torch.zeros(SLOTS, 16, 1)
    senders = index.flatten(), torch.zeros(SLOTS + 1, dtype=torch.long)
    edges = relative, index, weight, *senders, 1e-5
    out = messages._forward(sent, sent, matrix, norm, norm, norm, *edges, torch.float32)
    messages._backward(out, sent, sent, matrix, norm, norm, *edges)


CALLS = {
    ball_attention: ["ops.ball_attention.kernels"],
    ball_attention_of_narrow_heads: ["ops.ball_attention.narrow_kernels"],
    gated_sum: ["ops.gated_sum.kernels"],
    block_mean: ["ops.block_pooling.kernels"],
    mlp_of_blocks: ["ops.block_mlp.kernels", "ops.column_sum.kernels"],
    norm: ["ops.rms_norm.kernels"],
    sum_of_parts: ["ops.fan_out.kernels"],
    product_with_silu: ["ops.silu_product.kernels"],
    feed_forward: ["ops.swiglu.kernels", "ops.column_sum.kernels"],
    sum_of_columns: ["ops.column_sum.kernels"],
    attention_of_narrow_heads: [
        "ops.dense_attention.narrow_kernels",
        "ops.dense_attention.narrow_gradient_kernels",
        "ops.tree_attention.packed_kernels",
    ],
    attention_to_selected_blocks: ["ops.selected_attention.kernels", "ops.selected_attention.kernels_inverse"],
    selection_of_blocks: ["ops.block_selection.kernels"],
    attention_to_levels: ["ops.tree_attention.kernels"],
    descent: ["ops.tree_descent.kernels"],
    tree_order: ["geometry.split_keys_triton", "geometry.tree_runs_triton", "geometry.tree_finish_triton"],
    messages_of_neighbors: ["ops.mean_message.kernels"],
    neighbors: ["geometry.neighbors_triton", "geometry.neighbors_pruned_triton"],
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_kernels_compile_for_sm_90(call, monkeypatch):
    stand_ins = {}
    for name in CALLS[call]:
        module = importlib.import_module(f"pointcept_bsa.{name}")
        for kernel in LAUNCHED[name]:
            stand_ins[kernel] = CompileOnly(getattr(module, kernel))
            monkeypatch.setattr(module, kernel, stand_ins[kernel])
    call()
    for name, stand_in in stand_ins.items():
        assert stand_in.compiled, f"{name} was not launched"
        assert all(len(kernel.asm["cubin"]) > 0 for kernel in stand_in.compiled)


def test_no_kernel_is_left_out():
    root = Path(dispatch.__file__).parent
    sources = [path.read_text() for path in (*root.glob("ops/*/*.py"), *root.glob("geometry/*.py"))]
    kernels = set(re.findall(r"@triton.jit[^\n]*\ndef (\w+)\(", "\n".join(sources)))
    launched = {kernel for kernel in kernels if any(re.search(rf"\b{kernel}\[", source) for source in sources)}
    assert launched == {kernel for names in LAUNCHED.values() for kernel in names}


def test_another_number_of_children_compiles_nothing_anew():
    """That of the highest level is the number of its tokens, which each size of cloud has for itself."""
    from pointcept_bsa.ops.tree_descent.kernels import best_children_kernel

    (fan,) = (parameter for parameter in best_children_kernel.params if parameter.name == "fan")
    assert fan.do_not_specialize and not fan.is_constexpr
