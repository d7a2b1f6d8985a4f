"""Losses far above what they lately were."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median


class SpikeWatch:
    """Compares each value with the median of those before it.

    Args:
        factor: a value above ``factor`` times the median is a spike.
        window: how many values the median is of.
        patience: how many there must be before any is judged.
    """

    def __init__(self, factor: float = 5.0, window: int = 101, patience: int = 10) -> None:
        self.factor, self.patience = factor, patience
        self.values: deque[float] = deque(maxlen=window)

    def see(self, value: float) -> float | None:
        """Take in ``value``; the median if ``value`` is a spike, else None."""
        usual = median(self.values) if len(self.values) >= self.patience else None
        self.values.append(value)
        return usual if usual is not None and usual > 0 and value > self.factor * usual else None

    def load(self, values: Iterable[float]) -> None:
        """Go on from the values of an earlier run."""
        self.values = deque(values, maxlen=self.values.maxlen)
