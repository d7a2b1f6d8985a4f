"""The kernels of block selection against plain torch."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.ops import block_selection as selection
from pointcept_bsa.ops.block_selection import triton_backend
from pointcept_bsa.training.evaluation.flops import CPU_ATTENTION

from .interpreter import DEVICE, INTERPRETED, kernel_test, run_in_interpreter

GPU = DEVICE == "cuda"
LENGTHS = {"7, 70": (7, 70), "1, 255, 257": (1, 255, 257)} | ({"3586": (3586,), "65536": (65536,)} if GPU else {})


def test_in_the_interpreter():
    run_in_interpreter(__file__)


def scores_of(index, q, k):
    """(G, H, K) scores in float64 of the selected blocks; -inf for none."""
    chosen = k.double().transpose(0, 1)[torch.arange(k.shape[1], device=k.device).view(1, -1, 1), index.clamp(min=0)]
    scores = (q.double().unsqueeze(2) * chosen).sum(-1)
    return scores.masked_fill(index < 0, -torch.inf)


def check(q, k, groups, blocks, topk, balls=None, block_valid=None, own=None):
    """As many blocks, with the same scores in the same order, none twice: equal up to the choice among equal scores."""
    got = selection.select_blocks(q, k, groups, blocks, topk, balls=balls, block_valid=block_valid, own=own)
    want = selection.reference.select_blocks(
        q.float(), k.float(), groups, blocks, topk, balls=balls, block_valid=block_valid, own=own
    )
    assert got.shape == want.shape and got.dtype == torch.long and not got.requires_grad
    assert torch.equal(got < 0, want < 0)
    ours, theirs = scores_of(got, q, k), scores_of(want, q, k)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (got == want).double().mean() > 0.999
    sorted_index = got.sort(-1).values
    assert not ((sorted_index[..., 1:] == sorted_index[..., :-1]) & (sorted_index[..., 1:] >= 0)).any()
    return got


@kernel_test
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(
    "heads, width, block_size, group_size, topk, mask_own, dtype",
    [
        (2, 8, 8, 8, 4, True, torch.float32),
        (3, 20, 8, 4, 3, True, torch.bfloat16),
        (1, 16, 32, 1, 16, False, torch.float32),
    ],
)
def test_selects_as_the_reference(lengths, heads, width, block_size, group_size, topk, mask_own, dtype):
    layout = BallTree.build(torch.randn(sum(lengths), 3).to(DEVICE), lengths, 64, block_size).layout
    groups = tuple(s // group_size for s in layout.slots)
    balls = tuple(s // 64 for s in layout.slots) if mask_own else None
    q = torch.randn(sum(groups), heads, width, device=DEVICE).to(dtype)
    both = torch.randn(sum(layout.blocks), 2 * heads, width, device=DEVICE).to(dtype)
    index = check(q, both[:, :heads], groups, layout.blocks, topk, balls, layout.block_valid)  # strided keys
    if layout.block_valid is not None:
        assert layout.block_valid[index[index >= 0]].all()


@kernel_test
@pytest.mark.parametrize("topk", [3, 16])
@pytest.mark.parametrize("clouds", [((7, 30), (16, 40)), ((33,), (24,))], ids=["two clouds", "one cloud"])
def test_groups_may_say_in_which_ball_they_are(clouds, topk):
    groups, blocks = clouds
    q, k = torch.randn(sum(groups), 2, 8, device=DEVICE), torch.randn(sum(blocks), 2, 8, device=DEVICE)
    balls, valid = tuple(b // 8 for b in blocks), torch.rand(sum(blocks), device=DEVICE) > 0.2
    ends = torch.tensor([0, *balls]).cumsum(0).tolist()
    own = torch.cat([torch.randint(a, b, (g,)) for g, a, b in zip(groups, ends[:-1], ends[1:], strict=True)])
    index = check(q, k, groups, blocks, topk, balls, valid, own.to(DEVICE))
    assert (index // 8 != own.to(DEVICE).view(-1, 1, 1))[index >= 0].all()


@kernel_test
def test_of_equal_scores_the_lower_index_comes_first(monkeypatch):
    q = torch.ones(4, 1, 8, device=DEVICE)
    k = torch.ones(200, 1, 8, device=DEVICE)
    k[[150, 70]] = 2.0
    for stretch in (16, 64):
        tile = triton_backend.tile_of(5, 200)
        monkeypatch.setitem(triton_backend.TILES, ("few", "short"), tile | {"stretch": stretch})
        index = selection.select_blocks(q, k, (4,), (200,), 5)
        assert index[:, 0].tolist() == [[70, 150, 0, 1, 2]] * 4


@kernel_test
def test_a_cloud_of_one_ball_selects_nothing_and_infinite_scores_are_harmless():
    q, k = torch.randn(4, 2, 8, device=DEVICE), torch.randn(4, 2, 8, device=DEVICE)
    assert (selection.select_blocks(q, k, (4,), (4,), 2, balls=(1,)) == -1).all()
    k[1] = -torch.inf * q[0].sign()
    index = selection.select_blocks(q[:1], k, (1,), (4,), 4)
    assert ((index >= -1) & (index < 4)).all()


@kernel_test
@pytest.mark.parametrize("kind", list(triton_backend.TILES), ids=" ".join)
def test_tile_parameters_do_not_matter(monkeypatch, kind):
    tile = triton_backend.TILES[kind] | ({} if GPU else {"rows": 64})
    for each in triton_backend.TILES:
        monkeypatch.setitem(triton_backend.TILES, each, tile)
    q, k = torch.randn(70, 1, 16, device=DEVICE), torch.randn(300, 1, 16, device=DEVICE)
    check(q, k, (70,), (300,), 5, (10,))


def test_tiles_go_by_the_numbers_of_blocks():
    tiles = triton_backend.TILES
    assert triton_backend.tile_of(4, 512) == tiles["few", "short"]
    assert triton_backend.tile_of(4, 1 << 20) == tiles["few", "long"]
    assert triton_backend.tile_of(16, 128) == tiles["many", "short"]
    assert triton_backend.tile_of(16, 2048) == tiles["many", "long"]


@kernel_test
def test_operator_is_registered_as_torch_wants_it():
    q, k = torch.randn(8, 2, 8, device=DEVICE), torch.randn(16, 2, 8, device=DEVICE)
    torch.library.opcheck(
        torch.ops.pcbsa.select_blocks.default,
        (q, k, [8], [16], 2, [2], None, None),
        test_utils=("test_schema", "test_faketensor"),
    )


@kernel_test
def test_flops_are_those_of_the_reference():
    q, k = torch.randn(24, 2, 8, device=DEVICE), torch.randn(48, 2, 8, device=DEVICE)
    counts = []
    for op in (selection.select_blocks, selection.reference.select_blocks):
        with torch.utils.flop_counter.FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
            op(q, k, (8, 16), (16, 32), 4)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_what_the_kernels_cannot_do_is_an_error_when_they_are_asked_for(monkeypatch):
    monkeypatch.setenv("PCBSA_OPS", "triton")
    q = torch.randn(4, 1, 8, device=DEVICE)
    with pytest.raises(InputError, match="PCBSA_OPS: got 'triton', but select_blocks.*"):
        selection.select_blocks(q, q, (4,), (4,), 65)
    monkeypatch.setenv("PCBSA_OPS", "auto")
    assert selection.select_blocks(q, q, (4,), (4,), 65).shape == (4, 1, 65)


@pytest.mark.gpu
@pytest.mark.skipif(INTERPRETED, reason="needs CUDA")
@pytest.mark.parametrize(
    "slots, heads, width, group, block, topk", [(65536, 4, 16, 8, 8, 4), (65536, 1, 16, 1, 32, 16)]
)
def test_full_size_in_bfloat16_and_in_a_cuda_graph(slots, heads, width, group, block, topk):
    q = torch.randn(slots // group, heads, width, device="cuda").bfloat16()
    k = torch.randn(slots // block, heads, width, device="cuda").bfloat16()
    want = check(q, k, (slots // group,), (slots // block,), topk, (slots // 256,))
    if group == block:  # and as two clouds, the second of one ball
        balls, a_ball = slots // 256 - 1, 256 // group
        check(q, k, (balls * a_ball, a_ball), (balls * a_ball, a_ball), topk, (balls, 1))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        index = selection.select_blocks(q, k, (slots // group,), (slots // block,), topk, balls=(slots // 256,))
    index.zero_()
    graph.replay()
    assert torch.equal(index, want)
