"""Left ventricle: passive filling of one heart chamber with changing material.

Data: D. Dalton, H. Gao, D. Husmeier, "Emulation of cardiac mechanics using Graph Neural Networks", Computer Methods in
Applied Mechanics and Engineering 401 (2022) 115645: the validation simulations of its fixed geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.host import DATASETS

SEED = 0
COUNTS = (11, 2, 2)
PROTOCOL = f"11/2/2, seed {SEED}"


@DATASETS.register_module()
class VentricleDataset(FolderDataset):
    """Nodes of the ventricle's wall (6784, 3) -> displacement (6784, 3). The geometry is fixed, the material changes.

    Args:
        data_root: the folder that ``tools/prepare_data.py ventricle`` made.
        fields: given beside the coordinates: "node_features" (N, 10), as in the source: two flags of the boundary and
            eight numbers from -1 to 1, fibre directions among them; "material" (N, 4), standardised: the transformed
            parameters of the material law.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown field.
    """

    name = "ventricle"
    command = "ventricle"
    raw = "lv_passive_fem_15.npz"
    columns = {"displacement": 3, "node_features": 10}
    global_fields = {"material": 4}
    vertices_correspond = True
    target_fields = ("displacement",)
    target_names = ("displacement_x", "displacement_y", "displacement_z")
    target_units = ("unit of the mesh",) * 3

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/ventricle",
        fields: Sequence[str] = ("node_features", "material"),
        **common: Any,
    ) -> None:
        super().__init__(split, data_root, fields=fields, **common)

    def notes(self) -> list[str]:
        return ["fixed geometry; two test samples only: a check of the pipeline, not a benchmark"]
