"""Fields that a loss in physical units leaves out are told, and configs for several fields have none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.prepare.custom import prepare_custom
from pointcept_bsa.host import DATASETS, LOSSES, MODELS
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.models.normalizer import TargetNormalizer
from pointcept_bsa.training.evaluation.loss_weights import outweighed_lines
from pointcept_bsa.training.evaluation.training_range import FitTargetNormalizer

from .conftest import ROOT

FIELDS = [("pressure", 1), ("shear", 2)]


def model(std, **criteria):
    """With losses of all points, or of domains."""
    built = torch.nn.Module()
    built.normalizer = TargetNormalizer(len(std), [0.0] * len(std), std)
    losses = {name: torch.nn.ModuleList([LOSSES.build(one)]) for name, one in criteria.items()}
    if list(losses) == ["all"]:
        built.criteria = losses["all"]
    else:
        built.domain_criteria = torch.nn.ModuleDict(losses)
    return built


def test_a_field_of_small_numbers_is_named():
    (line,) = outweighed_lines(model([100.0, 3.0, 4.0], all=dict(type="RelativeL2Loss")), FIELDS)
    assert "pressure deviates by 100" in line and "shear 3.54" in line  # sqrt((3^2 + 4^2) / 2)
    assert line.startswith("model.criteria.0: RelativeL2Loss") and "model.criteria.0.physical=False" in line
    assert outweighed_lines(model([100.0, 3.0, 4.0], all=dict(type="MSELoss", physical=True)), FIELDS)


@pytest.mark.parametrize(
    ("std", "loss", "fields"),
    [
        ([100.0, 3.0, 4.0], dict(type="RelativeL2Loss", physical=False), FIELDS),
        ([100.0, 3.0, 4.0], dict(type="MSELoss"), FIELDS),
        ([100.0, 3.0, 4.0], dict(type="WeightedMSELoss", physical=True, channel_weights=(1, 9, 9)), FIELDS),
        ([30.0, 3.0, 4.0], dict(type="RelativeL2Loss"), FIELDS),
        ([100.0, 3.0, 4.0], dict(type="RelativeL2Loss"), [("velocity", 3)]),
    ],
)
def test_nothing_is_said_where_all_count(std, loss, fields):
    assert outweighed_lines(model(std, all=loss), fields) == []


def test_domains_are_judged_each_by_itself():
    fields = [("surface/pressure", 1), ("volume/velocity", 1), ("volume/nut", 1)]
    losses = dict(surface=dict(type="RelativeL2Loss"), volume=dict(type="RelativeL2Loss"))
    (line,) = outweighed_lines(model([1000.0, 10.0, 0.1], **losses), fields)
    assert line.startswith("model.domains.volume.criteria.0") and "volume/nut 0.1" in line


def write_clouds(folder):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(6):
        coord = rng.random((60, 3))
        np.savez(folder / f"s{i}.npz", coord=coord, p=1e3 * coord[:, 0] + i, tau=coord[:, 1:] + i)


def test_written_configs_train_every_field(tmp_path, monkeypatch):
    """The gradient of the loss reaches a field of small numbers as it does one of large numbers."""
    write_clouds(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    prepare_custom(str(tmp_path / "raw"), "both", target=("p", "tau"))
    prepare_custom(str(tmp_path / "raw"), "one", target=("p",))
    assert "criteria" not in (tmp_path / "one/bsa.py").read_text()
    for network in ("bsa", "erwin", "ptv3"):
        cfg = load_config(f"both/{network}.py")
        assert [dict(each) for each in cfg.model.criteria] == [dict(type="RelativeL2Loss", physical=False)]
    assert warnings_of(load_config("both/bsa.py")) == []
    cfg = load_config("both/bsa.py")
    cfg.model.criteria[0].physical = True
    (line,) = warnings_of(cfg)
    assert "HARDLY COUNT: tau" in line


def warnings_of(cfg):
    """What the hook says of the losses before a training."""
    said = []
    logger = SimpleNamespace(info=lambda text: None, warning=said.append)
    loader = SimpleNamespace(dataset=DATASETS.build(cfg.data.train))
    hook = FitTargetNormalizer()
    hook.trainer = SimpleNamespace(model=MODELS.build(cfg.model), train_loader=loader, cfg=cfg, logger=logger)
    hook.before_train()
    return said


@pytest.mark.parametrize("data", ["ahmedml", "drivaerml", "drivaernet", "windsorml"])
@pytest.mark.parametrize("domain", ["", "_volume"])
def test_cars_have_losses_of_normalised_values(data, domain):
    for network in ("bsa", "full_attention"):
        cfg = load_config(str(ROOT / f"configs/{data}{domain}/{network}.py"))
        assert cfg.model.criteria[0].physical is False
