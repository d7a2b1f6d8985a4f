"""The cars in an order that no sampler changes, so that both hosts train on the same stream of clouds."""

from __future__ import annotations

from typing import Any

from pointcept_bsa.datasets.shapenet_car import ShapeNetCarDataset
from pointcept_bsa.host import DATASETS


@DATASETS.register_module()
class CarsInOrder(ShapeNetCarDataset):
    """Sample ``n mod length`` at the ``n``-th call, whatever is asked for; for one loading process that stays."""

    calls = 0

    def __getitem__(self, idx: int) -> dict[str, Any]:
        self.calls += 1
        return super().__getitem__((self.calls - 1) % len(self))
