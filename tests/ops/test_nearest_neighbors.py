"""The kernels that search neighbours find what sorting all distances gives: bit by bit, ties by the lower index."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.dispatch import triton_installed

from .interpreter import DEVICE, INTERPRETED, kernel_test, run_in_interpreter

if triton_installed():
    from pointcept_bsa.geometry import neighbors_pruned_triton as pruned
    from pointcept_bsa.geometry import neighbors_triton as brute

pytestmark = pytest.mark.skipif(not triton_installed(), reason="needs triton")
NO_PRUNING = 10**9


def test_in_the_interpreter():
    run_in_interpreter(__file__)


def on_sphere(points, dims):
    return torch.nn.functional.normalize(torch.randn(points, dims))


KINDS = dict(
    sphere=on_sphere,
    cube=torch.rand,
    equal=torch.ones,
    lattice=lambda points, dims: (torch.rand(points, dims) * 3).round(),
    line=lambda points, dims: torch.rand(points, 1) * torch.ones(dims).cumsum(0),
    plane=lambda points, dims: torch.rand(points, dims) * (torch.arange(dims) > 0),
    far=lambda points, dims: torch.rand(points, dims) + 1e4,  # differences of few bits: many ties
    tiny=lambda points, dims: torch.rand(points, dims) * 1e-21,  # squares are no normal numbers
    huge=lambda points, dims: torch.rand(points, dims) * 1e18,
    outlier=lambda points, dims: torch.randn(points, dims).exp() ** 4,
)


def by_sorting(coord, lengths, k):
    """Indices and squared distances (N, k), as the kernel adds them up; -1 and infinity where there are fewer."""
    index, squared = torch.full((len(coord), k), -1), torch.full((len(coord), k), torch.inf)
    start = 0
    for length in lengths:
        own = slice(start, start + length)
        total = torch.zeros(length, length)
        for axis in coord[own].unbind(1):
            total = total + (axis[:, None] - axis) * (axis[:, None] - axis)
        values, order = torch.sort(total, dim=1, stable=True)
        width = min(k, length)
        index[own, :width], squared[own, :width] = order[:, :width] + start, values[:, :width]
        start += length
    return index, squared


def check(coord, lengths, k, monkeypatch, limit=float("inf"), prune_from=1):
    monkeypatch.setattr(brute, "PRUNE_FROM", prune_from)
    index, distance = (t.cpu() for t in brute.nearest_triton(coord.to(DEVICE), lengths, k, limit))
    if DEVICE == "cuda":  # which multiplies and adds in one step: compare with the kernel that leaves nothing out
        monkeypatch.setattr(brute, "PRUNE_FROM", NO_PRUNING)
        wanted, near = (t.cpu() for t in brute.nearest_triton(coord.to(DEVICE), lengths, k))
    else:
        wanted, near = by_sorting(coord, lengths, k)
        near = near.sqrt()
    wanted = wanted.masked_fill(near > limit, -1)
    index = index.masked_fill(distance > limit, -1)
    assert torch.equal(index, wanted)
    assert torch.equal(distance[wanted >= 0], near[wanted >= 0])


@kernel_test
@pytest.mark.parametrize("kind", ["sphere", "equal", "lattice", "plane", "far", "tiny"])
def test_every_kind_of_cloud(kind, monkeypatch):
    monkeypatch.setattr(pruned, "BLOCK", 8)  # more blocks, and groups of them, with the few points of a test
    monkeypatch.setattr(pruned, "GROUP", 2)
    check(KINDS[kind](30, 3), (30,), 3, monkeypatch)


@kernel_test
@pytest.mark.parametrize(
    "lengths, k, dims", [((1,), 1, 3), ((7,), 9, 2), ((20, 1, 34), 4, 3), ((33,), 33, 2), ((40,), 5, 4)]
)
@pytest.mark.parametrize("prune_from", [1, NO_PRUNING])
def test_every_size_of_cloud(lengths, k, dims, prune_from, monkeypatch):
    check((torch.rand(sum(lengths), dims) * 8).round(), lengths, k, monkeypatch, prune_from=prune_from)


@kernel_test
@pytest.mark.parametrize("prune_from", [1, NO_PRUNING])
def test_within_a_radius(prune_from, monkeypatch):
    coord = (torch.rand(49, 2) * 10).round() / 2
    check(coord, (40, 9), 6, monkeypatch, limit=0.5, prune_from=prune_from)  # many at this very distance


@kernel_test
def test_random_clouds(monkeypatch):
    monkeypatch.setattr(pruned, "BLOCK", 4)
    monkeypatch.setattr(pruned, "GROUP", 2)
    for seed in range(3):
        torch.manual_seed(seed)
        lengths = tuple(torch.randint(1, 12, (2,)).tolist())
        check(torch.randn(sum(lengths), 3).round(decimals=seed), lengths, seed + 1, monkeypatch)


def test_blocks_keep_to_their_cloud():
    assert pruned.block_table((33, 5), 32).tolist() == [[0, 33, 0, 2, 0], [32, 33, 0, 2, 0], [33, 38, 2, 3, 1]]


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 16, 64])
@pytest.mark.skipif(INTERPRETED, reason="takes minutes in the interpreter")
def test_sizes_for_a_gpu(kind, k, monkeypatch):
    for lengths in ((255,), (257, 3586, 7, 1), (4097,)):
        for dims in (2, 3):
            check(KINDS[kind](sum(lengths), dims), lengths, k, monkeypatch)
