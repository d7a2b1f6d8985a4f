"""VentricleDataset: the real simulations, and files that are not right."""

from __future__ import annotations

import numpy as np

from pointcept_bsa.datasets.ventricle import VentricleDataset


def test_the_real_simulations(real_data, tmp_path, prepare_tool):
    source, root = real_data("lv_passive_fem_15.npz"), str(tmp_path / "lv")
    assert prepare_tool.main(["ventricle", "--src", str(source), "--dst", root]) == 0
    raw = np.load(source, allow_pickle=False)
    parts = [VentricleDataset(split, root) for split in ("train", "val", "test")]
    assert [len(d) for d in parts] == [11, 2, 2]
    assert len({name for d in parts for name in d.data_list}) == 15
    for data in parts:
        for sample in data:
            i = int(sample["name"][-2:])
            np.testing.assert_array_equal(sample["coord"], raw["points"])
            np.testing.assert_array_equal(sample["node_features"], raw["node_features"])
            np.testing.assert_array_equal(sample["target"], raw["displacement"][i])
            assert sample["material"].shape == (6784, 4)
    numbers = [int(name[-2:]) for name in parts[0].data_list]
    displacement = raw["displacement"][numbers].reshape(-1, 3).astype(np.float64)
    statistics = parts[2].target_statistics()
    np.testing.assert_allclose(statistics["mean"], displacement.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(statistics["std"], displacement.std(axis=0), rtol=1e-9)
    assert parts[2].card()["protocol"] == "11/2/2, seed 0"


def test_damaged_files_are_refused_by_name(tmp_path, prepare_tool, capsys):
    rng = np.random.default_rng(0)
    arrays = {
        "points": rng.random((6, 3)).astype(np.float32),
        "node_features": rng.random((6, 10)).astype(np.float32),
        "params": rng.random((4, 4)).astype(np.float32),
        "displacement": rng.random((4, 6, 3)).astype(np.float32),
    }
    nan = arrays["displacement"].copy()
    nan[2, 1] = np.nan
    for changes, message in [
        ({"node_features": np.zeros((6, 9), np.float32)}, "'node_features' has shape (6, 9), wanted (6, 10)"),
        ({"params": np.zeros((3, 4), np.float32)}, "'displacement' has shape (4, 6, 3), wanted (3, 6, 3)"),
        ({"displacement": nan}, "simulation_02: field 'displacement' has 3 NaN"),
    ]:
        np.savez(tmp_path / "lv.npz", **{**arrays, **changes})
        assert prepare_tool.main(["ventricle", "--src", str(tmp_path / "lv.npz"), "--dst", str(tmp_path / "o")]) == 2
        assert message in capsys.readouterr().err
