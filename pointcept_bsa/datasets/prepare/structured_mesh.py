"""What airfoil and pipe of Geo-FNO share: ``<name>_{X,Y,Q}.npy``, one structured mesh a sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
