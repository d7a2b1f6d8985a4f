"""Ellipsoid flow, on the body and around it: generated, with the exact answer known. No download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pointcept_bsa.datasets.base import SPLITS
from pointcept_bsa.datasets.domains import JointFieldDataset, Quantity
from pointcept_bsa.datasets.ellipsoid_flow import AXES, STATISTICS_SAMPLES, EllipsoidFlowDataset
from pointcept_bsa.datasets.potential_flow import (
    confocal_parameter,
    ellipsoid_normal,
    ellipsoid_pressure_coefficient,
    ellipsoid_velocity,
    random_rotation,
    sample_ellipsoid_surface,
)
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

REACH = 1.5  # half of the side of the cube around a body, unless another is asked for


@DATASETS.register_module()
class EllipsoidFlowJointDataset(JointFieldDataset):
    """Points on an ellipsoid -> pressure coefficient; points around it -> velocity and pressure coefficient.

    The flow of ``EllipsoidFlowDataset``: exact, along +x far away, at speed 1; bodies and orientations are drawn as
    there. The points of the volume are uniform over a cube around the body, without the body.

    Args:
        num_samples: samples of this split.
        num_points: points of each domain.
        reach: half of the side of the cube, above the largest semi-axis.
        seed: another seed, another set.
        axes: smallest and largest semi-axis, > 0.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``. ``data_root`` must stay None.

    Raises:
        InputError: a wrong argument.
    """

    name = "ellipsoid_flow_joint"
    domains = {
        "surface": {"pressure_coefficient": Quantity("1")},
        "volume": {"velocity": Quantity("speed of the stream", 3), "pressure_coefficient": Quantity("1")},
    }
    surface_pressure = {**EllipsoidFlowDataset.surface_pressure, "field": "surface/pressure_coefficient"}

    def __init__(
        self,
        split: str = "train",
        num_samples: int = 256,
        num_points: Mapping[str, int] | None = None,
        reach: float = REACH,
        seed: int = 0,
        axes: Sequence[float] = AXES,
        data_root: str | None = None,
        **common: Any,
    ) -> None:
        if data_root is not None:
            raise InputError(f"data_root: got {data_root!r}, wanted None: the ellipsoids are generated")
        given = dict.fromkeys(self.domains, 1024) | dict(num_points or {})
        if set(given) != set(self.domains):
            raise InputError(f"num_points: got {dict(num_points or {})}, wanted numbers of {list(self.domains)}")
        counts = (("num_samples", num_samples, 1), ("seed", seed, 0), *(("num_points", n, 1) for n in given.values()))
        for argument, value, least in counts:
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{argument}: got {value!r}, wanted an integer of at least {least}")
        if len(axes) != 2 or not 0 < axes[0] <= axes[1] < float("inf"):
            raise InputError(f"axes: got {axes!r}, wanted (smallest, largest) with 0 < smallest <= largest")
        if not axes[1] < reach < float("inf"):
            raise InputError(f"reach: got {reach!r}, wanted more than the largest semi-axis {axes[1]}")
        self.num_samples, self.num_points, self.reach = num_samples, given, float(reach)
        self.seed, self.axes = seed, (float(axes[0]), float(axes[1]))
        super().__init__(split=split, data_root=None, **common)

    def list_samples(self) -> list[str]:
        return [f"ellipsoid_{self.split}_{i}" for i in range(self.num_samples)]

    def load_domains(self, index: int) -> dict[str, dict[str, np.ndarray]]:
        return self._generate(self.split, index)

    def target_statistics(self) -> dict[str, Any]:
        count = min(self.num_samples, STATISTICS_SAMPLES)
        samples = (self._generate("train", index) for index in range(count))
        return self.statistics_of(samples, f"training split, its first {count} samples")

    def protocol_name(self) -> str:
        other = "" if self.axes == AXES else f", semi-axes {self.axes[0]:g} to {self.axes[1]:g}"
        return f"seed {self.seed}{other}" + ("" if self.reach == REACH else f", reach {self.reach:g}")

    def notes(self) -> list[str]:
        return [
            f"exact potential flow, stream along +x, semi-axes {self.axes[0]:g} to {self.axes[1]:g}",
            f"{self.num_points['surface']} points uniform over the surface, {self.num_points['volume']} uniform over "
            f"the cube of half side {self.reach:g} around it",
            *super().notes(),
        ]

    def _generate(self, split: str, index: int) -> dict[str, dict[str, np.ndarray]]:
        rng = np.random.default_rng([self.seed, SPLITS.index(split), index])
        axes = rng.uniform(*self.axes, size=3)
        rotation = random_rotation(rng)  # body frame -> stream frame
        stream = rotation.T @ np.array([1.0, 0.0, 0.0])
        surface = sample_ellipsoid_surface(self.num_points["surface"], axes, rng)
        around = self._around(self.num_points["volume"], axes, rotation, rng)
        velocity = ellipsoid_velocity(around, axes, stream)
        return {
            "surface": {
                "coord": surface @ rotation.T,
                "normal": ellipsoid_normal(surface, axes) @ rotation.T,
                "pressure_coefficient": ellipsoid_pressure_coefficient(surface, axes, stream),
            },
            "volume": {
                "coord": around @ rotation.T,
                "velocity": velocity @ rotation.T,
                "pressure_coefficient": 1.0 - np.square(velocity).sum(axis=1),
            },
        }

    def _around(self, count: int, axes: np.ndarray, rotation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(count, 3) points of the cube outside of the body, in the body's frame."""
        found = np.empty((0, 3))
        while len(found) < count:
            drawn = rng.uniform(-self.reach, self.reach, size=(2 * count, 3)) @ rotation
            found = np.concatenate([found, drawn[confocal_parameter(drawn, axes) > 0]])
        return found[:count]
