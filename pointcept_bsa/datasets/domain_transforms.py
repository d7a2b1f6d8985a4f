"""Transforms of clouds whose points belong to domains, see :mod:`.domains`.

Letters: N points, D domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from pointcept_bsa.datasets.transforms import keep_points, with_point_field
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.domains import DOMAIN, DOMAIN_NAMES
from pointcept_bsa.host import TRANSFORMS

Sample = dict[str, Any]


@TRANSFORMS.register_module()
class SampleDomainPoints:
    """Keep so many points of each domain, at random or the first; a domain that has no more is left as it is.

    The kept points stay in their order. Everything else as ``SamplePoints``.

    Args:
        num_points: {"surface": 1024, "volume": 4096}; domains that are not named keep all of their points.
        first: keep the first points: where they come in a random order, and those that are kept are to stay the same.
    """

    def __init__(self, num_points: Mapping[str, int], first: bool = False) -> None:
        if not isinstance(num_points, Mapping) or not num_points:
            raise InputError(f"SampleDomainPoints: got num_points {num_points!r}, wanted a dict(surface=1024, ...)")
        for name, count in num_points.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(f"SampleDomainPoints: got num_points of {name!r} {count!r}, wanted at least 1")
        self.num_points, self.first = dict(num_points), first

    def __call__(self, data: Sample) -> Sample:
        numbers = {domain_number("SampleDomainPoints", data, name): n for name, n in self.num_points.items()}
        kept = np.ones(len(data["coord"]), dtype=bool)
        for number, count in numbers.items():
            own = np.flatnonzero(data[DOMAIN] == number)
            kept[(own if self.first else np.random.permutation(own))[count:]] = False
        return data if kept.all() else keep_points(data, np.flatnonzero(kept))


@TRANSFORMS.register_module()
class OneHotDomain:
    """Add ``domain_one_hot (N, D)``, float32: 1 in the column of a point's domain, by which a network tells them apart.

    ``D`` is the number of the data set's domains.
    """

    def __call__(self, data: Sample) -> Sample:
        names = domain_names("OneHotDomain", data)
        return with_point_field(data, "domain_one_hot", np.eye(len(names), dtype=np.float32)[data[DOMAIN]])


@TRANSFORMS.register_module()
class AddSurfaceDistance:
    """Add ``distance (N, 1)``, float32: from each point to the nearest point of a domain, there 0, by a k-d tree.

    In the unit of ``coord``, and as close to the distance to the surface itself as its points are dense: put it before
    the transform that leaves out points.

    Args:
        surface: the domain to which distances are taken.
        signed: the name of a field of outward normals (N, d); distances to points inside of the surface are then
            negative. None: none is.
    """

    def __init__(self, surface: str = "surface", signed: str | None = None) -> None:
        self.surface, self.signed = surface, signed

    def __call__(self, data: Sample) -> Sample:
        own = np.flatnonzero(data[DOMAIN] == domain_number("AddSurfaceDistance", data, self.surface))
        coord = data["coord"]
        if not len(own):
            raise InputError(f"AddSurfaceDistance: sample has no points of {self.surface!r}, wanted at least one")
        distance, index = cKDTree(coord[own]).query(coord)
        if self.signed is not None:
            normal = data.get(self.signed)
            if not isinstance(normal, np.ndarray) or normal.shape != coord.shape:
                raise InputError(f"AddSurfaceDistance: sample has no field {self.signed!r} like coord {coord.shape}")
            from_surface = coord - coord[own][index]
            distance = np.where((from_surface * normal[own][index]).sum(1) < 0, -distance, distance)
        distance[own] = 0.0
        return with_point_field(data, "distance", distance[:, None].astype(np.float32))


def domain_names(transform: str, data: Sample) -> tuple[str, ...]:
    """The names of a sample's domains. Raises InputError for a sample that has none."""
    if DOMAIN not in data or DOMAIN_NAMES not in data:
        raise InputError(f"{transform}: sample has no domains, wanted a data set that has (JointFieldDataset)")
    return tuple(data[DOMAIN_NAMES])


def domain_number(transform: str, data: Sample, name: str) -> int:
    """The number of a domain. Raises InputError for a name that is none."""
    names = domain_names(transform, data)
    if name not in names:
        raise InputError(f"{transform}: got domain {name!r}, wanted one of {list(names)}{nearest(name, names)}")
    return names.index(name)
