"""Painting: what looks at the camera is seen, colours are those of the values, NaN stays blank."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.spatial import ConvexHull

from pointcept_bsa.training.evaluation.canvas import Canvas, camera_axes, near_zero


def sphere(count=400):
    points = np.random.randn(count, 3)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    face = ConvexHull(points).simplices
    corner = points[face]
    inward = np.einsum("fd,fd->f", np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), corner[:, 0]) < 0
    face[inward] = face[inward][:, ::-1]
    return points, face


def pixels(canvas, values, **how):
    figure = Figure(figsize=(3, 3))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    canvas.paint(axes, values, **how)
    axes.set_axis_off()
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].reshape(-1, 3)


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_the_camera_is_a_rotation_with_up_on_the_screen(up):
    axes = camera_axes(up, 30, 50)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    vertical = np.eye(3)["xyz".index(up)]
    assert axes[0] @ vertical == pytest.approx(0)
    assert axes[1] @ vertical > 0
    assert axes[2] @ vertical == pytest.approx(0.5)


@pytest.mark.parametrize("inside_out", [False, True])
def test_points_seen_on_a_sphere_are_those_of_the_near_half(inside_out):
    points, face = sphere()
    canvas = Canvas(points, face[:, ::-1] if inside_out else face)
    seen = canvas.sees()
    assert seen[canvas.depth > 0.3].all()
    assert not seen[canvas.depth < -0.3].any()


@pytest.mark.parametrize("with_faces", [True, False])
def test_the_near_half_covers_the_far_half(with_faces):
    points, face = sphere(3000)
    canvas = Canvas(points, face if with_faces else None)
    colours = np.zeros((len(points), 4)) + [0, 0, 1, 1]
    colours[canvas.depth > 0] = [1, 0, 0, 1]
    image = pixels(canvas, colours).astype(int)
    red, blue = ((image[:, i] > 150) & (image[:, 2 - i] < 100) for i in (0, 2))
    assert red.sum() > (50 if with_faces else 40) * blue.sum()


def test_no_far_side_shows_between_the_dots_of_a_cloud():
    points, _ = sphere(3000)
    for coord in (points * [2, 1, 0.6], points):
        canvas = Canvas(coord)
        facing = (points / [2, 1, 0.6] if coord is not points else points) @ canvas.direction
        seen = canvas.sees()
        assert seen[facing > 0.3].mean() > 0.99 and not seen[facing < -0.5].any()
    volume = Canvas(np.random.rand(2000, 3))
    assert volume.sees().all()  # has no far side
    for few in (1, 2, 4):
        assert Canvas(np.random.rand(few, 3)).sees().shape == (few,)


def test_a_plane_cloud_is_filled_between_its_points_and_blank_elsewhere():
    x, y = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40))
    coord = np.stack([x.ravel(), y.ravel()], 1)
    coord = coord[coord.sum(1) > 1]  # a triangle
    values = np.full(len(coord), 1.0)
    values[coord[:, 0] < 0.5] = np.nan
    image = pixels(Canvas(coord), values, norm=Normalize(0, 1), cmap="viridis")
    top = (image == image[np.argmin(np.abs(image.astype(int) - [253, 231, 36]).sum(1))]).all(1).mean()
    white = (image == 255).all(1).mean()
    assert top == pytest.approx(0.375, abs=0.06)  # the triangle less the part with NaN
    assert white > 0.5


def test_positions_far_from_zero_are_drawn_from_a_round_number():
    coord = np.array([[432100.5, 0.2, -5612345.25], [432500.5, 0.9, -5612145.25]])
    near, origin = near_zero(coord)
    assert origin.tolist() == [432000, 0, -5613000]
    np.testing.assert_array_equal(near, [[100.5, 0.2, 654.75], [500.5, 0.9, 854.75]])
    single = np.full((3, 2), 7.5, dtype=np.float32)  # all points at one place
    near, origin = near_zero(single)
    np.testing.assert_allclose(near + origin, single)
