"""Splits of own data: by folders, by lists, drawn."""

from __future__ import annotations

import json

import pytest

from pointcept_bsa.datasets.custom.splits import make_split, samples_of, shared_samples
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


def test_samples_of_one_content_in_two_parts_are_told():
    digests = {"a": b"1", "b": b"2", "c": b"1", "d": b"3", "e": b"2", "f": b"1"}
    assert shared_samples(digests, {"train": ["a", "f"], "val": ["b"], "test": ["d"]}) == []
    both = shared_samples(digests, {"train": ["a", "f", "x"], "val": ["b"], "test": ["c", "d", "e"]})
    assert [line.split(":")[0] for line in both] == ["SAME SAMPLES in train and test", "SAME SAMPLES in val and test"]
    assert "1 of test have the points and values of one of train ('c' as 'a')" in both[0]
    held = shared_samples(digests, {"train": ["a", "c"], "holdout": ["c"], "test": ["d"]})
    assert len(held) == 1 and held[0].startswith("SAME SAMPLES in train and val: 1 of val") and "'c' as 'a'" in held[0]
