"""The recipe: which fields of your files become the target and the input, and how a file turns into a sample.

A field is named as in the file. Part of its columns: ``velocity[:2]``, ``velocity[0]``. Looked for, in this order:
data of the points, data of the cells (averaged to the points where the recipe says so), ``normal`` and
``wall_distance`` worked out here, the table of parameters, data of the mesh as a whole (field data of VTK files,
scalars of ``.npz`` archives).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pointcept_bsa.datasets.custom.features import (
    average_to_points,
    faces_of,
    most_frequent_at_points,
    point_normals,
    used_points,
    wall_distance,
)
from pointcept_bsa.datasets.custom.sources import read_source
from pointcept_bsa.datasets.custom.table import Table, no_row, parameters_of
from pointcept_bsa.datasets.inputs import GLOBAL, FieldInfo
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.mesh_io import Mesh
from pointcept_bsa.samples import known

FREE = ("target", "segment", "position", "domain")  # names of samples that fields of files may have, too
MADE = ("fourier",)  # by the transforms of the written configs
COLUMNS = re.compile(r"(.+)\[(\d{0,3})(:?)(\d{0,3})\]")
MAX_GLOBAL = 64  # numbers of one global field


class MissingField(InputError):
    """A file that has no field of the name ``field``."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


def check_used(recipe: Recipe, table: Table) -> None:
    """Raise ``InputError`` for a wall mask or a table of parameters that no field of the recipe asks for."""
    if recipe.wall_mask is not None and "wall_distance" not in (*recipe.target, *recipe.fields):
        raise InputError(f"wall_mask: got {recipe.wall_mask!r} but no field wall_distance, wanted both or none")
    columns = sorted({key for row in table.values() for key in row})
    asked = {match.group(1) if (match := COLUMNS.fullmatch(name)) else name for name in recipe.fields}
    if table and not asked.intersection(columns):
        rows = f"the first column has the names of the samples: {sorted(table)[:3]}"
        raise InputError(
            f"parameters: none of the columns {columns[:20]} is among the fields {list(recipe.fields)} ({rows})"
        )


@dataclass(frozen=True)
class Recipe:
    """How files turn into samples.

    Args:
        target: fields to be predicted, one value or vector a point.
        fields: fields given beside the coordinates.
        dimension: 2 or 3; None: 2 if z is the same at all points of the first sample.
        wall_mask: point field that is above 0.5 on the wall, for ``wall_distance``.
        cells_to_points: average cell data to the points.
        drop_loose_points: leave out points that belong to no cell.
        columns: names of the columns of ``.npy`` tables, "x", "y" (and "z") among them.
        label: the target that is a label: of cells the most frequent one comes to a point, not the mean.

    Raises:
        InputError: fields named twice, reserved names, wrong dimension.
    """

    target: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    dimension: int | None = None
    wall_mask: str | None = None
    cells_to_points: bool = False
    drop_loose_points: bool = False
    columns: tuple[str, ...] = ()
    label: str | None = None

    def __post_init__(self) -> None:
        if self.dimension not in (None, 2, 3):
            raise InputError(f"dimension: got {self.dimension!r}, wanted 2, 3 or None")
        names = [*self.target, *self.fields]
        keys = [field_key(name) for name in names]
        for name, key in zip(names, keys, strict=True):
            if keys.count(key) > 1:
                other = next((other for other in names if other != name and field_key(other) == key), name)
                alike = "" if other == name else f" (as {key!r}: {other!r} comes to the same)"
                raise InputError(f"target, fields: {name!r} is named twice{alike}, wanted different names")
            if (known(key) and key not in FREE) or (key in (*MADE, "target") and name in self.fields):
                raise InputError(f"target, fields: {name!r} is a name that samples use otherwise, wanted another one")
        if len(set(self.columns)) != len(self.columns):
            raise InputError(f"columns: got {list(self.columns)}, wanted different names")


class Sample(NamedTuple):
    """One sample: ``coord (N, d)``, fields (N, k), global fields (1, k), ``face`` if there is one; all its cells."""

    arrays: dict[str, np.ndarray]
    infos: dict[str, FieldInfo]
    cells: dict[str, np.ndarray]


def field_key(name: str) -> str:
    """Return the name of a field as it is used in samples and files: ``velocity[:2]`` -> ``velocity_2``."""
    key = re.sub(r"[^\w+-]+", "_", name, flags=re.ASCII).strip("_")
    if not key or len(key) > 100:
        raise InputError(f"target, fields: got the name {name[:120]!r}, wanted one with letters or digits, at most 100")
    return key


def read_sample(path: Path, name: str, recipe: Recipe, table: Table, dimension: int | None = None) -> Sample:
    """Return one sample; its fields as the recipe names them, float64.

    Args:
        dimension: of all samples; None: that of the recipe, else what this one has.

    Raises:
        MissingField: the file has not all fields.
        InputError: it cannot be read, or its fields do not fit.
    """
    return sample_of(read_source(path, recipe.columns), path, name, recipe, table, dimension)


def sample_of(mesh: Mesh, path: Path, name: str, recipe: Recipe, table: Table, dimension: int | None = None) -> Sample:
    """Return the sample of a mesh that was read from ``path``; see ``read_sample``."""
    if len(mesh.points) == 0:
        raise InputError(f"{path}: has no points, wanted at least one")
    if recipe.drop_loose_points:
        mesh = without_loose_points(mesh, path)
    space = dimension or recipe.dimension or detect_dimension(mesh.points)
    if space == 2 and detect_dimension(mesh.points) != 2:
        raise InputError(f"{path}: z is not the same at all points, wanted a flat cloud, or --dimension 3")
    absent = no_row(table, name)
    reader = FieldReader(mesh, recipe, parameters_of(table, name), path, space, absent)
    arrays = {"coord": mesh.points[:, :space]}
    infos = {}
    for source in (*recipe.target, *recipe.fields):
        key = field_key(source)
        values, kind = reader.read(source)
        if kind in GLOBAL and source in recipe.target:
            raise InputError(f"{path}: target {source!r} has one value a sample, wanted one a point")
        arrays[key] = values
        infos[key] = FieldInfo(key, source, kind, values.shape[1])
    face = faces_of(mesh.cells)
    if face is not None:
        arrays["face"] = face
    return Sample(arrays, infos, mesh.cells)


def detect_dimension(points: np.ndarray) -> int:
    """Return 2 if z is the same at all points, else 3."""
    return 2 if np.all(points[:, 2] == points[0, 2]) else 3


def available_fields(mesh: Mesh, table_row: dict[str, float]) -> dict[str, str]:
    """Return the fields a file has, name -> where they are."""
    found = dict.fromkeys(table_row, "parameter of the table")
    found |= dict.fromkeys(mesh.field_data, "one value a sample")
    found |= dict.fromkeys(mesh.cell_data, "cell data")
    return found | dict.fromkeys(mesh.point_data, "point data")


class FieldReader:
    """Reads fields of a mesh by name, as the recipe says; ``row``: the parameters of the table for this sample, and
    ``absent`` what to say of a table that has none."""

    def __init__(
        self, mesh: Mesh, recipe: Recipe, row: dict[str, float], path: Path, dimension: int, absent: str = ""
    ) -> None:
        self.mesh, self.recipe, self.row, self.path, self.dimension = mesh, recipe, row, path, dimension
        self.absent = absent

    def read(self, source: str) -> tuple[np.ndarray, str]:
        """Values (N, k), or (1, k) of a global field, and the kind."""
        whole = self._lookup(source)
        match = COLUMNS.fullmatch(source)
        if whole is not None:
            places = (self.mesh.point_data, self.mesh.cell_data, self.mesh.field_data, self.row)
            if match and any(match.group(1) in place for place in places):
                raise InputError(
                    f"{self.path}: {source!r} is a field and columns of {match.group(1)!r}, wanted one of them"
                )
            return whole
        found = self._lookup(match.group(1)) if match else None
        if match is None or found is None:
            names = [*available_fields(self.mesh, self.row)]
            asked = {source, match.group(1)} if match else {source}
            if asked & {*self.mesh.left_out}:
                wanted = "what is there under this name holds no real numbers (text, complex, objects), wanted numbers"
                raise MissingField(f"{self.path}: field {source!r}: {wanted}; it has {names[:20]}", source)
            hint = nearest(source, names) + self.absent
            if source == "wall_distance":
                hint += "; --wall-mask FIELD has it worked out"
            raise MissingField(f"{self.path}: has no field {source!r}, it has {names[:20]}{hint}", source)
        values, kind = found
        _, first, colon, last = match.groups()
        low = int(first or 0)
        high = int(last or values.shape[1]) if colon else low + 1
        if not low < high <= values.shape[1] or (last and not colon):
            raise InputError(f"{self.path}: {source!r}: the field has columns 0 to {values.shape[1] - 1}")
        return values[:, low:high], kind

    def _lookup(self, name: str) -> tuple[np.ndarray, str] | None:
        mesh = self.mesh
        places = [place for place in (mesh.point_data, mesh.cell_data, mesh.field_data) if name in place]
        if name in self.row and places:
            raise InputError(
                f"{self.path}: {name!r} is a field of the file and a parameter of the table, wanted one of them"
            )
        if name == "wall_distance" and self.recipe.wall_mask is not None and name in mesh.point_data:
            raise InputError(f"{self.path}: has a field 'wall_distance' of its own, wanted none with a wall mask")
        if name in mesh.point_data:
            return _columns(mesh.point_data[name]), "point"
        if name in mesh.cell_data:
            if not self.recipe.cells_to_points:
                raise MissingField(f"{self.path}: {name!r} is cell data, wanted point data, or --cells-to-points", name)
            to_points = most_frequent_at_points if name == self.recipe.label else average_to_points
            return to_points(mesh.cell_data[name], mesh.cells, len(mesh.points), self.path), "cell"
        if name == "normal":
            return point_normals(mesh.points, mesh.cells, self.dimension, self.path), "derived"
        if name == "wall_distance" and self.recipe.wall_mask is not None:
            mask, _ = self.read(self.recipe.wall_mask)
            return wall_distance(mesh.points[:, : self.dimension], mask, self.path), "derived"
        if name in self.row:
            return np.array([[self.row[name]]]), "table"
        if name in mesh.field_data:
            values = np.asarray(mesh.field_data[name], np.float64).reshape(1, -1)
            if not 1 <= values.shape[1] <= MAX_GLOBAL:
                raise InputError(f"{self.path}: {name!r} has {values.shape[1]} values, wanted one a point, or 1 to 64")
            return values, "mesh"
        return None


def _columns(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64).reshape(len(values), -1)


def without_loose_points(mesh: Mesh, path: Path) -> Mesh:
    """Return the mesh without the points that belong to no cell. Raises InputError if none belongs to one."""
    used = used_points(mesh.cells, len(mesh.points))
    if not used.any():
        raise InputError(f"{path}: no point belongs to a cell, wanted cells to tell which points are loose")
    new_number = np.cumsum(used) - 1
    return Mesh(
        mesh.points[used],
        {name: new_number[block] for name, block in mesh.cells.items()},
        {name: values[used] for name, values in mesh.point_data.items()},
        mesh.cell_data,
        mesh.field_data,
        mesh.left_out,
    )
