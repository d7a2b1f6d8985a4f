"""What tools/predict.py says of a raw file is what the test says of that sample, for every data set and option.

The networks are not trained, but random ones of the shipped configs' kind: any difference of an input shows.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.airfoil import AirfoilDataset
from pointcept_bsa.datasets.airfrans import AirfRANSSurfaceDataset
from pointcept_bsa.datasets.base import split_hash
from pointcept_bsa.datasets.cosmology import CosmologyDataset
from pointcept_bsa.datasets.elasticity import ElasticityDataset
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.nbody_box import NBodyBoxDataset
from pointcept_bsa.datasets.own.stores import files_store
from pointcept_bsa.datasets.pipe import PipeDataset
from pointcept_bsa.datasets.prepare.custom import prepare_custom
from pointcept_bsa.datasets.prepare.layout import finish, write_sample
from pointcept_bsa.datasets.tissue_beams import TissueBeamsDataset
from pointcept_bsa.datasets.ventricle import VentricleDataset
from pointcept_bsa.engine.bounded import bounded
from pointcept_bsa.engine.bounded import test_settings as settings_of
from pointcept_bsa.engine.export_fields import FieldExporter
from pointcept_bsa.engine.normalizer_hook import FitTargetNormalizer
from pointcept_bsa.engine.training_points import training_points
from pointcept_bsa.engine.training_range import FILE, check_same_inputs, describe_training_data
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host import build_dataset, collate_fn
from pointcept_bsa.host.embedded.config import config_text, load_config
from pointcept_bsa.host.embedded.registry import build_model
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh

ROOT = Path(__file__).resolve().parents[2]
NUMBER = 8  # of samples


def make_run(cfg, folder):
    """The folder of a run that nobody trained, as the hooks leave it; (folder, model, test set)."""
    (folder / "model").mkdir(parents=True)
    cfg.save_path = str(folder)
    train, test = build_dataset(cfg.data.train), build_dataset(cfg.data.test)
    cfg.model.backbone.in_channels = test[0]["feat"].shape[1]
    channels = test[0]["target"].shape[1]
    cfg.model.head.out_channels = cfg.model.normalizer.channels = channels
    (folder / "config.py").write_text(config_text(cfg))
    torch.manual_seed(0)
    model = build_model(cfg.model, path="model").eval()
    statistics = train.target_statistics()
    model.normalizer.set(statistics["mean"], statistics["std"])
    torch.save({"state_dict": model.state_dict(), "epoch": 1}, folder / "model" / "model_best.pth")
    write_json(folder / FILE, describe_training_data(train))
    return model, test


def compare(cfg, mesh_of, tmp_path, tool, *arguments):
    """Predict with the run's folder and with its exported file; both must be what the test judges; returns that."""
    folder = tmp_path / "run"
    model, test = make_run(cfg, folder)
    with torch.no_grad():
        pred = bounded(model, settings_of(test), training_points(folder, cfg))(collate_fn([test[0]]))["pred"]
    wanted = pred.double().numpy() + test.target_offset()
    raw = mesh_of(test.get_data_name(0))
    one_file = tmp_path / "network.safetensors"
    assert tool("export", str(folder), "--output", str(one_file)) == 0
    for run in (folder, one_file):
        out = tmp_path / "out.npz"
        command = ["--weight", str(run), "--input", str(raw), "--output", str(out), *arguments]
        assert tool("predict", *command) == 0
        mesh = read_mesh(out)
        got = [values.reshape(len(mesh.points), -1) for name, values in mesh.point_data.items() if "predicted_" in name]
        widths = [len([n for n in test.target_names if n.startswith(field)]) or 1 for field in test.target_fields]
        got = np.concatenate([g[:, :w] for g, w in zip(got, widths, strict=True)], axis=1)
        got = got[np.isfinite(got).all(axis=1)]
        std = np.asarray(test.target_statistics()["std"])
        np.testing.assert_allclose((got - wanted) / std, np.zeros_like(wanted), atol=1e-5)
        out.unlink()
    return wanted, test


# Own data.


def body(index, shift=(0.0, 0.0, 0.0), constant=0.0, flat=False):
    """A triangulated patch with fields of every kind, and one point of no cell."""
    rng = np.random.default_rng(index)
    side = 7 + index % 3
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(side) * 0.1, np.arange(side) * 0.1, indexing="ij"))
    z = np.zeros_like(x) if flat else 0.1 * np.sin(5 * x + index) + 0.05 * y
    points = np.stack([x * (1 + 0.1 * index), y, z], axis=1)
    points = np.concatenate([points, [[0.35, 0.35, 0.0 if flat else 0.4]]])
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    cells = np.concatenate(
        [np.stack([corner, corner + side, corner + 1], 1), np.stack([corner + side, corner + side + 1, corner + 1], 1)]
    )
    mesh = Mesh(points + np.asarray(shift), {"triangle": cells})
    mesh.point_data = {
        "q": constant + 0.01 * np.sin(4 * points[:, 0]) + 0.01 * points[:, 1],
        "velocity": np.stack([points[:, 1], np.cos(points[:, 0]), points[:, 2]], axis=1),
        "wall": (points[:, 0] < 0.15).astype(float),
        "temperature": 1e5 + 1e-3 * rng.random(len(points)),
    }
    mesh.cell_data = {"area": rng.random(len(cells))}
    mesh.field_data = {"mach": np.array([0.3 + 0.05 * index]), "wind": np.array([10.0, 0.1 * index])}
    return mesh


def write_bodies(folder, suffix="vtu", **options):
    folder.mkdir()
    for index in range(NUMBER):
        write_mesh(folder / f"case {index}.{suffix}", body(index, **options))
    table = ["name,alpha,mass", *(f"case {index},{index - 3},{1e9 + index}" for index in range(NUMBER))]
    (folder / "cases.csv").write_text("\n".join(table))
    return lambda name: folder / f"{name}.{suffix}"


FOURIER = dict(type="FourierFeatures", keys=("coord",), num_bands=3)


def collect(*features):
    return dict(type="CollectPoints", keys=("coord", "target", "name"), feat_keys=features)


def own_config(data_root, transform, test=None, **options):
    cfg = load_config(str(ROOT / "configs/custom/full_attention.py"))
    cfg.device = "cpu"
    cfg.model.backbone.update(channels=32, depth=1, num_heads=2)
    cfg.model.head.in_channels = 32
    for split in ("train", "val", "test"):
        more = {"test_mode": True, **(test or {})} if split == "test" else {}
        cfg.data[split] = dict(
            type="PointFieldDataset", data_root=str(data_root), split=split, transform=transform, **options, **more
        )
    return cfg


ALL = ("normal", "wall_distance", "velocity", "temperature", "area", "mach", "wind")
PREPARE = dict(
    target=["q"], feature=[*ALL, "alpha", "mass"], wall_mask="wall", cells_to_points=True, drop_loose_points=True
)
GIVEN = ["--field", "alpha=ALPHA", "mass=MASS"]
OPTIONS = {  # transforms, options of the data set, options of the test set
    "box": ([FOURIER, collect("fourier")], dict(scale_to_box=True), {}),
    "every field": ([collect("coord", *ALL, "alpha", "mass")], {}, {}),
    "box and fields": ([FOURIER, collect("fourier", "normal", "mach")], dict(scale_to_box=True), {}),
    "scaled": (
        [
            dict(type="ScaleField", key="velocity", std=[0.5, 2.0, 1.0], mean=[0.1, 0.2, 0.3]),
            dict(type="ScaleCoord", min=(0, 0, -1), max=(2, 1, 1)),
            collect("coord", "velocity"),
        ],
        {},
        {},
    ),
    "mirrored": ([dict(type="RandomMirror", p=1.0, vector_keys=("velocity",)), collect("coord", "velocity")], {}, {}),
    "sampled": ([dict(type="SamplePoints", num_points=1000), collect("coord", "wind")], {}, {}),
    "bounded": ([collect("coord", "mach")], {}, dict(test_cfg=dict(max_points=20, votes=2))),
    "tree": (
        [
            dict(type="AddGridCoord", grid_size=0.1),
            dict(
                type="CollectPoints",
                keys=("coord", "target", "name", "grid_coord"),
                feat_keys=("coord", "grid_coord"),
            ),
        ],
        {},
        {},
    ),
}


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
@pytest.mark.parametrize("option", list(OPTIONS))
def test_own_data_prepared(option, far, tmp_path, tool):
    shift = dict(shift=(501234.0, 5212345.0, 300.0), constant=101325.0) if far else {}
    mesh_of = write_bodies(tmp_path / "src", **shift)
    prepare_custom(str(tmp_path / "src"), str(tmp_path / "data"), parameters=str(tmp_path / "src/cases.csv"), **PREPARE)
    transform, options, test = OPTIONS[option]
    if far:  # places in transforms are those of the files
        low = np.array(shift["shift"])
        places = {
            "ScaleCoord": dict(min=(low - [0, 0, 1]).tolist(), max=(low + [2, 1, 1]).tolist()),
            "RandomMirror": dict(center=float(low[0])),
        }
        transform = [{**step, **(places.get(step["type"]) or {})} for step in transform]
    cfg = own_config(tmp_path / "data", transform, test, **options)
    number = int(build_dataset(cfg.data.test).get_data_name(0).split()[1])
    given = [text.replace("ALPHA", str(number - 3)).replace("MASS", str(1e9 + number)) for text in GIVEN]
    arguments = given if "alpha" in str(transform) else []
    wanted, test = compare(cfg, mesh_of, tmp_path, tool, *arguments)
    truth = body(number, **shift)
    used = slice(0, len(truth.points) - 1)
    target = test[0]["target"].double().numpy() + test.target_offset()
    np.testing.assert_allclose(target[:, 0], truth.point_data["q"][used], rtol=1e-12 if far else 1e-6, atol=1e-9)
    assert wanted.std() > 1e-4 * target.std()  # the network says something that could differ


@pytest.mark.parametrize(
    ("suffix", "fields", "options"),
    [
        ("vtp", ["normal", "mach", "velocity[:2]"], dict(drop_loose_points=True)),
        ("npz", ["wind", "temperature"], dict(drop_loose_points=False)),
        ("vtk", ["area"], dict(cells_to_points=True, drop_loose_points=True)),
    ],
)
@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_own_data_read_as_files(suffix, fields, options, far, tmp_path, tool):
    shift = dict(shift=(501234.0, 5212345.0, 300.0), constant=101325.0) if far else {}
    mesh_of = write_bodies(tmp_path / "src", suffix, **shift)
    keys = [field.replace("[:2]", "_2") for field in fields]
    transform = [FOURIER, collect("fourier", *keys)]
    cfg = own_config(
        tmp_path / "src", transform, target=["q", "velocity[2:3]"], fields=fields, scale_to_box=True, **options
    )
    compare(cfg, mesh_of, tmp_path, tool)


def test_own_data_in_the_plane(tmp_path, tool):
    mesh_of = write_bodies(tmp_path / "src", flat=True)
    cfg = own_config(
        tmp_path / "src",
        [FOURIER, collect("fourier", "wall_distance")],
        target=["q"],
        fields=["wall_distance"],
        wall_mask="wall",
    )
    cfg.model.backbone.dimensionality = 2
    compare(cfg, mesh_of, tmp_path, tool)


def test_exports_have_the_places_and_values_of_the_files(tmp_path):
    shift = dict(shift=(501234.0, 5212345.0, 300.0), constant=101325.0)
    write_bodies(tmp_path / "src", **shift)
    prepare_custom(str(tmp_path / "src"), str(tmp_path / "data"), parameters=str(tmp_path / "src/cases.csv"), **PREPARE)
    cfg = own_config(tmp_path / "data", [FOURIER, collect("fourier", "mach")], scale_to_box=True)
    test = build_dataset(cfg.data.test)
    name, sample = test.get_data_name(0), collate_fn([test[0]])
    FieldExporter(tmp_path / "out", ["vtu"], test)(sample, sample["target"] + 0.001)
    mesh, number = read_mesh(tmp_path / "out" / f"{name}.vtu"), int(name.split()[1])
    truth = body(number, **shift)
    np.testing.assert_allclose(mesh.points, truth.points[:-1], rtol=0, atol=1e-6)
    values = mesh.point_data
    np.testing.assert_allclose(values["truth_q"].ravel(), truth.point_data["q"][:-1], rtol=0, atol=1e-8)
    np.testing.assert_allclose(values["predicted_q"] - values["truth_q"], 0.001, rtol=1e-4)
    np.testing.assert_allclose(values["error_q"], 0.001, rtol=1e-4)
    np.testing.assert_allclose(values["mach"], truth.field_data["mach"][0], rtol=1e-6)  # not standardised
    np.testing.assert_allclose(values["temperature"].ravel(), truth.point_data["temperature"][:-1], rtol=0, atol=1e-9)


def test_the_numbers_of_transforms_are_those_of_the_files(tmp_path, tool):
    """A box, a mirror and a scale given in the coordinates and values that the files have."""
    shift = dict(shift=(501234.0, 5212345.0, 300.0), constant=101325.0)
    mesh_of = write_bodies(tmp_path / "src", **shift)
    low = np.array(shift["shift"])
    transform = [
        dict(type="RandomMirror", axis=0, p=1.0, center=float(low[0] + 0.5)),
        dict(type="ScaleField", key="temperature", std=[1e-3], mean=[1e5]),
        dict(type="ScaleCoord", min=low.tolist(), max=(low + 2).tolist()),
        collect("coord", "temperature"),
    ]
    cfg = own_config(tmp_path / "src", transform, target=["q"], fields=["temperature"], drop_loose_points=True)
    _, test = compare(cfg, mesh_of, tmp_path, tool)
    truth = body(int(test.get_data_name(0).split()[1]), **shift)
    coord = (truth.points - low) * [-1, 1, 1] + [1, 0, 0]
    feat = np.concatenate([coord / 2, (truth.point_data["temperature"][:, None] - 1e5) / 1e-3], axis=1)
    np.testing.assert_allclose(test[0]["feat"].numpy(), feat[:-1], atol=1e-5)


def test_a_run_of_an_earlier_version_is_described_by_its_data_or_refused(tmp_path, tool, capsys):
    mesh_of = write_bodies(tmp_path / "src")
    cfg = own_config(
        tmp_path / "src", [FOURIER, collect("fourier")], target=["q"], scale_to_box=True, drop_loose_points=True
    )
    model, test = make_run(cfg, tmp_path / "run")
    known = json.loads((tmp_path / "run" / FILE).read_text())
    del known["inputs"]
    write_json(tmp_path / "run" / FILE, known)
    name = test.get_data_name(0)
    raw = mesh_of(name).rename(tmp_path / f"{name}.vtu")
    shutil.copy(raw, tmp_path / "src")
    command = ["--weight", str(tmp_path / "run"), "--input", str(raw), "--output", str(tmp_path / "o.npz")]
    assert tool("predict", *command) == 0 and "made from its training data now" in capsys.readouterr().out
    with torch.no_grad():
        wanted = model(collate_fn([test[0]]))["pred"].numpy()[:, 0]
    np.testing.assert_allclose(
        read_mesh(tmp_path / "o.npz").point_data["predicted_q"][:-1], wanted, rtol=1e-5, atol=1e-7
    )
    (tmp_path / "src").rename(tmp_path / "elsewhere")
    files_store.cache_clear()  # which a new process does not have
    assert tool("predict", *command) == 2 and "how the data set scales" in capsys.readouterr().err


def test_what_predict_cannot_know_is_named_in_one_line(tmp_path, tool, capsys):
    mesh_of = write_bodies(tmp_path / "src")
    prepare_custom(str(tmp_path / "src"), str(tmp_path / "data"), parameters=str(tmp_path / "src/cases.csv"), **PREPARE)
    cfg = own_config(tmp_path / "data", [collect("coord", "alpha", "velocity", "normal")])
    make_run(cfg, tmp_path / "run")

    capsys.readouterr()

    def refused(source, *arguments):
        command = ["--weight", str(tmp_path / "run"), "--input", str(source), "--output", str(tmp_path / "o.npz")]
        assert tool("predict", *command, *arguments) == 2
        error = capsys.readouterr().err
        assert len(error.strip().splitlines()) == 1 and not (tmp_path / "o.npz").exists()
        return error

    raw = mesh_of("case 1")
    assert "has no value 'alpha'" in refused(raw) and "--field alpha=NUMBER" in refused(raw)
    assert "has 2 columns, wanted 1" in refused(raw, "--field", "alpha=1,2")
    assert "has a value a point" in refused(raw, "--field", "alpha=temperature")
    mesh = body(1)
    mesh.point_data["normal"] = np.ones_like(mesh.points)
    write_mesh(tmp_path / "two ways.vtu", mesh)
    assert "is not what the training worked out" in refused(tmp_path / "two ways.vtu", "--field", "alpha=1")
    write_mesh(tmp_path / "cloud.vtp", Mesh(mesh.points, {}, mesh.point_data))  # where it can be read one way only
    command = ["--weight", str(tmp_path / "run"), "--input", str(tmp_path / "cloud.vtp"), "--field", "alpha=1"]
    assert tool("predict", *command, "--output", str(tmp_path / "cloud.npz")) == 0
    assert "normal: from the file" in capsys.readouterr().out
    chosen = ["--field", "alpha=1", "normal=normal"]
    command = ["--weight", str(tmp_path / "run"), "--input", str(tmp_path / "two ways.vtu"), *chosen]
    assert tool("predict", *command, "--output", str(tmp_path / "chosen.npz")) == 0
    of_cloud, of_mesh = (read_mesh(tmp_path / f"{name}.npz").point_data["predicted_q"] for name in ("cloud", "chosen"))
    assert of_cloud.shape == of_mesh.shape and np.isfinite(of_cloud).all() and np.isnan(of_mesh[-1])
    assert "wanted every field once" in refused(raw, "--field", "alpha=1", "alpha=2")
    del mesh.point_data["velocity"]
    write_mesh(tmp_path / "less.vtu", mesh)
    assert "has no point field 'velocity'" in refused(tmp_path / "less.vtu", "--field", "alpha=1")
    (tmp_path / "run" / FILE).unlink()
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert "how the data set scales" in refused(raw, "--field", "alpha=1")


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (dict(type="RandomMirror", p=0.5), "draws at random"),
        (dict(type="RandomMirror", p=1.0, vector_keys=("target",)), "turns the target"),
        (dict(type="SamplePoints", num_points=9), "keeps 9 of"),
    ],
)
def test_a_test_that_is_not_of_the_cloud_as_it_is_is_not_repeated(transform, message, tmp_path, tool, capsys):
    mesh_of = write_bodies(tmp_path / "src")
    cfg = own_config(tmp_path / "src", [transform, collect("coord")], target=["velocity"])
    make_run(cfg, tmp_path / "run")
    command = [
        "--weight",
        str(tmp_path / "run"),
        "--input",
        str(mesh_of("case 1")),
        "--output",
        str(tmp_path / "o.npz"),
    ]
    assert tool("predict", *command) == 2 and message in capsys.readouterr().err


def test_fields_of_own_data_that_no_transform_takes_are_said(tmp_path, caplog):
    write_bodies(tmp_path / "src")
    options = dict(target=["q"], fields=["mach", "wind", "temperature"])
    scaled = dict(type="ScaleField", key="temperature", std=[1.0])  # which is no use of it
    cfg = own_config(tmp_path / "src", [scaled, collect("coord", "wind")], **options)
    model, _ = make_run(cfg, tmp_path / "run")
    trainer = SimpleNamespace(
        model=model,
        cfg=cfg,
        train_loader=SimpleNamespace(dataset=build_dataset(cfg.data.train)),
        logger=logging.getLogger("unused"),
    )
    hook = FitTargetNormalizer()
    hook.trainer = trainer
    with caplog.at_level(logging.WARNING, "unused"):
        hook.before_train()
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1 and "NOT USED, no transform takes them: mach, temperature (" in said[0]


def test_statistics_of_the_config_are_refused_where_a_constant_is_subtracted(tmp_path):
    write_bodies(tmp_path / "src", constant=101325.0)
    cfg = own_config(tmp_path / "src", [collect("coord")], target=["q"])
    model, _ = make_run(cfg, tmp_path / "run")
    hook = FitTargetNormalizer()
    loader = SimpleNamespace(dataset=build_dataset(cfg.data.train))
    hook.trainer = SimpleNamespace(model=model, cfg=cfg, train_loader=loader, logger=logging.getLogger("unused"))
    with pytest.raises(InputError, match="model.normalizer: got mean and std"):
        hook.before_train()
    model.normalizer.fitted.fill_(False)
    hook.before_train()
    assert abs(model.normalizer.mean.item()) < 0.1 and bool(model.normalizer.fitted)


def test_validation_is_made_as_the_training_is(tmp_path):
    write_bodies(tmp_path / "src")
    cfg = own_config(tmp_path / "src", [collect("coord")], target=["q"], scale_to_box=True)
    model, _ = make_run(cfg, tmp_path / "run")
    cfg.data.val.scale_to_box = False
    hook = FitTargetNormalizer()
    train, val = (SimpleNamespace(dataset=build_dataset(cfg.data[split])) for split in ("train", "val"))
    hook.trainer = SimpleNamespace(
        model=model, cfg=cfg, train_loader=train, val_loader=val, logger=logging.getLogger("unused")
    )
    with pytest.raises(InputError, match="data.val: the samples have other transform"):
        hook.before_train()


def test_edges_of_a_data_set_cannot_come_from_a_file(tmp_path, tool, capsys):
    mesh_of = write_bodies(tmp_path / "src")
    cfg = own_config(tmp_path / "src", [collect("coord")], target=["q"])
    make_run(cfg, tmp_path / "run")
    option = "data.test.transform.0.keys=['coord','neighbor_index']"
    command = [
        "--weight",
        str(tmp_path / "run"),
        "--input",
        str(mesh_of("case 1")),
        "--output",
        str(tmp_path / "o.npz"),
    ]
    assert tool("predict", *command, "--options", option) == 2
    assert "'neighbor_index' (CollectPoints), which the data set of its training makes" in capsys.readouterr().err


def test_samples_of_other_data_than_the_training_are_not_judged(tmp_path):
    write_bodies(tmp_path / "src")
    write_bodies(tmp_path / "other", shift=(3.0, 0.0, 0.0))
    cfg = own_config(tmp_path / "src", [FOURIER, collect("fourier")], target=["q"], scale_to_box=True)
    _, test = make_run(cfg, tmp_path / "run")
    check_same_inputs(test, tmp_path / "run")
    cfg.data.test.data_root = str(tmp_path / "other")
    with pytest.raises(InputError, match="other transform than those of the training"):
        check_same_inputs(build_dataset(cfg.data.test), tmp_path / "run")


# Data sets of prepared folders.

FOLDERS = {
    "airfoil": AirfoilDataset,
    "airfrans": AirfRANSSurfaceDataset,
    "beams": TissueBeamsDataset,
    "cosmology": CosmologyDataset,
    "elasticity": ElasticityDataset,
    "nbody": NBodyBoxDataset,
    "pipe": PipeDataset,
    "ventricle": VentricleDataset,
}


def made_up_folder(kind: type[FolderDataset], box, root, protocol):
    """A prepared folder of the data set with made-up numbers, and the raw arrays of its samples."""
    rng = np.random.default_rng(0)
    low, high = box
    arrays = {}
    for index in range(NUMBER):
        n = 30 + index
        own = {"coord": low + (high - low) * rng.random((n, kind.dimensions))}
        own |= {key: rng.random((n, width)) for key, width in kind.columns.items()}
        own |= {key: 100 + 50 * rng.random((1, width)) for key, width in kind.global_fields.items()}
        arrays[f"s{index}"] = {key: values.astype(np.float32) for key, values in own.items()}
        write_sample(root, f"s{index}", arrays[f"s{index}"])
    names = list(arrays)
    lists = {"train": names[:-2], "val": names[-2:-1], "test": names[-1:]}
    finish(root, {protocol: lists}, protocol, list(arrays["s0"]), f"# made up {split_hash(names)}\n")
    return arrays


def small(cfg):
    cfg.device = "cpu"
    cfg.model.backbone.depth = 1
    return cfg


@pytest.mark.parametrize("name", list(FOLDERS))
def test_data_sets_of_prepared_folders(name, tmp_path, tool):
    kind = FOLDERS[name]
    cfg = small(load_config(str(ROOT / f"configs/{name}/full_attention.py")))
    boxes = [t for t in cfg.data.test.transform if t["type"] == "ScaleCoord"]
    box = (np.array(boxes[0]["min"]), np.array(boxes[0]["max"])) if boxes else (np.zeros(3), np.ones(3))
    protocol = "OnceClampedBeam" if name == "beams" else "made up"
    arrays = made_up_folder(kind, box, tmp_path / "data", protocol)
    for split in ("train", "val", "test"):
        cfg.data[split].data_root = str(tmp_path / "data")
        cfg.data[split].pop("protocol", None)

    def mesh_of(sample):
        own = dict(arrays[sample])
        points = np.pad(own.pop("coord").astype(np.float64), ((0, 0), (0, 3 - kind.dimensions)))
        fields = {key: own[key] for key in kind.columns}
        mesh = Mesh(points, point_data=fields, field_data={key: own[key][0] for key in kind.global_fields})
        write_mesh(tmp_path / f"{sample}.vtp", mesh)
        return tmp_path / f"{sample}.vtp"

    compare(cfg, mesh_of, tmp_path, tool)


@pytest.mark.parametrize("name", ["ellipsoid_flow", "shapenet_car", "periodic_hills"])
def test_the_other_data_sets(name, tmp_path, tool, request):
    cfg = small(load_config(str(ROOT / f"configs/{name}/full_attention.py")))
    if name == "ellipsoid_flow":
        for split in ("train", "val", "test"):
            cfg.data[split].update(num_samples=3, num_points=80)
    else:
        root = tmp_path / "data"
        fields = dict(pressure=()) if name == "shapenet_car" else dict(wall_distance=1, rans_velocity=2, dns_velocity=2)
        rng = np.random.default_rng(0)
        for index in range(NUMBER):
            own = {"coord": rng.random((40, 3 if name == "shapenet_car" else 2))}
            own |= {key: rng.random((40, width) if width else 40) for key, width in fields.items()}
            write_sample(root, f"s{index}", {key: values.astype(np.float32) for key, values in own.items()})
        names = [f"s{index}" for index in range(NUMBER)]
        lists = {"train": names[:-2], "val": names[-2:-1], "holdout": names[-2:-1], "test": names[-1:]}
        finish(root, {"mini": lists}, "mini", ["coord", *fields], "# made up\n")
        for split in ("train", "val", "test"):
            cfg.data[split].data_root = str(root)
            cfg.data[split].pop("protocol", None)

    test = build_dataset(cfg.data.test)

    def mesh_of(sample):
        raw = test.get_data(0)
        points = np.pad(raw.pop("coord").astype(np.float64), ((0, 0), (0, 3 - test[0]["coord"].shape[1])))
        keys = [key for key in raw if key not in ("target", "name", "face")]
        write_mesh(tmp_path / f"{sample}.vtp", Mesh(points, point_data={key: raw[key] for key in keys}))
        return tmp_path / f"{sample}.vtp"

    compare(cfg, mesh_of, tmp_path, tool)
