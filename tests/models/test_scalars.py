"""Numbers of whole clouds beside a field: pooled, trained, judged, and only where they are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

import pointcept_bsa
from pointcept_bsa.analysis.prediction.run import Settings, predict_files
from pointcept_bsa.datasets.ellipsoid_flow import EllipsoidFlowDataset
from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.datasets.potential_flow import added_mass_coefficient, frontal_area
from pointcept_bsa.datasets.prepare.custom import prepare_custom
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS, collate_fn
from pointcept_bsa.mesh_io import read_mesh
from pointcept_bsa.models.scalars import ScalarHead
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.evaluation.bounded import BoundedModel
from pointcept_bsa.training.evaluation.scalar_errors import ScalarErrors
from pointcept_bsa.training.runs.opened_run import open_run

BRANCH = dict(
    head=dict(type="ScalarHead", in_channels=8, out_channels=2),
    normalizer=dict(type="TargetNormalizer", channels=2, mean=[1.0, -1.0], std=[2.0, 4.0]),
    criteria=[dict(type="MSELoss", loss_weight=3.0)],
)
ROOT = Path(__file__).resolve().parents[2]


def model(scalars=BRANCH, gaussian=False):
    torch.manual_seed(0)
    kind, head, loss = ("Gaussian", "Gaussian", "GaussianNLL") if gaussian else ("Default", "Regression", "MSE")
    return MODELS.build(
        dict(
            type=f"{kind}Regressor",
            backbone=dict(type="FullAttention-v1m1", channels=8, depth=1, num_heads=2),
            head=dict(type=f"{head}Head", in_channels=8, out_channels=1),
            normalizer=dict(type="TargetNormalizer", channels=1, mean=[0.0], std=[1.0]),
            criteria=[dict(type=f"{loss}Loss")],
            scalars=scalars,
        )
    )


def batch(lengths=(9, 1, 4), seed=0):
    g = torch.Generator().manual_seed(seed)
    return collate_fn([
        dict(coord=torch.randn(n, 3, generator=g), feat=torch.randn(n, 3, generator=g), offset=torch.tensor([n]),
             target=torch.randn(n, 1, generator=g), scalars=torch.randn(1, 2, generator=g), name=f"{n} points")
        for n in lengths
    ])  # fmt: skip


def test_widths_that_are_left_out_are_those_of_the_part_before():
    head, statistics = dict(type="ScalarHead", out_channels=3), dict(type="TargetNormalizer")
    made = model(dict(head=head, normalizer=statistics, criteria=[dict(type="MSELoss")])).scalars
    assert (made.head.in_channels, len(made.normalizer.mean)) == (8, 3)


def test_the_head_pools_each_cloud_by_itself():
    head, feat, offset = ScalarHead(8, 2), torch.randn(14, 8), torch.tensor([9, 10, 14])
    wanted = torch.stack([head.after(head.before(part).mean(0)) for part in feat.split([9, 1, 4])])
    torch.testing.assert_close(head(feat, offset), wanted)
    spoiled, valid = feat.clone(), torch.ones(14, dtype=torch.bool)
    spoiled[3], valid[3] = 1e6, False
    left = torch.cat([feat[:3], feat[4:]])
    torch.testing.assert_close(head(spoiled, offset, valid), head(left, torch.tensor([8, 9, 13])))


@pytest.mark.parametrize("gaussian", [False, True])
def test_the_loss_is_that_of_normalised_scalars_beside_the_field(gaussian):
    network, data = model(gaussian=gaussian), batch()
    out, alone = network(data), model(None, gaussian)
    alone.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("scalars.")})
    field = alone({key: value for key, value in data.items() if key != "scalars"})["loss"]
    pred = network.scalars.head(network.features(data), data["offset"])
    wanted = (data["scalars"] - torch.tensor([1.0, -1.0])) / torch.tensor([2.0, 4.0])
    torch.testing.assert_close(out["scalars_loss"], 3 * (pred - wanted).square().mean())
    torch.testing.assert_close(out["loss"], field + out["scalars_loss"])
    assert all(value.dim() == 0 for value in out.values())
    out["loss"].backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    evaluated = network.eval()(data)
    torch.testing.assert_close(evaluated["scalars"], pred * torch.tensor([2.0, 4.0]) + torch.tensor([1.0, -1.0]))


def test_padded_clouds_have_the_scalars_of_their_points():
    network = model().double()
    data = {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in batch().items()}
    starts = [0, 9, 10, 14]
    samples = [
        {k: v[a:b] for k, v in data.items() if k in ("coord", "feat", "target")}
        | dict(offset=torch.tensor([b - a]), scalars=data["scalars"][i : i + 1])
        for i, (a, b) in enumerate(zip(starts[:-1], starts[1:]))
    ]
    padding = network.padding(16)
    filled = collate_fn([padding(sample) for sample in samples])
    assert filled["scalars"].shape == (3, 2)
    torch.testing.assert_close(network(filled)["scalars_loss"], network(data)["scalars_loss"], rtol=1e-12, atol=0)


def test_scalars_of_a_cloud_in_pieces_are_the_mean_of_these():
    network, data = model().eval(), batch((20, 6))
    with torch.no_grad():
        whole = network(data)
        apart = BoundedModel(network, max_points=20)(data)
        split = BoundedModel(network, max_points=10)(data)
    torch.testing.assert_close(apart["scalars"], whole["scalars"])
    assert split["scalars"].shape == (2, 2) and split["pred"].shape == (26, 1)
    torch.testing.assert_close(split["scalars"][1], whole["scalars"][1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: model(None)(batch()), "scalars: got some in the batch, wanted model.scalars"),
        (lambda: model()({k: v for k, v in batch().items() if k != "scalars"}), "scalars: missing from the batch"),
        (lambda: model()(batch() | dict(scalars=torch.zeros(3, 5))), r"got shape \(3, 5\), wanted \(3, 2\)"),
        (lambda: model(dict(head=BRANCH["head"])), "model.scalars: got"),
        (lambda: EllipsoidFlowDataset(scalars=("drag",)), "scalars: got .*, wanted some of"),
    ],
)
def test_what_does_not_fit_is_one_line(change, message):
    with pytest.raises(InputError, match=message) as error:
        change()
    assert "\n" not in str(error.value)


def test_the_numbers_of_an_ellipsoid_are_known():
    assert added_mass_coefficient((1, 1, 1), (0, 0, 2)) == pytest.approx(0.5)  # a sphere
    axes, stream = np.array([1.0, 0.5, 0.3]), np.array([1.0, 2.0, -1.0])
    points = np.random.default_rng(0).normal(size=(20_000, 3))
    points *= axes / np.linalg.norm(points, axis=1, keepdims=True)
    across = np.linalg.svd(stream[None])[2][1:]
    assert frontal_area(axes, stream) == pytest.approx(ConvexHull(points @ across.T).volume, rel=2e-3)
    data = EllipsoidFlowDataset("test", 3, 20, scalars=("added_mass", "frontal_area"))
    assert data[0]["scalars"].shape == (1, 2) and data.scalar_units == ("1", "m^2")
    assert data.card()["scalars"] == {"added_mass": "1", "frontal_area": "m^2"}
    values = np.concatenate(
        [EllipsoidFlowDataset("train", 9, 20, scalars=("added_mass",))[i]["scalars"] for i in range(9)]
    )
    statistics = EllipsoidFlowDataset("val", 9, 20, scalars=("added_mass",)).scalar_statistics()
    assert statistics["mean"] == pytest.approx(values.mean(0)) and statistics["std"] == pytest.approx(values.std(0))


@pytest.mark.parametrize("prepared", [False, True])
def test_custom_scalars_come_from_a_table_and_are_no_inputs(tmp_path, prepared):
    rng = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    rows = ["name,cd,speed"]
    for i in range(10):
        np.savez(tmp_path / "raw" / f"s{i}.npz", coord=rng.normal(size=(12, 3)), pressure=rng.normal(size=12))
        rows.append(f"s{i},{0.1 * i},{30 + i}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    options = dict(target=["pressure"], fields=["speed"], parameters=str(tmp_path / "table.csv"))
    root = tmp_path / "raw"
    if prepared:
        table = dict(parameters=options["parameters"], feature=["cd", "speed"])
        root, options = tmp_path / "data", {}
        prepare_custom(str(tmp_path / "raw"), str(root), target=["pressure"], **table)
    data = CustomFieldDataset("train", str(root), scalars=["cd"], **options)
    for i, name in enumerate(data.sample_names):
        sample = data[i]
        assert "cd" not in sample and sample["speed"].shape == (12, 1)
        number = int(Path(name).name.removeprefix("s").removesuffix(".npz"))
        assert sample["scalars"] == pytest.approx(0.1 * number)
    assert data.scalar_names == ("cd",) and "cd" not in data.input_scales()
    with pytest.raises(InputError, match="pressure"):
        CustomFieldDataset("train", str(root), scalars=["pressure"], **options)


def test_scores_of_scalars():
    judge = ScalarErrors(EllipsoidFlowDataset("test", 1, 5, scalars=("added_mass", "frontal_area")))
    judge(dict(name=["a", "b"], scalars=torch.tensor([[0.0, 1], [2, 3]])), dict(pred=torch.zeros(1)))
    assert judge.report() is None and judge.curves() == {}
    judge(
        dict(name=["a", "b"], scalars=torch.tensor([[0.0, 1], [2, 3]])), dict(scalars=torch.tensor([[1.0, 1], [2, 3]]))
    )
    assert judge.report()["scores"]["added_mass"] == pytest.approx(
        {"unit": "1", "r2": 0.5, "mae": 0.5, "bias": 0.5, "mean": 1.0, "std": 1.0}
    )
    assert judge.curves()["frontal_area/r2"] == 1.0
    assert judge.report()["samples"][0] == {
        "name": "a", "true": {"added_mass": 0, "frontal_area": 1}, "predicted": {"added_mass": 1, "frontal_area": 1},
    }  # fmt: skip


def test_a_training_learns_them_and_the_test_judges_them(tmp_path, capsys):
    small = ["max_iters=2", "eval_every=2", "batch_size=2", "num_worker=0", "device=cpu", "seed=0",
             *(f"data.{split}.num_samples=4" for split in ("train", "val", "test")),
             *(f"data.{split}.num_points=64" for split in ("train", "val", "test")),
             "model.backbone.depth=1", "model.backbone.ball_size=32", "test.pictures=False"]  # fmt: skip
    config = str(ROOT / "configs/ellipsoid_flow/bsa_scalars.py")
    assert train_main(["--config", config, "--options", f"save_path={tmp_path / 'run'}", *small]) == 0
    report = json.loads((tmp_path / "run/test/metrics.json").read_text())
    assert set(report["scalars"]["scores"]) == {"frontal_area", "added_mass", "yaw", "pitch"}
    assert len(report["scalars"]["samples"]) == 4
    said = capsys.readouterr().out
    assert "Scalar statistics: frontal_area" in said and "added_mass [1]" in said
    lines = (tmp_path / "run/metrics.jsonl").read_text()
    assert "val_scalars/added_mass/mae" in lines and "scalars_loss" in lines
    points = np.random.default_rng(0).normal(size=(64, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    said = pointcept_bsa.load(str(tmp_path / "run")).predict(points, normal=points)
    assert said["added_mass"].shape == () and np.isfinite(said["frontal_area"])
    np.savez(tmp_path / "ball.npz", coord=points, normal=points)
    run = open_run(str(tmp_path / "run"))
    settings = Settings([str(tmp_path / "ball.npz")], str(tmp_path / "out.vtp"))
    (record,) = predict_files(settings, run.cfg, run.model, run.folder)
    assert record["scalars"] == pytest.approx(
        {name: float(said[name]) for name in ("frontal_area", "added_mass", "yaw", "pitch")}
    )
    written = read_mesh(tmp_path / "out.vtp").field_data
    assert written["predicted_added_mass"] == pytest.approx(float(said["added_mass"]))
