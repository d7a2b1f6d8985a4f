"""From raw downloads to prepared folders; ``tools/prepare_data.py`` is the command.

A new data set is one file here and one line in ``PREPARERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pointcept_bsa.datasets.airfoil import prepare_airfoil
from pointcept_bsa.datasets.airfrans import prepare_airfrans
from pointcept_bsa.datasets.car_sets.ahmedml import AHMEDML
from pointcept_bsa.datasets.car_sets.drivaerml import DRIVAERML
from pointcept_bsa.datasets.car_sets.drivaernet import DRIVAERNET
from pointcept_bsa.datasets.car_sets.windsorml import WINDSORML
from pointcept_bsa.datasets.cosmology import prepare_cosmology
from pointcept_bsa.datasets.eagle import prepare_eagle
from pointcept_bsa.datasets.elasticity import prepare_elasticity
from pointcept_bsa.datasets.molecular_dynamics import prepare_md
from pointcept_bsa.datasets.nbody_box import prepare_nbody
from pointcept_bsa.datasets.periodic_hills import prepare_periodic_hills
from pointcept_bsa.datasets.pipe import prepare_pipe
from pointcept_bsa.datasets.plasticity import prepare_plasticity
from pointcept_bsa.datasets.prepare.car_sets import prepare_car_set
from pointcept_bsa.datasets.prepare.custom import prepare_custom
from pointcept_bsa.datasets.proteins import prepare_proteins
from pointcept_bsa.datasets.shapenet_car import prepare_shapenet_car
from pointcept_bsa.datasets.tissue_beams import prepare_beams
from pointcept_bsa.datasets.ventricle import prepare_ventricle
from pointcept_bsa.errors import InputError, nearest

PREPARERS: dict[str, Callable[..., None]] = {
    "custom": prepare_custom,
    "shapenet_car": prepare_shapenet_car,
    "periodic_hills": prepare_periodic_hills,
    "elasticity": prepare_elasticity,
    "cosmology": prepare_cosmology,
    "airfrans": prepare_airfrans,
    "beams": prepare_beams,
    "ventricle": prepare_ventricle,
    "proteins": prepare_proteins,
    "nbody": prepare_nbody,
    "md": prepare_md,
    "airfoil": prepare_airfoil,
    "pipe": prepare_pipe,
    "plasticity": prepare_plasticity,
    "eagle": prepare_eagle,
    **{spec.name: partial(prepare_car_set, spec) for spec in (DRIVAERML, AHMEDML, WINDSORML, DRIVAERNET)},
}


def prepare(dataset: str, **options) -> None:
    """Prepare ``dataset`` with the options of its function.

    Raises:
        InputError: an unknown data set, bad arguments or data.
    """
    if dataset not in PREPARERS:
        raise InputError(f"dataset: got {dataset!r}, wanted one of {list(PREPARERS)}{nearest(dataset, PREPARERS)}")
    PREPARERS[dataset](**options)
