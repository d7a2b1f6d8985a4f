"""Left ventricle: passive filling of one heart chamber with changing material.

Data: D. Dalton, H. Gao, D. Husmeier, "Emulation of cardiac mechanics using Graph Neural Networks", Computer Methods in
Applied Mechanics and Engineering 401 (2022) 115645: the validation simulations of its fixed geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pointcept_bsa.datasets.arrays import read_npz
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.prepare.samples import Arrays, check_shapes, source_file, write_samples
from pointcept_bsa.datasets.prepare.splits import drawn_protocol
from pointcept_bsa.host import DATASETS

SEED = 0
COUNTS = (11, 2, 2)
PROTOCOL = f"11/2/2, seed {SEED}"
FIELDS = ("coord", "node_features", "displacement", "material")
CARD = """# Left ventricle, prepared

Displacement of the wall of one left ventricle under filling pressure, finite elements; one folder a simulation, written
by `tools/prepare_data.py ventricle`.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (6784, 3) float32 | unit of the mesh | nodes at rest, the same in every simulation (by their size: cm) |
| displacement.npy | (6784, 3) float32 | unit of the mesh | displacement |
| node_features.npy | (6784, 10) float32 | 1 | two flags of the boundary, eight numbers from -1 to 1 |
| material.npy | (1, 4) float32 | 1 | parameters of the material law, transformed as in the source |

Source: D. Dalton, H. Gao, D. Husmeier, "Emulation of cardiac mechanics using Graph Neural Networks", Computer Methods
in Applied Mechanics and Engineering 401 (2022) 115645; https://github.com/dodaltuin/passive-lv-gnn-emul (MIT),
`data/lvDataFixedGeom/rawData/validation`, converted to `lv_passive_fem_15.npz`. These 15 are the source's validation
simulations. Here: 2 test, 2 validation, 11 training samples, drawn by `numpy.random.RandomState(0).permutation(15)`
(the first 2 test, the next 2 validation). Statistics of the training split are in `stats.json`.
"""


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


def prepare_ventricle(src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False) -> None:
    """Write the prepared folder ``dst`` from the file ``src``; finished samples of an earlier run are kept.

    A file of another number of simulations is divided in the same proportion, under a protocol of its own name.

    Raises:
        InputError: missing or foreign file, NaN in it, other data in ``dst``.
    """
    path = source_file(src, "lv_passive_fem_15.npz")
    arrays = read_npz(path, ("points", "node_features", "params", "displacement"))
    count, nodes = len(arrays["params"]), len(arrays["points"])
    check_shapes(
        path,
        arrays,
        {
            "points": (nodes, 3),
            "node_features": (nodes, 10),
            "params": (count, 4),
            "displacement": (count, nodes, 3),
        },
    )
    names = [f"simulation_{i:02d}" for i in range(count)]
    protocols = drawn_protocol(names, COUNTS, SEED, PROTOCOL)

    def load(name: str) -> tuple[Arrays, str]:
        i = names.index(name)
        sample = {
            "coord": arrays["points"],
            "node_features": arrays["node_features"],
            "displacement": arrays["displacement"][i],
            "material": arrays["params"][i : i + 1],
        }
        return sample, f"{path} {name}"

    write_samples(dst, protocols, FIELDS, load, CARD, dry_run=dry_run, overwrite=overwrite, unit="simulations")
