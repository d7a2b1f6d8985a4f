"""What was written before a name changed: configs, runs and saved networks are still read."""

from __future__ import annotations

import inspect
import shutil

import numpy as np
import pytest
import torch

import pointcept_bsa
from pointcept_bsa import old_names
from pointcept_bsa.backbones import FullAttentionTransformer
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text, parse_json, write_json
from pointcept_bsa.host import DATASETS, MODELS
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.training.checkpoints.export import load_safetensors, save_safetensors
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.diagnosis import training_advice
from pointcept_bsa.training.runs.flat_config import flat_config

SMALL_NETWORK = dict(channels=8, depth=1, num_heads=2)
TAKES_RECOMPUTE = sorted(
    {
        name
        for name, built in MODELS.module_dict.items()
        if "recompute" in inspect.signature(built).parameters and built.__module__.startswith("pointcept_bsa")
    }
)


def test_backbones_recompute():
    assert len(TAKES_RECOMPUTE) >= 10


@pytest.mark.parametrize("name", TAKES_RECOMPUTE)
def test_a_config_with_checkpoint_builds(name):
    value = "selective"
    with pytest.warns(FutureWarning, match=r"\w+: checkpoint='selective' is the old name of recompute, write "):
        before = MODELS.build(dict(type=name, checkpoint=value))
    now = MODELS.build(dict(type=name, recompute=value))
    how = [[m.recompute for m in network.modules() if hasattr(m, "recompute")] for network in (before, now)]
    assert how[0] == how[1] and value in how[0]
    with pytest.raises(InputError, match="checkpoint: got 'selective' beside recompute=True, wanted recompute alone"):
        MODELS.build(dict(type=name, checkpoint=value, recompute=True))


def test_classes_take_it_without_a_registry():
    """As in the other host, whose registry hands on what the config says."""
    with pytest.warns(FutureWarning, match="FullAttentionTransformer: checkpoint=True is the old name"):
        assert FullAttentionTransformer(**SMALL_NETWORK, checkpoint=True).blocks[0].recompute is True
    with pytest.raises(InputError, match="wanted recompute alone") as caught:
        FullAttentionTransformer(**SMALL_NETWORK, checkpoint=True, recompute=False)
    assert "\n" not in str(caught.value)


def test_advice_knows_it():
    backbone = dict(type="BSA-v1m1", checkpoint=True)
    cfg = Config(dict(model=dict(backbone=backbone), batch_size=1, gradient_accumulation_steps=1, enable_amp=True))
    assert "recompute" not in training_advice(cfg)


def test_a_saved_network_with_checkpoint_opens(small_run, tmp_path):
    now = pointcept_bsa.load(small_run, device="cpu")
    now.save_pretrained(tmp_path)
    weights, metadata = load_safetensors(tmp_path / "model.safetensors")
    config = parse_json(metadata["config"], "config")
    config["model"]["backbone"]["checkpoint"] = "selective"
    save_safetensors(tmp_path / "model.safetensors", weights, metadata | {"config": json_text(config)})
    write_json(tmp_path / "config.json", config)
    with pytest.warns(FutureWarning, match="checkpoint='selective' is the old name of recompute"):
        before = pointcept_bsa.load(tmp_path, device="cpu")
    points = torch.nn.functional.normalize(torch.randn(90, 3), dim=1).numpy()
    for name, values in now.predict(points, normal=points).items():
        np.testing.assert_array_equal(before.predict(points, normal=points)[name], values)


@pytest.mark.filterwarnings("default::FutureWarning")
def test_a_run_with_checkpoint_goes_on(small_run, tmp_path, capsys):
    """Its record has the old name, the config the new one, or the other way round; another value is refused."""
    run, config = tmp_path / "run", str(small_run / "config.py")
    shutil.copytree(small_run, run, ignore=shutil.ignore_patterns("model", "test"))
    start = ["--config", config, "--options", f"save_path={run}", "weight=None"]
    assert train_main([*start, "model.backbone.checkpoint=True", "max_iters=1", "eval_every=1"]) == 0
    longer = [*start, "resume=True", "max_iters=2", "eval_every=1"]
    assert train_main([*longer, "model.backbone.recompute=selective"]) == 2
    assert "model.backbone.recompute: True there, 'selective' here" in capsys.readouterr().err
    assert train_main([*longer, "model.backbone.recompute=True"]) == 0
    assert train_main([*longer, "max_iters=3", "model.backbone.checkpoint=True"]) == 0


@pytest.mark.parametrize(("old", "new"), old_names.DATASETS.items())
def test_a_data_set_is_found_by_its_old_name(old, new):
    assert DATASETS.get(old) is DATASETS.get(new) is not None
    configs = [dict(dataset_type=name, data=dict(train=dict(type=name, split="train"))) for name in (old, new)]
    assert flat_config(configs[0]) == flat_config(configs[1])
