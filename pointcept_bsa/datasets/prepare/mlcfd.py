"""The raw ShapeNet-Car data, ``mlcfd_data``: ``param0 .. param8 / <id> / {press.npy, quadpress_smpl.vtk}``."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from pointcept_bsa.datasets.arrays import check_finite, read_npy
from pointcept_bsa.datasets.prepare.layout import Protocols
from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.vtk_legacy import read_vtk

RAW_FILES = ("press.npy", "quadpress_smpl.vtk")
NUM_CARS = 889
NUM_TEST = 189
NUM_HOLDOUT = 50
HOLDOUT_SEED = 1
RAW_POINTS = 3682
LOOSE = slice(16, 112)  # of the 3682 raw points these 96 belong to no face
BAD_FOLDERS = frozenset(  # without a mesh
    {
        "param2/854bb96a96a4d1b338acbabdc1252e2f",
        "param2/85bb9748c3836e566f81b21e2305c824",
        "param5/9ec13da6190ab1a3dd141480e2c154d3",
        "param8/c5079a5b8d59220bc3fb0d224baae2a",
    }
)
_HEADER = re.compile(rb"^[ \t]*(POINTS|CELLS|CELL_TYPES)[ \t]+(\d{1,18})", re.MULTILINE | re.IGNORECASE)


def find_param_root(src: Path) -> Path:
    """Return the folder that holds param0 .. param8: ``src`` or one at most three levels below.

    Raises:
        InputError: there is none.
    """
    if not src.is_dir():
        raise InputError(f"--src: {str(src)!r} is not there, wanted the raw mlcfd_data folder or shapenet_car_mini.npz")
    for pattern in ("param[0-8]", "*/param[0-8]", "*/*/param[0-8]", "*/*/*/param[0-8]"):
        for found in sorted(src.glob(pattern)):
            if found.is_dir() and "__MACOSX" not in found.parts:
                return found.parent
    raise InputError(f"--src: {src} has no folders param0 .. param8, wanted the raw mlcfd_data folder")


def usable_folders(root: Path) -> list[str]:
    """Return the ids ``param<k>/<name>`` of all cars in order, without the four bad folders."""
    ids = []
    for k in range(9):
        param = root / f"param{k}"
        if param.is_dir():
            ids += [f"param{k}/{entry.name}" for entry in sorted(param.iterdir()) if entry.is_dir()]
    return [i for i in ids if i not in BAD_FOLDERS and not i.partition("/")[2].startswith(".")]


def full_protocols(ids: list[str]) -> Protocols:
    """Return protocols A and B over the 889 sorted ids."""
    train = [i for i in ids if not i.startswith("param0/")]
    test = [i for i in ids if i.startswith("param0/")]
    return {"A": random_split(ids, NUM_TEST), "B": {"train": train, "test": test, "holdout": holdout(train)}}


def random_split(ids: list[str], num_test: int) -> dict[str, list[str]]:
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0)).tolist()
    chosen = set(order[:num_test])
    train = [name for i, name in enumerate(ids) if i not in chosen]
    return {"train": train, "test": [ids[i] for i in sorted(chosen)], "holdout": holdout(train)}


def holdout(train: list[str], count: int | None = None) -> list[str]:
    """Return ``count`` training samples that validate (None: a tenth, at most 50), in the order of ``train``."""
    count = min(NUM_HOLDOUT, len(train) // 10) if count is None else count
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(HOLDOUT_SEED)).tolist()
    return [train[i] for i in sorted(order[:count])]


def load_raw_car(folder: Path) -> dict[str, np.ndarray]:
    """Read one raw car and leave out the points that belong to no face.

    Raises:
        InputError: a missing, foreign or truncated file, counts that do not match, unexpected loose points.
    """
    mesh_file, pressure_file = folder / "quadpress_smpl.vtk", folder / "press.npy"
    points, quads = read_quad_mesh(mesh_file)
    pressure = np.asarray(read_npy(pressure_file)).reshape(-1)
    if len(pressure) != len(points):
        raise InputError(
            f"{pressure_file}: has {len(pressure)} values, wanted {len(points)} (points of {mesh_file.name})"
        )
    used = np.zeros(len(points), dtype=bool)
    used[quads] = True
    if len(points) == RAW_POINTS:
        _check_loose_points(used, mesh_file)
    renumbered = np.cumsum(used) - 1
    return checked_arrays(points[used], pressure[used], renumbered[quads], str(mesh_file), str(pressure_file))


def _check_loose_points(used: np.ndarray, mesh_file: Path) -> None:
    """The points without a face must be exactly those that the published preparation cuts away."""
    expected = np.ones(RAW_POINTS, dtype=bool)
    expected[LOOSE] = False
    if not np.array_equal(used, expected):
        loose = np.flatnonzero(~used)
        span = f" between {loose.min()} and {loose.max()}" if len(loose) else ""
        raise InputError(f"{mesh_file}: {len(loose)} points{span} belong to no face, wanted the 96 points 16 to 111")


def checked_arrays(
    points: np.ndarray, pressure: np.ndarray, face: np.ndarray | None, points_from: str, pressure_from: str
) -> dict[str, np.ndarray]:
    """Return what a prepared car holds (float32, int32 faces) after checking shapes and numbers.

    Raises:
        InputError: names the place that the wrong array comes from.
    """
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise InputError(f"{points_from}: points have shape {points.shape}, wanted (N, 3) with at least one point")
    if pressure.shape != (len(points),):
        raise InputError(f"{pressure_from}: pressure has shape {pressure.shape}, wanted ({len(points)},)")
    check_finite(points, "coord", points_from)
    check_finite(pressure, "pressure", pressure_from)
    arrays = {"coord": points.astype(np.float32), "pressure": pressure.astype(np.float32)}
    if face is not None:
        arrays["face"] = face.astype(np.int32)
    return arrays


def read_quad_mesh(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (P, 3) float32 and quads (F, 4) int64 of a legacy VTK unstructured grid.

    Raises:
        InputError: missing, foreign or truncated file, cells other than quads, a quad naming a point that is not there.
    """
    path = Path(path)
    announced = _announced_counts(path)
    mesh = read_vtk(path)
    points = mesh.points
    if len(points) != announced["POINTS"]:
        raise InputError(f"{path}: {len(points)} points read, wanted {announced['POINTS']} as its header says")
    if list(mesh.cells) != ["quad"]:
        raise InputError(f"{path}: cells are {list(mesh.cells)}, wanted quads only")
    quads = mesh.cells["quad"]
    if not len(quads) == announced["CELLS"] == announced["CELL_TYPES"]:
        raise InputError(f"{path}: {len(quads)} quads read, wanted {announced['CELLS']} as its header says")
    if quads.min() < 0 or quads.max() >= len(points):
        raise InputError(f"{path}: quads name points {quads.min()} to {quads.max()}, wanted 0 to {len(points) - 1}")
    return points.astype(np.float32), quads


def _announced_counts(path: Path) -> dict[str, int]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a legacy VTK file") from None
    if not content.startswith(b"# vtk DataFile"):
        raise InputError(f"{path}: is not a legacy VTK file (it does not begin with '# vtk DataFile')")
    counts = {name.decode().upper(): int(number) for name, number in _HEADER.findall(content)}
    missing = [name for name in ("POINTS", "CELLS", "CELL_TYPES") if name not in counts]
    if missing:
        raise InputError(f"{path}: has no section {missing[0]}, wanted a whole unstructured grid")
    return counts
