"""The config that weights carry: data alone, and the same model and inputs as from the run's own config."""

from __future__ import annotations

import copy
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from host_toys import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS, Compose, build_model
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.training.checkpoints.export import load_safetensors, save_safetensors
from pointcept_bsa.training.runs.opened_run import open_run, run_folder
from pointcept_bsa.training.runs.portable_config import DATA_KEYS, portable_config, read_portable_config

sys.path.insert(0, str(REPOSITORY / "tests"))
from test_configs import CONFIGS, made_up_batch

SMALL = """_base_ = [{base!r}]
device = "cpu"
model = dict(backbone=dict(depth=1, ball_size=32))
"""
CODE = "__import__('os').mkdir({mark!r})\n"


@pytest.mark.parametrize("name", CONFIGS)
def test_model_and_inputs_from_the_carried_config_are_those_of_the_run(name):
    cfg = load_config(str(REPOSITORY / "configs" / name))
    carried = read_portable_config(portable_config(cfg), "x")
    torch.manual_seed(0)
    model = build_model(cfg.model).eval()
    torch.manual_seed(0)
    other = build_model(carried.model).eval()
    for each in (model, other):
        for part in (each, *([each.scalars] if getattr(each, "scalars", None) is not None else [])):
            part.normalizer.set([1.0] * len(part.normalizer.mean), [2.0] * len(part.normalizer.mean))
    carried.data.train.type = cfg.data.train.type
    for key in ("scalars", "parts"):  # truth, and data sets of files, which the carried config leaves out
        if key in cfg.data.train:
            carried.data.train[key] = cfg.data.train[key]
    batches = []
    for each in (cfg, carried):
        np.random.seed(0)
        batches.append(made_up_batch(each, "test"))
    assert batches[0].keys() == batches[1].keys()
    for key in batches[1].keys() - {"host_ends"}:
        one, two = (batch[key] for batch in batches)
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two
    with torch.no_grad():
        preds = [network(dict(batches[1]))["pred"] for network in (model, other)]
    torch.testing.assert_close(*preds, rtol=0, atol=0, equal_nan=True)  # none of a domain's fields in the others
    assert not {"data_root", "parameters", "split_file", "cache"} & carried.data.test.keys()


@pytest.fixture
def cfg(tmp_path):
    mine = tmp_path / "small.py"
    mine.write_text(SMALL.format(base=str(REPOSITORY / "configs/ellipsoid_flow/bsa.py")))
    return load_config(str(mine))


@pytest.fixture
def weights(cfg):
    model = build_model(cfg.model)
    model.normalizer.set([0.0], [1.0])
    return model.state_dict()


def opened(folder: Path, weights, config: str | None):
    path = folder / "alone.safetensors"
    save_safetensors(path, weights, {"format": "pt"} | ({} if config is None else {"config": config}))
    return open_run(str(path), {"device": "cpu"})


@pytest.mark.parametrize("change", [dict(channels=2**15), dict(depth=2**31)])
def test_a_few_letters_do_not_take_all_memory_or_time(cfg, weights, tmp_path, change):
    content = json.loads(portable_config(cfg))
    content["model"]["backbone"] |= change
    with pytest.raises(InputError, match="describes a model of more than twice the .* numbers in the file"):
        opened(tmp_path, weights, json.dumps(content))
    assert build_model(cfg.model) is not None  # the count has ended


@pytest.mark.parametrize("value", ["\ud800", 10**299], ids=["half a pair", "digits"])
def test_values_that_would_be_carried_as_others_are_refused(cfg, value):
    cfg.model.backbone.rotate = value
    with pytest.raises(InputError, match=r"model\.backbone\.rotate=.*has no form as data"):
        portable_config(cfg)


def test_a_file_that_came_alone_opens(cfg, weights, tmp_path):
    run = opened(tmp_path, weights, portable_config(cfg))
    assert run.folder is None and run.name == "alone"
    assert all(torch.equal(value, weights[name]) for name, value in run.model.state_dict().items())


@pytest.mark.parametrize("config", [CODE, "model = dict(type='DefaultRegressor')\n", "[]", '{"model": 1}', "null"])
def test_a_config_that_is_no_data_is_refused(weights, tmp_path, config):
    mark = tmp_path / "mark"
    with pytest.raises(InputError, match="its config is no data.*export the run again") as error:
        opened(tmp_path, weights, config.format(mark=str(mark)) if config == CODE else config)
    assert "\n" not in str(error.value) and not mark.exists()
    with pytest.raises(InputError, match="carries no config"):
        opened(tmp_path, weights, None)


def changed(text: str, path: str, value) -> str:
    content = json.loads(text)
    *inner, last = path.split(".")
    part = content
    for key in inner:
        part = part[int(key) if isinstance(part, list) else key]
    part[last] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("custom_imports", {"imports": ["evil"], "allow_failed_imports": False}, "custom_imports: a key that is not"),
        ("_base_", "other.py", "_base_: a key that is not taken"),
        ("weight", "/etc/passwd", "weight: a key that is not taken"),
        ("save_path", "/", "save_path: a key that is not taken"),
        ("version", 2, "its config is of version 2, this package reads 1"),
        ("data.test.data_root", "/etc", "data.test.data_root: a key that is not taken"),
        ("data.train.parameters", "/etc/passwd", "data.train.parameters: a key that is not taken"),
        ("data.test.split_file", "/etc/passwd", "data.test.split_file: a key that is not taken"),
        ("data.other", {}, "data.other: a key that is not taken"),
        ("data.test", None, "data.test has no type"),
        ("data.test.transform", 3, "data.test.transform is no list"),
        ("data.test.test_cfg", [1], "data.test.test_cfg is no dict"),
        ("model", [], "has no model or no data"),
        ("model.type", "os.system", "model.type='os.system' is not in the models registry"),
        ("model.type", ["DefaultRegressor"], "wanted a registered name"),
        ("model.backbone.type", None, "wanted a registered name"),
        ("model.backbone.type", "torch.nn.Linear", "is not in the models registry"),
        ("model.backbone._delete_", True, "_delete_: a key that is not taken"),
        ("model.backbone._scope_", "mmengine", "_scope_: a key that is not taken"),
        ("model.backbone.depth", "x", "model.backbone (BSA-v1m1)"),
        ("model.head.out_channels", 2, "a checkpoint of another model"),
    ],
)
def test_a_strangers_config_is_refused_in_one_line(cfg, weights, tmp_path, path, value, message):
    with pytest.raises(InputError) as error:
        opened(tmp_path, weights, changed(portable_config(cfg), path, value))
    assert message in str(error.value) and "\n" not in str(error.value)


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-3, 70), st.floats(-9, 9), st.text(max_size=5))
ANY = st.recursive(LEAVES, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3))


@settings(max_examples=200)
@given(seed=st.integers(0, 2**31), value=ANY)
def test_whatever_a_stranger_changes_it_is_an_input_error_or_opens(seed, value):
    """One place of the carried config holds something else: read, built, one sample through its transforms."""
    cfg = load_config(str(REPOSITORY / "configs/ellipsoid_flow/bsa.py"))
    cfg.model.backbone.update(depth=1, ball_size=32, channels=16, num_heads=2)
    content = json.loads(portable_config(cfg))
    places = []

    def visit(part):
        for key in part if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], dict | list):
                visit(part[key])

    visit(content)
    part, key = random.Random(seed).choice(places)
    part[key] = copy.deepcopy(value)
    try:
        carried = read_portable_config(json.dumps(content), "x")
        build_model(carried.model, path="model")
        Compose(carried.data.test.get("transform") or [])
    except InputError as error:
        assert "\n" not in str(error)


def test_the_users_own_options_are_taken(cfg, weights, tmp_path):
    path = tmp_path / "alone.safetensors"
    save_safetensors(path, weights, {"config": portable_config(cfg)})
    run = open_run(str(path), {"device": "cpu", "data.test.data_root": "here", "data.test.num_points": 40})
    assert run.cfg.data.test.data_root == "here" and run.cfg.data.test.num_points == 40
    with pytest.raises(InputError, match="no_such_module"):
        open_run(str(path), {"custom_imports.imports": ["no_such_module"]})


def test_values_without_a_form_as_data_are_refused_by_key(cfg):
    for value in ({1, 2}, float("inf"), {1: 2}, object()):
        cfg.model.backbone.rotate = value
        with pytest.raises(InputError, match=r"model\.backbone\.rotate=.*has no form as data"):
            portable_config(cfg)


@pytest.mark.parametrize("transform", [dict(type="ToTensor"), [dict(key="coord")], ["ToTensor"]])
def test_what_could_not_be_read_is_not_exported(cfg, transform):
    cfg.data.test.transform = transform
    with pytest.raises(InputError, match=r"data\.test\.transform is no list of transforms, each with a type"):
        portable_config(cfg)


def test_arguments_that_name_files_are_not_among_those_taken():
    assert not {"data_root", "parameters", "split_file", "cache", "weight", "loop"} & set(DATA_KEYS)


def test_only_the_config_of_a_runs_own_folder_is_executed(cfg, weights, tmp_path):
    """``x/a.pth`` or ``x/y/a.pth`` is no run, whatever ``config.py`` lies near."""
    mark = tmp_path / "mark"
    (tmp_path / "x/y").mkdir(parents=True)
    (tmp_path / "config.py").write_text(CODE.format(mark=str(mark)))
    (tmp_path / "x/config.py").write_text(CODE.format(mark=str(mark)))
    for place in ("x/a.pth", "x/y/a.pth"):
        torch.save({"state_dict": weights}, tmp_path / place)
        assert run_folder(tmp_path / place) is None
        with pytest.raises(InputError, match="not in the folder of a run"):
            open_run(str(tmp_path / place))
    assert not mark.exists()
    (tmp_path / "run/model").mkdir(parents=True)
    (tmp_path / "run/config.py").write_text((tmp_path / "small.py").read_text())
    torch.save({"state_dict": weights}, tmp_path / "run/model/model_best.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "run/model/model_best.pth")
    (tmp_path / "linked").symlink_to(tmp_path / "run")
    for run, folder in (("run", "run"), ("link.pth", "run"), ("linked", "linked")):
        assert open_run(str(tmp_path / run)).folder == tmp_path / folder


def test_weights_alone_are_only_weights(weights, tmp_path):
    save_safetensors(tmp_path / "a.safetensors", weights, {"config": CODE})
    assert load_safetensors(tmp_path / "a.safetensors")[0].keys() == weights.keys()
    assert MODELS.get("os.system") is None
