"""Exact potential flow past a triaxial ellipsoid in a uniform stream.

With semi-axes a and stream U in the body frame, the surface potential is ``phi = sum_i (1 + k_i) U_i x_i`` with
``k_i = alpha_i / (2 - alpha_i)`` (H. Lamb, Hydrodynamics, 6th ed., article 114), so the surface velocity is the
tangential part of the constant vector ``(1 + k_i) U_i`` and ``Cp = 1 - |V|^2 / |U|^2``. Around the body the potential
is ``phi = sum_i (1 + alpha_i(lambda) / (2 - alpha_i)) U_i x_i``, lambda that of the confocal ellipsoid through x.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull
from scipy.special import elliprd


def ellipsoid_alpha(axes: np.ndarray) -> np.ndarray:
    """Return ``alpha_i = a1 a2 a3 int_0^inf dl / ((a_i^2 + l) Delta(l))``, ``Delta^2 = prod_j (a_j^2 + l)``.

    By Carlson's integral: ``alpha_i = (2/3) a1 a2 a3 RD(a_j^2, a_k^2, a_i^2)``. The three sum to 2.

    Args:
        axes: semi-axes (3,), positive.

    Raises:
        ValueError: not three positive numbers.
    """
    axes = np.asarray(axes, dtype=np.float64)
    if axes.shape != (3,) or not np.all(axes > 0) or not np.all(np.isfinite(axes)):
        raise ValueError(f"axes: got {axes.tolist()}, wanted three positive numbers")
    square = axes**2
    integral = [elliprd(square[(i + 1) % 3], square[(i + 2) % 3], square[i]) for i in range(3)]
    return (2.0 / 3.0) * axes.prod() * np.array(integral)


def ellipsoid_normal(points: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the outward unit normals (N, 3) at surface points (N, 3) of the ellipsoid, body frame."""
    gradient = np.asarray(points, dtype=np.float64) / np.asarray(axes, dtype=np.float64) ** 2
    return gradient / np.linalg.norm(gradient, axis=1, keepdims=True)


def ellipsoid_surface_velocity(points: np.ndarray, axes: np.ndarray, stream: np.ndarray) -> np.ndarray:
    """Return the velocity (N, 3) of the potential flow at surface points (N, 3); body frame, units of ``stream``."""
    alpha = ellipsoid_alpha(axes)
    constant = (1.0 + alpha / (2.0 - alpha)) * np.asarray(stream, dtype=np.float64)  # (3,)
    normal = ellipsoid_normal(points, axes)
    return constant - (normal @ constant)[:, None] * normal


def ellipsoid_pressure_coefficient(points: np.ndarray, axes: np.ndarray, stream: np.ndarray) -> np.ndarray:
    """Return ``Cp = (p - p_inf) / (rho |U|^2 / 2)`` (N,) at surface points.

    Args:
        points: (N, 3) on the ellipsoid, body frame (the axes along x, y, z).
        axes: semi-axes (3,).
        stream: velocity far away (3,), body frame; only its direction matters.

    Raises:
        ValueError: axes not positive, a zero stream.
    """
    stream = np.asarray(stream, dtype=np.float64)
    speed_squared = float(stream @ stream)
    if not speed_squared > 0:
        raise ValueError(f"stream: got {stream.tolist()}, wanted a vector that is not zero")
    velocity = ellipsoid_surface_velocity(points, axes, stream)
    return 1.0 - np.square(velocity).sum(axis=1) / speed_squared


def confocal_parameter(points: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the largest root lambda (N,) of ``sum_i x_i^2 / (a_i^2 + lambda) = 1``; 0 on the ellipsoid and inside.

    Newton's method from below: the sum falls and is convex, so that no step goes beyond the root.
    """
    square = np.asarray(axes, dtype=np.float64) ** 2
    x2 = np.asarray(points, dtype=np.float64) ** 2
    root = np.maximum(x2.sum(1) - square.max(), 0.0)
    for _ in range(60):
        share = x2 / (square + root[:, None])
        step = (share.sum(1) - 1.0) / (share / (square + root[:, None])).sum(1)
        root = root + np.maximum(step, 0.0)
        if not (step > 1e-14 * (square.max() + root)).any():
            break
    return root


def ellipsoid_velocity(points: np.ndarray, axes: np.ndarray, stream: np.ndarray) -> np.ndarray:
    """Return the velocity (N, 3), the gradient of the potential, at points (N, 3) on the ellipsoid or outside of it.

    Body frame, units of ``stream``. With ``d alpha_j / d lambda = -a1 a2 a3 / ((a_j^2 + lambda) Delta(lambda))`` and
    ``d lambda / d x_i = 2 x_i / (a_i^2 + lambda) / sum_k (x_k / (a_k^2 + lambda))^2``.
    """
    points, axes = np.asarray(points, dtype=np.float64), np.asarray(axes, dtype=np.float64)
    stream = np.asarray(stream, dtype=np.float64)
    strength = stream / (2.0 - ellipsoid_alpha(axes))  # (3,)
    square = axes**2 + confocal_parameter(points, axes)[:, None]  # (N, 3) of the confocal ellipsoid
    volume = axes.prod()
    integral = [elliprd(square[:, (i + 1) % 3], square[:, (i + 2) % 3], square[:, i]) for i in range(3)]
    alpha = (2.0 / 3.0) * volume * np.stack(integral, axis=1)
    slope = -volume / (square * np.sqrt(square.prod(1))[:, None])
    scaled = points / square
    reflection = 2.0 * scaled / np.square(scaled).sum(1, keepdims=True)
    return stream + alpha * strength + reflection * (points * slope * strength).sum(1, keepdims=True)


def sample_ellipsoid_surface(num_points: int, axes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return ``num_points`` points (N, 3) independent and uniform over the *surface* of the ellipsoid, body frame.

    Directions uniform on the unit sphere are stretched by the axes; a patch there grows by
    ``a1 a2 a3 |u / a|``, so a direction u is accepted with the probability ``min(a) |u / a|``.
    """
    axes = np.asarray(axes, dtype=np.float64)
    accepted: list[np.ndarray] = []
    missing = num_points
    while missing > 0:
        direction = rng.normal(size=(2 * missing + 16, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        growth = axes.min() * np.linalg.norm(direction / axes, axis=1)  # in (0, 1]
        kept = direction[rng.random(len(direction)) < growth][:missing]
        accepted.append(kept * axes)
        missing -= len(kept)
    return np.concatenate(accepted) if accepted else np.empty((0, 3))


def ellipsoid_faces(points: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return outward triangles (F, 3) between surface points (N, 3), N >= 4: their convex hull, body frame.

    All points are corners of it, as they are on the unit sphere that the axes shrink the ellipsoid to.
    """
    unit = np.asarray(points, dtype=np.float64) / np.asarray(axes, dtype=np.float64)
    face = ConvexHull(unit / np.linalg.norm(unit, axis=1, keepdims=True)).simplices
    a, b, c = unit[face].swapaxes(0, 1)
    inward = np.einsum("fd,fd->f", np.cross(b - a, c - a), a) < 0
    return np.where(inward[:, None], face[:, ::-1], face).astype(np.int64)


def munk_moment(axes: np.ndarray, stream: np.ndarray) -> np.ndarray:
    """Return the moment (3,) of the flow on the ellipsoid, over rho |U|^2 / 2; body frame. The force is zero.

    Kirchhoff: a body that moves with velocity V (here -U) in fluid at rest feels -V x dT/dV, where the energy of the
    fluid is T = rho vol sum_i k_i V_i^2 / 2 with the k_i above (Lamb, articles 114 and 124).
    """
    axes, stream = np.asarray(axes, dtype=np.float64), np.asarray(stream, dtype=np.float64)
    alpha = ellipsoid_alpha(axes)
    volume = 4.0 / 3.0 * np.pi * axes.prod()
    return -2.0 * volume * np.cross(stream, alpha / (2.0 - alpha) * stream) / float(stream @ stream)


def added_mass_coefficient(axes: np.ndarray, stream: np.ndarray) -> float:
    """Return the mass of fluid that moves with the ellipsoid along the stream over that of its volume, sum k_i u_i^2.

    The k_i are those at the head of this file.
    """
    alpha, stream = ellipsoid_alpha(axes), np.asarray(stream, dtype=np.float64)
    return float((alpha / (2.0 - alpha)) @ stream**2 / (stream @ stream))


def frontal_area(axes: np.ndarray, stream: np.ndarray) -> float:
    """Return the area of the ellipsoid's shadow along the stream: pi a1 a2 a3 |u / a|."""
    axes, stream = np.asarray(axes, dtype=np.float64), np.asarray(stream, dtype=np.float64)
    return float(np.pi * axes.prod() * np.linalg.norm(stream / axes) / np.linalg.norm(stream))


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Return a rotation matrix (3, 3), uniform over all rotations (from a uniform unit quaternion)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
