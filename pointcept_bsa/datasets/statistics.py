"""Mean, standard deviation and range of a field, one cloud at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

_PUT_OFF = ContextVar("_PUT_OFF", default=False)


@contextmanager
def put_off() -> Iterator[None]:
    """Within, data sets are only looked at: statistics that take a pass over all training samples are those of the
    first one, and nobody may keep them."""
    token = _PUT_OFF.set(True)
    try:
        yield
    finally:
        _PUT_OFF.reset(token)


def are_put_off() -> bool:
    """Whether this is within ``put_off``."""
    return _PUT_OFF.get()


def source_of(protocol: str, lists: Mapping[str, Sequence[str]], validation: str, trained: bool = False) -> str:
    """Say which samples statistics are of: of the training split.

    Args:
        protocol: its name.
        lists: train, test and val or holdout.
        validation: "holdout" or "test", see ``FolderDataset``.
        trained: samples that are taken out of it to validate are not in them.
    """
    held = 0 if "val" in lists or validation != "holdout" else len(lists.get("holdout", ()))
    also = f", those that validate ({held}) {'left out' if trained else 'among them'}" if held else ""
    return f"training split, protocol {protocol}{also}"


class RunningStatistics:
    """Per-column mean, standard deviation (population), minimum and maximum, merged cloud by cloud in float64.

    The merge of means and sums of squared deviations is that of Chan, Golub and LeVeque (1979): no cancellation.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: np.ndarray | None = None
        self._squares: np.ndarray | None = None
        self._min: np.ndarray | None = None
        self._max: np.ndarray | None = None

    def update(self, values: np.ndarray) -> None:
        """Add a cloud of values (N, K), or (N,) which counts as (N, 1). Empty clouds change nothing."""
        n = len(values)
        if n == 0:
            return
        values = np.asarray(values, dtype=np.float64).reshape(n, -1)
        with np.errstate(over="ignore"):  # numbers beyond 1e154, which float32 does not hold: refused elsewhere
            mean = values.mean(axis=0)
            squares = np.square(values - mean).sum(axis=0)
        low, high = values.min(axis=0), values.max(axis=0)
        self._merge(n, mean, squares, low, high)

    def _merge(self, n: int, mean: np.ndarray, squares: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        if self._mean is None or self._squares is None or self._min is None or self._max is None:
            self.count, self._mean, self._squares, self._min, self._max = n, mean, squares, low, high
            return
        total = self.count + n
        delta = mean - self._mean
        self._mean = self._mean + delta * (n / total)
        self._squares = self._squares + squares + delta**2 * (self.count * n / total)
        self._min, self._max = np.minimum(self._min, low), np.maximum(self._max, high)
        self.count = total

    def add(self, result: Mapping[str, Any], count: int) -> None:
        """Add ``count`` values of which another gave this ``result()``."""
        mean, std, low, high = (np.asarray(result[name], np.float64) for name in ("mean", "std", "min", "max"))
        self._merge(count, mean, count * std**2, low, high)

    def result(self) -> dict[str, Any]:
        """Return ``dict(mean, std, min, max)``, each a list of K floats.

        Raises:
            ValueError: no values were given.
        """
        if self._mean is None or self._squares is None or self._min is None or self._max is None:
            raise ValueError("RunningStatistics.result: no values were given, wanted at least one")
        return {
            "mean": self._mean.tolist(),
            "std": np.sqrt(self._squares / self.count).tolist(),
            "min": self._min.tolist(),
            "max": self._max.tolist(),
        }
