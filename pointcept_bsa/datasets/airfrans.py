"""AirFRANS, surface: pressure coefficient on airfoils in turbulent flow.

Data: F. Bonnet, J. A. Mazari, P. Cinnella, P. Gallinari, "AirfRANS: High Fidelity Computational Fluid Dynamics Dataset
for Approximating Reynolds-Averaged Navier-Stokes Solutions", NeurIPS 2022; reduced to the surface by S. Jena et al.,
arXiv 2503.18638. The 200 airfoils are those of AirfRANS's test set, so that the split here is this package's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pointcept_bsa.datasets.arrays import read_npz
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.prepare.samples import Arrays, check_offsets, check_shapes, source_file, write_samples
from pointcept_bsa.datasets.prepare.splits import drawn_protocol
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

SEED = 0
COUNTS = (160, 20, 20)
PROTOCOL = f"160/20/20 of the 200 test airfoils, seed {SEED}"
FIELDS = ("coord", "cp", "cp_inviscid", "flow")
CARD = """# AirFRANS surface, prepared

Pressure coefficient on the surface of airfoils in incompressible turbulent flow (Reynolds-averaged Navier-Stokes); one
folder an airfoil, written by `tools/prepare_data.py airfrans`.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (N, 2) float32 | chord | points of the surface, chord of length 1 turned by the angle of attack |
| cp.npy | (N, 1) float32 | 1 | pressure coefficient |
| cp_inviscid.npy | (N, 1) float32 | 1 | pressure coefficient of an inviscid panel method |
| flow.npy | (1, 3) float32 | m/s, degrees, 1 | speed of the stream, angle of attack, Reynolds number |

Source: F. Bonnet, J. A. Mazari, P. Cinnella, P. Gallinari, "AirfRANS: High Fidelity Computational Fluid Dynamics
Dataset for Approximating Reynolds-Averaged Navier-Stokes Solutions", NeurIPS 2022 (data: Open Database License,
according to its authors); surface values and panel method: S. Jena et al., arXiv 2503.18638,
https://github.com/sankalpjena/airfoilGNN (AGPL-3.0), `data/airfrans_test_data_{GBF,PBF}.pt`, converted to
`airfrans_surface_cp_200.npz`. These are the 200 airfoils of AirfRANS's test set; nothing is left of its own split.
Here: 20 test, 20 validation, 160 training samples, drawn by `numpy.random.RandomState(0).permutation(200)` over the
order of the file (the first 20 test, the next 20 validation). Results do not compare with AirfRANS's own tables.
Statistics of the training split are in `stats.json`.
"""


@DATASETS.register_module()
class AirfRANSSurfaceDataset(FolderDataset):
    """Points of an airfoil's surface (N, 2), N = 120 .. 158 -> pressure coefficient Cp (N, 1).

    The chord has length 1 and is turned by the angle of attack.

    Args:
        data_root: the folder that ``tools/prepare_data.py airfrans`` made.
        fields: given beside the coordinates: "flow" (N, 3), standardised: speed of the stream (m/s), angle of attack
            (degrees), Reynolds number; "cp_inviscid" (N, 1), Cp of an inviscid panel method.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown field.
    """

    name = "airfrans_surface"
    command = "airfrans"
    raw = "airfrans_surface_cp_200.npz"
    dimensions = 2
    columns = {"cp": 1, "cp_inviscid": 1}
    global_fields = {"flow": 3}
    target_fields = ("cp",)
    target_names = ("cp",)
    target_units = ("1",)

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/airfrans",
        fields: Sequence[str] = ("flow",),
        **common: Any,
    ) -> None:
        super().__init__(split, data_root, fields=fields, **common)

    def notes(self) -> list[str]:
        notes = ["not AirfRANS's own split: the 200 airfoils of its test set, divided by this package"]
        if "cp_inviscid" in self.input_fields:
            notes.append("input holds the pressure coefficient of an inviscid panel method")
        return notes


def prepare_airfrans(src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False) -> None:
    """Write the prepared folder ``dst`` from the file ``src``; finished samples of an earlier run are kept.

    A file of another number of airfoils is divided in the same proportion, under a protocol of its own name.

    Raises:
        InputError: missing or foreign file, NaN in it, other data in ``dst``.
    """
    path = source_file(src, "airfrans_surface_cp_200.npz")
    arrays = read_npz(path, ("offsets", "points", "cp", "cp_inviscid", "params", "case"))
    names = [str(case) for case in arrays["case"].reshape(-1)]
    offsets, total = arrays["offsets"], len(arrays["points"])
    check_shapes(
        path, arrays, {"points": (total, 2), "cp": (total,), "cp_inviscid": (total,), "params": (len(names), 3)}
    )
    check_offsets(path, offsets, len(names), total)
    if len(set(names)) != len(names):
        raise InputError(f"{path}: 'case' has {len(names)} names, {len(set(names))} of them different, wanted all")
    protocols = drawn_protocol(names, COUNTS, SEED, PROTOCOL)
    index = {name: i for i, name in enumerate(names)}

    def load(name: str) -> tuple[Arrays, str]:
        i = index[name]
        rows = slice(int(offsets[i]), int(offsets[i + 1]))
        sample: dict[str, np.ndarray] = {
            "coord": arrays["points"][rows],
            "cp": arrays["cp"][rows, None],
            "cp_inviscid": arrays["cp_inviscid"][rows, None],
            "flow": arrays["params"][i : i + 1],
        }
        return sample, f"{path} case {name}"

    write_samples(dst, protocols, FIELDS, load, CARD, dry_run=dry_run, overwrite=overwrite, unit="airfoils")
