"""What tools/tune.py searches: places in a config, the space, and the config of what it found."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointcept_bsa.analysis.tune.space import base_values, key_paths, put, read_space, settings_of, value_at
from pointcept_bsa.analysis.tune.study import changes
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import config_hash, load_config
from pointcept_bsa.training.runs.flat_config import flat_config

pytest.importorskip("optuna", reason="missing: package optuna (part of the extra [test])")

ROOT = Path(__file__).resolve().parents[2]
REGRESSIONS = sorted((ROOT / "configs").glob("[!_]*/*.py"))


@pytest.fixture
def cfg():
    return load_config(str(ROOT / "configs/ellipsoid_flow/bsa.py"))


def test_a_path_names_every_place(cfg):
    bands = "data.*.transform.FourierFeatures.num_bands"
    assert key_paths(cfg, bands) == [("data", part, "transform", 0, "num_bands") for part in ("train", "val", "test")]
    assert key_paths(cfg, "hooks.RegressionEvaluator.key") == [
        ("hooks", 5, "key")
    ]  # not in the config, but an argument
    assert value_at(cfg, ("hooks", 5, "key")) == "relative_l2"
    assert key_paths(cfg, "hooks.5.type") == [("hooks", 5, "type")]
    cfg.data.train.transform = tuple(cfg.data.train.transform)
    for place in key_paths(cfg, bands):
        put(cfg, place, 7)
    assert [cfg.data[part].transform[0].num_bands for part in ("train", "val", "test")] == [7, 7, 7]
    assert [step["type"] for step in cfg.data.train.transform] == ["FourierFeatures", "AddGridCoord", "CollectPoints"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("optimiser.lr", "did you mean 'optimizer'"),
        ("optimizer.rl", "did you mean 'lr'"),
        ("model.backbone.chanels", "did you mean 'channels'"),
        ("data.*.transform.FourierFeature.num_bands", "did you mean 'FourierFeatures'"),
        ("data.train.transform.9.num_bands", "has no '9'"),
        ("clip_grad.norm", "has no 'norm'"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest(cfg, path, words):
    with pytest.raises(InputError, match=words):
        key_paths(cfg, path)


def space_of(cfg, **search):
    cfg.search = search
    return read_space(cfg)


def test_entries_of_other_networks_are_left_out(cfg):
    phi, norm = {"choices": ["mlp", "mean"]}, {"choices": ["cloud", "layer"]}
    own, other = dict(phi, only=[cfg.model.backbone.type]), dict(norm, only=("PT-v3m1", "Erwin-v1m1"))
    assert space_of(cfg, **{"model.backbone.phi": own, "model.norm": other}) == space_of(
        cfg, **{"model.backbone.phi": phi}
    )
    with pytest.raises(InputError, match="got only='BSA-v1m1', wanted a list of types"):
        space_of(cfg, **{"model.backbone.phi": dict(phi, only="BSA-v1m1")})


def test_the_configs_own_values_belong_to_the_space_and_set_nothing(cfg):
    space = space_of(
        cfg,
        **{
            "optimizer.lr": dict(type="log", low=1e-5, high=1e-4),  # the config has 2e-3
            "clip_grad": dict(choices=[1.0, 0.1]),  # None
            "model.backbone.depth": dict(type="int", low=2, high=8, step=2),
            "width": dict(choices={"wide": {"model.backbone.channels": 64, "model.backbone.num_heads": 8}}),
            "same": dict(choices={"a": {"batch_size": 4}, "b": {"batch_size": 8, "clip_grad": 2.0}}),
        },
    )
    own = base_values(space)
    assert own == {
        "optimizer.lr": 2e-3,
        "clip_grad": "None",
        "model.backbone.depth": 4,
        "width": "as it stands",
        "same": "a",
    }
    assert space[0].high == 2e-3
    assert settings_of(space, own) == []
    other = own | {"optimizer.lr": 1.23456e-5, "width": "wide", "same": "b"}
    assert settings_of(space, other) == [
        (("optimizer", "lr"), 1.235e-05),
        (("model", "backbone", "channels"), 64),
        (("model", "backbone", "num_heads"), 8),
        (("batch_size",), 8),
        (("clip_grad",), 2.0),
    ]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (5, "wanted dict"),
        (dict(type="log", low=1e-3), "wanted dict"),
        (dict(type="uniform", low=1e-3, high=1), "wanted dict"),
        (dict(type="log", low=1e-3, high=1e-4), "low < high"),
        (dict(type="log", low=0, high=1e-4), "above 0"),
        (dict(type="log", low="a", high=1e-4), "wanted numbers"),
        (dict(type="int", low=1, high=2.5), "whole numbers"),
        (dict(type="linear", low=0, high=1, step=2), "step=2"),
        (dict(choices=[]), "wanted dict"),
        (dict(choices=[1, 1]), "each of them once"),
        (dict(choices={"a": 3}), "choice 'a'"),
    ],
)
def test_what_is_no_range_or_choice_is_refused(cfg, entry, words):
    with pytest.raises(InputError, match=words):
        space_of(cfg, **{"optimizer.lr": entry})


def test_a_range_that_cannot_hold_the_configs_own_value_is_refused(cfg):
    with pytest.raises(InputError, match=r"own value is None.*choices=\[None"):
        space_of(cfg, clip_grad=dict(type="log", low=0.1, high=1))
    with pytest.raises(InputError, match="leave out the config's own value, 4"):
        space_of(cfg, **{"model.backbone.depth": dict(type="int", low=1, high=7, step=2)})
    cfg.data.val.transform[0].num_bands = 5
    with pytest.raises(InputError, match="wanted one value"):
        space_of(cfg, **{"data.*.transform.FourierFeatures.num_bands": dict(choices=[1, 2])})


def test_no_space_is_an_error(cfg):
    cfg.search = {}
    with pytest.raises(InputError, match="search: the config has none"):
        read_space(cfg)


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_shipped_config_can_be_tuned_alike(path):
    cfg = load_config(str(path))
    space = read_space(cfg)
    names = [parameter.name for parameter in space]
    assert names[:3] == ["optimizer.lr", "optimizer.weight_decay", "clip_grad"]
    fourier = any(step["type"] == "FourierFeatures" for step in cfg.data.train.transform)
    bands = ["data.*.transform.FourierFeatures.num_bands"] * fourier
    own_keys = ("qk_norm", "phi", "position_scale", "edges", "block_size", "num_latents", "num_slices", "mp_steps")
    backbone = {f"model.backbone.{key}" for key in own_keys}
    own = {"model.norm"} | backbone  # of a backbone, the same on all data
    assert names[3 : 3 + len(bands)] == bands and set(names[3 + len(bands) :]) <= own
    assert settings_of(space, base_values(space)) == []


def test_the_search_space_is_no_part_of_what_a_run_is(cfg):
    before, flat = config_hash(cfg), flat_config(cfg)
    cfg.search = {"optimizer.lr": dict(type="log", low=1e-9, high=1)}
    assert config_hash(cfg) == before and flat_config(cfg) == flat


def test_changes_say_only_what_differs():
    base = dict(a=1, b=dict(c=[1, dict(d=2)], e=(3, 4)), f=None, g=dict(type="A", x=1), same=dict(x=(1, 2)))
    new = dict(a=True, b=dict(c=[1, dict(d=5)], e=(3, 4)), f=dict(decay=1), g=dict(type="B"), same=dict(x=[1, 2]), n=7)
    assert changes(base, new) == dict(
        a=True, b=dict(c=[1, dict(d=5)]), f=dict(_delete_=True, decay=1), g=dict(_delete_=True, type="B"), n=7
    )
    assert changes(base, base) == {}
