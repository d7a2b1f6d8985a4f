"""What holds for every data set: checks, loop, cache, card."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pointcept_bsa.datasets.base import PointFieldDataset, split_hash
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.errors import InputError


class Toy(PointFieldDataset):
    name = "toy"
    target_fields = ("u", "k")
    target_names = ("u_x", "u_y", "k")
    target_units = ("m/s", "m/s", "1")

    def __init__(self, names=("b", "a"), change=None, **common):
        self.names, self.change, self.loads = list(names), change or {}, 0
        super().__init__(**common)

    def list_samples(self):
        return self.names

    def load_fields(self, index):
        self.loads += 1
        rng = np.random.default_rng(index)
        fields = {"coord": rng.random((5, 2)), "u": rng.random((5, 2)), "k": rng.random(5), "wall": rng.random((5, 1))}
        return {**fields, **self.change}

    def where(self, index, field):
        return f"/data/{self.data_list[index]}/{field}.npy"


def test_sample_has_the_agreed_keys_types_and_column_order():
    data = Toy()[0]
    assert {k: (v.shape, v.dtype) for k, v in data.items() if k != "name"} == {
        "coord": ((5, 2), np.float32),
        "target": ((5, 3), np.float32),
        "wall": ((5, 1), np.float32),
    }
    raw = Toy().load_fields(0)
    np.testing.assert_array_equal(data["target"][:, 2], raw["k"].astype(np.float32))
    assert data["name"] == "b"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": np.array([0, 1, np.nan, 3, np.inf])}, "/data/b/k.npy: field 'k' has 2 NaN or infinite of 5"),
        ({"coord": np.full((5, 2), np.nan)}, "/data/b/coord.npy: field 'coord' has 10 NaN"),
        ({"u": np.zeros((4, 2))}, "/data/b/u.npy: field 'u' has 4 rows, wanted 5"),
        ({"coord": np.zeros((0, 2))}, "sample 'b' has no points"),
        ({"coord": np.zeros((5, 4))}, r"coord has shape \(5, 4\)"),
        ({"face": np.array([[0, 1, 5]])}, "names points 0 to 5, wanted 0 to 4"),
    ],
)
def test_bad_fields_are_refused_by_file_and_field(change, message):
    with pytest.raises(InputError, match=message):
        Toy(change=change)[0]


def test_loop_repeats_and_test_mode_does_not():
    data = Toy(loop=3)
    assert len(data) == 6 and data.get_data_name(5) == "a" and data[4]["name"] == "b"
    assert len(Toy(loop=3, test_mode=True)) == 2
    assert [sample["name"] for sample in Toy()] == ["b", "a"]  # iteration ends
    with pytest.raises(IndexError):
        data[6]


def test_cache_reads_once_and_is_not_spoilt_by_the_caller():
    data = Toy(cache=True)
    first = data[0]["coord"]
    kept = first.copy()
    first += 1
    np.testing.assert_array_equal(data[0]["coord"], kept)
    assert data.loads == 1


def test_wrong_arguments_are_named():
    for arguments, message in [
        ({"split": "tset"}, "split: got 'tset'.*did you mean 'test'"),
        ({"loop": 0}, "loop: got 0"),
        ({"test_cfg": {"voxelize": 1}}, "test_cfg"),
        ({"names": ()}, "split 'train' has no samples"),
    ]:
        with pytest.raises(InputError, match=message):
            Toy(**arguments)


def test_only_validation_may_be_empty():
    assert len(Toy(names=(), split="val")) == 0
    assert list(Toy(names=(), split="val")) == []


def test_card_and_split_hash():
    card = Toy(split="val").card()
    expected = hashlib.sha256(b"a\nb").hexdigest()[:16]
    assert card["split_hash"] == expected == split_hash(["a", "b"]) == split_hash(["b", "a"])
    assert card["target"] == ["u_x", "u_y", "k"] and card["units"] == ["m/s", "m/s", "1"]
    assert (card["dataset"], card["split"], card["num_samples"]) == ("toy", "val", 2)


def test_a_share_is_part_of_every_larger_one_and_of_the_card():
    letters = tuple("abcdefghij")
    shares = {share: Toy(names=letters, share=share) for share in (0.05, 0.25, 0.5, 1.0)}
    names = {share: data.sample_names for share, data in shares.items()}
    assert [len(names[share]) for share in (0.05, 0.25, 0.5, 1.0)] == [1, 3, 5, 10]
    assert set(names[0.05]) < set(names[0.25]) < set(names[0.5]) < set(letters) == set(names[1.0])
    data = shares[0.25]
    assert [sample["name"] for sample in data] == names[0.25] == [data.get_data_name(i) for i in range(len(data))]
    assert data.card()["num_samples"] == 3 and data.card()["split_hash"] == split_hash(names[0.25])
    assert len(Toy(names=letters, share=0.25, loop=4)) == 12
    for wrong in (0, -0.5, 1.5, True, "all"):
        with pytest.raises(InputError, match="share: got"):
            Toy(names=letters, share=wrong)


def test_transforms_see_the_keys_that_have_one_row_a_point():
    seen = {}
    data = Toy(transform=[lambda sample: seen.update(sample) or sample], change={"face": np.zeros((5, 3), int)})
    data[0]
    assert sorted(seen["index_valid_keys"]) == ["coord", "target", "wall"]


def test_running_statistics_equal_the_statistics_of_all_values():
    rng = np.random.default_rng(0)
    clouds = [1e4 + rng.normal(size=(n, 2)) for n in (7, 0, 1, 30)]
    statistics = RunningStatistics()
    for cloud in clouds:
        statistics.update(cloud)
    whole = np.concatenate(clouds)
    result = statistics.result()
    np.testing.assert_allclose(result["mean"], whole.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(result["std"], whole.std(axis=0), rtol=1e-9)
    assert result["min"] == whole.min(axis=0).tolist() and result["max"] == whole.max(axis=0).tolist()
    with pytest.raises(ValueError, match="no values"):
        RunningStatistics().result()
