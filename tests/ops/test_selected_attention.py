"""The kernels of selected attention against plain torch: outputs, gradients, and the same numbers in every run."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.ops import selected_attention as selected
from pointcept_bsa.ops.block_selection import select_blocks
from pointcept_bsa.ops.selected_attention import triton_backend
from pointcept_bsa.training.evaluation.flops import CPU_ATTENTION

from .interpreter import DEVICE, INTERPRETED, kernel_test, run_in_interpreter

GPU = DEVICE == "cuda"
# Largest relative error ||kernel - reference|| / ||reference||, of outputs and of gradients; the reference in float32.
TOLERANCE = {torch.float32: (2e-6, 5e-6), torch.float16: (2e-3, 4e-3), torch.bfloat16: (1e-2, 2e-2)}


def test_in_the_interpreter():
    run_in_interpreter(__file__)


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """The interpreter takes long to start a program: give each more rows."""
    if INTERPRETED:
        tiles = {
            kind: {name: tile | {"rows": 64} for name, tile in of.items()} for kind, of in triton_backend.TILES.items()
        }
        monkeypatch.setattr(triton_backend, "TILES", tiles)


def error(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-20)).item()


def compare(q, k, v, index, block_size, valid=None):
    """Outputs and gradients of both for the same inputs; the reference computes in float64, in which sums of numbers do
    not happen to be 0."""
    results = []
    probe = torch.randn(q.shape, device=q.device).to(q.dtype)
    for op, dtype in ((selected.selected_attention, q.dtype), (selected.reference.selected_attention, torch.float64)):
        leaves = [t.detach().to(dtype).requires_grad_() for t in (q, k, v)]
        out = op(*leaves, index, block_size, valid=valid)
        results.append((out, *torch.autograd.grad(out, leaves, probe.to(dtype))))
    tolerances = (TOLERANCE[q.dtype][0], *[TOLERANCE[q.dtype][1]] * 3)
    for name, got, want, tolerance in zip(("out", "q", "k", "v"), *results, tolerances, strict=True):
        assert got.isfinite().all(), name
        assert error(got, want) < tolerance, name
        assert (got[want == 0] == 0).all(), name
    return results[0]


def inputs(slots, heads, kv_heads, width, dtype=torch.float32, keys=None):
    """Strided views, as the layers have them."""
    both = torch.randn(keys or slots, 2, kv_heads, width, device=DEVICE).to(dtype)
    return torch.randn(slots, heads, 2, width, device=DEVICE).to(dtype)[:, :, 1], both[:, 0], both[:, 1]


def random_index(groups, kv_heads, topk, blocks):
    """With repeats, -1 here and there, a group that selects nothing, and a block that everyone selects."""
    index = torch.randint(-1, blocks, (groups, kv_heads, topk), device=DEVICE)
    index[:, :, 0] = blocks - 1
    index[groups // 2] = -1
    return index


SHAPES = {
    # queries, keys, queries a group, heads, kv_heads, width, block_size, topk
    "bsa": (64, 64, 8, 2, 2, 8, 8, 4),
    "native": (12, 96, 1, 16, 1, 16, 32, 5),
    "odd": (24, 24, 3, 6, 2, 12, 4, 3),
    "single": (24, 24, 1, 1, 1, 20, 8, 3),
}
LARGE = {
    "wide": (4096, 4096, 8, 2, 2, 64, 8, 4),
    "wider": (4096, 4096, 8, 4, 1, 128, 8, 4),
    "many keys": (4096, 4096, 16, 4, 2, 32, 64, 32),
    "bsa 65536": (65536, 65536, 8, 8, 8, 8, 8, 4),
    "native 65536": (65536, 65536, 1, 16, 1, 16, 32, 16),
}
CASES = [(name, padded) for name in (SHAPES | LARGE if GPU else SHAPES) for padded in (True, False)]
if not GPU:
    CASES = [case for case in CASES if case not in {("native", True), ("odd", False), ("single", False)}]


@kernel_test
@pytest.mark.parametrize("dtype", list(TOLERANCE) if GPU else [torch.float32], ids=str)
@pytest.mark.parametrize(("name", "padded"), CASES)
def test_outputs_and_gradients(monkeypatch, name, padded, dtype):
    slots, keys, group, heads, kv_heads, width, block_size, topk = (SHAPES | LARGE)[name]
    if name in SHAPES:
        monkeypatch.setattr(triton_backend, "CHUNK_BOUNDS", (4, 4))  # so that lists of few entries are split too
    valid = None
    if padded:
        valid = torch.rand(keys, device=DEVICE) > 0.3
        valid[:block_size] = False
    index = random_index(slots // group, kv_heads, topk, keys // block_size)
    compare(*inputs(slots, heads, kv_heads, width, dtype, keys), index, block_size, valid)


@kernel_test
def test_bfloat16_with_forced_indices():
    compare(*inputs(24, 4, 2, 16, torch.bfloat16), random_index(3, 2, 4, 3), 8)


@kernel_test
@pytest.mark.parametrize("lengths", [(1, 7)] + ([(255, 257), (3586,), (3586, 1)] if GPU else []), ids=str)
def test_ball_tree_layouts(lengths):
    """Clouds of one ball select nothing: zeros, and zero gradients."""
    ball = 256 if GPU else 16
    layout = BallTree.build(torch.randn(sum(lengths), 3).to(DEVICE), lengths, ball, 8).layout
    q, k, v = inputs(sum(layout.slots), 2, 2, 8)
    balls = tuple(s // ball for s in layout.slots)
    q_cmp, k_cmp = (t.unflatten(0, (-1, 8)).mean(1) for t in (q, k))
    index = select_blocks(q_cmp, k_cmp, layout.blocks, layout.blocks, 4, balls=balls, block_valid=layout.block_valid)
    results = compare(q, k, v, index, 8, layout.valid)
    if max(balls) == 1:
        assert all((t == 0).all() for t in results)


@kernel_test
def test_a_block_that_everyone_selects_is_summed_in_parts():
    groups = 65536 if GPU else 72
    index = torch.zeros(groups, 1, 1, dtype=torch.long, device=DEVICE)
    assert groups > 2 * triton_backend.chunk_size(index.numel())
    compare(*inputs(groups, 1, 1, 8, keys=16), index, 8)


@kernel_test
@pytest.mark.skipif(not GPU, reason="the interpreter runs programs one by one")
@pytest.mark.parametrize("shape", [SHAPES["bsa"], LARGE["bsa 65536"], LARGE["native 65536"]], ids=str)
def test_gradients_are_the_same_in_every_run(shape):
    slots, _, group, heads, kv_heads, width, block_size, topk = shape
    q, k, v = (t.bfloat16().requires_grad_() for t in inputs(slots, heads, kv_heads, width))
    index = random_index(slots // group, kv_heads, topk, slots // block_size)
    probe = torch.randn_like(q)
    runs = []
    for _ in range(2):
        out = selected.selected_attention(q, k, v, index, block_size)
        runs.append((out, *torch.autograd.grad(out, (q, k, v), probe)))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@kernel_test
def test_compiles_without_a_break():
    index = random_index(2, 1, 2, 2)
    leaves = [t.requires_grad_() for t in inputs(16, 1, 1, 8)]
    op = torch.compile(
        lambda q, k, v: selected.selected_attention(q, k, v, index, 8), backend="aot_eager", fullgraph=True
    )
    out, want = op(*leaves), selected.selected_attention(*leaves, index, 8)
    assert torch.equal(out, want)
    for a, b in zip(torch.autograd.grad(out.sum(), leaves), torch.autograd.grad(want.sum(), leaves), strict=True):
        assert torch.equal(a, b)


@pytest.mark.gpu
@pytest.mark.skipif(INTERPRETED, reason="needs CUDA")
def test_a_cuda_graph_holds_forward_and_backward():
    q, k, v = (t.bfloat16().requires_grad_() for t in inputs(4096, 4, 4, 16))
    index = random_index(512, 4, 4, 512)
    probe = torch.randn_like(q)

    def step():
        out = selected.selected_attention(q, k, v, index, 8)
        return out, *torch.autograd.grad(out, (q, k, v), probe)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        index.copy_(random_index(512, 4, 4, 512))  # other lists, same graph
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))


@kernel_test
def test_operator_is_registered_as_torch_wants_it():
    q, k, v = (t.requires_grad_() for t in inputs(16, 1, 1, 8))
    index = random_index(2, 1, 2, 2)
    utilities = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(
        torch.ops.pcbsa.selected_attention.default,
        (q, k, v, index, 8, None, []),
        test_utils=utilities if GPU else utilities[:3],
    )


@kernel_test
def test_flops_are_those_of_the_reference():
    index = random_index(8, 2, 3, 8)
    counts = []
    for op in (selected.selected_attention, selected.reference.selected_attention):
        leaves = [t.requires_grad_() for t in inputs(64, 4, 2, 8)]
        with torch.utils.flop_counter.FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
            out = op(*leaves, index, 8)
            forward = counter.get_total_flops()
            out.sum().backward()
        counts.append((forward, counter.get_total_flops()))
    assert counts[0] == counts[1]
    assert counts[0][0] > 0


def test_what_the_kernels_cannot_do_is_an_error_when_they_are_asked_for(monkeypatch):
    monkeypatch.setenv("PCBSA_OPS", "triton")
    q, index = torch.randn(12, 1, 8, device=DEVICE), torch.zeros(4, 1, 1, dtype=torch.long, device=DEVICE)
    with pytest.raises(InputError, match="PCBSA_OPS: got 'triton', but selected_attention.*"):
        selected.selected_attention(q, q, q, index, 3)
    monkeypatch.setenv("PCBSA_OPS", "auto")
    assert selected.selected_attention(q, q, q, index, 3).shape == q.shape


@kernel_test
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("groups, blocks", [(37, 9), (500, 3)])
def test_lists_are_the_same_however_they_are_sorted(monkeypatch, groups, blocks, narrow):
    heads, topk, chunk = 3, 4, 32
    monkeypatch.setattr(triton_backend, "NARROW_LISTS", heads * blocks - (not narrow))
    index = torch.randint(0 if narrow else -1, blocks, (groups, heads, topk), device=DEVICE)
    sorts = triton_backend._lists_by_counting, triton_backend._lists_by_sorting
    found = [sort(index, blocks, chunk) for sort in sorts]
    for a, b in zip(found[0][1:], found[1][1:], strict=True):
        assert torch.equal(a, b)
    for order, bounds, further in found:
        group_of = order % (groups * topk) // topk
        for head in range(heads):
            chunks = 0
            for block in range(blocks):
                first, last = bounds[head * blocks + block].tolist()
                wanted = [g for g in range(groups) for b in index[g, head].tolist() if b == block]
                assert group_of[first:last].tolist() == wanted
                chunks += max(last - first - 1, 0) // chunk
                assert further[head, block] == chunks


@kernel_test
@pytest.mark.parametrize("lists", [0, 1 << 16])
@pytest.mark.parametrize("padded", [False, True])
def test_selections_of_none_leave_gradients_alone_where_lists_are_sorted(monkeypatch, padded, lists):
    """With narrow keys they are in the list of the last block of their head."""
    monkeypatch.setattr(triton_backend, "COUNTED", 0)
    monkeypatch.setattr(triton_backend, "NARROW_LISTS", lists)
    monkeypatch.setattr(triton_backend, "CHUNK_BOUNDS", (4, 4))  # the none-entries fill chunks of their own
    index = random_index(16, 2, 4, 3)
    index[:10] = -1  # the groups that nothing is selected for
    index[12, 1, 2] = 2  # the last block has at least one entry of its own
    valid = torch.arange(24, device=DEVICE) % 5 > 0 if padded else None
    compare(*inputs(128, 4, 2, 16, torch.float32, 24), index, 8, valid)


@kernel_test
def test_lists_made_beforehand_give_the_same_gradients(monkeypatch):
    q, k, v = inputs(24, 4, 2, 16)
    index = random_index(3, 2, 4, 3)
    lists = triton_backend.selection_lists(index, 3)
    for counted in (0, triton_backend.COUNTED):
        monkeypatch.setattr(triton_backend, "COUNTED", counted)
        torch.library.opcheck(
            torch.ops.pcbsa.selection_lists.default, (index, 3), test_utils=("test_schema", "test_faketensor")
        )
    runs = []
    for given in ([], lists):
        leaves = [t.detach().requires_grad_() for t in (q, k, v)]
        out = triton_backend.selected_attention_op(*leaves, index, 8, None, given)[0]
        runs.append(torch.autograd.grad(out.sin().sum(), leaves))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
