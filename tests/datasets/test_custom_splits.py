"""Splits of own data: by folders, by lists, drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pointcept_bsa.datasets.custom.splits import make_split, samples_of, series_of, shared_samples, torn_series_notes
from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.errors import InputError


def test_splits_by_folders_by_lists_and_drawn(tmp_path):
    names = [f"{part}/{i}" for part, n in (("train", 20), ("test", 3)) for i in range(n)]
    protocol, lists = make_split(names)
    assert protocol == "folders, holdout seed 0" and len(lists["holdout"]) == 2
    assert len(samples_of(lists, "train", "holdout")) == 18 and samples_of(lists, "val", "holdout") == lists["holdout"]
    assert samples_of(lists, "val", "test") == lists["test"] and len(samples_of(lists, "train", "test")) == 20
    drawn = make_split(names, fractions=(0.2, 0.3), seed=4)
    assert drawn == make_split(names, fractions=(0.2, 0.3), seed=4) != make_split(names, fractions=(0.2, 0.3), seed=5)
    assert {part: len(members) for part, members in drawn[1].items()} == {"train": 11, "val": 5, "test": 7}
    assert sorted(sum(drawn[1].values(), [])) == sorted(names)
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": names[:3], "val": names[3:4], "test": names[4:6]}))
    assert make_split(names, str(path)) == ("lists", {"train": names[:3], "val": names[3:4], "test": names[4:6]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": ["a"], "test": ["x"]}, "sample 'x' is not there"),
        ({"train": ["a", "a"], "test": ["b"]}, "sample 'a' is named twice"),
        ({"train": ["a"], "test": ["a"]}, "sample 'a' is named twice"),
        ({"train": ["a"]}, "no samples for 'test'"),
        ({"train": ["a"], "tset": ["b"]}, "and nothing else"),
        ([], "and nothing else"),
    ],
)
def test_bad_lists_are_refused(tmp_path, content, message):
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        make_split(["a", "b", "c"], str(tmp_path / "s.json"))


def test_bad_splits_are_refused():
    for names, arguments, message in [
        (["a", "b"], {}, "has 2 samples, wanted at least 3"),
        (["a", "b", "c"], {"fractions": (0.5, 0.5)}, "--fractions: got 0.5 and 0.5"),
        (["train/a", "test/b", "c"], {}, "sample 'c' lies in none of the folders"),
        (["a", "b", "c"], {"seed": -1}, "--seed"),
        (["a", "b", "c"], {"fractions": (0.1, 0.1), "split_file": "x"}, "got both"),
    ]:
        with pytest.raises(InputError, match=message):
            make_split(names, **arguments)


STEPS = [f"run{run}/t_{step:02d}" for run in range(5) for step in range(4)]


@pytest.mark.parametrize("names", [STEPS, [name.replace("/", "_") for name in STEPS]])
def test_series_stay_together(names):
    assert {series_of(name) for name in names} == {series_of(name) for name in names[::4]}
    assert len(torn_series_notes(make_split(names)[1])) == 1
    protocol, lists = make_split(names, fractions=(0.2, 0.4), whole_series=True)
    assert protocol == "drawn 0.2/0.4 of whole series, seed 0" and torn_series_notes(lists) == []
    assert {part: len(members) for part, members in lists.items()} == {"train": 8, "val": 4, "test": 8}
    assert sorted(sum(lists.values(), [])) == names
    parts = [{series_of(name) for name in members} for members in lists.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 5


def test_numbered_samples_and_a_folder_each_are_no_series():
    for names in ([f"s{i}" for i in range(20)], [f"case{i}/mesh" for i in range(20)]):
        lists = make_split(names)[1]
        assert torn_series_notes(lists) == []
    with pytest.raises(InputError, match="has 1 series of samples, wanted at least 3"):
        make_split([f"s{i}" for i in range(20)], whole_series=True)


def test_validation_is_drawn_of_whole_series(tmp_path):
    names = [f"{part}/{name}" for part, members in (("train", STEPS), ("test", ["a"])) for name in members]
    protocol, lists = make_split(names, whole_series=True)
    assert protocol == "folders, holdout of whole series seed 0"
    assert len(lists["holdout"]) == 4 and len({series_of(name) for name in lists["holdout"]}) == 1
    with pytest.raises(InputError, match="got one series of training samples"):
        make_split(["train/1", "train/2", "test/1"], whole_series=True)


def test_torn_series_are_told_on_the_card_and_with_the_results(tmp_path, prepare_tool, capsys):
    for number, name in enumerate(STEPS):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        coord = np.random.default_rng(number).random((9, 3))
        np.savez(tmp_path / "raw" / f"{name}.npz", coord=coord, p=coord[:, 0] + number)
    raw, arguments = str(tmp_path / "raw"), ["--target", "p"]
    for out, more in (("torn", []), ("whole", ["--whole-series"])):
        command = ["custom", "--src", raw, "--dst", str(tmp_path / out), *arguments, *more]
        for dry in (["--dry-run"], []):
            assert prepare_tool.main([*command, *dry]) == 0
            assert ("train and others of it are tested" in capsys.readouterr().out) == (out == "torn")
        told = "are steps of one simulation" in (tmp_path / out / "README.md").read_text()
        notes = CustomFieldDataset("test", data_root=str(tmp_path / out)).store.notes
        assert told == any("--whole-series" in note for note in notes) == (out == "torn")
    files = CustomFieldDataset("test", data_root=raw, target=("p",), whole_series=True)
    assert files.sample_names == CustomFieldDataset("test", data_root=str(tmp_path / "whole")).sample_names
    assert len(files.sample_names) == 4 and files.store.notes == []
    assert any(
        "--whole-series" in note for note in CustomFieldDataset("test", data_root=raw, target=("p",)).store.notes
    )


def test_samples_of_one_content_in_two_parts_are_told():
    digests = {"a": b"1", "b": b"2", "c": b"1", "d": b"3", "e": b"2", "f": b"1"}
    assert shared_samples(digests, {"train": ["a", "f"], "val": ["b"], "test": ["d"]}) == []
    both = shared_samples(digests, {"train": ["a", "f", "x"], "val": ["b"], "test": ["c", "d", "e"]})
    assert [line.split(":")[0] for line in both] == ["SAME SAMPLES in train and test", "SAME SAMPLES in val and test"]
    assert "1 of test have the points and values of one of train ('c' as 'a')" in both[0]
    held = shared_samples(digests, {"train": ["a", "c"], "holdout": ["c"], "test": ["d"]})
    assert len(held) == 1 and held[0].startswith("SAME SAMPLES in train and val: 1 of val") and "'c' as 'a'" in held[0]
