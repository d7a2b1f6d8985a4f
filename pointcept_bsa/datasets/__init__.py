"""Data sets and transforms; importing this package registers them."""

from pointcept_bsa.datasets import (  # noqa: F401
    ellipsoid_flow,
    periodic_hills,
    shapenet_car,
    transforms,
)
