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
    own tokens up to level J; ``first_child`` is empty up to there.

    Attributes:
        shared: J.
        own: own tokens of each level up to J, by cloud.
        first: the first own token of these levels, counted inside the cloud.
    """

    shared: int
    own: tuple[tuple[int, ...], ...]
    first: tuple[tuple[int, ...], ...]


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
def plan_token_part(
    slots: tuple[tuple[int, ...], ...], rank: int, shared: int, block_size: int, near: int, fan: int
) -> TokenPart:
    """The levels for part ``rank`` of clouds of ``slots`` (R, B), cut as :func:`multiple_of_parts` says."""
    whole = tuple(map(sum, zip(*slots, strict=True)))
    before = tuple(sum(part[cloud] for part in slots[:rank]) for cloud in range(len(whole)))
    levels, top = level_tokens(whole, block_size, near, fan)
    sizes = [block_size * fan**level for level in range(shared + 1)]
    own = tuple(tuple(-(-s // size) for s in slots[rank]) for size in sizes)
    first = tuple(tuple(start // size for start in before) for size in sizes)
    table = [*own[:shared], *levels[shared:]]
    begins = list(accumulate((sum(level) for level in table), initial=0))
    nodes, lists = [], []
    for cloud, (s, mine, start) in enumerate(zip(whole, slots[rank], before, strict=True)):
        tokens = [level[cloud] for level in levels]
        starts = [begin + sum(level[:cloud]) for begin, level in zip(begins, table, strict=False)]
        for level in range(shared):
            starts[level] -= first[level][cloud]
        for node in range(start // near, -(-(start + mine) // near)):
            nodes.append(min((node + 1) * near, start + mine) - max(node * near, start))
            lists.append(seen_by(node, s, tokens, starts, near // block_size, near, fan))
    pairs = [*pairwise(own), *pairwise(levels[shared:])]
    none = host_table(np.zeros(0, np.int32))
    children = [host_table(first_child(below, above, fan)) for below, above in pairwise(levels[shared:])]
    return TokenPart(
        fan,
        tuple(levels),
        top,
        tuple(padded_children(below, above, fan) for below, above in pairs),
        (*[none] * shared, *children),
        tuple(nodes),
        *list_tables(nodes, lists, begins[-1], block_size),
        shared,
        own,
        first,
    )
