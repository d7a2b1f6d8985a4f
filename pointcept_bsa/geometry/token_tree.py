"""Coarse tokens of several levels over the slots of a ball tree, and who sees which.

``l`` slots a block, ``n`` slots a near node, ``f`` the fan. A token of level j stands for ``l f^j`` consecutive
slots, a node of level j for ``n f^j``, both counted from the first slot of the cloud; the last of a cloud may be
shorter. (Where a cloud fills a power of two of balls these are nodes of the tree; else they are runs in its order.)

A query sees the tokens of level 0 in its own node of level 0, and of level j in its own node of level j outside of
that of level j - 1, until a node holds the whole cloud. So every point is seen once, and a query sees at most
``n / l`` tokens a level. A small cloud is one near node, however many slots it has: see :class:`TokenSizes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np

from pointcept_bsa.geometry.host_tables import derived, host_table


@dataclass(frozen=True)
class TokenSizes:
    """Sizes of tokens and nodes.

    Attributes:
        block: l.
        near: n, a multiple of l f.
        fan: f, at least 2.
        beyond: clouds of more slots have levels; one of at most so many is one near node, whose queries see all of its
            blocks. At least n.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    block: int
    near: int
    fan: int
    beyond: int

    def __post_init__(self) -> None:
        if self.fan < 2:
            raise ValueError(f"fan: got {self.fan}, wanted at least 2")
        if self.near < 1 or self.near % (self.block * self.fan):
            raise ValueError(
                f"near: got {self.near}, wanted a multiple of block_size {self.block} times fan {self.fan}"
            )
        if self.beyond < self.near:
            raise ValueError(f"levels_beyond: got {self.beyond}, wanted at least near {self.near}")

    @classmethod
    def wanted(cls, block: int, near: int | None, fan: int, beyond: int | None) -> TokenSizes | None:
        """None without ``near``; ``beyond`` is ``near`` unless it is given."""
        if near is None:
            if beyond is not None:
                raise ValueError(f"levels_beyond: got {beyond}, wanted None without near")
            return None
        return cls(block, near, fan, near if beyond is None else beyond)

    def divide(self, slots: tuple[int, ...]) -> bool:
        """Whether a cloud of these has levels."""
        return max(slots) > self.beyond

    def near_of(self, slots: int) -> int:
        """Slots of a near node in a cloud of so many."""
        return self.near if slots > self.beyond else slots

    def top_of(self, slots: int) -> int:
        """The highest level in a cloud of so many."""
        top, node = 0, self.near_of(slots)
        while node < slots:
            top, node = top + 1, node * self.fan
        return top

    def token(self, level: int) -> int:
        """Slots of a token."""
        return self.block * self.fan**level


@dataclass(frozen=True, eq=False)
class TokenTree:
    """Static tables of the levels over clouds of given slots.

    Attributes:
        sizes: of tokens and nodes.
        tokens: tokens of each level and cloud; level 0 are the blocks.
        top: the highest level: 0 where no cloud has more slots than ``beyond``.
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

    sizes: TokenSizes
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
    def plain(self) -> np.ndarray | None:
        """(T_0,) True for the blocks of clouds without levels; None where all have them."""
        divided = [blocks * self.sizes.block > self.sizes.beyond for blocks in self.tokens[0]]
        if all(divided):
            return None
        table: np.ndarray = derived(self.seen, "plain", lambda: ~np.repeat(divided, self.tokens[0]))
        return table

    @property
    def totals(self) -> list[int]:
        """Tokens of each level."""
        return [sum(level) for level in self.tokens]


@lru_cache(maxsize=16)
def plan_tokens(slots: tuple[int, ...], sizes: TokenSizes) -> TokenTree:
    """The levels for clouds of ``slots`` slots, whole blocks each."""
    levels, fan = level_tokens(slots, sizes), sizes.fan
    nodes = [min(near, s - first) for s in slots for near in [sizes.near_of(s)] for first in range(0, s, near)]
    first = [0, *accumulate(sum(level) for level in levels)]
    lists = []
    for cloud, s in enumerate(slots):
        tokens = [level[cloud] for level in levels]
        starts = [start + sum(level[:cloud]) for start, level in zip(first, levels, strict=False)]
        lists.append(seen_by(np.arange(-(-s // sizes.near_of(s))), s, tokens=tokens, starts=starts, sizes=sizes))
    pairs = list(zip(levels, levels[1:], strict=False))
    return TokenTree(
        sizes,
        tuple(levels),
        len(levels) - 1,
        tuple(padded_children(below, above, fan) for below, above in pairs),
        tuple(host_table(first_child(below, above, fan)) for below, above in pairs),
        tuple(nodes),
        *list_tables(nodes, lists, first[-1], sizes.block),
    )


def level_tokens(slots: tuple[int, ...], sizes: TokenSizes) -> list[tuple[int, ...]]:
    """Tokens of each level and cloud."""
    levels = [tuple(s // sizes.block for s in slots)]
    for _ in range(sizes.top_of(max(slots))):
        levels.append(tuple(-(-tokens // sizes.fan) for tokens in levels[-1]))
    return levels


def list_tables(
    nodes: list[int], lists: list[np.ndarray], tokens: int, block_size: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...], np.ndarray, np.ndarray]:
    """``node``, ``seen``, ``numbers``, ``offsets`` and ``places`` of a :class:`TokenTree`, from the slots of near nodes
    and, cloud by cloud, what each of them sees of so many ``tokens``, -1 for nothing."""
    width = max(of_cloud.shape[1] for of_cloud in lists)
    padding = [((0, 0), (0, width - of_cloud.shape[1])) for of_cloud in lists]
    candidates = np.concatenate([np.pad(x, pad, constant_values=-1) for x, pad in zip(lists, padding, strict=True)])
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


def seen_by(nodes: np.ndarray, slots: int, tokens: list[int], starts: list[int], sizes: TokenSizes) -> np.ndarray:
    """What near nodes of a cloud see, level by level, n / l places each; -1 where there is nothing to see.

    Args:
        nodes: counted inside the cloud, of so many ``slots``.
        tokens: of the cloud, by level.
        starts: added to the numbers of its tokens, by level.
        sizes: of tokens and nodes.
    """
    own, width, fan, lists = nodes[:, None], sizes.near_of(slots) // sizes.block, sizes.fan, []
    levels = sizes.top_of(slots) + 1
    for level, (number, start) in enumerate(zip(tokens[:levels], starts[:levels], strict=True)):
        parent = own // fan if level else own
        inside = parent * width + np.arange(width)
        seen = inside < number
        if level:
            seen &= inside // (width // fan) != own
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
