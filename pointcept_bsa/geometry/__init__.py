"""Points in space: ball trees, neighbour searches, space-filling curves. Plain torch, on the points' device.

A part for other networks; importing it takes a moment beyond torch::

    from pointcept_bsa.geometry import BallTree

    tree = BallTree.build(coord, lengths, ball_size=256)  # coord (N, d); lengths: points of each cloud
    x = tree.gather(feat)                                 # (N, C) -> (S, C): a ball is 256 rows that follow each other
    feat = tree.scatter(x)                                # and back; tree.layout says which slots are empty
"""

from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree, relative_position, tree_order
from pointcept_bsa.geometry.neighbors import find_neighbors
from pointcept_bsa.geometry.padding import CloudPadding
from pointcept_bsa.geometry.serialization import serialize

__all__ = [
    "BallLayout",
    "BallTree",
    "CloudPadding",
    "find_neighbors",
    "relative_position",
    "serialize",
    "tree_order",
]
