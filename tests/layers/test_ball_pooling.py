"""Pooling along the ball tree: what becomes of positions, empty slots and statistics."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.level_trees import coarsen, with_rotation
from pointcept_bsa.layers.ball_pooling import BallPooling, BallUnpooling, normalize_points

LENGTHS = (50, 3, 64)


def layouts(lengths=LENGTHS, stride=2, **options):
    coord = torch.randn(sum(lengths), 3)
    tree = BallTree.build(coord, lengths, 16, stride, unit=32, **options)
    return coord, tree, coarsen(tree.layout, stride, 16)


def test_a_pooled_slot_lies_at_the_mean_of_its_points():
    coord, tree, coarse = layouts()
    slot = tree.inverse // 2
    for j, real in enumerate(coarse.host_valid):
        inside = coord[slot == j]
        assert (len(inside) > 0) == real
        if real:
            assert torch.allclose(coarse.coord[j], inside.mean(0), atol=1e-6)
    assert coarse.slots == tuple(s // 2 for s in tree.layout.slots)
    assert coarse.coord.isfinite().all()


def test_pooling_equals_its_formula():
    _, tree, coarse = layouts((32,))
    pool = BallPooling(4, 6, 2).eval()
    x = torch.randn(32, 4)
    position = tree.layout.coord
    for j in range(16):
        a, b = 2 * j, 2 * j + 1
        centre = (position[a] + position[b]) / 2
        want = pool.norm(pool.projection(torch.cat([x[a], x[b], position[a] - centre, position[b] - centre]))[None])
        assert torch.allclose(pool(x, tree.layout, coarse)[j], want[0], atol=1e-5)


def test_unpooling_equals_its_formula():
    _, tree, coarse = layouts((32,))
    unpool = BallUnpooling(6, 4, 2).eval()
    parent, child = torch.randn(16, 6), torch.randn(32, 4)
    position = tree.layout.coord
    for i in range(32):
        j = i // 2
        centre = (position[2 * j] + position[2 * j + 1]) / 2
        offsets = torch.cat([position[2 * j] - centre, position[2 * j + 1] - centre])
        refined = unpool.projection(torch.cat([parent[j], offsets]))[4 * (i % 2) : 4 * (i % 2) + 4]
        want = unpool.norm((child[i] + refined)[None])[0]
        assert torch.allclose(unpool(parent, child, tree.layout, coarse)[i], want, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_what_lies_in_empty_slots_never_leaks(training):
    _, tree, coarse = layouts()
    fine = tree.layout
    pool, unpool = BallPooling(4, 6, 2).train(training), BallUnpooling(6, 4, 2).train(training)
    x = torch.randn(len(fine.coord), 4)
    other = torch.where(fine.valid[:, None], x, 1e3)
    a, b = pool(x, fine, coarse), pool(other, fine, coarse)
    assert torch.equal(a[coarse.valid], b[coarse.valid])
    b = torch.where(coarse.valid[:, None], b, 1e3)
    a, b = unpool(a, x, fine, coarse), unpool(b, other, fine, coarse)
    assert torch.equal(a[fine.valid], b[fine.valid])


def test_statistics_are_those_of_the_points():
    _, tree, _ = layouts()
    x = torch.randn(len(tree.layout.coord), 4) * 3 + 1
    ours, plain = torch.nn.BatchNorm1d(4), torch.nn.BatchNorm1d(4)
    real = tree.layout.valid
    assert torch.allclose(normalize_points(ours, x, tree.layout)[real], plain(x[real]))
    assert torch.allclose(ours.running_mean, plain.running_mean)
    assert torch.allclose(ours.running_var, plain.running_var)


def test_stride_one_is_the_identity_without_parameters():
    pool = BallPooling(4, 4, 1)
    x = torch.randn(32, 4)
    assert not list(pool.parameters())
    assert pool(x, None, None) is x
    with pytest.raises(ValueError, match="wanted the same"):
        BallPooling(4, 6, 1)
    with pytest.raises(ValueError, match="strides: got 0"):
        BallPooling(4, 4, 0)


@pytest.mark.parametrize("pad", ["ball", "power_of_two"])
def test_a_rotated_level_is_a_permutation_inside_clouds_that_keeps_empty_slots_apart(pad):
    _, tree, coarse = layouts(pad=pad)
    level = with_rotation(BallTree(coarse, tree.index, tree.inverse), 45.0, unit=16)
    assert torch.equal(level.rotation.sort().values, torch.arange(len(coarse.coord)))
    assert torch.equal(level.rotation[level.rotation_inverse], torch.arange(len(coarse.coord)))
    cloud = torch.repeat_interleave(torch.arange(3), torch.tensor(coarse.slots))
    assert torch.equal(cloud[level.rotation], cloud)
    real = torch.from_numpy(coarse.host_valid)
    assert torch.equal(real[level.rotation], torch.from_numpy(level.rotated.host_valid))
    assert torch.equal(level.rotated.coord, coarse.coord[level.rotation])
