"""Which process has which piece of the rotated tree.

The main tree goes to the processes in one run each. The rotated one is cut at the same places and, between them, into
``PIECES`` of such a run, which may go to any process: to the one that has most of their rows in the main tree, so that
few rows change the process between the two. Each process gets as many pieces of each length as the runs of the main
tree have, so as many slots of each cloud.

``R`` processes, ``P`` pieces of a cloud.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from pointcept_bsa.geometry.part_plan import Runs, cuts_of

PIECES = 16  # of the run of a process, and
MOST = 1024  # of a cloud, unless there are more processes: exact assignment takes a second for some thousands


def pieces_of_cloud(slots: int, parts: int, multiple: int) -> tuple[int, ...]:
    """Slots (P,) of each piece of a cloud of ``slots``, whole numbers of ``multiple`` (but the last): those of the
    first part of the main tree come first."""
    units = -(-slots // multiple)
    each = max(1, min(PIECES, MOST // parts, units // parts))
    return tuple(np.diff(cuts_of(slots, each * parts, multiple)).tolist())


def assign(rows: np.ndarray, slots: tuple[int, ...]) -> Runs:
    """The runs of a cloud such that most rows stay where they are, the best choice there is among pieces alike.

    Args:
        rows: (R, P) rows that each process has of each piece in the main tree.
        slots: see :func:`pieces_of_cloud`.
    """
    from scipy.optimize import linear_sum_assignment  # a tree of whole clouds need not wait for its import

    length = np.asarray(slots)
    home = np.repeat(np.arange(len(rows)), len(slots) // len(rows))
    owner = home.copy()
    for those in (np.flatnonzero(length == each) for each in np.unique(length)):
        place, piece = linear_sum_assignment(rows[home[those]][:, those], maximize=True)
        owner[those[piece]] = home[those][place]
    pieces = zip(owner.tolist(), slots, strict=True)
    return tuple((part, sum(n for _, n in run)) for part, run in groupby(pieces, key=lambda piece: piece[0]))
