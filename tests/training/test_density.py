"""Clouds with more points than in training: predicted whole and in pieces of the training's density."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.host import DATASETS, MODELS, collate_fn
from pointcept_bsa.host.memory import OutOfMemory
from pointcept_bsa.models.ensemble import Ensemble
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.evaluation.anchored import AnchoredModel
from pointcept_bsa.training.evaluation.bounded import AT_TRAINING, WHOLE, BoundedModel, both_ways, bounded
from pointcept_bsa.training.evaluation.evaluation import evaluate, other_way
from pointcept_bsa.training.evaluation.provenance import PointCounter, TrainingPoints, training_points
from pointcept_bsa.training.evaluation.untrained_levels import untrained_levels

from .conftest import ROOT, SMALL


class Density(nn.Module):
    """Predicts the number of points of the cloud, which is the density it sees, and notes the sizes."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.sizes = []

    def forward(self, batch):
        ends = batch["offset"].tolist()
        lengths = [b - a for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        self.sizes += lengths
        seen = torch.tensor(lengths, dtype=torch.float32)
        return {"pred": torch.repeat_interleave(seen, torch.tensor(lengths))[:, None] + batch["coord"][:, :1]}


def batch_of(*lengths):
    clouds = [
        dict(coord=torch.rand(n, 3), target=torch.full((n, 1), 8.0), offset=torch.tensor([n]), name=f"{n} points")
        for n in lengths
    ]
    for cloud in clouds:
        cloud["target"] = cloud["target"] + cloud["coord"][:, :1]
    return to_device(collate_fn(clouds), torch.device("cpu"))


@pytest.mark.parametrize("votes", [1, 3])
def test_pieces_are_of_one_size_and_every_point_is_predicted(votes):
    model, batch = Density().eval(), batch_of(5, 20, 8, 9, 16)
    predict = BoundedModel(model, votes=votes, piece_points=8)
    out = predict(batch)["pred"]
    wanted = batch["target"].clone()
    wanted[:5] -= 3  # alone, as it is
    torch.testing.assert_close(out, wanted)
    assert Counter(model.sizes) == Counter([5, 8] + [8] * (3 + 2 + 2) * votes)
    assert predict.pieces == {"20 points": 3, "9 points": 2, "16 points": 2}
    again = BoundedModel(Density().eval(), votes=votes, piece_points=8)(batch)["pred"]
    assert torch.equal(out, again)


def test_the_bound_on_memory_holds_for_pieces_too():
    model = Density().eval()
    BoundedModel(model, max_points=6, piece_points=8)(batch_of(5, 20, 7, 3, 3))
    assert max(model.sizes) == 6 and sum(size == 6 for size in model.sizes) == 4
    assert model.sizes[-2:] == [3, 3]


def test_the_density_of_training_is_that_of_its_clouds():
    trained = TrainingPoints(4, 8, 10)
    predict = bounded(Density(), dict(piece_points="training", votes=2), trained)
    assert (predict.piece_points, predict.votes) == (8, 2)
    assert predict.split(11) is None and predict.split(12).count == 2  # 11 points are within a tenth of 10
    assert bounded(Density(), {}, trained).plan(batch_of(100)) == [None]
    assert bounded(Density(), dict(piece_points=9)).split(10).size == 9
    with pytest.raises(InputError, match="piece_points: got 'training', but nothing says"):
        bounded(Density(), dict(piece_points="training"))
    assert set(both_ways(Density(), {}, None)) == set(both_ways(Density(), dict(max_points=7), trained)) == {WHOLE}
    dataset = dict(type="EllipsoidFlowDataset", split="test")
    assert DATASETS.build(dict(dataset, test_cfg=dict(piece_points="training"))).test_cfg
    for bad in (dict(piece_points="whole"), dict(piece_points=0), dict(votes=None)):
        with pytest.raises(InputError, match="test_cfg: got .* wanted max_points, votes and piece_points"):
            DATASETS.build(dict(dataset, test_cfg=bad))


@pytest.mark.parametrize("test_cfg", [{}, dict(piece_points="training")], ids=str)
def test_records_have_both_ways(test_cfg):
    model, trained, batch = Density(), TrainingPoints(8, 8, 8), batch_of(8, 20, 16)
    ways = both_ways(model, test_cfg, trained)
    records = evaluate(bounded(model, test_cfg, trained), [batch], ["mae"], others=ways)
    whole, pieces = other_way(records, WHOLE), other_way(records, AT_TRAINING)
    assert [r["name"] for r in records] == ["16 points", "20 points", "8 points"]
    assert [r["mae"] for r in whole] == pytest.approx([8, 12, 0])
    assert [r["mae"] for r in pieces] == pytest.approx([0, 0, 0], abs=1e-6)
    assert [r["mae"] for r in records] == [r["mae"] for r in (pieces if test_cfg else whole)]
    assert model.sizes.count(20) == 1 and model.sizes.count(8) == 1 + 1 + 3 + 2
    same = evaluate(bounded(model, {}, trained), [batch_of(8, 7)], ["mae"], others=both_ways(model, {}, trained))
    assert len(other_way(same, WHOLE)) == 2 and not other_way(same, AT_TRAINING)


def test_whole_clouds_that_do_not_fit_the_memory_are_left_out():
    class Small(Density):
        def forward(self, batch):
            if len(batch["coord"]) > 10:
                raise MemoryError
            return super().forward(batch)

    model, trained, cfg = Small(), TrainingPoints(8, 8, 8), dict(piece_points="training")
    records = evaluate(
        bounded(model, cfg, trained), [batch_of(8), batch_of(20)], ["mae"], others=both_ways(model, cfg, trained)
    )
    assert not other_way(records, WHOLE) and len(other_way(records, AT_TRAINING)) == 2
    assert [record["mae"] for record in records] == pytest.approx([0, 0], abs=1e-6)
    with pytest.raises(OutOfMemory):
        evaluate(bounded(model, {}), [batch_of(20)], ["mae"])


def test_points_are_counted_as_they_are_trained_on(tmp_path):
    counter = PointCounter()
    assert counter.result() is None
    counter.note(dict(offset=torch.tensor([4, 10])))
    valid = torch.tensor([True] * 5 + [False] * 3 + [True] * 7 + [False])
    counter.note({"offset": torch.tensor([8, 16]), VALID: valid})
    counter.note(dict(coord=torch.rand(3, 3)))
    assert counter.counts == Counter([4, 6, 5, 7]) and counter.result() == TrainingPoints(4, 5, 7)
    cfg = dict(data=dict(train=dict(transform=[dict(type="ScaleCoord"), dict(type="SamplePoints", num_points=9)])))
    assert training_points(tmp_path, cfg) == training_points(None, cfg) == TrainingPoints(9, 9, 9)
    assert training_points(None, cfg, TrainingPoints(1, 2, 3).to_json()) == TrainingPoints(1, 2, 3)
    assert training_points(None, {}) is None


SPARSE = """
_base_ = [{base!r}]
_transform = [
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="CollectPoints", keys=("coord", "target", "name"), feat_keys=("fourier", "normal")),
]
data = dict(train=dict(transform=[dict(type="SamplePoints", num_points=32)] + _transform, cache=False))
"""


@pytest.fixture(scope="module")
def sparse_run(tmp_path_factory):
    """A run whose clouds had 32 points in training and have 96 in validation and test."""
    folder = tmp_path_factory.mktemp("runs")
    config = folder / "sparse.py"
    config.write_text(SPARSE.format(base=str(ROOT / "configs/ellipsoid_flow/bsa.py")))
    assert train_main(["--config", str(config), "--options", *SMALL, f"save_path={folder / 'sparse'}"]) == 0
    return folder / "sparse"


def test_a_run_reports_both(sparse_run, tmp_path, capsys):
    assert json.loads((sparse_run / "data.json").read_text())["points"] == {"min": 32, "median": 32, "max": 32}
    report = json.loads((sparse_run / "test" / "metrics.json").read_text())
    found = report["at_training_density"]
    assert (found["piece_points"], found["votes"]) == (32, 1) and report["approximation"] is None
    assert report["whole"]["metrics"] == report["metrics"]
    assert found["metrics"]["mse"]["mean"] != report["metrics"]["mse"]["mean"]
    samples = report["samples"]
    assert all(sample["at_training_density"]["pieces"] == 3 for sample in samples)
    mean = np.mean([sample["at_training_density"]["mse"] for sample in samples])
    assert found["metrics"]["mse"]["mean"] == pytest.approx(mean)
    assert set(found["metrics_normalized"]) == set(report["metrics_normalized"])
    records = [json.loads(line) for line in (sparse_run / "metrics.jsonl").read_text().splitlines()]
    keys = {key for record in records for key in record}
    assert {"val_whole/mse", "val_at_training_density/mse", "val/mse"} <= keys
    assert "at the density of training (pieces of 32 points): relative_l2" in (sparse_run / "train.log").read_text()

    options = [f"save_path={tmp_path}", f"weight={sparse_run / 'model' / 'model_last.pth'}"]
    options += ["data.test.test_cfg.piece_points=training", "data.test.test_cfg.votes=2"]
    assert run_test(["--config", str(sparse_run / "config.py"), "--options", *options]) == 0
    text, other = capsys.readouterr().out, json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert other["metrics"] == other["at_training_density"]["metrics"] and other["at_training_density"]["votes"] == 2
    assert other["whole"]["metrics"]["mse"] == pytest.approx(report["metrics"]["mse"])
    assert other["approximation"].startswith("4 of 4 clouds predicted in 3 to 3 random pieces of 32 points, 2 vote")
    assert other["gflops"]["points"] == 32 and report["gflops"]["points"] == 96
    assert "whole clouds:" in text and "at the density of training (pieces of 32 points, 2 votes):" in text


def test_a_run_of_one_density_reports_one(small_run):
    report = json.loads((small_run / "test" / "metrics.json").read_text())
    assert report["whole"] is None and report["at_training_density"] is None
    assert json.loads((small_run / "data.json").read_text())["points"]["max"] == 96


def test_predictions_go_through_clouds_as_the_test(sparse_run, tool, tmp_path, capsys):
    sample = DATASETS.build(dict(type="EllipsoidFlowDataset", split="test", num_samples=1, num_points=96)).get_data(0)
    np.savez(tmp_path / "in.npz", coord=sample["coord"], normal=sample["normal"])
    found = {}
    for name, options in {
        "whole": [],
        "pieces": ["--options", "data.test.test_cfg.piece_points=training"],
        "other": ["--options", "data.test.test_cfg.piece_points=96"],
    }.items():
        out = tmp_path / f"{name}.npz"
        code = tool("predict", "--weight", str(sparse_run), "--input", str(tmp_path / "in.npz"), "--output", str(out),
                    *options)  # fmt: skip
        assert code == 0
        found[name] = np.load(out)
    key = next(k for k in found["whole"].files if "pred" in k or k.startswith("pressure"))
    assert np.array_equal(found["whole"][key], found["other"][key])
    assert not np.allclose(found["whole"][key], found["pieces"][key])
    assert "predicted in 3 random pieces of the cloud (test_cfg.piece_points of the run)" in capsys.readouterr().out

    assert tool("export", str(sparse_run), "--output", str(tmp_path / "w.safetensors")) == 0
    out = tmp_path / "again.npz"
    code = tool("predict", "--weight", str(tmp_path / "w.safetensors"), "--input", str(tmp_path / "in.npz"),
                "--output", str(out), "--options", "data.test.test_cfg.piece_points=training",
                "data.train.transform.0.num_points=50")  # fmt: skip
    assert code == 0
    assert np.allclose(np.load(out)[key], found["pieces"][key], atol=1e-6)


LEVELS = [f"model.backbone.{key}" for key in ("ball_size=32", "near=32", "fan=2", "levels_beyond=64")]


@pytest.mark.parametrize(("beyond", "pieces", "told"), [(64, False, True), (64, True, False), (32, False, True)])
def test_levels_that_no_cloud_of_the_training_had_are_told(beyond, pieces, told, tmp_path, capsys):
    """BSA trained on clouds of 32 points, validated and tested on 96, of which levels begin beyond 64 or 32 slots."""
    folder, config = tmp_path / "run", tmp_path / "sparse.py"
    config.write_text(SPARSE.format(base=str(ROOT / "configs/ellipsoid_flow/bsa.py")))
    options = [*SMALL, *LEVELS, f"model.backbone.levels_beyond={beyond}", f"save_path={folder}"]
    options += [f"data.{split}.test_cfg.piece_points=32" for split in ("val", "test") if pieces]
    assert train_main(["--config", str(config), "--options", *options]) == 0
    line = "W Levels of tokens are NOT TRAINED in this run: up to 96 points at once have levels in this evaluation"
    assert (capsys.readouterr().out.count(line) >= 2) is told  # in validation and in the test


def network_with_levels(**other):
    backbone = dict(type="BSA-v1m1", in_channels=3, channels=16, depth=1, num_heads=2, ball_size=32)
    head, criteria = dict(type="RegressionHead", in_channels=16, out_channels=1), [dict(type="MSELoss")]
    levels = dict(near=32, fan=2, levels_beyond=70) | other
    normalizer = dict(type="TargetNormalizer", channels=1, mean=[0.0], std=[1.0])
    return MODELS.build(
        dict(type="DefaultRegressor", backbone=backbone | levels, head=head, criteria=criteria, normalizer=normalizer)
    )


@pytest.mark.parametrize(
    ("trained", "points", "pad_clouds", "told"),
    [
        (64, 96, None, True),
        (64, 64, None, False),
        (64, 68, None, True),  # of 96 slots, with levels
        (65, 96, None, False),  # of 96 slots, too
        (60, 96, 96, False),
        (60, 96, 64, True),
    ],
)
def test_slots_decide_whether_levels_are_trained(trained, points, pad_clouds, told):
    predict, records = BoundedModel(network_with_levels()), [dict(points=20), dict(points=points)]
    line = untrained_levels(predict, TrainingPoints(1, 1, trained), records, dict(pad_clouds=pad_clouds))
    assert (line is not None) is told
    assert line is None or f"up to {points} points at once" in line and f"of up to {trained} points" in line


def test_levels_are_those_of_pieces_anchors_and_members():
    model, trained, records = network_with_levels(), TrainingPoints(1, 1, 64), [dict(points=300)]
    assert untrained_levels(BoundedModel(model, piece_points=64), trained, records, {}) is None
    assert "up to 100 points" in untrained_levels(BoundedModel(model, max_points=140), trained, records, {})
    assert "up to 200 points" in untrained_levels(BoundedModel(model, piece_points=200), trained, records, {})
    assert "up to 200 points" in untrained_levels(AnchoredModel(model, 200), trained, records, {})
    assert untrained_levels(AnchoredModel(model, 64), trained, records, {}) is None
    assert untrained_levels(BoundedModel(Ensemble([model, model])), trained, records, {}) is not None
    assert untrained_levels(BoundedModel(model), None, records, {}) is None
    assert untrained_levels(BoundedModel(model), trained, [], {}) is None
    plain = network_with_levels(near=None, levels_beyond=None)
    assert untrained_levels(BoundedModel(plain), trained, records, {}) is None
