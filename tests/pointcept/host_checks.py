"""The contract of ``pointcept_bsa.host``, checked in whichever host this process has; see ``run_checks.py``."""

from __future__ import annotations

import copy
import inspect
import itertools
import multiprocessing
import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import Any

import names
import numpy as np
import torch

import pointcept_bsa.host as host
from pointcept_bsa.errors import InputError
from pointcept_bsa.training import warmup_cosine
from pointcept_bsa.training.evaluation.tester_base import TesterBase

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.py") if path.parent.name != "_base_")
REGISTRIES = ("TRAINERS HOOKS TRANSFORMS OPTIMIZERS SCHEDULERS MODELS LOSSES DATASETS TESTERS").split()
VALUES: dict[str, Any] = {}


class Missing(Exception):
    """What a check cannot do without, and why."""


def check_everything_is_there() -> None:
    assert all(hasattr(host, name) for name in host.__all__)
    for name in ("get_rank", "get_world_size", "is_main_process", "synchronize", "gather", "all_gather", "reduce_dict"):
        assert callable(getattr(host.comm, name))


def check_registry() -> None:
    class Thing:
        def __init__(self, number: int) -> None:
            self.number = number

    for name in REGISTRIES:
        registry = getattr(host, name)
        assert registry.register_module("ContractThing")(Thing) is Thing
        assert registry.get("ContractThing") is Thing and "ContractThing" in registry.module_dict
        assert registry.build(dict(type="ContractThing", number=3)).number == 3
        assert registry.get("no such thing") is None
        raises(KeyError, lambda registry=registry: registry.register_module("ContractThing")(Thing))
        raises((KeyError, InputError), lambda registry=registry: registry.build(dict(type="no such thing")))


def check_a_mistake_stays_an_input_error() -> None:
    raises(InputError, lambda: host.MODELS.build(dict(type="TargetNormalizer", channels=1, mean=[0.0])))


def check_shipped_configs() -> None:
    """Every shipped config is read, all its names are found, its model and transforms are built."""
    for path in CONFIGS:
        config = host.Config.fromfile(str(path))
        for registry, name in names.names_in_config(config):
            assert getattr(host, registry).get(name) is not None, f"{path.name}: {name} is not in {registry}"
        host.Compose(config.data.train.transform)
        if config.model.backbone.type not in ("PT-v3m1",):  # the host's own may want its extensions
            model = host.build_model(config.model)
            VALUES[f"parameters {path.parent.name}/{path.stem}"] = sum(p.numel() for p in model.parameters())


def check_config_reaches_spawned_processes() -> None:
    config = host.Config.fromfile(str(CONFIGS[0]))
    config.save_path = "elsewhere"
    for again in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config)):
        assert again.save_path == "elsewhere" and again.model.type == config.model.type
    if host.HOST == "pointcept":  # the embedded host's launcher runs custom_imports in its processes
        del os.environ["PCBSA_HOST"]  # as under Pointcept's own launcher
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            host_there, known = pool.apply(names.look_around, (config,))
        assert host_there == "pointcept" and "BSA-v1m1" in known


def check_collate() -> None:
    samples = [
        dict(coord=torch.ones(n, 2) * n, offset=torch.tensor([n]), some_offset=torch.tensor([1, n]), name=f"s{n}")
        for n in (2, 3)
    ]
    batch = host.collate_fn(samples)
    assert batch["coord"].shape == (5, 2) and batch["name"] == ["s2", "s3"]
    assert batch["offset"].tolist() == [2, 5] and batch["some_offset"].tolist() == [1, 2, 3, 5]


def check_point() -> None:
    point = host.Point(coord=torch.zeros(5, 3), offset=torch.tensor([2, 5]))
    assert point.batch.tolist() == [0, 0, 1, 1, 1] and isinstance(point, dict)
    assert host.Point(coord=torch.zeros(3, 3), batch=torch.tensor([0, 0, 1])).offset.tolist() == [2, 3]


def check_hooks_and_testers() -> None:
    hook = host.HookBase()
    for moment in ("train", "epoch", "step"):
        assert getattr(hook, f"before_{moment}")() is None and getattr(hook, f"after_{moment}")() is None
    assert list(inspect.signature(TesterBase).parameters)[:4] == ["cfg", "model", "test_loader", "verbose"]
    batch = TesterBase.collate_fn([dict(offset=torch.tensor([2])), dict(offset=torch.tensor([3]))])
    assert batch["offset"].tolist() == [2, 5]
    assert issubclass(host.TESTERS.get("RegressionTester"), TesterBase)
    assert issubclass(host.HOOKS.get("RegressionEvaluator"), host.HookBase)


def check_alone_among_processes() -> None:
    comm = host.comm
    assert (comm.get_rank(), comm.get_world_size(), comm.is_main_process()) == (0, 1, True)
    comm.synchronize()
    assert comm.all_gather({"a": 1}) == [{"a": 1}] and comm.gather(2) == [2]


def check_targets_follow_their_points() -> None:
    """The host's transforms that reorder points take a data set's fields along."""
    from pointcept_bsa.datasets.base import per_point_keys

    coord = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    sample = dict(coord=coord, target=coord.sum(1, keepdims=True), name="a")
    sample["index_valid_keys"] = per_point_keys(sample)
    steps = [
        dict(type="ShufflePoint"),
        dict(type="ScaleCoord", min=(0, 0, 0), max=(2, 2, 2)),
        dict(type="CollectPoints", keys=("coord", "target", "name")),
    ]
    out = host.Compose(steps)(sample)
    assert not np.array_equal(out["coord"].numpy() * 2, coord)
    assert torch.allclose(out["coord"].sum(1, keepdim=True) * 2, out["target"], atol=1e-5)


def check_values_of_transforms() -> None:
    coord = np.random.default_rng(1).random((6, 3)).astype(np.float32)
    for name, step in {
        "CenterShift": dict(type="CenterShift", apply_z=True),
        "CenterShift, z stays": dict(type="CenterShift", apply_z=False),
        "RandomRotate": dict(type="RandomRotate", angle=[0.3, 0.3], axis="y", center=[0, 0, 0], always_apply=True),
        "RandomRotate, own centre": dict(type="RandomRotate", angle=[0.3, 0.3], axis="x", always_apply=True),
        "RandomScale": dict(type="RandomScale", scale=[1.5, 1.5]),
        "RandomFlip, never": dict(type="RandomFlip", p=0),
    }.items():
        out = host.Compose([step])(dict(coord=coord.copy(), normal=coord[::-1].copy()))
        VALUES[name] = np.stack([out["coord"], out["normal"]]).astype(float).ravel().tolist()
    steps = [dict(type="ToTensor"), dict(type="Collect", keys=("coord", "target"), feat_keys=("coord", "target"))]
    out = host.Compose(steps)(dict(coord=coord, target=coord[:, :1]))
    VALUES["Collect"] = [*out["feat"].flatten().tolist(), *out["offset"].tolist(), str(out["coord"].dtype)]


def check_values_of_schedules() -> None:
    for cfg in (
        dict(type="CosineAnnealingLR", eta_min=0.01),
        dict(type="WarmupCosineLR", warmup_ratio=0.25, eta_min=0.01),
        dict(type="OneCycleLR", max_lr=1.0),
        dict(type="MultiStepLR", milestones=[0.3, 0.6]),
        dict(type="MultiStepWithWarmupLR", milestones=[0.5, 0.75], warmup_rate=0.2),
        dict(type="PolyLR"),
        dict(type="ExpLR", gamma=0.5),
    ):
        optimizer = host.OPTIMIZERS.build(dict(type="SGD", params=[torch.nn.Parameter(torch.zeros(1))], lr=0.5))
        schedule = host.SCHEDULERS.build(dict(cfg, optimizer=optimizer, total_steps=12))
        rates = []
        for _ in range(12):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        VALUES[cfg["type"]] = rates
    assert host.SCHEDULERS.get("WarmupCosineLR") is warmup_cosine.WarmupCosineLR


def check_values_of_a_training_step() -> None:
    """The regressor, its losses and an optimizer: parameters after two steps."""
    torch.manual_seed(0)
    model = host.build_model(
        dict(
            type="DefaultRegressor",
            backbone=dict(type="FullAttention-v1m1", in_channels=3, channels=8, depth=1, num_heads=2),
            head=dict(type="RegressionHead", in_channels=8, out_channels=1),
            normalizer=dict(type="TargetNormalizer", channels=1, mean=[1.0], std=[2.0]),
            criteria=[dict(type="MSELoss"), dict(type="L1Loss", loss_weight=0.5), dict(type="RelativeL2Loss")],
        )
    )
    for name, options in (("AdamW", dict(weight_decay=0.1)), ("Adam", {}), ("SGD", dict(momentum=0.9))):
        network = copy.deepcopy(model)
        optimizer = host.OPTIMIZERS.build(dict(type=name, params=network.parameters(), lr=1e-2, **options))
        coord = torch.linspace(0, 1, 30).reshape(10, 3)
        losses = []
        for _ in range(3):
            batch = dict(coord=coord, feat=coord, target=coord[:, :1], offset=torch.tensor([4, 10]))
            out = network.train()(batch)
            assert all(value.ndim == 0 for value in out.values())
            optimizer.zero_grad()
            out["loss"].backward()
            optimizer.step()
            losses.append(out["loss"].item())
        VALUES[f"losses under {name}"] = losses


def check_values_of_backbones_in_a_segmentor() -> None:
    torch.manual_seed(0)
    backbone = dict(in_channels=6, channels=16, num_heads=2)
    for settings in (
        dict(backbone, type="BSA-v1m1", depth=1, ball_size=16, block_size=4, topk=2, group_size=4),
        dict(backbone, type="FullAttention-v1m1", depth=1),
    ):
        criteria = [
            dict(type="CrossEntropyLoss", loss_weight=1.0, ignore_index=-1),
            dict(type="LovaszLoss", mode="multiclass", loss_weight=1.0, ignore_index=-1),
        ]
        model = host.build_model(
            dict(
                type="DefaultSegmentorV2", num_classes=4, backbone_out_channels=16, backbone=settings, criteria=criteria
            )
        )
        batch = dict(
            coord=torch.rand(90, 3),
            grid_coord=torch.randint(0, 50, (90, 3)),
            feat=torch.rand(90, 6),
            segment=torch.randint(-1, 4, (90,)),
            offset=torch.tensor([40, 90]),
        )
        loss = model.train()(batch)["loss"]
        VALUES[f"segmentation loss of {settings['type']}"] = [loss.item()]
        loss.backward()
        assert torch.isfinite(loss)
        assert model.eval()(batch)["seg_logits"].shape == (90, 4)


def check_backbones_of_the_host_in_our_regressor() -> None:
    """PT-v3m1, and SpUNet where there is one, under ``DefaultRegressor``: a step, or on the CPU a prediction."""
    spconv = sys.modules.get("spconv")
    if host.HOST == "pointcept" and type(spconv).__name__ == "StandInModule":
        raise Missing("spconv, of which there is a stand-in: PT-v3m1 and SpUNet-v1m1 can be built, not run")
    level = dict(enc_depths=(1, 1), enc_channels=(16, 32), enc_num_head=(2, 4), enc_patch_size=(64, 64))
    back = dict(dec_depths=(1,), dec_channels=(32,), dec_num_head=(4,), dec_patch_size=(64,))
    back |= dict(drop_path=0.0, shuffle_orders=False, order=("z",))  # Pointcept's pooling shuffles in any case
    backbones = {32: dict(type="PT-v3m1", in_channels=3, stride=(2,), enable_flash=False, **level, **back)}
    if host.MODELS.get("SpUNet-v1m1") is not None:
        sizes = dict(base_channels=16, channels=(16, 16, 16, 16), layers=(1, 1, 1, 1))
        backbones[16] = dict(type="SpUNet-v1m1", in_channels=3, num_classes=0, **sizes)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for (channels, backbone), norm in itertools.product(backbones.items(), ("batch", "layer", "cloud")):
        model = host.build_model(
            dict(
                type="DefaultRegressor",
                backbone=backbone,
                head=dict(type="RegressionHead", in_channels=channels, out_channels=2),
                normalizer=dict(type="TargetNormalizer", channels=2, mean=[0.0, 1.0], std=[1.0, 2.0]),
                criteria=[dict(type="MSELoss")],
                norm=norm,
            )
        ).to(device)
        place = torch.randperm(10**3)[:300]  # one point a cell: spconv takes any of several
        cells = torch.stack([place // 100, place // 10 % 10, place % 10], 1)
        coord = cells / 10
        batch = dict(coord=coord, feat=coord, target=coord[:, :2], grid_coord=cells, offset=torch.tensor([120, 300]))
        batch = {key: value.to(device) for key, value in batch.items()}
        with torch.no_grad():
            pred = model.eval()(dict(batch))["pred"]
        assert pred.shape == (300, 2)
        if norm != "batch":
            _alone(model, batch, pred)
        if device == "cuda" or host.HOST == "embedded":  # spconv has no backward pass on the CPU
            model.train()(dict(batch))["loss"].backward()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in model.head.parameters())


def _alone(model: torch.nn.Module, batch: dict[str, Any], pred: torch.Tensor) -> None:
    """Predictions are those of the clouds one by one, and those of the training mode."""
    start = 0
    for end in batch["offset"].tolist():
        cloud = {key: value[start:end] for key, value in batch.items() if key != "offset"}
        cloud["offset"] = batch["offset"].new_tensor([end - start])
        with torch.no_grad():
            assert torch.allclose(model(cloud)["pred"], pred[start:end], atol=1e-4)
        start = end
    with torch.no_grad():
        assert torch.allclose(model.normalizer.denormalize(model.train().predict(dict(batch))), pred, atol=1e-4)


def raises(errors: Any, call: Any) -> None:
    try:
        call()
    except errors:
        return
    raise AssertionError(f"did not raise {errors}")


def run_all() -> dict[str, Any]:
    """``checks``: the error of each, or None; ``values``: what must be the same in both hosts."""
    torch.set_num_threads(1)
    checks: dict[str, str | None] = {}
    for name, check in [item for item in globals().items() if item[0].startswith("check_")]:
        try:
            check()
            checks[name] = None
        except Missing as missing:
            checks[name] = f"missing: {missing}"
        except Exception:  # noqa: BLE001 (whatever goes wrong is what is reported)
            checks[name] = traceback.format_exc()
    return dict(host=host.HOST, checks=checks, values=VALUES)
