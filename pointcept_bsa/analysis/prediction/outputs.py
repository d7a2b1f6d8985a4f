"""The prediction written onto the mesh it was made for, or given as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pointcept_bsa.analysis.prediction.inputs import predict_mesh
from pointcept_bsa.analysis.prediction.network import Network, Prediction, check_bounds
from pointcept_bsa.datasets.inputs import GLOBAL
from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import Mesh, check_writable
from pointcept_bsa.mesh_io.mesh import checked_mesh
from pointcept_bsa.training.evaluation.anchored import Anchors
from pointcept_bsa.training.evaluation.export_fields import as_vector
from pointcept_bsa.training.evaluation.training_range import field_channels

COARSE = 1e-4  # of the extent of a cloud
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
            whole = columns_of_targets(at_all_points(values, used, network), network)
            fields |= {prefix + name: as_vector(own) for name, own in whole.items()}
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

    PLY has no place for data of the whole mesh, drag and lift among them, a table for anything but points and their
    fields; the other formats have one for everything.

    Raises:
        InputError: cells or names that the format cannot hold.
    """
    remarks = []
    if path.suffix.lower() == ".ply" and mesh.field_data:
        names = ", ".join(sorted(mesh.field_data))
        remarks.append(f"PLY holds no data of the whole mesh: left out of {path.name}: {names}")
        mesh = replace(mesh, field_data={})
    if path.suffix.lower() == ".csv" and (mesh.cells or mesh.cell_data or mesh.field_data):
        lost = {*mesh.cell_data, *mesh.field_data} - {*mesh.point_data}  # a copy on the cells of what stays is no loss
        names = ", ".join(["the cells"] * bool(mesh.cells) + sorted(lost))
        remarks.append(f"a table holds points and their fields alone: left out of {path.name}: {names}")
        mesh = replace(mesh, cells={}, cell_data={}, field_data={})
    check_writable(path, mesh)
    return mesh, remarks


def at_all_points(pred: np.ndarray, used: np.ndarray, network: Network) -> np.ndarray:
    """(n, K) of the points ``used`` (N,) -> (N, K), NaN at the others; labels: -1."""
    whole = np.full((len(used), pred.shape[1]), np.nan if network.labels is None else -1, pred.dtype)
    whole[used] = pred
    return whole


def columns_of_targets(values: np.ndarray, network: Network) -> dict[str, np.ndarray]:
    """Columns (N, K) by target: (N,) for one column, else (N, k)."""
    parts = {name: values[:, own] for name, own in field_channels(network.targets)}
    return {name: part[:, 0] if part.shape[1] == 1 else part for name, part in parts.items()}


def cell_means(mesh: Mesh, values: np.ndarray) -> np.ndarray:
    """Mean over the points of each cell, in the order of ``mesh.cells``."""
    return np.concatenate([values[block].mean(1) for block in mesh.cells.values()])


def predict_arrays(
    network: Network,
    points: Any,
    fields: Mapping[str, Any],
    faces: Any = None,
    max_points: int | None = None,
    anchors: Anchors | None = None,
    name: str = "points",
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The targets at each point, and what the user should be told.

    Args:
        network: from ``open_network``.
        points: (N, d) positions, as all others an array, a tensor or nested lists.
        fields: by the name in the samples or in the files of the training: (N,) or (N, k), a value a point; or one
            number or k of them, the same at every point.
        faces: (F, 3) triangles of a surface, from which normals follow; points of no face are not predicted.
        max_points: larger clouds are predicted in random pieces.
        anchors: so many points, drawn at random, are encoded once, and all are predicted as queries of them; of
            several domains also {domain: so many}.
        name: of the cloud, for messages; random pieces are drawn by it.

    Returns:
        {target: (N,) or (N, k)} in physical units, NaN (labels: -1) where nothing was predicted, and lines of text. Of
        models that predict a variance ``spread_<target>``, a standard deviation, too; numbers of the whole cloud as
        arrays () by their names.

    Raises:
        InputError: what ``prepare_input`` refuses; faces that are no triangles; ``max_points`` or ``anchors`` below 1,
            or both.
    """
    check_bounds("", max_points, anchors)
    coord, triangles = _array(points), {} if faces is None else {"triangle": _array(faces)}
    for block in triangles.values():
        if block.ndim != 2 or block.shape[1] != 3:
            raise InputError(f"{name}: faces have shape {block.shape}, wanted (F, 3)")
    data, given = {}, {}
    for key, value in fields.items():
        values = _array(value)
        info = network.inputs.info(key)
        of_the_cloud = info is not None and info.kind in GLOBAL
        if values.ndim and len(values) == len(coord) and not of_the_cloud:
            data[key], given[key] = values, key
        else:
            columns = 0 if info is None else info.columns
            given[key] = _numbers(values, key, len(coord), name, columns)
    mesh = checked_mesh(Mesh(coord, triangles, data), name)
    prepared, prediction, warning = predict_mesh(mesh, name, network, given, max_points, anchors)
    remarks = [*coarse_points(coord), *prepared.remarks, *([] if warning is None else [warning])]
    found = columns_of_targets(at_all_points(prediction.values, prepared.used, network), network)
    if prediction.spread is not None:
        spreads = columns_of_targets(at_all_points(prediction.spread, prepared.used, network), network)
        found |= {SPREAD + name: values for name, values in spreads.items()}
    return found | {name: np.asarray(value) for name, value in prediction.scalars.items()}, remarks


def coarse_points(coord: np.ndarray) -> list[str]:
    """A line where positions (N, d) came in a type that rounds them by more than ``COARSE`` of their extent."""
    if coord.dtype.kind != "f" or coord.dtype.itemsize > 4 or len(coord) < 2:
        return []
    step, extent = float(np.spacing(np.abs(coord).max())), float(np.ptp(coord, axis=0).max())
    if step <= COARSE * extent:
        return []
    return [f"points: {coord.dtype} holds them to {step:.2g} alone, and they extend over {extent:.3g}: give float64"]


def _array(values: Any) -> np.ndarray:
    try:
        return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"points and fields: wanted arrays of numbers ({' '.join(str(error).split())})") from None


def _numbers(values: np.ndarray, key: str, count: int, name: str, columns: int) -> str:
    """As ``--field`` has them: "50.0,4.0"; ``columns`` of them, 0 for any number."""
    fits = values.size == columns if columns else values.size > 0
    if values.ndim > 1 or values.dtype.kind not in "fiub" or not fits:
        raise InputError(
            f"{name}: field {key!r} is {values.dtype} of shape {values.shape}, wanted a row for each of the {count} "
            f"points, or the {columns or 'few'} numbers that all of them share"
        )
    return ",".join(repr(float(value)) for value in values.ravel())
