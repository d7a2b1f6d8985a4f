"""Space-filling codes: their published values, and what makes them space-filling curves."""

import itertools

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.serialization import ORDERS, encode, serialize

# Codes of Point Transformer V3's public code, for the cells below and the bits a coordinate given.
CELLS = torch.tensor([[1, 2, 3], [7, 0, 5], [4, 4, 4], [0, 7, 0]])
PUBLISHED = {
    ("z", 3): [29, 357, 448, 146],
    ("z", 4): [29, 357, 448, 146],
    ("z", 16): [29, 357, 448, 146],
    ("z-trans", 3): [43, 211, 448, 292],
    ("z-trans", 4): [43, 211, 448, 292],
    ("z-trans", 16): [43, 211, 448, 292],
    ("hilbert", 3): [48, 440, 320, 237],
    ("hilbert", 4): [36, 282, 320, 73],
    ("hilbert", 16): [36, 282, 320, 73],
    ("hilbert-trans", 3): [38, 154, 320, 511],
    ("hilbert-trans", 4): [20, 430, 320, 237],
    ("hilbert-trans", 16): [20, 430, 320, 237],
}


def all_cells(depth: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(2**depth), repeat=3)))


@pytest.mark.parametrize(("order", "depth"), PUBLISHED)
def test_published_values(order, depth):
    assert encode(CELLS, depth=depth, order=order).tolist() == PUBLISHED[order, depth]


def test_morton_code_interleaves_bits():
    cells = torch.randint(0, 1 << 16, (50, 3), generator=torch.Generator().manual_seed(0))
    expected = [
        sum((value >> bit & 1) << (3 * bit + 2 - axis) for axis, value in enumerate(cell) for bit in range(16))
        for cell in cells.tolist()
    ]
    assert encode(cells, order="z").tolist() == expected


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_every_cell_has_its_own_code(order, depth):
    code = encode(all_cells(depth), depth=depth, order=order)
    assert torch.equal(code.sort().values, torch.arange(8**depth))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_hilbert_curve_steps_to_a_neighbour(depth):
    cells = all_cells(depth)
    walk = cells[encode(cells, depth=depth, order="hilbert").argsort()]
    assert torch.diff(walk, dim=0).abs().sum(1).eq(1).all()


@pytest.mark.parametrize("order", ORDERS)
def test_cells_of_one_parent_share_the_upper_bits(order):
    cells = all_cells(3)
    parent = encode(cells, depth=3, order=order) >> 3
    coarse = cells >> 1
    same_parent = (coarse[:, None] == coarse[None]).all(-1)
    assert torch.equal(parent[:, None] == parent[None], same_parent)


@pytest.mark.parametrize("curve", ["z", "hilbert"])
def test_transposed_curve_exchanges_x_and_y(curve):
    cells = all_cells(3)
    exchanged = encode(cells[:, [1, 0, 2]], depth=3, order=curve)
    assert torch.equal(encode(cells, depth=3, order=f"{curve}-trans"), exchanged)


def test_clouds_stay_apart_and_inverse_inverts():
    generator = torch.Generator().manual_seed(1)
    cells = torch.randint(0, 16, (60, 3), generator=generator)
    batch = torch.arange(3).repeat_interleave(20)
    code, order, inverse = serialize(cells, batch, 4, ORDERS)
    for o in range(len(ORDERS)):
        assert torch.equal(code[o] >> 12, batch)
        assert torch.equal(batch[order[o]], batch)
        assert torch.equal(order[o][inverse[o]], torch.arange(60))


def test_points_of_one_cell_keep_their_order():
    _, order, _ = serialize(torch.zeros(9, 3, dtype=torch.int32), torch.zeros(9, dtype=torch.long), 1, ("hilbert",))
    assert order[0].tolist() == list(range(9))


def test_errors_name_the_argument():
    with pytest.raises(InputError, match="did you mean 'hilbert'"):
        encode(CELLS, order="hilbrt")
    with pytest.raises(InputError, match="depth: got 17"):
        encode(CELLS, depth=17)
