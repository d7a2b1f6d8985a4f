"""Numbers far from 0 and beyond float32: what is subtracted, told, refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from custom_files import far_files

from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.errors import InputError


def test_constants_are_subtracted_before_float32(tmp_path, prepare_tool, capsys):
    meshes = far_files(tmp_path / "src")
    command = [
        "custom",
        "--src",
        str(tmp_path / "src"),
        "--dst",
        str(tmp_path / "out"),
        "--target",
        "p",
        "--feature",
        "t",
    ]
    assert prepare_tool.main(command) == 0
    assert "kept in float64" in capsys.readouterr().out
    statistics = json.loads((tmp_path / "out" / "stats.json").read_text())["protocols"].popitem()[1]
    assert set(statistics["offsets"]) == {"coord", "p", "t"}
    assert "coord: far from 0" in (tmp_path / "out" / "README.md").read_text()
    for data in (
        CustomFieldDataset("train", str(tmp_path / "out")),
        CustomFieldDataset("train", str(tmp_path / "src"), ["p"], ["t"]),
    ):
        for i in range(len(data)):
            sample, mesh = data[i], meshes[data.get_data_name(i)]
            assert sample["coord"].dtype == sample["target"].dtype == sample["t"].dtype == np.float32
            physical = data.input_description.physical
            np.testing.assert_allclose(physical("coord", sample["coord"]), mesh.points, rtol=0, atol=1e-6)
            np.testing.assert_allclose(physical("t", sample["t"])[:, 0], mesh.point_data["t"], rtol=0, atol=1e-9)
            target = sample["target"].astype(np.float64) + data.target_offset()
            np.testing.assert_allclose(target[:, 0], mesh.point_data["p"], rtol=0, atol=1e-8)
        found = data.target_statistics()
        train = np.concatenate([meshes[name].point_data["p"] for name in data.store.lists["train"]])
        assert found["mean"][0] == pytest.approx(train.mean() - data.target_offset()[0], abs=1e-9)
        assert found["std"][0] == pytest.approx(train.std(), rel=1e-6)
        assert any("101325" in note and "relative errors" in note for note in data.notes())


def test_what_float32_cannot_hold_is_told(tmp_path, prepare_tool, capsys):
    far_files(tmp_path / "src", spread=1e8)
    command = ["custom", "--src", str(tmp_path / "src"), "--dst", str(tmp_path / "out"), "--target", "p"]
    assert prepare_tool.main([*command, "--dry-run"]) == 0
    told = "precision: field 'coord' in 5 samples: float32 rounds by more than 0.001 of its range"
    assert told in capsys.readouterr().out
    assert prepare_tool.main(command) == 0
    assert told in capsys.readouterr().out
    assert told in CustomFieldDataset("train", str(tmp_path / "out")).notes()


def test_points_that_fall_together_are_told(tmp_path, prepare_tool, capsys):
    for i in range(4):
        points = np.stack([np.arange(50) * 0.1 + i * 1e8, np.zeros(50), np.zeros(50)], axis=1)
        points = np.concatenate([points, points[:1] + [0, 5e6, 0]])  # a sample of a large extent
        np.savez(tmp_path / f"s{i}.npz", points=points, p=np.arange(51.0))
    command = ["custom", "--src", str(tmp_path), "--dst", str(tmp_path / "out"), "--target", "p", "--dimension", "3"]
    assert prepare_tool.main(command) == 0
    assert "points of 3 samples fall together with others in float32" in capsys.readouterr().out
    assert "fall together" in (tmp_path / "out" / "README.md").read_text()


def test_folders_prepared_before_have_no_constants(tmp_path, prepare_tool):
    """As an earlier version wrote them: float32, no offsets."""
    far_files(tmp_path / "src")
    out = tmp_path / "out"
    command = ["custom", "--src", str(tmp_path / "src"), "--dst", str(out), "--target", "p"]
    assert prepare_tool.main(command) == 0
    statistics = json.loads((out / "stats.json").read_text())
    for protocol in statistics["protocols"].values():
        del protocol["offsets"]
    (out / "stats.json").write_text(json.dumps(statistics))
    for path in out.glob("*/*.npy"):
        np.save(path, np.load(path).astype(np.float32))
    sample = CustomFieldDataset("train", str(out))[0]
    np.testing.assert_array_equal(sample["coord"], np.load(out / sample["name"] / "coord.npy"))
    assert prepare_tool.main(command) == 0  # again: writes what was float32 anew
    assert np.load(out / "s0" / "coord.npy").dtype == np.float64
    statistics["protocols"] = {
        name: value | {"offsets": {"coord": ["x"]}} for name, value in statistics["protocols"].items()
    }
    (out / "stats.json").write_text(json.dumps(statistics))
    with pytest.raises(InputError, match="'offsets' of protocol"):
        CustomFieldDataset("train", str(out))


def test_numbers_beyond_float32_are_refused(tmp_path):
    far_files(tmp_path / "src")
    for i in range(6):
        values = np.load(tmp_path / "src" / f"s{i}.npz")
        np.savez(tmp_path / "src" / f"s{i}.npz", points=values["points"], p=np.linspace(-1e300, 1e300, 400))
    with pytest.raises(InputError, match="beyond 3.4e38"):
        CustomFieldDataset("train", str(tmp_path / "src"), ["p"])[0]
