"""Data sets whose points belong to domains: whether a model fits them, and what pictures and files of each are of.

``N`` points, ``K`` target channels of all domains together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.mesh_io import Mesh
from pointcept_bsa.training.evaluation.canvas import draw_fields, is_surface

SLAB = 0.15  # share of the points of a volume that its picture shows


def check_domains(model: Any, dataset: Any) -> None:
    """Raise ``InputError`` unless the model has a head for each domain of the data set, as wide as its targets.

    A data set without domains wants a model without, and the other way round.
    """
    wanted = domain_widths(dataset)
    given: Mapping[str, int] = getattr(model, "domains", None) or {}
    kind, data = type(model).__name__, type(dataset).__name__
    if not given and wanted and hasattr(model, "normalizer"):
        raise InputError(f"model: {kind} tells no domains apart, {data} has {list(wanted)}; wanted JointRegressor")
    if given and not wanted:
        raise InputError(f"model.domains: got {list(given)}, but {data} has no domains; wanted DefaultRegressor")
    for name in given:
        if name not in wanted:
            raise InputError(f"model.domains: got {name!r}, {data} has {list(wanted)}{nearest(name, list(wanted))}")
    if list(given) != list(wanted) and given:
        raise InputError(f"model.domains: got {list(given)}, wanted {list(wanted)} in the order of {data}")
    for name, width in given.items():
        if width != wanted[name]:
            raise InputError(
                f"model.domains.{name}.head.out_channels: got {width}, wanted {wanted[name]}: {_told(dataset, name)}"
            )


def domain_widths(dataset: Any) -> dict[str, int]:
    """Channels of the target by domain; empty for a data set without domains."""
    names = list(getattr(dataset, "target_names", ()))
    domains = getattr(dataset, "domains", None) or {}
    return {domain: sum(name.startswith(f"{domain}/") for name in names) for domain in domains}


@dataclass(frozen=True)
class View:
    """A domain of a cloud, or the whole of a cloud without domains.

    Attributes:
        name: of the domain; "" without domains.
        rows: (N,) which points it has; None: all.
        columns: which channels of the target.
        names, units: of these channels, without the name of the domain.
    """

    name: str
    rows: np.ndarray | None
    columns: slice
    names: tuple[str, ...]
    units: tuple[str, ...]

    def of(self, values: np.ndarray) -> np.ndarray:
        """The rows of this view."""
        return values if self.rows is None else values[self.rows]

    def targets(self, values: np.ndarray) -> np.ndarray:
        """Rows and channels of this view of (N, K) values."""
        return self.of(values)[:, self.columns]

    def faces(self, face: np.ndarray | None) -> np.ndarray | None:
        """The faces (F, 3 or 4) whose corners are all of this view, by its own numbers; None where there are none."""
        if face is None or self.rows is None:
            return face
        own = _renumbered(face, self.rows)
        return own if len(own) else None

    def suffixed(self, stem: str) -> str:
        """A file's name for this view."""
        return f"{stem}_{self.name}" if self.name else stem


def views(dataset: Any, domain: np.ndarray | None) -> list[View]:
    """The domains of one cloud with ``domain`` (N,); of a data set without domains the cloud itself."""
    names, units = tuple(dataset.target_names), tuple(dataset.target_units)
    widths = domain_widths(dataset)
    if not widths:
        return [View("", None, slice(None), names, units)]
    if domain is None:
        raise InputError(f"{DOMAIN}: missing from the batch, wanted it among the keys of CollectPoints")
    found, first = [], 0
    for number, (name, width) in enumerate(widths.items()):
        own = slice(first, first + width)
        short = tuple(channel.removeprefix(f"{name}/") for channel in names[own])
        found.append(View(name, domain == number, own, short, units[own]))
        first += width
    return found


def draw_view(
    path: Path, view: View, coord: np.ndarray, truth: np.ndarray, pred: np.ndarray, title: str, up: str, face: Any
) -> None:
    """Write the picture of a view of a cloud at ``coord`` (N, d), values (N, K); of a volume a slab through its middle.

    Args:
        up: the axis that points up; the slab holds it, and the axis after it.
        face: (F, 3 or 4) faces of the cloud, or None.
    """
    coord, truth, pred, face = view.of(coord), view.targets(truth), view.targets(pred), view.faces(face)
    if view.name and coord.shape[1] == 3 and face is None and len(coord) > 8 and not is_surface(coord):
        across = ("xyz".index(up) + 2) % 3
        middle = (coord[:, across].min() + coord[:, across].max()) / 2
        away = np.abs(coord[:, across] - middle)
        half = float(np.quantile(away, SLAB))
        kept = away <= half
        plane = [("xyz".index(up) + 1) % 3, "xyz".index(up)]
        title = f"{title}\n{view.name}, points within {half:.3g} of {'xyz'[across]} = {middle:.3g}"
        coord, truth, pred = coord[kept][:, plane], truth[kept], pred[kept]
    draw_fields(path, coord, target=truth, pred=pred, names=view.names, units=view.units, title=title, up=up, face=face)


def mesh_of_view(mesh: Mesh, view: View, others: list[View]) -> Mesh:
    """The points of a domain with its cells and fields; targets of ``others`` are left out, its own lose its name."""
    if view.rows is None:
        return mesh
    cells = {kind: own for kind, block in mesh.cells.items() if len(own := _renumbered(block, view.rows))}
    strange = tuple(f"_{other.name}/" for other in others if other.name != view.name)
    data = {
        name.replace(f"_{view.name}/", "_", 1): values[view.rows]
        for name, values in mesh.point_data.items()
        if name != DOMAIN and not any(part in name for part in strange)
    }
    return Mesh(mesh.points[view.rows], cells, data, {}, mesh.field_data)


def _renumbered(block: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those cells whose points are all among ``rows`` (N,), by their places among them."""
    number = np.cumsum(rows) - 1
    return number[block[rows[block].all(axis=1)]]


def _told(dataset: Any, domain: str) -> str:
    fields = getattr(dataset, "domains", {})[domain]
    return ", ".join(f"{name} {quantity.components}" for name, quantity in fields.items())
