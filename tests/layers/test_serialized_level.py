"""A level of points along their curves: its sequences, patches and cells are those of loops over the points."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.serialization import ORDERS
from pointcept_bsa.layers.serialized_level import SerializedLevel, cut_patches, read_cells

from .by_hand import cells_of, clouds_of, patches, sequence

SIZES = (37, 1, 16, 5, 8)  # several patches with borrowed points; one point; whole patches; less than a patch
DEPTH = 4


def build(sizes=SIZES, orders=("z", "z-trans"), seed=0, cells=None):
    cells = cells_of(sizes, seed=seed) if cells is None else cells
    grid_coord, batch = torch.tensor(cells), torch.tensor(clouds_of(sizes))
    level = SerializedLevel.build(
        grid_coord * 0.1, grid_coord, batch, torch.tensor(sizes).cumsum(0), depth=DEPTH, orders=orders
    )
    return level, cells


@pytest.mark.parametrize("patch_size", [1, 4, 5, 8, 16, 100])
def test_patches_are_those_cut_by_hand(patch_size):
    layout = cut_patches(SIZES, patch_size, torch.device("cpu"))
    full, short, where, first = [], [], {}, 0
    for size in SIZES:
        for points, own in patches(list(range(first, first + size)), patch_size):
            kind = full if len(points) == patch_size else short
            where |= {place: (kind, len(kind), slot) for slot, place in enumerate(points[:own])}
            kind.append(points)
        first += size
    longest = max(map(len, short), default=0)
    assert layout.full.tolist() == full
    if short:
        assert [row[mask].tolist() for row, mask in zip(layout.short, layout.short_mask, strict=True)] == short
        assert layout.short.shape == layout.short_mask.shape == (len(short), longest)
    else:
        assert layout.short is None and layout.short_mask is None
    behind = len(full) * patch_size
    slots = [
        behind + patch * longest + slot if kind is short else patch * patch_size + slot
        for kind, patch, slot in (where[place] for place in range(sum(SIZES)))
    ]
    assert layout.slot.tolist() == slots


def test_what_fills_a_short_patch_is_of_its_own_cloud():
    layout = cut_patches((3, 1, 6), 8, torch.device("cpu"))
    assert layout.full.shape == (0, 8)
    assert layout.short.tolist() == [[0, 1, 2, 2, 2, 2], [3, 3, 3, 3, 3, 3], [4, 5, 6, 7, 8, 9]]


def test_points_of_a_cell_stay_in_their_order_on_every_curve():
    cells = [[3, 1, 2]] * 3 + [[0, 0, 1]] + [[3, 1, 2]] * 2
    level, _ = build((6,), ORDERS, cells=cells)
    for order in level.order.tolist():
        assert [i for i in order if i != 3] == [0, 1, 2, 4, 5]


def test_sequences_are_those_of_codes_written_bit_by_bit():
    level, cells = build()
    for k, transposed in enumerate((False, True)):
        wanted = sequence(cells, clouds_of(SIZES), transposed)
        assert level.order[k].tolist() == wanted
        assert level.inverse[k].tolist() == [wanted.index(i) for i in range(len(wanted))]
    assert level.cloud_sizes == list(SIZES)


@pytest.mark.parametrize("order", ORDERS)
def test_a_sequence_of_a_batch_is_that_of_its_clouds(order):
    level, cells = build(orders=(order,))
    together, first = [], 0
    for size in SIZES:
        alone, _ = build((size,), (order,), cells=cells[first : first + size])
        together += [first + i for i in alone.order[0].tolist()]
        first += size
    assert level.order[0].tolist() == together


def test_relative_cells_are_differences_inside_full_patches():
    level, cells = build()
    for order, transposed in enumerate((False, True)):
        along = sequence(cells, clouds_of(SIZES), transposed)
        cut, first = [], 0
        for size in SIZES:
            cut += [points for points, _ in patches(along[first : first + size], 8) if len(points) == 8]
            first += size
        wanted = [[[[a - b for a, b in zip(cells[i], cells[j], strict=True)] for j in p] for i in p] for p in cut]
        assert level.relative_cells(order, 8).tolist() == wanted


def test_layers_of_a_level_share_what_they_need():
    level, _ = build()
    assert level.patches(8) is level.patches(8) and level.patches(4) is not level.patches(8)
    assert level.voxels is level.voxels and level.voxels.num_voxels == sum(SIZES)
    assert level.relative_cells(1, 8) is level.relative_cells(1, 8)
    assert not torch.equal(level.relative_cells(0, 8), level.relative_cells(1, 8))
    assert level.relative_cells(0, 4).shape == (10 + 4 + 2 + 2, 4, 4, 3)


def test_shuffled_orders_are_the_same_curves_in_another_order():
    level, _ = build(orders=ORDERS)
    rows = [level.relative_cells(k, 8) for k in range(len(ORDERS))]
    torch.manual_seed(3)
    shuffled = level.with_shuffled_orders()
    torch.manual_seed(3)
    pick = torch.randperm(len(ORDERS))
    assert pick.tolist() != sorted(pick.tolist())
    for name in ("code", "order", "inverse"):
        assert torch.equal(getattr(shuffled, name), getattr(level, name)[pick])
    for k, own in enumerate(pick.tolist()):  # nothing kept is of another curve
        assert torch.equal(shuffled.relative_cells(k, 8), rows[own])
        assert level.relative_cells(k, 8) is rows[k]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("grid_size", [0.25, torch.tensor(0.25), [0.25], [0.25, 0.5, 0.125]])
def test_cells_are_counted_from_the_smallest_coordinates_of_each_cloud(grid_size, dims, dtype):
    sizes = (20, 1, 9)
    generator = torch.Generator().manual_seed(0)
    coord = (torch.randint(-40, 40, (30, dims), generator=generator) / 16).to(dtype)  # exact in both types
    steps = (grid_size * 3)[:3] if isinstance(grid_size, list) else [float(grid_size)] * 3
    wanted, first = [], 0
    for size, step in zip(sizes, steps, strict=True):
        cloud = coord[first : first + size].tolist()
        low = [min(row[axis] for row in cloud) for axis in range(dims)]
        wanted += [[math.floor((row[a] - low[a]) / step) for a in range(dims)] + [0] * (3 - dims) for row in cloud]
        first += size
    point = dict(coord=coord, batch=torch.tensor(clouds_of(sizes)), offset=torch.tensor(sizes).cumsum(0))
    cells = read_cells({**point, "grid_size": grid_size})
    assert cells.dtype == torch.int64 and cells.tolist() == wanted
    given = cells[:, :dims].int()
    assert torch.equal(
        read_cells({**point, "grid_size": 7.0, "grid_coord": given}), cells
    )  # cells that are there count


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "grid_coord: missing, and no grid_size; wanted one of them: add the AddGridCoord transform"),
        (dict(grid_coord=torch.zeros(4, 3)), r"grid_coord: got torch.float32 of shape \(4, 3\), wanted integers"),
        (dict(grid_coord=torch.zeros(4, 2).long()), r"got torch.int64 of shape \(4, 2\), .* of shape \(4, 3\)"),
        (dict(grid_size=0), "grid_size: got 0, wanted a positive number, or one for each cloud"),
        (dict(grid_size=-0.1), "grid_size: got -0.1"),
        (dict(grid_size=math.nan), "grid_size: got nan"),
        (dict(grid_size=math.inf), "grid_size: got inf"),
        (dict(grid_size=[0.1, 0.1, 0.1]), r"grid_size: got \[0.1, 0.1, 0.1\]"),
    ],
)
def test_malformed_cells_are_refused_in_one_line(given, message):
    point = dict(coord=torch.rand(4, 3), batch=torch.tensor([0, 0, 0, 1]), offset=torch.tensor([3, 4]))
    with pytest.raises(InputError, match=message) as told:
        read_cells({**point, **given})
    assert "\n" not in str(told.value)
