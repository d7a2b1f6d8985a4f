"""The flow past an ellipsoid against the sphere, quadrature and the laws it must obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from pointcept_bsa.datasets.ellipsoid_flow import EllipsoidFlowDataset
from pointcept_bsa.datasets.ellipsoid_flow_joint import EllipsoidFlowJointDataset
from pointcept_bsa.datasets.potential_flow import (
    ellipsoid_alpha,
    ellipsoid_normal,
    ellipsoid_pressure_coefficient,
    ellipsoid_surface_velocity,
    random_rotation,
    sample_ellipsoid_surface,
)
from pointcept_bsa.errors import InputError

semi_axes = st.tuples(*[st.floats(0.1, 5.0)] * 3).map(np.array)
seeds = st.integers(0, 2**31)
quick = settings(max_examples=25, deadline=None)


def test_sphere_is_one_minus_nine_quarters_sine_squared():
    rng = np.random.default_rng(0)
    points = 0.7 * (u := rng.normal(size=(500, 3))) / np.linalg.norm(u, axis=1, keepdims=True)
    stream = np.array([1.0, -2.0, 0.5])
    cosine = points @ stream / (0.7 * np.linalg.norm(stream))
    cp = ellipsoid_pressure_coefficient(points, np.full(3, 0.7), stream)
    np.testing.assert_allclose(cp, 1 - 2.25 * (1 - cosine**2), atol=1e-13)


@quick
@given(semi_axes)
def test_alpha_equals_its_integral_and_sums_to_two(axes):
    alpha = ellipsoid_alpha(axes)
    assert alpha.sum() == pytest.approx(2, rel=1e-12)
    scale = axes.max() ** 2
    for i in range(3):
        # l = scale t / (1 - t) maps the half line onto [0, 1)
        def integrand(t, i=i):
            length = scale * t / (1 - t)
            return scale / (1 - t) ** 2 / ((axes[i] ** 2 + length) * np.sqrt(np.prod(axes**2 + length)))

        assert alpha[i] == pytest.approx(axes.prod() * quad(integrand, 0, 1, limit=200)[0], rel=1e-6)


@quick
@given(semi_axes, seeds)
def test_flow_is_tangential_bounded_and_stops_at_two_points(axes, seed):
    rng = np.random.default_rng(seed)
    points, stream = sample_ellipsoid_surface(200, axes, rng), rng.normal(size=3)
    velocity = ellipsoid_surface_velocity(points, axes, stream)
    fastest = np.linalg.norm((1 + (alpha := ellipsoid_alpha(axes)) / (2 - alpha)) * stream)
    np.testing.assert_allclose((velocity * ellipsoid_normal(points, axes)).sum(axis=1), 0, atol=1e-12 * fastest)
    cp = ellipsoid_pressure_coefficient(points, axes, stream)
    assert cp.max() <= 1 + 1e-12 and cp.min() >= 1 - (fastest / np.linalg.norm(stream)) ** 2 - 1e-9
    # the normal is along W = (1 + k) U where the flow stops: x_i = a_i^2 W_i / |a W|
    constant = (1 + alpha / (2 - alpha)) * stream
    stop = axes**2 * constant / np.linalg.norm(axes * constant)
    np.testing.assert_allclose(ellipsoid_pressure_coefficient(np.stack([stop, -stop]), axes, stream), 1, atol=1e-12)


@quick
@given(semi_axes, seeds)
def test_no_force_in_potential_flow(axes, seed):
    """d'Alembert: Cp is even in x, so the pressures on opposite points cancel."""
    rng = np.random.default_rng(seed)
    points, stream = sample_ellipsoid_surface(50, axes, rng), rng.normal(size=3)
    there = ellipsoid_pressure_coefficient(points, axes, stream)
    np.testing.assert_allclose(ellipsoid_pressure_coefficient(-points, axes, -stream), there, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ellipsoid_pressure_coefficient(-points, axes, stream), there, rtol=1e-9, atol=1e-9)


def test_surface_velocity_is_the_gradient_of_the_potential_outside():
    """An independent check: the potential around the body, differentiated numerically next to the wall."""
    axes, stream = np.array([0.4, 0.7, 1.0]), np.array([0.3, -1.0, 0.8])
    points = sample_ellipsoid_surface(6, axes, np.random.default_rng(1))
    alpha = ellipsoid_alpha(axes)

    def potential(x):
        lam = _confocal(x, axes)
        chi = [
            axes.prod()
            * quad(
                lambda t, i=i: (1 - t) ** -2 / ((axes[i] ** 2 + lam + _line(t)) * _delta(lam + _line(t), axes)), 0, 1
            )[0]
            for i in range(3)
        ]
        return stream @ x + np.sum(stream * x * np.array(chi) / (2 - alpha))

    normal = ellipsoid_normal(points, axes)
    expected = ellipsoid_surface_velocity(points, axes, stream)
    for point, n, velocity in zip(points, normal, expected, strict=True):
        gradient = _one_sided_gradient(potential, point + 2e-4 * n)
        assert np.abs(gradient @ n) < 3e-3
        np.testing.assert_allclose(gradient, velocity, atol=5e-3)


def _line(t):
    return t / (1 - t)


def _delta(length, axes):
    return np.sqrt(np.prod(axes**2 + length))


def _confocal(x, axes):
    """The largest root l of sum x_i^2 / (a_i^2 + l) = 1."""
    from scipy.optimize import brentq

    return brentq(lambda s: np.sum(x**2 / (axes**2 + s)) - 1, 0.0, 10.0, xtol=1e-15)


def _one_sided_gradient(function, point, step=1e-4):
    return np.array([(function(point + e) - function(point - e)) / (2 * step) for e in step * np.eye(3)])


def test_points_are_uniform_over_the_surface():
    """On a spheroid the share of area within |z| <= h has a closed form."""
    axes = np.array([1.0, 1.0, 0.3])
    points = sample_ellipsoid_surface(40_000, axes, np.random.default_rng(0))
    np.testing.assert_allclose(np.sum((points / axes) ** 2, axis=1), 1, atol=1e-12)

    def area(h):  # of the zone |z| <= h: 2 * 2 pi int_0^h r sqrt(1 + r'^2) dz
        c = axes[2]
        return quad(lambda z: np.sqrt((1 - (z / c) ** 2) + (z / c**2) ** 2), 0, h)[0]

    for h in (0.1, 0.2, 0.25):
        share = np.mean(np.abs(points[:, 2]) <= h)
        assert share == pytest.approx(area(h) / area(0.3), abs=0.012)  # 4 standard errors of 40,000 points are 0.01


def test_random_rotations_are_rotations():
    for seed in range(20):
        matrix = random_rotation(np.random.default_rng(seed))
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1)


@pytest.mark.parametrize("axes", [(1, 1, 0), (1, -1, 1), (1, 1), (1, 1, np.nan)])
def test_impossible_ellipsoids_are_refused(axes):
    with pytest.raises(ValueError, match="axes: got"):
        ellipsoid_alpha(np.array(axes, dtype=float))


def test_dataset_is_deterministic_and_splits_differ():
    first, again = (EllipsoidFlowDataset("train", num_samples=3, num_points=50, seed=4)[1] for _ in range(2))
    for key in ("coord", "normal", "target"):
        np.testing.assert_array_equal(first[key], again[key])
    assert first["name"] == "ellipsoid_train_1" and first["coord"].shape == (50, 3) and first["target"].shape == (50, 1)
    others = [
        EllipsoidFlowDataset("test", num_samples=3, num_points=50, seed=4)[1],
        EllipsoidFlowDataset("train", num_samples=3, num_points=50, seed=5)[1],
        EllipsoidFlowDataset("train", num_samples=3, num_points=50, seed=4)[2],
    ]
    assert all(np.abs(other["coord"] - first["coord"]).max() > 0.01 for other in others)


def test_dataset_stream_runs_along_x():
    """A sphere has Cp = 1 - 9/4 (1 - n_x^2) only if the stream of the given frame is +x or -x; n is x / |x|."""
    data = EllipsoidFlowDataset(num_samples=2, num_points=100, axes=(0.5, 0.5))[1]
    np.testing.assert_allclose(data["normal"], data["coord"] / 0.5, atol=1e-6)
    np.testing.assert_allclose(data["target"][:, 0], 1 - 2.25 * (1 - data["normal"][:, 0] ** 2), atol=1e-5)


def test_dataset_statistics_are_those_of_the_training_samples_for_every_split():
    sets = {s: EllipsoidFlowDataset(s, num_samples=5, num_points=40) for s in ("train", "test")}
    values = np.concatenate([sample["target"] for sample in sets["train"]])
    for data in sets.values():
        statistics = data.target_statistics()
        np.testing.assert_allclose([*statistics["mean"], *statistics["std"]], [values.mean(), values.std()], rtol=1e-5)


@pytest.mark.parametrize(
    "arguments", [{"num_samples": 0}, {"num_points": 1.5}, {"axes": (0, 1)}, {"axes": (2, 1)}, {"data_root": "x"}]
)
def test_wrong_arguments_are_named(arguments):
    with pytest.raises(InputError, match=f"{next(iter(arguments))}: got"):
        EllipsoidFlowDataset(**arguments)


def test_other_bodies_are_another_protocol():
    """Rounder ones are easier: their errors do not stand beside those of others."""
    assert EllipsoidFlowDataset("test", num_samples=2, seed=3).protocol_name() == "seed 3"
    rounder = EllipsoidFlowDataset("test", num_samples=2, axes=(0.8, 1.0)).protocol_name()
    assert rounder == "seed 0, semi-axes 0.8 to 1"
    joint = EllipsoidFlowJointDataset("test", num_samples=2, axes=[0.3, 1], reach=2.0).protocol_name()
    assert joint == "seed 0, reach 2"
