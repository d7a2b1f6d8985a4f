"""Transforms of labelled scenes under Pointcept's names: colours, voxels, crops; see :mod:`.transforms`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host.embedded.registry import TRANSFORMS
from pointcept_bsa.host.embedded.transforms import RandomRotate, Sample, index_points


@TRANSFORMS.register_module()
class Copy:
    """Keep a copy of each key of ``keys_dict`` under the name beside it."""

    def __init__(self, keys_dict: Mapping[str, str] | None = None) -> None:
        self.keys = dict(keys_dict or {"coord": "origin_coord", "segment": "origin_segment"})

    def __call__(self, sample: Sample) -> Sample:
        return {**sample, **{new: copy.deepcopy(sample[old]) for old, new in self.keys.items()}}


@TRANSFORMS.register_module()
class RandomDropout:
    """With probability ``dropout_application_ratio``, leave out a share ``dropout_ratio`` of the points."""

    def __init__(self, dropout_ratio: float = 0.2, dropout_application_ratio: float = 0.5) -> None:
        self.share, self.p = dropout_ratio, dropout_application_ratio

    def __call__(self, sample: Sample) -> Sample:
        if np.random.random() >= self.p:
            return sample
        points = len(sample["coord"])
        return index_points(sample, np.random.choice(points, max(1, int(points * (1 - self.share))), replace=False))


@TRANSFORMS.register_module()
class RandomRotateTargetAngle:
    """As ``RandomRotate``, by one of the angles of ``angle`` (times pi)."""

    def __init__(
        self,
        angle: Sequence[float] = (1 / 2, 1, 3 / 2),
        center: Sequence[float] | None = None,
        axis: str = "z",
        always_apply: bool = False,
        p: float = 0.75,
    ) -> None:
        self.turns = [RandomRotate([each, each], center, axis, always_apply=True) for each in angle]
        self.p = 1.0 if always_apply else p

    def __call__(self, sample: Sample) -> Sample:
        if np.random.random() >= self.p:
            return sample
        return self.turns[np.random.randint(len(self.turns))](sample)


@TRANSFORMS.register_module()
class NormalizeColor:
    """``color`` from 0..255 to 0..1."""

    def __call__(self, sample: Sample) -> Sample:
        return {**sample, "color": sample["color"] / 255} if "color" in sample else sample


@TRANSFORMS.register_module()
class ChromaticAutoContrast:
    """With probability ``p``, stretch each colour to 0..255, blended with the original by ``blend_factor`` (random)."""

    def __init__(self, p: float = 0.2, blend_factor: float | None = None) -> None:
        self.p, self.blend_factor = p, blend_factor

    def __call__(self, sample: Sample) -> Sample:
        if "color" not in sample or np.random.random() >= self.p:
            return sample
        color = sample["color"]
        low, high = color.min(axis=0, keepdims=True), color.max(axis=0, keepdims=True)
        if not (high > low).any():
            return sample
        stretched = (color - low) * np.divide(255, high - low, out=np.ones_like(color[:1]), where=high > low)
        share = np.random.random() if self.blend_factor is None else self.blend_factor
        return {**sample, "color": ((1 - share) * color + share * stretched).astype(color.dtype)}


@TRANSFORMS.register_module()
class ChromaticTranslation:
    """With probability ``p``, add to each colour an amount of up to ``ratio`` * 255, the same for all points."""

    def __init__(self, p: float = 0.95, ratio: float = 0.05) -> None:
        self.p, self.ratio = p, ratio

    def __call__(self, sample: Sample) -> Sample:
        if "color" not in sample or np.random.random() >= self.p:
            return sample
        return _recoloured(sample, np.random.uniform(-1, 1, (1, 3)) * 255 * self.ratio)


@TRANSFORMS.register_module()
class ChromaticJitter:
    """With probability ``p``, add normal noise of deviation ``std`` * 255 to every colour of every point."""

    def __init__(self, p: float = 0.95, std: float = 0.005) -> None:
        self.p, self.std = p, std

    def __call__(self, sample: Sample) -> Sample:
        if "color" not in sample or np.random.random() >= self.p:
            return sample
        return _recoloured(sample, np.random.standard_normal(sample["color"].shape) * 255 * self.std)


def _recoloured(sample: Sample, change: np.ndarray) -> Sample:
    color = sample["color"]
    return {**sample, "color": np.clip(color + change, 0, 255).astype(color.dtype)}


@TRANSFORMS.register_module()
class GridSample:
    """One point a cell of a grid of ``grid_size``, counted from the cloud's lowest corner.

    ``mode="train"``: a random one; ``grid_coord`` holds the cells where asked for, ``inverse`` (of every point there
    was) the row that stands for it. ``mode="test"``: a list of samples that together hold every point, the i-th with
    the i-th point of each cell (going round), ``index`` their rows. ``hash_type`` is accepted for Pointcept's sake:
    cells are numbered, not hashed, so no two fall together, and their order is another.
    """

    def __init__(
        self,
        grid_size: float = 0.05,
        hash_type: str = "fnv",
        mode: str = "train",
        return_inverse: bool = False,
        return_grid_coord: bool = False,
    ) -> None:
        if mode not in ("train", "test"):
            raise InputError(f"GridSample.mode: got {mode!r}, wanted 'train' or 'test'")
        if not grid_size > 0:
            raise InputError(f"GridSample.grid_size: got {grid_size!r}, wanted a positive number")
        self.grid_size, self.mode = grid_size, mode
        self.return_inverse, self.return_grid_coord = return_inverse, return_grid_coord

    def __call__(self, sample: Sample) -> Any:
        grid = np.floor(sample["coord"] / self.grid_size).astype(np.int64)
        grid -= grid.min(axis=0)
        cells = np.ravel_multi_index(tuple(grid.T), tuple(grid.max(axis=0) + 1))
        _, inverse, counts = np.unique(cells, return_inverse=True, return_counts=True)
        members, first = np.argsort(inverse, kind="stable"), np.cumsum(counts) - counts
        if self.mode == "train":
            return self._chosen(sample, members[first + np.random.randint(counts)], grid, inverse)
        parts = [members[first + i % counts] for i in range(counts.max())]
        return [self._chosen(sample, index, grid, inverse) | {"index": index} for index in parts]

    def _chosen(self, sample: Sample, index: np.ndarray, grid: np.ndarray, inverse: np.ndarray) -> Sample:
        out = index_points(sample, index)
        if self.return_inverse:
            out["inverse"] = inverse
        if self.return_grid_coord:
            out["grid_coord"] = grid[index]
            if "index_valid_keys" in out:
                out["index_valid_keys"] = [*out["index_valid_keys"], "grid_coord"]
        return out


@TRANSFORMS.register_module()
class SphereCrop:
    """Of a larger cloud, the ``point_max`` points (or the share ``sample_rate``) nearest to one of its points.

    ``mode``: a "random" one, or that in the middle of the list ("center").
    """

    def __init__(self, point_max: int = 80000, sample_rate: float | None = None, mode: str = "random") -> None:
        if mode not in ("random", "center"):
            raise InputError(f"SphereCrop.mode: got {mode!r}, wanted 'random' or 'center'{nearest(mode, ['center'])}")
        self.point_max, self.sample_rate, self.mode = point_max, sample_rate, mode

    def __call__(self, sample: Sample) -> Sample:
        coord = sample["coord"]
        keep = self.point_max if self.sample_rate is None else int(self.sample_rate * len(coord))
        if len(coord) <= keep:
            return sample
        centre = coord[np.random.randint(len(coord)) if self.mode == "random" else len(coord) // 2]
        return index_points(sample, np.argsort(np.square(coord - centre).sum(axis=1))[:keep])
