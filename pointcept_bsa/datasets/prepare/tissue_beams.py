"""Soft tissue beams: from ``soft_tissue_beams_fem.npz`` to the prepared folder."""

from __future__ import annotations

from pointcept_bsa.datasets.arrays import read_npz
from pointcept_bsa.datasets.prepare.samples import (
    Arrays,
    check_shapes,
    fractions,
    seeded_split,
    source_file,
    write_samples,
)
from pointcept_bsa.datasets.tissue_beams import BEAMS, SEED

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
