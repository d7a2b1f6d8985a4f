"""Data sets in an order that no sampler changes, so that both hosts train on the same stream of clouds."""

from __future__ import annotations

from typing import Any

import numpy as np

from pointcept_bsa.datasets.periodic_hills import PeriodicHillsDataset
from pointcept_bsa.datasets.shapenet_car import ShapeNetCarDataset
from pointcept_bsa.host import DATASETS


class InOrder:
    """Sample ``n mod length`` at the ``n``-th call, whatever is asked for, its random transforms seeded with ``n``.

    For one loading process that stays.
    """

    calls = 0

    def __getitem__(self, idx: int) -> dict[str, Any]:
        self.calls += 1
        np.random.seed(self.calls)
        return super().__getitem__((self.calls - 1) % len(self))  # type: ignore[misc, arg-type]


@DATASETS.register_module()
class CarsInOrder(InOrder, ShapeNetCarDataset):
    """The cars."""


@DATASETS.register_module()
class HillsInOrder(InOrder, PeriodicHillsDataset):
    """The hills."""
