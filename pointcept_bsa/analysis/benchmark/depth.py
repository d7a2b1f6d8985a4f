"""The time of a deep stack from those of two shallow ones, where the deep one would take too long."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from pointcept_bsa.analysis.benchmark.case import OK, Measurement
from pointcept_bsa.analysis.benchmark.timing import Timing

DEPTHS = (1, 2)


def can_extrapolate(cfg: Mapping[str, Any]) -> bool:
    """Whether the backbone is a stack of equal blocks, deeper than those measured in its place."""
    depth = (cfg["model"].get("backbone") or {}).get("depth")
    return isinstance(depth, int) and depth > max(DEPTHS)


def extrapolate(cfg: Mapping[str, Any], measure: Callable[[Mapping[str, Any]], Measurement]) -> Measurement:
    """``measure(cfg)`` as it would be if each block beyond the second took what the second takes."""
    shallow = []
    for depth in DEPTHS:
        changed: Any = copy.deepcopy(cfg)
        changed["model"]["backbone"]["depth"] = depth
        shallow.append(measure(changed))
    one, two = shallow
    blocks = cfg["model"]["backbone"]["depth"] - 1

    def line(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a + blocks * (b - a)

    def time(a: Timing | None, b: Timing | None) -> Timing | None:
        value = line(a.median_ms, b.median_ms) if a and b else None
        return None if value is None or a is None or b is None else Timing(value, None, min(a.repeats, b.repeats))

    parameters = line(one.parameters, two.parameters)
    return Measurement(
        forward=one.forward if one.forward != OK else two.forward,
        train=one.train if one.train != OK else two.train,
        parameters=None if parameters is None else round(parameters),
        gflops=line(one.gflops, two.gflops),
        forward_time=time(one.forward_time, two.forward_time),
        train_time=time(one.train_time, two.train_time),
        memory_gib=line(one.memory_gib, two.memory_gib),
        forward_memory_gib=two.forward_memory_gib,  # an evaluation keeps one block's activations
        forward_backend=two.forward_backend,
        train_backend=two.train_backend,
        refused=two.refused,
        note=f"extrapolated from depths {DEPTHS[0]} and {DEPTHS[1]}",
    )
