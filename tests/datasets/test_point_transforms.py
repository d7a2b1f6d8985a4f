"""Transforms: what they compute, and that no field falls out of step with its points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointcept_bsa.datasets.transforms import (
    AddGridCoord,
    CollectPoints,
    FourierFeatures,
    RandomMirror,
    SamplePoints,
    ScaleCoord,
    fields_read,
)
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import Compose, collate_fn


def make_sample(n=20, d=3, seed=0):
    rng = np.random.default_rng(seed)
    coord = rng.uniform(-2, 2, (n, d)).astype(np.float32)
    return {
        "coord": coord,
        "target": coord[:, :1] * 10,
        "normal": (coord / np.linalg.norm(coord, axis=1, keepdims=True)).astype(np.float32),
        "wall_distance": np.arange(n, dtype=np.float32),
        "face": rng.integers(0, n, (n, 3)),
        "name": "s",
    }


def test_scale_coord_maps_corners_and_is_affine():
    sample = make_sample()
    low, high = (-2.0, -1.0, -4.5), (2.0, 4.5, 6.0)
    sample["coord"] = np.array([low, high, np.add(low, high) / 2, np.array(high) + np.subtract(high, low)], np.float32)
    for to in ((0, 1), (-1, 1)):
        scaled = ScaleCoord(low, high, to=to)(sample)["coord"]
        middle, above = sum(to) / 2, 2 * to[1] - to[0]
        np.testing.assert_allclose(scaled, np.repeat([[to[0]], [to[1]], [middle], [above]], 3, axis=1), atol=1e-6)
        assert scaled.dtype == np.float32


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.sampled_from(["random", "first"]), st.booleans())
def test_sample_points_keeps_rows_together(num_points, mode, keep_order):
    sample = make_sample()
    kept = SamplePoints(num_points, mode, keep_order)(sample)
    ids = kept["wall_distance"].astype(int)
    assert len(ids) == min(num_points, 20) == len(set(ids.tolist()))
    for key in ("coord", "target", "normal"):
        np.testing.assert_array_equal(kept[key], sample[key][ids])
    if keep_order or mode == "first":
        assert np.all(np.diff(ids) > 0)
    assert ("face" in kept) == (num_points >= 20)
    assert len(sample["coord"]) == 20 and "face" in sample


def test_sample_points_follows_the_global_numpy_seed():
    draws = []
    for _ in range(2):
        np.random.seed(5)
        draws.append(SamplePoints(7)(make_sample())["wall_distance"])
    np.testing.assert_array_equal(*draws)


def test_fourier_features_by_hand():
    sample = {"coord": np.array([[0.25, 0.5]], np.float32)}
    features = FourierFeatures(num_bands=2)(sample)["fourier"]
    s = np.sqrt(0.5)
    expected = [0.25, 0.5, s, 1.0, 1.0, 0.0, s, 0.0, 0.0, -1.0]  # x; sin pi x, sin 2 pi x; cos pi x, cos 2 pi x
    np.testing.assert_allclose(features, [expected], atol=1e-7)
    assert features.dtype == np.float32
    both = FourierFeatures(keys=("coord", "wall_distance"), num_bands=3, out="f")(make_sample())["f"]
    assert both.shape == (20, 4 * 7)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 3), st.floats(0.01, 3.0), st.integers(0, 100))
def test_grid_coord_is_the_cell_of_each_point(d, grid_size, seed):
    sample = make_sample(d=d, seed=seed)
    grid = AddGridCoord(grid_size)(sample)["grid_coord"]
    assert grid.shape == (20, 3) and grid.dtype == np.int64 and grid.min() == 0
    assert d == 3 or not grid[:, 2].any()
    offset = sample["coord"].astype(np.float64) - sample["coord"].min(axis=0) - grid[:, :d] * grid_size
    assert np.all(offset >= -1e-6) and np.all(offset <= grid_size + 1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirror_turns_points_vectors_and_faces(axis):
    sample = make_sample()
    mirrored = RandomMirror(axis, p=1.0, vector_keys=("normal",), center=0.5)(sample)
    others = [i for i in range(3) if i != axis]
    np.testing.assert_allclose(mirrored["coord"][:, axis], 1.0 - sample["coord"][:, axis], atol=1e-6)
    np.testing.assert_array_equal(mirrored["normal"][:, axis], -sample["normal"][:, axis])
    for key in ("coord", "normal"):
        np.testing.assert_array_equal(mirrored[key][:, others], sample[key][:, others])
    np.testing.assert_array_equal(mirrored["target"], sample["target"])
    np.testing.assert_array_equal(mirrored["face"], sample["face"][:, ::-1])
    twice = RandomMirror(axis, p=1.0, vector_keys=("normal",), center=0.5)(mirrored)
    np.testing.assert_allclose(twice["coord"], sample["coord"], atol=1e-6)


def test_mirror_happens_with_its_probability():
    np.random.seed(0)
    mirror, sample = RandomMirror(0, p=0.25), make_sample()
    hits = sum(mirror(sample)["coord"][0, 0] != sample["coord"][0, 0] for _ in range(400))
    assert 60 < hits < 140
    assert RandomMirror(0, p=0.0)(sample) is sample


def test_collect_and_collate_make_a_ragged_batch():
    steps = Compose(
        [
            {"type": "AddGridCoord", "grid_size": 0.1},
            {"type": "FourierFeatures", "num_bands": 2},
            {
                "type": "CollectPoints",
                "keys": ("coord", "target", "name", "grid_coord"),
                "feat_keys": ("fourier", "wall_distance"),
            },
        ]
    )
    samples = [steps(make_sample(n, seed=n)) for n in (5, 8)]
    assert set(samples[0]) == {"coord", "target", "name", "grid_coord", "feat", "offset"}
    batch = collate_fn(samples)
    assert batch["offset"].tolist() == [5, 13] and batch["name"] == ["s", "s"]
    assert batch["feat"].shape == (13, 16) and batch["feat"].dtype == torch.float32
    assert batch["grid_coord"].dtype == torch.int64 and batch["target"].shape == (13, 1)
    np.testing.assert_array_equal(batch["feat"][5:, -1].numpy(), np.arange(8))


def test_parameters_of_clouds_have_a_row_a_cloud():
    collect = CollectPoints(parameter_keys=("flow", "speed"))
    samples = [make_sample(n, seed=n) for n in (5, 1)]
    for sample in samples:
        n = len(sample["coord"])
        sample |= {"flow": np.tile([[1.0, n]], (n, 1)), "speed": np.full(n, 7.0)}
    batch = collate_fn([collect(sample) for sample in samples])
    assert batch["parameters"].tolist() == [[1.0, 5.0, 7.0], [1.0, 1.0, 7.0]]
    assert fields_read([dict(type="CollectPoints", parameter_keys=("flow",))]) == {"flow": "CollectPoints"}


def test_added_fields_are_indexable_by_the_hosts_transforms():
    sample = {**make_sample(), "index_valid_keys": ["coord", "target"]}
    added = AddGridCoord(0.1)(FourierFeatures()(sample))
    assert added["index_valid_keys"] == ["coord", "target", "fourier", "grid_coord"]
    assert sample["index_valid_keys"] == ["coord", "target"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ScaleCoord((0, 0), (1, 0)), "ScaleCoord: got min"),
        (lambda: ScaleCoord((0,), (1,), to=(1, 0)), "ScaleCoord: got to"),
        (lambda: ScaleCoord((0, 0), (1, 1))(make_sample()), "min has 2 numbers, wanted 3"),
        (lambda: SamplePoints(0), "num_points 0"),
        (lambda: SamplePoints(5, mode="last"), "mode 'last'"),
        (lambda: FourierFeatures(num_bands=0), "num_bands 0"),
        (lambda: FourierFeatures(keys="coord"), "keys 'coord', wanted a list"),
        (lambda: AddGridCoord(0), "grid_size 0"),
        (lambda: RandomMirror(3), "axis 3"),
        (lambda: RandomMirror(2)(make_sample(d=2)), "axis 2, wanted one below 2"),
        (lambda: RandomMirror(0, vector_keys=("target",))(make_sample()), "'target' has shape"),
        (lambda: CollectPoints(keys=("face",)), "key 'face'"),
        (lambda: CollectPoints(feat_keys=()), "no feat_keys"),
        (lambda: CollectPoints(keys=("coord", "traget"))(make_sample()), "no 'traget'.*did you mean 'target'"),
        (lambda: CollectPoints(keys=("parameters",)), "key 'parameters'"),
        (lambda: CollectPoints(parameter_keys=("coord",))(make_sample()), "varies from point to point"),
        (lambda: CollectPoints(feat_keys=("name",))(make_sample()), "'name' is not a per-point field"),
    ],
)
def test_wrong_arguments_are_named(build, message):
    with pytest.raises(InputError, match=message):
        build()
