"""The submanifold convolution with its parameters equals a convolution written cell by cell."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.layers.submanifold_conv import SubmanifoldConv
from pointcept_bsa.ops.submanifold_conv import VoxelIndex
from pointcept_bsa.ops.submanifold_conv import submanifold_conv as submanifold_conv_op

from .by_hand import cells_of, clouds_of, compare, numbers, randomized, submanifold_conv

SIZES = (23, 1, 9, 2)
IN, OUT = 3, 2


def index_of(cells, sizes=SIZES) -> VoxelIndex:
    return VoxelIndex(torch.tensor(cells), torch.tensor(clouds_of(sizes)), len(sizes))


def built(kernel_size=3, **options) -> SubmanifoldConv:
    return randomized(SubmanifoldConv(IN, OUT, kernel_size, **options))


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_it_is_a_convolution_cell_by_cell(kernel_size, shared, bias, backend):
    cells = cells_of(SIZES, side=4, shared=shared)
    assert (len(set(map(tuple, cells[:23]))) < 23) == shared
    layer, x = built(kernel_size, bias=bias, backend=backend), numbers(sum(SIZES), IN)
    p = dict(layer.named_parameters())
    want = torch.stack(submanifold_conv(p["weight"], p.get("bias"), list(x), cells, clouds_of(SIZES)))
    compare(layer(x, index_of(cells)), want, {"x": x, **p})


@pytest.mark.parametrize("kernel_size", [3, 9])
def test_a_point_alone_meets_the_centre_alone(kernel_size):
    layer, x = built(kernel_size), numbers(1, IN)
    middle = layer.weight[:, kernel_size // 2, kernel_size // 2, kernel_size // 2]
    torch.testing.assert_close(layer(x, index_of([[5, 0, 7]], (1,)))[0], middle @ x[0] + layer.bias)


@pytest.mark.parametrize("kernel_size", [3, 9])
def test_a_kernel_reaches_as_far_as_it_is_wide_along_each_axis(kernel_size):
    """Two points far apart on a line: they meet through the one cell of the kernel that is as far, if there is one."""
    layer, x, reach = built(kernel_size, bias=False), numbers(2, IN, grad=False), kernel_size // 2
    centre = layer.weight[:, reach, reach, reach]
    for axis, distance in itertools.product(range(3), (reach, reach + 1)):
        away = [0, 0, 0]
        away[axis] = distance
        out = layer(x, index_of([[0, 0, 0], away], (2,)))
        if distance > reach:
            torch.testing.assert_close(out, x @ centre.T)
            continue
        ahead, behind = ([reach + sign * a for a in away] for sign in (1, -1))
        torch.testing.assert_close(out[0], centre @ x[0] + layer.weight[:, ahead[0], ahead[1], ahead[2]] @ x[1])
        torch.testing.assert_close(out[1], centre @ x[1] + layer.weight[:, behind[0], behind[1], behind[2]] @ x[0])


@pytest.mark.parametrize("kernel_size", [3, 9])
def test_no_kernel_runs_on_into_the_next_row_of_cells(kernel_size):
    layer, x, centre = built(kernel_size, bias=False), numbers(2, IN, grad=False), kernel_size // 2
    want = x @ layer.weight[:, centre, centre, centre].T
    for next_row in ([0, 1, 0], [0, 1, 1], [1, 0, 0]):
        torch.testing.assert_close(layer(x, index_of([[0, 0, 6], next_row], (2,))), want)
    torch.testing.assert_close(layer(x, index_of([[0, 6, 0], [1, 0, 0]], (2,))), want)


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_is_its_clouds_in_any_order(shared):
    cells = cells_of(SIZES, side=4, shared=shared)  # the same cells are taken in several clouds
    layer, x = built(), numbers(sum(SIZES), IN, grad=False)
    starts = list(itertools.accumulate(SIZES, initial=0))
    out = layer(x, index_of(cells))
    for first, size in zip(starts, SIZES, strict=False):
        rows = slice(first, first + size)
        torch.testing.assert_close(layer(x[rows], index_of(cells[rows], (size,))), out[rows], rtol=1e-12, atol=1e-12)
    turned = [2, 0, 3, 1]
    rows = [i for cloud in turned for i in range(starts[cloud], starts[cloud + 1])]
    moved = layer(x[rows], index_of([cells[i] for i in rows], tuple(SIZES[cloud] for cloud in turned)))
    torch.testing.assert_close(moved, out[rows], rtol=1e-12, atol=1e-12)


def test_cells_shifted_together_change_nothing():
    cells, layer, x = cells_of(SIZES, side=4), built(), numbers(sum(SIZES), IN, grad=False)
    moved = [[a - 7, b + 1000, c + 3] for a, b, c in cells]
    assert torch.equal(layer(x, index_of(moved)), layer(x, index_of(cells)))


def test_single_precision_is_near_double():
    cells, layer, x = cells_of(SIZES, side=4, shared=True), built(), numbers(sum(SIZES), IN, grad=False)
    want = layer(x, index_of(cells))
    out = layer.float()(x.float(), index_of(cells))
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), want, rtol=1e-5, atol=1e-5)


def test_parameters_are_those_of_spconv():
    layer = SubmanifoldConv(16, 8, 5)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {"weight": (8, 5, 5, 5, 16), "bias": (8,)}
    bound = 1 / math.sqrt(5**3 * 16)
    for p in layer.parameters():
        assert p.abs().max() <= bound
    assert layer.weight.abs().max() > 0.99 * bound
    torch.testing.assert_close(float(layer.weight.detach().std()), bound / math.sqrt(3), rtol=0.02, atol=0)
    assert list(SubmanifoldConv(2, 2, bias=False).state_dict()) == ["weight"]
    assert repr(layer) == "SubmanifoldConv(16, 8, kernel_size=5, bias=True)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(kernel_size=4), "kernel_size: got 4, wanted an odd number up to 9"),
        (dict(kernel_size=11), "kernel_size: got 11, wanted an odd number up to 9"),
        (dict(kernel_size=0), "kernel_size: got 0, wanted an odd number up to 9"),
        (dict(kernel_size=-3), "kernel_size: got -3, wanted an odd number up to 9"),
        (dict(in_channels=0), "in_channels: got 0, wanted an integer of at least 1"),
        (dict(out_channels=-1), "out_channels: got -1, wanted an integer of at least 1"),
        (dict(backend=""), "backend: got '', wanted one of auto, spconv, torch, reference"),
        (dict(backend="spcnv"), "backend: got 'spcnv'.*did you mean 'spconv'"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as told:
        SubmanifoldConv(**(dict(in_channels=2, out_channels=2) | arguments))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("far", [[1 << 20, 1 << 21, 1 << 21], [1 << 31, 0, 0]])
def test_cells_too_far_apart_to_be_counted_are_refused(far):
    wanted = r"grid_coord: got 1 clouds of extent \[.*\], wanted below 2\*\*62 cells, and 2\*\*31 along an axis"
    with pytest.raises(InputError, match=wanted):
        index_of([[0, 0, 0], far], (2,))


def test_features_and_weights_of_other_shapes_are_refused():
    layer, index = built(), index_of(cells_of(SIZES))
    for rows in (4, 40):
        with pytest.raises(ValueError, match=f"feat: got {rows} rows, wanted 35, one for each point of the voxels"):
            layer(numbers(rows, IN), index)
    with pytest.raises(ValueError, match=r"weight: got shape \(2, 3, 3, 3, 3\), wanted \(C_out, K, K, K, 5\)"):
        layer(numbers(35, 5), index)
    with pytest.raises(ValueError, match=r"weight: got shape \(2, 3, 1, 3, 3\), wanted \(C_out, K, K, K, 3\)"):
        submanifold_conv_op(numbers(35, IN), numbers(2, 3, 1, 3, 3), None, index)
