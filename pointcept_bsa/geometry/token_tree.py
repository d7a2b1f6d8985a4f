"""Coarse tokens of several levels over the slots of a ball tree, and who sees which.

``l`` slots a block, ``n`` slots a near node, ``f`` the fan. A token of level j stands for ``l f^j`` consecutive
slots, a node of level j for ``n f^j``, both counted from the first slot of the cloud; the last of a cloud may be
shorter. (Where a cloud fills a power of two of balls these are nodes of the tree; else they are runs in its order.)

A query sees the tokens of level 0 in its own node of level 0, and of level j in its own node of level j outside of
that of level j - 1, until a node holds the whole cloud. So every point is seen once, and a query sees at most
``n / l`` tokens a level.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np

from pointcept_bsa.geometry.host_tables import derived, host_table


@dataclass(frozen=True, eq=False)
class TokenTree:
    """Static tables of the levels over clouds of given slots.

    Attributes:
        fan: f.
        tokens: tokens of each level and cloud; level 0 are the blocks.
        top: the highest level that somebody sees: 0 where no cloud has more than ``n`` slots, though level 1 is there.
        padded: for each level from 1 on, (T_j f,) the token of the level below at each place of the children, and
            (T_{j-1},) the place of each of them. Places without a child repeat some token.
        first_child: for each level from 1 on, (T_j + 1,) the first child of each token.
        nodes: slots of each near node.
        node: (T_0,) near node of each block.
        seen: (M, K) what the queries of each near node see, as places in the tokens of all levels one after the other;
            -1 behind the last.
        numbers: how many that are, for each node.
        offsets, places: the inverse: token t stands at ``places[offsets[t]:offsets[t + 1]]`` of ``seen``, flat.
    """

    fan: int
    tokens: tuple[tuple[int, ...], ...]
    top: int
    padded: tuple[tuple[np.ndarray, np.ndarray], ...]
    first_child: tuple[np.ndarray, ...]
    nodes: tuple[int, ...]
    node: np.ndarray
    seen: np.ndarray
    numbers: tuple[int, ...]
    offsets: np.ndarray
    places: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(M,) int32 ``numbers``, always the same table."""
        lengths: np.ndarray = derived(self.seen, "lengths", lambda: np.asarray(self.numbers, np.int32))
        return lengths

    @property
    def totals(self) -> list[int]:
        """Tokens of each level."""
        return [sum(level) for level in self.tokens]


@lru_cache(maxsize=16)
def plan_tokens(slots: tuple[int, ...], block_size: int, near: int, fan: int) -> TokenTree:
    """The levels for clouds of ``slots`` slots, whole blocks each.

    Raises:
        ValueError: near nodes that do not hold whole tokens of level 1, or a fan below 2.
    """
    levels, top = level_tokens(slots, block_size, near, fan)
    nodes = [min(near, s - first) for s in slots for first in range(0, s, near)]
    first = [0, *accumulate(sum(level) for level in levels)]
    lists = []
    for cloud, s in enumerate(slots):
        tokens = [level[cloud] for level in levels]
        starts = [start + sum(level[:cloud]) for start, level in zip(first, levels, strict=False)]
        lists.append(
            seen_by(
                np.arange(-(-s // near)), s, tokens=tokens, starts=starts, width=near // block_size, near=near, fan=fan
            )
        )
    pairs = list(zip(levels, levels[1:], strict=False))
    return TokenTree(
        fan,
        tuple(levels),
        top,
        tuple(padded_children(below, above, fan) for below, above in pairs),
        tuple(host_table(first_child(below, above, fan)) for below, above in pairs),
        tuple(nodes),
        *list_tables(nodes, np.concatenate(lists), first[-1], block_size),
    )


def level_tokens(slots: tuple[int, ...], block_size: int, near: int, fan: int) -> tuple[list[tuple[int, ...]], int]:
    """Tokens of each level and cloud, and the highest level that somebody sees. Raises as :func:`check_tokens`."""
    check_tokens(block_size, near, fan)
    levels = [tuple(s // block_size for s in slots)]
    size, top = near, 0
    while size < max(slots) or len(levels) == 1:  # always one above the blocks: what pools it then has a gradient
        top += size < max(slots)
        levels.append(tuple(-(-tokens // fan) for tokens in levels[-1]))
        size *= fan
    return levels, top


def list_tables(
    nodes: list[int], candidates: np.ndarray, tokens: int, block_size: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...], np.ndarray, np.ndarray]:
    """``node``, ``seen``, ``numbers``, ``offsets`` and ``places`` of a :class:`TokenTree`, from the slots of near nodes
    and what each of them sees of so many ``tokens``, -1 for nothing."""
    there = candidates >= 0
    numbers = there.sum(1)
    seen = np.full((len(nodes), numbers.max()), -1, np.int32)
    seen[np.arange(seen.shape[1]) < numbers[:, None]] = candidates[there]
    flat = seen.ravel()
    # The -1 of places without a token sort to the front, and are cut off.
    places = np.argsort(flat, kind="stable")[flat.size - numbers.sum() :].astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(candidates[there], minlength=tokens))]).astype(np.int32)
    node = np.repeat(np.arange(len(nodes)), [slots // block_size for slots in nodes])
    return host_table(node), host_table(seen), tuple(numbers.tolist()), host_table(offsets), host_table(places)


def check_tokens(block_size: int, near: int, fan: int) -> None:
    """Raise ValueError unless the sizes of :func:`plan_tokens` fit each other."""
    if fan < 2:
        raise ValueError(f"fan: got {fan}, wanted at least 2")
    if near < 1 or near % (block_size * fan):
        raise ValueError(f"near: got {near}, wanted a multiple of block_size {block_size} times fan {fan}")


def seen_by(
    nodes: np.ndarray, slots: int, tokens: list[int], starts: list[int], width: int, near: int, fan: int
) -> np.ndarray:
    """What near nodes of a cloud see, level by level, ``width`` places each; -1 where there is nothing to see.

    Args:
        nodes: counted inside the cloud, of so many ``slots``.
        tokens: of the cloud, by level.
        starts: added to the numbers of its tokens, by level.
    """
    own, lists = nodes[:, None], []
    for level, (number, start) in enumerate(zip(tokens, starts, strict=True)):
        parent = own // fan if level else own
        inside = parent * width + np.arange(width)
        seen = inside < number
        if level:
            seen &= (inside // (width // fan) != own) & (near * fan ** (level - 1) < slots)
        lists.append(np.where(seen, inside + start, -1))
        own = parent
    return np.concatenate(lists, 1)


def padded_children(below: tuple[int, ...], above: tuple[int, ...], fan: int) -> tuple[np.ndarray, np.ndarray]:
    index, home, first, place = [], [], 0, 0
    for children, parents in zip(below, above, strict=True):
        index.append(first + np.minimum(np.arange(parents * fan), children - 1))
        home.append(place + np.arange(children))
        first, place = first + children, place + parents * fan
    return host_table(np.concatenate(index)), host_table(np.concatenate(home))


def first_child(below: tuple[int, ...], above: tuple[int, ...], fan: int) -> np.ndarray:
    first = [0, *accumulate(below)]
    starts = [start + fan * np.arange(parents) for start, parents in zip(first, above, strict=False)]
    return np.concatenate([*starts, [first[-1]]]).astype(np.int32)
