"""Airfoil and pipe of Geo-FNO: from ``<name>_{X,Y,Q}.npy``, one structured mesh a sample, to the prepared folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointcept_bsa.datasets import airfoil, pipe
from pointcept_bsa.datasets.arrays import read_npy
from pointcept_bsa.datasets.prepare.samples import Arrays, write_samples
from pointcept_bsa.datasets.prepare.splits import ends_protocols
from pointcept_bsa.errors import InputError

NUM_TRAIN, NUM_TEST = 1000, 200
SOURCE = """Source: Z. Li, D. Z. Huang, B. Liu, A. Anandkumar, "Fourier Neural Operator with Learned Deformations for
PDEs on General Geometries", JMLR 24 (2023) 1-26. Download: the Google Drive folder that
https://github.com/neuraloperator/Geo-FNO names (PDE benchmarks), `{path}`. No licence is stated with the data. The
first 1000 samples train, the next 200 test; the others are not used and not written. `holdout` (a tenth of `train`,
drawn by `numpy.random.RandomState(1)`) is part of `train`: these samples serve as validation unless the papers' way
(validation = test) is asked for. Statistics of the whole training split (`train`, holdout included) are in
`stats.json`.
"""
AIRFOIL_CARD = (
    """# Airfoil, prepared

Steady inviscid transonic flow around airfoils (NACA-0012, deformed; free stream of Mach 0.8, no angle of attack) on
C-grids; one folder a flow, written by `tools/prepare_data.py airfoil`. Point `51 i + j` of the mesh has indices i, j.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (11271, 2) float32 | chord | points of the mesh, 221 x 51 |
| mach.npy | (11271, 1) float32 | 1 | Mach number: channel 4 of Q |

"""
    + SOURCE.format(path="airfoil/naca/NACA_Cylinder_{X,Y,Q}.npy")
    + "Protocol 1000/200 (Geo-FNO, Transolver, Erwin). Erwin's constants: mean 0.8163, standard deviation 0.1385.\n"
)
PIPE_CARD = (
    """# Pipe, prepared

Steady incompressible flow (viscosity 0.005) through pipes with curved centre lines; one folder a flow, written by
`tools/prepare_data.py pipe`. Point `129 i + j` of the mesh has the indices i, j.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (16641, 2) float32 | unit of the source | points of the mesh, 129 x 129 |
| velocity.npy | (16641, 1) float32 | unit of the source | horizontal velocity: channel 0 of Q |

"""
    + SOURCE.format(path="pipe/Pipe_{X,Y,Q}.npy")
    + """Protocol 1000/200 (Geo-FNO, Transolver) uses all points; protocol "1000/200 of 128 x 128" (Erwin) leaves out
the last row and column of the mesh, its constants are mean 0.1667 and standard deviation 0.0805.
"""
)


@dataclass(frozen=True)
class Benchmark:
    """One of the data sets.

    Attributes:
        prefix: of the file names.
        folders: where the files may lie below --src.
        mesh: points along both directions.
        channel: of Q that is the target.
        target: the field's name.
        protocols: those that the whole data have; the first is the default.
        card: text of the card.
    """

    prefix: str
    folders: tuple[str, ...]
    mesh: tuple[int, int]
    channel: int
    target: str
    protocols: tuple[str, ...]
    card: str


AIRFOIL = Benchmark(
    "NACA_Cylinder", ("", "naca", "airfoil/naca"), (221, 51), 4, "mach", (airfoil.PROTOCOL,), AIRFOIL_CARD
)
PIPE = Benchmark(
    "Pipe",
    ("", "pipe"),
    (pipe.SIDE, pipe.SIDE),
    0,
    "velocity",
    (pipe.PROTOCOL, pipe.CROPPED_PROTOCOL),
    PIPE_CARD,
)


def prepare_airfoil(src: str | None, dst: str, **options: bool) -> None:
    """Write the prepared folder of the airfoils; see :func:`prepare_meshes`."""
    prepare_meshes(AIRFOIL, src, dst, **options)


def prepare_pipe(src: str | None, dst: str, **options: bool) -> None:
    """Write the prepared folder of the pipes; see :func:`prepare_meshes`."""
    prepare_meshes(PIPE, src, dst, **options)


def prepare_meshes(
    benchmark: Benchmark,
    src: str | None,
    dst: str,
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    allow_partial: bool = False,
) -> None:
    """Write the prepared folder ``dst`` from the raw folder ``src``; finished samples of an earlier run are kept.

    Args:
        src: the folder of the three files, or one that holds it under its published name.
        allow_partial: accept fewer than 1200 samples, as protocol "partial".

    Raises:
        InputError: missing, foreign, truncated or wrongly turned files, NaN, other data in ``dst``.
    """
    x_file, y_file, q_file = find_raw_files(benchmark, src)
    x, y, q = read_npy(x_file), read_npy(y_file), read_npy(q_file)
    wanted = "(samples, {}, {})".format(*benchmark.mesh)
    for file, values in ((x_file, x), (y_file, y)):
        if values.shape[1:] != benchmark.mesh or len(values) != len(x):
            raise InputError(f"{file}: has shape {values.shape}, wanted {wanted}, as many samples as {x_file.name}")
    if q.ndim != 4 or q.shape[2:] != benchmark.mesh or len(q) != len(x) or q.shape[1] <= benchmark.channel:
        raise InputError(
            f"{q_file}: has shape {q.shape}, wanted ({len(x)}, more than {benchmark.channel}, "
            f"{benchmark.mesh[0]}, {benchmark.mesh[1]})"
        )
    whole = len(x) >= NUM_TRAIN + NUM_TEST
    names = [f"flow_{i:04d}" for i in range(NUM_TRAIN + NUM_TEST if whole else len(x))]
    counts = (NUM_TRAIN, NUM_TEST) if whole else None
    wanted = "" if allow_partial else f"at least {NUM_TRAIN + NUM_TEST}"
    protocols = ends_protocols(names, "samples", benchmark.protocols, counts, wanted)

    def load(name: str) -> tuple[Arrays, str]:
        i = int(name.removeprefix("flow_"))
        coord = np.stack([x[i].reshape(-1), y[i].reshape(-1)], axis=1)
        return {"coord": coord, benchmark.target: q[i, benchmark.channel].reshape(-1, 1)}, f"{q_file.parent} sample {i}"

    fields = ("coord", benchmark.target)
    write_samples(dst, protocols, fields, load, benchmark.card, dry_run=dry_run, overwrite=overwrite, unit="flows")


def find_raw_files(benchmark: Benchmark, src: str | None) -> list[Path]:
    """Return the files of X, Y and Q.

    Raises:
        InputError: they are not there.
    """
    names = [f"{benchmark.prefix}_{letter}.npy" for letter in "XYQ"]
    for folder in benchmark.folders if src is not None else ():
        files = [Path(str(src)) / folder / name for name in names]
        if all(file.is_file() for file in files):
            return files
    raise InputError(f"--src: got {src!r}, wanted a folder with {', '.join(names)}")
