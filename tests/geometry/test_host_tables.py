"""Tables on the device live as long as the arrays they were made from."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.host_tables import derived, host_table, indices, integers, on_device
from pointcept_bsa.geometry.tree_plan import plan_tree

CPU = torch.device("cpu")


def test_a_table_is_made_once_and_goes_with_its_array():
    array = host_table([True, False, True])
    assert on_device(array, CPU) is on_device(array, CPU)
    assert indices(array, True, CPU).tolist() == [0, 2]
    assert indices(array, False, CPU).tolist() == [1]
    copy = weakref.ref(on_device(array, CPU))
    del array
    gc.collect()
    assert copy() is None


def test_what_is_derived_from_a_part_is_not_that_of_the_whole():
    array = host_table([1, 2, 3])
    assert on_device(array, CPU).tolist() == [1, 2, 3]
    assert on_device(array[1:], CPU).tolist() == [2, 3]
    assert on_device(array * 2, CPU).tolist() == [2, 4, 6]
    assert derived(array, "sum", lambda: np.asarray(array).sum()) == 6
    assert host_table(array) is array


def test_the_same_integers_are_copied_once():
    assert integers((3, 1), CPU).tolist() == [3, 1] and integers((3, 1), CPU) is integers((3, 1), CPU)


def test_an_array_that_could_keep_nothing_is_refused():
    with pytest.raises(TypeError, match="wanted a host_table"):
        on_device(np.arange(3), CPU)


def test_ever_new_shapes_do_not_pile_up():
    first = weakref.ref(plan_tree((99,), 16, 4).valid)
    for n in range(100, 100 + plan_tree.cache_info().maxsize):
        BallTree.build(torch.rand(n, 3), (n,), 16, 4, rotate=45)
    gc.collect()
    assert first() is None
