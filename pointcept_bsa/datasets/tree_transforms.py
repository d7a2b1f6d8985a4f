"""Transforms that prepare in the loading processes what a backbone would else compute on the device at every step.

For a data set with ``cache=True`` and a static geometry they run once a sample. Letters: N points, d dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import tree_order
from pointcept_bsa.geometry.neighbors import check_edges, find_neighbors
from pointcept_bsa.host import TRANSFORMS

Sample = dict[str, Any]


@TRANSFORMS.register_module()
class AddTreeOrder:
    """Add ``tree_order`` (N, 2): the order of the points in the ball tree and in the rotated one (N, 1 without).

    Backbones that find it skip the sorting. The sizes must be those of the backbone: ``ball_size``, ``block_size`` and
    ``rotate`` of BSA-v1m1; ``local_ball_size``, ``compressed_ball_size`` of ErwinNSA-v1m1; 1, 1 and 0 for UPT-v1m1 and
    ABUPT-v1m1; for Erwin-v1m1 see ``unit`` and ``leaf`` there. It comes after everything that moves or drops points,
    and ``CollectPoints`` must collect it.

    Args:
        ball_size, block_size, unit, rotate: see :func:`.ball_tree.tree_order`.
        random_rotation: the tree is built on the coordinates rotated at random, anew each time: for training, so that
            the network meets other balls of the same points. The coordinates themselves stay.
    """

    def __init__(
        self,
        ball_size: int = 256,
        block_size: int = 8,
        unit: int | None = None,
        rotate: float = 45.0,
        random_rotation: bool = False,
    ) -> None:
        self.random_rotation = random_rotation
        self.sizes: dict[str, Any] = dict(ball_size=ball_size, block_size=block_size, unit=unit, rotate=rotate)
        try:
            tree_order(torch.zeros(1, 3), **self.sizes)
        except ValueError as error:
            raise InputError(f"AddTreeOrder: {error}") from None

    def __call__(self, data: Sample) -> Sample:
        coord = data["coord"]
        if self.random_rotation:
            coord = coord @ random_rotation(coord.shape[1]).astype(coord.dtype)
        coord = torch.from_numpy(np.ascontiguousarray(coord))
        return {**data, "tree_order": tree_order(coord, **self.sizes).numpy()}


def random_rotation(dimensions: int) -> np.ndarray:
    """A rotation or reflection (d, d), all equally likely."""
    q, r = np.linalg.qr(np.random.standard_normal((dimensions, dimensions)))
    return np.asarray(q * np.sign(np.diag(r)))


@TRANSFORMS.register_module()
class AddNeighbors:
    """Add ``neighbor_index`` (N, k): the nearest points of each point, counted inside the cloud, -1 for none.

    Erwin-v1m1, ErwinNSA-v1m1, BSA-v1m1 with ``mp_steps``, UPT-v1m1 and ABUPT-v1m1 take it instead of searching; the
    arguments must be those of the backbone. It comes after everything that moves or drops points, and ``CollectPoints``
    must collect it.

    Args:
        num_neighbors, edges, radius: see :func:`.neighbors.find_neighbors`.
    """

    def __init__(self, num_neighbors: int = 16, edges: str = "knn", radius: float | None = None) -> None:
        try:
            check_edges(edges, num_neighbors, radius)
        except ValueError as error:
            raise InputError(f"AddNeighbors: {error}") from None
        self.arguments: dict[str, Any] = dict(num_neighbors=num_neighbors, edges=edges, radius=radius)

    def __call__(self, data: Sample) -> Sample:
        coord = torch.from_numpy(np.ascontiguousarray(data["coord"]))
        return {**data, "neighbor_index": find_neighbors(coord, (len(coord),), **self.arguments).numpy()}
