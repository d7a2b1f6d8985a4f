"""Cosmology: velocities of dark matter halos from their positions.

Data: J. Balla, S. Mishra-Sharma, C. Cuesta-Lazaro, T. Jaakkola, T. Smidt, "A Cosmic-Scale Benchmark for
Symmetry-Preserving Data Processing", 2024: the 5000 heaviest halos of each of many Quijote simulations.
Raw data become the prepared folder by ``tools/prepare_data.py cosmology``.
"""

from __future__ import annotations

from typing import Any

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.host import DATASETS

COUNTS = {"train": 8192, "val": 512, "test": 512}
PROTOCOL = "8192/512/512"
# As the published code normalises; configs/_base_/cosmology.py standardises the positions with these.
POSITION = {
    "mean": [499.91877075908684, 500.0947802559321, 499.964508664328],
    "std": [288.71092533309235, 288.7525818573022, 288.70234893905575],
}
VELOCITY = {
    "mean": [-0.0512854365234889, -0.01263126442198149, -0.06458034372345466],
    "std": [344.0231468131901, 343.9333673335964, 344.071876710777],
}


@DATASETS.register_module()
class CosmologyDataset(FolderDataset):
    """Halos of a simulation (5000, 3) -> velocity (5000, 3).

    Positions in a periodic box of 1000 Mpc/h; the model is told nothing of the periodicity.

    Args:
        data_root: the folder that ``tools/prepare_data.py cosmology`` made.
        protocol: "8192/512/512": the first so many simulations of each of the three sets of files (Erwin); "partial";
            None: the default that the prepared folder names.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown protocol.
    """

    name = "cosmology"
    command = "cosmology"
    raw = "folder of halos*.tfrecord"
    columns = {"velocity": 3}
    target_fields = ("velocity",)
    target_names = ("velocity_x", "velocity_y", "velocity_z")
    target_units = ("km/s",) * 3
    published = {PROTOCOL: VELOCITY}

    def __init__(self, split: str = "train", data_root: str = "data/cosmology", **common: Any) -> None:
        super().__init__(split, data_root, **common)

    def notes(self) -> list[str]:
        return ["published errors are the MSE of the standardised velocity: divide by the variance of the target"]
