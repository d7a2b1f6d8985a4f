"""Evaluation: each sample once, by itself, in physical units."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pointcept_bsa.engine.evaluation import check_metrics, evaluate, summarize
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import collate_fn


class OffByOne(nn.Module):
    """Predicts the target plus one."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        assert not self.training
        return {"pred": batch["target"] + 1}


def samples():
    return [
        {"coord": torch.rand(n, 3), "target": torch.full((n, 2), float(n)), "offset": torch.tensor([n]), "name": name}
        for n, name in ((4, "b"), (2, "a"), (5, "c"))
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_metrics_do_not_depend_on_the_batches(batch_size):
    items = samples()
    batches = [collate_fn(items[i : i + batch_size]) for i in range(0, 3, batch_size)]
    records = evaluate(OffByOne().train(), batches, ["mse", "relative_l2"])
    assert [(r["name"], r["points"]) for r in records] == [("a", 2), ("b", 4), ("c", 5)]
    assert [r["mse"] for r in records] == pytest.approx([1, 1, 1])
    assert [r["relative_l2"] for r in records] == pytest.approx([1 / 2, 1 / 4, 1 / 5])


def test_the_model_is_left_in_the_mode_it_had():
    model = OffByOne().train()
    evaluate(model, [collate_fn(samples())], ["mse"])
    assert model.training


def test_a_sample_that_comes_twice_counts_once():
    items = samples()
    records = evaluate(OffByOne(), [collate_fn(items), collate_fn(items[:1])], ["mse"])
    assert len(records) == 3


def test_summary_is_mean_and_sample_deviation():
    records = [{"mse": 1.0}, {"mse": 3.0}]
    assert summarize(records, ["mse"])["mse"] == {"mean": 2.0, "std": pytest.approx(math.sqrt(2))}
    assert math.isnan(summarize(records[:1], ["mse"])["mse"]["std"])


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="relative_l2"):
        check_metrics(["relative_l1"], "key")
