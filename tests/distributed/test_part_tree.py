"""The parts of a tree that processes build together are the tree that one process builds over all points."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from together import together
from torch.profiler import ProfilerActivity, profile

from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.traffic import counted
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry import token_part
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.exchange import Exchange, forth_together
from pointcept_bsa.geometry.part_plan import pieces_of, plan_part
from pointcept_bsa.geometry.part_tree import PartTree
from pointcept_bsa.geometry.token_tree import TokenSizes
from pointcept_bsa.geometry.tree_plan import plan_tree

BALL, BLOCK = 16, 4


def cloud(points: int, kind: str, seed: int = 0) -> torch.Tensor:
    """Points (n, 3): at random, on a lattice where most share a coordinate, or all at one place; or (n, 2) on a lattice
    in single precision, with zeros of both signs."""
    random = torch.Generator().manual_seed(seed)
    if kind == "random":
        return torch.randn(points, 3, generator=random, dtype=torch.float64) * torch.tensor([1.0, 3.0, 2.0])
    if kind == "lattice":
        return torch.randint(-2, 3, (points, 3), generator=random).double()
    if kind == "plane":
        return torch.randint(-3, 4, (points, 2), generator=random) * torch.tensor([-1.0, 1.0])
    return torch.zeros(points, 3, dtype=torch.float64)


CASES = {  # clouds of a batch, and of how many points
    "random": (("random", 331),),
    "lattice": (("lattice", 500),),
    "one place": (("one place", 200),),
    "batch": (("random", 150), ("lattice", 512), ("random", 97)),
    "plane": (("plane", 300), ("plane", 451)),
}


def batch(case: str) -> list[torch.Tensor]:
    return [cloud(points, kind, seed) for seed, (kind, points) in enumerate(CASES[case])]


def own_points(clouds: list[torch.Tensor], rank: int, count: int) -> list[torch.Tensor]:
    """Uneven runs of each cloud."""
    cuts = [[len(x) * (r * r + r) // (count * count + count) for r in range(count + 1)] for x in clouds]
    return [x[c[rank] : c[rank + 1]] for x, c in zip(clouds, cuts, strict=True)]


def parts(rank: int, count: int, levels: TokenSizes | None) -> dict:
    found, token_part.SPARE = {}, 1
    for case in CASES:
        own = own_points(batch(case), rank, count)
        coord, lengths = torch.cat(own), tuple(map(len, own))
        tree = PartTree.share(coord, lengths, BALL, BLOCK, mesh.context_group(), rotate=45.0, levels=levels)
        x = coord.clone().requires_grad_()
        there = tree.gather(x)
        turned = tree.permuted(there, to_rotated=True)
        back = tree.scatter(tree.permuted(turned, to_rotated=False))
        back.square().sum().backward()
        assert torch.equal(back, coord) and torch.equal(x.grad, 2 * coord)
        found[case] = {
            "main": tree.layout.coord,
            "there": there.detach(),
            "rotated": tree.rotated.coord,
            "turned": turned.detach(),
            "relative": tree.layout.relative,
            "valid": tree.layout.known_valid.copy(),
            "slots": tree.layout.slots,
            "pieces": [[(a, b) for _, a, b in each.shared.pieces(1)] for each in (tree.layout, tree.rotated)],
        }
    return found


@pytest.mark.parametrize("count, wide", [(2, None), (3, None), (4, None), (2, 2 * BALL)])
def test_the_parts_make_up_the_tree(count, wide):
    found = together(count, parts, count, wide and TokenSizes(BLOCK, wide, 2, wide))
    for case in CASES:
        clouds = batch(case)
        tree = BallTree.build(torch.cat(clouds), tuple(map(len, clouds)), BALL, BLOCK, rotate=45.0)
        slots = tuple(each[case]["slots"] for each in found)
        assert tuple(map(sum, zip(*slots, strict=True))) == tree.layout.slots
        assert all(s % (wide or BALL) == 0 for part in slots[:-1] for s in part)
        assert wide or all(max(of) - min(of) <= 2 * BALL for of in zip(*slots, strict=True))

        def whole(name, turned=False, case=case):
            rows = torch.cat([torch.as_tensor(each[case][name]) for each in found])
            return torch.cat([rows[a:b] for a, b in found[0][case]["pieces"][turned]])

        valid = torch.as_tensor(np.asarray(tree.layout.known_valid))
        assert torch.equal(whole("valid"), valid)
        for name, wanted in (("main", tree.layout.coord), ("rotated", tree.rotated.coord)):
            assert torch.equal(whole(name, name == "rotated")[valid], wanted[valid]), (case, name)
        assert torch.equal(whole("there")[valid], tree.layout.coord[valid])
        assert torch.equal(whole("turned", True)[valid], tree.rotated.coord[valid])
        torch.testing.assert_close(whole("relative"), tree.layout.relative)


def calls(rank: int, count: int) -> list[Counter[str]]:
    """Collectives and waits for a tree and for two, of a cloud with full slots."""
    random = torch.Generator().manual_seed(rank)
    own, found = torch.rand(512, 3, generator=random), []
    for rotate in (0.0, 45.0):
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            PartTree.share(own, (512,), BALL, BLOCK, mesh.context_group(), rotate=rotate)
        found.append(Counter({event.key: event.count for event in seen.key_averages()}))
    return found


@pytest.mark.parametrize("count, levels", [(2, 1), (4, 2)])
def test_the_rotated_tree_is_split_with_the_sums_and_waits_of_the_main_one(count, levels):
    for one, two in together(count, calls, count):
        sums = 3 * levels  # extents, and two digits
        assert one["c10d::allreduce_"] == two["c10d::allreduce_"] == sums
        assert one["aten::equal"] == two["aten::equal"] == levels
        # Points of the clouds, rows for each process; and of the two trees the rows of each piece.
        assert (one["c10d::_allgather_base_"], two["c10d::_allgather_base_"]) == (2, 3)
        # Points go to both trees at once; where they have got to comes back, goes on to the main tree, and turns, as do
        # the positions.
        assert (one["c10d::alltoall_base_"], two["c10d::alltoall_base_"]) == (1, 1 + 4)
        assert one["aten::nonzero"] == two["aten::nonzero"] == 0


def all_from_the_last(rank: int, count: int) -> torch.Tensor:
    points = cloud(300, "random") if rank == count - 1 else torch.zeros(0, 3, dtype=torch.float64)
    return PartTree.share(points, (len(points),), BALL, BLOCK, mesh.context_group(), rotate=45.0).layout.coord


def test_a_process_may_come_without_points():
    tree = BallTree.build(cloud(300, "random"), (300,), BALL, BLOCK)
    found = torch.cat(together(2, all_from_the_last, 2))
    assert torch.equal(found[tree.layout.known_valid], tree.layout.coord[tree.layout.known_valid])


def exchanged(rank: int, count: int) -> None:
    random, group = torch.Generator().manual_seed(rank), mesh.context_group()
    n = 20 + rank
    targets, rows = torch.randint(0, count, (3, n), generator=random), torch.randn(3, n, 2, generator=random)
    targets[1] = rank  # all rows stay
    several = Exchange.several(targets, group, "test")
    alone = [Exchange.to(target, group, "test") for target in targets]
    for one, other in zip(several, alone, strict=True):
        assert (one.send, one.receive) == (other.send, other.receive) and torch.equal(one.order, other.order)
    came = [each.forth(x) for each, x in zip(alone, rows, strict=True)]
    assert torch.equal(forth_together(several, rows), torch.cat(came))
    assert all(torch.equal(each.back(there), x) for each, there, x in zip(several, came, rows, strict=True))


@pytest.mark.parametrize("count", [2, 3])
def test_several_exchanges_at_once_are_those_one_by_one(count):
    together(count, exchanged, count)


def test_few_points_of_a_car_change_the_process():
    for count in (2, 4):
        found = together(count, turned_car, count)
        assert sum(found) < 0.25 * 4096 * (count // 2)


def turned_car(rank: int, count: int) -> int:
    """Points that leave the process for the rotated tree, of a box like a car's."""
    random = torch.Generator().manual_seed(0)
    coord = torch.rand(4096, 3, generator=random) * torch.tensor([1.8, 1.2, 4.6])
    own = coord.chunk(count)[rank]
    tree = PartTree.share(own, (len(own),), BALL, BLOCK, mesh.context_group(), rotate=45.0)
    with counted() as sent:
        tree.permuted(tree.layout.coord, to_rotated=True)
    assert tree.rotated is not None and tree.rotated.slots == tree.layout.slots
    return sent["rotation"] // 12


def test_cuts_are_even_and_the_plans_below_them_that_of_the_cloud():
    lengths, unit = (1000, 5000), 32
    plan = plan_tree(lengths, unit, 8)
    for count in (2, 3, 7):
        own = [plan_part(lengths, unit, 8, count, rank) for rank in range(count)]
        valid = np.concatenate([part.own.valid for part in own])
        assert np.array_equal(np.concatenate([valid[a:b] for a, b in pieces_of(own[0].slots)]), plan.valid)
        assert all(max(of) - min(of) <= unit for of in zip(*own[0].slots, strict=True))


def test_a_cloud_of_fewer_balls_than_processes_is_refused():
    with pytest.raises(InputError, match="context_parallel: got a cloud of 90 points for 4 processes, wanted at least"):
        plan_part((500, 90), 32, 8, 4, 0)
