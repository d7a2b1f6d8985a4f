"""Pieces of the rotated tree go where their rows are."""

from itertools import permutations

import numpy as np
import pytest
import torch

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.part_assignment import (
    MOST,
    PIECES,
    assign,
    moving_shares,
    pieces_of_cloud,
    rows_between,
    runs_of,
)
from pointcept_bsa.geometry.part_plan import cuts_of, own_runs


@pytest.mark.parametrize("parts, pieces, seed", [(2, 6, 0), (3, 6, 1), (4, 4, 2)])
def test_no_other_choice_keeps_more_rows(parts, pieces, seed):
    rows = np.random.default_rng(seed).integers(0, 9, (parts, pieces))
    home = np.repeat(np.arange(parts), pieces // parts)
    best = max(sum(rows[owner, piece] for piece, owner in enumerate(each)) for each in set(permutations(home)))
    owner = assign(rows, (1,) * pieces)
    assert sum(rows[owner, np.arange(pieces)]) == best
    assert sorted(owner) == sorted(home)


def test_each_process_gets_as_many_pieces_of_each_length_as_it_has_in_the_main_tree():
    rows = np.array([[0, 0, 1, 9, 9, 9], [9, 9, 9, 0, 0, 0]])
    slots = (32, 16, 32, 16, 32, 8)
    runs = runs_of(assign(rows, slots), slots)
    assert runs == ((1, 32 + 16), (0, 32 + 16 + 32), (1, 8))  # without the lengths 0 would have the last three
    assert own_runs(runs, 0) == [(48, 128)] and own_runs(runs, 1) == [(0, 48), (128, 136)]


@pytest.mark.parametrize("slots, parts, multiple", [(4096, 2, 16), (4096 + 24, 3, 8), (104, 5, 16), (2**20, 512, 256)])
def test_the_pieces_of_a_process_make_up_its_run_of_the_main_tree(slots, parts, multiple):
    pieces = pieces_of_cloud(slots, parts, multiple)
    each = len(pieces) // parts
    assert len(pieces) == each * parts and 1 <= each <= PIECES and each * parts <= max(MOST, parts)
    assert np.concatenate([[0], np.cumsum(pieces)])[::each].tolist() == cuts_of(slots, parts, multiple)
    assert max(pieces) - min(pieces[:-1]) <= multiple and all(n % multiple == 0 for n in pieces[:-1])


def target_of(coord: torch.Tensor, ball_size: int) -> np.ndarray:
    """Where the slots of the main tree lie in the rotated one."""
    tree = BallTree.build(coord, (len(coord),), ball_size, 8, rotate=45.0)
    assert tree.rotation_inverse is not None
    return tree.rotation_inverse.numpy()


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_rows_between_are_all_rows_and_each_process_has_as_many_in_both_trees(parts):
    slots = 50 * 16
    target = target_of(torch.randn(slots, 3, generator=torch.Generator().manual_seed(0)), 16)
    rows, own = rows_between(target, slots, parts, 16), np.diff(cuts_of(slots, parts, 16))
    assert rows.sum(1).tolist() == rows.sum(0).tolist() == own.tolist()


def shares(name: str, clouds: list[torch.Tensor], ball_size: int) -> dict[int, float]:
    """By R the share of rows that change the process, with a line of the table in docs/many_gpus.md (pytest -s)."""
    found, cells = {}, []
    targets = [target_of(cloud, ball_size) for cloud in clouds]
    for parts in (2, 4, 8, 64, 512):
        if any(len(target) < parts * ball_size for target in targets):
            break
        mean, most = np.mean([moving_shares(target, len(target), parts, ball_size) for target in targets], 0)
        found[parts] = float(mean)
        cells.append(f"{mean:.1%} ({most:.1%})")
    print(f"\n| {name} | {len(clouds[0]):,} | {ball_size} | {' | '.join(cells)} |")
    return found


def test_few_rows_of_uniform_points_change_the_process():
    random = torch.Generator().manual_seed(0)
    found = shares("uniform in a cube", [torch.rand(2**15, 3, generator=random)], 16)
    assert found[2] < found[4] < found[8] < 0.2 and found[512] < 0.5


def test_few_rows_of_cars_change_the_process(real_data):
    with np.load(real_data("shapenet_car_mini.npz")) as file:
        cars = [torch.from_numpy(file[f"points_{i}"]) for i in range(3)]
    found = shares("ShapeNet cars", cars, 16)
    assert max(found[parts] for parts in (2, 4, 8)) < 0.25
    assert shares("ShapeNet cars", cars, 256)[2] < 0.4
