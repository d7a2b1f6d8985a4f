"""How many bytes a process sends, by what they are for: the names of :func:`.traffic.counted`.

``R`` processes that share the clouds, ``C`` channels (of all heads), ``b`` bytes a number, ``l`` slots a block, ``d``
space dimensions. Each function is about one direction of one layer; what gets a gradient sends as much again in the
backward pass, ``name (gradient)``. Where parts differ in length, a gather sends as much as the longest.
"""

from __future__ import annotations

from collections.abc import Sequence

INTEGER, FLOAT = 8, 4
DIGITS, RADIX = 4, 256  # of a float32 coordinate, see geometry.shared_split


def coarse(blocks: float, channels: int, size: int, processes: int) -> float:
    """Keys and values of the own blocks, to all: (R - 1) blocks 2 C b."""
    return (processes - 1) * blocks * 2 * channels * size


def tokens(tokens_of_level: float, channels: int, size: int, processes: int) -> float:
    """Keys and values of the own tokens of level J, to all: (R - 1) tokens 2 C b."""
    return coarse(tokens_of_level, channels, size, processes)


def descent(tokens_below: Sequence[float], channels: int, size: int, processes: int) -> float:
    """Keys of the own tokens of the levels below J, to all, without gradient: (R - 1) tokens C b."""
    return (processes - 1) * sum(tokens_below) * channels * size


def keys(points: float, channels: int, size: int, processes: int) -> float:
    """Keys and values of the own points, to all (full attention): (R - 1) points 2 C b."""
    return coarse(points, channels, size, processes)


def selected(blocks: float, block_size: int, channels: int, size: int) -> float:
    """Keys and values of own blocks for those who want them: 2 l C b a block and process that has chosen it."""
    return blocks * 2 * block_size * channels * size


def most_selected(groups: int, heads: int, topk: int, far_blocks: int) -> int:
    """Blocks of other processes that the own groups can choose at most, each fetched once."""
    return min(groups * heads * topk, far_blocks)


def marks(far_blocks: float) -> float:
    """``selected (marks)``: for each block of the others whether it is wanted, a byte; no gradient."""
    return far_blocks


def messages(rows: float, channels: int, size: int) -> float:
    """What own points say to those of other processes in a step of message passing: C b a point and process that has
    one which hears it."""
    return rows * channels * size


def requests(rows: float) -> float:
    """``messages (requests)``: the number of each point that is heard from another process, once for all steps."""
    return rows * INTEGER


def neighbors(boxes: float, points: float, dimensions: int, clouds: int, processes: int, size: int = FLOAT) -> float:
    """Boxes of the own parts, to all; boxes of own balls to the processes they reach into; own points inside of theirs.
    No gradient."""
    box = 2 * dimensions * 8
    return (processes - 1) * clouds * box + boxes * (box + 8) + points * (2 * INTEGER + dimensions * size)


def rotation(rows: float, channels: int, size: int = FLOAT) -> float:
    """The residual stream of own slots that lie in another process in the other tree: at most S C b."""
    return rows * channels * size


def positions(rows: float, dimensions: int, size: int = FLOAT, masked: bool = False) -> float:
    """Also ``rotation``, once a tree and without gradient: positions of these slots, and which are empty, if any is."""
    return rows * (dimensions * size + masked)


def features(leaving: float, arriving: float, channels: int, size: int = FLOAT) -> float:
    """``tree``, once a network: embedded features to the tree's parts, outputs back."""
    return (leaving + arriving) * channels * size


def tree(leaving: float, dimensions: int, size: int = FLOAT) -> float:
    """The main tree: positions (twice: as compared, and as given) and a node of points that go to other processes."""
    return leaving * (dimensions * (FLOAT + size) + INTEGER)


def rotated_tree(
    leaving: float, leaving_rotated: float, arriving_rotated: float, turning: float, dimensions: int
) -> float:
    """The rotated tree: positions and a node of points that leave for it, back the slot that each has got; with the
    points to the main tree; from there to the process that has the slot."""
    return (
        leaving_rotated * (dimensions * FLOAT + INTEGER)
        + arriving_rotated * INTEGER
        + leaving * INTEGER
        + turning * INTEGER
    )


def split(nodes: Sequence[float], dimensions: int, processes: int) -> float:
    """``tree``: extents, and four histograms, of nodes that no process has alone, summed level by level, for a tree.

    Points that share coordinates take more histograms.
    """
    return sum(summed(k * (2 * dimensions * FLOAT + DIGITS * RADIX * INTEGER), processes) for k in nodes)


def filled(blocks: float, processes: int) -> float:
    """``tree``: the points of each own block, to all, where not all blocks are full."""
    return (processes - 1) * blocks * 4


def gradients(parameters: float, processes: int, size: int = FLOAT) -> float:
    """Gradients of the parameters, summed once a step."""
    return summed(parameters * size, processes)


def numbers(own: int, processes: int) -> int:
    """A few integers of each process, to all."""
    return (processes - 1) * own * INTEGER


def tree_numbers(clouds: int, pieces: int, processes: int) -> list[int]:
    """The integers of each exchange of ``numbers`` for a tree: points of the clouds; rows for each process, of both
    trees; whether all slots are full; rows of each piece of the rotated tree, and what turns.

    Args:
        pieces: of the rotated tree, see :mod:`.part_assignment`; 0 without one.
    """
    return [clouds, processes, 1, *([processes, pieces, processes] if pieces else [])]


def summed(size: float, processes: int) -> float:
    """What a ring sends to add up ``size`` bytes: 2 (R - 1) / R of them."""
    return 2 * (processes - 1) / processes * size
