"""Training on anchors and queries, test and prediction from anchors, from a config to files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import pointcept_bsa
from pointcept_bsa.datasets.sample_anchors import SampleAnchors
from pointcept_bsa.datasets.transforms import CollectPoints, SamplePoints
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, MODELS, collate_fn
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.models.ensemble import Ensemble
from pointcept_bsa.samples import ANCHORS, to_device
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.evaluation.anchored import AnchoredModel
from pointcept_bsa.training.evaluation.bounded import both_ways, bounded, random_order
from pointcept_bsa.training.evaluation.provenance import training_points

from .conftest import ROOT, SMALL
from .test_chunks import MODEL, batch_of

CONFIG = """
_base_ = ["{base}"]
data = dict(
    train=dict(transform=[
        dict(type="SampleAnchors", num_anchors=40, num_queries=24),
        dict(type="FourierFeatures", keys=("coord",), num_bands=3),
        dict(type="CollectPoints", keys=("coord", "target", "name"), feat_keys=("fourier", "normal")),
    ]),
    val=dict(test_cfg=dict(anchors=40, chunk=50)),
    test=dict(test_cfg=dict(anchors=40, chunk=50)),
)
"""


def sample_of(n):
    coord = np.random.rand(n, 3).astype(np.float32)
    return {"coord": coord, "target": coord[:, :1] * 3, "face": np.zeros((2, 3), int), "name": "s"}


@pytest.mark.parametrize(
    ("points", "anchors", "queries", "wanted"),
    [
        (100, 30, 20, (30, 20)),
        (100, 30, None, (30, 70)),
        (40, 30, 20, (24, 16)),
        (20, 30, None, (10, 10)),
        (2, 9, 1, (1, 1)),
    ],
)
def test_anchors_come_first_and_everything_stays_in_step(points, anchors, queries, wanted):
    sample = sample_of(points)
    drawn = SampleAnchors(anchors, queries)(sample)
    assert "face" not in drawn and len(np.unique(drawn["coord"], axis=0)) == sum(wanted)
    np.testing.assert_array_equal(drawn["target"], drawn["coord"][:, :1] * 3)
    batch = collate_fn([CollectPoints()(SampleAnchors(anchors, queries)(sample)) for _ in range(3)])
    assert batch["offset"].tolist() == [sum(wanted) * i for i in (1, 2, 3)]
    assert batch[ANCHORS].tolist() == [wanted[0] * i for i in (1, 2, 3)]


def test_another_order_of_the_points_is_refused():
    drawn = SamplePoints(30, keep_order=False)(SampleAnchors(20, 20)(sample_of(50)))
    with pytest.raises(InputError, match="anchors are not the first points"):
        CollectPoints()(drawn)
    for bad in (dict(num_anchors=0), dict(num_anchors=2.0), dict(num_anchors=3, num_queries=0)):
        with pytest.raises(InputError, match="SampleAnchors: got"):
            SampleAnchors(**bad)
    with pytest.raises(InputError, match="cloud of 1 point"):
        SampleAnchors(3)(sample_of(1))


def test_numbers_of_whole_clouds_are_the_mean_over_draws_of_anchors():
    scalars = dict(
        head=dict(type="ScalarHead", in_channels=16, out_channels=2),
        normalizer=dict(type="TargetNormalizer", channels=2, mean=[0.0, 1.0], std=[1.0, 2.0]),
        criteria=[dict(type="MSELoss")],
    )
    members = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        members.append(MODELS.build(MODEL | dict(scalars=scalars)).eval())
    batch = batch_of(40, 25)
    found = AnchoredModel(members[0], 20, chunk=7, votes=2)(batch)["scalars"]
    wanted = []
    for first, count, name in ((0, 40, batch["name"][0]), (40, 25, batch["name"][1])):
        cloud = {key: batch[key][first : first + count] for key in ("coord", "feat")}
        draws = [random_order(count, name, vote)[:20] for vote in (0, 1)]
        alone = [{key: value[own] for key, value in cloud.items()} | {"offset": torch.tensor([20])} for own in draws]
        with torch.no_grad():
            wanted.append(torch.stack([members[0](each)["scalars"][0] for each in alone]).mean(0))
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-4, atol=1e-5)
    together, *apart = (AnchoredModel(each, 20)(batch)["scalars"] for each in (Ensemble(members), *members))
    torch.testing.assert_close(together, sum(apart) / 2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MODELS.build(MODEL).eval()


@torch.no_grad()
def test_all_points_of_all_clouds_are_queries_of_their_own_anchors(model):
    batch = batch_of(90, 30, 64)
    pred = bounded(model, dict(anchors=40, chunk=25))(batch)["pred"].split([90, 30, 64])
    for i, (n, found) in enumerate(zip((90, 30, 64), pred, strict=True)):
        coord = batch["coord"].split([90, 30, 64])[i]
        drawn = coord[random_order(n, f"cloud{i}", 0)[:40].sort().values]
        memory = model.encode_anchors(dict(coord=drawn, feat=drawn, offset=torch.tensor([len(drawn)])))
        alone = model.decode(memory, dict(coord=coord, feat=coord, offset=torch.tensor([n])))["pred"]
        assert torch.equal(found, alone)


def test_chunks_change_nothing_seeds_do_and_votes_are_a_mean(model):
    batch = batch_of(90)
    first, other = (AnchoredModel(model, 40, seed=seed)(batch)["pred"] for seed in (0, 1))
    for chunk in (1, 7, 90):
        assert torch.equal(AnchoredModel(model, 40, chunk=chunk)(batch)["pred"], first)
    assert not torch.allclose(first, other)
    torch.testing.assert_close(AnchoredModel(model, 40, votes=2)(batch)["pred"], (first + other) / 2)
    assert both_ways(model, dict(anchors=40), None) == {}


def test_networks_and_settings_without_anchors_are_refused():
    segmentor = dict(type="DefaultSegmentorV2", num_classes=2, backbone_out_channels=16, backbone=MODEL["backbone"])
    with pytest.raises(InputError, match="test_cfg.anchors: DefaultSegmentorV2 has no way for queries"):
        AnchoredModel(MODELS.build(segmentor | dict(criteria=[dict(type="CrossEntropyLoss")])), 40)
    dataset = dict(type="EllipsoidFlowDataset", split="test")
    assert DATASETS.build(dict(dataset, test_cfg=dict(anchors=9, chunk=5, votes=2, seed=0))).test_cfg["seed"] == 0
    for bad in (dict(anchors=0), dict(anchors=9, seed=-1), dict(chunk=3), dict(anchors=9, max_points=9), dict(seed=0)):
        with pytest.raises(InputError, match="test_cfg: got"):
            DATASETS.build(dict(dataset, test_cfg=bad))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on 40 anchors and 24 queries of ellipsoids with 96 points."""
    folder = tmp_path_factory.mktemp("anchored")
    config = folder / "anchors.py"
    config.write_text(CONFIG.format(base=ROOT / "configs/ellipsoid_flow/bsa.py"))
    assert train_main(["--config", str(config), "--options", f"save_path={folder / 'run'}", *SMALL]) == 0
    return folder / "run"


def test_a_run_trains_tests_and_predicts_from_anchors(run, tool, tmp_path):
    assert training_points(run, {}).median == 40
    assert (
        run_test(["--config", str(run / "config.py"), "--options", f"save_path={run}", "test.save_predictions=True"])
        == 0
    )
    report = json.loads((run / "test/metrics.json").read_text())
    assert report["approximation"].startswith("every point predicted as a query of 40 anchors")
    assert report["gflops"]["points"] == 96 and report["whole"] is None

    tested = np.load(next((run / "test/predictions").glob("*.npz")), allow_pickle=False)
    name = next((run / "test/predictions").glob("*.npz")).stem
    dataset = DATASETS.build(dict(type="EllipsoidFlowDataset", split="test", num_points=96, num_samples=4))
    sample = next(s for s in map(dataset.get_data, range(4)) if s["name"].replace("/", "__") == name)
    source, output = tmp_path / f"{name}.vtp", tmp_path / "out.npz"
    write_mesh(source, Mesh(sample["coord"], {}, {"normal": sample["normal"]}))
    assert tool("predict", "--weight", str(run), "--input", str(source), "--output", str(output)) == 0
    predicted = read_mesh(output).point_data["predicted_pressure_coefficient"]
    np.testing.assert_allclose(predicted, tested["pred"][:, 0], rtol=1e-4, atol=1e-5)

    words = ["--weight", str(run), "--input", str(source), "--output", str(output), "--anchors", "70"]
    assert tool("predict", *words) == 0
    other = read_mesh(output).point_data["predicted_pressure_coefficient"]
    assert not np.allclose(other, predicted)
    opened = pointcept_bsa.load(run, device="cpu")
    with pytest.warns(UserWarning, match="query of 70 anchors"):
        found = opened.predict(sample["coord"], normal=sample["normal"], anchors=70, name=source.name)
    np.testing.assert_allclose(found["pressure_coefficient"], other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--anchors", "0"], "--anchors: got 0, wanted at least 1"),
        (["--anchors", "9", "--max-points", "9"], "--anchors: got 9, wanted it without --max-points"),
    ],
)
def test_a_wrong_number_of_anchors_is_one_line(run, tool, tmp_path, capsys, words, message):
    write_mesh(tmp_path / "in.vtp", Mesh(np.random.rand(9, 3), {}, {"normal": np.random.rand(9, 3)}))
    arguments = ["--weight", str(run), "--input", str(tmp_path / "in.vtp"), "--output", str(tmp_path / "out.vtp")]
    assert tool("predict", *arguments, *words) == 2
    assert message in capsys.readouterr().err


def test_the_host_moves_one_chunk_at_a_time(model):
    """A batch on the host stays there, and outputs come back to it."""
    predict, batch = AnchoredModel(model, 20, chunk=16), batch_of(50)
    parts = [len(part["coord"]) for part in predict.chunks(batch)]
    assert parts == [16, 16, 16, 2]
    moved = AnchoredModel(model, 20, chunk=16)(to_device(batch, torch.device("cpu")))["pred"]
    assert torch.equal(moved, predict(batch)["pred"])
