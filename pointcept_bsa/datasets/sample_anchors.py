"""The transform that makes anchors and queries of a cloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.domains import DOMAIN, DOMAIN_NAMES
from pointcept_bsa.host import TRANSFORMS
from pointcept_bsa.samples import names_points, per_point_keys

IS_ANCHOR = "is_anchor"


@TRANSFORMS.register_module()
class SampleAnchors:
    """Draw anchors and queries from the points of a cloud, uniformly and without replacement; others are left out.

    The anchors come first. ``CollectPoints`` says how many they are (``anchor_offset``), and the model sends the rest
    behind them as queries, see :mod:`pointcept_bsa.models.anchored`. A cloud of fewer points than wanted is shared out
    in the same proportion; where all others are queries, half and half.

    Every array with one row a point is indexed alike; ``face``, ``neighbor_index`` and ``tree_order`` are dropped.

    Of a cloud of several domains either from all points together, or from each domain as many as a dict says.

    Args:
        num_anchors: points that attend to each other, and to which the queries attend; or {"surface": 1024, ...} for
            each domain.
        num_queries: None: all other points; else a number, or a dict where ``num_anchors`` is one.

    Raises:
        InputError: other than positive integers; numbers of other domains than the sample has.
    """

    def __init__(
        self, num_anchors: int | Mapping[str, int], num_queries: int | Mapping[str, int] | None = None
    ) -> None:
        queries: Any = num_queries
        if isinstance(num_anchors, Mapping) and queries is None:
            queries = dict.fromkeys(num_anchors)
        if isinstance(num_anchors, Mapping) != isinstance(queries, Mapping) or not num_anchors:
            raise InputError(
                f"SampleAnchors: got num_anchors {num_anchors!r} and num_queries {num_queries!r}, wanted two numbers "
                "or two dicts of the same domains"
            )
        self.wanted: dict[str, tuple[int, int | None]] = {}
        if isinstance(num_anchors, Mapping) and isinstance(queries, Mapping):
            if set(num_anchors) != set(queries):
                raise InputError(f"SampleAnchors: got num_queries of {list(queries)}, wanted of {list(num_anchors)}")
            self.wanted = {name: (num_anchors[name], queries[name]) for name in num_anchors}
        else:
            self.wanted = {"": (num_anchors, queries)}  # type: ignore[dict-item]
        for anchors, others in self.wanted.values():
            _check("num_anchors", anchors)
            if others is not None:
                _check("num_queries", others)

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        n = len(data["coord"])
        if n < 2:
            raise InputError(f"SampleAnchors: got a cloud of {n} point, wanted at least 2: an anchor and a query")
        anchors, queries = [], []
        for name, rows in self.domains(data).items():
            first, more = self.counts(len(rows), name)
            drawn = np.random.permutation(rows)
            anchors.append(drawn[:first])
            queries.append(drawn[first : first + more])
        index = np.concatenate([*anchors, *queries])
        per_point = set(per_point_keys(data))
        kept = {key: value for key, value in data.items() if not names_points(key)}
        sampled = {key: value[index] if key in per_point else value for key, value in kept.items()}
        sampled[IS_ANCHOR] = np.arange(len(index)) < sum(map(len, anchors))
        if "index_valid_keys" in data:
            sampled["index_valid_keys"] = [*data["index_valid_keys"], IS_ANCHOR]
        return sampled

    def domains(self, data: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The points of each domain that is asked for; of all together under an empty name."""
        if "" in self.wanted:
            return {"": np.arange(len(data["coord"]))}
        names = list(data.get(DOMAIN_NAMES, ()))
        if set(names) != set(self.wanted):
            raise InputError(
                f"SampleAnchors: got num_anchors of {list(self.wanted)}, wanted of {names or 'all points: no domains'}"
            )
        return {name: np.flatnonzero(data[DOMAIN] == number) for number, name in enumerate(names)}

    def counts(self, n: int, name: str = "") -> tuple[int, int]:
        """Anchors and queries of n points of a domain."""
        anchors, queries = self.wanted[name]
        if n < anchors + (queries or 1):
            anchors = max(1, n * anchors // (anchors + (queries or anchors)))
            queries = None
        return anchors, n - anchors if queries is None else queries


def _check(name: str, count: Any) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise InputError(f"SampleAnchors: got {name} {count!r}, wanted an integer of at least 1")


def num_anchors(data: dict[str, Any]) -> int:
    """Anchors of a sample that :class:`SampleAnchors` made. Raises InputError where they are not the first points."""
    anchor = data[IS_ANCHOR]
    count = int(anchor.sum())
    if not anchor[:count].all():
        raise InputError("CollectPoints: anchors are not the first points, wanted SampleAnchors behind what reorders")
    return count
