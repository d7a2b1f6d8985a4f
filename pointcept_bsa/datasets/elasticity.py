"""Elasticity: stress in a unit cell with a random void.

Data: Z. Li, D. Z. Huang, B. Liu, A. Anandkumar, "Fourier Neural Operator with Learned Deformations for PDEs on General
Geometries" (Geo-FNO), JMLR 24 (2023) 1-26. Raw data become the prepared folder by ``tools/prepare_data.py elasticity``.
"""

from __future__ import annotations

from typing import Any

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.host import DATASETS

NUM_MESHES = 2000
NUM_TRAIN = 1000
NUM_TEST = 200
PROTOCOL = "1000/200"


@DATASETS.register_module()
class ElasticityDataset(FolderDataset):
    """Points of a unit cell around a void (972, 2) -> stress (972, 1).

    Args:
        data_root: the folder that ``tools/prepare_data.py elasticity`` made.
        protocol: "1000/200": the first 1000 meshes train, the last 200 test (Geo-FNO, Transolver, Erwin, BSA);
            "partial"; None: the default that the prepared folder names.
        validation: "holdout": validation samples are drawn from the training samples and left out of training;
            "test": the papers' way: train on the whole training split, validate on the test samples.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown protocol or validation.
    """

    name = "elasticity"
    command = "elasticity"
    raw = "folder of Random_UnitCell_XY_10.npy and Random_UnitCell_sigma_10.npy"
    dimensions = 2
    columns = {"stress": 1}
    target_fields = ("stress",)
    target_names = ("stress",)
    target_units = ("unit of the source",)
    published = {PROTOCOL: {"mean": [187.7388], "std": [127.0829]}}  # as Erwin and BSA normalise

    def __init__(self, split: str = "train", data_root: str = "data/elasticity", **common: Any) -> None:
        super().__init__(split, data_root, **common)
