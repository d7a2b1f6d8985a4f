"""Points of parts of clouds have the neighbours that they have in whole clouds, those of equal distance included."""

from __future__ import annotations

import pytest
import torch
from test_part_tree import CASES, batch, own_points
from together import together

from pointcept_bsa.distributed import mesh
from pointcept_bsa.geometry.neighbors import find_neighbors
from pointcept_bsa.geometry.part_neighbors import neighbors_of_part
from pointcept_bsa.geometry.part_tree import PartTree

BALL, BLOCK = 16, 4
SEARCHES = {
    "nearest": dict(num_neighbors=7),
    "more than a part has": dict(num_neighbors=150),
    "radius": dict(num_neighbors=12, edges="radius", radius=1.0),
    "nobody": dict(num_neighbors=3, edges="radius", radius=1e-9),
}


def parts(rank: int, count: int) -> dict:
    found = {}
    for case in CASES:
        clouds = batch(case)
        numbers = torch.arange(sum(map(len, clouds))).split(list(map(len, clouds)))  # of the points of whole clouds
        own, numbers = own_points(clouds, rank, count), torch.cat(own_points(numbers, rank, count))
        tree = PartTree.share(torch.cat(own), tuple(map(len, own)), BALL, BLOCK, mesh.context_group(), rotate=0.0)
        point = tree.gather(numbers)
        for name, search in SEARCHES.items():
            near = neighbors_of_part(tree, **search)
            own = near.points.take(point)
            (of_all,) = near.far.extended(own)
            named = torch.where(near.index < 0, -1, of_all[near.index])
            assert torch.equal(near.coord, torch.cat(clouds)[of_all])
            found[case, name] = numbers, tree.scatter(near.points.put(named)), len(of_all) - len(own)
    return found


@pytest.mark.parametrize("count", [2, 4])
def test_neighbors_are_those_of_the_whole_cloud(count):
    found = together(count, parts, count)
    for case in CASES:
        clouds = batch(case)
        for name, search in SEARCHES.items():
            wanted = find_neighbors(torch.cat(clouds), tuple(map(len, clouds)), **search)
            for numbers, named, fetched in (each[case, name] for each in found):
                assert torch.equal(named, wanted[numbers]), (case, name)
                if case == "random" and name == "nearest":
                    assert 0 < fetched < (len(wanted) - len(numbers)) / 2  # those near the border alone
                if name == "nobody" and case == "random":
                    assert fetched == 0
