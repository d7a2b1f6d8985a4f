"""The transform that makes anchors and queries of a cloud."""

from __future__ import annotations

from typing import Any

import numpy as np

from pointcept_bsa.datasets.base import per_point_keys
from pointcept_bsa.datasets.inputs import INDICES
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import TRANSFORMS

IS_ANCHOR = "is_anchor"


@TRANSFORMS.register_module()
class SampleAnchors:
    """Draw anchors and queries from the points of a cloud, uniformly and without replacement; others are left out.

    The anchors come first. ``CollectPoints`` says how many they are (``anchor_offset``), and the model sends the rest
    behind them as queries, see :mod:`pointcept_bsa.models.anchored`. A cloud of fewer points than wanted is shared out
    in the same proportion; where all others are queries, half and half.

    Every array with one row a point is indexed alike; ``face``, ``neighbor_index`` and ``tree_order`` are dropped.

    Args:
        num_anchors: points that attend to each other, and to which the queries attend.
        num_queries: None: all other points.
    """

    def __init__(self, num_anchors: int, num_queries: int | None = None) -> None:
        for name, count in (("num_anchors", num_anchors), ("num_queries", num_queries)):
            good = isinstance(count, int) and not isinstance(count, bool) and count > 0
            if not good and not (name == "num_queries" and count is None):
                raise InputError(f"SampleAnchors: got {name} {count!r}, wanted an integer of at least 1")
        self.num_anchors = num_anchors
        self.num_queries = num_queries

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        n = len(data["coord"])
        if n < 2:
            raise InputError(f"SampleAnchors: got a cloud of {n} point, wanted at least 2: an anchor and a query")
        anchors, queries = self.counts(n)
        index = np.random.permutation(n)[: anchors + queries]
        per_point = set(per_point_keys(data))
        kept = {key: value for key, value in data.items() if key not in INDICES}
        sampled = {key: value[index] if key in per_point else value for key, value in kept.items()}
        sampled[IS_ANCHOR] = np.arange(len(index)) < anchors
        if "index_valid_keys" in data:
            sampled["index_valid_keys"] = [*data["index_valid_keys"], IS_ANCHOR]
        return sampled

    def counts(self, n: int) -> tuple[int, int]:
        """Anchors and queries of a cloud of n points."""
        anchors, queries = self.num_anchors, self.num_queries
        if n < anchors + (queries or 1):
            anchors = max(1, n * anchors // (anchors + (queries or anchors)))
            queries = None
        return anchors, n - anchors if queries is None else queries


def num_anchors(data: dict[str, Any]) -> int:
    """Anchors of a sample that :class:`SampleAnchors` made. Raises InputError where they are not the first points."""
    anchor = data[IS_ANCHOR]
    count = int(anchor.sum())
    if not anchor[:count].all():
        raise InputError("CollectPoints: anchors are not the first points, wanted SampleAnchors behind what reorders")
    return count
