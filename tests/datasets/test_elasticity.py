"""From Random_UnitCell_{XY,sigma}_10.npy, written here as they are downloaded, to what ElasticityDataset gives."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets.elasticity import ElasticityDataset

XY, STRESS = "Random_UnitCell_XY_10.npy", "Random_UnitCell_sigma_10.npy"


@pytest.fixture
def raw(tmp_path):
    """``raw(points, meshes)`` writes both files below elasticity/Meshes; returns the folder above and the arrays."""

    def write(points, meshes, folder="elasticity/Meshes"):
        rng = np.random.default_rng(0)
        arrays = {XY: rng.random((points, 2, meshes)), STRESS: rng.normal(180, 120, (points, meshes))}
        target = tmp_path / "raw" / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, values in arrays.items():
            np.save(target / name, values)
        return tmp_path / "raw", arrays

    return write


def test_the_whole_protocol(raw, tmp_path, prepare_tool, capsys):
    source, arrays = raw(3, 2000)
    root = str(tmp_path / "o")
    assert prepare_tool.main(["elasticity", "--src", str(source), "--dst", root]) == 0
    train, val, test = (ElasticityDataset(split, root) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [900, 100, 200]
    assert sorted(train.data_list + val.data_list) == [f"mesh_{i:04d}" for i in range(1000)]
    assert test.data_list == [f"mesh_{i:04d}" for i in range(1800, 2000)]
    for data in (train, val, test):
        for sample in list(data)[::37]:
            i = int(sample["name"][-4:])
            np.testing.assert_allclose(sample["coord"], arrays[XY][:, :, i], rtol=1e-6)
            np.testing.assert_allclose(sample["target"], arrays[STRESS][:, i, None], rtol=1e-6)
    statistics = test.target_statistics()
    assert (statistics["mean"], statistics["std"]) == ([187.7388], [127.0829])
    assert statistics["source"] == "published constants, protocol 1000/200"
    paper = [ElasticityDataset(split, root, validation="test") for split in ("train", "val", "test")]
    assert [len(d) for d in paper] == [1000, 200, 200]
    assert "validation = test samples (the paper's protocol)" in paper[1].card()["notes"]
    assert "validation = 100 samples held out of the training split" in train.card()["notes"]


def test_a_part_is_a_protocol_of_its_own(raw, tmp_path, prepare_tool, capsys):
    source, arrays = raw(7, 24, "")
    command = ["elasticity", "--src", str(source), "--dst", str(tmp_path / "o")]
    assert prepare_tool.main(command) == 2
    assert "has 24 meshes, wanted 2000" in capsys.readouterr().err
    assert prepare_tool.main([*command, "--allow-partial"]) == 0
    parts = [ElasticityDataset(split, str(tmp_path / "o")) for split in ("train", "val", "test")]
    assert [len(d) for d in parts] == [18, 2, 4]
    statistics = parts[0].target_statistics()
    np.testing.assert_allclose(statistics["mean"], arrays[STRESS][:, :20].mean(), rtol=1e-6)
    assert statistics["source"] == "training split, protocol partial, those that validate (2) among them"
    papers = ElasticityDataset("train", str(tmp_path / "o"), validation="test")
    assert papers.target_statistics() == {**statistics, "source": "training split, protocol partial"}


def test_the_orientation_is_checked(raw, tmp_path, prepare_tool, capsys):
    source, arrays = raw(7, 24, "")
    command = ["elasticity", "--src", str(source), "--dst", str(tmp_path / "o"), "--allow-partial"]
    for name, values, message in [
        (XY, arrays[XY].transpose(2, 0, 1), f"{XY}: has shape (24, 7, 2), wanted (points, 2, meshes)"),
        (STRESS, arrays[STRESS].T, f"{STRESS}: has shape (24, 7), wanted (7, 24)"),
        (STRESS, np.full((7, 24), np.nan), "mesh 0: field 'stress' has 7 NaN"),
        (STRESS, np.array([["x"] * 24] * 7), "holds <U1 values"),
    ]:
        np.save(source / name, values)
        assert prepare_tool.main(command) == 2
        assert message in capsys.readouterr().err
        np.save(source / name, arrays[name])
    (source / XY).write_bytes((source / XY).read_bytes()[:-1])
    assert prepare_tool.main(command) == 2
    assert "truncated" in capsys.readouterr().err
    (source / XY).unlink()
    assert prepare_tool.main(command) == 2
    assert f"wanted a folder with {XY} and {STRESS}" in capsys.readouterr().err
