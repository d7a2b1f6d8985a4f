"""Mistakes in the data of any split are told before statistics are computed, and all data are read once for these."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.custom import stores
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import load_config, run_custom_imports
from pointcept_bsa.host.embedded.registry import MODELS
from pointcept_bsa.models.regressor import DefaultRegressor
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.env import default_setup
from pointcept_bsa.training.first_look import look_at_data, parts_of_training
from pointcept_bsa.training.trainer import DefaultTrainer

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = [{base!r}]
device = "cpu"
num_worker = 0
seed = 0
max_iters = 2
eval_every = 2
_sizes = dict(in_channels=21, channels=16, depth=1, num_heads=2, ball_size=16, block_size=4, topk=2)
model = dict(backbone=dict(type="BSA-v1m1", **_sizes), head=dict(in_channels=16))
_files = dict(data_root={root!r}, target=("p",), fields=("mach",))
data = dict(train=_files, val=_files, test=_files)
test = dict(pictures=False)
"""
SAMPLES = {"train": 5, "val": 2, "test": 2}


def write(path: Path, seed: int, **changes: np.ndarray) -> None:
    random = np.random.default_rng(seed)
    arrays = dict(coord=random.random((30, 3)), p=random.random(30), mach=np.array([0.1 * seed]))
    np.savez(path, **{key: values for key, values in (arrays | changes).items() if values is not None})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Samples in folders train, val, test."""
    for part, count in SAMPLES.items():
        (tmp_path / "src" / part).mkdir(parents=True)
        for i in range(count):
            write(tmp_path / "src" / part / f"s{i}.npz", i + 10 * len(part))
    return tmp_path / "src"


@pytest.fixture
def config(files: Path, tmp_path: Path) -> str:
    path = tmp_path / "config.py"
    path.write_text(CONFIG.format(base=str(ROOT / "configs/_base_/custom.py"), root=str(files)))
    return str(path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each sample has been read, by "part/name"."""
    seen: Counter[str] = Counter()
    plain = stores.read_sample

    def counted(path: Path, *arguments, **more):
        seen[f"{path.parent.name}/{path.stem}"] += 1
        return plain(path, *arguments, **more)

    monkeypatch.setattr(stores, "read_sample", counted)
    return seen


def spoiled(part: str, **changes: np.ndarray):
    return lambda src: write(src / part / "s0.npz", 1, **changes)


@pytest.mark.parametrize(
    ("spoil", "options", "said"),
    [
        (None, ["data.val.data_root=/no/where"], "/no/where"),
        (None, ["data.val.fields=[speed]"], "has no field 'speed'"),
        (None, ["data.test.target=[q]"], "has no field 'q'"),
        (None, ["data.test.split=tset"], "split: got 'tset'"),
        (None, ["data.test.split_file=none.json"], "none.json: is no file"),
        (None, ["data.val.transform.0.keys=[normal]"], "normal"),
        (
            None,
            ["data.test.scale_to_box=False"],
            "data.test: the samples have other transform than those of the training",
        ),
        (None, ["model.backbone.in_channels=22"], "data.train: feat: got 21 channels, wanted model.backbone.in_"),
        (None, ["model.backbone.dimensionality=2"], "data.train: coord: got 3 channels, wanted model.backbone.dim"),
        (None, ["model.backbone=BSA-v1m1"], "model (DefaultRegressor): backbone: got 'BSA-v1m1', wanted a dict"),
        (None, ["model.backbone.in_channels=True"], "in_channels: got True, wanted an integer"),
        (None, ["weight=none.pth"], "weight='none.pth': no such file"),
        (None, ["resume=True"], "run/model/model_last.pth': no such file"),
        (None, ["resume=True", "weight=none.pth"], "weight='none.pth': no such file"),
        (None, ["save_path=/proc/run"], "save_path='/proc/run': cannot be written in /proc"),
        (None, [f"save_path={__file__}/run"], "cannot be written"),
        (spoiled("val", p=None), [], "s0.npz: has no field 'p'"),
        (spoiled("test", p=np.ones(29)), [], "s0.npz: "),
        (spoiled("test", coord=np.full((30, 3), np.nan)), [], "s0.npz: field 'coord' has "),
        (lambda src: (src / "val/s0.npz").write_bytes(b"no archive"), [], "s0.npz: "),
    ],
)
def test_a_mistake_in_any_split_is_told_before_the_training_data_are_read(
    files, config, tmp_path, read, capsys, spoil, options, said
):
    if spoil is not None:
        spoil(files)
    assert train_main(["--config", config, "--options", f"save_path={tmp_path}/run", *options]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len([line for line in error if line.startswith("error: ")]) == 1 and said in error[-1], error
    assert not {f"train/s{i}" for i in range(1, SAMPLES["train"])} & set(read)


def test_samples_are_read_once_for_the_statistics(config, tmp_path, read):
    cfg = default_setup(load_config(config, {"save_path": f"{tmp_path}/run"}))
    run_custom_imports(cfg)
    look_at_data(cfg, parts_of_training(cfg))
    trainer = DefaultTrainer(cfg)
    assert [read[f"train/s{i}"] for i in range(1, SAMPLES["train"])] == [1] * (SAMPLES["train"] - 1)
    assert read["val/s1"] == read["test/s1"] == 0
    machs = [0.1 * (i + 10 * len("train")) for i in range(SAMPLES["train"])]
    scale = trainer.train_loader.dataset.input_description.scales["mach"]
    assert scale["mean"] == pytest.approx([np.mean(machs)]) and scale["std"] == pytest.approx([np.std(machs)])
    trainer.on_exit()


def test_a_look_draws_no_random_number_of_the_run_and_keeps_no_statistics(config, tmp_path, read):
    cfg = default_setup(load_config(config, {"save_path": f"{tmp_path}/run"}))
    run_custom_imports(cfg)
    cfg.data.train.transform = [dict(type="RandomMirror"), *cfg.data.train.transform]
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    look_at_data(cfg, ["train", "val", "test"])
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[2]
    assert (np.random.get_state()[1] == states[1]).all()
    assert set(read) == {"test/s0", "train/s0", "val/s0"}


@pytest.mark.parametrize("without", [["PreciseEvaluator"], []])
def test_data_of_a_test_are_looked_at_where_a_hook_tests(config, without):
    cfg = load_config(config)
    cfg.hooks = [hook for hook in cfg.hooks if hook["type"] not in without]
    assert parts_of_training(cfg) == ["train", "val", *(["test"] if not without else [])]
    cfg.evaluate = False
    assert "val" not in parts_of_training(cfg)


@pytest.mark.parametrize("part", ["model", "model.backbone"])
def test_what_may_add_features_of_its_own_is_not_judged_by_its_samples(config, part):
    class WithMore(DefaultRegressor if part == "model" else torch.nn.Module):
        pass

    cfg = load_config(config, {"model.backbone.in_channels": 22})
    MODELS.register_module("WithMore", force=True)(WithMore)
    try:
        with pytest.raises(InputError, match=r"data.train: feat: got 21 channels"):
            look_at_data(cfg, ["train"], for_network=True)
        look_at_data(cfg, ["train"])  # what has no network, as baselines
        (cfg.model if part == "model" else cfg.model.backbone).type = "WithMore"
        look_at_data(cfg, ["train"], for_network=True)
    finally:
        del MODELS._module_dict["WithMore"]
