"""Data sets and transforms; importing this package registers them."""

from pointcept_bsa.datasets import (  # noqa: F401
    airfrans,
    cosmology,
    elasticity,
    ellipsoid_flow,
    nbody_box,
    periodic_hills,
    shapenet_car,
    tissue_beams,
    transforms,
    ventricle,
)
