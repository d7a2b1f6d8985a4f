"""From a mesh or cloud to a sample as the network's data set would give it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.analysis.prediction.network import Network, Prediction
from pointcept_bsa.datasets.custom.features import used_points
from pointcept_bsa.datasets.custom.recipe import COLUMNS, FieldReader, MissingField, Recipe, without_loose_points
from pointcept_bsa.datasets.inputs import GLOBAL, FieldInfo, check_narrowed
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.domains import DOMAIN, DOMAIN_NAMES
from pointcept_bsa.mesh_io import Mesh
from pointcept_bsa.mesh_io.cells import WITH_POINTS
from pointcept_bsa.samples import names_points
from pointcept_bsa.training.evaluation.anchored import Anchors
from pointcept_bsa.training.evaluation.surface import Surface, outward_surface, point_normals, triangles_of
from pointcept_bsa.training.evaluation.training_range import outside_range

FLAT = 1e-9  # of the extent: how far points of a 2-D cloud may lie off their plane


@dataclass(frozen=True)
class Prepared:
    """A sample made of a mesh.

    Attributes:
        sample: ``coord``, ``name`` and the fields the network needs, physical units.
        used: (N,) True for points the network sees; points of no cell are left out of a mesh.
        surface: outward triangles, numbering the points of the mesh; None without faces.
        remarks: what was found and done.
    """

    sample: dict[str, Any]
    used: np.ndarray
    surface: Surface | None
    remarks: tuple[str, ...]


def predict_mesh(
    mesh: Mesh,
    name: str,
    network: Network,
    given: Mapping[str, str],
    max_points: int | None = None,
    anchors: Anchors | None = None,
) -> tuple[Prepared, Prediction, str | None]:
    """Build the sample, see :func:`prepare_input`, and predict on it.

    Returns:
        The sample, with all remarks; the prediction at its points; a line about an extrapolation, None where it is none
        or nothing is known.
    """
    prepared = prepare_input(mesh, name, network, given)
    outside = [] if network.training is None else outside_range(prepared.sample, network.training)
    prediction = network.predict(prepared.sample, max_points, anchors)
    more = () if prediction.remark is None else (prediction.remark,)
    warning = f"outside the training range, an extrapolation: {'; '.join(outside)}" if outside else None
    return replace(prepared, remarks=(*prepared.remarks, *more)), prediction, warning


def prepare_input(mesh: Mesh, name: str, network: Network, given: Mapping[str, str] | None = None) -> Prepared:
    """Build the sample.

    Fields are read as the data set of the training reads them, and ``InputDescription.sample`` makes the sample.

    Args:
        mesh: as read.
        name: of the file, for messages.
        network: what it needs.
        given: ``--field``: field -> the name of a field of the file (of its points, or one value for all), or numbers
            ("1.5" or "50,4,3e6"), the same at every point.

    Raises:
        InputError: no points, positions that are not finite, a 3-D cloud for a 2-D network, a field that is missing,
            of other columns, or that can be read in two ways.
    """
    remarks: list[str] = []
    used = _used_points(mesh, network)
    missing = "NaN" if network.labels is None else "-1"
    if not used.all():
        remarks.append(f"{int((~used).sum())} of {len(used)} points belong to no cell: not predicted ({missing})")
    if not used.any():
        raise InputError(f"{name}: has no points, wanted at least one")
    points = mesh.points[used]
    if not np.isfinite(points).all():
        raise InputError(f"{name}: points are NaN or infinite, wanted finite positions")
    triangle = triangles_of(mesh)
    surface = outward_surface(mesh.points, triangle) if len(triangle) and network.dimensions == 3 else None
    if surface is not None and surface.flipped:
        remarks.append(f"{surface.flipped} of {len(surface.triangle)} faces looked inward: {_turned_for(network)}")
    arrays = {"coord": _coordinates(points, network.dimensions, name)}
    source = _Source(mesh, used, surface, network, name, remarks)
    fields = _by_key(given or {}, network)
    for field, transform in network.needed_fields().items():
        values = source.read(field, transform, fields.pop(field, None))
        if not np.isfinite(values).all():
            raise InputError(f"{name}: field {field!r} has NaN or infinite values, wanted finite ones")
        arrays[field] = values
    if network.domains:
        arrays[DOMAIN] = _domains(arrays.get(DOMAIN), network, name)
    if fields:
        needed = list(network.needed_fields())
        raise InputError(f"--field {next(iter(fields))}: the network takes {needed or 'no field'}, not that one")
    made = network.inputs.sample(arrays)
    for key, values in made.items():
        check_narrowed(values, key, name)
        if len(values) == 1 < len(points):
            made[key] = np.repeat(values, len(points), axis=0)
    sample = {**made, "name": Path(name).stem, "index_valid_keys": list(made)}
    if network.domains:
        sample[DOMAIN_NAMES] = tuple(network.domains)
    return Prepared(sample, used, surface, tuple(remarks))


def _turned_for(network: Network) -> str:
    """What the faces were turned for: not for normals that the training, too, took as the faces are ordered."""
    info = network.inputs.info("normal")
    if info is not None and info.kind == "derived" and "normal" in network.needed_fields():
        return (
            "turned for forces, but not for normals, which are made of the faces as they are ordered, as in training; "
            "where the training's look outward, turn the faces of the file first"
        )
    return "turned for normals and forces"


def _domains(values: np.ndarray | None, network: Network, name: str) -> np.ndarray:
    """(n,) whose the points are, as integers. Raises InputError for a domain that the network does not know."""
    domains = list(network.domains)
    found = np.full(1, -1) if values is None else np.unique(values)
    if not np.isin(found, np.arange(len(domains))).all() or len(found) < len(domains):
        raise InputError(
            f"{name}: field {DOMAIN!r} has the values {found.tolist()[:9]}, wanted 0 to {len(domains) - 1}, each at "
            f"some points: the domains {domains}"
        )
    assert values is not None
    return values.reshape(-1).astype(np.int64)


def _by_key(given: Mapping[str, str], network: Network) -> dict[str, str]:
    """``--field`` by the keys of the samples: a field may be named as in the files of the training, too."""
    keys = {info.source: info.key for info in network.inputs.fields or ()}
    found: dict[str, str] = {}
    for name, value in given.items():
        key = keys.get(name, name)
        if key in found:
            raise InputError(f"--field: {name!r} is given twice (as {key!r}), wanted once")
        found[key] = value
    return found


def _used_points(mesh: Mesh, network: Network) -> np.ndarray:
    """(N,) True for points of some cell, or all where there are no cells, or where the training kept all.

    All, too, where cells of many points were left out in reading: points may belong to these.
    """
    unknown = not mesh.num_cells or any(name in WITH_POINTS for name in mesh.left_out)
    if unknown or not network.inputs.recipe.get("drop_loose_points", True):
        return np.ones(len(mesh.points), dtype=bool)
    return used_points(mesh.cells, len(mesh.points))


def _coordinates(points: np.ndarray, dimensions: int, name: str) -> np.ndarray:
    if dimensions == points.shape[1]:
        return points
    if dimensions == 2 and np.ptp(points[:, 2]) <= FLAT * max(float(np.ptp(points, axis=0).max()), 1e-300):
        return points[:, :2]
    raise InputError(
        f"{name}: z runs from {points[:, 2].min():.4g} to {points[:, 2].max():.4g}, wanted one value: the network was "
        "trained on 2-D clouds"
    )


class _Source:
    """Where the fields of a sample come from: the mesh of the points used, what was given, the faces."""

    def __init__(
        self,
        mesh: Mesh,
        used: np.ndarray,
        surface: Surface | None,
        network: Network,
        name: str,
        remarks: list[str],
    ) -> None:
        self.whole = mesh
        mesh = mesh if used.all() else without_loose_points(mesh, Path(name))
        recipe = network.inputs.recipe
        self.named = Recipe(cells_to_points=bool(recipe.get("cells_to_points")))
        self.deriving = replace(self.named, wall_mask=recipe.get("wall_mask"))
        self.reader = FieldReader(mesh, self.named, {}, Path(name), network.dimensions)
        self.mesh, self.used, self.surface, self.name, self.remarks = mesh, used, surface, name, remarks
        self.inputs = network.inputs

    def read(self, field: str, transform: str, given: str | None) -> np.ndarray:
        """Values (n, k) of a field, or (1, k): as given, else by the name it had in training, else from the faces."""
        if names_points(field):
            raise InputError(
                f"{self.name}: the network takes {field!r} ({transform}), which the data set of its training makes: no "
                "file can give it"
            )
        info = self.inputs.info(field) or FieldInfo(field, field, "mesh" if field in self.inputs.scales else "point", 0)
        values = _numbers(given)
        if values is None:
            try:
                values = self._named(info, given)
            except MissingField:
                raise self._missing(info, transform, given) from None
        if info.columns and values.shape[1] != info.columns:
            raise InputError(
                f"{self.name}: field {field!r} has {values.shape[1]} columns, wanted {info.columns} as in training"
                + (
                    f"; --field {field}='{given or info.source}[:{info.columns}]' takes the first"
                    * (values.shape[1] > info.columns)
                )
            )
        return values

    def _named(self, info: FieldInfo, given: str | None) -> np.ndarray:
        if given is None and info.key == "normal" and info.kind == "point" and info.source not in self.mesh.point_data:
            return self._outward_normals(info)
        if given is None and info.kind == "derived":
            return self._derived(info)
        values, kind = self.reader.read(given or info.source)
        if info.kind in GLOBAL and kind not in GLOBAL:
            if np.ptp(values, axis=0).any():
                raise InputError(
                    f"{self.name}: field {given or info.source!r} has a value a point, wanted one for the whole "
                    f"sample as in training; --field {info.key}=NUMBER"
                )
            return values[:1]
        if given is None and kind != info.kind and info.kind not in GLOBAL:
            if kind != "point":
                raise MissingField(f"{self.name}: {info.source!r} is {kind} data", info.source)
            self.remarks.append(f"{info.key}: data of the points; in training averaged from the cells")
        return values

    def _derived(self, info: FieldInfo) -> np.ndarray:
        """Worked out as in training, unless the file can give nothing but the field itself."""
        mesh, match = self.mesh, COLUMNS.fullmatch(info.source)
        base = match.group(1) if match else info.source
        own = {name: values for name, values in mesh.point_data.items() if name != base}
        bare = Mesh(mesh.points, mesh.cells, own, mesh.cell_data, mesh.field_data)
        reader = FieldReader(bare, self.deriving, {}, self.reader.path, self.reader.dimension)
        given = self.reader.read(info.source)[0] if base in mesh.point_data else None
        try:
            values, _ = reader.read(info.source)
        except InputError as error:
            if given is None:
                raise InputError(f"{error}; --field {info.key}=NAME or --field {info.key}=NUMBER gives it") from None
            self.remarks.append(f"{info.key}: from the file; in training worked out from the mesh")
            return given
        near = 1e-4 * np.abs(values).max()
        if given is not None and (given.shape != values.shape or not np.allclose(given, values, rtol=1e-4, atol=near)):
            raise InputError(
                f"{self.name}: the file's field {base!r} is not what the training worked out from the mesh, wanted "
                f"--field {info.key}={base} to take the file's, or a file without it"
            )
        return values

    def _outward_normals(self, info: FieldInfo) -> np.ndarray:
        if self.surface is None:
            raise MissingField(f"{self.name}: no faces", info.source)
        self.remarks.append(
            f"normals from the faces{'' if self.surface.closed else ' (an open surface: outward is a guess)'}"
        )
        return point_normals(self.whole.points, self.surface.triangle)[self.used]

    def _missing(self, info: FieldInfo, transform: str, given: str | None) -> InputError:
        """One line that names the field, what the file has, and how to give it."""
        source = given or info.source
        known = sorted([*self.mesh.point_data, *self.mesh.field_data])
        cells = f" (a cell field of that name cannot be used: {source!r})" if source in self.mesh.cell_data else ""
        faces = " or faces to compute it from" if info.key == "normal" and self.surface is None else ""
        kind = "value" if info.kind in GLOBAL else "point field"
        return InputError(
            f"{self.name}: has no {kind} {source!r}{faces}, which the network was trained with ({transform}); it has "
            f"{known}{nearest(source, known)}{cells}; give --field {info.key}=NAME or --field {info.key}=NUMBER"
        )


def _numbers(given: str | None) -> np.ndarray | None:
    """The numbers (1, k) in "50,4,3e6"; None if it is no list of numbers."""
    try:
        return None if given is None else np.array([[float(part) for part in given.split(",")]])
    except ValueError:
        return None
