"""Metrics, exports and pictures of each domain, and what fits a data set with domains."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

import pointcept_bsa
from pointcept_bsa.datasets.domains import JointFieldDataset, Quantity
from pointcept_bsa.datasets.sample_anchors import SampleAnchors
from pointcept_bsa.datasets.transforms import CollectPoints
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, MODELS, collate_fn
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.models.ensemble import Ensemble
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.evaluation.bounded import BoundedModel, random_order
from pointcept_bsa.training.evaluation.domains import check_domains
from pointcept_bsa.training.evaluation.evaluation import judge
from pointcept_bsa.training.evaluation.export_fields import FieldExporter
from pointcept_bsa.training.evaluation.target_fields import measures, pooled_relative_l2, target_fields
from pointcept_bsa.training.evaluation.uncertainty import UncertaintyCurves, curves

from .conftest import load_tool

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/ellipsoid_flow_joint/full_attention.py")
SMALL = [
    *("max_iters=3", "eval_every=3", "batch_size=2", "num_worker=0", "device=cpu", "data.train.num_samples=4"),
    *("data.val.num_samples=2", "data.test.num_samples=1", "model.backbone.depth=1"),
    *(f"data.{split}.num_points.surface=40" for split in ("train", "val", "test")),
    *(f"data.{split}.num_points.volume=60" for split in ("train", "val", "test")),
]


def test_a_field_is_judged_at_the_points_of_its_domain():
    fields = target_fields(DATASETS.build(dict(type="EllipsoidFlowJointDataset", num_samples=1)))
    assert [(field.name, field.domain) for field in fields][1] == ("volume/velocity", 1)
    domain = torch.tensor([0, 1, 1, 0, 1])
    target, pred = torch.randn(5, 5).double(), torch.randn(5, 5).double()
    pred[domain[:, None] != torch.tensor([0, 1, 1, 1, 1])] = torch.nan
    offset, names = torch.tensor([3, 5]), ["a", "b"]
    records = judge(pred, target, offset, names, measures(["mse", "angle"], fields), domain=domain)
    pooled = judge(pred, target, offset, names, measures(["mse"], fields, normalized=True), domain=domain)
    for record, together, rows in zip(records, pooled, ([0, 1, 2], [3, 4]), strict=True):
        error = (pred - target).square()
        surface = [i for i in rows if domain[i] == 0]
        volume = [i for i in rows if domain[i] == 1]
        assert record["surface/pressure_coefficient/mse"] == pytest.approx(error[surface, 0].mean().item())
        assert record["volume/velocity/mse"] == pytest.approx(error[volume][:, 1:4].mean().item())
        assert together["volume/mse"] == pytest.approx(error[volume][:, 1:].mean().item())
        halves = error[surface, 0].mean() + error[volume][:, 1:].mean()
        assert together["mse"] == pytest.approx(halves.item() / 2)
        assert "volume/velocity/angle" in record and "mse" not in record
    batch = {"offset": offset, "domain": domain}
    zero = torch.where(pred.isnan(), pred, target * 0)
    assert pooled_relative_l2(None, fields, zero, target, batch).tolist() == pytest.approx([1, 1])
    with pytest.raises(InputError, match="domain: missing"):
        judge(pred, target, offset, names, measures(["mse"], fields))


@pytest.fixture(scope="module")
def joint_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "joint"
    assert train_main(["--config", CONFIG, "--options", f"save_path={folder}", "test.pictures=False", *SMALL]) == 0
    return folder


def test_a_joint_run_is_trained_tested_drawn_and_exported(joint_run, tmp_path):
    known = json.loads((joint_run / "training_range.json").read_text())
    assert known["domains"] == ["surface", "volume"]
    options = [f"weight={joint_run}/model/model_last.pth", f"save_path={tmp_path}", "test.save_predictions=True"]
    options += ["test.pictures=True"]
    assert run_test(["--config", str(joint_run / "config.py"), "--export", "vtp", "--options", *options]) == 0
    report = json.loads((tmp_path / "test/metrics.json").read_text())
    assert np.isfinite(report["constant"]["relative_l2"])
    assert all(np.isfinite(s["mean"]) for part in ("metrics", "metrics_normalized") for s in report[part].values())
    assert report["metric_units"]["volume/velocity/mae"] == "speed of the stream"
    for domain in ("surface", "volume"):
        assert (tmp_path / f"test/only_{domain}.png").read_bytes().startswith(b"\x89PNG")
    assert load_tool("report").main([str(tmp_path), "--output", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<img") == 2 and "only, volume" in page
    record = report["samples"][0]
    raw = DATASETS.build(load_config(str(joint_run / "config.py")).data.test).get_data(0)
    for number, (domain, field) in enumerate((("surface", "pressure_coefficient"), ("volume", "velocity"))):
        mesh = read_mesh(tmp_path / f"test/export/{record['name']}_{domain}.vtp")
        rows = raw["domain"] == number
        np.testing.assert_allclose(mesh.points, raw["coord"][rows], atol=1e-6)
        truth, own = (mesh.point_data[f"{kind}_{field}"] for kind in ("truth", "predicted"))
        np.testing.assert_allclose(np.mean((own - truth) ** 2), record[f"{domain}/{field}/mse"], rtol=1e-4)
        assert not any("/" in name or np.isnan(values).any() for name, values in mesh.point_data.items())
    assert "truth_velocity" not in read_mesh(tmp_path / f"test/export/{record['name']}_surface.vtp").point_data
    with np.load(tmp_path / f"test/predictions/{record['name']}.npz") as arrays:
        np.testing.assert_array_equal(arrays["domain"], raw["domain"])


class Hull(JointFieldDataset):
    """A closed surface behind the points of the air in the sample's order."""

    domains = {"air": {"heat": Quantity("K")}, "hull": {"load": Quantity("Pa")}}

    def list_samples(self):
        return ["one"]

    def load_domains(self, index):
        coord = (u := np.random.default_rng(0).normal(size=(30, 3))) / np.linalg.norm(u, axis=1, keepdims=True)
        hull = {"coord": coord, "load": coord[:, 0], "face": ConvexHull(coord).simplices}
        return {"air": {"coord": 2 * coord, "heat": coord[:, 1]}, "hull": hull}


def test_a_surface_is_exported_with_its_faces(tmp_path):
    dataset = Hull(transform=[dict(type="CollectPoints", keys=("coord", "target", "name", "domain"))])
    batch = collate_fn([dataset[0]])
    FieldExporter(tmp_path, ["vtp"], dataset)(batch, batch["target"].double())
    hull, air = (read_mesh(tmp_path / f"one_{name}.vtp") for name in ("hull", "air"))
    np.testing.assert_array_equal(hull.cells["triangle"], Hull().load_domains(0)["hull"]["face"])
    assert set(hull.point_data) == {"truth_load", "predicted_load", "error_load"}
    assert set(air.cells) == {"vertex"} and len(air.points) == 30


def model_of(**widths):
    head = dict(type="RegressionHead", in_channels=8)
    return MODELS.build(
        dict(
            type="JointRegressor",
            backbone=dict(type="FullAttention-v1m1", channels=8, depth=1, num_heads=1),
            domains={
                name: dict(head=head | dict(out_channels=width), criteria=[dict(type="MSELoss")])
                for name, width in widths.items()
            },
            normalizer=dict(type="TargetNormalizer", channels=sum(widths.values())),
        )
    )


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        (dict(surface=1, volumes=4), "got 'volumes'.*did you mean 'volume'"),
        (dict(surface=1), r"got \['surface'\], wanted \['surface', 'volume'\]"),
        (dict(volume=4, surface=1), "in the order of"),
        (dict(surface=1, volume=3), "out_channels: got 3, wanted 4: velocity 3, pressure_coefficient 1"),
    ],
)
def test_a_model_of_other_domains_is_refused(widths, message):
    dataset = DATASETS.build(dict(type="EllipsoidFlowJointDataset", num_samples=1))
    with pytest.raises(InputError, match=message):
        check_domains(model_of(**widths), dataset)
    check_domains(model_of(surface=1, volume=4), dataset)


def test_domains_want_a_model_that_tells_them_apart_and_only_they(capsys, tmp_path):
    alone = DATASETS.build(dict(type="EllipsoidFlowDataset", num_samples=1))
    with pytest.raises(InputError, match="has no domains; wanted DefaultRegressor"):
        check_domains(model_of(surface=1, volume=4), alone)
    plain = tmp_path / "plain.py"
    plain.write_text(
        f"_base_ = [{CONFIG!r}]\nmodel = dict(_delete_=True, type='DefaultRegressor', "
        "backbone=dict(type='FullAttention-v1m1', in_channels=33, channels=8, depth=1, num_heads=1), "
        "head=dict(type='RegressionHead', in_channels=8, out_channels=5), "
        "normalizer=dict(type='TargetNormalizer', channels=5), criteria=[dict(type='MSELoss')])\n"
    )
    options = [f"save_path={tmp_path / 'run'}", *(o for o in SMALL if "backbone" not in o)]
    assert train_main(["--config", str(plain), "--options", *options]) == 2
    assert "wanted JointRegressor" in capsys.readouterr().err


def body_and_air(folder: Path, raw: dict) -> tuple[np.ndarray, np.ndarray]:
    """Files of both domains of a sample, as the data set has them; the points of each."""
    parts = [raw["coord"][raw["domain"] == number].astype(np.float64) for number in (0, 1)]
    normal = raw["normal"][raw["domain"] == 0]
    write_mesh(folder / "body.vtp", Mesh(parts[0], {}, {"normal": normal}))
    write_mesh(folder / "air.vtu", Mesh(parts[1], {}, {"kept": parts[1][:, 0]}))
    return parts[0], parts[1]


def test_files_of_both_domains_are_predicted_as_the_test_predicts(joint_run, tmp_path, capsys):
    raw = DATASETS.build(load_config(str(joint_run / "config.py")).data.test).get_data(0)
    points = body_and_air(tmp_path, raw)
    network = pointcept_bsa.load(joint_run)
    tool = load_tool("predict")
    files = [f"surface={tmp_path / 'body.vtp'}", f"volume={tmp_path / 'air.vtu'}"]
    assert tool.main(["--weight", str(joint_run), "--input", *files, "--output", str(tmp_path / "out")]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = network.predict(np.concatenate(points), domain=raw["domain"], normal=raw["normal"])
    for number, (file, field, key) in enumerate(
        (
            ("body.vtp", "pressure_coefficient", "surface/pressure_coefficient"),
            ("air.vtu", "velocity", "volume/velocity"),
        )
    ):
        rows = raw["domain"] == number
        written = read_mesh(tmp_path / "out" / file).point_data
        np.testing.assert_allclose(written[f"predicted_{field}"], whole[key][rows], rtol=1e-4, atol=1e-5)
        assert np.isnan(whole[key][~rows]).all() and np.isfinite(written[f"predicted_{field}"]).all()
    assert "kept" in written and "predicted_pressure_coefficient" in written
    records = json.loads((tmp_path / "out/predictions.json").read_text())["files"]
    assert [record["domain"] for record in records] == ["surface", "volume"]


def test_a_volume_of_cells_goes_to_the_format_that_holds_them(joint_run, tmp_path, capsys):
    """The command of the docs, without ``--format``: .vtp has no place for cells of a volume."""
    raw = DATASETS.build(load_config(str(joint_run / "config.py")).data.test).get_data(0)
    _, air = body_and_air(tmp_path, raw)
    write_mesh(tmp_path / "air.vtu", Mesh(air, {"tetra": np.arange(4)[None] + np.arange(57)[:, None]}))
    files = [f"surface={tmp_path / 'body.vtp'}", f"volume={tmp_path / 'air.vtu'}"]
    options = ["--weight", str(joint_run), "--input", *files, "--output", str(tmp_path / "out")]
    assert load_tool("predict").main(options) == 0
    assert len(read_mesh(tmp_path / "out/air.vtu").cells["tetra"]) == 57
    assert (tmp_path / "out/body.vtp").is_file()
    assert load_tool("predict").main([*options, "--format", "vtp"]) == 2
    assert "wanted .vtu" in capsys.readouterr().err


def test_points_of_polyhedra_are_predicted(joint_run, tmp_path, capsys):
    """Their cells are left out, which is said; points that belong to no other cell are not lost with them."""
    pyvista = pytest.importorskip("pyvista")
    raw = DATASETS.build(load_config(str(joint_run / "config.py")).data.test).get_data(0)
    _, air = body_and_air(tmp_path, raw)
    faces = [4, 3, 0, 1, 2, 3, 0, 1, 3, 3, 0, 2, 3, 3, 1, 2, 3]
    cells = np.concatenate([[len(faces), *faces], *([4, *range(i, i + 4)] for i in range(4, 57))])
    pyvista.UnstructuredGrid(cells, [42] + [10] * 53, air).save(tmp_path / "air.vtu")
    files = [f"surface={tmp_path / 'body.vtp'}", f"volume={tmp_path / 'air.vtu'}"]
    assert load_tool("predict").main(["--weight", str(joint_run), "--input", *files, "--output", f"{tmp_path}/o"]) == 0
    assert "left out: polyhedra" in capsys.readouterr().out
    written = read_mesh(tmp_path / "o/air.vtu")
    assert len(written.points) == 60 and np.isfinite(written.point_data["predicted_velocity"]).all()


def test_drag_is_that_of_the_surface_whose_faces_are_given(joint_run, tmp_path, capsys):
    coord = (u := np.random.default_rng(0).normal(size=(60, 3))) / np.linalg.norm(u, axis=1, keepdims=True)
    write_mesh(tmp_path / "body.ply", Mesh(0.6 * coord, {"triangle": ConvexHull(coord).simplices}))
    write_mesh(tmp_path / "air.npz", Mesh(1.4 * coord))
    files = [f"volume={tmp_path / 'air.npz'}", f"surface={tmp_path / 'body.ply'}"]
    options = ["--weight", str(joint_run), "--input", *files, "--output", str(tmp_path / "out")]
    assert load_tool("predict").main(options) == 0
    assert "Cd " in capsys.readouterr().out
    body = read_mesh(tmp_path / "out/body.vtp")
    assert "predicted_drag_coefficient" in body.field_data and len(body.cells["triangle"]) > 50
    assert "predicted_drag_coefficient" not in read_mesh(tmp_path / "out/air.vtp").field_data


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["body.vtp"], "out", "has no file of domain 'surface'"),
        (["surface=body.vtp"], "out", "has no file of domain 'volume'"),
        (["surface=body.vtp", "volum=air.vtu"], "out", "got domain 'volum', wanted one of .*did you mean 'volume'"),
        (["surface=body.vtp", "surface=air.vtu"], "out", "once for each domain"),
        (["surface=body.vtp", "air.vtu"], "out", "wanted files alone, or DOMAIN=FILE"),
        (["surface=body.vtp", "volume=air.vtu"], "out.vtp", "wanted a folder for the files of several domains"),
    ],
)
def test_wrong_files_are_named_in_one_line(joint_run, inputs, output, message, tmp_path, monkeypatch, capsys):
    body_and_air(tmp_path, DATASETS.build(load_config(str(joint_run / "config.py")).data.test).get_data(0))
    monkeypatch.chdir(tmp_path)
    assert load_tool("predict").main(["--weight", str(joint_run), "--input", *inputs, "--output", output]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line)


def test_arrays_want_a_known_domain_of_every_point(joint_run):
    network = pointcept_bsa.load(joint_run)
    with pytest.raises(InputError, match=r"'domain' has the values \[0.0, 2.0\], wanted 0 to 1"):
        network.predict(np.random.rand(4, 3), domain=np.array([0, 0, 2, 2]), normal=np.zeros((4, 3)))


def test_a_large_cloud_is_predicted_in_pieces_of_both_domains():
    torch.manual_seed(0)
    keys = ("coord", "target", "name", "domain")
    options = dict(num_samples=2, num_points=dict(surface=20, volume=30))
    transform = [dict(type="CollectPoints", keys=keys)]
    dataset = DATASETS.build(dict(type="EllipsoidFlowJointDataset", transform=transform, **options))
    batch = collate_fn([dataset[0], dataset[1]])
    model = model_of(surface=1, volume=4).eval()
    model.normalizer.set([0.0] * 5, [1.0] * 5)
    with torch.no_grad():
        whole, apart, pieces = (BoundedModel(model, bound)(batch)["pred"] for bound in (None, 60, 30))
    torch.testing.assert_close(apart, whole, equal_nan=True)
    assert pieces.isnan().equal(whole.isnan()) and pieces.isnan().equal(batch["domain"][:, None] != model.owner)


def test_how_sure_an_ensemble_is_of_the_fields_of_a_domain():
    """Curves over the points of the domain alone; elsewhere nothing is predicted."""
    dataset = DATASETS.build(
        dict(type="EllipsoidFlowJointDataset", num_samples=1, num_points=dict(surface=5, volume=9))
    )
    torch.manual_seed(0)
    domain = torch.tensor([0] * 5 + [1] * 9)
    pred, target, variance = (torch.randn(14, 5).double() for _ in range(3))
    variance, strange = variance.square(), domain[:, None] != torch.tensor([0, 1, 1, 1, 1])
    output = {key: each.masked_fill(strange, torch.nan) for key, each in (("pred", pred), ("variance", variance))}
    told = UncertaintyCurves(target_fields(dataset))
    told(dict(target=target, offset=torch.tensor([14]), name=["a"], domain=domain), output)
    found = told.report()["fields"]
    assert found["surface/pressure_coefficient"] == curves(pred[:5, :1], target[:5, :1], variance[:5, :1])
    assert found["volume/velocity"] == curves(pred[5:, 1:4], target[5:, 1:4], variance[5:, 1:4])


def test_an_ensemble_of_joint_models_fits_their_data():
    cfg = load_config(CONFIG, {"model.backbone.depth": 1})
    members = [MODELS.build(cfg.model).eval() for _ in range(2)]
    for member in members:
        member.normalizer.set([0.0] * 5, [1.0] * 5)
    dataset = DATASETS.build(cfg.data.test.to_dict() | dict(num_samples=1, num_points=dict(surface=20, volume=30)))
    check_domains(Ensemble(members), dataset)
    batch = collate_fn([dataset[0]])
    with torch.no_grad():
        together, *alone = (model(batch)["pred"] for model in (Ensemble(members), *members))
    torch.testing.assert_close(together, sum(alone) / 2, equal_nan=True)
    assert together.isfinite().sum() == 20 + 4 * 30


@pytest.mark.parametrize("queries", [None, dict(surface=3, volume=4)])
def test_anchors_of_each_domain(queries):
    sample = dict(coord=np.arange(60.0).reshape(20, 3), target=np.zeros((20, 5)), name="a")
    sample |= dict(domain=np.array([0] * 8 + [1] * 12), domain_names=("surface", "volume"))
    sample = SampleAnchors(dict(volume=6, surface=4), queries)(sample)
    anchor, domain = sample["is_anchor"], sample["domain"]
    assert anchor[:10].all() and not anchor[10:].any()
    assert np.bincount(domain[anchor]).tolist() == [4, 6]
    assert np.bincount(domain[~anchor]).tolist() == ([4, 6] if queries is None else [3, 4])
    assert len(np.unique(sample["coord"], axis=0)) == len(domain)
    collected = CollectPoints(("coord", "target", "name", "domain"))(sample)
    assert collected["anchor_offset"].item() == 10 and collected["domain_offset"].tolist()[-1] == len(domain)


def test_numbers_of_anchors_that_fit_no_domains_are_refused():
    sample = dict(coord=np.zeros((9, 3)), domain=np.arange(9) % 2, domain_names=("surface", "volume"))
    for wrong in (dict(surface=3), dict(surface=3, air=2)):
        with pytest.raises(InputError, match=r"num_anchors of .*, wanted of \['surface', 'volume'\]"):
            SampleAnchors(wrong)(sample)
    with pytest.raises(InputError, match="wanted of all points: no domains"):
        SampleAnchors(dict(surface=3))(dict(coord=np.zeros((9, 3))))
    for arguments in ((dict(surface=3), 4), ({}, None), (dict(surface=3), dict(volume=4)), (dict(surface=0), None)):
        with pytest.raises(InputError, match="SampleAnchors: got"):
            SampleAnchors(*arguments)
    with pytest.raises(InputError, match="test_cfg: got anchors="):
        DATASETS.build(dict(type="EllipsoidFlowJointDataset", test_cfg=dict(anchors=dict(surface=0, volume=3))))


def test_every_point_from_anchors_of_each_domain(joint_run, tmp_path, tool):
    """The anchors are those of the draw; test, tool and program say the same."""
    out = tmp_path / "test"
    more = [
        "test.save_predictions=True",
        "data.test.test_cfg.anchors.surface=20",
        "data.test.test_cfg.anchors.volume=30",
    ]
    options = [f"save_path={out}", f"weight={joint_run}/model/model_last.pth", *SMALL[3:], *more, "test.export=['vtp']"]
    assert run_test(["--config", str(Path(joint_run) / "config.py"), "--options", *options]) == 0
    report = json.loads((out / "test/metrics.json").read_text())
    assert report["approximation"].startswith("every point predicted as a query of 20 surface, 30 volume anchors")
    name = report["samples"][0]["name"]
    with np.load(out / f"test/predictions/{name}.npz") as data:
        tested, domain = data["pred"], data["domain"]
    order = random_order(100, name, 0).numpy()
    anchors = np.sort(np.concatenate([order[domain[order] == i][:n] for i, n in enumerate((20, 30))]))
    dataset = DATASETS.build(load_config(str(Path(joint_run) / "config.py")).data.test.to_dict())
    batch = {key: value for key, value in collate_fn([dataset[0]]).items() if key not in ("target", "domain_offset")}
    network = pointcept_bsa.load(joint_run, device="cpu").network
    own = {key: batch[key][anchors] for key in ("coord", "feat", "domain")} | {"offset": torch.tensor([50])}
    with torch.no_grad():
        found = network.model.decode(network.model.encode_anchors(own), batch)["pred"]
    np.testing.assert_allclose(tested, found, rtol=1e-4, atol=1e-5)
    files = [f"{part}={out}/test/export/{name}_{part}.vtp" for part in ("surface", "volume")]
    words = ["--weight", str(joint_run), "--output", str(tmp_path / "files"), "--input", *files]
    assert tool("predict", *words, "--anchors", "surface=20,volume=30") == 0
    for wrong in ("surface=20", "surface=x", "surface=1,surface=2", "surface=0,volume=3"):
        assert tool("predict", *words, "--anchors", wrong) == 2
