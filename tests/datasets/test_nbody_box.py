"""NBodyBoxDataset: every particle in one sub-box, at its place; and files that are not right."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets.nbody_box import NBodyBoxDataset


def small_file(path, **changes):
    """27 sub-boxes: a periodic box of 24 Mpc/h with two particles in each, and one beyond the edge by rounding."""
    corner = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * 8.0 - 12.0
    position = np.concatenate([corner + 1.5, corner + 7.0, [[12.00001, 0.0, 0.0]]]).astype(np.float32)
    arrays = {
        "particle_pos": position,
        "particle_vel": np.arange(len(position) * 3, dtype=np.float32).reshape(-1, 3),
        "box_size": np.float32(24),
    }
    np.savez(path, **{**arrays, **changes})
    return str(path)


def test_real_particles_are_all_there_once(real_data, tmp_path, prepare_tool):
    source, root = real_data("abacus_mini_n64_l32.npz"), str(tmp_path / "nbody")
    assert prepare_tool.main(["nbody", "--src", str(source), "--dst", root]) == 0
    raw = np.load(source, allow_pickle=False)
    parts = [NBodyBoxDataset(split, root) for split in ("train", "val", "test")]
    assert [len(d) for d in parts] == [32, 16, 16]
    position, velocity = [], []
    for data in parts:
        for sample in data:
            assert sample["coord"].min() >= 0 and sample["coord"].max() <= 8
            cell = np.array([int(c) for c in sample["name"].split("_")[1:]])
            position.append(sample["coord"] + 8.0 * cell - 16)
            velocity.append(sample["target"])
    found, wanted = (np.concatenate(velocity), raw["particle_vel"])
    assert len(found) == 64**3
    difference = np.concatenate(position)[_order(found)] - raw["particle_pos"][_order(wanted)]
    np.testing.assert_array_equal(found[_order(found)], wanted[_order(wanted)])
    assert np.quantile(np.abs((difference + 16) % 32 - 16), 0.99) < 1e-5  # equal velocities may change places


def _order(velocity):
    return np.lexsort(velocity.T)


def test_small_box(tmp_path, prepare_tool):
    root = str(tmp_path / "o")
    assert prepare_tool.main(["nbody", "--src", small_file(tmp_path / "b.npz"), "--dst", root]) == 0
    train, val, test = (NBodyBoxDataset(split, root) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [9, 9, 9]
    assert {name.split("_")[1] for name in test.data_list} == {"2"}
    first = train[4]  # box_0_1_1, which the particle beyond the edge belongs to
    assert first["name"] == "box_0_1_1"
    np.testing.assert_allclose(first["coord"], [[1.5] * 3, [7.0] * 3, [1e-5, 4.0, 4.0]], atol=2e-6)
    np.testing.assert_array_equal(first["target"][:, 0], [4 * 3, (27 + 4) * 3, 54 * 3])
    statistics = test.target_statistics()
    values = np.concatenate([s["target"] for s in train]).astype(np.float64)
    np.testing.assert_allclose(statistics["mean"], values.mean(axis=0))
    assert train.card()["protocol"] == "slabs of 8 Mpc/h along x" and train.card()["units"] == ["km/s"] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_size": np.float32(20)}, "'box_size' is 20 Mpc/h, wanted a multiple of 8 of at least 24"),
        ({"box_size": np.float32(np.nan)}, "'box_size' is nan"),
        ({"box_size": np.float32(48)}, "has no points"),
        ({"particle_pos": np.full((55, 3), 13, np.float32)}, "'particle_pos' reaches 13, wanted at most 12"),
        ({"particle_pos": np.full((55, 3), np.nan, np.float32)}, "field 'particle_pos' has 165 NaN"),
        ({"particle_vel": np.zeros((3, 3), np.float32)}, "'particle_vel' has shape (3, 3), wanted (55, 3)"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, prepare_tool, capsys, changes, message):
    source = small_file(tmp_path / "b.npz", **changes)
    assert prepare_tool.main(["nbody", "--src", source, "--dst", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert message in error and "b.npz" in error
