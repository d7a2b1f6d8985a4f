"""Truths about neighbours: nearest, of the own cloud, the same by every search."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pointcept_bsa.dispatch import triton_installed
from pointcept_bsa.geometry import neighbors
from pointcept_bsa.geometry.neighbors import find_neighbors, shift_neighbors

if triton_installed():
    from pointcept_bsa.geometry import neighbors_triton

LENGTHS = (30, 1, 7, 64)


def clouds(lengths=LENGTHS, dims=3):
    return torch.randn(sum(lengths), dims)


def brute_force(coord, lengths, k, radius=float("inf")):
    """Set of neighbours of each point, from all distances in double precision."""
    sets, start = [], 0
    for cloud in coord.double().split(lengths):
        distance = (cloud[:, None] - cloud).norm(dim=-1)
        for row in distance:
            near = row.argsort()[:k]
            sets.append({int(j) + start for j in near if row[j] <= radius})
        start += len(cloud)
    return sets


def sets_of(index):
    return [set(row.tolist()) - {-1} for row in index]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple), st.integers(1, 9), st.sampled_from([2, 3]))
def test_the_nearest_of_the_own_cloud(lengths, k, dims):
    coord = clouds(lengths, dims)
    index = find_neighbors(coord, lengths, k)
    assert index.shape == (sum(lengths), k)
    assert sets_of(index) == brute_force(coord, lengths, k)


def test_a_point_is_its_own_first_neighbor_and_distances_rise():
    coord = clouds()
    index = find_neighbors(coord, LENGTHS, 5)
    assert torch.equal(index[:, 0], torch.arange(len(coord)))
    distance = (coord[index.clamp(min=0)] - coord[:, None]).norm(dim=-1).where(index >= 0, torch.inf)
    assert (distance.diff(dim=1).nan_to_num(0) >= 0).all()


@pytest.mark.parametrize("k", [1, 4, 16, 60])
def test_of_equal_distances_the_lower_index_comes_first(k):
    lengths = (100, 27, 1)
    coord = torch.randint(0, 3, (sum(lengths), 3)).float()
    index, start = find_neighbors(coord, lengths, k), 0
    for cloud, found in zip(coord.split(lengths), index.split(lengths), strict=True):
        squared = (cloud[:, None] - cloud).square().sum(2)
        wanted = squared.sort(dim=1, stable=True).indices[:, :k] + start
        assert torch.equal(found[:, : wanted.shape[1]], wanted)
        start += len(cloud)


def test_radius_keeps_those_inside_the_nearest_first():
    coord = clouds()
    index = find_neighbors(coord, LENGTHS, 6, edges="radius", radius=0.8)
    assert sets_of(index) == brute_force(coord, LENGTHS, 6, 0.8)
    assert (index[:, 0] == torch.arange(len(coord))).all()


@pytest.mark.parametrize("chunk", [2**26, 100])
def test_both_searches_agree(monkeypatch, chunk):
    monkeypatch.setattr(neighbors, "MAX_DISTANCES", chunk)
    cloud = torch.randn(50, 3)
    (tree, near), (pairs, also_near) = neighbors._search_tree(cloud, cloud, 8), neighbors._search_all(cloud, cloud, 8)
    assert torch.equal(tree, pairs)
    assert torch.allclose(near.float(), also_near)


@pytest.mark.gpu
def test_cuda_finds_the_same():
    coord = clouds()
    assert torch.equal(find_neighbors(coord.cuda(), LENGTHS, 5).cpu(), find_neighbors(coord, LENGTHS, 5))


@pytest.mark.gpu
@pytest.mark.parametrize("lengths", [(65536,), (3586, 1, 257, 2000)])
def test_leaving_points_out_changes_nothing_on_cuda(monkeypatch, lengths):
    coord = torch.nn.functional.normalize(clouds(lengths)).cuda()
    index = find_neighbors(coord, lengths, 16)
    monkeypatch.setattr(neighbors_triton, "PRUNE_FROM", 10**9)
    assert torch.equal(index, find_neighbors(coord, lengths, 16))
    tree = find_neighbors(coord.cpu(), lengths, 16)
    assert torch.equal(index.cpu() < 0, tree < 0)
    near, by_tree = ((coord.cpu()[i.clamp(min=0)] - coord.cpu()[:, None]).norm(dim=-1) for i in (index.cpu(), tree))
    assert torch.allclose(near[tree >= 0], by_tree[tree >= 0], atol=1e-6)


def test_equal_points_are_all_neighbors():
    index = find_neighbors(torch.zeros(6, 3), (6,), 6)
    assert sets_of(index) == [set(range(6))] * 6


def test_cached_neighbors_are_counted_from_the_cloud():
    index = torch.tensor([[0, 1], [1, -1], [0, -1], [1, 0]])
    assert shift_neighbors(index, (2, 2)).tolist() == [[0, 1], [1, -1], [2, -1], [3, 2]]


@pytest.mark.parametrize(
    ("index", "word"),
    [
        (torch.zeros(3, 2, dtype=torch.long), "wanted \\(4, neighbours\\)"),
        (torch.zeros(4, dtype=torch.long), "got shape"),
        (torch.tensor([[0], [1], [2], [0]]), "got values from 0 to 2"),
        (torch.tensor([[0], [1], [-2], [0]]), "wanted indices inside each cloud"),
    ],
)
def test_cached_neighbors_outside_the_cloud_are_refused(index, word):
    with pytest.raises(ValueError, match=f"neighbor_index.*{word}"):
        shift_neighbors(index, (2, 2))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (dict(edges="delaunay"), "edges: got 'delaunay'"),
        (dict(num_neighbors=0), "num_neighbors: got 0"),
        (dict(edges="radius"), "radius: got None"),
        (dict(edges="radius", radius=-1.0), "radius: got -1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, word):
    with pytest.raises(ValueError, match=word):
        find_neighbors(torch.randn(4, 3), (4,), **options)
