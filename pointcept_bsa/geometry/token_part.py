"""The levels of coarse tokens where a process has a part of each cloud.

Up to the level below ``shared`` (J) a process knows its own tokens, from level J on those of the whole clouds. Parts
begin at whole near nodes of level J - 1, so that what a query sees of the levels below J is in its own part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np

from pointcept_bsa.geometry.host_tables import host_table
from pointcept_bsa.geometry.part_plan import Runs, own_runs
from pointcept_bsa.geometry.token_tree import (
    TokenTree,
    first_child,
    level_tokens,
    list_tables,
    padded_children,
    seen_by,
)

SPARE = 8  # near nodes of level J - 1 that a part has at least: so parts differ by an eighth at most


@dataclass(frozen=True, eq=False)
class TokenPart(TokenTree):
    """Static tables of the levels. Unlike in a :class:`TokenTree`, ``seen``, ``offsets`` and ``places`` name own tokens
    of the levels below J, then all tokens of the others; ``nodes`` are the own slots of near nodes; ``padded`` is about
    own tokens up to level J; ``first_child`` is about those of the whole clouds.

    Attributes:
        shared: J.
        names: own tokens of each level up to J, counted over the whole clouds.
    """

    shared: int
    names: tuple[np.ndarray, ...]

    def size(self, level: int, block_size: int) -> int:
        """Slots of a token."""
        return block_size * self.fan**level


def multiple_of_parts(shared: int, ball_size: int, near: int, fan: int) -> int:
    """Slots of which each part but the last must be a whole number."""
    return ball_size if shared == 0 else int(np.lcm(ball_size, near * fan ** (shared - 1)))


def shared_level(slots: tuple[int, ...], parts: int, ball_size: int, block_size: int, near: int, fan: int) -> int:
    """J: the highest level whose parts are still about equal. 0: all blocks are gathered."""
    _, top = level_tokens(slots, block_size, near, fan)
    fitting = [
        level
        for level in range(1, top + 1)
        if all(-(-s // multiple_of_parts(level, ball_size, near, fan)) >= SPARE * parts for s in slots)
    ]
    return max(fitting, default=0)


@lru_cache(maxsize=16)
def plan_token_part(cuts: tuple[Runs, ...], rank: int, shared: int, block_size: int, near: int, fan: int) -> TokenPart:
    """The levels for part ``rank`` of clouds with these ``cuts`` (see :class:`.Parts`), which are where
    :func:`multiple_of_parts` says."""
    whole = tuple(sum(slots for _, slots in runs) for runs in cuts)
    runs = [own_runs(of_cloud, rank) for of_cloud in cuts]
    levels, top = level_tokens(whole, block_size, near, fan)
    sizes = [block_size * fan**level for level in range(shared + 1)]
    own = [tuple(sum(-(-(end - start) // size) for start, end in of_cloud) for of_cloud in runs) for size in sizes]
    table = [*own[:shared], *levels[shared:]]
    begins = list(accumulate((sum(level) for level in table), initial=0))
    names: list[list[np.ndarray]] = [[] for _ in sizes]
    nodes, lists = [], []
    for cloud, (slots, of_cloud) in enumerate(zip(whole, runs, strict=True)):
        tokens = [level[cloud] for level in levels]
        starts = [begin + sum(level[:cloud]) for begin, level in zip(begins, table, strict=False)]
        for start, end in of_cloud:
            inside = [np.arange(start // size, -(-end // size)) for size in sizes]
            for level, of_run in enumerate(inside):
                names[level].append(sum(levels[level][:cloud]) + of_run)
            there = [n - of_run[0] for n, of_run in zip(starts, inside[:shared], strict=False)] + starts[shared:]
            starts = [n + len(of_run) for n, of_run in zip(starts, inside[:shared], strict=False)] + starts[shared:]
            inside_near = np.arange(start // near, -(-end // near))
            nodes += (np.minimum((inside_near + 1) * near, end) - np.maximum(inside_near * near, start)).tolist()
            lists.append(
                seen_by(inside_near, slots, tokens=tokens, starts=there, width=near // block_size, near=near, fan=fan)
            )
    pairs = [*pairwise(own), *pairwise(levels[shared:])]
    node, seen, numbers, offsets, places = list_tables(nodes, np.concatenate(lists), begins[-1], block_size)
    return TokenPart(
        fan=fan,
        tokens=tuple(levels),
        top=top,
        padded=tuple(padded_children(below, above, fan) for below, above in pairs),
        first_child=tuple(host_table(first_child(below, above, fan)) for below, above in pairwise(levels)),
        nodes=tuple(nodes),
        node=node,
        seen=seen,
        numbers=numbers,
        offsets=offsets,
        places=places,
        shared=shared,
        names=tuple(host_table(np.concatenate(of_level)) for of_level in names),
    )
