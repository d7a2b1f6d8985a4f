"""TissueBeamsDataset: the three real beams, and files that are not right."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets.tissue_beams import BEAMS, TissueBeamsDataset
from pointcept_bsa.errors import InputError

SIZES = {
    "OnceClampedBeam": (390, [80, 10, 10]),
    "TwiceClampedBeam": (390, [80, 10, 10]),
    "TwistingBeam": (343, [40, 5, 5]),
}


@pytest.fixture(scope="module")
def real(real_data, tmp_path_factory, prepare_tool):
    root = str(tmp_path_factory.mktemp("beams") / "data")
    assert prepare_tool.main(["beams", "--src", str(real_data("soft_tissue_beams_fem.npz")), "--dst", root]) == 0
    return root


def small_file(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for beam in BEAMS:
        arrays[f"{beam}_points"] = rng.random((7, 3))
        arrays[f"{beam}_params"] = rng.random((5, 2))
        arrays[f"{beam}_displacement"] = rng.random((5, 7, 3))
    np.savez(path, **{**{k: v.astype(np.float32) for k, v in arrays.items()}, **changes})
    return str(path)


@pytest.mark.parametrize("beam", BEAMS)
def test_the_real_beams(real, real_data, beam):
    raw = np.load(real_data("soft_tissue_beams_fem.npz"), allow_pickle=False)
    nodes, sizes = SIZES[beam]
    parts = [TissueBeamsDataset(split, real, beam=beam) for split in ("train", "val", "test")]
    assert [len(d) for d in parts] == sizes
    for data in parts:
        for sample in data:
            i = int(sample["name"].rpartition("/")[2])
            assert sample["coord"].shape == (nodes, 3)
            np.testing.assert_array_equal(sample["coord"], raw[f"{beam}_points"])
            np.testing.assert_array_equal(sample["target"], raw[f"{beam}_displacement"][i])
    train = parts[0]
    numbers = [int(name.rpartition("/")[2]) for name in train.data_list]
    displacement = raw[f"{beam}_displacement"][numbers].astype(np.float64)
    statistics = parts[2].target_statistics()
    np.testing.assert_allclose(statistics["mean"], displacement.mean(axis=(0, 1)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(statistics["std"], displacement.std(axis=(0, 1)), rtol=1e-9)
    material = raw[f"{beam}_params"].astype(np.float64)
    wanted = (material - material[numbers].mean(axis=0)) / material[numbers].std(axis=0)
    np.testing.assert_allclose(np.stack([s["material"][0] for s in train]), wanted[numbers], rtol=1e-5, atol=1e-6)
    assert train.card()["protocol"] == beam and train.card()["units"] == [BEAMS[beam]] * 3


def test_clamped_ends_do_not_move(real):
    for beam, ends in (("OnceClampedBeam", [0]), ("TwiceClampedBeam", [0, 15])):
        sample = TissueBeamsDataset("test", real, beam=beam)[0]
        clamped = np.isin(sample["coord"][:, 0], ends)
        assert clamped.sum() == 30 * len(ends) and np.abs(sample["target"][clamped]).max() == 0


def test_wrong_input_is_named(tmp_path, prepare_tool, capsys):
    with pytest.raises(InputError, match="beam: got 'TwistingBeem'.*did you mean 'TwistingBeam'"):
        TissueBeamsDataset("train", str(tmp_path), beam="TwistingBeem")
    root = str(tmp_path / "o")
    for changes, message in [
        (
            {"TwistingBeam_params": np.zeros((5, 3), np.float32)},
            "'TwistingBeam_params' has shape (5, 3), wanted (5, 2)",
        ),
        ({"TwistingBeam_displacement": np.zeros((5, 6, 3), np.float32)}, "wanted (5, 7, 3)"),
    ]:
        assert prepare_tool.main(["beams", "--src", small_file(tmp_path / "b.npz", **changes), "--dst", root]) == 2
        assert message in capsys.readouterr().err
    assert prepare_tool.main(["beams", "--src", small_file(tmp_path / "b.npz"), "--dst", root]) == 0
    assert [len(TissueBeamsDataset(s, root)) for s in ("train", "val", "test")] == [3, 1, 1]
