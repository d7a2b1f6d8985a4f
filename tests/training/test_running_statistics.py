"""Running statistics that do not fit are told of, and nothing else changes by looking."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from pointcept_bsa.backbones.erwin import ErwinTransformer
from pointcept_bsa.host import MODELS
from pointcept_bsa.training.cli import train_main
from pointcept_bsa.training.evaluation.running_statistics import ModeErrors, compare_modes

from .conftest import ROOT, SMALL


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(1), nn.Dropout(0.5)

    def forward(self, batch):
        return {"pred": self.dropout(self.norm(batch["coord"][:, :1]))}


class Clouds:
    """The target is what the norm makes of a cloud's own statistics, with random noise as augmentation."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        coord = torch.from_numpy(np.random.rand(50, 3)).float() + random.random() + torch.rand(1)
        x = coord[:, :1]
        target = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
        return dict(coord=coord, target=target, offset=torch.tensor([50]), name=str(index))


class Many(Clouds):
    """Notes which samples are taken."""

    def __init__(self):
        self.taken = []

    def __len__(self):
        return 100

    def __getitem__(self, index):
        self.taken.append(index)
        return super().__getitem__(index)


def test_the_two_modes_are_told_apart_and_nothing_changes():
    model = Net()
    model.dropout.train()
    model.norm.eval()
    state, rng = copy.deepcopy(model.state_dict()), (random.getstate(), np.random.get_state()[1], torch.get_rng_state())
    errors = compare_modes(model, Clouds(), clouds=1)
    assert errors.own < 1e-4 and errors.evaluation > 0.5 and errors.differ and errors.samples == 3
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert model.training and model.norm.track_running_stats and model.norm.training  # the mode of the whole model
    assert random.getstate() == rng[0] and np.array_equal(np.random.get_state()[1], rng[1])
    assert torch.equal(torch.get_rng_state(), rng[2])
    assert compare_modes(model, Clouds(), clouds=1) == errors
    assert compare_modes(model, Clouds(), clouds=2).samples == 2  # whole batches
    assert compare_modes(model, Clouds(), clouds=9).samples == 3
    assert compare_modes(nn.Linear(2, 2), Clouds(), clouds=1) is None


@pytest.mark.parametrize("clouds", [1, 3, 8, 32])
def test_samples_are_taken_evenly_and_once(clouds):
    data = Many()
    errors = compare_modes(Net(), data, clouds)
    assert errors.samples == len(data.taken) == len(set(data.taken)) == -(-8 // clouds) * clouds
    assert max(np.diff(sorted(data.taken))) <= -(-100 // errors.samples) and max(data.taken) < 100


@pytest.mark.parametrize(("evaluation", "own", "differ"), [(0.15, 0.1, False), (0.16, 0.1, True), (0.1, 0.9, False),
                                                         (float("nan"), 0.1, True)])  # fmt: skip
def test_what_counts_as_much(evaluation, own, differ):
    assert ModeErrors(evaluation, own, 1).differ == differ


@MODELS.register_module()
class FarErwin(ErwinTransformer):
    """Pooled channels are far from 0."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.pooling[0].projection.bias.data.add_(50)


ERWIN = {
    "type": "FarErwin",
    "in_channels": 24,
    "channels": [32, 32],
    "ball_sizes": [32, 32],
    "enc_num_heads": [2, 2],
    "enc_depths": [1, 1],
    "dec_num_heads": [2],
    "dec_depths": [1],
    "strides": [2],
}


@pytest.mark.parametrize("norm", ["batch", "layer", "cloud"])
def test_a_training_says_so(norm, tmp_path):
    """Statistics that are far from those of a cloud (they begin at 0 and 1) after two steps with momentum 0.1."""
    options = [option for option in SMALL if "backbone" not in option]
    options += [f"save_path={tmp_path}", f"model.norm={norm}", "evaluate=True", "hooks.7.test_last=True"]
    config = tmp_path / "config_of_erwin.py"
    config.write_text(
        f"_base_ = [{str(ROOT / 'configs/_base_/ellipsoid_flow.py')!r}]\nmodel = dict(backbone={ERWIN!r})\n"
    )
    assert train_main(["--config", str(config), "--options", *options]) == 0
    log = (tmp_path / "train.log").read_text()
    assert ("Running statistics do NOT FIT: on 6 training samples" in log) == (norm == "batch")


def test_an_unknown_norm_ends_the_run_in_one_line(tmp_path, capsys):
    options = [*SMALL, f"save_path={tmp_path / 'run'}", "model.norm=bacth"]
    assert train_main(["--config", str(ROOT / "configs/ellipsoid_flow/bsa.py"), "--options", *options]) == 2
    assert "norm: got 'bacth', wanted one of batch, layer" in capsys.readouterr().err


def test_synchronised_statistics_of_a_model_without_any_are_told_of(tmp_path):
    options = [*SMALL, f"save_path={tmp_path / 'run'}", "sync_bn=True", "evaluate=False", "hooks.7.test_last=True"]
    assert train_main(["--config", str(ROOT / "configs/ellipsoid_flow/bsa.py"), "--options", *options]) == 0
    assert "sync_bn=True: the model has no BatchNorm" in (tmp_path / "run" / "train.log").read_text()
