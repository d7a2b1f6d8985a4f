"""The prediction written onto the mesh it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.analysis.prediction.network import Network, Prediction
from pointcept_bsa.mesh_io import Mesh, check_writable

PREFIX, SPREAD = "predicted_", "spread_"


def with_prediction(
    mesh: Mesh, used: np.ndarray, prediction: Prediction, network: Network, forces: Mapping[str, Any] | None
) -> Mesh:
    """The mesh with all its fields and ``predicted_<target>`` on points and, where there are cells, on cells.

    Args:
        mesh: as read.
        used: (N,) points that the prediction (n, K) is of; the others get NaN.
        prediction: its spread becomes ``spread_<target>``, its scalars field data.
        network: names of the targets. A target of 2 or 3 columns is written as a vector (the third 0), so that ParaView
            draws arrows; a cell's value is the mean of its points. Labels are integers, on points alone, -1 where
            there is none.
        forces: written as field data.
    """
    fields: dict[str, np.ndarray] = {}
    for prefix, values in ((PREFIX, prediction.values), (SPREAD, prediction.spread)):
        if values is not None:
            whole = split_targets(at_all_points(values, used, network), network)
            fields |= {prefix + name: own for name, own in whole.items()}
    averaged = fields if mesh.num_cells and network.labels is None else {}
    of_cells = {name: cell_means(mesh, values) for name, values in averaged.items()}
    field_data = mesh.field_data | {PREFIX + name: np.array([value]) for name, value in prediction.scalars.items()}
    if forces is not None:
        for group in ("coefficients", "newtons", "newton_metres"):
            for name, value in forces[group].items():
                field_data[f"{PREFIX}{name}_{group[:-1]}"] = np.array([value])
    return Mesh(mesh.points, mesh.cells, {**mesh.point_data, **fields}, {**mesh.cell_data, **of_cells}, field_data)


def fitted(mesh: Mesh, path: Path) -> tuple[Mesh, list[str]]:
    """The mesh without what the format of ``path`` has no place for, and a line that says what was left out.

    PLY has no place for data of the whole mesh, drag and lift among them; the other formats have one for everything.

    Raises:
        InputError: cells or names that the format cannot hold.
    """
    remarks = []
    if path.suffix.lower() == ".ply" and mesh.field_data:
        names = ", ".join(sorted(mesh.field_data))
        remarks.append(f"PLY holds no data of the whole mesh: left out of {path.name}: {names}")
        mesh = replace(mesh, field_data={})
    check_writable(path, mesh)
    return mesh, remarks


def at_all_points(pred: np.ndarray, used: np.ndarray, network: Network) -> np.ndarray:
    """(n, K) of the points ``used`` (N,) -> (N, K), NaN at the others; labels: -1."""
    whole = np.full((len(used), pred.shape[1]), np.nan if network.labels is None else -1, pred.dtype)
    whole[used] = pred
    return whole


def columns_of_targets(values: np.ndarray, network: Network) -> dict[str, np.ndarray]:
    """Columns (N, K) by target: (N,) for one column, else (N, k)."""
    found, first = {}, 0
    for name, width in network.targets:
        part = values[:, first : first + width]
        found[name] = part[:, 0] if width == 1 else part
        first += width
    return found


def split_targets(values: np.ndarray, network: Network) -> dict[str, np.ndarray]:
    """:func:`columns_of_targets` with (N, 3) for two columns."""
    columns = columns_of_targets(values, network)
    return {name: np.pad(v, ((0, 0), (0, 1))) if v.shape[1:] == (2,) else v for name, v in columns.items()}


def cell_means(mesh: Mesh, values: np.ndarray) -> np.ndarray:
    """Mean over the points of each cell, in the order of ``mesh.cells``."""
    return np.concatenate([values[block].mean(1) for block in mesh.cells.values()])
