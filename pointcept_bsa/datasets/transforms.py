"""Transforms of a sample: numpy arrays in, numpy arrays out; ``CollectPoints`` comes last and makes tensors.

Randomness comes from numpy's global state, as in Pointcept, whose loaders seed it in each worker.
None of them changes an array in place. Those that say ``by_point = True`` make each row from that row, and from numbers
drawn once a sample, alone: of a part of a cloud they make the same rows. Letters: N points, d space dimensions, C
channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pointcept_bsa.datasets.sample_anchors import IS_ANCHOR, num_anchors
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.domains import DOMAIN, DOMAIN_NAMES, DOMAIN_OFFSET
from pointcept_bsa.host import TRANSFORMS
from pointcept_bsa.samples import ANCHORS, ENDS, PARAMETERS, SCALARS, WHOLE, entry, names_points, per_point_keys

Sample = dict[str, Any]


@TRANSFORMS.register_module()
class ScaleCoord:
    """Map the box from ``min`` to ``max`` onto the interval ``to``, axis by axis (affine, no clipping).

    The coordinates as they were stay in the sample as ``position``, for pictures and exports.

    Args:
        min, max: corners of the box, one number an axis.
        to: image of the box, the same on every axis: (0, 1) or (-1, 1).
    """

    by_point = True

    def __init__(self, min: Sequence[float], max: Sequence[float], to: Sequence[float] = (0.0, 1.0)) -> None:
        self.min = np.asarray(min, dtype=np.float64)
        self.max = np.asarray(max, dtype=np.float64)
        if self.min.ndim != 1 or self.min.shape != self.max.shape or not np.all(self.min < self.max):
            raise InputError(f"ScaleCoord: got min {min!r}, max {max!r}, wanted as many numbers, min below max")
        if len(to) != 2 or not to[0] < to[1]:
            raise InputError(f"ScaleCoord: got to {to!r}, wanted (low, high) with low below high")
        self.low, self.high = float(to[0]), float(to[1])

    def __call__(self, data: Sample) -> Sample:
        coord = data["coord"]
        if coord.shape[1] != len(self.min):
            raise InputError(f"ScaleCoord: min has {len(self.min)} numbers, wanted {coord.shape[1]} (columns of coord)")
        unit = (coord - self.min) / (self.max - self.min)
        scaled = {**data, "coord": (self.low + unit * (self.high - self.low)).astype(np.float32)}
        return scaled if "position" in data else with_point_field(scaled, "position", coord)


@TRANSFORMS.register_module()
class ScaleField:
    """Bring the columns of a per-point field to (value - ``mean``) / ``std``, which are repeated over the columns.

    Args:
        key: the field, (N, C).
        std: positive numbers, as many as divide C: three for a field of several vectors, one after the other.
        mean: as many numbers; None: zeros.
    """

    by_point = True

    def __init__(self, key: str, std: Sequence[float], mean: Sequence[float] | None = None) -> None:
        self.key = key
        self.std = np.asarray(std, dtype=np.float64)
        self.mean = np.zeros_like(self.std) if mean is None else np.asarray(mean, dtype=np.float64)
        if self.std.ndim != 1 or not len(self.std) or not np.all((self.std > 0) & np.isfinite(self.std)):
            raise InputError(f"ScaleField: got std {std!r}, wanted a list of positive numbers")
        if self.mean.shape != self.std.shape or not np.isfinite(self.mean).all():
            raise InputError(f"ScaleField: got mean {mean!r}, wanted {len(self.std)} numbers as std has")

    def __call__(self, data: Sample) -> Sample:
        values = _field("ScaleField", data, self.key)
        if not isinstance(values, np.ndarray) or values.ndim != 2 or values.shape[1] % len(self.std):
            raise InputError(
                f"ScaleField: {self.key!r} has shape {np.shape(values)}, wanted a multiple of {len(self.std)} columns"
            )
        mean, std = (np.tile(v, values.shape[1] // len(self.std)) for v in (self.mean, self.std))
        return {**data, self.key: ((values - mean) / std).astype(np.float32)}


@TRANSFORMS.register_module()
class SamplePoints:
    """Keep ``num_points`` points of the cloud; a cloud that has no more than that is left as it is.

    Every array with one row a point is indexed alike; ``face``, ``neighbor_index`` and ``tree_order`` are dropped:
    points that they name are gone.

    Args:
        num_points: how many.
        mode: "random" (without replacement) or "first".
        keep_order: the points stay in the order of the cloud; else random order (mode "random").
    """

    def __init__(self, num_points: int, mode: str = "random", keep_order: bool = True) -> None:
        if isinstance(num_points, bool) or not isinstance(num_points, int) or num_points < 1:
            raise InputError(f"SamplePoints: got num_points {num_points!r}, wanted an integer of at least 1")
        if mode not in ("random", "first"):
            raise InputError(f"SamplePoints: got mode {mode!r}, wanted 'random' or 'first'")
        self.num_points = num_points
        self.mode = mode
        self.keep_order = keep_order

    def __call__(self, data: Sample) -> Sample:
        n = len(data["coord"])
        if n <= self.num_points:
            return data
        if self.mode == "first":
            index = np.arange(self.num_points)
        else:
            index = np.random.permutation(n)[: self.num_points]
            index = np.sort(index) if self.keep_order else index
        if DOMAIN in data and len(np.unique(data[DOMAIN][index])) < len(np.unique(data[DOMAIN])):
            raise InputError("SamplePoints: left no point of a domain, wanted SampleDomainPoints(num_points=dict(...))")
        return keep_points(data, index)


@TRANSFORMS.register_module()
class FourierFeatures:
    """Add ``out (N, C (2 num_bands + 1))``: x, sin(2^k pi x), cos(2^k pi x), k = 0 .. num_bands - 1.

    x is the concatenation of ``keys`` along columns, C in all; scale it to [-1, 1] or [0, 1] first.
    """

    by_point = True

    def __init__(self, keys: Sequence[str] = ("coord",), num_bands: int = 6, out: str = "fourier") -> None:
        if isinstance(num_bands, bool) or not isinstance(num_bands, int) or num_bands < 1:
            raise InputError(f"FourierFeatures: got num_bands {num_bands!r}, wanted an integer of at least 1")
        self.keys = _key_list("FourierFeatures", "keys", keys)
        self.frequencies = np.pi * 2.0 ** np.arange(num_bands)
        self.out = out

    def __call__(self, data: Sample) -> Sample:
        x = _concatenate("FourierFeatures", data, self.keys)  # (N, C)
        angle = (x[:, None, :] * self.frequencies[:, None]).reshape(len(x), -1)  # (N, num_bands C)
        features = np.concatenate([x, np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
        return with_point_field(data, self.out, features)


@TRANSFORMS.register_module()
class AddGridCoord:
    """Add ``grid_coord (N, 3)``, int64: floor((coord - min) / grid_size); 2-D clouds get a third column 0.

    No point is dropped: several may share a cell.
    """

    def __init__(self, grid_size: float) -> None:
        if not 0 < grid_size < float("inf"):
            raise InputError(f"AddGridCoord: got grid_size {grid_size!r}, wanted a number above 0")
        self.grid_size = float(grid_size)

    def __call__(self, data: Sample) -> Sample:
        coord = data["coord"].astype(np.float64)
        cell = np.floor((coord - coord.min(axis=0)) / self.grid_size).astype(np.int64)
        padded = np.zeros((len(cell), 3), dtype=np.int64)
        padded[:, : cell.shape[1]] = cell
        return with_point_field(data, "grid_coord", padded)


@TRANSFORMS.register_module()
class RandomMirror:
    """With probability ``p`` mirror the cloud in the plane x_axis = center.

    Args:
        axis: 0 for x, 1 for y, 2 for z.
        vector_keys: fields whose first d columns are a vector of space (normals, velocities; "target" if it is one):
            their column ``axis`` changes sign. Keys that the sample lacks are an error.
        center: place of the mirror on that axis.
    """

    by_point = True

    def __init__(self, axis: int = 0, p: float = 0.5, vector_keys: Sequence[str] = (), center: float = 0.0) -> None:
        if axis not in (0, 1, 2):
            raise InputError(f"RandomMirror: got axis {axis!r}, wanted 0, 1 or 2")
        if not 0 <= p <= 1:
            raise InputError(f"RandomMirror: got p {p!r}, wanted a probability from 0 to 1")
        self.axis = axis
        self.p = p
        self.vector_keys = _key_list("RandomMirror", "vector_keys", vector_keys)
        self.center = float(center)

    def __call__(self, data: Sample) -> Sample:
        dimensions = data["coord"].shape[1]
        if self.axis >= dimensions:
            raise InputError(f"RandomMirror: got axis {self.axis}, wanted one below {dimensions} as coord has columns")
        for key in self.vector_keys:
            vector = _field("RandomMirror", data, key)
            if vector.ndim != 2 or vector.shape[1] < dimensions:
                raise InputError(f"RandomMirror: {key!r} has shape {vector.shape}, wanted {dimensions} columns or more")
        if not np.random.random() < self.p:
            return data
        mirrored = {key: self._flip(data[key], 0.0) for key in self.vector_keys}
        mirrored["coord"] = self._flip(data["coord"], self.center)
        if "face" in data:  # a mirror turns faces inside out; reversed order keeps them outward
            mirrored["face"] = data["face"][:, ::-1].copy()
        return {**data, **mirrored}

    def _flip(self, values: np.ndarray, center: float) -> np.ndarray:
        flipped = values.copy()
        flipped[:, self.axis] = 2 * center - flipped[:, self.axis]
        return flipped


@TRANSFORMS.register_module()
class CollectPoints:
    """Last transform: the sample as tensors, ready for collate.

    Args:
        keys: what to pass on: arrays become tensors (floating: float32, integers: int64), strings stay.
        feat_keys: per-point fields concatenated along columns into ``feat (N, C)``.
        parameter_keys: fields that are the same in every row of a cloud, its global parameters, concatenated into
            ``parameters (1, P)``: for backbones with ``condition=P``.

    Returns:
        dict: ``keys``, ``feat`` and ``offset``, a tensor holding N; with ``domain`` among ``keys`` also
        ``domain_offset``, see :mod:`.geometry.domains`; after ``SampleAnchors`` also ``anchor_offset``, the number of
        anchors; ``parameters`` if there are ``parameter_keys``, and ``scalars`` (1, S) where the data set gives targets
        of whole clouds. ``face`` cannot be collated and is refused.

    Raises:
        InputError: a key that the sample lacks, ``face``, fields of unequal rows, a parameter that varies in a cloud.
    """

    by_point = True

    def __init__(
        self,
        keys: Sequence[str] = ("coord", "target", "name"),
        feat_keys: Sequence[str] = ("coord",),
        parameter_keys: Sequence[str] = (),
    ) -> None:
        self.keys = _key_list("CollectPoints", "keys", keys)
        self.feat_keys = _key_list("CollectPoints", "feat_keys", feat_keys)
        self.parameter_keys = _key_list("CollectPoints", "parameter_keys", parameter_keys)
        if not self.feat_keys:
            raise InputError("CollectPoints: got no feat_keys, wanted at least one")
        for key in self.keys:
            if key in ("feat", PARAMETERS, SCALARS) or entry(key).rows in (ENDS, WHOLE):
                raise InputError(f"CollectPoints: got key {key!r}, which cannot be collected, wanted per-point fields")

    def __call__(self, data: Sample) -> Sample:
        collected = {key: _collectable(_field("CollectPoints", data, key)) for key in self.keys}
        collected["feat"] = _collectable(_concatenate("CollectPoints", data, self.feat_keys))
        if self.parameter_keys:
            collected[PARAMETERS] = _collectable(_parameters(data, self.parameter_keys))
        if SCALARS in data:
            collected[SCALARS] = _collectable(data[SCALARS])
        collected["offset"] = torch.tensor([len(data["coord"])])
        if DOMAIN in self.keys:
            counts = np.bincount(data[DOMAIN], minlength=len(_field("CollectPoints", data, DOMAIN_NAMES)))
            collected[DOMAIN_OFFSET] = torch.from_numpy(np.cumsum(counts))
        if IS_ANCHOR in data:
            collected[ANCHORS] = torch.tensor([num_anchors(data)])
        return collected


# What a transform adds to a sample under a name of its own.
MADE = {
    "ScaleCoord": ("position",),
    "AddGridCoord": ("grid_coord",),
    "AddTreeOrder": ("tree_order",),
    "AddNeighbors": ("neighbor_index",),
    "OneHotDomain": ("domain_one_hot",),
    "AddSurfaceDistance": ("distance",),
}


def fields_read(transforms: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the fields that transforms, by their configs, take from the data set -> the first type that does.

    ``coord``, ``name``, ``target`` and what earlier transforms make are not among them.
    """
    made = {"coord", "name", "target"}
    needed: dict[str, str] = {}
    for transform in transforms:
        kind = transform["type"]
        single = [transform[name] for name in ("key", "signed") if transform.get(name) is not None]
        for key in (
            *transform.get("keys", ()),
            *transform.get("feat_keys", ()),
            *transform.get("parameter_keys", ()),
            *transform.get("vector_keys", ()),
            *single,
        ):
            if key not in made:
                needed.setdefault(key, kind)
        made.update(MADE.get(kind, ()))
        if kind == "FourierFeatures":
            made.add(transform.get("out", "fourier"))
    return needed


def _collectable(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    kind = np.float32 if value.dtype.kind == "f" else np.int64
    return torch.from_numpy(np.array(value, dtype=kind, order="C"))


def keep_points(data: Sample, index: np.ndarray) -> Sample:
    """The points ``index`` of a sample, without arrays that name points."""
    per_point = set(per_point_keys(data))
    return {key: value[index] if key in per_point else value for key, value in data.items() if not names_points(key)}


def with_point_field(data: Sample, key: str, values: np.ndarray) -> Sample:
    """Add a per-point field and tell Pointcept's indexing transforms about it."""
    added = {**data, key: values}
    if "index_valid_keys" in data and key not in data["index_valid_keys"]:
        added["index_valid_keys"] = [*data["index_valid_keys"], key]
    return added


def _concatenate(transform: str, data: Sample, keys: Sequence[str]) -> np.ndarray:
    n = len(data["coord"])
    columns = []
    for key in keys:
        values = _field(transform, data, key)
        if not isinstance(values, np.ndarray) or values.ndim == 0 or len(values) != n:
            raise InputError(f"{transform}: {key!r} is not a per-point field, wanted an array of {n} rows")
        columns.append(values.reshape(n, -1))
    return np.concatenate(columns, axis=1)


def _parameters(data: Sample, keys: Sequence[str]) -> np.ndarray:
    """(1, P) the row that all points of the cloud share."""
    for key in keys:
        values = _concatenate("CollectPoints", data, (key,))
        if not (values == values[:1]).all():
            raise InputError(
                f"CollectPoints: got parameter_keys {key!r}, which varies from point to point, wanted fields of whole "
                "clouds"
            )
    return _concatenate("CollectPoints", data, keys)[:1]


def _field(transform: str, data: Sample, key: str) -> Any:
    if key not in data:
        known = [k for k in data if k != "index_valid_keys"]
        raise InputError(f"{transform}: sample has no {key!r}, it has {known}{nearest(key, known)}")
    return data[key]


def _key_list(transform: str, argument: str, keys: Sequence[str]) -> tuple[str, ...]:
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise InputError(f"{transform}: got {argument} {keys!r}, wanted a list of names")
    return tuple(keys)
