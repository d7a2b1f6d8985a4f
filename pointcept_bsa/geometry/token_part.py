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
    TokenSizes,
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


def multiple_of_parts(shared: int, ball_size: int, sizes: TokenSizes) -> int:
    """Slots of which each part but the last must be a whole number."""
    return ball_size if shared == 0 else int(np.lcm(ball_size, sizes.near * sizes.fan ** (shared - 1)))


def shared_level(slots: tuple[int, ...], parts: int, ball_size: int, sizes: TokenSizes) -> int:
    """J: the highest level whose parts are still about equal. 0: all blocks are gathered."""
    fitting = [
        level
        for level in range(1, len(level_tokens(slots, sizes)))
        if all(-(-s // multiple_of_parts(level, ball_size, sizes)) >= SPARE * parts for s in slots)
        and min(slots) > sizes.beyond
    ]
    return max(fitting, default=0)


@lru_cache(maxsize=16)
def plan_token_part(cuts: tuple[Runs, ...], rank: int, shared: int, sizes: TokenSizes) -> TokenPart:
    """The levels for part ``rank`` of clouds with these ``cuts`` (see :class:`.Parts`), which are where
    :func:`multiple_of_parts` says."""
    whole = tuple(sum(slots for _, slots in runs) for runs in cuts)
    runs = [own_runs(of_cloud, rank) for of_cloud in cuts]
    levels, fan = level_tokens(whole, sizes), sizes.fan
    widths = [sizes.block * fan**level for level in range(shared + 1)]
    own = [tuple(sum(-(-(end - start) // width) for start, end in of_cloud) for of_cloud in runs) for width in widths]
    table = [*own[:shared], *levels[shared:]]
    begins = list(accumulate((sum(level) for level in table), initial=0))
    names: list[list[np.ndarray]] = [[] for _ in widths]
    nodes, lists = [], []
    for cloud, (slots, of_cloud) in enumerate(zip(whole, runs, strict=True)):
        tokens, near = [level[cloud] for level in levels], sizes.near_of(slots)
        starts = [begin + sum(level[:cloud]) for begin, level in zip(begins, table, strict=False)]
        for start, end in of_cloud:
            inside = [np.arange(start // width, -(-end // width)) for width in widths]
            for level, of_run in enumerate(inside):
                names[level].append(sum(levels[level][:cloud]) + of_run)
            there = [n - of_run[0] for n, of_run in zip(starts, inside[:shared], strict=False)] + starts[shared:]
            starts = [n + len(of_run) for n, of_run in zip(starts, inside[:shared], strict=False)] + starts[shared:]
            inside_near = np.arange(start // near, -(-end // near))
            nodes += (np.minimum((inside_near + 1) * near, end) - np.maximum(inside_near * near, start)).tolist()
            lists.append(seen_by(inside_near, slots, tokens=tokens, starts=there, sizes=sizes))
    pairs = [*pairwise(own), *pairwise(levels[shared:])]
    node, seen, numbers, offsets, places = list_tables(nodes, lists, begins[-1], sizes.block)
    return TokenPart(
        sizes=sizes,
        tokens=tuple(levels),
        top=len(levels) - 1,
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
