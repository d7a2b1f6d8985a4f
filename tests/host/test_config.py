from __future__ import annotations

from pathlib import Path

import pytest
from host_toys import REPOSITORY

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import DEFAULTS, RULES, Config, check_values, load_config
from pointcept_bsa.host.weight import weight_to_test
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.cli import train_main


def test_defaults_are_those_of_default_runtime_and_each_keeps_its_rule():
    cfg = Config.fromfile(str(REPOSITORY / "configs/_base_/default_runtime.py"), import_custom_modules=False)
    assert all(cfg[key] == value for key, value in DEFAULTS.items())
    assert DEFAULTS.keys() == set(cfg) - {"custom_imports", "hooks", "test"}
    check_values(Config(DEFAULTS))
    assert DEFAULTS.keys() - RULES.keys() == {"param_dicts"}


def test_options_and_base(config, tmp_path):
    child = tmp_path / "child.py"
    child.write_text(
        '_base_ = ["toy.py"]\nmodel = dict(width=4)\noptimizer = dict(_delete_=True, type="SGD", lr=1.0)\n'
    )
    cfg = load_config(str(child), {"hooks.1.type": "Diary", "data.train.num_samples": 9, "max_iters": 5})
    assert cfg.model == {"type": "ToyLine", "width": 4}
    assert cfg.optimizer == {"type": "SGD", "lr": 1.0}
    assert cfg.hooks[1].type == "Diary" and cfg.hooks[0].type == "CheckpointLoader"
    assert cfg.data.train.num_samples == 9 and cfg.max_iters == 5 and cfg.enable_amp is False


def test_an_option_may_make_a_dict_of_none(config):
    assert load_config(config, {"ema": None, "ema.decay": 0.9}).ema == {"decay": 0.9}
    cfg = load_config(config, {"data.test.test_cfg": None, "data.test.test_cfg.votes": 2, "model.new.inner": 1})
    assert cfg.data.test.test_cfg == {"votes": 2} and cfg.model.new == {"inner": 1} and cfg.ema is None
    assert DEFAULTS["ema"] is None


def test_an_option_of_another_type_may_leave_out_the_arguments_of_the_one_before(config):
    given = {"optimizer._delete_": True, "optimizer.type": "SGD", "optimizer.lr": 0.5}
    assert load_config(config, {"optimizer.nesterov": False}).optimizer["nesterov"] is False
    assert load_config(config, {"optimizer.nesterov": False, **given}).optimizer == {"type": "SGD", "lr": 0.5}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("bach_size=3", "unknown config key 'bach_size' (did you mean 'batch_size'?)"),
        ("batch_size=0", "batch_size=0: expected a positive integer"),
        ("epoch=3", "epoch=3: expected a multiple of eval_epoch=2"),
        ("amp_dtype=float8", "amp_dtype='float8'"),
        ("enable_wandb=True", "wandb is not supported"),
        ("device=tpu", "device='tpu'"),
        ("hooks.99.type=Diary", "--options hooks.99.type=Diary"),
        ("hooks.1=ModelHook", "--options hooks.1=ModelHook: only an entry of a dict can be set"),
        ("bach\nsize=3", "--options bach size=3: unknown config key"),
        ("hooks.1.type=ModelHok", "hooks[1].type='ModelHok' is not in the hooks registry (did you mean 'ModelHook'?)"),
        ("model.type=ToyLyne", "model.type='ToyLyne' is not in the models registry (did you mean 'ToyLine'?)"),
        ("model.widht=3", "model (ToyLine): unknown argument 'widht' (did you mean 'width'?)"),
        ("model.width=wide", "model (ToyLine): width: got 'wide', wanted an integer"),
        ("ema.decay=2", "ema={'decay': 2}: expected None or dict(decay="),
        ("ema=dict(decay=0.9)", "wanted the values of a dict one by one, as in ema.a=1"),
        ("clip_grad=True", "clip_grad=True: expected None or a positive number"),
        ("model.fail=boom", "model (ToyLine): boom"),
        ("data.train.type=ToyClod", "data.train.type='ToyClod'"),
        ("data.train.num_samples=0", "data.train: the data set has no samples"),
        ("optimizer.type=AdamX", "optimizer.type='AdamX'"),
        ("optimizer.lr=-1", "optimizer (AdamW): Invalid learning rate"),
        ("scheduler.type=OneCycle", "scheduler.type='OneCycle'"),
        ("train.type=Trainer", "train.type='Trainer'"),
        ("gradient_accumulation_steps=100", "gradient_accumulation_steps=100"),
        ("eval_every=5", "eval_every=5: only with max_iters"),
        ("resume=True", "model_last.pth': no such file"),
        ("weight=nothing.pth", "weight='nothing.pth': no such file"),
        ("weight=.", "weight='.': is a folder, wanted a checkpoint in it"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_and_leaves_nothing(config, run_dir, capsys, option, message):
    assert train_main(["--config", config, "--options", option]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not run_dir.exists()


def test_of_the_folder_of_a_run_the_checkpoint_meant_is_named(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_last.pth").touch()
    with pytest.raises(InputError, match=f"is a folder, wanted .* weight={tmp_path}/model/model_last.pth$"):
        weight_to_test(str(tmp_path), "elsewhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = dict(", "SyntaxError"),
        ("model = nonsense", "NameError"),
        ('_base_ = ["absent.py"]', "absent.py"),
        ("modle = dict()", "unknown config key 'modle'"),
        ("epoch = 3", "the config has no key 'model'"),
        ('custom_imports = dict(imports=["no_such_module"], allow_failed_imports=False)', "no_such_module"),
        ("custom_imports = 3", "custom_imports=3: wanted a dict with a list of modules"),
        ('custom_imports = ["json"]', "custom_imports=['json']: wanted a dict with a list of modules"),
        ('custom_imports = dict(imports=[""])', "custom_imports={'imports': ['']}: Empty module name"),
        ("import numpy\nmodel = numpy.array([1, 'x'], object)", "the config has no key"),
    ],
)
def test_broken_config_files(tmp_path, capsys, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    assert train_main(["--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


def test_arguments(capsys, config):
    assert train_main(["--config", "absent.py"]) == 2
    assert train_main(["--confg", "absent.py"]) == 2
    assert train_main(["--config-file", config, "--num-gpus", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_testing_needs_a_weight(config, run_dir, capsys):
    assert run_test(["--config", config]) == 2
    assert "weight: none given" in capsys.readouterr().err
    assert not Path(run_dir).exists()


def test_the_root_of_the_data_is_set_where_a_config_uses_it():
    config = str(REPOSITORY / "configs/custom/bsa.py")
    cfg = load_config(config, {"data_root": "data/other"})
    assert [cfg.data[split].data_root for split in ("train", "val", "test")] == ["data/other"] * 3
    cfg = load_config(config, {"data.test.data_root": "data/tested", "data_root": "data/other"})
    assert cfg.data.train.data_root == "data/other" and cfg.data.test.data_root == "data/tested"
    generated = str(REPOSITORY / "configs/ellipsoid_flow/bsa.py")
    joint = load_config(str(REPOSITORY / "configs/drivaerml_joint/bsa.py"), {"data_root": "data/other"})
    assert {part.data_root for split in joint.data.values() for part in split.parts.values()} == {"data/other"}
    with pytest.raises(InputError, match="data_root=x: no data set of the config takes it"):
        load_config(generated, {"data_root": "x"})
