"""Labels of own data: integers, a class a point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pointcept_bsa.errors import InputError

IGNORED = -1  # what a label below 0 becomes: its point counts nowhere
MOST = 1000


def count_labels(values: np.ndarray, source: str, where: object) -> Counter[int]:
    """How many points (N, 1) have each label.

    Raises:
        InputError: several columns, values that are no integers of 24 bits.
    """
    if values.shape[1] != 1:
        raise InputError(f"{where}: label {source!r} has {values.shape[1]} columns, wanted one integer a point")
    if not np.all(np.isfinite(values)) or np.any(values != np.round(values)) or np.any(np.abs(values) >= 2**24):
        raise InputError(f"{where}: label {source!r} has values that are no integers, wanted a class a point")
    labels, counts = np.unique(values.astype(np.int64), return_counts=True)
    return Counter(dict(zip(labels.tolist(), counts.tolist(), strict=True)))


def classes_of(counted: Counter[int], source: str) -> list[int]:
    """The labels that are classes: those from 0 on, in order.

    Raises:
        InputError: fewer than two of them, or more than ``MOST``.
    """
    found = sorted(label for label in counted if label >= 0)
    if not 2 <= len(found) <= MOST:
        raise InputError(f"--label {source}: has {len(found)} labels from 0 on, wanted 2 to {MOST}")
    return found


def label_lines(counted: Counter[int], source: str) -> list[str]:
    """What the dry run says: the classes and how many points have them."""
    total = sum(counted.values())
    shares = ", ".join(f"{label}: {counted[label] / total:.3g}" for label in sorted(counted)[:20])
    ignored = sum(count for label, count in counted.items() if label < 0)
    return [
        f"label {source!r}: {sum(label >= 0 for label in counted)} classes; share of the points: {shares}"
        + (", ..." if len(counted) > 20 else "")
        + (f"; {ignored} points below 0, which are ignored" if ignored else "")
    ]


def checked_labels(content: Any) -> list[int] | None:
    """The ``labels`` of ``fields.json``. Raises ValueError for anything else than None or rising integers."""
    if content is None:
        return None
    good = isinstance(content, Sequence) and all(type(label) is int for label in content) and len(content) > 1
    if not good or sorted(set(content)) != list(content) or content[0] < 0:
        raise ValueError("no labels")
    return list(content)
