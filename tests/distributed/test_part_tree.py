"""The parts of a tree that processes build together are the tree that one process builds over all points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from together import together

from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.traffic import counted
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry import token_part
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.part_plan import pieces_of, plan_part
from pointcept_bsa.geometry.part_tree import PartTree
from pointcept_bsa.geometry.tree_plan import plan_tree

BALL, BLOCK = 16, 4


def cloud(points: int, kind: str, seed: int = 0) -> torch.Tensor:
    """Points (n, 3): at random, on a lattice where most share a coordinate, or all at one place."""
    random = torch.Generator().manual_seed(seed)
    if kind == "random":
        return torch.randn(points, 3, generator=random, dtype=torch.float64) * torch.tensor([1.0, 3.0, 2.0])
    if kind == "lattice":
        return torch.randint(-2, 3, (points, 3), generator=random).double()
    return torch.zeros(points, 3, dtype=torch.float64)


CASES = {  # clouds of a batch, and of how many points
    "random": (("random", 331),),
    "lattice": (("lattice", 500),),
    "one place": (("one place", 200),),
    "batch": (("random", 150), ("lattice", 512), ("random", 97)),
}


def batch(case: str) -> list[torch.Tensor]:
    return [cloud(points, kind, seed) for seed, (kind, points) in enumerate(CASES[case])]


def own_points(clouds: list[torch.Tensor], rank: int, count: int) -> list[torch.Tensor]:
    """Uneven runs of each cloud."""
    cuts = [[len(x) * (r * r + r) // (count * count + count) for r in range(count + 1)] for x in clouds]
    return [x[c[rank] : c[rank + 1]] for x, c in zip(clouds, cuts, strict=True)]


def parts(rank: int, count: int, levels: tuple[int, int] | None) -> dict:
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
    found = together(count, parts, count, wide and (wide, 2))
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
