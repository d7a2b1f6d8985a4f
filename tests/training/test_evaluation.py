"""Evaluation: each sample once, by itself, in physical units."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import collate_fn
from pointcept_bsa.models.normalizer import TargetNormalizer
from pointcept_bsa.training.checkpoints.checkpoint import load_checkpoint
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.evaluation.evaluation import check_metrics, evaluate, summarize
from pointcept_bsa.training.evaluation.evaluator import RegressionEvaluator

from ..small_runs import ROOT, SMALL


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


@pytest.mark.parametrize("key", ["coverage_68", "coverage_95", "spread", "pressure/spread"])
def test_weights_are_not_chosen_by_what_is_neither_better_small_nor_large(key):
    """The least coverage or spread is that of the network that is most sure of itself, not of the best one."""
    check_metrics(["nll", "spread", "coverage_95"], "metrics", "nll")
    with pytest.raises(InputError, match=rf"metrics: got key '{key}', of which neither less nor more is better.*'nll'"):
        check_metrics(["nll"], "metrics", key)
    with pytest.raises(InputError, match="neither less nor more"):
        RegressionEvaluator(key=key)


class Scaled(OffByOne):
    """With a normaliser of std 2 and 4, and a variance of 1."""

    def __init__(self):
        super().__init__()
        self.normalizer = TargetNormalizer(2, mean=[1.0, 1.0], std=[2.0, 4.0])

    def forward(self, batch):
        return {**super().forward(batch), "variance": torch.ones_like(batch["target"])}


def test_normalised_metrics_are_those_of_the_normaliser():
    records = evaluate(Scaled(), [collate_fn(samples())], ["mse", "mae", "nll"], normalized=True)
    for record in records:
        assert record["mse"] == pytest.approx(1)
        assert record["normalized"]["mse"] == pytest.approx((1 / 4 + 1 / 16) / 2)
        assert record["normalized"]["mae"] == pytest.approx((1 / 2 + 1 / 4) / 2)
        # Errors and deviations shrink together: only the volume changes.
        assert record["nll"] - record["normalized"]["nll"] == pytest.approx(math.log(8) / 2)


def test_without_a_normaliser_there_are_no_normalised_metrics():
    assert "normalized" not in evaluate(OffByOne(), [collate_fn(samples())], ["mse"], normalized=True)[0]


def test_a_likelihood_needs_a_variance():
    with pytest.raises(InputError, match="nll.*variance"):
        evaluate(OffByOne(), [collate_fn(samples())], ["nll"])


@pytest.mark.parametrize(("key", "best_of", "sign"), [("mse", min, -1), ("r2", max, 1)])
def test_the_best_checkpoint_is_that_of_the_best_validation(tmp_path, key, best_of, sign):
    """Whatever larger means: of the published values the larger is the better."""
    options = ["max_iters=4", "eval_every=1", "optimizer.lr=0.05", f"hooks.5.key={key}", "hooks.5.metrics=['mse','r2']"]
    options += ["data.val.num_samples=3", f"save_path={tmp_path}"]
    config = str(ROOT / "configs/ellipsoid_flow/bsa.py")
    assert train_main(["--config", config, "--options", *SMALL, *options]) == 0
    records = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    values = [record[f"val/{key}"] for record in records if f"val/{key}" in record]
    best = load_checkpoint(tmp_path / "model" / "model_best.pth")
    assert len(values) == 4 and best["epoch"] == 1 + values.index(best_of(values))
    assert best["best_metric_value"] == pytest.approx(sign * best_of(values))
    assert f"Best {'-' * (sign < 0)}{key} so far: " in (tmp_path / "train.log").read_text()
