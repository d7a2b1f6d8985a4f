"""Data sets and transforms; importing this package registers them."""

from pointcept_bsa.datasets import (  # noqa: F401
    airfoil,
    airfrans,
    buckets,
    cosmology,
    eagle,
    elasticity,
    ellipsoid_flow,
    molecular_dynamics,
    nbody_box,
    periodic_hills,
    pipe,
    plasticity,
    point_field,
    point_labels,
    proteins,
    shapenet_car,
    tissue_beams,
    transforms,
    tree_transforms,
    ventricle,
)
