"""The table of metrics that a test prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def metric_lines(
    report: Mapping[str, Any], remark: str | None = None, units: Mapping[str, str] | None = None
) -> list[str]:
    """The printed table of ``metrics`` and ``metrics_normalized``; with a heading where there is a ``remark``.

    Where several fields have units of their own these stand beside the names.
    """
    physical, normalized = report["metrics"], report["metrics_normalized"]
    own = {name: unit for name, unit in (units or {}).items() if "/" in name and unit != "1"}
    names = {name: f"{name} [{own[name]}]" if name in own else name for name in physical}
    names |= {name: f"all fields/{name}" for name in normalized if name not in physical}
    width = max(14, *(len(text) + 2 for text in names.values()))
    lines = [f"{'metric':<{width}}{'mean':>14}{'std':>14}{'normalised':>14}{'std':>14}  {remark}"] if remark else []
    for name, text in names.items():
        cells = [part.get(name) for part in (physical, normalized)]
        numbers = [f"{s['mean']:>14.6g}{_spread(s['std']):>14}" if s else " " * 28 for s in cells]
        lines.append(f"{text:<{width}}{''.join(numbers)}".rstrip())
    return lines


def _spread(std: float) -> str:
    return f"{std:.6g}" if math.isfinite(std) else "-"  # a single sample has none
