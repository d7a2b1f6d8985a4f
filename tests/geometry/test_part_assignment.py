"""Pieces of the rotated tree go where their rows are."""

from itertools import permutations

import numpy as np
import pytest

from pointcept_bsa.geometry.part_assignment import MOST, PIECES, assign, pieces_of_cloud
from pointcept_bsa.geometry.part_plan import cuts_of, own_runs


@pytest.mark.parametrize("parts, pieces, seed", [(2, 6, 0), (3, 6, 1), (4, 4, 2)])
def test_no_other_choice_keeps_more_rows(parts, pieces, seed):
    rows = np.random.default_rng(seed).integers(0, 9, (parts, pieces))
    home = np.repeat(np.arange(parts), pieces // parts)
    best = max(sum(rows[owner, piece] for piece, owner in enumerate(each)) for each in set(permutations(home)))
    owner = np.repeat(*np.array(assign(rows, (1,) * pieces)).T)
    assert sum(rows[owner, np.arange(pieces)]) == best
    assert sorted(owner) == sorted(home)


def test_each_process_gets_as_many_pieces_of_each_length_as_it_has_in_the_main_tree():
    rows = np.array([[0, 0, 1, 9, 9, 9], [9, 9, 9, 0, 0, 0]])
    runs = assign(rows, (32, 16, 32, 16, 32, 8))
    assert runs == ((1, 32 + 16), (0, 32 + 16 + 32), (1, 8))  # without the lengths 0 would have the last three
    assert own_runs(runs, 0) == [(48, 128)] and own_runs(runs, 1) == [(0, 48), (128, 136)]


@pytest.mark.parametrize("slots, parts, multiple", [(4096, 2, 16), (4096 + 24, 3, 8), (104, 5, 16), (2**20, 512, 256)])
def test_the_pieces_of_a_process_make_up_its_run_of_the_main_tree(slots, parts, multiple):
    pieces = pieces_of_cloud(slots, parts, multiple)
    each = len(pieces) // parts
    assert len(pieces) == each * parts and 1 <= each <= PIECES and each * parts <= max(MOST, parts)
    assert np.concatenate([[0], np.cumsum(pieces)])[::each].tolist() == cuts_of(slots, parts, multiple)
    assert max(pieces) - min(pieces[:-1]) <= multiple and all(n % multiple == 0 for n in pieces[:-1])
