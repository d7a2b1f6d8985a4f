"""From the HDF5 files of the polymer data, written here as they are published, to what the data set gives."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from pointcept_bsa.datasets import molecular_dynamics as raw_md
from pointcept_bsa.datasets.base import split_hash
from pointcept_bsa.datasets.molecular_dynamics import HISTORY, PUBLISHED_STD, MolecularDynamicsDataset, check_noise
from pointcept_bsa.datasets.windows import WindowNames, neighbor_table
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import Compose, collate_fn

LISTS = {"train": ["poly00951", "poly00027"], "val": ["poly01413"], "test": ["rand001", "rand005"]}
FILES = {"train": "train.txt", "val": "val.txt", "test": "test_class2.txt"}


def write_trajectory(folder, seed, frames=20, beads=5, branch=True, **changes):
    """The published files: positions float32 (T, N, 3), kinds int64 (N,), bonds as a table of floats (N - 1, 2)."""
    rng = np.random.default_rng(seed)
    chain = [(i, i + 1) for i in range(beads - 1)]
    if branch:
        chain[-1] = (1, beads - 1)
    arrays = {
        "position": rng.normal(0, 1, (frames, beads, 3)).cumsum(axis=0).astype(np.float32) + 7,
        "ptype": rng.integers(0, 4, beads),
        "bond": np.array(chain, dtype=np.float64),
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    for name, key in (("position", "position"), ("ptype", "particle_type"), ("bond", "bond_indices")):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset(key, data=arrays[name])
    return arrays


@pytest.fixture
def raw(tmp_path):
    """The raw folder and the arrays of its trajectories, of different lengths and sizes."""
    folder = tmp_path / "raw"
    (folder / "splits").mkdir(parents=True)
    arrays = {}
    for part, names in LISTS.items():
        (folder / "splits" / FILES[part]).write_text("\n".join(names))
        for i, name in enumerate(names):
            place = folder / ("polymer_test" if part == "test" else "polymer_train") / name
            arrays[name] = write_trajectory(place, len(arrays), frames=19 + i, beads=5 + i, branch=i == 0)
    return folder, arrays


def prepare(tool, source, root, *options):
    return tool.main(["md", "--src", str(source), "--dst", str(root), *options])


def test_windows_by_hand(raw, tmp_path, prepare_tool, capsys):
    source, arrays = raw
    root = str(tmp_path / "o")
    assert prepare(prepare_tool, source, root) == 2
    assert "train.txt (2), val.txt (1), test_class2.txt (2) is not as published" in capsys.readouterr().err
    assert prepare(prepare_tool, source, root, "--allow-partial") == 0
    train, val, test = (MolecularDynamicsDataset(split, root) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [3 + 4, 3, 3 + 4]  # frames - 16 windows each
    assert list(train.data_list) == [f"poly00951/{i:05d}" for i in range(3)] + [f"poly00027/{i:05d}" for i in range(4)]
    sample = train[5]
    assert sample["name"] == train.get_data_name(5) == "poly00027/00002"
    position = arrays["poly00027"]["position"].astype(np.float64)
    position -= position.mean(axis=(0, 1))
    frames = position[2:19]
    np.testing.assert_allclose(sample["coord"], frames[15], atol=1e-6)
    np.testing.assert_allclose(sample["target"], frames[16] - 2 * frames[15] + frames[14], atol=3e-6)
    for bead in range(6):
        velocities = [frames[t + 1, bead] - frames[t, bead] for t in range(15)]  # the oldest first
        np.testing.assert_allclose(sample["velocity"][bead], np.concatenate(velocities), atol=3e-6)
    assert sample["velocity"].shape == (6, 45) and sample["target"].dtype == np.float32
    np.testing.assert_array_equal(sample["particle_type"].argmax(axis=1), arrays["poly00027"]["ptype"])
    np.testing.assert_array_equal(sample["particle_type"].sum(axis=1), np.ones(6))


def test_bonds_are_the_edges_in_both_directions(raw, tmp_path, prepare_tool):
    source, _ = raw
    prepare(prepare_tool, source, tmp_path / "o", "--allow-partial")
    data = MolecularDynamicsDataset("train", str(tmp_path / "o"))
    branched, chain = data[0]["neighbor_index"], data[3]["neighbor_index"]
    np.testing.assert_array_equal(branched, [[1, -1, -1], [0, 2, 4], [1, 3, -1], [2, -1, -1], [1, -1, -1]])
    assert chain.shape == (6, 3) and chain.dtype == np.int64  # as wide as the widest of the data set: one batch
    assert {(i, j) for i, row in enumerate(chain) for j in row if j >= 0} == {
        pair for i in range(5) for pair in ((i, i + 1), (i + 1, i))
    }
    collect = Compose([dict(type="CollectPoints", keys=("coord", "target", "name", "neighbor_index"))])
    batch = collate_fn([collect(data[0]), collect(data[3])])
    assert batch["neighbor_index"].shape == (11, 3) and not batch["neighbor_index"].is_floating_point()


def test_selected_points_lose_their_bonds(raw, tmp_path, prepare_tool):
    source, _ = raw
    prepare(prepare_tool, source, tmp_path / "o", "--allow-partial")
    keep = dict(type="SamplePoints", num_points=3)
    data = MolecularDynamicsDataset("train", str(tmp_path / "o"), transform=[keep])
    assert "neighbor_index" not in data[0] and data[0]["velocity"].shape == (3, 45)
    assert "neighbor_index" not in data[0]["index_valid_keys"]


def test_statistics_are_of_the_training_trajectories(raw, tmp_path, prepare_tool):
    source, arrays = raw
    prepare(prepare_tool, source, tmp_path / "o", "--allow-partial")
    found = MolecularDynamicsDataset("test", str(tmp_path / "o")).target_statistics()
    values = [np.diff(arrays[n]["position"].astype(np.float64), n=2, axis=0).reshape(-1, 3) for n in LISTS["train"]]
    np.testing.assert_allclose(found["mean"], np.concatenate(values).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found["std"], np.concatenate(values).std(axis=0), rtol=1e-5)
    assert found["source"] == "training split, protocol partial"
    card = (tmp_path / "o" / "README.md").read_text()
    assert "zenodo.org/records/6764836" in card and "| test | (" in card


def test_the_whole_protocol_has_the_published_constants(raw, tmp_path, prepare_tool, monkeypatch):
    source, _ = raw
    monkeypatch.setattr(raw_md, "PUBLISHED_LISTS", {part: split_hash(names) for part, names in LISTS.items()})
    monkeypatch.setattr(raw_md, "FRAMES", {"train": 18, "val": 19, "test": 17})
    assert prepare(prepare_tool, source, tmp_path / "o") == 0
    train, val, test = (MolecularDynamicsDataset(split, str(tmp_path / "o")) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [4, 3, 2]  # the first so many frames alone
    statistics = test.target_statistics()
    assert statistics["mean"] == [0, 0, 0] and statistics["std"] == PUBLISHED_STD["acceleration"]
    assert test.card()["protocol"] == "90/10/40" and "2 trajectories" in test.card()["notes"]


def test_too_few_frames_for_the_protocol(raw, tmp_path, prepare_tool, monkeypatch, capsys):
    source, _ = raw
    monkeypatch.setattr(raw_md, "PUBLISHED_LISTS", {part: split_hash(names) for part, names in LISTS.items()})
    assert prepare(prepare_tool, source, tmp_path / "o") == 2
    assert "has 19 frames of 5 beads, wanted at least 10000 frames (train)" in capsys.readouterr().err
    assert not (tmp_path / "o" / "split.json").exists()


def test_stride_and_card(raw, tmp_path, prepare_tool):
    source, _ = raw
    prepare(prepare_tool, source, tmp_path / "o", "--allow-partial")
    data = MolecularDynamicsDataset("train", str(tmp_path / "o"), stride=2)
    assert list(data.data_list) == ["poly00951/00000", "poly00951/00002", "poly00027/00000", "poly00027/00002"]
    assert data.data_list[-1] == "poly00027/00002" and data.data_list[1:3] == list(data.data_list)[1:3]
    assert "every 2th window only" in data.card()["notes"] and data.card()["num_samples"] == 4
    with pytest.raises(InputError, match="stride: got 0"):
        MolecularDynamicsDataset("train", str(tmp_path / "o"), stride=0)


def test_window_names_are_found_from_any_side():
    names = WindowNames(["a", "b", "c"], [2, 0, 3], 5)
    assert list(names) == ["a/00000", "a/00005", "c/00000", "c/00005", "c/00010"]
    assert names.place(4) == ("c", 10) and names[-4] == "a/00005"
    with pytest.raises(IndexError):
        names[5]
    assert not WindowNames([], [], 1)


def test_noise_moves_the_past_and_the_target_makes_good_for_it(raw, tmp_path, prepare_tool):
    source, arrays = raw
    prepare(prepare_tool, source, tmp_path / "o", "--allow-partial")
    noise, root = (0.1, 0.01, 10), str(tmp_path / "o")
    np.testing.assert_allclose(check_noise(noise)[[0, -1]], [0.1, 0.01])
    clean, noisy = MolecularDynamicsDataset("train", root)[0], MolecularDynamicsDataset("train", root, noise=noise)[0]
    moved = noisy["coord"] - clean["coord"]
    assert 0.001 < np.abs(moved).max() < 0.6
    # x[t] and the last velocity give x[t+1] back, whatever the noise
    step = [s["coord"] + s["velocity"][:, -3:] + s["target"] for s in (clean, noisy)]
    np.testing.assert_allclose(step[0], step[1], atol=1e-5)
    held, again = (MolecularDynamicsDataset("test", root, noise=n)[0] for n in (None, noise))
    np.testing.assert_array_equal(held["coord"], again["coord"])
    for wrong in ((0.1, 0.01), (0.01, 0.1, 3), (0.1, 0.0, 3), (0.1, 0.01, 2.5)):
        with pytest.raises(InputError, match="noise: got"):
            MolecularDynamicsDataset("train", root, noise=wrong)


def test_an_interrupted_run_goes_on(raw, tmp_path, prepare_tool, capsys):
    source, _ = raw
    broken = source / "polymer_test" / "rand005" / "bond.h5"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-9])
    assert prepare(prepare_tool, source, tmp_path / "o", "--allow-partial") == 2
    assert "bond.h5: is not a whole HDF5 file" in capsys.readouterr().err
    assert not (tmp_path / "o" / "split.json").exists()
    with pytest.raises(InputError, match="split.json: is missing"):
        MolecularDynamicsDataset("train", str(tmp_path / "o"))
    broken.write_bytes(whole)
    assert prepare(prepare_tool, source, tmp_path / "o", "--allow-partial", "--dry-run") == 0
    assert "5 trajectories (train 2, val 1, test 2), 1 to write" in capsys.readouterr().out
    assert prepare(prepare_tool, source, tmp_path / "o", "--allow-partial") == 0
    assert "(1 written, 4 were there)" in capsys.readouterr().out


def test_frames_of_another_time_are_said_aloud(raw, tmp_path, prepare_tool, capsys):
    source, arrays = raw
    for name in LISTS["test"]:
        write_trajectory(
            source / "polymer_test" / name, 9, **(arrays[name] | dict(position=arrays[name]["position"] * 10))
        )
    assert prepare(prepare_tool, source, tmp_path / "o", "--allow-partial") == 0
    error = capsys.readouterr().err
    assert "warning: velocities of split test have" in error and "split val" not in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": np.zeros((16, 5, 3), np.float32)}, "has 16 frames of 5 beads, wanted at least 17"),
        ({"position": np.zeros((20, 0, 3), np.float32)}, "has 20 frames of 0 beads"),
        ({"position": np.zeros((20, 5), np.float32)}, "has shape (20, 5), wanted (any, any, 3)"),
        ({"position": np.full((20, 5, 3), np.nan, np.float32)}, "has 300 NaN"),
        ({"ptype": np.array([0, 1, 2, 3])}, "has 4 types from 0 to 3, wanted 5 from 0 to 3"),
        ({"ptype": np.array([0, 1, 2, 3, 4])}, "has 5 types from 0 to 4"),
        ({"ptype": np.zeros(5)}, "holds float64 values"),
        ({"bond": np.array([[0.0, 5.0]])}, "'bond_indices' names points 0 to 5, wanted 0 to 4"),
        ({"bond": np.array([[1.0, 1.0]])}, "'bond_indices' has an edge of a point to itself"),
        ({"bond": np.array([[0.5, 1.0]])}, "has fractions"),
        ({"bond": np.zeros((3, 3))}, "has shape (3, 3), wanted (any, 2)"),
    ],
)
def test_foreign_trajectories_are_refused_by_name(raw, tmp_path, prepare_tool, capsys, changes, message):
    source, _ = raw
    write_trajectory(source / "polymer_train" / "poly00951", 0, **changes)
    assert prepare(prepare_tool, source, tmp_path / "o", "--allow-partial") == 2
    error = capsys.readouterr().err
    assert message in error and "poly00951" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "train.txt: cannot be read"),
        (b"", "train.txt: has 0 names"),
        (b"../../etc", "train.txt: has 1 names, one is '../../etc'"),
        (b"rand001", "'rand001' is named twice"),
        (b"\xff\xfe", "train.txt: is not text"),
        (b"nobody", "nobody/position.h5: is missing"),
    ],
)
def test_foreign_lists_are_refused(raw, tmp_path, prepare_tool, capsys, content, message):
    source, _ = raw
    (source / "splits" / "train.txt").unlink()
    if content is not None:
        (source / "splits" / "train.txt").write_bytes(content)
    assert prepare(prepare_tool, source, tmp_path / "o", "--allow-partial") == 2
    assert message in capsys.readouterr().err
    assert prepare(prepare_tool, tmp_path, tmp_path / "o") == 2
    assert "wanted a folder with polymer_train, polymer_test and splits" in capsys.readouterr().err


def test_a_table_of_neighbors_counts_every_edge_once():
    np.testing.assert_array_equal(
        neighbor_table(np.array([[0, 1], [1, 0], [2, 1], [2, 1]]), 4), [[1, -1], [0, 2], [1, -1], [-1, -1]]
    )
    assert neighbor_table(np.empty((0, 2), np.int64), 2).tolist() == [[-1], [-1]]
    with pytest.raises(ValueError, match="a point of 2 neighbours, wanted at most 1"):
        neighbor_table(np.array([[0, 1], [1, 2]]), 3, width=1)
    assert neighbor_table(np.array([[0, 1]]), 2, width=3).tolist() == [[1, -1, -1], [0, -1, -1]]
    assert HISTORY == 16


def test_fields_are_scaled_by_repeated_constants():
    scale = Compose([dict(type="ScaleField", key="velocity", std=(1.0, 2.0), mean=(0.5, 0.0))])
    found = scale({"coord": np.zeros((1, 2)), "velocity": np.array([[1.0, 4.0, 2.0, 8.0]])})["velocity"]
    np.testing.assert_allclose(found, [[0.5, 2, 1.5, 4]])
    for wrong in (dict(std=(1.0, 0.0)), dict(std=()), dict(std=(1.0,), mean=(0.0, 1.0))):
        with pytest.raises(InputError, match="ScaleField: got"):
            Compose([dict(type="ScaleField", key="velocity", **wrong)])
    with pytest.raises(InputError, match="wanted a multiple of 3 columns"):
        Compose([dict(type="ScaleField", key="a", std=(1.0,) * 3)])({"coord": np.zeros((1, 2)), "a": np.zeros((1, 4))})
