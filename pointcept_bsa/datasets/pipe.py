"""Pipe: velocity of laminar flow through curved pipes.

Data: Z. Li, D. Z. Huang, B. Liu, A. Anandkumar, "Fourier Neural Operator with Learned Deformations for PDEs on General
Geometries" (Geo-FNO), JMLR 24 (2023) 1-26. Raw data become the prepared folder by ``tools/prepare_data.py pipe``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.prepare.structured_mesh import SOURCE, Benchmark, prepare_meshes
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

SIDE = 129
CROPPED = 128
PROTOCOL = "1000/200"
CROPPED_PROTOCOL = "1000/200 of 128 x 128"
CARD = (
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
RAW = Benchmark(
    "Pipe",
    ("", "pipe"),
    mesh=(SIDE, SIDE),
    channel=0,
    target="velocity",
    protocols=(PROTOCOL, CROPPED_PROTOCOL),
    card=CARD,
)


@DATASETS.register_module()
class PipeDataset(FolderDataset):
    """Points of a structured mesh of a pipe (16641 or 16384, 2) -> velocity along the pipe's axis (N, 1).

    Args:
        data_root: the folder that ``tools/prepare_data.py pipe`` made.
        protocol: the first 1000 flows train, the next 200 test. "1000/200": all 129 x 129 points (Geo-FNO, Transolver);
            "1000/200 of 128 x 128": the mesh without its last row and column (Erwin); "partial"; None: the default that
            the prepared folder names.
        validation: "holdout": validation samples are drawn from the training samples and left out of training;
            "test": the papers' way: train on the whole training split, validate on the test samples.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown protocol or validation.
    """

    name = "pipe"
    command = "pipe"
    raw = "folder of Pipe_{X,Y,Q}.npy"
    dimensions = 2
    columns = {"velocity": 1}
    target_fields = ("velocity",)
    target_names = ("velocity_x",)
    target_units = ("unit of the source",)
    published = {CROPPED_PROTOCOL: {"mean": [0.1667], "std": [0.0805]}}  # as Erwin normalises

    def __init__(self, split: str = "train", data_root: str = "data/pipe", **common: Any) -> None:
        super().__init__(split, data_root, **common)

    def load_fields(self, index: int) -> dict[str, Any]:
        fields = super().load_fields(index)
        if self.protocol != CROPPED_PROTOCOL:
            return fields
        for field, values in fields.items():
            if len(values) != SIDE**2:
                raise InputError(f"{self.where(index, field)}: has {len(values)} rows, wanted {SIDE**2}")
            fields[field] = crop(values)
        return fields


def crop(values: np.ndarray) -> np.ndarray:
    """Leave out the last row and column of the mesh: (129 * 129, k) -> (128 * 128, k)."""
    return values.reshape(SIDE, SIDE, -1)[:CROPPED, :CROPPED].reshape(CROPPED**2, -1)


def prepare_pipe(src: str | None, dst: str, **options: bool) -> None:
    """Write the prepared folder of the pipes; see :func:`prepare_meshes`."""
    prepare_meshes(RAW, src, dst, **options)
