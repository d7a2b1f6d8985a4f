"""How many bytes a process sends, by what they are for: the names of :func:`.traffic.counted`.

``R`` processes that share the clouds, ``C`` channels (of all heads), ``b`` bytes a number, ``l`` slots a block, ``d``
space dimensions. Each function is about one direction of one layer; what gets a gradient sends as much again in the
backward pass, ``name (gradient)``. Where parts differ in length, a gather sends as much as the longest.
"""

from __future__ import annotations

from collections.abc import Sequence

INTEGER, FLOAT, NODE = 8, 4, 4
COORDINATE_BITS = 32  # of what points are split by
WIDE_DIGIT, DIGIT = 16, 8  # bits: the wider, the fewer sums
MOST_COUNTS = 1 << 21  # bytes of a sum for the wide one


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
    """The main tree: positions and a node of points that go to other processes; positions once more as given where
    float32, in which they are compared, does not hold them."""
    return leaving * (dimensions * (FLOAT + (size if size > FLOAT else 0)) + NODE)


def rotated_tree(
    leaving: float, leaving_rotated: float, arriving_rotated: float, turning: float, dimensions: int
) -> float:
    """The rotated tree: positions and a node of points that leave for it, back the slot that each has got; with the
    points to the main tree; from there to the process that has the slot."""
    return (
        leaving_rotated * (dimensions * FLOAT + NODE)
        + arriving_rotated * INTEGER
        + leaving * INTEGER
        + turning * INTEGER
    )


def digit_bits(nodes: int) -> int:
    """Bits of a digit of the coordinate at which so many nodes are split at the same time: the wide one as long as the
    counts of its values are few bytes."""
    return WIDE_DIGIT if nodes * INTEGER << WIDE_DIGIT <= MOST_COUNTS else DIGIT


def split(nodes: Sequence[int], dimensions: int, processes: int) -> float:
    """``tree``: extents, and points before each value of each digit, of nodes that no process has alone (those of both
    trees together), summed level by level.

    Points that share coordinates take more of the latter.
    """
    counts = [COORDINATE_BITS // digit_bits(k) * (1 << digit_bits(k)) for k in nodes]
    return sum(
        summed(k * (2 * dimensions * FLOAT + each * INTEGER), processes) for k, each in zip(nodes, counts, strict=True)
    )


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
    trees; rows of each piece of the rotated tree.

    Args:
        pieces: of the rotated tree, see :mod:`.part_assignment`; 0 without one.
    """
    return [clouds, 2 * processes, pieces] if pieces else [clouds, processes]


def summed(size: float, processes: int) -> float:
    """What a ring sends to add up ``size`` bytes: 2 (R - 1) / R of them."""
    return 2 * (processes - 1) / processes * size
