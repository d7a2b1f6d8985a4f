"""Declaring that a target of own data is the pressure on a surface, and of which stream: drag and lift rest on it.

``{"field": "pressure", "density": 1.2, "velocity": 30.0, "flow": [1, 0, 0], "up": [0, 0, 1], "coefficient": False}``:
density and velocity of the stream that all samples were in, its direction and that of lift. Where each sample has a
stream of its own the target is better a pressure coefficient (``coefficient``), which needs neither. ``"shear"``: the
target that is the wall shear stress, three numbers a point in the unit of the pressure, which then counts in forces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from pointcept_bsa.datasets.custom.recipe import field_key
from pointcept_bsa.datasets.inputs import FieldInfo
from pointcept_bsa.errors import InputError, nearest

DIRECTIONS, NUMBERS = ("flow", "up"), ("density", "velocity")
KEYS = (*NUMBERS, *DIRECTIONS, "coefficient", "shear")
EXAMPLE = "--surface-pressure pressure density=1.2 velocity=30 flow=1,0,0 up=0,0,1"


def parse_surface_pressure(words: Sequence[str]) -> dict[str, Any] | None:
    """The declaration that the words of ``--surface-pressure`` make; None for none. Raises InputError."""
    if not words:
        return None
    found: dict[str, Any] = {"field": words[0]}
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key not in KEYS or key in found or (key == "coefficient") != (not value):
            raise InputError(f"--surface-pressure: got {word!r}{nearest(key, KEYS)}, wanted it as in {EXAMPLE}")
        if key == "shear":
            found[key] = value
            continue
        try:
            numbers = [float(part) for part in value.split(",")] if value else []
        except ValueError:
            raise InputError(f"--surface-pressure {word}: wanted numbers, as in {EXAMPLE}") from None
        found[key] = (numbers or True) if key not in NUMBERS or len(numbers) > 1 else numbers[0]
    return found


def checked_surface_pressure(
    declared: Mapping[str, Any] | None, target: Sequence[FieldInfo], dimension: int, argument: str
) -> dict[str, Any] | None:
    """The declaration with all its keys, its field by the key of the samples; None for None.

    Args:
        declared: ``field`` as the files name it.
        target: the fields of the target.
        dimension: of space.
        argument: what an error names.

    Raises:
        InputError: a field that is no target or a vector, flat clouds, keys that are missing, numbers without sense.
    """
    if declared is None:
        return None
    if not isinstance(declared, Mapping) or not isinstance(declared.get("field"), str):
        raise InputError(f"{argument}: got {declared!r}, wanted a dict with the field that is the pressure")
    for key in declared:
        if key not in (*KEYS, "field"):
            raise InputError(f"{argument}: got {key!r}, wanted some of {['field', *KEYS]}{nearest(str(key), KEYS)}")
    columns = {info.key: info.columns for info in target}
    field = field_key(declared["field"])
    if field not in columns:
        raise InputError(
            f"{argument}: got {declared['field']!r}, wanted a target of {list(columns)}{nearest(field, columns)}"
        )
    if columns[field] != 1 or dimension != 3:
        what = f"has {columns[field]} columns" if columns[field] != 1 else "is of flat clouds"
        raise InputError(f"{argument}: {declared['field']!r} {what}, wanted one number a point of a surface in space")
    found: dict[str, Any] = {"field": field} | _shear(declared.get("shear"), columns, argument)
    coefficient = declared.get("coefficient", False)
    if not isinstance(coefficient, bool):
        raise InputError(f"{argument}: got coefficient={coefficient!r}, wanted True or False")
    found["coefficient"] = coefficient
    for key in NUMBERS:
        value = declared.get(key, 1.0 if coefficient else None)
        if not _is_number(value) or not 0 < value < float("inf"):
            raise InputError(f"{argument}: got {key}={value!r}, wanted a positive number, as in {EXAMPLE}")
        found[key] = float(value)
    for key in DIRECTIONS:
        found[key] = _direction(declared.get(key), f"{argument}: got {key}=")
    flow, up = found["flow"], found["up"]
    across, lengths = (sum(a * b for a, b in zip(*pair, strict=True)) for pair in ((flow, up), (flow, flow)))
    if abs(across) > 1e-3 * (lengths * sum(x * x for x in up)) ** 0.5:
        raise InputError(f"{argument}: got up={up}, wanted a direction across the stream {flow}")
    return found


def bare_lines(declared: object, samples: Sequence[str], faces: Set[str]) -> list[str]:
    """What to say of a declaration where those of the samples have faces: nothing where all have."""
    bare = [name for name in samples if name not in faces]
    if declared is None or not bare:
        return []
    which = (
        "no sample has faces" if len(bare) == len(samples) else f"{len(bare)} of {len(samples)} samples have no faces"
    )
    return [f"--surface-pressure: {which}, over which a test would integrate it: no drag and lift there"]


def _shear(name: Any, columns: Mapping[str, int], argument: str) -> dict[str, str]:
    """The entry of the wall shear stress, by the key of the samples; none for None."""
    if name is None:
        return {}
    key = field_key(name) if isinstance(name, str) else ""
    if columns.get(key) != 3:
        vectors = [known for known, width in columns.items() if width == 3]
        raise InputError(f"{argument}: got shear={name!r}, wanted a target of three columns, of {vectors}")
    return {"shear": key}


def _direction(value: Any, fault: str) -> list[float]:
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(map(_is_number, value)):
        raise InputError(f"{fault}{value!r}, wanted three numbers, as in {EXAMPLE}")
    if not 0 < sum(x * x for x in value) < float("inf"):
        raise InputError(f"{fault}{value!r}, wanted a direction, not all 0")
    return [float(x) for x in value]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
