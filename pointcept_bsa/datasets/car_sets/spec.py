"""What tells the sets of car simulations apart: where their files lie, what the arrays are called, units, licence.

Prepared, all of them look alike: a folder a case with ``surface_*.npy``, ``volume_*.npy`` and ``scalars.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KINEMATIC = "m2/s2"  # pressures and stresses of incompressible solvers, divided by the density
SHEAR = "mean wall shear stress, of OpenFOAM's sign: the force on the body is its negative"


@dataclass(frozen=True)
class Field:
    """A field of points.

    Args:
        name: as it is prepared.
        arrays: as the file has it: one array, or one a component in the order x, y, z.
        columns: numbers a point.
    """

    name: str
    arrays: tuple[str, ...]
    columns: int
    unit: str
    meaning: str


@dataclass(frozen=True)
class Source:
    """A file with ``fields``. ``pattern``: its place below the raw folder; ``{case}``, ``{number}``, ``{group}`` are
    those of the case, ``*`` is one folder of any name."""

    pattern: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Domain:
    """The points of a surface or a volume.

    Args:
        association: fields are those of "cell"s, whose centres are the points, or of "point"s.
        sources: the first gives the mesh; points of another are found again by their coordinates.
        inward: polygons run clockwise as seen from the flow, so that their area vectors point into the body.
        normals: array of outward normals of the points; without it they follow from the polygons.
    """

    name: str
    association: str
    sources: tuple[Source, ...]
    inward: bool = False
    normals: str | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(found for source in self.sources for found in source.fields)

    @property
    def geometry(self) -> tuple[Field, ...]:
        """What the mesh itself gives."""
        coord = Field("coord", (), 3, "m", "cell centres (mean of the corners)" if self.of_cells else "points")
        row = Field("row", (), 1, "", f"which {self.association} of the file it is, int32")
        if self.name != "surface":
            return (coord, row)
        area = "of the polygon" if self.of_cells else "of the polygons around, shared among their corners"
        normal = Field("normal", (), 3, "1", "unit normal, out of the body")
        return (coord, normal, Field("area", (), 1, "m2", f"area {area}"), row)

    @property
    def of_cells(self) -> bool:
        return self.association == "cell"


@dataclass(frozen=True)
class Coefficients:
    """A table of coefficients: a file a case with one row, or (``key``) one of all cases, the key in that column.

    ``columns``: name -> header, in any case of letters; further columns are kept under their headers, lower case.
    """

    pattern: str
    columns: Mapping[str, str]
    key: str | None = None


@dataclass(frozen=True)
class DrawnSplit:
    """Published ids that are those of ``torch.randperm(total, generator seed)`` plus ``first``, without ``held_back``,
    cut into ``parts`` in order; the last part takes what is left."""

    name: str
    total: int
    first: int
    seed: int
    parts: tuple[tuple[str, int], ...]
    held_back: tuple[int, ...] = ()


@dataclass(frozen=True)
class CarSet:
    """One set. ``prefix``: of the names of cases that are numbered; ``splits``: what ``--splits`` takes."""

    name: str
    title: str
    about: str
    surface: Domain
    volume: Domain
    scalars: Coefficients
    splits: str
    conditions: str
    source: str
    licence: str
    citation: str
    drawn: DrawnSplit | None = None
    prefix: str | None = "run_"
    up_axis: str = "z"
    notes: tuple[str, ...] = field(default_factory=tuple)

    def domain(self, name: str) -> Domain:
        return self.surface if name == "surface" else self.volume


DOMAINS = ("surface", "volume")
SCALARS = {  # names of coefficients -> what they are
    "drag_coefficient": "force along the stream over dynamic pressure and reference area",
    "lift_coefficient": "force upwards over dynamic pressure and reference area",
}
