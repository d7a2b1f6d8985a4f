"""From the .npy files of airfoil and pipe, written here as they are published, to what the data sets give."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets.airfoil import AirfoilDataset
from pointcept_bsa.datasets.pipe import PipeDataset, crop
from pointcept_bsa.datasets.prepare import structured_mesh
from pointcept_bsa.errors import InputError

CASES = {  # command -> data set, prefix, folder, channels of Q, channel, mesh
    "airfoil": (AirfoilDataset, "NACA_Cylinder", "airfoil/naca", 5, 4, (221, 51)),
    "pipe": (PipeDataset, "Pipe", "pipe", 3, 0, (129, 129)),
}


@pytest.fixture(params=list(CASES))
def case(request):
    return request.param


@pytest.fixture
def raw(tmp_path):
    """``raw(command, samples)`` writes X, Y and Q; returns the folder above them and the arrays."""

    def write(command, samples, mesh=None, folder=None):
        _, prefix, place, channels, _, published = CASES[command]
        rows, columns = mesh or published
        rng = np.random.default_rng(0)
        arrays = {
            "X": rng.normal(1, 6, (samples, rows, columns)),
            "Y": rng.normal(0, 6, (samples, rows, columns)),
            "Q": rng.normal(0.8, 0.1, (samples, channels, rows, columns)),
        }
        target = tmp_path / "raw" / (place if folder is None else folder)
        target.mkdir(parents=True, exist_ok=True)
        for letter, values in arrays.items():
            np.save(target / f"{prefix}_{letter}.npy", values)
        return tmp_path / "raw", arrays

    return write


def test_points_and_targets_are_those_of_the_files(case, raw, tmp_path, prepare_tool, capsys):
    dataset, _, _, _, channel, mesh = CASES[case]
    source, arrays = raw(case, 7)
    command = [case, "--src", str(source), "--dst", str(tmp_path / "o")]
    assert prepare_tool.main(command) == 2
    assert "has 7 samples, wanted at least 1200 (protocol 1000/200)" in capsys.readouterr().err
    assert prepare_tool.main([*command, "--allow-partial"]) == 0
    train, val, test = (dataset(split, str(tmp_path / "o")) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [6, 0, 1]
    for sample in (train[2], test[0]):
        i = int(sample["name"].removeprefix("flow_"))
        assert sample["coord"].shape == (mesh[0] * mesh[1], 2)
        for row, column in ((0, 0), (0, 5), (7, 0), (mesh[0] - 1, mesh[1] - 1)):
            point = row * mesh[1] + column
            np.testing.assert_allclose(
                sample["coord"][point], [arrays["X"][i, row, column], arrays["Y"][i, row, column]], rtol=1e-6
            )
            np.testing.assert_allclose(sample["target"][point], arrays["Q"][i, channel, row, column], rtol=1e-6)
    statistics = train.target_statistics()
    np.testing.assert_allclose(statistics["std"], arrays["Q"][:6, channel].std(), rtol=1e-5)
    assert statistics["source"] == "training split, protocol partial"
    assert "Download: the Google Drive folder" in (tmp_path / "o" / "README.md").read_text()


def test_the_whole_protocol(case, raw, tmp_path, prepare_tool, monkeypatch):
    dataset, prefix, _, _, channel, _ = CASES[case]
    monkeypatch.setattr(structured_mesh, "NUM_TRAIN", 10)
    monkeypatch.setattr(structured_mesh, "NUM_TEST", 2)
    source, _ = raw(case, 14, folder="")
    root = str(tmp_path / "o")
    assert prepare_tool.main([case, "--src", str(source), "--dst", root]) == 0
    train, val, test = (dataset(split, root) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [9, 1, 2]
    assert test.data_list == ["flow_0010", "flow_0011"]  # those after the training samples, not the last ones
    paper = [dataset(split, root, validation="test") for split in ("train", "val")]
    assert [len(d) for d in paper] == [10, 2] and "validation = test samples (the paper's protocol)" in paper[1].notes()
    if case == "airfoil":
        assert test.target_statistics()["mean"] == [0.8163] and test.target_statistics()["std"] == [0.1385]
        return
    assert test.target_statistics()["source"] == "training split, protocol 1000/200, those that validate (1) among them"
    cropped = dataset("test", root, protocol="1000/200 of 128 x 128")
    assert cropped.target_statistics()["mean"] == [0.1667] and cropped.data_list == test.data_list
    whole, part = test[1], cropped[1]
    assert [len(whole["coord"]), len(part["coord"])] == [129 * 129, 128 * 128]
    for key in ("coord", "target"):
        np.testing.assert_array_equal(whole[key].reshape(129, 129, -1)[:128, :128].reshape(128 * 128, -1), part[key])


def test_the_last_row_and_column_are_left_out():
    assert crop(np.arange(129 * 129)[:, None])[[0, 127, 128, -1], 0].tolist() == [0, 127, 129, 127 * 129 + 127]


def test_what_does_not_fit_is_refused_by_name(case, raw, tmp_path, prepare_tool, capsys):
    _, prefix, _, _, channel, mesh = CASES[case]
    source, arrays = raw(case, 3, folder="")
    command = [case, "--src", str(source), "--dst", str(tmp_path / "o"), "--allow-partial"]
    for letter, values, message in [
        ("X", arrays["X"].transpose(0, 2, 1)[:, :, :50], "wanted (samples, "),
        ("Y", arrays["Y"][:2], f"as many samples as {prefix}_X.npy"),
        ("Q", arrays["Q"][:, 0], f"wanted (3, more than {channel}, "),
        ("Q", arrays["Q"][:, :channel], f"wanted (3, more than {channel}, "),
        ("Q", arrays["Q"] * np.nan, "sample 0: field"),
        ("Q", np.array([["x"]]), "holds <U1 values"),
    ]:
        path = source / f"{prefix}_{letter}.npy"
        np.save(path, values)
        assert prepare_tool.main(command) == 2
        error = capsys.readouterr().err.splitlines()
        assert error[0].startswith("error: ") and message in error[0] and len(error) == 1
        np.save(path, arrays[letter])
    assert not (tmp_path / "o" / "split.json").exists()
    path.write_bytes(path.read_bytes()[:-1])
    assert prepare_tool.main(command) == 2
    assert "truncated" in capsys.readouterr().err
    path.unlink()
    assert prepare_tool.main(command) == 2
    assert f"wanted a folder with {prefix}_X.npy" in capsys.readouterr().err


def test_an_interrupted_run_goes_on(case, raw, tmp_path, prepare_tool, capsys):
    _, prefix, place, _, channel, _ = CASES[case]
    source, arrays = raw(case, 4)
    path = source / place / f"{prefix}_Q.npy"
    damaged = arrays["Q"].copy()
    damaged[2, channel, 0, 0] = np.inf
    np.save(path, damaged)
    command = [case, "--src", str(source), "--dst", str(tmp_path / "o"), "--allow-partial"]
    assert prepare_tool.main(command) == 2
    assert "sample 2: field" in capsys.readouterr().err
    np.save(path, arrays["Q"])
    assert prepare_tool.main(command) == 0
    assert "(2 written, 2 were there)" in capsys.readouterr().out
    dataset = CASES[case][0]
    with pytest.raises(InputError, match="protocol: got '1000/200'"):
        dataset("train", str(tmp_path / "o"), protocol="1000/200")
