"""What layers need of whole clouds: in one process by the formulas, in several what one process would have.

Tables of the whole clouds are drawn alike in every process, which takes its rows; the oracles run over all of them.
"""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from together import together
from torch import Tensor

from pointcept_bsa.distributed import mesh
from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree
from pointcept_bsa.geometry.part_tree import PartTree
from pointcept_bsa.geometry.token_tree import TokenSizes
from pointcept_bsa.layers.shared_clouds import CoarseKeys, SharedPoints, attend_selected
from pointcept_bsa.layers.token_levels import TokenLevels

BALL, BLOCK, GROUP, HEADS, KV_HEADS, WIDTH, TOPK = 8, 4, 2, 4, 2, 3, 3
COUNTS = (2, 3)
CLOUDS = {"empty slots": (83, 26, 45), "full": (64, 24)}
ALONE = CLOUDS | {"empty blocks": (21, 1, 3)}  # too small for several processes
POINTS = {  # of each cloud in each process
    2: ((3, 1, 0), (4, 0, 5)),
    3: ((0, 1, 2), (0, 0, 0), (7, 0, 1)),
}
SIZES = TokenSizes(BLOCK, near=16, fan=2, beyond=16)


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def coordinates(case: str) -> list[Tensor]:
    return [numbers(n, 3, seed=70 + i) for i, n in enumerate(ALONE[case])]


def slots_of(case: str) -> tuple[int, ...]:
    return tuple(math.ceil(n / BALL) * BALL for n in ALONE[case])


def chosen_blocks(filled: list[int], slots: tuple[int, ...]) -> Tensor:
    """(G, Hkv, K): for each group of queries blocks of its cloud that hold points, none twice; -1 for none."""
    generator, rows, first = torch.Generator().manual_seed(9), [], 0
    for size in slots:
        blocks = torch.tensor([b for b in range(first, first + size // BLOCK) if filled[b]])
        first += size // BLOCK
        for _ in range(size // GROUP * KV_HEADS):
            row = torch.full((TOPK,), -1)
            found = int(torch.randint(min(TOPK, len(blocks)) + 1, (), generator=generator))
            row[:found] = blocks[torch.randperm(len(blocks), generator=generator)[:found]]
            rows.append(row)
    return torch.stack(rows).view(-1, KV_HEADS, TOPK)


def tables(case: str) -> dict[str, Tensor]:
    """Queries, keys and values of all slots, coarse ones of all blocks, and what their outputs are weighed by."""
    rows = sum(slots_of(case))
    shapes = {"q": (rows, HEADS), "k": (rows, KV_HEADS), "v": (rows, KV_HEADS), "out": (rows, HEADS)}
    shapes |= dict.fromkeys(("k_cmp", "v_cmp", "k_out", "v_out"), (rows // BLOCK, KV_HEADS))
    return {name: numbers(*shape, WIDTH, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def levels() -> TokenLevels:
    return TokenLevels(WIDTH, SIZES, beam=4, topk=TOPK, phi="mean").double()


def in_layout(layout: BallLayout, own: Tensor, case: str, filled: list[int]) -> dict:
    """Everything in one layout, of which ``own`` are the slots here."""
    whole, blocks = tables(case), own[::BLOCK] // BLOCK
    given = {n: whole[n][own if n in "qkv" else blocks].requires_grad_() for n in ("q", "k", "v", "k_cmp", "v_cmp")}
    chosen = chosen_blocks(filled, slots_of(case))[own[::GROUP] // GROUP]
    out = attend_selected(given["q"], given["k"], given["v"], chosen, layout)
    gradients = torch.autograd.grad((out * whole["out"][own]).sum(), [given[n] for n in "qkv"])
    coarse = CoarseKeys(given["k_cmp"], given["v_cmp"], layout)
    k_cmp, v_cmp, tokens = coarse.wait()
    assert tokens is None
    loss = (k_cmp * whole["k_out"]).sum() + (v_cmp * whole["v_out"]).sum()
    gradients += torch.autograd.grad(loss, [given["k_cmp"], given["v_cmp"]])
    return {
        "own": own,
        "out": out.detach(),
        "gradients": gradients,
        "coarse": (k_cmp.detach(), v_cmp.detach()),
    }


def in_levels(layout: BallLayout, own: Tensor, case: str) -> dict:
    """What queries get of the tokens of several levels; keys and values of two heads, so as many of queries."""
    whole, blocks = tables(case), own[::BLOCK] // BLOCK
    k, v = (whole[name][blocks].requires_grad_() for name in ("k_cmp", "v_cmp"))
    same_k, same_v, tokens = CoarseKeys(k, v, layout, levels()).wait()
    assert same_k is k and same_v is v and tokens is not None
    out = tokens.attend(whole["k"][own])
    gradients = torch.autograd.grad((out * whole["v"][own]).sum(), [k, v])
    return {"own": own, "out": out.detach(), "gradients": gradients}


def points(rank: int, count: int) -> dict:
    lengths = POINTS[count][rank]
    shared = SharedPoints.of(lengths, torch.device("cpu"))
    assert shared is not None and shared.group is mesh.context_group()
    rows = [torch.arange(n) + sum(of[c] for of in POINTS[count][:rank]) + sum(sum(of[:c]) for of in POINTS[count])
            for c, n in enumerate(lengths)]  # fmt: skip
    own, total = torch.cat(rows), sum(map(sum, POINTS[count]))
    k, v = (numbers(total, HEADS, WIDTH, seed=seed)[own].requires_grad_() for seed in (30, 31))
    every = shared.keys_values(k, v)
    weights = [numbers(total, HEADS, WIDTH, seed=40 + 2 * rank + i) for i in range(2)]
    gradients = torch.autograd.grad(sum((x * w).sum() for x, w in zip(every, weights, strict=True)), [k, v])
    return {
        "own": own,
        "lengths": shared.lengths,
        "whole": shared.whole,
        "every": [x.detach() for x in every],
        "gradients": gradients,
    }


def in_a_process(rank: int, count: int) -> dict:
    found = {"points": points(rank, count)}
    for case in CLOUDS:
        own = [x.tensor_split(count)[rank] for x in coordinates(case)]
        lengths, group = tuple(map(len, own)), mesh.context_group()
        tree = PartTree.share(torch.cat(own), lengths, BALL, BLOCK, group, rotate=45.0)
        for name, layout in (("main", tree.layout), ("rotated", tree.rotated)):
            parts, slots = layout.shared, layout.shared.own_slots(torch.device("cpu"))
            filled = [BLOCK] * (sum(slots_of(case)) // BLOCK) if parts.filled is None else parts.filled.tolist()
            found[case, name] = in_layout(layout, slots, case, filled) | {"filled": filled, "valid": layout.known_valid}
        near = PartTree.share(torch.cat(own), lengths, BALL, BLOCK, group, levels=SIZES).layout
        found[case, "levels"] = in_levels(near, near.shared.own_slots(torch.device("cpu")), case)
    return found


@pytest.fixture(scope="module")
def shared():
    return cache(lambda count: together(count, in_a_process, count))


def whole_of(parts: list[dict], key: str, i: int | None = None) -> Tensor:
    """Rows of all processes, in the order of the whole clouds; each row in one of them."""
    rows = torch.cat([part["own"] for part in parts])
    values = torch.cat([torch.as_tensor(part[key] if i is None else part[key][i]) for part in parts])
    size = len(rows) // len(values)
    order = (rows[::size] // size).argsort()
    assert torch.equal(rows.sort().values, torch.arange(len(rows)))
    return values[order]


def selected_by_hand(q: Tensor, k: Tensor, v: Tensor, chosen: Tensor, valid: list[bool]) -> Tensor:
    """softmax(q k / sqrt(D)) v over the points of the blocks that the slot's group and key head have chosen."""
    out = []
    for s in range(len(q)):
        heads = []
        for head in range(HEADS):
            kv = head * KV_HEADS // HEADS
            blocks = [b for b in chosen[s // GROUP, kv].tolist() if b >= 0]
            rows = [j for b in blocks for j in range(b * BLOCK, b * BLOCK + BLOCK) if valid[j]]
            if not rows or not valid[s]:
                heads.append(torch.zeros_like(q[s, head]))
                continue
            weights = torch.stack([q[s, head] @ k[j, kv] / math.sqrt(WIDTH) for j in rows]).softmax(0)
            heads.append(sum(w * v[j, kv] for w, j in zip(weights, rows, strict=True)))
        out.append(torch.stack(heads))
    return torch.stack(out)


def compare_selected(case: str, out: Tensor, gradients: list[Tensor], valid: list[bool], filled: list[int]) -> None:
    whole = tables(case)
    given = [whole[name].requires_grad_() for name in "qkv"]
    want = selected_by_hand(*given, chosen_blocks(filled, slots_of(case)), valid)
    torch.testing.assert_close(out, want, rtol=1e-10, atol=1e-10)
    wanted = torch.autograd.grad((want * whole["out"]).sum(), given)
    for name, ours, theirs in zip("qkv", gradients, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("case", ALONE)
def test_selected_attention_of_one_process_is_its_formula(case):
    layout = BallTree.build(torch.cat(coordinates(case)), ALONE[case], BALL, BLOCK).layout
    valid = layout.known_valid.tolist()
    assert all(valid) == (case == "full")
    filled = [sum(valid[b : b + BLOCK]) for b in range(0, len(valid), BLOCK)]
    assert (0 in filled) == (case == "empty blocks")
    found = in_layout(layout, torch.arange(len(valid)), case, filled)
    compare_selected(case, found["out"], found["gradients"][:3], valid, filled)
    whole = tables(case)
    for i, name in enumerate(("k_cmp", "v_cmp")):  # with one process they pass through
        assert torch.equal(found["coarse"][i], whole[name])
        assert torch.equal(found["gradients"][3 + i], whole[name.replace("cmp", "out")])


@pytest.mark.parametrize("tree", ["main", "rotated"])
@pytest.mark.parametrize("case", CLOUDS)
@pytest.mark.parametrize("count", COUNTS)
def test_selected_attention_of_several_is_its_formula_over_the_whole_clouds(count, case, tree, shared):
    parts = [found[case, tree] for found in shared(count)]
    valid, filled = whole_of(parts, "valid").tolist(), parts[0]["filled"]
    assert sum(valid) == sum(CLOUDS[case])
    assert filled == [sum(valid[b : b + BLOCK]) for b in range(0, len(valid), BLOCK)]
    gradients = [whole_of(parts, "gradients", i) for i in range(3)]
    compare_selected(case, whole_of(parts, "out"), gradients, valid, filled)


@pytest.mark.parametrize("tree", ["main", "rotated"])
@pytest.mark.parametrize("case", CLOUDS)
@pytest.mark.parametrize("count", COUNTS)
def test_every_process_has_the_coarse_keys_of_the_whole_clouds(count, case, tree, shared):
    parts, whole = [found[case, tree] for found in shared(count)], tables(case)
    for part in parts:
        assert torch.equal(part["coarse"][0], whole["k_cmp"]) and torch.equal(part["coarse"][1], whole["v_cmp"])
    for i, name in enumerate(("k_out", "v_out")):  # each process weighed them so
        torch.testing.assert_close(whole_of(parts, "gradients", 3 + i), count * whole[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CLOUDS)
@pytest.mark.parametrize("count", COUNTS)
def test_tokens_of_levels_are_those_of_the_whole_clouds(count, case, shared):
    parts = [found[case, "levels"] for found in shared(count)]
    layout = BallTree.build(torch.cat(coordinates(case)), CLOUDS[case], BALL, BLOCK).layout
    want = in_levels(layout, torch.arange(len(layout.coord)), case)
    real = torch.from_numpy(layout.known_valid)
    torch.testing.assert_close(whole_of(parts, "out")[real], want["out"][real], rtol=1e-10, atol=1e-10)
    for i in range(2):
        ours = whole_of(parts, "gradients", i)
        torch.testing.assert_close(ours, want["gradients"][i], rtol=1e-10, atol=1e-10)


def test_points_of_one_process_are_not_shared():
    assert SharedPoints.of((3, 1), torch.device("cpu")) is None


@pytest.mark.parametrize("count", COUNTS)
def test_keys_and_values_of_all_points_come_cloud_after_cloud(count, shared):
    """Where a process has none of a cloud, or none at all."""
    parts, total = [found["points"] for found in shared(count)], sum(map(sum, POINTS[count]))
    whole = [numbers(total, HEADS, WIDTH, seed=seed) for seed in (30, 31)]
    for part in parts:
        assert part["lengths"] == POINTS[count] and part["whole"] == tuple(map(sum, zip(*POINTS[count], strict=True)))
        assert all(torch.equal(ours, all_of) for ours, all_of in zip(part["every"], whole, strict=True))
    for i in range(2):
        weights = sum(numbers(total, HEADS, WIDTH, seed=40 + 2 * rank + i) for rank in range(count))
        torch.testing.assert_close(whole_of(parts, "gradients", i), weights, rtol=1e-12, atol=1e-12)
