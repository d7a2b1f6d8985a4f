"""Forces and moments of the pressure, and of the wall shear stress where it is known, on a surface.

The force on a body is F = integral of (-p n + tau) dA, with n outward, p the pressure and tau the stress of the fluid
on the wall; the moment about x0 is M = integral of (x - x0) x (-p n + tau) dA. Fields are linear on each triangle,
given at its corners, and the integrals of that are exact: the mean of a product p x over a triangle is (sum of p_i x_i
+ sum of p_i times sum of x_i) / 12. The coefficient is C = F / (rho U^2 A_ref / 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.training.evaluation.surface import Surface, area_vectors
from pointcept_bsa.training.evaluation.training_range import field_channels

SILHOUETTE_PIXELS = 2000
COMPONENTS = ("drag", "lift", "side", "roll", "yaw", "pitch")


@dataclass(frozen=True)
class Reference:
    """What forces refer to.

    Attributes:
        density, velocity: of the stream asked about (kg/m^3, m/s).
        area: reference area in the square of the mesh's unit; None: the silhouette along the stream.
        flow, up: directions of drag and of lift.
        about: the point that moments are about, in the mesh's unit.
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
    about: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def inverse_q(self) -> float:
        """By which predicted pressures and stresses become coefficients: 1 / q of training, 1 where they are some."""
        return 1.0 if self.coefficient else 2.0 / (self.trained_density * self.trained_velocity**2)

    @property
    def axes(self) -> np.ndarray:
        """(3, 3) rows: directions of drag, lift and side force, about which a body rolls, yaws and pitches."""
        return np.stack([self.flow, self.up, np.cross(self.flow, self.up)])

    @classmethod
    def of(
        cls,
        data: Mapping[str, Any],
        density: float | None = None,
        velocity: float | None = None,
        area: float | None = None,
        flow: Sequence[float] | None = None,
        up: Sequence[float] | None = None,
        about: Sequence[float] | None = None,
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
            area=area,
            flow=along,
            up=lift,
            trained_density=data["density"],
            trained_velocity=data["velocity"],
            coefficient=bool(data.get("coefficient", False)),
            about=_point(data.get("about", (0.0, 0.0, 0.0)) if about is None else about),
        )


def integrals(
    points: np.ndarray,
    triangle: np.ndarray,
    pressure: np.ndarray,
    shear: np.ndarray | None = None,
    about: Sequence[float] = (0.0, 0.0, 0.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Force (3,) and moment (3,) about a point, see the head of this file.

    Args:
        points: (N, 3).
        triangle: (F, 3), outward.
        pressure: (N,).
        shear: (N, 3) stress of the fluid on the wall, in the unit of the pressure; None: not known, not counted.
        about: the point.
    """
    corner, vectors = points[triangle] - np.asarray(about), area_vectors(points, triangle)
    p = np.asarray(pressure, np.float64)[triangle]  # (F, 3)
    arm = (np.einsum("fc,fcd->fd", p, corner) + p.sum(1)[:, None] * corner.sum(1)) / 12  # mean of p x
    force, moment = -(p.mean(1)[:, None] * vectors).sum(0), -np.cross(arm, vectors).sum(0)
    if shear is not None:
        stress, area = np.asarray(shear, np.float64)[triangle], np.linalg.norm(vectors, axis=1)[:, None]
        turning = (np.cross(corner, stress).sum(1) + np.cross(corner.sum(1), stress.sum(1))) / 12
        force, moment = force + (area * stress.mean(1)).sum(0), moment + (area * turning).sum(0)
    return force, moment


def surface_forces(
    points: np.ndarray, surface: Surface, pressure: np.ndarray, reference: Reference, shear: np.ndarray | None = None
) -> dict[str, float]:
    """Drag, lift and side force, roll, yaw and pitch (moments about the directions of these), at the training's stream.

    In newtons and newton metres where lengths are in metres; of coefficients over the dynamic pressure. Arguments as
    :func:`pressure_forces`.
    """
    pressure = np.asarray(pressure, dtype=np.float64)
    # Constant parts cancel on a closed surface; taking the mean away first keeps rounding (and open gaps) small.
    level = float(pressure[surface.triangle].mean()) if surface.closed else 0.0
    force, moment = integrals(points, surface.triangle, pressure - level, shear, reference.about)
    values = np.concatenate([reference.axes @ force, reference.axes @ moment])
    return dict(zip(COMPONENTS, values.tolist(), strict=True))


def element_forces(
    points: np.ndarray,
    normal: np.ndarray,
    area: np.ndarray,
    pressure: np.ndarray,
    reference: Reference,
    shear: np.ndarray | None = None,
) -> dict[str, float]:
    """As :func:`surface_forces`, of elements with an area and one value each: sums in the place of the integrals.

    Args:
        points, normal: (N, 3) centres and outward unit normals.
        area: (N,); values at elements without any do not count.
        pressure, shear: (N,) and (N, 3).
    """
    there = area > 0
    stress = -np.asarray(pressure, np.float64)[there, None] * normal[there]
    stress = stress if shear is None else stress + shear[there]
    force = area[there, None] * stress
    moment = np.cross(points[there] - np.asarray(reference.about), force)
    values = np.concatenate([reference.axes @ force.sum(0), reference.axes @ moment.sum(0)])
    return dict(zip(COMPONENTS, values.tolist(), strict=True))


def pressure_forces(
    points: np.ndarray, surface: Surface, pressure: np.ndarray, reference: Reference, shear: np.ndarray | None = None
) -> dict[str, Any]:
    """Coefficients and newtons of drag, lift and side force, moments, and what they refer to.

    Args:
        points: (N, 3).
        surface: outward triangles.
        pressure: (N,) as predicted: at the density and velocity of training, or a coefficient.
        reference: see :class:`Reference`. A pressure coefficient is taken not to depend on the Reynolds number: at
            another density and velocity it stays, and newtons grow with rho U^2 / 2.
        shear: (N, 3) wall shear stress, as the pressure; None: not known, and not part of the forces.
    """
    found = surface_forces(points, surface, pressure, reference, shear)
    over_q = {name: value * reference.inverse_q for name, value in found.items()}  # areas, and times lengths
    along = {name: over_q[name] for name in ("drag", "lift", "side")}
    area = silhouette(points, surface.triangle, reference.flow) if reference.area is None else reference.area
    q = 0.5 * reference.density * reference.velocity**2
    return {
        "coefficients": {name: value / area for name, value in along.items()},
        "newtons": {name: value * q for name, value in along.items()},
        "newton_metres": {name: over_q[name] * q for name in ("roll", "yaw", "pitch")},
        "reference": {
            "area": area,
            "area_is": "silhouette along the stream" if reference.area is None else "given",
            "density": reference.density,
            "velocity": reference.velocity,
            "flow": list(reference.flow),
            "up": list(reference.up),
            "about": list(reference.about),
        },
        "surface": {
            "triangles": len(surface.triangle),
            "area": float(np.linalg.norm(area_vectors(points, surface.triangle), axis=1).sum()),
            "closed": surface.closed,
            "turned": surface.flipped,
            "open_edges": surface.open_edges,
        },
        "note": f"{_parts(shear is not None)}; newtons if lengths are in metres",
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
    parts = forces["note"].partition(";")[0]
    return (
        f"Cd {c['drag']:.4f}, Cl {c['lift']:.4f}, Cs {c['side']:.4f}; drag {n['drag']:.4g} N, lift {n['lift']:.4g} N, "
        f"side {n['side']:.4g} N ({parts}; area {r['area']:.4g} {r['area_is']}, density {r['density']:g}, "
        f"velocity {r['velocity']:g})"
    )


def _eroded(image: np.ndarray) -> np.ndarray:
    """Pixels whose four neighbours are set too."""
    padded = np.pad(image, 1)
    return image & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _parts(with_shear: bool) -> str:
    return "pressure and wall shear stress" if with_shear else "pressure only, no friction"


def _point(given: Sequence[float]) -> tuple[float, float, float]:
    point = np.asarray(given, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise InputError(f"--about: got {list(given)}, wanted three numbers")
    x, y, z = point.tolist()
    return x, y, z


def _unit(name: str, direction: Sequence[float]) -> tuple[float, float, float]:
    vector = np.asarray(direction, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if vector.shape != (3,) or not 0 < length < np.inf:
        raise InputError(f"{name}: got {list(direction)}, wanted three numbers, not all 0")
    x, y, z = (vector / length).tolist()
    return x, y, z


def pressure_channel(surface: Mapping[str, Any] | None, targets: Sequence[Sequence[Any]]) -> int:
    """Where among ``targets``, fields with their widths, the pressure of ``surface_pressure`` is; else the first."""
    found = channels_named(surface, "field", targets)
    return 0 if found is None else found.start


def channels_named(surface: Mapping[str, Any] | None, key: str, targets: Sequence[Sequence[Any]]) -> slice | None:
    """Where the field is that it names as ``key`` ("shear": its wall shear stress); None where it says of none."""
    wanted = (surface or {}).get(key)
    return next((own for name, own in field_channels(targets) if name == wanted), None)
