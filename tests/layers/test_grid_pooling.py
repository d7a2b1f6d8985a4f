"""Pooling to a coarser grid and back equals loops over the cells; what becomes of the level's curves."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.serialization import ORDERS
from pointcept_bsa.layers.cloud_norm import CloudNorm
from pointcept_bsa.layers.grid_pooling import GridPooling, GridUnpooling, pool_level
from pointcept_bsa.layers.serialized_level import SerializedLevel

from .by_hand import cells_of, clouds_of, compare, gelu, linear, morton, numbers, randomized, sequence

SIZES = (37, 1, 16, 5)
DEPTH, IN, OUT, SKIP = 3, 4, 6, 5
NORMS = {"none": None, "batch": nn.BatchNorm1d, "cloud": CloudNorm}
REDUCE = {
    "max": lambda rows: torch.stack(rows).max(0).values,
    "min": lambda rows: torch.stack(rows).min(0).values,
    "mean": lambda rows: sum(rows) / len(rows),
    "sum": sum,
}


def level_of(cells, sizes=SIZES, orders=("z", "z-trans")):
    coord = torch.tensor(cells) + numbers(len(cells), 3, seed=5, grad=False) * 0.1
    batch, offset = torch.tensor(clouds_of(sizes)), torch.tensor(sizes).cumsum(0)
    return SerializedLevel.build(coord, torch.tensor(cells), batch, offset, depth=DEPTH, orders=orders)


class Coarse:
    """The cells of the coarser grid, cloud after cloud along the z-order curve, and the points in each."""

    def __init__(self, cells, sizes, stride):
        members = {}
        for i, (cell, cloud) in enumerate(zip(cells, clouds_of(sizes), strict=True)):
            members.setdefault((cloud, tuple(c // stride for c in cell)), []).append(i)
        self.found = sorted(members, key=lambda key: (key[0], morton(list(key[1]))))
        self.points = [members[key] for key in self.found]
        self.clouds = [cloud for cloud, _ in self.found]
        self.cells = [list(cell) for _, cell in self.found]
        self.cluster = [next(m for m, points in enumerate(self.points) if i in points) for i in range(len(cells))]
        self.sizes = [self.clouds.count(cloud) for cloud in range(len(sizes))]


def normed(p, name, rows, clouds, norm):
    """With the statistics of all rows, of the cloud's rows, or as they are."""
    if norm == "none":
        return rows
    out = []
    for row, cloud in zip(rows, clouds, strict=True):
        near = [other for other, of in zip(rows, clouds, strict=True) if norm == "batch" or of == cloud]
        mean = sum(near) / len(near)
        variance = sum((other - mean) ** 2 for other in near) / len(near)
        out.append((row - mean) / (variance + 1e-5).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"])
    return out


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("reduce", REDUCE)
def test_pooling_is_linear_map_reduction_norm_and_activation(stride, reduce, norm):
    cells = cells_of(SIZES, side=8, shared=True)
    pool = randomized(GridPooling(IN, OUT, stride, NORMS[norm], nn.GELU, reduce, shuffle_orders=False))
    x, p, coarse = numbers(sum(SIZES), IN), dict(pool.named_parameters()), Coarse(cells, SIZES, stride)
    assert len(coarse.found) < len(set(zip(clouds_of(SIZES), map(tuple, cells), strict=True))) or stride == 1
    rows = [REDUCE[reduce]([linear(p, "proj", x[i]) for i in points]) for points in coarse.points]
    want = torch.stack([gelu(row) for row in normed(p, "norm.0", rows, coarse.clouds, norm)])
    got, pooled, cluster = pool(x, level_of(cells))
    unheard = (
        {"proj.bias"} if norm == "cloud" or (norm == "batch" and reduce != "sum") else set()
    )  # the norm takes it away
    assert cluster.tolist() == coarse.cluster and pooled.cloud_sizes == coarse.sizes
    compare(got, want, {"x": x, **{name: t for name, t in p.items() if name not in unheard}})


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_pooled_level_is_that_of_the_coarser_cells(stride):
    cells = cells_of(SIZES, side=8, shared=True)
    level, coarse, shift = level_of(cells), Coarse(cells, SIZES, stride), stride.bit_length() - 1
    pooled, cluster, starts = pool_level(level, shift)
    assert pooled.grid_coord.tolist() == coarse.cells and pooled.batch.tolist() == coarse.clouds
    assert pooled.offset.tolist() == list(itertools.accumulate(coarse.sizes)) and pooled.depth == DEPTH - shift
    assert cluster.tolist() == coarse.cluster
    assert starts.tolist() == list(itertools.accumulate(map(len, coarse.points), initial=0))
    middle = torch.stack([sum(level.coord[i] for i in points) / len(points) for points in coarse.points])
    torch.testing.assert_close(pooled.coord, middle)
    for k, transposed in enumerate((False, True)):
        codes = [c << 3 * pooled.depth | morton(cell, transposed) for cell, c in zip(coarse.cells, coarse.clouds)]
        along = sequence(coarse.cells, coarse.clouds, transposed)
        assert pooled.code[k].tolist() == codes and pooled.order[k].tolist() == along
        assert pooled.inverse[k].tolist() == [along.index(m) for m in range(len(along))]


@pytest.mark.parametrize("first", ORDERS)
def test_the_same_points_are_pooled_along_every_curve(first):
    cells = cells_of(SIZES, side=8, shared=True)
    pooled, cluster, _ = pool_level(level_of(cells, orders=(first, *ORDERS)), 1)
    coarse = Coarse(cells, SIZES, 2)
    by_cell = {
        (cloud, tuple(cell)): m
        for m, (cloud, cell) in enumerate(zip(pooled.batch.tolist(), pooled.grid_coord.tolist()))
    }
    wanted = [by_cell[cloud, tuple(c // 2 for c in cell)] for cell, cloud in zip(cells, clouds_of(SIZES))]
    assert cluster.tolist() == wanted and len(by_cell) == len(pooled.batch) == len(coarse.found)
    assert torch.equal(pooled.order[0], torch.arange(len(coarse.found)))
    for k, order in enumerate(pooled.order):
        assert (pooled.code[k][order].diff() > 0).all()


def test_a_stride_beyond_the_bits_that_are_left_pools_points_of_one_cell_alone():
    cells = cells_of(SIZES, side=8, shared=True)
    level = level_of(cells)
    want, pooled, cluster = randomized(GridPooling(IN, OUT, 1, shuffle_orders=False))(numbers(59, IN), level)
    got, same, own = randomized(GridPooling(IN, OUT, 16, shuffle_orders=False))(numbers(59, IN), level)
    assert torch.equal(got, want) and torch.equal(own, cluster)
    assert same.depth == DEPTH and torch.equal(same.grid_coord, pooled.grid_coord)
    out, last, _ = randomized(GridPooling(IN, OUT, 8, shuffle_orders=False))(numbers(59, IN), level)
    assert len(out) == len(SIZES) and last.depth == 0  # the last bit: one point a cloud


def test_shuffled_orders_change_the_order_of_the_curves_alone():
    cells, x = cells_of(SIZES, side=8), numbers(sum(SIZES), IN)
    plain, shuffled = (randomized(GridPooling(IN, OUT, 2, shuffle_orders=on)) for on in (False, True))
    level = level_of(cells, orders=ORDERS)
    want, pooled, cluster = plain(x, level)
    found = set()
    for _ in range(8):
        got, other, own = shuffled(x, level)
        assert torch.equal(got, want) and torch.equal(own, cluster)
        pick = [pooled.code.tolist().index(row) for row in other.code.tolist()]
        assert sorted(pick) == [0, 1, 2, 3] and torch.equal(other.order, pooled.order[pick])
        found.add(tuple(pick))
    assert len(found) > 2


@pytest.mark.parametrize("norm", NORMS)
def test_unpooling_adds_each_points_pooled_row_to_its_skip(norm):
    cells = cells_of(SIZES, side=8)
    level, coarse = level_of(cells), Coarse(cells, SIZES, 2)
    pooled, cluster, _ = pool_level(level, 1)
    unpool = randomized(GridUnpooling(IN, SKIP, OUT, NORMS[norm], nn.GELU))
    x, skip, p = numbers(len(coarse.found), IN), numbers(sum(SIZES), SKIP, seed=7), dict(unpool.named_parameters())

    def branch(name, rows, clouds):
        return [gelu(row) for row in normed(p, f"{name}.1", [linear(p, f"{name}.0", r) for r in rows], clouds, norm)]

    beside, above = branch("proj_skip", skip, clouds_of(SIZES)), branch("proj", x, coarse.clouds)
    want = torch.stack([own + above[m] for own, m in zip(beside, coarse.cluster, strict=True)])
    got, alone = unpool(x, skip, cluster, pooled, level)
    unheard = {} if norm == "none" else {"proj.0.bias", "proj_skip.0.bias"}  # the norm takes them away
    torch.testing.assert_close(alone, torch.stack(beside))
    compare(got, want, {"x": x, "skip": skip, **{name: t for name, t in p.items() if name not in unheard}})


def test_without_norm_and_activation_a_branch_is_its_linear_map():
    level = level_of(cells_of(SIZES, side=8))
    pooled, cluster, _ = pool_level(level, 1)
    unpool, pool = randomized(GridUnpooling(IN, SKIP, OUT)), randomized(GridPooling(IN, OUT, shuffle_orders=False))
    x, skip = numbers(len(pooled.batch), IN, grad=False), numbers(sum(SIZES), SKIP, grad=False)
    got, alone = unpool(x, skip, cluster, pooled, level)
    assert torch.equal(alone, unpool.proj_skip[0](skip)) and torch.equal(got, alone + unpool.proj[0](x)[cluster])
    assert [len(pool.state_dict()), len(unpool.state_dict())] == [2, 4]


@pytest.mark.parametrize("norm", ["none", "cloud"])
def test_a_batch_is_its_clouds_in_any_order(norm):
    cells, x = cells_of(SIZES, side=8, shared=True), numbers(sum(SIZES), IN, grad=False)
    pool = randomized(GridPooling(IN, OUT, 2, NORMS[norm], nn.GELU, "max", shuffle_orders=False))
    starts = list(itertools.accumulate(SIZES, initial=0))
    out, pooled, _ = pool(x, level_of(cells))
    parts = out.split(pooled.cloud_sizes)
    for first, size, part in zip(starts, SIZES, parts, strict=False):
        rows = slice(first, first + size)
        alone, _, _ = pool(x[rows], level_of(cells[rows], (size,)))
        torch.testing.assert_close(alone, part, rtol=1e-10, atol=1e-10)
    turned = [2, 0, 3, 1]
    rows = [i for cloud in turned for i in range(starts[cloud], starts[cloud + 1])]
    moved, _, _ = pool(x[rows], level_of([cells[i] for i in rows], tuple(SIZES[cloud] for cloud in turned)))
    torch.testing.assert_close(moved, torch.cat([parts[cloud] for cloud in turned]), rtol=1e-10, atol=1e-10)


def test_the_order_of_a_clouds_points_does_not_matter():
    cells, x = cells_of(SIZES, side=8, shared=True), numbers(sum(SIZES), IN, grad=False)
    pool = randomized(GridPooling(IN, OUT, 2, reduce="mean", shuffle_orders=False))
    starts = itertools.accumulate(SIZES, initial=0)
    rows = torch.cat([first + torch.randperm(size) for first, size in zip(starts, SIZES, strict=False)]).tolist()
    out, _, cluster = pool(x, level_of(cells))
    moved, _, own = pool(x[rows], level_of([cells[i] for i in rows]))
    torch.testing.assert_close(moved, out, rtol=1e-12, atol=1e-12)
    assert torch.equal(own, cluster[rows])


def test_single_precision_is_near_double():
    cells, x = cells_of(SIZES, side=8), numbers(sum(SIZES), IN, grad=False)
    pool = randomized(GridPooling(IN, OUT, 2, CloudNorm, nn.GELU, shuffle_orders=False))
    want, _, _ = pool(x, level_of(cells))
    out, pooled, _ = pool.float()(x.float(), level_of(cells))
    assert out.dtype == torch.float32
    # a channel whose rows are nearly equal is divided by its small spread
    torch.testing.assert_close(out.double(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(stride=3), "stride: got 3, wanted a power of two"),
        (dict(stride=0), "stride: got 0, wanted a power of two"),
        (dict(stride=-2), "stride: got -2, wanted a power of two"),
        (dict(stride=2.0), "stride: got 2.0, wanted a power of two"),
        (dict(stride="2"), "stride: got '2', wanted a power of two"),
        (dict(stride=True), "stride: got True, wanted a power of two"),
        (dict(reduce="maxx"), r"reduce: got 'maxx', wanted one of sum, mean, min, max \(did you mean 'max'\?\)"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as told:
        GridPooling(IN, OUT, **options)
    assert "\n" not in str(told.value)
