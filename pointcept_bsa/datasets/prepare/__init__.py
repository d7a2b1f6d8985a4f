"""From raw downloads to prepared folders; ``tools/prepare_data.py`` is the command.

A new data set is one module here and one line in ``PREPARERS``.
"""

from __future__ import annotations

from collections.abc import Callable

from pointcept_bsa.datasets.prepare.periodic_hills import prepare_periodic_hills
from pointcept_bsa.datasets.prepare.shapenet_car import prepare_shapenet_car
from pointcept_bsa.errors import InputError, nearest

PREPARERS: dict[str, Callable[..., None]] = {
    "shapenet_car": prepare_shapenet_car,
    "periodic_hills": prepare_periodic_hills,
}


def prepare(dataset: str, **options) -> None:
    """Prepare ``dataset`` with the options of its function.

    Raises:
        InputError: an unknown data set, bad arguments or data.
    """
    if dataset not in PREPARERS:
        raise InputError(f"dataset: got {dataset!r}, wanted one of {list(PREPARERS)}{nearest(dataset, PREPARERS)}")
    PREPARERS[dataset](**options)
