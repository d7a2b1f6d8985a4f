"""Tested samples as files for ParaView or numpy: truth, prediction and error on the points.

``N`` points, ``K`` target channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from pointcept_bsa.training.evaluation.domains import draw_view, mesh_of_view, views
from pointcept_bsa.training.evaluation.training_range import field_channels, target_of

FORMATS = ("vtp", "vtu", "vtk", "ply", "npz", "csv", "png")
OTHER_KEYS = ("coord", "target", "feat", "position", "grid_coord", "index_valid_keys")


def check_export(formats: Sequence[str]) -> tuple[str, ...]:
    """The formats as a tuple. Raises InputError for one that is not known."""
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"test.export: got {name!r}, wanted some of {list(FORMATS)}{nearest(name, FORMATS)}")
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
        self.target = target_of(dataset) if self.formats else {}

    def __call__(self, batch: Mapping[str, Any], pred: Tensor, spread: Tensor | None = None) -> None:
        if not self.formats:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        points = lengths(batch)
        parts = (values.cpu().split(points) for values in (batch[where(batch)], batch["target"], pred.float()))
        domains = batch[DOMAIN].cpu().split(points) if DOMAIN in batch else [None] * len(points)
        spreads = [None] * len(points) if spread is None else spread.float().cpu().split(points)
        for name, place, truth, own, doubt, domain in zip(batch["name"], *parts, spreads, domains, strict=True):
            mesh = self.mesh_of(name, place.numpy(), truth.numpy(), own.numpy(), doubt)
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

    def mesh_of(self, name: str, coord: np.ndarray, truth: np.ndarray, pred: np.ndarray, spread: Tensor | None) -> Mesh:
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
        kinds = {"truth": truth, "predicted": pred, "error": error}
        kinds |= {} if spread is None else {"spread": spread.numpy()}
        for field, part in field_channels(self.target["fields"]):
            channels = self.target["names"][part]
            for kind, values in kinds.items():
                if len(channels) == 1:
                    fields[f"{kind}_{channels[0]}"] = values[:, part.start]
                else:
                    fields[f"{kind}_{field}"] = as_vector(values[:, part])
        cells = self.cells_of(name, raw) if whole else {}
        return Mesh(in_files(self.dataset, "coord", coord).astype(np.float64), cells or _vertices(len(coord)), fields)

    def cells_of(self, name: str, raw: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The cells of a sample by type; none where the data set has none."""
        if (face := raw.get("face")) is not None:
            return {"triangle" if face.shape[1] == 3 else "quad": face.astype(np.int64)}
        return self.dataset.cells(self.index[name]) if hasattr(self.dataset, "cells") else {}


def _vertices(count: int) -> dict[str, np.ndarray]:
    return {"vertex": np.arange(count, dtype=np.int64)[:, None]}


def as_vector(values: np.ndarray) -> np.ndarray:
    """Values of two components (N, 2) with a third, 0, so that ParaView draws arrows; others as they are."""
    return np.pad(values, ((0, 0), (0, 1))) if values.shape[1:] == (2,) else values


def faces_of(dataset: Any, index: int, num_points: int) -> np.ndarray | None:
    """The faces of a sample, if it has any and all of its points are there."""
    raw = dataset.get_data(index)
    return raw.get("face") if len(raw["coord"]) == num_points else None


def draw_pictures(
    dataset: Any, index: int, batch: Mapping[str, Any], pred: np.ndarray, stem: Path, title: Callable[[str], str]
) -> Iterator[Path]:
    """Draw truth, prediction and error on a batch of one sample: ``<stem>.png``, or ``<stem>_<domain>.png`` of each.

    Args:
        dataset, index: where the sample is from.
        batch: with ``coord`` and ``target``.
        pred: (N, K) as the model has made it.
        stem: path without suffix.
        title: of the name of a domain, "" without domains.

    Returns:
        Each path when it is drawn.
    """
    coord = batch[where(batch)].cpu().numpy()
    face, up = faces_of(dataset, index, len(coord)), getattr(dataset, "up_axis", "z")
    coord = in_files(dataset, "coord", coord)
    truth, pred = (physical_target(dataset, values) for values in (batch["target"].cpu().numpy(), pred))
    for view in views(dataset, domain_of_points(batch)):
        path = stem.with_name(f"{view.suffixed(stem.name)}.png")
        draw_view(path, view, coord=coord, truth=truth, pred=pred, title=title(view.name), up=up, face=face)
        yield path


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
