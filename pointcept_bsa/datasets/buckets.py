"""Few sizes of clouds where the data have many."""

from __future__ import annotations

import math
from typing import Any

from pointcept_bsa.datasets.transforms import SamplePoints
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import TRANSFORMS


@TRANSFORMS.register_module()
class BucketPoints:
    """Sample each cloud down to the next of few sizes, so that batches of equal shapes come back.

    Sizes are ``largest`` times powers of ``1 - waste``, rounded down to whole ``unit``s. So at most a share of
    ``waste`` of the points (and less than a unit) is left out, other ones in every epoch; for training only. A CUDA
    graph (``cuda_graph=True``) is captured once a shape: this lets ragged data use it with any backbone. The config
    key ``pad_clouds`` leaves out no point, for backbones that take padded clouds (see :mod:`.geometry.padding`).

    Args:
        largest: points of the largest size; larger clouds come down to it.
        waste: largest share of the points left out, above 0 and below 1.
        unit: sizes are multiples of it; clouds of fewer points are left as they are. Best the ball size.
    """

    def __init__(self, largest: int, waste: float = 0.1, unit: int = 1) -> None:
        if not 0 < waste < 1:
            raise InputError(f"BucketPoints: got waste {waste!r}, wanted a number between 0 and 1")
        if isinstance(unit, bool) or not isinstance(unit, int) or not 1 <= unit <= largest:
            raise InputError(f"BucketPoints: got unit {unit!r}, wanted an integer from 1 to largest {largest!r}")
        self.largest, self.waste, self.unit = largest, waste, unit

    def size(self, n: int) -> int:
        """Points that a cloud of n keeps."""
        if n < self.unit:
            return n
        step = max(0, math.ceil(math.log(n / self.largest) / math.log(1 - self.waste) - 1e-9))
        kept = math.floor(self.largest * (1 - self.waste) ** step + 1e-6)
        return max(kept // self.unit, 1) * self.unit

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        return SamplePoints(self.size(len(data["coord"])))(data)
