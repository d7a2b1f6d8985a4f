"""AirFRANS, surface: from ``airfrans_surface_cp_200.npz`` to the prepared folder."""

from __future__ import annotations

import numpy as np

from pointcept_bsa.datasets.airfrans import COUNTS, PROTOCOL, SEED
from pointcept_bsa.datasets.arrays import read_npz
from pointcept_bsa.datasets.prepare.samples import (
    Arrays,
    check_offsets,
    check_shapes,
    fractions,
    seeded_split,
    source_file,
    write_samples,
)
from pointcept_bsa.errors import InputError

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
    if len(names) == sum(COUNTS):
        protocols = {PROTOCOL: seeded_split(names, COUNTS, SEED)}
    else:
        counts = fractions(len(names), 0.1, 0.1)
        protocols = {f"{'/'.join(map(str, counts))}, seed {SEED}": seeded_split(names, counts, SEED)}
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
