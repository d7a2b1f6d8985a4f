"""A prediction on arrays: what ``tools/predict.py`` does with a file, without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from pointcept_bsa.analysis.prediction.inputs import prepare_input
from pointcept_bsa.analysis.prediction.network import Network, check_bounds
from pointcept_bsa.analysis.prediction.outputs import SPREAD, at_all_points, columns_of_targets
from pointcept_bsa.datasets.inputs import GLOBAL
from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io.mesh import Mesh, checked_mesh
from pointcept_bsa.training.evaluation.anchored import Anchors
from pointcept_bsa.training.evaluation.training_range import outside_range


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
            given[key] = _numbers(values, key, len(coord), name)
    mesh = checked_mesh(Mesh(coord, triangles, data), name)
    prepared = prepare_input(mesh, name, network, given)
    remarks = list(prepared.remarks)
    if network.training is not None and (outside := outside_range(prepared.sample, network.training)):
        remarks.append(f"outside the training range, an extrapolation: {'; '.join(outside)}")
    prediction = network.predict(prepared.sample, max_points, anchors)
    remarks += [] if prediction.remark is None else [prediction.remark]
    found = columns_of_targets(at_all_points(prediction.values, prepared.used, network), network)
    if prediction.spread is not None:
        spreads = columns_of_targets(at_all_points(prediction.spread, prepared.used, network), network)
        found |= {SPREAD + name: values for name, values in spreads.items()}
    return found | {name: np.asarray(value) for name, value in prediction.scalars.items()}, remarks


def _array(values: Any) -> np.ndarray:
    try:
        return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"points and fields: wanted arrays of numbers ({' '.join(str(error).split())})") from None


def _numbers(values: np.ndarray, key: str, count: int, name: str) -> str:
    """As ``--field`` has them: "50.0,4.0"."""
    if values.ndim > 1 or not values.size or values.dtype.kind not in "fiub":
        raise InputError(
            f"{name}: field {key!r} is {values.dtype} of shape {values.shape}, wanted a row for each of the {count} "
            "points, or the numbers that all of them share"
        )
    return ",".join(repr(float(value)) for value in values.ravel())
