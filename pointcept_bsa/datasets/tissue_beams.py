"""Soft tissue beams: displacement of three hyperelastic beams.

Data: D. Dalton, D. Husmeier, H. Gao, "Physics-informed graph neural network emulation of soft-tissue mechanics",
Computer Methods in Applied Mechanics and Engineering 417 (2023) 116351: its finite element test simulations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pointcept_bsa.datasets.arrays import read_npz
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.prepare.samples import Arrays, check_shapes, source_file, write_samples
from pointcept_bsa.datasets.prepare.splits import fractions, seeded_split
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import DATASETS

SEED = 0
BEAMS = {  # beam -> unit of length
    "OnceClampedBeam": "cm",
    "TwiceClampedBeam": "cm",
    "TwistingBeam": "edge of the cube",
}
FIELDS = ("coord", "displacement", "material")
CARD = """# Soft tissue beams, prepared

Displacement of three neo-Hookean beams, computed with finite elements (FEniCS); one folder a simulation, written by
`tools/prepare_data.py beams`. Each beam is a protocol of its own.

| beam | simulations | nodes | loaded by | material.npy | lengths |
|---|---|---|---|---|---|
| OnceClampedBeam | 100 | 390 | gravity | Lame parameters mu, lambda (g cm^-1 s^-2) | cm |
| TwiceClampedBeam | 100 | 390 | gravity | Lame parameters mu, lambda (g cm^-1 s^-2) | cm |
| TwistingBeam | 50 | 343 | a twisted face | Young's modulus, Poisson's ratio | edge of the cube |

| file | shape | meaning |
|---|---|---|
| coord.npy | (N, 3) float32 | nodes at rest, the same in every simulation of a beam |
| displacement.npy | (N, 3) float32 | displacement, in the unit of coord |
| material.npy | (1, 2) float32 | material parameters |

Source: D. Dalton, D. Husmeier, H. Gao, "Physics-informed graph neural network emulation of soft-tissue mechanics",
Computer Methods in Applied Mechanics and Engineering 417 (2023) 116351; https://github.com/dodaltuin/soft-tissue-pignn
(MIT), `data/<beam>/simulationData/test`, converted to `soft_tissue_beams_fem.npz`. The units are those of its load
(gravity 980 cm s^-2) and its material law, which for the once clamped beam is taken to be that of the twice clamped
one. The source has these simulations for testing only (it trains on the energy, without data). Here every beam's
simulations are divided 80/10/10 (percent) by `numpy.random.RandomState(0).permutation`: first the test, then the
validation samples. Statistics of each training split are in `stats.json`.
"""


@DATASETS.register_module()
class TissueBeamsDataset(FolderDataset):
    """Nodes of a beam (N, 3) -> displacement (N, 3). The geometry is fixed, the material changes.

    N = 390 for the clamped beams, 343 for the twisting one (a unit cube).

    Args:
        beam: "OnceClampedBeam" or "TwiceClampedBeam" (bent by gravity, 100 simulations each), "TwistingBeam" (50).
            Each is a task and a protocol of its own.
        data_root: the folder that ``tools/prepare_data.py beams`` made; it holds all three.
        fields: given beside the coordinates: "material" (N, 2), standardised: the Lame parameters mu and lambda of the
            clamped beams, Young's modulus and Poisson's ratio of the twisting one.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: an unknown beam or field, missing or foreign data.
    """

    name = "tissue_beams"
    command = "beams"
    raw = "soft_tissue_beams_fem.npz"
    columns = {"displacement": 3}
    global_fields = {"material": 2}
    vertices_correspond = True
    target_fields = ("displacement",)
    target_names = ("displacement_x", "displacement_y", "displacement_z")

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/beams",
        beam: str = "OnceClampedBeam",
        fields: Sequence[str] = ("material",),
        **common: Any,
    ) -> None:
        if beam not in BEAMS:
            raise InputError(f"beam: got {beam!r}, wanted one of {list(BEAMS)}{nearest(beam, BEAMS)}")
        self.beam = beam
        self.target_units = (BEAMS[beam],) * 3
        super().__init__(split, data_root, protocol=beam, fields=fields, **common)

    def notes(self) -> list[str]:
        return [f"fixed geometry, split of the simulations by this package (seed {SEED})"]


def prepare_beams(src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False) -> None:
    """Write the prepared folder ``dst`` from the file ``src``; finished samples of an earlier run are kept.

    Raises:
        InputError: missing or foreign file, NaN in it, other data in ``dst``.
    """
    path = source_file(src, "soft_tissue_beams_fem.npz")
    arrays = read_npz(path, [f"{beam}_{key}" for beam in BEAMS for key in ("points", "params", "displacement")])
    protocols = {}
    for beam in BEAMS:
        count, nodes = len(arrays[f"{beam}_params"]), len(arrays[f"{beam}_points"])
        check_shapes(
            path,
            arrays,
            {
                f"{beam}_points": (nodes, 3),
                f"{beam}_params": (count, 2),
                f"{beam}_displacement": (count, nodes, 3),
            },
        )
        names = [f"{beam}/{i:03d}" for i in range(count)]
        protocols[beam] = seeded_split(names, fractions(count, 0.1, 0.1), SEED)

    def load(name: str) -> tuple[Arrays, str]:
        beam, _, number = name.partition("/")
        i = int(number)
        sample = {
            "coord": arrays[f"{beam}_points"],
            "displacement": arrays[f"{beam}_displacement"][i],
            "material": arrays[f"{beam}_params"][i : i + 1],
        }
        return sample, f"{path} simulation {name}"

    write_samples(dst, protocols, FIELDS, load, CARD, dry_run=dry_run, overwrite=overwrite, unit="simulations")
