"""From sim.npz and triangles.npy of EAGLE, written here as they are published, to what EagleDataset gives."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets import eagle as raw_eagle
from pointcept_bsa.datasets.base import split_hash
from pointcept_bsa.datasets.eagle import PUBLISHED, EagleDataset
from pointcept_bsa.errors import InputError

LISTS = {"train": ["Spl/20/2", "Cre/7/1"], "val": ["Tri/5/1"], "test": ["Spl/184/2"]}
FILES = {"train": "train.txt", "val": "valid.txt", "test": "test.txt"}
FAN = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4]])  # point 0 in three triangles


def write_simulation(folder, seed, frames=6, points=5, mask_columns=True, **changes):
    rng = np.random.default_rng(seed)
    arrays = {"pointcloud": rng.random((frames, points, 2), np.float32)}
    arrays |= {name: rng.normal(i, 1 + i, (frames, points)) for i, name in enumerate(("VX", "VY", "PS", "PG"))}
    mask = rng.choice([0, 2, 4, 5, 6], (frames, points))
    arrays |= {"mask": mask[:, :, None] if mask_columns else mask}
    triangles = np.stack([np.roll(np.arange(points), t)[FAN] for t in range(frames)])  # another mesh in every frame
    arrays |= {"triangles": triangles} | changes
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "triangles.npy", arrays["triangles"])
    np.savez(folder / "sim.npz", **{k: v for k, v in arrays.items() if k != "triangles" and v is not None})
    return arrays


@pytest.fixture
def raw(tmp_path):
    source = tmp_path / "raw"
    (source / "splits").mkdir(parents=True)
    arrays = {}
    for part, names in LISTS.items():
        (source / "splits" / FILES[part]).write_text("\n".join(names) + "\n")
        for name in names:
            arrays[name] = write_simulation(source / name, len(arrays), mask_columns=part != "test")
    return source, arrays


def prepare(tool, source, root, *options):
    return tool.main(["eagle", "--src", str(source), "--dst", str(root), *options])


def test_samples_by_hand(raw, tmp_path, prepare_tool, capsys):
    source, arrays = raw
    root = str(tmp_path / "o")
    assert prepare(prepare_tool, source, root) == 2
    assert "train.txt (2), valid.txt (1), test.txt (1) is not as published" in capsys.readouterr().err
    assert prepare(prepare_tool, source, root, "--allow-partial") == 0
    train, test = EagleDataset("train", root), EagleDataset("test", root, stride=2, first=1)
    assert [len(train), len(EagleDataset("val", root)), len(test)] == [2 * 5, 5, 2]
    assert list(test.data_list) == ["Spl/184/2/00001", "Spl/184/2/00003"]
    sample, source_arrays = train[5 + 3], arrays["Cre/7/1"]
    assert sample["name"] == "Cre/7/1/00003"
    state = np.stack([source_arrays[name] for name in ("VX", "VY", "PS", "PG")], axis=2)
    np.testing.assert_allclose(sample["coord"], source_arrays["pointcloud"][3], rtol=1e-6)
    np.testing.assert_allclose(sample["state"], state[3], rtol=1e-5)
    np.testing.assert_allclose(sample["target"], state[4] - state[3], atol=1e-5)
    np.testing.assert_array_equal(sample["node_type"].argmax(axis=1), source_arrays["mask"][3, :, 0])
    edges = {frozenset((i, j)) for i, row in enumerate(sample["neighbor_index"]) for j in row if j >= 0}
    place = np.roll(np.arange(5), 3)
    assert edges == {
        frozenset(int(place[i]) for i in e) for e in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4))
    }
    assert sample["neighbor_index"].shape == (5, 16)
    statistics = test.target_statistics()
    values = np.concatenate(
        [np.stack([arrays[n][k] for k in ("VX", "VY", "PS", "PG")], axis=2).reshape(-1, 4) for n in LISTS["train"]]
    )
    assert statistics["mean"] == [0] * 4
    np.testing.assert_allclose(statistics["std"], values.std(axis=0), rtol=1e-5)


def test_the_published_lists_have_the_published_constants(raw, tmp_path, prepare_tool, monkeypatch):
    source, _ = raw
    monkeypatch.setattr(raw_eagle, "PUBLISHED_LISTS", {part: split_hash(names) for part, names in LISTS.items()})
    assert prepare(prepare_tool, source, tmp_path / "o") == 0
    data = EagleDataset("test", str(tmp_path / "o"))
    assert data.card()["protocol"] == "947/118/118" and data.target_statistics()["std"] == PUBLISHED["std"]
    assert "datasets.liris.cnrs.fr" in (tmp_path / "o" / "README.md").read_text()


def test_arguments_that_do_not_fit(raw, tmp_path, prepare_tool):
    prepare(prepare_tool, raw[0], tmp_path / "o", "--allow-partial")
    root = str(tmp_path / "o")
    with pytest.raises(InputError, match="a point of 4 neighbours, wanted at most 3 .max_neighbors"):
        EagleDataset("train", root, max_neighbors=3)[0]
    with pytest.raises(InputError, match="has 6 frames, wanted at least 7"):
        EagleDataset("train", root, first=5)
    with pytest.raises(InputError, match="stride: got 0"):
        EagleDataset("train", root, stride=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"VX": np.zeros((6, 4))}, "'VX' has shape (6, 4), wanted (6, 5)"),
        ({"PG": None}, "wanted also ['PG']"),
        ({"PS": np.full((6, 5), np.inf)}, "field 'PS' has 30 NaN or infinite"),
        ({"mask": np.full((6, 5), 9)}, "'mask' has kinds 9 to 9"),
        ({"mask": np.full((6, 5), 0.5)}, "'mask' has kinds 0 to 0, wanted whole numbers"),
        ({"pointcloud": np.zeros((6, 5, 3), np.float32)}, "'pointcloud' has shape (6, 5, 3)"),
        ({"triangles": np.full((6, 1, 3), 5)}, "names points 5 to 5, wanted 0 to 4"),
        ({"triangles": np.zeros((5, 1, 3), int)}, "has shape (5, 1, 3), wanted (6, any, 3)"),
    ],
)
def test_foreign_simulations_are_refused_and_the_next_run_goes_on(
    raw, tmp_path, prepare_tool, capsys, changes, message
):
    source, _ = raw
    write_simulation(source / "Cre/7/1", 1, **changes)
    assert prepare(prepare_tool, source, tmp_path / "o", "--allow-partial") == 2
    error = capsys.readouterr().err
    assert message in error and "Cre/7/1" in error and error.count("error: ") == 1
    assert not (tmp_path / "o" / "split.json").exists()
    write_simulation(source / "Cre/7/1", 1)
    assert prepare(prepare_tool, source, tmp_path / "o", "--allow-partial") == 0
    assert "(3 written, 1 were there)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 names"),
        (b"../../etc", "one is '../../etc'"),
        (b"Tri/5/1", "'Tri/5/1' is named twice"),
        (b"\xff", "is not text"),
        (b"Spl/1/1", "Spl/1/1/sim.npz: cannot be read"),
    ],
)
def test_foreign_lists_are_refused(raw, tmp_path, prepare_tool, capsys, content, message):
    source, _ = raw
    (source / "splits" / "train.txt").write_bytes(content)
    assert prepare(prepare_tool, source, tmp_path / "o", "--allow-partial") == 2
    assert message in capsys.readouterr().err
    assert prepare(prepare_tool, tmp_path, tmp_path / "o") == 2
    assert "wanted a folder with Cre, Spl, Tri and splits" in capsys.readouterr().err
