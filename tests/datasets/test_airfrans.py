"""AirFRANSSurfaceDataset: the real file, the fields of a sample, damaged files. It stands for all prepared folders."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets.airfrans import AirfRANSSurfaceDataset
from pointcept_bsa.errors import InputError


@pytest.fixture(scope="module")
def real(real_data, tmp_path_factory, prepare_tool):
    root = str(tmp_path_factory.mktemp("airfrans") / "data")
    assert prepare_tool.main(["airfrans", "--src", str(real_data("airfrans_surface_cp_200.npz")), "--dst", root]) == 0
    return root


def small_file(path, num_cases=10, **changes):
    """A few tiny airfoils in the layout of the real file."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(3, 9, num_cases))])
    total = offsets[-1]
    params = rng.random((num_cases, 3)).astype(np.float32)
    params[:, 1] = 7.0  # never changes
    arrays = {
        "offsets": offsets,
        "points": rng.random((total, 2)).astype(np.float32),
        "cp": rng.normal(size=total).astype(np.float32),
        "cp_inviscid": rng.normal(size=total).astype(np.float32),
        "params": params,
        "case": np.array([f"case_{i}" for i in range(num_cases)]),
    }
    np.savez(path, **{**arrays, **changes})
    return str(path)


@pytest.fixture
def small(tmp_path, prepare_tool):
    root = str(tmp_path / "small")
    assert prepare_tool.main(["airfrans", "--src", small_file(tmp_path / "a.npz"), "--dst", root]) == 0
    return root


def test_samples_are_those_of_the_file(real, real_data):
    raw = np.load(real_data("airfrans_surface_cp_200.npz"), allow_pickle=False)
    case = {name: i for i, name in enumerate(raw["case"].tolist())}
    parts = {split: AirfRANSSurfaceDataset(split, real) for split in ("train", "val", "test")}
    assert [len(d) for d in parts.values()] == [160, 20, 20]
    assert len({name for d in parts.values() for name in d.data_list}) == 200
    errors = []
    for data in parts.values():
        for sample in AirfRANSSurfaceDataset(data.split, real, fields=("cp_inviscid",)):
            rows = slice(*raw["offsets"][case[sample["name"]] :][:2])
            np.testing.assert_array_equal(sample["coord"], raw["points"][rows])
            np.testing.assert_array_equal(sample["target"][:, 0], raw["cp"][rows])
            difference = sample["cp_inviscid"] - sample["target"]
            errors.append(np.linalg.norm(difference) / np.linalg.norm(sample["target"]))
    assert np.mean(errors) == pytest.approx(0.3869, abs=5e-4)  # of the panel method


def test_the_split_is_fixed(real):
    card = AirfRANSSurfaceDataset("test", real).card()
    assert (card["dataset"], card["num_samples"], card["units"]) == ("airfrans_surface", 20, ["1"])
    assert card["protocol"] == "160/20/20 of the 200 test airfoils, seed 0"
    assert card["split_hash"] == "5a95d9f79cc11866"


def test_statistics_and_standardised_flow_are_those_of_the_training_split(real):
    train = AirfRANSSurfaceDataset("train", real)
    cp = np.concatenate([s["target"] for s in train]).astype(np.float64)
    statistics = AirfRANSSurfaceDataset("test", real).target_statistics()
    np.testing.assert_allclose([*statistics["mean"], *statistics["std"]], [cp.mean(), cp.std()], rtol=1e-9)
    assert statistics["source"].startswith("training split")
    flow = np.stack([s["flow"][0] for s in train]).astype(np.float64)
    np.testing.assert_allclose(flow.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(flow.std(axis=0), 1, atol=1e-6)


def test_global_parameters_fill_every_row_and_a_constant_one_is_zero(small):
    data = AirfRANSSurfaceDataset("train", small)
    for sample in data:
        assert sample["flow"].shape == (len(sample["coord"]), 3) and sample["flow"].dtype == np.float32
        assert np.all(sample["flow"] == sample["flow"][0]) and np.all(sample["flow"][:, 1] == 0)
    assert [len(AirfRANSSurfaceDataset(s, small)) for s in ("train", "val", "test")] == [8, 1, 1]
    assert data.card()["protocol"] == "8/1/1, seed 0"


def test_preparation_is_dry_then_done_then_resumed(tmp_path, prepare_tool, capsys):
    source, out = small_file(tmp_path / "a.npz"), tmp_path / "out"
    command = ["airfrans", "--src", source, "--dst", str(out)]
    assert prepare_tool.main([*command, "--dry-run"]) == 0 and not out.exists()
    assert "10 airfoils, 10 to write" in capsys.readouterr().out
    assert prepare_tool.main(command) == 0
    cut = out / "case_3" / "cp.npy"
    cut.write_bytes(cut.read_bytes()[:-4])
    assert prepare_tool.main(command) == 0
    assert "(1 written, 9 were there)" in capsys.readouterr().out
    card = (out / "README.md").read_text()
    for part in ("Open Database License", "| cp.npy |", "## Splits", "NeurIPS 2022"):
        assert part in card


def test_other_data_are_not_replaced(small, tmp_path, prepare_tool, capsys):
    source = small_file(tmp_path / "b.npz", case=np.array([f"other_{i}" for i in range(10)]))
    assert prepare_tool.main(["airfrans", "--src", source, "--dst", small]) == 2
    assert "already holds other data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": np.arange(3)}, "'offsets' has 3 entries, wanted 11"),
        ({"params": np.zeros((10, 2), np.float32)}, "'params' has shape (10, 2), wanted (10, 3)"),
        ({"cp": np.zeros(5, np.float32)}, "'cp' has shape (5,)"),
        ({"case": np.array(["x"] * 10)}, "10 names, 1 of them different"),
        ({"case": np.array([f"x{i}" for i in range(9)] + [".."])}, "has a sample named '..'"),
        ({"params": np.full((10, 3), np.nan, np.float32)}, "case case_0: field 'flow' has 3 NaN"),
        ({"params": np.array([["a"] * 3] * 10)}, "'params' holds <U1 values, wanted numbers"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, prepare_tool, capsys, changes, message):
    source = small_file(tmp_path / "a.npz", **changes)
    for dry in (["--dry-run"], []):
        assert prepare_tool.main(["airfrans", "--src", source, "--dst", str(tmp_path / "o"), *dry]) == 2
        error = capsys.readouterr().err
        assert message in error and ("a.npz" in error or "--src" in error)
    assert not (tmp_path / "o" / "split.json").exists()


def test_a_missing_source_is_named(tmp_path, prepare_tool, capsys):
    assert prepare_tool.main(["airfrans", "--src", str(tmp_path / "no.npz"), "--dst", str(tmp_path / "o")]) == 2
    assert "wanted the file airfrans_surface_cp_200.npz" in capsys.readouterr().err


def test_wrong_arguments_are_named(small, tmp_path):
    for arguments, message in [
        ({"fields": ("flwo",)}, "fields: got 'flwo'.*did you mean 'flow'"),
        ({"fields": "flow"}, "fields: got 'flow', wanted a list"),
        ({"fields": ("cp",)}, "fields: got 'cp', wanted names from"),
        ({"protocol": "A"}, "protocol: got 'A'"),
        ({"validation": "tets"}, "did you mean 'test'"),
        ({"data_root": str(tmp_path / "none")}, "make it with: python tools/prepare_data.py airfrans --src"),
    ]:
        with pytest.raises(InputError, match=message):
            AirfRANSSurfaceDataset("train", **{"data_root": small, **arguments})


def test_a_damaged_sample_is_refused_by_file(small):
    data = AirfRANSSurfaceDataset("train", small)
    path = data.folder.file(data.data_list[0], "flow")
    np.save(path, np.full((1, 3), np.inf, np.float32))
    with pytest.raises(InputError, match="flow.npy: field 'flow' has 3 NaN"):
        data[0]
    np.save(path, np.zeros((1, 2), np.float32))
    with pytest.raises(InputError, match="flow.npy: has shape"):
        data[0]
