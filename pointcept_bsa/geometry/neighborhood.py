"""Whom points hear from: searched, brought along by the sample, or laid into slots with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.neighbors import check_edges, find_neighbors, shift_neighbors
from pointcept_bsa.geometry.padding import VALID, slot_neighbors
from pointcept_bsa.geometry.part_neighbors import PartNeighbors, neighbors_of_part
from pointcept_bsa.geometry.part_tree import PartTree


@dataclass(frozen=True)
class Neighborhood:
    """The neighbours that a layer wants, see :func:`.find_neighbors` for the attributes.

    Raises:
        ValueError: attributes that do not fit each other.
    """

    num_neighbors: int
    edges: str
    radius: float | None

    def __post_init__(self) -> None:
        check_edges(self.edges, self.num_neighbors, self.radius)

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of :func:`.find_neighbors`."""
        return dict(num_neighbors=self.num_neighbors, edges=self.edges, radius=self.radius)

    def of_one_cloud(self, coord: Tensor) -> dict[str, Tensor]:
        """``neighbor_index`` of one cloud (N, d), to be cached with a static geometry."""
        return {"neighbor_index": find_neighbors(coord, (len(coord),), **self.arguments)}

    def table(self, point: Mapping[str, Any], lengths: tuple[int, ...]) -> Tensor:
        """(N, k) neighbours of the points of a batch, -1 for none.

        Raises:
            InputError: a ``neighbor_index`` of the sample that does not fit its clouds.
        """
        if VALID in point:
            return slot_neighbors(point)
        if "neighbor_index" not in point:
            return find_neighbors(point["coord"], lengths, **self.arguments)
        try:
            return shift_neighbors(point["neighbor_index"], lengths)
        except ValueError as error:
            raise InputError(str(error)) from error

    def of_part(self, tree: PartTree) -> PartNeighbors:
        """Those of the points in the own slots of clouds that processes share."""
        return neighbors_of_part(tree, **self.arguments)
