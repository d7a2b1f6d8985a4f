"""What a prediction, a test or a training of own data cannot know or do is said in one line."""

from __future__ import annotations

import json
import logging
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.custom.stores import files_store
from pointcept_bsa.datasets.prepare.custom import prepare_custom
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host import build_dataset, collate_fn
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.training.evaluation.training_range import FILE, FitTargetNormalizer, check_same_inputs

from .custom_bodies import FOURIER, PREPARE, body, collect, custom_config, make_run, write_bodies


def test_a_run_of_an_earlier_version_is_described_by_its_data_or_refused(tmp_path, tool, capsys):
    mesh_of = write_bodies(tmp_path / "src")
    cfg = custom_config(
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
    cfg = custom_config(tmp_path / "data", [collect("coord", "alpha", "velocity", "normal")])
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


def of_a_mesh(folder, mesh_of):
    return ["--weight", str(folder / "run"), "--input", str(mesh_of("case 1")), "--output", str(folder / "o.npz")]


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
    cfg = custom_config(tmp_path / "src", [transform, collect("coord")], target=["velocity"])
    make_run(cfg, tmp_path / "run")
    command = of_a_mesh(tmp_path, mesh_of)
    assert tool("predict", *command) == 2 and message in capsys.readouterr().err


def test_fields_of_own_data_that_no_transform_takes_are_said(tmp_path, caplog):
    write_bodies(tmp_path / "src")
    options = dict(target=["q"], fields=["mach", "wind", "temperature"])
    scaled = dict(type="ScaleField", key="temperature", std=[1.0])  # which is no use of it
    cfg = custom_config(tmp_path / "src", [scaled, collect("coord", "wind")], **options)
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
    cfg = custom_config(tmp_path / "src", [collect("coord")], target=["q"])
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
    cfg = custom_config(tmp_path / "src", [collect("coord")], target=["q"], scale_to_box=True)
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
    cfg = custom_config(tmp_path / "src", [collect("coord")], target=["q"])
    make_run(cfg, tmp_path / "run")
    option = "data.test.transform.0.keys=['coord','neighbor_index']"
    command = of_a_mesh(tmp_path, mesh_of)
    assert tool("predict", *command, "--options", option) == 2
    assert "'neighbor_index' (CollectPoints), which the data set of its training makes" in capsys.readouterr().err


def test_samples_of_other_data_than_the_training_are_not_judged(tmp_path):
    write_bodies(tmp_path / "src")
    write_bodies(tmp_path / "other", shift=(3.0, 0.0, 0.0))
    cfg = custom_config(tmp_path / "src", [FOURIER, collect("fourier")], target=["q"], scale_to_box=True)
    _, test = make_run(cfg, tmp_path / "run")
    check_same_inputs(test, tmp_path / "run")
    cfg.data.test.data_root = str(tmp_path / "other")
    with pytest.raises(InputError, match="other transform than those of the training"):
        check_same_inputs(build_dataset(cfg.data.test), tmp_path / "run")
