"""Clouds of several domains: the flow around an ellipsoid against closed forms, samples, transforms, errors."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets.domains import JointFieldDataset, Quantity
from pointcept_bsa.datasets.ellipsoid_flow import EllipsoidFlowDataset
from pointcept_bsa.datasets.ellipsoid_flow_joint import EllipsoidFlowJointDataset
from pointcept_bsa.datasets.potential_flow import (
    confocal_parameter,
    ellipsoid_surface_velocity,
    ellipsoid_velocity,
    sample_ellipsoid_surface,
)
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import TRANSFORMS, Compose, collate_fn

AXES, STREAM = np.array([0.3, 0.7, 1.0]), np.array([0.5, -1.0, 0.3])


def outside(count: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    return sample_ellipsoid_surface(count, AXES, rng) * rng.uniform(1.05, 3.0, size=(count, 1))


def test_the_flow_around_a_sphere_is_that_of_a_dipole():
    rng = np.random.default_rng(1)
    normal = (u := rng.normal(size=(50, 3))) / np.linalg.norm(u, axis=1, keepdims=True)
    distance = rng.uniform(0.7, 5.0, size=(50, 1))
    expected = STREAM + 0.7**3 / (2 * distance**3) * (STREAM - 3 * (normal @ STREAM)[:, None] * normal)
    np.testing.assert_allclose(ellipsoid_velocity(distance * normal, np.full(3, 0.7), STREAM), expected, atol=1e-13)


def test_the_velocity_has_no_sources_and_no_curl():
    points, step = outside(), 1e-5
    gradient = np.stack(
        [
            (ellipsoid_velocity(points + e, AXES, STREAM) - ellipsoid_velocity(points - e, AXES, STREAM)) / (2 * step)
            for e in step * np.eye(3)
        ],
        axis=1,
    )
    np.testing.assert_allclose(np.trace(gradient, axis1=1, axis2=2), 0, atol=1e-7)
    np.testing.assert_allclose(gradient, gradient.transpose(0, 2, 1), atol=1e-7)


def test_the_velocity_meets_that_of_the_surface_and_the_stream_far_away():
    surface = sample_ellipsoid_surface(50, AXES, np.random.default_rng(2))
    expected = ellipsoid_surface_velocity(surface, AXES, STREAM)
    np.testing.assert_allclose(ellipsoid_velocity(surface, AXES, STREAM), expected, atol=1e-12)
    np.testing.assert_allclose(ellipsoid_velocity(1000 * surface, AXES, STREAM), np.tile(STREAM, (50, 1)), atol=1e-7)


def test_a_point_lies_on_its_confocal_ellipsoid():
    points = outside()
    root = confocal_parameter(points, AXES)
    np.testing.assert_allclose((points**2 / (AXES**2 + root[:, None])).sum(1), 1, atol=1e-12)
    assert (confocal_parameter(0.5 * sample_ellipsoid_surface(20, AXES, np.random.default_rng(0)), AXES) == 0).all()


def joint(split="train", **options):
    return EllipsoidFlowJointDataset(split, num_samples=3, num_points=dict(surface=20, volume=30), **options)


def test_a_joint_sample_is_one_cloud():
    data = joint().get_data(1)
    assert data["domain_names"] == ("surface", "volume") and data["domain"].dtype == np.int64
    np.testing.assert_array_equal(data["domain"], [0] * 20 + [1] * 30)
    assert data["target"].shape == (50, 5) and data["target"].dtype == np.float32
    assert not data["target"][:20, 1:].any() and not data["target"][20:, 0].any()
    np.testing.assert_allclose(data["target"][20:, 4], 1 - (data["target"][20:, 1:4] ** 2).sum(1), atol=1e-6)
    assert not data["normal"][20:].any()
    np.testing.assert_allclose(np.linalg.norm(data["normal"][:20], axis=1), 1, atol=1e-6)


def test_the_body_is_that_of_the_set_of_surfaces_alone():
    alone = EllipsoidFlowDataset("train", num_samples=3, num_points=20).get_data(1)
    data = joint().get_data(1)
    np.testing.assert_array_equal(data["coord"][:20], alone["coord"])
    np.testing.assert_array_equal(data["target"][:20, :1], alone["target"])


def test_statistics_of_a_channel_are_of_its_own_domain():
    samples = [joint().get_data(i) for i in range(3)]
    statistics = joint("test").target_statistics()
    for channel in range(5):
        values = np.concatenate([s["target"][s["domain"] == (channel > 0), channel] for s in samples])
        assert statistics["mean"][channel] == pytest.approx(values.mean(), abs=1e-6)
        assert statistics["std"][channel] == pytest.approx(values.std(), rel=1e-4)


class Two(JointFieldDataset):
    """A plate of two triangles and air, with whatever parts a test wants."""

    domains = {"plate": {"load": Quantity("Pa")}, "air": {"wind": Quantity("m/s", 2), "load": Quantity("Pa")}}
    parts = {
        "plate": {"coord": np.eye(4, 3), "load": np.arange(4.0), "face": np.array([[0, 1, 2], [1, 2, 3]])},
        "air": {"coord": np.ones((2, 3)), "wind": np.ones((2, 2)), "load": np.ones(2), "face": np.empty((0, 3), int)},
    }

    def list_samples(self):
        return ["one"]

    def load_domains(self, index):
        return self.parts


def test_names_faces_and_equal_names_of_targets():
    data = Two().get_data(0)
    assert Two().target_fields == ("plate/load", "air/wind", "air/load")
    assert Two().target_names == ("plate/load", "air/wind_x", "air/wind_y", "air/load")
    np.testing.assert_array_equal(data["target"][:4, 0], np.arange(4))
    np.testing.assert_array_equal(data["target"][4:, 1:], 1)
    np.testing.assert_array_equal(data["face"], [[0, 1, 2], [1, 2, 3]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sea": Two.parts["air"]}, "domain 'sea' is none of"),
        ({"air": {**Two.parts["air"], "coord": np.empty((0, 3))}}, "domain 'air' has no points"),
        ({"air": None}, "domain 'air' has no points"),
        ({"air": {**Two.parts["air"], "wind": np.ones((3, 2))}}, "field 'wind' has shape"),
        ({"air": {**Two.parts["air"], "face": np.zeros((1, 4), int)}}, "three corners"),
    ],
)
def test_wrong_parts_are_named(change, message):
    data = Two()
    data.parts = {name: part for name, part in {**Two.parts, **change}.items() if part is not None}
    with pytest.raises(InputError, match=message) as raised:
        data.get_data(0)
    assert "\n" not in str(raised.value)


def sample(**options):
    data = joint(**options).get_data(0)
    return {**data, "index_valid_keys": ["coord", "target", "domain", "normal"]}


def test_points_are_sampled_domain_by_domain():
    data = TRANSFORMS.build(dict(type="SampleDomainPoints", num_points=dict(volume=7)))(sample())
    np.testing.assert_array_equal(data["domain"], [0] * 20 + [1] * 7)
    assert len(data["coord"]) == len(data["target"]) == len(data["normal"]) == 27
    whole = sample()["coord"]
    assert all((whole[20:] == row).all(1).any() for row in data["coord"][20:])
    np.testing.assert_array_equal(data["coord"][:20], whole[:20])
    first = TRANSFORMS.build(dict(type="SampleDomainPoints", num_points=dict(volume=7), first=True))(sample())
    np.testing.assert_array_equal(first["coord"], whole[:27])


def test_distances_are_to_the_nearest_surface_point_and_signed_where_asked():
    data = sample()
    near = np.linalg.norm(data["coord"][:, None] - data["coord"][None, :20], axis=2).min(1)
    added = TRANSFORMS.build(dict(type="AddSurfaceDistance"))(data)
    np.testing.assert_allclose(added["distance"][:, 0], near, atol=1e-6)
    assert not added["distance"][:20].any() and "distance" in added["index_valid_keys"]
    inside = {**data, "coord": np.concatenate([data["coord"][:20], 0.01 * data["coord"][20:]])}
    signed = TRANSFORMS.build(dict(type="AddSurfaceDistance", signed="normal"))(inside)["distance"][20:]
    assert (signed < 0).all()


def test_collected_samples_count_their_domains():
    transform = [
        dict(type="OneHotDomain"),
        dict(type="CollectPoints", keys=("coord", "target", "name", "domain"), feat_keys=("domain_one_hot",)),
    ]
    data = joint(transform=transform)
    batch = collate_fn([data[0], data[1]])
    assert batch["domain_offset"].tolist() == [20, 50, 70, 100]
    assert batch["feat"].argmax(1).equal(batch["domain"])


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (dict(type="SampleDomainPoints", num_points=dict(volum=3)), "wanted one of .*did you mean 'volume'"),
        (dict(type="SampleDomainPoints", num_points=dict(volume=0)), "wanted at least 1"),
        (dict(type="SampleDomainPoints", num_points=5), "wanted a dict"),
        (dict(type="AddSurfaceDistance", surface="wall"), "got domain 'wall'"),
        (dict(type="AddSurfaceDistance", signed="n"), "has no field 'n'"),
        (dict(type="SamplePoints", num_points=1), "wanted SampleDomainPoints"),
    ],
)
def test_wrong_transforms_are_named(transform, message):
    with pytest.raises(InputError, match=message):
        Compose([transform])(sample())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_points=dict(surface=4, wake=5)), "num_points: got"),
        (dict(num_points=dict(surface=0)), "num_points: got 0"),
        (dict(reach=0.5), "reach: got"),
        (dict(axes=(2, 1)), "axes: got"),
        (dict(data_root="x"), "data_root: got"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(InputError, match=message):
        EllipsoidFlowJointDataset(**options)
