"""What a report says about training and validation follows from the samples' names."""

from __future__ import annotations

import pytest

from pointcept_bsa.datasets.base import split_hash
from pointcept_bsa.training.evaluation import provenance as module
from pointcept_bsa.training.evaluation.provenance import UNKNOWN, provenance, record_data


class Names:
    def __init__(self, *names):
        self.names = names

    def card(self):
        return {"num_samples": len(self.names), "split_hash": split_hash(self.names)}

    def get_data_name(self, index):
        return self.names[index]


TRAIN = Names("a", "b", "c")


@pytest.mark.parametrize(
    ("val", "kind", "words"),
    [
        (Names("d"), "separate", "1 samples, none of them trained on or tested"),
        (Names("x", "y"), "test", "TEST SAMPLES: the best weights were chosen by 2 of the 3"),
        (Names("d", "x"), "mixed", "1 of 2 validation samples are TEST SAMPLES"),
        (Names("a", "d"), "mixed", "none of them tested; 1 of them were also TRAINED ON"),
        (Names(), "none", "no validation samples"),
        (None, "none", "no validation samples"),
        (object(), "none", "no validation samples"),
    ],
)
def test_kinds_of_validation(tmp_path, val, kind, words):
    record_data(tmp_path, TRAIN, val)
    found = provenance(tmp_path, ["x", "y", "z"])
    assert found["validation"]["kind"] == kind and words in found["validation"]["statement"]
    assert found["training"] == {"samples": 3, "split_hash": split_hash("abc"), "shared_with_test": 0}


def test_training_on_test_samples_is_counted(tmp_path):
    record_data(tmp_path, TRAIN, None)
    assert provenance(tmp_path, ["c", "z"])["training"]["shared_with_test"] == 1


def test_without_a_record_nothing_is_claimed(tmp_path):
    for folder in (tmp_path, None):
        found = provenance(folder, ["x"])
        assert found["validation"]["statement"] == UNKNOWN and found["training"]["samples"] is None


def test_very_long_lists_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_NAMES", 2)
    record_data(tmp_path, TRAIN, Names("d"))
    found = provenance(tmp_path, ["x"])
    assert found["training"]["samples"] == 3 and found["training"]["shared_with_test"] is None
    assert found["validation"]["statement"] == "1 samples, none of them tested"
