"""What the entries of samples and batches are, and what a batch knows of its lengths."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.transforms import CollectPoints, SamplePoints
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import Point, collate_fn
from pointcept_bsa.samples import (
    Batch,
    declare,
    entry,
    host_ends,
    lengths,
    per_point_keys,
    rows_of,
    to_device,
    with_lengths,
)

CPU = torch.device("cpu")


def sample(points=4):
    rows = np.arange(3.0 * points).reshape(points, 3)
    return {
        "coord": rows,
        "heat": rows[:, 0],
        "face": np.zeros((points, 3), int),  # as many as points, yet not of points
        "tree_order": np.arange(points)[:, None],
        "parameters": rows[:1],
        "name": "abcd"[:points],
    }


@pytest.mark.parametrize("points", [1, 3, 4])
def test_rows_follow_from_names_and_not_from_numbers(points):
    assert per_point_keys(sample(points)) == ["coord", "heat"]
    assert [rows_of(key, value) for key, value in sample(points).items()] == [
        "point", "point", "whole", "point", "cloud", None,
    ]  # fmt: skip


def test_points_are_chosen_with_all_that_is_theirs():
    kept = SamplePoints(2, mode="first")(sample())
    assert kept["heat"].tolist() == [0, 3] and kept["parameters"].shape == (1, 3)
    assert "face" not in kept and "tree_order" not in kept


def test_another_number_of_rows_is_told_with_the_way_out():
    with pytest.raises(InputError, match=r"heat: got 2 rows, wanted 4, one a point; .*declare\('heat', rows=...\)"):
        per_point_keys({**sample(), "heat": np.zeros(2)})


def test_a_key_is_declared_once():
    declare("inflow_of_a_test", rows="cloud")
    declare("inflow_of_a_test", rows="cloud")
    assert per_point_keys({**sample(), "inflow_of_a_test": np.zeros((1, 2))}) == ["coord", "heat"]
    with pytest.raises(InputError, match="inflow_of_a_test: declared as .* already"):
        declare("inflow_of_a_test", rows="point")
    with pytest.raises(InputError, match="coord: declared as"):
        declare("coord", rows="cloud")
    with pytest.raises(InputError, match="got 'row' for 'a', wanted one of point, cloud, ends, whole"):
        declare("a", rows="row")
    for key, rows in (("a", "ends"), ("a_offset", "cloud")):
        with pytest.raises(InputError, match="wanted 'ends' for keys that contain 'offset'"):
            declare(key, rows=rows)
    assert entry("slot_rotation_3").names == "slot" and entry("other_offset").rows == "ends"


def batch():
    declare("inflow_of_a_test", rows="cloud")
    collect = CollectPoints(keys=("coord", "name", "inflow_of_a_test"))
    return collate_fn([collect({**sample(n), "inflow_of_a_test": np.zeros((1, 2))}) for n in (4, 2, 3)])


def test_a_batch_knows_its_lengths_wherever_it_goes():
    known = to_device(batch(), CPU)
    assert isinstance(known, dict) and known.lengths == (4, 2, 3) and known["inflow_of_a_test"].shape == (3, 2)
    copies = known, dict(known), {**known}, Point(known), copy.copy(known), type(known)(known.items())
    known["offset"].mul_(2)  # would be seen, if anybody read it
    for each in copies:
        assert host_ends(each) == (4, 6, 9)


def test_lengths_are_never_those_of_another_offset():
    known = to_device(batch(), CPU)
    changed = {**known, "offset": torch.tensor([1, 9])}
    assert lengths(changed) == (1, 8) and Batch.of(changed).lengths == (1, 8)
    known["offset"] = torch.tensor([2, 9])
    assert known.lengths == (2, 7)
    assert with_lengths(known, [3, 6], known["offset"]).lengths == (3, 6)
    assert known.lengths == (2, 7) and lengths(batch()) == (4, 2, 3)
