"""PeriodicHillsDataset: the file, the folder made of it, the published reference errors."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets.periodic_hills import PeriodicHillsDataset
from pointcept_bsa.errors import InputError


@pytest.fixture(scope="module")
def hills(real_data):
    return str(real_data("periodic_hills_29.npz"))


def relative_l2(prediction, target):
    return np.linalg.norm(prediction - target) / np.linalg.norm(target)


@pytest.mark.parametrize(("split", "count", "rans", "constant"), [("val", 4, 0.139, 0.57), ("test", 4, 0.118, 0.57)])
def test_reference_errors_of_the_real_data(hills, split, count, rans, constant):
    data = PeriodicHillsDataset(split, hills)
    samples = list(data)
    assert len(samples) == count
    assert all(s["coord"].shape == (15600, 2) and s["wall_distance"].shape == (15600, 1) for s in samples)
    errors = [relative_l2(s["rans_velocity"], s["target"]) for s in samples]
    assert np.mean(errors) == pytest.approx(rans, abs=5e-4)
    means = [relative_l2(s["target"].mean(axis=0), s["target"]) for s in samples]
    assert np.mean(means) == pytest.approx(constant, abs=5e-3)


def test_official_split(hills):
    names = {s: PeriodicHillsDataset(s, hills).data_list for s in ("train", "val", "test")}
    assert [len(v) for v in names.values()] == [21, 4, 4]
    assert len({n for v in names.values() for n in v}) == 29
    assert sorted(names["test"]) == [
        "alpha_05_4071_2024",
        "alpha_05_4071_4048",
        "alpha_15_13929_2024",
        "alpha_15_13929_4048",
    ]


def test_folder_and_file_give_the_same(hills, tmp_path, prepare_tool, capsys):
    out = str(tmp_path / "hills")
    command = ["periodic_hills", "--src", hills, "--dst", out]
    assert prepare_tool.main([*command, "--dry-run"]) == 0 and not (tmp_path / "hills").exists()
    assert prepare_tool.main(command) == 0
    assert prepare_tool.main(command) == 0
    assert "(0 written, 29 were there)" in capsys.readouterr().out
    options = {"target": ("dns_velocity", "dns_k"), "fields": ("wall_distance",)}
    one, other = (PeriodicHillsDataset("test", root, **options) for root in (hills, out))
    assert one.card() == other.card()
    assert one.card()["target"] == ["dns_velocity_x", "dns_velocity_y", "dns_k"]
    assert one.card()["units"] == ["U_b", "U_b", "U_b^2"]
    for key in ("mean", "std"):
        np.testing.assert_allclose(one.target_statistics()[key], other.target_statistics()[key], rtol=1e-12)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys() == {"coord", "wall_distance", "target", "name"}
        for key in ("coord", "wall_distance", "target"):
            np.testing.assert_array_equal(a[key], b[key])


def test_statistics_are_those_of_the_training_split(hills):
    train = PeriodicHillsDataset("train", hills)
    values = np.concatenate([s["target"] for s in train]).astype(np.float64)
    statistics = PeriodicHillsDataset("test", hills).target_statistics()
    np.testing.assert_allclose(statistics["mean"], values.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(statistics["std"], values.std(axis=0), rtol=1e-9)


def small_file(path, **changes):
    """Three tiny cases in the layout of the real file."""
    rng = np.random.default_rng(0)
    arrays = {
        "case": np.array(["a", "b", "c"]),
        "split": np.array(["train", "val", "test"]),
        "offsets": np.array([0, 4, 9, 12]),
        "points": rng.random((12, 2)),
        "dns_velocity": rng.random((12, 2)),
        "dns_k": rng.random(12),
        "rans_velocity": rng.random((12, 2)),
        "wall_distance": rng.random(12),
    }
    arrays = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in arrays.items()}
    np.savez(path, **{**arrays, **changes})
    return str(path)


def test_a_returned_sample_may_be_changed(tmp_path):
    data = PeriodicHillsDataset("train", small_file(tmp_path / "h.npz"))
    kept = data[0]["coord"].copy()
    data[0]["coord"][:] = 0
    np.testing.assert_array_equal(data[0]["coord"], kept)


def test_damaged_files_are_refused_by_name(tmp_path):
    nan = np.zeros((12, 2), np.float32)
    nan[5] = np.nan
    for changes, message in [
        ({"offsets": np.array([0, 4, 12])}, "3 cases with 3 offsets"),
        ({"offsets": np.array([0, 4, 9, 13])}, "has 12 rows, wanted 13"),
        ({"split": np.array(["val", "val", "test"])}, "no train"),
        ({"split": np.array(["train", "dev", "test"])}, "dev"),
        ({"dns_velocity": nan}, "h.npz case b: field 'dns_velocity' has 2 NaN"),
        ({"offsets": np.array([0, 4, 4, 12])}, "sample 'b' has no points"),
    ]:
        with pytest.raises(InputError, match=message):
            PeriodicHillsDataset("val", small_file(tmp_path / "h.npz", **changes))[0]


def test_nan_stops_preparation(tmp_path, prepare_tool, capsys):
    bad = np.full(12, np.inf, np.float32)
    source = small_file(tmp_path / "h.npz", dns_k=bad)
    for dry in (["--dry-run"], []):
        assert prepare_tool.main(["periodic_hills", "--src", source, "--dst", str(tmp_path / "o"), *dry]) == 2
        assert "h.npz case a: field 'dns_k' has 4 NaN or infinite" in capsys.readouterr().err
    assert not (tmp_path / "o" / "split.json").exists()


def test_wrong_arguments_are_named(tmp_path):
    path = small_file(tmp_path / "h.npz")
    for arguments, message in [
        ({"target": ("dns_velocty",)}, "target: got 'dns_velocty'.*did you mean 'dns_velocity'"),
        ({"target": ()}, "target: got no field"),
        ({"target": "dns_k"}, "target: got 'dns_k', wanted a list"),
        ({"fields": ("dns_k",)}, "fields: got 'dns_k'"),
        ({"data_root": str(tmp_path / "none.npz")}, "none.npz' is not there"),
        ({"data_root": str(tmp_path / "none")}, "make it with: python tools/prepare_data.py periodic_hills --src"),
    ]:
        with pytest.raises(InputError, match=message):
            PeriodicHillsDataset("train", **{"data_root": path, **arguments})
