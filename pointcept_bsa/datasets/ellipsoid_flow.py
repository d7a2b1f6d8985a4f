"""Ellipsoid flow: pressure on ellipsoids in a stream, generated, with the exact answer known. No download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pointcept_bsa.datasets.base import SPLITS, PointFieldDataset
from pointcept_bsa.datasets.inputs import scale_of
from pointcept_bsa.datasets.potential_flow import (
    added_mass_coefficient,
    ellipsoid_faces,
    ellipsoid_normal,
    ellipsoid_pressure_coefficient,
    frontal_area,
    munk_moment,
    random_rotation,
    sample_ellipsoid_surface,
)
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

SCALAR_UNITS = {"frontal_area": "m^2", "added_mass": "1", "yaw": "m^3", "pitch": "m^3"}
AXES = (0.3, 1.0)  # smallest and largest semi-axis of the bodies, unless others are asked for
STATISTICS_SAMPLES = 256  # at most so many training samples are generated for the statistics


@DATASETS.register_module()
class EllipsoidFlowDataset(PointFieldDataset):
    """Points on an ellipsoid (N, 3) -> pressure coefficient Cp (N, 1) of the exact potential flow.

    Semi-axes are drawn uniformly from ``axes``, the orientation uniformly from all rotations. Coordinates are given in
    the frame of the stream: the body is turned, the stream always runs along +x, the centre is the origin. So Cp is a
    function of the geometry alone and every direction of the stream relative to the body occurs.
    Points are uniform over the surface. A sample depends on (seed, split, index), ``num_points`` and ``axes`` only.

    Args:
        num_samples: samples of this split.
        num_points: points of each cloud.
        seed: another seed, another set.
        axes: smallest and largest semi-axis, > 0.
        with_normal: also give the outward ``normal (N, 3)``.
        scalars: numbers of the whole body as further targets, all exact: "frontal_area", the area of its shadow along
            the stream; "added_mass", the coefficient of its added mass along it; "yaw" and "pitch", the moments about
            the directions of lift and side force, over the dynamic pressure (there is no roll and no force).
        with_face: also give triangles between the points, ``face (F, 3)``, for pictures, exports and forces.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``. ``data_root`` must stay None.

    Raises:
        InputError: a wrong argument.
    """

    name = "ellipsoid_flow"
    target_fields = ("pressure_coefficient",)
    target_names = ("pressure_coefficient",)
    target_units = ("1",)
    surface_pressure = {
        "density": 1.0,
        "velocity": 1.0,
        "flow": [1.0, 0.0, 0.0],
        "up": [0.0, 0.0, 1.0],
        "coefficient": True,
    }

    def __init__(
        self,
        split: str = "train",
        num_samples: int = 256,
        num_points: int = 1024,
        seed: int = 0,
        axes: Sequence[float] = AXES,
        with_normal: bool = True,
        with_face: bool = False,
        scalars: Sequence[str] = (),
        data_root: str | None = None,
        **common: Any,
    ) -> None:
        if data_root is not None:
            raise InputError(f"data_root: got {data_root!r}, wanted None: the ellipsoids are generated")
        integers = (("num_samples", num_samples, 1), ("num_points", num_points, 1), ("seed", seed, 0))
        for argument, value, least in integers:
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{argument}: got {value!r}, wanted an integer of at least {least}")
        if with_face and num_points < 4:
            raise InputError(f"with_face: got True with num_points={num_points}, wanted at least 4 points")
        if len(axes) != 2 or not 0 < axes[0] <= axes[1] < float("inf"):
            raise InputError(f"axes: got {axes!r}, wanted (smallest, largest) with 0 < smallest <= largest")
        for name in scalars:
            if isinstance(scalars, str) or name not in SCALAR_UNITS:
                raise InputError(f"scalars: got {scalars!r}, wanted some of {list(SCALAR_UNITS)}")
        self.scalar_names = tuple(scalars)
        self.scalar_units = tuple(SCALAR_UNITS[name] for name in scalars)
        self.num_samples = num_samples
        self.num_points = num_points
        self.seed = seed
        self.axes = (float(axes[0]), float(axes[1]))
        self.with_normal = with_normal
        self.with_face = with_face
        super().__init__(split=split, data_root=None, **common)

    def list_samples(self) -> list[str]:
        return [f"ellipsoid_{self.split}_{i}" for i in range(self.num_samples)]

    def load_fields(self, index: int) -> dict[str, Any]:
        return self._generate(self.split, index)

    def target_statistics(self) -> dict[str, Any]:
        return self._statistics("pressure_coefficient")

    def scalar_statistics(self) -> dict[str, Any]:
        return self._statistics("scalars")

    def _statistics(self, field: str) -> dict[str, Any]:
        count = min(self.num_samples, STATISTICS_SAMPLES)
        statistics = RunningStatistics()
        for index in range(count):
            values = self._generate("train", index)[field]
            statistics.update(values[None] if field == "scalars" else values)
        result = scale_of(statistics.result())
        return {"mean": result["mean"], "std": result["std"], "source": f"training split, its first {count} samples"}

    def protocol_name(self) -> str:
        other = "" if self.axes == AXES else f", semi-axes {self.axes[0]:g} to {self.axes[1]:g}"
        return f"seed {self.seed}{other}"

    def notes(self) -> list[str]:
        return [
            f"exact potential flow, stream along +x, {self.num_points} points uniform over the surface, "
            f"semi-axes {self.axes[0]:g} to {self.axes[1]:g}",
        ]

    def _generate(self, split: str, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, SPLITS.index(split), index])
        axes = rng.uniform(*self.axes, size=3)
        rotation = random_rotation(rng)  # body frame -> stream frame
        points = sample_ellipsoid_surface(self.num_points, axes, rng)
        stream = rotation.T @ np.array([1.0, 0.0, 0.0])
        fields = {
            "coord": points @ rotation.T,
            "pressure_coefficient": ellipsoid_pressure_coefficient(points, axes, stream),
        }
        if self.with_normal:
            fields["normal"] = ellipsoid_normal(points, axes) @ rotation.T
        if self.scalar_names:
            moment = rotation @ munk_moment(axes, stream)
            known = {
                "frontal_area": frontal_area(axes, stream),
                "added_mass": added_mass_coefficient(axes, stream),
                "yaw": moment[2],  # about up, +z
                "pitch": -moment[1],  # about the side, stream x up = -y
            }
            fields["scalars"] = np.array([known[name] for name in self.scalar_names])
        if self.with_face:
            fields["face"] = ellipsoid_faces(points, axes)
        return fields
