"""Drag and lift of the pressure on a surface.

The force of a pressure p on a closed body is F = - sum over faces of p n A, with n outward; p of a face is the mean of
its corners. The coefficient is C = F / (rho U^2 A_ref / 2). Friction is not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointcept_bsa.engine.prediction.surface import Surface, area_vectors
from pointcept_bsa.errors import InputError

SILHOUETTE_PIXELS = 2000


@dataclass(frozen=True)
class Reference:
    """What forces refer to.

    Attributes:
        density, velocity: of the stream asked about (kg/m^3, m/s).
        area: reference area in the square of the mesh's unit; None: the silhouette along the stream.
        flow, up: directions of drag and of lift.
        trained_density, trained_velocity: of the training data, to which predicted pressures belong.
        coefficient: the prediction is a pressure coefficient.
    """

    density: float
    velocity: float
    area: float | None
    flow: tuple[float, float, float]
    up: tuple[float, float, float]
    trained_density: float
    trained_velocity: float
    coefficient: bool = False

    @classmethod
    def of(
        cls,
        data: Mapping[str, Any],
        density: float | None = None,
        velocity: float | None = None,
        area: float | None = None,
        flow: Sequence[float] | None = None,
        up: Sequence[float] | None = None,
    ) -> Reference:
        """The training data's ``surface_pressure``, changed where a value is given.

        Raises:
            InputError: numbers that are not positive, directions that are not 3-D, zero, or not across each other.
        """
        for name, value in (("--density", density), ("--velocity", velocity), ("--area", area)):
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name}: got {value}, wanted a positive number")
        along = _unit("--flow", data["flow"] if flow is None else flow)
        lift = _unit("--up", data["up"] if up is None else up)
        if abs(np.dot(along, lift)) > 1e-3:
            raise InputError(f"--up: got {list(lift)}, wanted a direction across the stream {list(along)}")
        return cls(
            data["density"] if density is None else density,
            data["velocity"] if velocity is None else velocity,
            area,
            along,
            lift,
            data["density"],
            data["velocity"],
            bool(data.get("coefficient", False)),
        )


def pressure_forces(points: np.ndarray, surface: Surface, pressure: np.ndarray, reference: Reference) -> dict[str, Any]:
    """Coefficients and newtons of drag, lift and side force, and what they refer to.

    Args:
        points: (N, 3).
        surface: outward triangles.
        pressure: (N,) as predicted: at the density and velocity of training, or a coefficient.
        reference: see :class:`Reference`. A pressure coefficient is taken not to depend on the Reynolds number: at
            another density and velocity it stays, and newtons grow with rho U^2 / 2.
    """
    q_trained = 1.0 if reference.coefficient else 0.5 * reference.trained_density * reference.trained_velocity**2
    coefficient = np.asarray(pressure, dtype=np.float64) / q_trained
    vectors = area_vectors(points, surface.triangle)
    # Constant parts cancel on a closed surface; taking the mean away first keeps rounding (and open gaps) small.
    level = float(coefficient[surface.triangle].mean()) if surface.closed else 0.0
    force = -((coefficient[surface.triangle].mean(1) - level)[:, None] * vectors).sum(0)  # over q, area units
    area = silhouette(points, surface.triangle, reference.flow) if reference.area is None else reference.area
    q = 0.5 * reference.density * reference.velocity**2
    side = np.cross(reference.flow, reference.up)
    directions = {"drag": reference.flow, "lift": reference.up, "side": tuple(side)}
    along = {name: float(force @ np.asarray(direction)) for name, direction in directions.items()}
    return {
        "coefficients": {name: value / area for name, value in along.items()},
        "newtons": {name: value * q for name, value in along.items()},
        "reference": {
            "area": area,
            "area_is": "silhouette along the stream" if reference.area is None else "given",
            "density": reference.density,
            "velocity": reference.velocity,
            "flow": list(reference.flow),
            "up": list(reference.up),
        },
        "surface": {
            "triangles": len(surface.triangle),
            "area": float(np.linalg.norm(vectors, axis=1).sum()),
            "closed": surface.closed,
            "turned": surface.turned,
            "open_edges": surface.open_edges,
        },
        "note": "pressure only, no friction; newtons if lengths are in metres",
    }


def silhouette(points: np.ndarray, triangle: np.ndarray, flow: Sequence[float]) -> float:
    """Area of the shadow of the triangles in a stream along ``flow``, counted on a fine grid (about 0.1%)."""
    from PIL import Image, ImageDraw

    along = np.asarray(flow)
    across = np.cross(along, np.eye(3)[np.abs(along).argmin()])
    across /= np.linalg.norm(across)
    shadow = points @ np.stack([across, np.cross(along, across)], 1)  # (N, 2)
    used = shadow[np.unique(triangle)]
    low, size = used.min(0), np.ptp(used, axis=0)
    pixel = float(size.max()) / SILHOUETTE_PIXELS
    if pixel == 0:
        return 0.0
    image = Image.new("1", (int(size[0] / pixel) + 3, int(size[1] / pixel) + 3))
    draw = ImageDraw.Draw(image)
    for corner in ((shadow[triangle] - low) / pixel + 0.5).reshape(len(triangle), 6).tolist():
        draw.polygon(corner, fill=1)
    inside = float(np.asarray(image).sum())
    # Polygons are drawn with their outline, half a pixel too wide on every side: take half of the rim away.
    rim = inside - float(_eroded(np.asarray(image)).sum())
    return (inside - 0.5 * rim) * pixel**2


def summary(forces: Mapping[str, Any]) -> str:
    """One line: coefficients, newtons, and what they refer to."""
    c, n, r = forces["coefficients"], forces["newtons"], forces["reference"]
    return (
        f"Cd {c['drag']:.4f}, Cl {c['lift']:.4f}, Cs {c['side']:.4f}; drag {n['drag']:.4g} N, lift {n['lift']:.4g} N, "
        f"side {n['side']:.4g} N (pressure only; area {r['area']:.4g} {r['area_is']}, density {r['density']:g}, "
        f"velocity {r['velocity']:g})"
    )


def _eroded(image: np.ndarray) -> np.ndarray:
    """Pixels whose four neighbours are set too."""
    padded = np.pad(image, 1)
    return image & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _unit(name: str, direction: Sequence[float]) -> tuple[float, float, float]:
    vector = np.asarray(direction, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if vector.shape != (3,) or not 0 < length < np.inf:
        raise InputError(f"{name}: got {list(direction)}, wanted three numbers, not all 0")
    x, y, z = (vector / length).tolist()
    return x, y, z
