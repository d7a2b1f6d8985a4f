"""Transforms under Pointcept's names. A sample is a dict of numpy arrays; ``coord (N, d)``, d = 2 or 3.

A transform gets a dict it may change. Those that choose or reorder points index the keys of
``sample["index_valid_keys"]`` if that is there, else every array with a row a point (:mod:`pointcept_bsa.samples`): a
custom target never falls out of step with its points. Of the vectors in a sample only ``normal`` turns with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.registry import TRANSFORMS
from pointcept_bsa.samples import per_point_keys

Sample = dict[str, Any]


class Compose:
    """A list of transform configs (or callables) applied in order; ``None`` is no transform."""

    def __init__(self, cfg: Sequence[Any] | None = None) -> None:
        self.transforms = [step if callable(step) else TRANSFORMS.build(step) for step in cfg or []]

    def __call__(self, sample: Sample) -> Sample:
        for transform in self.transforms:
            sample = transform(sample)
        return sample


def index_points(sample: Sample, index: np.ndarray) -> Sample:
    """The sample with every per-point array indexed by ``index``."""
    keys = sample.get("index_valid_keys")
    keys = per_point_keys(sample) if keys is None else keys
    return {key: value[index] if key in keys else value for key, value in sample.items()}


@TRANSFORMS.register_module()
class ToTensor:
    """Arrays and numbers to tensors: floats to float32, integers to int64; strings stay."""

    def __call__(self, data: Any) -> Any:
        if isinstance(data, torch.Tensor | str):
            return data
        if isinstance(data, np.ndarray | np.generic):
            return _array_to_tensor(np.atleast_1d(data))
        if isinstance(data, bool | int | float):
            return _array_to_tensor(np.array([data]))
        if isinstance(data, Mapping):
            return {key: self(value) for key, value in data.items()}
        if isinstance(data, Sequence):
            return [self(value) for value in data]
        raise InputError(f"ToTensor: cannot make a tensor of {type(data).__name__}")


def _array_to_tensor(array: np.ndarray) -> torch.Tensor:
    if array.dtype == bool:
        return torch.from_numpy(array)
    if np.issubdtype(array.dtype, np.integer):
        return torch.from_numpy(array.astype(np.int64, copy=False))
    if np.issubdtype(array.dtype, np.floating):
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    raise InputError(f"ToTensor: cannot make a tensor of an array of {array.dtype}")


@TRANSFORMS.register_module()
class Collect:
    """Keep ``keys``; count points into ``offset``; ``feat_keys=("coord", "normal")`` concatenates into ``feat``."""

    def __init__(
        self,
        keys: str | Sequence[str],
        offset_keys_dict: Mapping[str, str] | None = None,
        **feature_keys: Sequence[str],
    ) -> None:
        self.keys = [keys] if isinstance(keys, str) else list(keys)
        self.offset_keys = dict(offset_keys_dict or {"offset": "coord"})
        self.feature_keys = {name.removesuffix("_keys"): list(value) for name, value in feature_keys.items()}

    def __call__(self, sample: Sample) -> Sample:
        wanted = {*self.keys, *self.offset_keys.values(), *(k for ks in self.feature_keys.values() for k in ks)}
        missing = sorted(wanted - sample.keys())
        if missing:
            raise InputError(f"Collect: the sample has no {', '.join(missing)}; it has {', '.join(sorted(sample))}")
        data = {key: sample[key] for key in self.keys}
        for name, counted in self.offset_keys.items():
            data[name] = torch.tensor([sample[counted].shape[0]])
        for name, keys in self.feature_keys.items():
            data[name] = torch.cat([sample[key].float() for key in keys], dim=1)
        return data


@TRANSFORMS.register_module()
class ShufflePoint:
    """Random order of the points; a sample with ``face`` refuses, for its indices would be wrong."""

    def __call__(self, sample: Sample) -> Sample:
        if "face" in sample:
            raise InputError("ShufflePoint: the sample has 'face', whose indices would no longer fit the points")
        return index_points(sample, np.random.permutation(len(sample["coord"])))


@TRANSFORMS.register_module()
class CenterShift:
    """Middle of the bounding box to the origin; the last axis puts its minimum there (``apply_z``) or stays."""

    def __init__(self, apply_z: bool = True) -> None:
        self.apply_z = apply_z

    def __call__(self, sample: Sample) -> Sample:
        coord = sample["coord"]
        shift = _box_centre(coord)
        if coord.shape[1] == 3:
            shift[2] = coord[:, 2].min() if self.apply_z else 0
        sample["coord"] = coord - shift
        return sample


@TRANSFORMS.register_module()
class RandomRotate:
    """Turn points (and ``normal``) about ``axis`` by an angle uniform in ``angle`` times pi; 2-D points turn in plane.

    ``center=None`` is the middle of the bounding box.
    """

    def __init__(
        self,
        angle: Sequence[float] | None = None,
        center: Sequence[float] | None = None,
        axis: str = "z",
        always_apply: bool = False,
        p: float = 0.5,
    ) -> None:
        if axis not in ("x", "y", "z"):
            raise InputError(f"axis={axis!r}: expected 'x', 'y' or 'z'")
        self.low, self.high = (-1.0, 1.0) if angle is None else angle
        self.center, self.axis, self.p = center, axis, 1.0 if always_apply else p

    def __call__(self, sample: Sample) -> Sample:
        if np.random.random() >= self.p:
            return sample
        coord = sample["coord"]
        rotation = _rotation(np.random.uniform(self.low, self.high) * np.pi, self.axis, coord.shape[1]).astype(
            coord.dtype
        )
        centre = _box_centre(coord) if self.center is None else np.asarray(self.center, coord.dtype)
        sample["coord"] = (coord - centre) @ rotation.T + centre
        if "normal" in sample:
            sample["normal"] = sample["normal"] @ rotation.T.astype(sample["normal"].dtype)
        return sample


@TRANSFORMS.register_module()
class RandomScale:
    """Scale points by a factor uniform in ``scale`` (default 0.95 to 1.05), one per axis if ``anisotropic``."""

    def __init__(self, scale: Sequence[float] | None = None, anisotropic: bool = False) -> None:
        self.low, self.high = (0.95, 1.05) if scale is None else scale
        self.anisotropic = anisotropic

    def __call__(self, sample: Sample) -> Sample:
        coord = sample["coord"]
        factor = np.random.uniform(self.low, self.high, size=coord.shape[1] if self.anisotropic else 1)
        sample["coord"] = coord * factor.astype(coord.dtype)
        return sample


@TRANSFORMS.register_module()
class RandomFlip:
    """Mirror x, and y, each with probability ``p``; ``normal`` as well."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, sample: Sample) -> Sample:
        for axis in (0, 1):
            if np.random.random() < self.p:
                for key in ("coord", "normal"):
                    if key in sample:
                        sample[key] = sample[key].copy()
                        sample[key][:, axis] *= -1
        return sample


@TRANSFORMS.register_module()
class RandomJitter:
    """Add normal noise of standard deviation ``sigma``, clipped at ``clip``, to every coordinate."""

    def __init__(self, sigma: float = 0.01, clip: float = 0.05) -> None:
        if clip <= 0:
            raise InputError(f"clip={clip}: expected a positive number")
        self.sigma, self.clip = sigma, clip

    def __call__(self, sample: Sample) -> Sample:
        coord = sample["coord"]
        noise = np.clip(self.sigma * np.random.standard_normal(coord.shape), -self.clip, self.clip)
        sample["coord"] = coord + noise.astype(coord.dtype)
        return sample


def _box_centre(coord: np.ndarray) -> np.ndarray:
    return (coord.min(axis=0) + coord.max(axis=0)) / 2


def _rotation(angle: float, axis: str, dim: int) -> np.ndarray:
    """Right-handed rotation matrix about ``axis``; in two dimensions in the plane."""
    cos, sin = np.cos(angle), np.sin(angle)
    plane = np.array([[cos, -sin], [sin, cos]])
    if dim == 2:
        return plane
    rows = {"x": [1, 2], "y": [2, 0], "z": [0, 1]}[axis]
    matrix = np.eye(3)
    matrix[np.ix_(rows, rows)] = plane
    return matrix
