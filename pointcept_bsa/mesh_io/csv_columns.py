"""What the columns of a table are by their names: coordinates, fields, components of fields.

Names stay as they are in the file, units among them. Coordinates, in any case: ``x``, ``y``, ``z`` and
``x-coordinate``, .. (Fluent), both also with a unit in brackets (``X [ m ]`` of CFX, ``X (m)`` of STAR-CCM+), and
``Points:0`` or ``Points_0``, .. (ParaView). Without the third they are those of a plane.

Components of one field, where all are there: ``U:0``, ``U:1``, .. and ``U_0``, .. (ParaView, OpenFOAM); ``U_x``,
``U:x``, ``Wall Shear X [ Pa ]``; ``Velocity u [ m s^-1 ]``, v, w (CFX); ``Velocity[i] (m/s)``, j, k (STAR-CCM+);
``x-velocity``, .. (Fluent). Two letters are enough in a plane.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

UNIT = r"((?:\s*(?:\[[^\[\]]*\]|\([^()]*\)))?)"
PLACES = (
    re.compile(r"points[:_]([012xyz])", re.IGNORECASE),
    re.compile(rf"([xyz]){UNIT}", re.IGNORECASE),
    re.compile(rf"([xyz])-coordinate{UNIT}", re.IGNORECASE),
)
NUMBERED = (re.compile(r"(?P<stem>.+):(?P<part>0|[1-9]\d{0,2})"), re.compile(r"(?P<stem>.+)_(?P<part>0|[1-9]\d{0,2})"))
LETTERED = (
    re.compile(rf"(?P<stem>.+)[ _:](?P<part>[xyzXYZ])(?P<rest>{UNIT})"),
    re.compile(rf"(?P<stem>.+) (?P<part>[uvw])(?P<rest>{UNIT})"),
    re.compile(rf"(?P<stem>.+)\[(?P<part>[ijk])\](?P<rest>{UNIT})"),
    re.compile(r"(?P<part>[xyz])-(?P<stem>.+)"),
)
LETTERS = ("xyz", "uvw", "ijk")
LONGEST = 200  # characters of a name that is looked into


class Columns(NamedTuple):
    """Columns by number.

    Attributes:
        axes: of x, y (and z) one column or more; these must be equal, as exports have coordinates twice.
        fields: name -> its columns, one a component.
        repeated: columns with the name of an earlier one, and that one: these must be equal, too.
        nameless: columns without a name.
    """

    axes: tuple[tuple[int, ...], ...]
    fields: dict[str, tuple[int, ...]]
    repeated: tuple[tuple[int, int], ...]
    nameless: tuple[int, ...]


def columns_of(names: Sequence[str]) -> Columns | None:
    """What the columns called ``names`` are; None without coordinates."""
    axes = _axes(names)
    if len(axes) < 2:
        return None
    taken = {column for own in axes for column in own}
    first: dict[str, int] = {}
    repeated = []
    for column, name in enumerate(names):
        if column not in taken and name and first.setdefault(name, column) != column:
            repeated.append((first[name], column))
    nameless = tuple(column for column, name in enumerate(names) if not name)
    return Columns(axes, _fields(first, len(axes) == 2), tuple(repeated), nameless)


def _axes(names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Columns of x, y (and z) in the styles that have x and y at least: ``y`` beside ``Points:0`` is a field."""
    axes: tuple[list[int], ...] = ([], [], [])
    for style in PLACES:
        own: tuple[list[int], ...] = ([], [], [])
        for column, name in enumerate(names):
            found = style.fullmatch(name) if len(name) <= LONGEST else None
            if found is not None:
                own["012xyz".index(found.group(1).lower()) % 3].append(column)
        if own[0] and own[1]:
            for all_of_axis, of_style in zip(axes, own, strict=True):
                all_of_axis += of_style
    return tuple(tuple(own) for own in axes if own)


def _fields(columns: dict[str, int], plane: bool) -> dict[str, tuple[int, ...]]:
    """Fields of the columns, in their order; components are put together unless a column has that name already."""
    groups: dict[tuple[int, str], dict[int, int]] = {}
    for name, column in columns.items():
        for kind, joined, part in _components(name):
            group = groups.setdefault((kind, joined), {})
            group[part] = column if part not in group else -1  # U_x and U_X
    whole: dict[str, tuple[int, ...]] = {}
    used: set[int] = set()
    for (kind, joined), parts in groups.items():
        own = tuple(parts.get(part, -1) for part in range(len(parts)))
        wanted = len(own) >= 2 if kind < len(NUMBERED) else len(own) == 3 or (plane and len(own) == 2)
        if wanted and -1 not in own and not used & set(own) and joined not in whole and joined not in columns:
            whole[joined] = own
            used |= set(own)
    singles = {name: (column,) for name, column in columns.items() if column not in used}
    return dict(sorted((singles | whole).items(), key=lambda item: min(item[1])))


def _components(name: str) -> list[tuple[int, str, int]]:
    """(style, name of the field, number of the component) for each style that ``name`` is a component in."""
    if len(name) > LONGEST:
        return []
    found = []
    for kind, style in enumerate(NUMBERED):
        if (numbered := style.fullmatch(name)) is not None:
            found.append((kind, numbered["stem"], int(numbered["part"])))
    for kind, style in enumerate(LETTERED, len(NUMBERED)):
        if (lettered := style.fullmatch(name)) is not None:
            parts = lettered.groupdict()
            letter = parts["part"].lower()
            number = next(letters.index(letter) for letters in LETTERS if letter in letters)
            found.append((kind, parts["stem"].rstrip() + parts.get("rest", ""), number))
    return found
