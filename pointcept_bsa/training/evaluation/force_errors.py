"""Forces and moments of predicted surface fields, judged against those of the true fields on the same meshes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from pointcept_bsa.datasets.inputs import in_files, physical_target
from pointcept_bsa.mesh_io import Mesh
from pointcept_bsa.samples import lengths
from pointcept_bsa.training.evaluation.evaluation import of_all_processes
from pointcept_bsa.training.evaluation.export_fields import faces_of
from pointcept_bsa.training.evaluation.forces import (
    Reference,
    channels_named,
    element_forces,
    pressure_channel,
    surface_forces,
)
from pointcept_bsa.training.evaluation.scalar_errors import sample_scores, score_lines
from pointcept_bsa.training.evaluation.surface import outward_surface, triangles_of
from pointcept_bsa.training.evaluation.training_range import target_of

UNITS = {"drag": "N", "lift": "N", "side": "N", "roll": "N m", "yaw": "N m", "pitch": "N m"}
OVER_Q = {"N": "m^2", "N m": "m^3"}  # of coefficients: over the dynamic pressure


class ForceErrors:
    """Integrates the true and the predicted pressure (and wall shear stress) over the surface of each sample.

    Of data sets that say what their target is (``surface_pressure``) and whose samples have faces, or points with an
    area and a normal (``surface_elements``, sums over these); others have no report. Samples in which points were left
    out do not count. Lengths count as metres.

    Args:
        dataset: the data set that batches come from.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.surface = getattr(dataset, "surface_pressure", None)
        self.records: list[dict[str, Any]] = []
        self.of_elements = False
        if self.surface is None:
            return
        self.reference = Reference.of(self.surface)
        fields = target_of(dataset)["fields"]
        self.pressure = pressure_channel(self.surface, fields)
        self.shear = channels_named(self.surface, "shear", fields)
        self.index = {dataset.get_data_name(i): i for i in range(len(dataset))}

    def __call__(self, batch: Mapping[str, Any], output: Mapping[str, Tensor]) -> None:
        """Take the batch and the model's output ``pred`` (N, K) in physical units."""
        if self.surface is None:
            return
        parts = (values.double().cpu().split(lengths(batch)) for values in (batch["target"], output["pred"]))
        for name, target, pred in zip(batch["name"], *parts, strict=True):
            integrate, closed = self.integral(name, len(target))
            if integrate is not None:
                self.records.append({"name": name, "closed": closed, **self.forces(integrate, target, pred)})

    def integral(self, name: str, points: int) -> tuple[Callable[..., dict[str, float]] | None, bool | None]:
        """What makes forces of (pressure, reference, shear) on a sample, None for none; and whether it is closed."""
        index = self.index[name]
        face = faces_of(self.dataset, index, points)
        if face is not None and len(face):
            coord, kind = self.coord(index), "triangle" if face.shape[1] == 3 else "quad"
            surface = outward_surface(coord, triangles_of(Mesh(coord, {kind: face.astype(np.int64)})))
            return partial(surface_forces, coord, surface), surface.closed
        elements = self.dataset.surface_elements(index) if hasattr(self.dataset, "surface_elements") else None
        if elements is None or len(elements["area"]) != points:
            return None, None
        self.of_elements = True
        return partial(element_forces, self.coord(index), elements["normal"], elements["area"]), None

    def coord(self, index: int) -> np.ndarray:
        """(N, 3) where the points of a sample are, in files' units."""
        return in_files(self.dataset, "coord", self.dataset.get_data(index)["coord"]).astype(np.float64)

    def forces(self, integrate: Callable[..., dict[str, float]], target: Tensor, pred: Tensor) -> dict[str, Any]:
        """``true`` and ``predicted`` forces of one sample."""
        found = {}
        for key, values in (("true", target), ("predicted", pred)):
            field = physical_target(self.dataset, values.numpy())
            shear = None if self.shear is None else field[:, self.shear]
            found[key] = integrate(field[:, self.pressure], self.reference, shear)
        return found

    def report(self) -> dict[str, Any] | None:
        """What the samples come to; None without any."""
        records = of_all_processes(self.records)
        if not records:
            return None
        units = [OVER_Q[unit] if self.reference.coefficient else unit for unit in UNITS.values()]
        values = {key: np.array([list(record[key].values()) for record in records]) for key in ("predicted", "true")}
        error = np.linalg.norm((values["predicted"] - values["true"])[:, :3], axis=1)
        of = "pressure and wall shear stress" if self.shear is not None else "pressure, without friction"
        over_q = ", over the dynamic pressure" if self.reference.coefficient else ""
        sums = ", sums over points with areas" if self.of_elements else ""
        return {
            "of": f"{of}{over_q}{sums}; lengths in metres; moments about {list(self.reference.about)}",
            "scores": sample_scores(values["predicted"], values["true"], list(UNITS), units),
            "vector_error": {"unit": units[0], "mean": float(error.mean()), "max": float(error.max())},
            "open_surfaces": sum(record["closed"] is False for record in records),
            "samples": records,
        }

    def lines(self, report: Mapping[str, Any]) -> list[str]:
        """What is printed of a report."""
        vector = report["vector_error"]
        lines = [f"Forces of {len(report['samples'])} surfaces ({report['of']}), predicted against true fields:"]
        lines += score_lines("force", report["scores"])
        mean, largest = vector["mean"], vector["max"]
        lines.append(f"Error of the force vector: mean {mean:.5g}, largest {largest:.5g} {vector['unit']}")
        if report["open_surfaces"]:
            lines.append(f"note: {report['open_surfaces']} surfaces are not closed: their forces lack the rest")
        return lines
