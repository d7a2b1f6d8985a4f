"""Windows of trajectories as samples, and the edges of a graph as a table of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np


class WindowNames(Sequence[str]):
    """The windows of all trajectories, ``<trajectory>/<first frame>``, written down only when they are asked for.

    Args:
        trajectories: names.
        counts: windows of each.
        stride: frames from one window to the next.
        first: frame at which the first window of each begins.
    """

    def __init__(self, trajectories: Sequence[str], counts: Sequence[int], stride: int, first: int = 0) -> None:
        self.trajectories = list(trajectories)
        self.ends = np.cumsum(np.asarray(counts, dtype=np.int64))
        self.counts = list(counts)
        self.stride = stride
        self.first = first

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def place(self, index: int) -> tuple[str, int]:
        """Trajectory and first frame of a window."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        i = int(np.searchsorted(self.ends, index, side="right"))
        return self.trajectories[i], self.first + (index - int(self.ends[i]) + self.counts[i]) * self.stride

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name, start = self.place(index + len(self) if index < 0 else index)
        return f"{name}/{start:05d}"


def neighbor_table(edges: np.ndarray, points: int, width: int | None = None) -> np.ndarray:
    """Return for each point those it shares an edge with, in rising order: (N, k) int64, -1 for none.

    Args:
        edges: (E, 2) pairs of points; one that is named twice, or both ways, counts once.
        points: N.
        width: k; None: the most that any point has, at least 1.

    Raises:
        ValueError: an edge to a point that is not there, or to itself; a point of more than ``width`` neighbours.
    """
    if edges.size and not (0 <= edges.min() and edges.max() < points):
        raise ValueError(f"names points {edges.min()} to {edges.max()}, wanted 0 to {points - 1}")
    if np.any(edges[:, 0] == edges[:, 1]):
        raise ValueError("has an edge of a point to itself, wanted none")
    a, b = edges.astype(np.int64).T
    both = np.unique(np.concatenate([a * points + b, b * points + a]))
    sender, receiver = both % max(points, 1), both // max(points, 1)
    degree = np.bincount(receiver, minlength=points)
    most = int(degree.max(initial=1))
    if width is not None and most > width:
        raise ValueError(f"has a point of {most} neighbours, wanted at most {width}")
    column = np.arange(len(both)) - np.repeat(np.cumsum(degree) - degree, degree)
    table = np.full((points, width or most), -1, dtype=np.int64)
    table[receiver, column] = sender
    return table
