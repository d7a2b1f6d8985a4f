"""Drag and lift: against integrals that are known, and against real cars."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from pointcept_bsa.datasets.potential_flow import ellipsoid_faces, ellipsoid_pressure_coefficient, munk_moment
from pointcept_bsa.datasets.shapenet_car import ShapeNetCarDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import Mesh
from pointcept_bsa.training.evaluation.forces import Reference, integrals, pressure_forces, silhouette
from pointcept_bsa.training.evaluation.surface import area_vectors, outward_surface, point_normals, triangles_of

STREAM = {"density": 1.2, "velocity": 10.0, "flow": [1, 0, 0], "up": [0, 0, 1]}


def sphere(count=3000, radius=1.0):
    points = np.random.randn(count, 3)
    points *= radius / np.linalg.norm(points, axis=1, keepdims=True)
    return points, ConvexHull(points).simplices.astype(np.int64)


def box(a=1.0, b=2.0, c=3.0):
    corner = np.array([[x, y, z] for x in (0, a) for y in (0, b) for z in (0, c)], dtype=float)
    quad = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    return corner, triangles_of(Mesh(corner, {"quad": quad}))


def test_triangles_in_any_orientation_are_turned_outward():
    points, face = sphere()
    mixed = np.where((np.random.rand(len(face)) < 0.5)[:, None], face[:, ::-1], face)
    surface = outward_surface(points, mixed)
    assert surface.closed
    normal = area_vectors(points, surface.triangle)
    assert (np.einsum("fd,fd->f", normal, points[surface.triangle].mean(1)) > 0).all()
    assert normal.sum(0) == pytest.approx(0, abs=1e-12)


def test_two_bodies_are_each_turned_outward_and_loose_triangles_are_joined():
    points, face = sphere(300)
    both = np.concatenate([points, points + [5, 0, 0]])
    triangle = np.concatenate([face, face + 300])
    loose = both[triangle].reshape(-1, 3)  # an STL: every triangle has its own three points
    surface = outward_surface(loose, np.arange(len(loose)).reshape(-1, 3))
    assert surface.closed
    volume = np.einsum("fd,fd->", area_vectors(loose, surface.triangle), loose[surface.triangle].mean(1)) / 3
    assert volume == pytest.approx(2 * ConvexHull(points).volume)


def test_an_open_surface_and_a_crowded_edge_are_told():
    points, face = box()
    assert outward_surface(points, face).closed
    assert outward_surface(points, face[:-1]).open_edges == 3
    crowded = outward_surface(np.concatenate([points, [[9.0, 9, 9]]]), np.concatenate([face, [[0, 1, 8]]]))
    assert crowded.crowded_edges == 1 and not crowded.closed
    assert crowded.gaps == "2 edges of one triangle, 1 edges of three or more"


def structured_sphere(rows=12, columns=16):
    """Points and triangles of a grid in latitude and longitude: its poles and its seam are many points at one place."""
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns), indexing="ij")
    ring = np.stack([np.cos(azimuth), np.sin(azimuth)], -1)
    ring[:, -1] = ring[:, 0]
    points = np.concatenate([ring * np.sin(polar)[..., None], np.cos(polar)[..., None]], -1)
    points[0], points[-1] = (0, 0, 1), (0, 0, -1)
    number = np.arange(rows * columns).reshape(rows, columns)
    quad = np.stack([number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]], -1).reshape(-1, 4)
    return points.reshape(-1, 3), triangles_of(Mesh(points.reshape(-1, 3), {"quad": quad}))


def test_poles_and_seams_of_a_structured_grid_are_no_gaps():
    points, face = structured_sphere()
    surface = outward_surface(points, face)
    assert surface.closed and surface.gaps == ""
    assert len(surface.triangle) == 2 * 11 * 15 - 2 * 15  # a triangle of each quad at a pole has no area
    volume = np.einsum("fd,fd->", area_vectors(points, surface.triangle), points[surface.triangle].mean(1)) / 3
    assert volume == pytest.approx(ConvexHull(points).volume)
    forces = pressure_forces(points, surface, 101325.0 - 100.0 * points[:, 0], Reference.of(STREAM))
    assert forces["newtons"]["drag"] == pytest.approx(100.0 * volume)


def test_normals_of_a_sphere_are_its_radii():
    points, face = sphere(4000)
    normal = point_normals(points, outward_surface(points, face).triangle)
    assert np.einsum("nd,nd->n", normal, points).min() > 0.95


def test_pressure_on_one_side_of_a_box_pushes_with_pressure_times_area():
    points, face = box()
    surface = outward_surface(points, face)
    pressure = 100.0 * (1 - points[:, 0])  # 100 on x = 0, 0 on x = 1, sides in balance: gradient times volume
    forces = pressure_forces(points, surface, pressure, Reference.of(STREAM))
    assert forces["newtons"]["drag"] == pytest.approx(100.0 * 6.0)
    assert forces["newtons"]["lift"] == pytest.approx(0, abs=1e-9)
    assert forces["reference"]["area"] == pytest.approx(6.0, rel=2e-3)
    assert forces["coefficients"]["drag"] == pytest.approx(600 / (0.5 * 1.2 * 100 * 6), rel=2e-3)


def test_newtons_grow_with_the_dynamic_pressure_and_coefficients_stay():
    points, face = box()
    surface, pressure = outward_surface(points, face), 100.0 * (1 - points[:, 0])
    one, other = (
        pressure_forces(points, surface, pressure, Reference.of(STREAM, density=rho, velocity=v, area=2.0))
        for rho, v in ((None, None), (2.4, 30.0))
    )
    assert other["coefficients"] == pytest.approx(one["coefficients"])
    assert other["newtons"]["drag"] == pytest.approx(18 * one["newtons"]["drag"])
    assert one["coefficients"]["drag"] == pytest.approx(600 / (60 * 2.0))


def test_a_sphere_in_potential_flow_has_no_drag_and_a_wake_has_one():
    points, face = sphere()
    surface = outward_surface(points, face)
    reference = Reference.of({**STREAM, "coefficient": True})
    exact = 1 - 9 / 4 * (1 - points[:, 0] ** 2)
    assert pressure_forces(points, surface, exact, reference)["coefficients"]["drag"] == pytest.approx(0, abs=5e-3)
    wake = np.where(points[:, 0] > 0, -1.0, exact)
    assert pressure_forces(points, surface, wake, reference)["coefficients"]["drag"] > 0.5
    assert silhouette(points, surface.triangle, (1, 0, 0)) == pytest.approx(np.pi, rel=5e-3)


def test_a_constant_pressure_pushes_nowhere():
    points, face = sphere(500)
    forces = pressure_forces(points, outward_surface(points, face), np.full(500, 1e5), Reference.of(STREAM))
    assert np.abs(list(forces["newtons"].values())).max() < 1e-6


def test_real_cars_have_the_drag_of_cars_and_no_side_force(real_data):
    with np.load(real_data("shapenet_car_mini.npz")) as data:
        for i in range(3):
            points, face = data[f"points_{i}"].astype(float), data[f"faces_{i}"].astype(np.int64)
            reference = Reference.of(ShapeNetCarDataset.surface_pressure)
            forces = pressure_forces(points, outward_surface(points, face), data[f"pressure_{i}"], reference)
            assert 85 < forces["newtons"]["drag"] < 115
            assert abs(forces["newtons"]["side"]) < 0.4
            assert 0.2 < forces["coefficients"]["drag"] < 0.4


def test_forces_and_moments_of_linear_fields_are_exact():
    """Buoyancy: p = p0 + g x pushes with -g times the volume, at its centre. Stress a + b z on the walls of a box."""
    points, face = box()
    surface, about, gradient = outward_surface(points, face), np.array([4.0, -1.0, 2.0]), np.array([3.0, -2.0, 5.0])
    force, moment = integrals(points, surface.triangle, 7 + points @ gradient, about=about)
    assert force == pytest.approx(-6 * gradient)
    assert moment == pytest.approx(np.cross(np.array([0.5, 1.0, 1.5]) - about, -6 * gradient))
    shear = np.zeros((8, 3))
    shear[:, 0] = points[:, 2]  # along x, growing with z: 1.5 times the area 22, but of faces z = 0 none and z = 3 all
    force, moment = integrals(points, surface.triangle, np.zeros(8), shear)
    assert force == pytest.approx([1.5 * (2 * 6 + 2 * 3) + 3 * 2, 0, 0])
    # about y: integral of z tau = of the sides (perimeter 6) times 3^3 / 3, and 3 * 3 on the top (area 2)
    assert moment == pytest.approx([0, 6 * 9 + 2 * 9, -1.0 * force[0]])


def test_a_turning_sphere_is_braked_by_the_moment_of_its_shear():
    points, face = sphere(6000, radius=2.0)
    turning = np.array([0.3, -0.2, 0.5])
    shear = np.cross(turning, points / 2.0)  # tangential: omega x n
    force, moment = integrals(points, outward_surface(points, face).triangle, np.ones(len(points)), shear)
    assert force == pytest.approx(0, abs=2e-2)
    assert moment == pytest.approx(8 / 3 * np.pi * 2.0**3 * turning, rel=5e-3, abs=0.05)


@pytest.mark.parametrize("axes", [(1.0, 1.0, 1.0), (1.0, 0.6, 0.4), (0.35, 0.9, 0.5)])
def test_an_ellipsoid_has_no_force_and_the_moment_of_munk(axes):
    axes, stream = np.array(axes), np.array([0.6, -0.5, 0.62])
    errors = []
    for count in (1000, 8000):
        points = np.random.randn(count, 3)
        points *= axes / np.linalg.norm(points, axis=1, keepdims=True)
        surface = outward_surface(points, ellipsoid_faces(points, axes))
        assert surface.closed and surface.flipped == 0 and len(np.unique(surface.triangle)) == count
        force, moment = integrals(
            points, surface.triangle, ellipsoid_pressure_coefficient(points, axes, stream), about=(0, 0, 0)
        )
        errors.append(max(np.abs(force).max(), np.abs(moment - munk_moment(axes, stream)).max()))
    assert errors[1] < 5e-3 and errors[1] < 0.5 * errors[0]
    assert np.abs(munk_moment(axes, stream)).max() > 0.05 or len(set(axes)) == 1


def test_moments_turn_with_the_reference():
    points, face = box()
    surface, pressure = outward_surface(points, face), 100.0 * (1 - points[:, 0])
    forces = pressure_forces(points, surface, pressure, Reference.of(STREAM, about=(0, 0, 0)))
    assert forces["newtons"]["drag"] == pytest.approx(600)  # at y = 1, z = 1.5: turns about y, and about -z
    # side is flow x up = x cross z = -y
    assert forces["newton_metres"] == pytest.approx({"roll": 0, "yaw": -600.0, "pitch": -900.0}, abs=1e-9)
    centred = pressure_forces(points, surface, pressure, Reference.of(STREAM, about=(9, 1, 1.5)))
    assert centred["newton_metres"] == pytest.approx({"roll": 0, "yaw": 0, "pitch": 0}, abs=1e-9)
    assert centred["reference"]["about"] == [9, 1, 1.5]
    sheared = pressure_forces(points, surface, pressure, Reference.of(STREAM), np.ones((8, 3)))
    assert sheared["newtons"]["drag"] == pytest.approx(622) and "shear" in sheared["note"]


@pytest.mark.parametrize("first", range(6))
@pytest.mark.parametrize("backward", [False, True])
def test_a_body_with_concave_caps_has_its_area_silhouette_and_thrust(first, backward):
    """An L (area 3, perimeter 8) drawn out by 1 along the stream, from every corner its caps can begin with."""
    outline = np.roll(np.array([[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], float), -first, axis=0)
    points = np.concatenate([np.c_[np.zeros(6), outline], np.c_[np.ones(6), outline]])
    sides = np.array([[i, (i + 1) % 6, (i + 1) % 6 + 6, i + 6] for i in range(6)])
    caps = np.array([[0, 5, 4, 3, 2, 1], np.arange(6) + 6])
    mesh = Mesh(points, {"polygon6": caps[:, ::-1] if backward else caps, "quad": sides})
    surface = outward_surface(points, triangles_of(mesh))
    assert surface.closed and len(surface.triangle) == 2 * 4 + 6 * 2
    forces = pressure_forces(points, surface, points[:, 0], Reference.of({**STREAM, "coefficient": True}))
    assert forces["surface"]["area"] == pytest.approx(14)
    assert forces["reference"]["area"] == pytest.approx(3, rel=2e-3)
    assert forces["coefficients"]["drag"] == pytest.approx(-1, rel=2e-3)
    assert forces["coefficients"]["lift"] == pytest.approx(0, abs=1e-12)


def test_a_concave_quad_is_cut_where_it_lies_inside():
    dart = np.array([[0, 0, 0], [2, -1, 0], [0.5, 0, 0], [2, 1, 0]], float)
    for first in range(4):
        face = triangles_of(Mesh(dart, {"quad": np.roll(np.arange(4), first)[None]}))
        assert np.linalg.norm(area_vectors(dart, face), axis=1).sum() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(density=0.0), "--density"),
        (dict(area=float("inf")), "--area"),
        (dict(flow=[0, 0, 0]), "--flow"),
        (dict(up=[1, 0, 1]), "across the stream"),
        (dict(about=[0, 1]), "--about"),
    ],
)
def test_a_reference_without_sense_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        Reference.of(STREAM, **given)
