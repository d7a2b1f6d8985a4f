"""Truths about ball trees: what every point, ball and block can rely on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointcept_bsa.geometry.ball_tree import BallTree, rotation_matrix, sort_into_tree, tree_order
from pointcept_bsa.geometry.neighbors import find_neighbors
from pointcept_bsa.geometry.tree_plan import plan_tree

SIZES = st.lists(st.integers(1, 300), min_size=1, max_size=4)


def cloud(lengths, dims=3, seed=0):
    return torch.randn(sum(lengths), dims, generator=torch.Generator().manual_seed(seed))


def balls(tree: BallTree, layout, size: int) -> set[frozenset[int]]:
    """The sets of points in runs of ``size`` slots."""
    index = tree.index if layout is tree.layout else tree.index[tree.rotation]
    held = torch.where(torch.from_numpy(layout.host_valid), index, -1).view(-1, size)
    return {frozenset(row.tolist()) - {-1} for row in held}


@settings(max_examples=40, deadline=None)
@given(SIZES, st.sampled_from([(16, 4), (32, 8), (64, 8)]), st.sampled_from([2, 3]), st.booleans())
def test_every_point_sits_in_exactly_one_slot_of_its_cloud(lengths, sizes, dims, rotate):
    ball, block = sizes
    tree = BallTree.build(cloud(lengths, dims), tuple(lengths), ball, block, rotate=45 if rotate else 0)
    starts = np.cumsum([0, *lengths])
    for layout in [tree.layout] + ([tree.rotated] if rotate else []):
        index = tree.index if layout is tree.layout else tree.index[tree.rotation]
        assert sorted(index[torch.from_numpy(layout.host_valid)].tolist()) == list(range(sum(lengths)))
        first = 0
        for i, slots in enumerate(layout.slots):
            assert slots == -(-lengths[i] // ball) * ball
            here = index[first : first + slots]
            assert ((here >= starts[i]) & (here < starts[i + 1])).all()
            first += slots
        assert layout.host_valid.reshape(-1, ball).any(1).all()  # no empty ball
    assert torch.equal(tree.scatter(tree.gather(torch.arange(sum(lengths)))), torch.arange(sum(lengths)))


@settings(max_examples=25, deadline=None)
@given(SIZES)
def test_padding_is_spread_evenly(lengths):
    plan = plan_tree(tuple(lengths), 32, 8)
    points = plan.valid.reshape(-1, 32).sum(1)
    for held in np.split(points, np.cumsum([s // 32 for s in plan.slots])[:-1]):
        assert held.max() - held.min() <= 1 + int(np.log2(len(held)) + 1)


def test_a_node_is_split_at_the_median_of_its_longest_axis():
    coord = cloud((256,)) * torch.tensor([1.0, 5.0, 2.0])
    tree = BallTree.build(coord, (256,), 128, 8)
    left, right = coord[tree.index[:128]], coord[tree.index[128:]]
    axis = (coord.amax(0) - coord.amin(0)).argmax()
    assert left[:, axis].max() <= right[:, axis].min()


@pytest.mark.parametrize("pad", ["ball", "power_of_two"])
@pytest.mark.parametrize(("lengths", "dims"), [((1024,), 3), ((512, 256), 3), ((1024, 1024), 2)])
def test_ball_sets_equal_the_public_implementation(pad, lengths, dims):
    peer = pytest.importorskip("balltree", reason="balltree-erwin is not installed: the peer comparison is SKIPPED")
    coord = cloud(lengths, dims)
    batch = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    tree = BallTree.build(coord, lengths, 64, 8, rotate=45, pad=pad)
    index, mask, (rotated,) = peer.build_balltree_with_rotations(coord, batch, [], [64], 45)
    assert mask.all()
    for size in (8, 16, 64, 128, 256):
        assert balls(tree, tree.layout, size) == {frozenset(r.tolist()) for r in index.view(-1, size)}
    assert balls(tree, tree.rotated, 64) == {frozenset(index[r].tolist()) for r in rotated.view(-1, 64)}


def test_complete_binary_tree_duplicates_the_same_points_as_the_public_implementation():
    peer = pytest.importorskip("balltree", reason="balltree-erwin is not installed: the peer comparison is SKIPPED")
    coord, lengths = cloud((700, 1100)), (700, 1100)
    batch = torch.repeat_interleave(torch.arange(2), torch.tensor(lengths))
    tree = BallTree.build(coord, lengths, 128, 8, rotate=45, pad="power_of_two")
    index, mask, _ = peer.build_balltree_with_rotations(coord, batch, [], [128], 45)
    assert tree.layout.slots == (1024, 2048)
    for size in (8, 128):
        ours = [sorted(r.tolist()) for r in tree.index.view(-1, size)]
        assert ours == [sorted(r.tolist()) for r in index.view(-1, size)]
    assert int(mask.sum()) == 1800
    assert torch.equal(tree.index[tree.inverse], torch.arange(1800))


@pytest.mark.parametrize(
    "coord",
    [
        torch.zeros(1, 3),
        torch.zeros(50, 3),
        torch.linspace(0, 1, 77).unsqueeze(1).repeat(1, 3),
        torch.tensor([[0.0, -0.0], [-0.0, 0.0], [0.0, 0.0]]),
    ],
    ids=["one point", "equal points", "collinear", "signed zeros"],
)
def test_degenerate_clouds(coord):
    tree = BallTree.build(coord, (len(coord),), 32, 8, rotate=45)
    assert sorted(tree.index[tree.layout.host_valid].tolist()) == list(range(len(coord)))


def test_negative_coordinates_sort_below_positive_ones():
    coord = torch.tensor([3.0, -1.0, 0.0, -7.5, 2.0, -0.25, 1e-30, -1e-30]).unsqueeze(1)
    order = sort_into_tree(coord, plan_tree((8,), 8, 1))
    assert torch.equal(order, coord.squeeze(1).argsort())


def test_relative_positions_average_to_zero_in_every_ball():
    tree = BallTree.build(cloud((100, 33)), (100, 33), 32, 8, rotate=45)
    for layout in (tree.layout, tree.rotated):
        assert layout.relative.view(-1, 32, 3).sum(1).abs().max() < 1e-4
        assert (layout.relative[~layout.valid] == 0).all()


def test_a_cached_order_gives_the_same_tree():
    lengths = (300, 77)
    coord = cloud(lengths)
    cached = torch.cat([tree_order(c, 32, 8, rotate=45) for c in coord.split(lengths)])
    built = BallTree.build(coord, lengths, 32, 8, rotate=45)
    loaded = BallTree.build(coord, lengths, 32, 8, rotate=45, order=cached)
    for name in ("index", "inverse", "rotation", "rotation_inverse"):
        assert torch.equal(getattr(built, name), getattr(loaded, name))


def test_a_batch_has_the_trees_of_its_clouds():
    lengths = (90, 200, 5)
    coord = cloud(lengths)
    batch = BallTree.build(coord, lengths, 32, 8, rotate=45)
    start = slot = 0
    for n, slots in zip(lengths, batch.layout.slots, strict=True):
        single = BallTree.build(coord[start : start + n], (n,), 32, 8, rotate=45)
        assert torch.equal(batch.index[slot : slot + slots] - start, single.index)
        assert torch.equal(batch.rotation[slot : slot + slots] - slot, single.rotation)
        start, slot = start + n, slot + slots


def test_blocks_are_compact():
    sphere = torch.nn.functional.normalize(cloud((3586,)), dim=1)
    tree = BallTree.build(sphere, (3586,), 256, 8)
    block, weight = sphere[tree.index].view(-1, 8, 3), tree.layout.valid.view(-1, 8, 1).float()
    centre = (block * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    radius = ((block - centre).norm(dim=2, keepdim=True) * weight).sum(1) / weight.sum(1)
    assert radius.mean() < 0.08  # a tree that stops at balls of 256 leaves 0.256


@pytest.mark.parametrize("dims", [2, 3])
def test_rotation_is_orthogonal(dims):
    matrix = rotation_matrix(45, torch.zeros(1, dims, dtype=torch.float64))
    assert torch.allclose(matrix @ matrix.T, torch.eye(dims, dtype=torch.float64))
    assert torch.linalg.det(matrix) == pytest.approx(1)


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        (dict(lengths=(10, 0)), "at least one point"),
        (dict(ball_size=24), "power of two"),
        (dict(unit=48), "multiple of ball_size"),
        (dict(pad="zeros"), "wanted one of"),
    ],
)
def test_what_cannot_be_built_is_refused(kwargs, word):
    kwargs = dict(lengths=(10,), ball_size=32) | kwargs
    with pytest.raises(ValueError, match=word):
        BallTree.build(torch.zeros(10, 3), block_size=8, **kwargs)


@pytest.mark.parametrize(
    "lengths, pad", [((40,), "ball"), ((33, 7), "ball"), ((33, 7), "power_of_two"), ((64,), "ball")]
)
def test_reordering_has_the_gradients_of_an_index(lengths, pad):
    coord = torch.randn(sum(lengths), 3, dtype=torch.float64)
    tree = BallTree.build(coord, lengths, 16, 4, pad=pad)
    x, y = (torch.randn(len(i), 2, dtype=torch.float64, requires_grad=True) for i in (tree.inverse, tree.index))
    weight = torch.randn(len(tree.index), 2, dtype=torch.float64)
    if tree.layout.valid is not None:
        weight = weight * tree.layout.valid.unsqueeze(1)
    gathered = [f(x).square() * weight for f in (tree.gather, lambda x: x[tree.index])]
    scattered = [f(y).pow(3) for f in (tree.scatter, lambda y: y[tree.inverse])]
    for (one, other), leaf in ((gathered, x), (scattered, y)):
        assert torch.equal(one, other)
        first = [torch.autograd.grad(out.sum(), leaf, create_graph=True)[0] for out in (one, other)]
        second = [torch.autograd.grad(grad.square().sum(), leaf)[0] for grad in first]
        assert torch.allclose(*first) and torch.allclose(*second)


@pytest.mark.parametrize(
    "lengths", [[40, 23], np.array([40, 23]), torch.tensor([40, 23])], ids=["list", "array", "tensor"]
)
def test_lengths_are_any_integers(lengths):
    coord = cloud((40, 23))
    tree = BallTree.build(coord, lengths, 16, 4)
    assert torch.equal(tree.index, BallTree.build(coord, (40, 23), 16, 4).index)
    assert tree.layout.slots == (48, 32)


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        ((40, 22), r"lengths: got \(40, 22\), which are 62 points, wanted 63 as there are"),
        ((40, 23, 0), "wanted at least one point in every cloud"),
        ((), "wanted at least one point in every cloud"),
        ((40.0, 23.0), "wanted the number of points of each cloud"),
        (63, "wanted the number of points of each cloud"),
    ],
)
def test_wrong_lengths_are_told_in_one_line(lengths, words):
    for use in (lambda coord: BallTree.build(coord, lengths, 16, 4), lambda coord: find_neighbors(coord, lengths, 3)):
        with pytest.raises(ValueError, match=words) as refused:
            use(cloud((40, 23)))
        assert "\n" not in str(refused.value)
