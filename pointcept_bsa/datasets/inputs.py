"""How arrays become a sample: the one definition that data sets and ``tools/predict.py`` share.

A data set describes itself by an ``InputDescription``; it is plain data, kept in ``training_range.json`` beside a run
and in the metadata of exported weights. Letters: N points, k columns of a field, d dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.samples import names_points

GLOBAL = ("table", "mesh")  # kinds of fields that have one value a sample
KINDS = ("point", "cell", "derived", *GLOBAL)
RECIPE_OPTIONS = ("wall_mask", "cells_to_points", "drop_loose_points")
# Beyond so many half-widths from 0 a constant is subtracted before float32, whose 24 bits would go to the constant.
FAR_COORD, FAR_FIELD = 100.0, 1000.0


class FieldInfo(NamedTuple):
    """What a field of a sample is."""

    key: str
    source: str
    kind: str  # "point", "cell" (averaged), "derived", "table" or "mesh"
    columns: int


@dataclass(frozen=True)
class InputDescription:
    """What is done to the arrays of a sample before the transforms of the config see it.

    Args:
        dimension: columns of ``coord``; None: as they come.
        fields: given beside the coordinates; None: not recorded, each is a field of the points.
        scales: {field: {"mean", "std"}} of the fields that come standardised.
        offsets: {field: [k numbers]} subtracted before the values become float32, those of the target among them.
        transform: configs of transforms that the data set puts before those of the config.
        recipe: how fields are read from files: ``wall_mask``, ``cells_to_points``, ``drop_loose_points``.
    """

    dimension: int | None = None
    fields: tuple[FieldInfo, ...] | None = None
    scales: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    offsets: Mapping[str, Sequence[float]] = field(default_factory=dict)
    transform: tuple[Mapping[str, Any], ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def sample(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays in physical units -> those of the sample: offsets subtracted, scaled, float32, a row a point.

        Fields of one row become the same in every row where a scale says that they are global. Indices stay, and
        ``domain``, the number of a point's domain.
        """
        n = len(arrays["coord"])
        return {
            key: values if names_points(key) or key == DOMAIN else self._given(key, values, n)
            for key, values in arrays.items()
        }

    def physical(self, key: str, values: np.ndarray) -> np.ndarray:
        """Values of a sample back in the units and the place of the source, float64; integers stay."""
        if key not in self.scales and key not in self.offsets:
            return values
        values = np.asarray(values, np.float64)
        if key in self.scales:
            values = values * np.asarray(self.scales[key]["std"]) + np.asarray(self.scales[key]["mean"])
        return values + np.asarray(self.offsets.get(key, 0.0))

    def target_offset(self, targets: Iterable[Sequence[Any]]) -> np.ndarray:
        """(K,) offsets of the target's columns; ``targets``: fields with their widths, [["velocity", 2]]."""
        parts = [np.asarray(self.offsets.get(name, [0.0] * width), np.float64) for name, width in targets]
        return np.concatenate(parts) if parts else np.zeros(0)

    def shifted(self, transforms: Iterable[Any]) -> list[Any]:
        """Configs of transforms whose numbers are places or values of the files, for samples without the constants."""
        found, scaled = [], any(transform["type"] == "ScaleCoord" for transform in self.transform)
        for transform in transforms:
            kind = transform.get("type") if isinstance(transform, Mapping) else None
            if kind in ("ScaleCoord", "RandomMirror") and "coord" in self.offsets and not scaled:
                transform = _moved(transform, np.asarray(self.offsets["coord"]))
            elif kind == "ScaleField" and transform.get("key") in self.offsets:
                offset = np.asarray(self.offsets[transform["key"]])
                mean = transform.get("mean") or [0.0] * len(transform["std"])
                repeats = len(offset) // max(len(mean), 1)
                transform = {**transform, "mean": (np.tile(mean, repeats) - offset).tolist()}
                transform["std"] = list(transform["std"]) * repeats
            scaled = scaled or kind == "ScaleCoord"
            found.append(transform)
        return found

    def info(self, key: str) -> FieldInfo | None:
        """What the field is; None where it is not recorded."""
        return next((info for info in self.fields or () if info.key == key), None)

    def plain(self) -> dict[str, Any]:
        """As numbers, texts, lists and dicts."""
        content = asdict(self)
        content["fields"] = None if self.fields is None else [info._asdict() for info in self.fields]
        content["transform"] = [dict(transform) for transform in self.transform]
        return content

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> InputDescription:
        """The description that ``plain`` gave. Raises KeyError, TypeError or ValueError for anything else."""
        try:
            fields = content["fields"]
            infos = None if fields is None else tuple(FieldInfo(**entry) for entry in fields)
            found = cls(
                content["dimension"],
                infos,
                {
                    key: {name: _numbers(scale[name]) for name in ("mean", "std")}
                    for key, scale in content["scales"].items()
                },
                {key: _numbers(offset) for key, offset in content["offsets"].items()},
                tuple(dict(entry) for entry in content["transform"]),
                checked_recipe(content["recipe"]),
            )
        except AttributeError as error:  # a list where a dict was
            raise TypeError(str(error)) from None
        good = found.dimension in (None, 2, 3) and all(entry.get("type") == "ScaleCoord" for entry in found.transform)
        good = good and len(found.offsets.get("coord", [0.0] * (found.dimension or 3))) == (found.dimension or 3)
        for info in infos or ():
            good = good and isinstance(info.columns, int) and 0 < info.columns < 2**16
            good = good and all(isinstance(text, str) for text in info[:3]) and info.kind in KINDS
            good = good and all(
                len(numbers) == info.columns
                for numbers in (found.offsets.get(info.key), *found.scales.get(info.key, {}).values())
                if numbers is not None
            )
        if not good:
            raise ValueError("no description of inputs")
        return found

    def _given(self, key: str, values: np.ndarray, n: int) -> np.ndarray:
        if key in self.offsets:
            values = np.asarray(values, np.float64) - np.asarray(self.offsets[key])
        if key in self.scales:
            mean, std = (np.asarray(self.scales[key][name]) for name in ("mean", "std"))
            values = np.broadcast_to((np.asarray(values, np.float64) - mean) / std, (n, values.shape[-1]))
        with np.errstate(over="ignore"):
            return np.array(values, dtype=np.float32)


def _moved(transform: Mapping[str, Any], offset: np.ndarray) -> dict[str, Any]:
    """The config of ScaleCoord or RandomMirror for coordinates without the offset (d,)."""
    if transform["type"] == "RandomMirror":
        axis = transform.get("axis", 0)
        moved = float(transform.get("center", 0.0)) - offset[axis] if axis < len(offset) else 0.0
        return {**transform, "center": moved}
    if not all(len(transform[name]) == len(offset) for name in ("min", "max")):
        return dict(transform)  # which ScaleCoord refuses
    return {**transform, **{name: (np.asarray(transform[name]) - offset).tolist() for name in ("min", "max")}}


def in_files(dataset: Any, key: str, values: np.ndarray) -> np.ndarray:
    """Values of a field of samples of the data set as its files have them: without scale, with the constant."""
    described = getattr(dataset, "input_description", None)
    return values if described is None else described.physical(key, values)


def physical_target(dataset: Any, values: np.ndarray) -> np.ndarray:
    """The target, or a prediction of it, (N, K) with the constant that samples are without; float64 if there is one."""
    offset = dataset.target_offset() if hasattr(dataset, "target_offset") else 0.0
    return np.asarray(values, np.float64) + offset if np.any(offset) else values


def checked_recipe(content: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``RECIPE_OPTIONS`` that are there. Raises TypeError or ValueError for values of another kind."""
    found = {key: value for key, value in content.items() if key in RECIPE_OPTIONS}
    for key, value in found.items():
        if not (value is None or isinstance(value, str) if key == "wall_mask" else isinstance(value, bool)):
            raise ValueError(f"{key} is {value!r}")
    return found


def _numbers(values: Any) -> list[float]:
    """A list of finite numbers. Raises TypeError or ValueError for anything else."""
    if not isinstance(values, list) or not all(type(v) in (int, float) and abs(v) < 1e300 for v in values):
        raise ValueError(f"no list of finite numbers: {values!r:.60}")
    return [float(value) for value in values]


def scale_of(statistics: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Mean and standard deviation by which a field is standardised; one that never changes becomes 0."""
    return {"mean": list(statistics["mean"]), "std": [std if std > 0 else 1.0 for std in statistics["std"]]}


def offset_of(key: str, low: Sequence[float], high: Sequence[float], far: float = 1.0) -> list[float] | None:
    """Return what to subtract from a field that runs from ``low`` to ``high`` (k,) before it becomes float32.

    The middle of a column, where that is farther from 0 than ``FAR_COORD`` or ``FAR_FIELD`` (times ``far``) of its
    half-widths; of coordinates the largest half-width of all axes. None where no column is.
    """
    lowest, highest = np.asarray(low, np.float64), np.asarray(high, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        middle, half = (lowest + highest) / 2, (highest - lowest) / 2
        limit = FAR_COORD * half.max() if key == "coord" else FAR_FIELD * half
        away = (limit > 0) & (np.abs(middle) > far * limit) & np.isfinite(middle)
    return np.where(away, middle, 0.0).tolist() if away.any() else None


def box_around(low: Sequence[float], high: Sequence[float]) -> dict[str, Any]:
    """The transform that scales a cube around the box from ``low`` to ``high`` to [-1, 1]."""
    lowest, highest = np.asarray(low), np.asarray(high)
    center, half = (lowest + highest) / 2, (highest - lowest).max() / 2 or 1.0
    return dict(type="ScaleCoord", min=(center - half).tolist(), max=(center + half).tolist(), to=(-1.0, 1.0))


def check_narrowed(values: np.ndarray, key: str, where: str) -> None:
    """Raise ``InputError`` if float32 could not hold finite values of a field."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{where}: field {key!r} has values beyond 3.4e38, wanted numbers that float32 holds")
