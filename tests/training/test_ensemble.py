"""Several runs tested as one: against numpy, and what cannot be tested together."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pointcept_bsa
from pointcept_bsa.host import MODELS
from pointcept_bsa.mesh_io import read_mesh
from pointcept_bsa.models.ensemble import Ensemble
from pointcept_bsa.models.gaussian import mixture
from pointcept_bsa.models.normalizer import TargetNormalizer
from pointcept_bsa.training.checkpoints.checkpoint import load_checkpoint
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.evaluation.anchored import AnchoredModel

from .conftest import ROOT, SMALL


class Fixed(nn.Module):
    def __init__(self, pred, variance=None):
        super().__init__()
        self.normalizer = TargetNormalizer(2, [0.0, 1.0], [2.0, 3.0])
        self.out = {"pred": torch.tensor(pred)} | ({} if variance is None else {"variance": torch.tensor(variance)})

    def forward(self, batch):
        return self.out


def test_the_mixture_has_the_moments_of_its_samples():
    """The law of total variance, against as many draws from each normal distribution."""
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(3, 4)), rng.uniform(0.2, 1.0, size=(3, 4))
    drawn = (mean + std * rng.normal(size=(200_000, 3, 4))).reshape(-1, 4)
    got = mixture(torch.tensor(mean), torch.tensor(std**2))
    assert got[0].numpy() == pytest.approx(drawn.mean(0), abs=0.01)
    assert got[1].numpy() == pytest.approx(drawn.var(0), rel=0.01)
    assert got[1].numpy() == pytest.approx((std**2 + mean**2).mean(0) - mean.mean(0) ** 2, rel=1e-12)
    assert mixture(torch.tensor(mean))[1].numpy() == pytest.approx(mean.var(0))


def test_members_with_and_without_a_variance():
    members = [Fixed([[1.0, 2], [3, 3]]), Fixed([[3.0, 2], [3, 5]], [[0.5, 1.0], [0.0, 0.0]])]
    out = Ensemble(members)({})
    assert out["pred"].tolist() == [[2, 2], [3, 4]]
    least = [(1e-6 * std) ** 2 for std in (2, 3)]
    assert out["variance"].numpy() == pytest.approx(np.array([[1.25, 0.5], [least[0], 1.0]]))


def replace_weights(run, checkpoint):
    for path in (run / "model").glob("*.sha256"):
        path.unlink()
    for path in (run / "model").glob("*.pth"):
        torch.save(checkpoint, path)


def test_an_ensemble_predicts_from_anchors():
    torch.manual_seed(0)
    config = dict(
        type="DefaultRegressor",
        backbone=dict(type="FullAttention-v1m1", channels=8, depth=1, num_heads=2),
        head=dict(type="RegressionHead", in_channels=8, out_channels=1),
        normalizer=dict(type="TargetNormalizer", channels=1, mean=[0.0], std=[1.0]),
        criteria=[dict(type="MSELoss")],
    )
    members = [MODELS.build(config).eval() for _ in range(2)]
    coord = torch.randn(40, 3)
    batch = dict(coord=coord, feat=coord, offset=torch.tensor([40]), name=["a"])
    together, *alone = (AnchoredModel(m, 20, chunk=15)(batch)["pred"] for m in (Ensemble(members), *members))
    torch.testing.assert_close(together, sum(alone) / 2)
    spread = AnchoredModel(Ensemble(members), 20)(batch)["variance"]
    torch.testing.assert_close(spread.float(), ((alone[0] - alone[1]) / 2).square().clamp_min(1e-12))


@pytest.fixture(scope="module")
def runs(small_run, tmp_path_factory):
    """Two runs that differ in their weights."""
    folder = tmp_path_factory.mktemp("members")
    paths = [folder / "seed_0", folder / "seed_1"]
    for path in paths:
        shutil.copytree(small_run, path)
    checkpoint = load_checkpoint(paths[1] / "model" / "model_last.pth")
    for name, value in checkpoint["state_dict"].items():
        if "normalizer" not in name and value.is_floating_point():
            value += 0.02 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    replace_weights(paths[1], checkpoint)
    return [str(path) for path in paths]


def test_an_ensemble_is_the_mean_of_its_runs_with_their_spread(runs, tmp_path, tool, capsys):
    out, options = tmp_path / "out", ["test.save_predictions=True", "test.pictures=False"]
    assert tool("test", "--ensemble", *runs, "--export", "vtp", "--options", f"save_path={out}", *options[:1]) == 0
    said = capsys.readouterr().out
    assert "Coverage of pressure_coefficient" in said and "nll" in said
    singles = []
    for i, run in enumerate(runs):
        own = f"save_path={tmp_path / str(i)}", f"weight={run}/model/model_last.pth"
        assert tool("test", "--config", f"{run}/config.py", "--options", *own, *options) == 0
        singles.append(tmp_path / str(i) / "test" / "predictions")
    report = json.loads((out / "test" / "metrics.json").read_text())
    for record in report["samples"]:
        preds = []
        for folder in singles:
            with np.load(folder / f"{record['name']}.npz") as data:
                preds.append(data["pred"])
                target = data["target"]
        mean, spread = np.mean(preds, 0), np.std(preds, 0)
        with np.load(out / "test/predictions" / f"{record['name']}.npz") as data:
            assert data["pred"] == pytest.approx(mean, abs=1e-5)
            assert data["spread"] == pytest.approx(spread, abs=1e-5)
        assert record["relative_l2"] == pytest.approx(np.linalg.norm(mean - target) / np.linalg.norm(target), rel=1e-4)
        assert record["coverage_95"] == pytest.approx((abs(mean - target) <= 1.959964 * spread).mean(), abs=0.02)
        mesh = read_mesh(out / "test/export" / f"{record['name']}.vtp")
        assert mesh.point_data["spread_pressure_coefficient"] == pytest.approx(spread[:, 0], abs=1e-5)
    assert [member["run"] for member in report["members"]] == ["seed_0", "seed_1"]
    assert report["seed"] is None and len({member["weight_sha256"] for member in report["members"]}) == 2
    assert set(report["uncertainty"]["fields"]) == {"pressure_coefficient"}
    assert (out / "test" / "uncertainty.png").stat().st_size > 10_000


def test_an_ensemble_is_chosen_by_the_test_samples_if_a_member_is(runs, tmp_path, tool, capsys):
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    recorded = json.loads((other / "data.json").read_text())
    names = [f"ellipsoid_test_{i}" for i in range(recorded["val"]["card"]["num_samples"])]
    recorded["val"]["names"] = names
    (other / "data.json").write_text(json.dumps(recorded))
    words = ["--ensemble", runs[0], str(other), "--options", f"save_path={tmp_path / 'out'}", "test.pictures=False"]
    assert tool("test", *words) == 0
    assert "Validation: TEST SAMPLES" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "test" / "metrics.json").read_text())
    kinds = [member["validation"]["kind"] for member in report["members"]]
    assert kinds == ["separate", "test"] and report["validation"] == report["members"][1]["validation"]
    assert report["validation"]["shared_with_test"] == len(names)


def test_without_a_save_path_it_lies_beside_the_first_run(runs, tool):
    assert tool("test", "--ensemble", *runs, "--options", "test.pictures=False") == 0
    folder = Path(runs[0]).parent / "ensemble"
    assert (folder / "test" / "metrics.json").is_file()
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{0}"], "--ensemble: got one run"),
        (["{0}", "{0}"], "wanted runs with different weights"),
        (["{0}", "{0}/model/model_last.pth"], "wanted runs with different weights"),
        (["{0}", "nowhere"], "RUN 'nowhere': neither a checkpoint nor a folder"),
        (["{0}", "{1}", "--config", "x.py"], "--config: got 'x.py' with --ensemble"),
        (["{0}", "{1}", "--num-gpus", "2"], "--num-gpus: got 2 with --ensemble"),
        (["{0}", "{1}", "--options", "weight=x.pth"], "weight: got it with --ensemble"),
        (["{0}", "{points}"], r"data.test.num_points is 80 in .*points.* and 96 in"),
        (["{0}", "{fields}"], "data.test.transform"),
        (["{0}", "{statistics}"], "target statistics of 'statistics' are"),
        (["{0}", "{split}"], "'split' was trained on the split other"),
        (["{0}", "{empty}"], "neither a checkpoint nor a folder"),
    ],
)
def test_what_does_not_belong_together_is_one_line_and_writes_nothing(runs, tmp_path, tool, capsys, words, message):
    others = {}
    for name in ("points", "fields", "statistics", "split", "empty"):
        others[name] = tmp_path / name
        shutil.copytree(runs[1], others[name])
    for name, old, new in (("points", "num_points=96", "num_points=80"), ("fields", "num_bands=3", "num_bands=2")):
        config = others[name] / "config.py"
        text = config.read_text()
        assert old in text
        config.write_text(text.replace(old, new))
    checkpoint = load_checkpoint(others["statistics"] / "model" / "model_last.pth")
    checkpoint["state_dict"]["normalizer.std"] *= 2
    replace_weights(others["statistics"], checkpoint)
    data = json.loads((others["split"] / "data.json").read_text())
    data["train"]["card"]["split_hash"] = "other"
    (others["split"] / "data.json").write_text(json.dumps(data))
    shutil.rmtree(others["empty"] / "model")
    out = tmp_path / "out"
    words = [word.format(*runs, **others) for word in words]
    more = [f"save_path={out}"] if "--options" in words else ["--options", f"save_path={out}"]
    assert tool("test", "--ensemble", *words, *more) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and re.search(message, said), said
    assert not out.exists()


def test_a_test_without_anything_says_what_it_wants(tool, capsys):
    assert tool("test") == 2
    assert "--config: got none, wanted a config file (or --ensemble" in capsys.readouterr().err


def test_a_gaussian_head_has_its_uncertainty_told(tmp_path, tool):
    run = tmp_path / "gaussian"
    config = str(ROOT / "configs/ellipsoid_flow/bsa.py")
    gaussian = [
        "model.type=GaussianRegressor",
        "model.head.type=GaussianHead",
        "model.criteria.0.type=GaussianNLLLoss",
        "test.export=['npz']",
    ]
    assert train_main(["--config", config, "--options", f"save_path={run}", *SMALL, *gaussian]) == 0
    report = json.loads((run / "test" / "metrics.json").read_text())
    assert {"nll", "coverage_68", "coverage_95", "spread", "ause"} <= set(report["metrics"])
    assert report["metric_units"]["ause"] == "1" and report["metric_units"]["nll"] == "nat"
    assert (run / "test" / "uncertainty.png").is_file()
    name = report["samples"][0]["name"]
    points = np.random.default_rng(0).normal(size=(50, 3))
    said = pointcept_bsa.load(str(run)).predict(points, normal=points)
    assert said["spread_pressure_coefficient"].shape == (50,) and (said["spread_pressure_coefficient"] > 0).all()
    assert (read_mesh(run / "test" / "export" / f"{name}.npz").point_data["spread_pressure_coefficient"] > 0).all()
