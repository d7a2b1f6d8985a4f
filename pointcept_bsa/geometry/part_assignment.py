"""Which process has which piece of the rotated tree.

The main tree goes to the processes in one run each. The rotated one is cut at the same places and, between them, into
``PIECES`` of such a run, which may go to any process: to the one that has most of their rows in the main tree, so that
few rows change the process between the two. Each process gets as many pieces of each length as the runs of the main
tree have, so as many slots of each cloud.

``R`` processes, ``P`` pieces of a cloud.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby

import numpy as np

from pointcept_bsa.geometry.host_tables import HostTable, host_table
from pointcept_bsa.geometry.part_plan import Runs, cuts_of

PIECES = 16  # of the run of a process, and
MOST = 1024  # of a cloud, unless there are more processes: exact assignment takes a second for some thousands


def pieces_of_cloud(slots: int, parts: int, multiple: int) -> tuple[int, ...]:
    """Slots (P,) of each piece of a cloud of ``slots``, whole numbers of ``multiple`` (but the last): those of the
    first part of the main tree come first."""
    units = -(-slots // multiple)
    each = max(1, min(PIECES, MOST // parts, units // parts))
    return tuple(np.diff(cuts_of(slots, each * parts, multiple)).tolist())


@lru_cache(maxsize=16)
def ends_of_pieces(slots: tuple[int, ...], parts: int, multiple: int) -> HostTable:
    """The slot behind each piece, one cloud after the other."""
    return host_table(np.cumsum([n for of_cloud in slots for n in pieces_of_cloud(of_cloud, parts, multiple)]))


def assign(rows: np.ndarray, slots: tuple[int, ...]) -> np.ndarray:
    """(P,) the process of each piece of a cloud such that most rows stay where they are, the best choice there is among
    pieces alike.

    Args:
        rows: (R, P) rows that each process has of each piece in the main tree.
        slots: see :func:`pieces_of_cloud`.
    """
    from scipy.optimize import linear_sum_assignment  # a tree of whole clouds need not wait for its import

    length = np.asarray(slots)
    home = np.repeat(np.arange(len(rows)), len(slots) // len(rows))
    owner = home.copy()
    # Among pieces of one length: so each process keeps as many slots of the cloud as it has in the main tree.
    for those in (np.flatnonzero(length == each) for each in np.unique(length)):
        place, piece = linear_sum_assignment(rows[home[those]][:, those], maximize=True)
        owner[those[piece]] = home[those][place]
    return owner


def runs_of(owner: np.ndarray, slots: tuple[int, ...]) -> Runs:
    """Pieces of one process that follow each other are one run."""
    pieces = zip(owner.tolist(), slots, strict=True)
    return tuple((part, sum(n for _, n in run)) for part, run in groupby(pieces, key=lambda piece: piece[0]))


def rows_by_owner(rows: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """(R, R) rows that each process has in the main tree, by the process that has them in the rotated one.

    Args:
        rows: (R, P) of each piece.
        owner: (P,) its process.
    """
    return rows @ (owner[:, None] == np.arange(len(rows)))


def rows_between(target: np.ndarray, slots: int, parts: int, multiple: int) -> np.ndarray:
    """(R, R) of a cloud, see :func:`rows_by_owner`.

    Args:
        target: (S,) where each slot of the main tree lies in the rotated one.
        slots, parts, multiple: S, R, and see :func:`pieces_of_cloud`.
    """
    pieces = pieces_of_cloud(slots, parts, multiple)
    home = np.repeat(np.arange(parts), np.diff(cuts_of(slots, parts, multiple)))
    piece = np.repeat(np.arange(len(pieces)), pieces)[target]
    rows = np.bincount(home * len(pieces) + piece, minlength=parts * len(pieces)).reshape(parts, -1)
    return rows_by_owner(rows, assign(rows, pieces))


def moving_shares(target: np.ndarray, slots: int, parts: int, multiple: int) -> tuple[float, float]:
    """Of a cloud's rows the share that changes the process between its two trees, and that of the process that has most
    to send; see :func:`rows_between`."""
    rows = rows_between(target, slots, parts, multiple)
    leaving, all_rows = rows.sum(1) - np.diag(rows), rows.sum(1)
    return float(leaving.sum() / slots), float((leaving / all_rows).max())
