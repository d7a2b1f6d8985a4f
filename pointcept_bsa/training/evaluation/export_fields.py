"""Tested samples as files for ParaView or numpy: truth, prediction and error on the points.

``N`` points, ``K`` target channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pointcept_bsa.datasets.inputs import in_files, physical_target
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.atomic import write_file
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.mesh_io import Mesh, write_mesh
from pointcept_bsa.samples import lengths, per_point_keys
from pointcept_bsa.training.evaluation.domains import mesh_of_view, views
from pointcept_bsa.training.evaluation.training_range import field_channels, target_of

FORMATS = ("vtp", "vtu", "vtk", "ply", "npz", "png")
OTHER_KEYS = ("coord", "target", "feat", "position", "grid_coord", "index_valid_keys")


def check_export(formats: Sequence[str], argument: str = "test.export") -> tuple[str, ...]:
    """The formats as a tuple. Raises InputError for one that is not known."""
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"{argument}: got {name!r}, wanted some of {list(FORMATS)}{nearest(name, FORMATS)}")
    return tuple(dict.fromkeys(formats))


class FieldExporter:
    """Writes ``<folder>/<sample>.<format>`` for every sample of a batch; ``png`` is left to the tester's pictures.

    A file has the points in physical units, the cells of the sample where it has them and all its points were predicted
    (formats that hold no volumes have its points alone, which is said once), its input fields, and ``truth_<name>``,
    ``predicted_<name>``, ``error_<name>`` (prediction - truth) and, where the model predicts one, ``spread_<name>`` (a
    standard deviation) of each target: of a field of several channels as one
    vector (of three components where there are two, the third 0, so that ParaView draws arrows), as predict writes it.
    A sample of several domains has a file for each, ``<sample>_<domain>.<format>``, with the fields of that domain.

    Args:
        folder: where to.
        formats: some of :data:`FORMATS`.
        dataset: the data set the batches come from.
        say: is given lines for the user.
    """

    def __init__(self, folder: Path, formats: Sequence[str], dataset: Any, say: Callable[[str], None] = print) -> None:
        self.say, self.said = say, set[str]()
        self.folder = folder
        self.formats = [name for name in check_export(formats) if name != "png"]
        self.dataset = dataset
        self.index = {dataset.get_data_name(i): i for i in range(len(dataset))} if self.formats else {}
        self.vectors = vector_channels(dataset) if self.formats else {}

    def __call__(self, batch: Mapping[str, Any], pred: Tensor, spread: Tensor | None = None) -> None:
        if not self.formats:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        coord = batch["position"] if "position" in batch else batch["coord"]
        points = lengths(batch)
        parts = (values.cpu().split(points) for values in (coord, batch["target"], pred.float()))
        domains = batch[DOMAIN].cpu().split(points) if DOMAIN in batch else [None] * len(points)
        spreads = [None] * len(points) if spread is None else spread.float().cpu().split(points)
        for name, place, truth, own, doubt, domain in zip(batch["name"], *parts, spreads, domains, strict=True):
            mesh = self.mesh_of(name, place.numpy(), truth.numpy(), own.numpy())
            if doubt is not None:
                mesh.point_data |= {f"spread_{c}": v.numpy() for c, v in zip(self.dataset.target_names, doubt.T)}
            mesh.point_data = with_vectors(mesh.point_data, self.vectors)
            every = views(self.dataset, None if domain is None else domain.numpy())
            for view, suffix in product(every, self.formats):
                path = self.folder / f"{view.suffixed(name.replace('/', '__'))}.{suffix}"
                part = mesh_of_view(mesh, view, every)
                self.write(path, part if part.cells else replace(part, cells=_vertices(len(part.points))))

    def write(self, path: Path, mesh: Mesh) -> None:
        """Write the file, without cells that its format has no place for."""
        try:
            write_mesh(path, mesh)
        except InputError as error:
            write_mesh(path, replace(mesh, cells=_vertices(len(mesh.points))))  # raises what is not about cells
            if path.suffix not in self.said:
                self.said.add(path.suffix)
                self.say(f"Export: {error}; {path.suffix} files have the points alone")

    def mesh_of(self, name: str, coord: np.ndarray, truth: np.ndarray, pred: np.ndarray) -> Mesh:
        """The sample with its fields."""
        raw = self.dataset.get_data(self.index[name])
        whole = len(raw["coord"]) == len(coord)  # else the transforms have left out points
        fields: dict[str, np.ndarray] = {}
        if whole:
            coord = raw["coord"]  # of the data set: transforms may have scaled it
            own = [key for key in per_point_keys(raw) if key not in OTHER_KEYS]
            fields |= {key: in_files(self.dataset, key, raw[key]) for key in own}
        error = pred - truth
        truth, pred = (physical_target(self.dataset, values) for values in (truth, pred))
        for k, channel in enumerate(self.dataset.target_names):
            fields[f"truth_{channel}"] = truth[:, k]
            fields[f"predicted_{channel}"] = pred[:, k]
            fields[f"error_{channel}"] = error[:, k]
        cells = self.cells_of(name, raw) if whole else {}
        return Mesh(in_files(self.dataset, "coord", coord).astype(np.float64), cells or _vertices(len(coord)), fields)

    def cells_of(self, name: str, raw: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The cells of a sample by type; none where the data set has none."""
        if (face := raw.get("face")) is not None:
            return {"triangle" if face.shape[1] == 3 else "quad": face.astype(np.int64)}
        return self.dataset.cells(self.index[name]) if hasattr(self.dataset, "cells") else {}


def _vertices(count: int) -> dict[str, np.ndarray]:
    return {"vertex": np.arange(count, dtype=np.int64)[:, None]}


def vector_channels(dataset: Any) -> dict[str, list[str]]:
    """Target fields of several channels -> names of their channels."""
    target = target_of(dataset)
    names = {field: target["names"][own] for field, own in field_channels(target["fields"])}
    return {field: own for field, own in names.items() if len(own) > 1}


def with_vectors(fields: Mapping[str, np.ndarray], vectors: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """The fields with ``truth_``, ``predicted_``, ``error_`` and ``spread_`` of several channels put together, (N, 3
    or more), where they are."""
    joined = dict(fields)
    for field, channels in vectors.items():
        for kind in ("truth", "predicted", "error", "spread"):
            if f"{kind}_{channels[0]}" not in joined:
                continue
            columns = np.stack([joined.pop(f"{kind}_{channel}") for channel in channels], axis=1)
            joined[f"{kind}_{field}"] = np.pad(columns, ((0, 0), (0, max(0, 3 - len(channels)))))
    return joined


def faces_of(dataset: Any, index: int, num_points: int) -> np.ndarray | None:
    """The faces of a sample, if it has any and all of its points are there."""
    raw = dataset.get_data(index)
    return raw.get("face") if len(raw["coord"]) == num_points else None


def save_predictions(
    folder: Path, dataset: Any, batch: Mapping[str, Any], pred: Tensor, spread: Tensor | None = None
) -> None:
    """Write ``<folder>/<name>.npz`` for each sample of a batch, whole or not at all: coord, target, pred, maybe spread.

    Args:
        folder: where to.
        dataset: which the batch comes from.
        batch: with ``coord``, ``target``, ``offset`` and ``name``.
        pred: (N, K), physical units.
        spread: (N, K) standard deviation.
    """
    arrays = {"coord": batch[where(batch)], "target": batch["target"], "pred": pred.float()}
    arrays |= {} if spread is None else {"spread": spread.float()}
    arrays |= {DOMAIN: batch[DOMAIN]} if DOMAIN in batch else {}
    parts = {key: value.cpu().split(lengths(batch)) for key, value in arrays.items()}
    for i, name in enumerate(batch["name"]):
        own = {key: values[i].numpy() for key, values in parts.items()}
        own |= {
            "coord": in_files(dataset, "coord", own["coord"]),
            **{key: physical_target(dataset, own[key]) for key in ("target", "pred")},
        }
        write_file(folder / (name.replace("/", "__") + ".npz"), partial(np.savez, **own))


def where(batch: Mapping[str, Any]) -> str:
    """Key of the coordinates as the data set gave them: transforms that scale them keep them as ``position``."""
    return "position" if "position" in batch else "coord"


def domain_of_points(batch: Mapping[str, Any]) -> np.ndarray | None:
    """(N,) whose the points of a batch are; None where there are no domains."""
    return batch[DOMAIN].cpu().numpy() if DOMAIN in batch else None
