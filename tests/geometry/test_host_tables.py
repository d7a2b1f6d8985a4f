"""Tables on the device live as long as the arrays they were made from."""

from __future__ import annotations

import gc

import numpy as np
import torch

from pointcept_bsa.geometry import host_tables
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.tree_plan import plan_tree

CPU = torch.device("cpu")


def test_a_table_is_made_once_and_goes_with_its_array():
    gc.collect()
    before = len(host_tables._kept)
    array = np.array([True, False, True])
    assert host_tables.on_device(array, CPU) is host_tables.on_device(array, CPU)
    assert host_tables.places(array, True, CPU).tolist() == [0, 2]
    assert host_tables.places(array, False, CPU).tolist() == [1]
    assert len(host_tables._kept) > before
    del array
    gc.collect()
    assert len(host_tables._kept) == before


def test_ever_new_shapes_do_not_pile_up():
    def build(n):
        BallTree.build(torch.rand(n, 3), (n,), 16, 4, rotate=45)

    for n in range(100, 100 + plan_tree.cache_info().maxsize):
        build(n)
    gc.collect()
    kept = len(host_tables._kept)
    for n in range(200, 240):
        build(n)
    gc.collect()
    assert len(host_tables._kept) <= kept * 1.5
