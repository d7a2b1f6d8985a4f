"""Padded clouds: the loss and the gradients of the points alone, on shapes that depend on the slots alone."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pointcept_bsa.datasets.preparers import prepare
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.host import LOSSES, MODELS, collate_fn
from pointcept_bsa.metrics import METRICS, cloud_mean
from pointcept_bsa.samples import Batch, declare
from pointcept_bsa.training.cli import train_main

TREE = dict(channels=16, depth=2, num_heads=2, ball_size=32, block_size=4, group_size=4, topk=2)
NSA = dict(type="ErwinNSA-v1m1", channels=16, depth=2, num_heads=4, local_ball_size=32, compressed_ball_size=8,
           num_selected=3, num_neighbors=5, mp_steps=1)  # fmt: skip
ERWIN = dict(type="Erwin-v1m1", channels=[16, 16, 16], ball_sizes=[32, 16, 16], enc_num_heads=[2, 2, 2],
             enc_depths=[2, 1, 2], dec_num_heads=[2, 2], dec_depths=[1, 2], strides=[2, 2], num_neighbors=5,
             mp_steps=1)  # fmt: skip
LATENT = dict(out_channels=16, channels=16, num_heads=2, num_supernodes=20, depth=1, radius=0.8, num_neighbors=5,
              position_scale=4.0)  # fmt: skip
CONDITIONED = {  # by global parameters
    "full": dict(type="FullAttention-v1m1", channels=16, depth=2, num_heads=2),
    "bsa": dict(type="BSA-v1m1", **TREE),
    "nsa": NSA,
    "erwin": ERWIN,
}
BACKBONES = {
    "upt": dict(type="UPT-v1m1", **LATENT, num_latents=6, encoder_depth=1),
    "abupt": dict(type="ABUPT-v1m1", **LATENT, num_anchors=40),
    "mspt": dict(type="MSPT-v1m1", channels=16, depth=2, num_heads=2, ball_size=32, block_size=8),
    "full": dict(type="FullAttention-v1m1", channels=16, depth=2, num_heads=2),
    "bsa": dict(type="BSA-v1m1", **TREE),
    "bsa mean, one tree": dict(type="BSA-v1m1", **TREE, phi="mean", rotate=0, skip_every=1, recompute=True),
    "bsa group compression": dict(type="BSA-v1m1", **TREE, group_compression=True, query_pooling="mlp"),
    "bsa no group selection": dict(type="BSA-v1m1", **TREE | dict(group_size=1, mask_own_ball=False)),
    "bsa hierarchical": dict(type="BSA-v1m1", **TREE, near=32, fan=2, beam=2),
    "bsa hierarchical, means": dict(
        type="BSA-v1m1", **TREE, near=32, fan=4, phi="mean", group_compression=True, recompute=True
    ),
    "bsa messages": dict(type="BSA-v1m1", **TREE, mp_steps=2, num_neighbors=5),
    "nsa": NSA,
    "nsa radius": NSA | dict(edges="radius", radius=0.5, num_kv_heads=2, phi="mlp"),
    "erwin": ERWIN,
    "erwin one tree": ERWIN | dict(rotate=0, mp_steps=0, strides=[1, 4], ball_sizes=[32, 32, 16]),
    "pointnet": dict(type="PointNet-v1m1", point_channels=(16,), cloud_channels=(16, 32), channels=(16, 16)),
    "transolver": dict(type="Transolver-v1m1", channels=16, depth=2, num_heads=2, num_slices=6),
    "flare": dict(type="FLARE-v1m1", channels=16, depth=2, num_heads=2, num_latents=6, mlp_depth=1),
    "lrsa": dict(type="LRSA-v1m1", channels=16, depth=2, num_heads=2, num_latents=6),
    **{f"{name} conditioned": config | dict(condition=3) for name, config in CONDITIONED.items()},
    "erwin one ball size": ERWIN | dict(strides=[1, 1], ball_sizes=[32, 32, 32]),
}
TWO_LEVELS = dict(channels=[16, 16], ball_sizes=[32, 16], enc_num_heads=[2, 2], enc_depths=[1, 2], dec_num_heads=[2],
                  dec_depths=[2], strides=[2])  # fmt: skip
STATIC = {
    "full": BACKBONES["full"] | dict(depth=1),
    "bsa": BACKBONES["bsa group compression"],
    "bsa hierarchical": BACKBONES["bsa hierarchical"],
    "bsa messages": BACKBONES["bsa messages"],
    "nsa": NSA | dict(mp_steps=0),
    "erwin": ERWIN | TWO_LEVELS,
    "full conditioned": BACKBONES["full conditioned"] | dict(depth=1),
    "bsa conditioned": BACKBONES["bsa conditioned"],
    "upt": BACKBONES["upt"],
    "abupt": BACKBONES["abupt"],
    "mspt": BACKBONES["mspt"],
    **{name: BACKBONES[name] for name in ("pointnet", "transolver", "flare", "lrsa")},
}
PTV3 = dict(type="PT-v3m1", in_channels=3, stride=(2,), enc_depths=(1, 1), enc_channels=(16, 16), dec_depths=(1,),
            enc_num_head=(2, 2), enc_patch_size=(32, 32), dec_channels=(16,), dec_num_head=(2,),
            dec_patch_size=(32,))  # fmt: skip
CASES = [(name, (100, 1, 33, 250)) for name in BACKBONES]
CASES += [(name, (n,)) for name in STATIC for n in (1, 7, 255, 257)]
CASES.remove(("erwin", (1,)))  # too few for a batch norm


def regressor(backbone, criteria=("MSELoss", "RelativeL2Loss", "L1Loss"), dtype=torch.float64):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="DefaultRegressor",
            backbone=dict(backbone),
            head=dict(type="RegressionHead", in_channels=16, out_channels=2),
            normalizer=dict(type="TargetNormalizer", channels=2, mean=[0.0, 1.0], std=[1.0, 2.0]),
            criteria=[dict(type=name) for name in criteria],
        )
    )
    with torch.no_grad():  # so large that attention is far from uniform
        for parameter in model.backbone.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
        if getattr(model.backbone, "condition", None) is not None:  # whose last map begins with zero
            model.backbone.condition.layers[-1].weight.normal_(std=0.3)
    return model.to(dtype).train()


def clouds(lengths, seed=0, dtype=torch.float64, model=None):
    generator = torch.Generator().manual_seed(seed)

    def values(n, k):
        return torch.randn(n, k, generator=generator, dtype=dtype)

    samples = [
        dict(coord=values(n, 3), feat=values(n, 3), target=values(n, 2), offset=torch.tensor([n]), name=f"{n} points")
        for n in lengths
    ]
    if model is not None and model.backbone.condition is not None:
        samples = [sample | dict(parameters=values(1, 3)) for sample in samples]
    return samples


def padded(model, samples, unit=128):
    padding = pickle.loads(pickle.dumps(model.padding(unit)))  # it goes to the loading processes
    return collate_fn([padding(sample) for sample in samples])


def same_step(model, plain, filled):
    """Whether losses, all gradients and all buffers come out the same."""
    other = copy.deepcopy(model)
    losses = [net(batch) for net, batch in ((model, plain), (other, filled))]
    for out in losses:
        out["loss"].backward()
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value, rtol=1e-12, atol=0)
    size = max(float(parameter.grad.abs().max()) for parameter in model.parameters())
    for (name, left), right in zip(model.named_parameters(), other.parameters(), strict=True):
        assert left.grad is not None and right.grad is not None, name
        torch.testing.assert_close(right.grad, left.grad, rtol=0, atol=1e-11 * size, msg=name)
    for (name, left), right in zip(model.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(right, left, rtol=1e-12, atol=1e-14, msg=name)


@pytest.mark.parametrize(("name", "lengths"), CASES, ids=str)
def test_loss_and_gradients_are_those_of_the_points(name, lengths):
    model = regressor(BACKBONES[name])
    samples = clouds(lengths, model=model)
    batch = padded(model, samples)
    assert batch["offset"].tolist() == np.cumsum([-(-n // 128) * 128 for n in lengths]).tolist()
    assert int(batch[VALID].sum()) == sum(lengths) and batch["name"] == [s["name"] for s in samples]
    same_step(model, collate_fn(samples), batch)


@pytest.mark.parametrize("backbone", STATIC.values(), ids=STATIC)
def test_one_program_serves_all_clouds_of_as_many_slots(backbone):
    """A trace holds every number that is not computed from the batch: a CUDA graph of the step would, too."""
    model = regressor(backbone, ("RelativeL2Loss",))
    parameters = list(model.parameters())
    first, second = (padded(model, clouds(n, seed, model=model)) for seed, n in enumerate([(129, 40), (250, 128)]))
    ends = first["offset"].tolist()
    assert second["offset"].tolist() == ends == [256, 384]

    def step(tensors):
        batch = Batch.of(tensors, {"offset": ends})
        loss = model(batch)["loss"]
        return loss, *torch.autograd.grad(loss, parameters)

    first, second = ({k: v for k, v in batch.items() if k != "name"} for batch in (first, second))
    program = make_fx(step)(first)
    for got, wanted in zip(program(second), step(second), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)


def test_a_normal_distribution_and_labels_of_points_are_learned_alike():
    torch.manual_seed(0)
    gaussian = MODELS.build(
        dict(
            type="GaussianRegressor",
            backbone=BACKBONES["bsa"],
            head=dict(type="GaussianHead", in_channels=16, out_channels=2),
            normalizer=dict(type="TargetNormalizer", channels=2, mean=[0.0, 1.0], std=[1.0, 2.0]),
            criteria=[dict(type="GaussianNLLLoss"), dict(type="WeightedMSELoss", channel_weights=[1, 3])],
        )
    )
    segmentor = MODELS.build(
        dict(
            type="DefaultSegmentorV2",
            num_classes=3,
            backbone_out_channels=16,
            backbone=BACKBONES["nsa"],
            criteria=[dict(type="CrossEntropyLoss", ignore_index=-1), dict(type="LovaszLoss", ignore_index=7)],
        )
    )
    samples = clouds((100, 1, 33))
    for sample in samples:
        sample["segment"] = (sample["target"][:, 0] > 0).long() + (sample["target"][:, 1] > 1)
    for model, tolerance in ((gaussian, 1e-12), (segmentor, 1e-6)):  # labels are compared in single precision
        model.double().train()
        losses = [model(batch)["loss"] for batch in (collate_fn(samples), padded(model, samples))]
        grads = [torch.autograd.grad(loss, list(model.parameters())) for loss in losses]
        torch.testing.assert_close(losses[1], losses[0], rtol=tolerance, atol=0)
        for left, right in zip(*grads, strict=True):
            torch.testing.assert_close(right, left, rtol=1e-5, atol=tolerance)


def test_rows_move_together_and_tables_name_slots():
    model = regressor(BACKBONES["nsa"])
    declare("case", rows="cloud")
    (sample,) = clouds((70,))
    table = torch.arange(70).unsqueeze(1) + torch.tensor([0, 1])
    sample |= model.backbone.static_geometry(sample["coord"])
    sample |= {"neighbor_index": table.where(table < 70, -1), "place": torch.arange(70), "case": torch.rand(1, 4)}
    out = model.padding(96)(sample)
    assert "tree_order" not in out and out["offset"].tolist() == [96] and out["case"] is sample["case"]
    valid, place = out[VALID], out["place"]
    assert sorted(place[valid].tolist()) == list(range(70)) and not valid[-32:].all()
    for key in ("coord", "feat", "target"):
        assert torch.equal(out[key], sample[key][place])
    for slot, neighbors in enumerate(out["neighbor_index"]):
        named = [int(place[i]) for i in neighbors if i >= 0]
        assert named == ([n for n in (int(place[slot]), int(place[slot]) + 1) if n < 70] if valid[slot] else [])
    with pytest.raises(InputError, match="neighbor_index: got values from 0 to 70"):
        model.padding(96)(sample | {"neighbor_index": table})


def test_kept_tables_are_found_by_the_coordinates_alone(monkeypatch):
    fresh, made = regressor(ERWIN).padding(128), []

    def trees(coord, order):
        made.append(len(coord))
        return fresh.trees(coord, order)

    def made_for(*samples):
        made.clear()
        for sample in samples:
            assert_same(padding(sample), fresh(sample))
        return made

    padding = replace(fresh, trees=trees, keep=True)
    samples = clouds((70, 1, 257), dtype=torch.float32)
    assert made_for(*samples, *samples) == [70, 1, 257]
    assert not made_for(samples[0] | dict(feat=samples[0]["feat"] + 1))
    assert made_for(samples[0] | dict(coord=samples[0]["coord"].flip(0))) == [70]
    monkeypatch.setattr("pointcept_bsa.geometry.padding.KEPT_BYTES", 1)  # no more are kept, those there are found
    other = samples[0] | dict(coord=samples[0]["coord"] * 2)
    assert made_for(other, other, samples[2]) == [70, 70]


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key, value in left.items():
        assert torch.equal(value, right[key]) if isinstance(value, torch.Tensor) else value == right[key], key


def test_a_few_steps_in_single_precision_give_the_same_losses():
    runs = []
    for unit in (None, 96, 256):
        model = regressor(BACKBONES["bsa"], ("MSELoss",), torch.float32)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        runs.append([])
        for step in range(6):
            samples = clouds((40 + 30 * step, 90), step, torch.float32)
            loss = model(collate_fn(samples) if unit is None else padded(model, samples, unit))["loss"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            runs[-1].append(float(loss.detach()))
    assert runs[0][0] != runs[0][-1]
    for run in runs[1:]:
        assert run == pytest.approx(runs[0], rel=1e-3)


def test_a_mean_leaves_out_what_is_no_point():
    x, valid = torch.tensor([1.0, 9.0, 3.0, 4.0, torch.inf]), torch.tensor([True, False, True, True, False])
    assert cloud_mean(x, torch.tensor([3, 5]), valid).tolist() == [2.0, 4.0]
    pred, target = torch.randn(5, 2), torch.randn(5, 2)
    offset, points = torch.tensor([3, 5]), torch.tensor([2, 3])
    for name in ("mse", "mae", "relative_l2"):
        metric = METRICS[name]
        assert torch.allclose(metric(pred, target, offset, valid), metric(pred[valid], target[valid], points)), name


class OwnLoss(torch.nn.Module):
    def forward(self, pred, target, offset):
        return (pred - target).square().mean()


def test_what_does_not_take_padding_says_so(monkeypatch):
    model, samples = regressor(BACKBONES["erwin"]), clouds((40,))
    batch = padded(model, samples)
    with pytest.raises(InputError, match="pad_clouds: got 96, wanted a multiple of 64"):
        model.padding(96)
    with pytest.raises(InputError, match="a padded batch in evaluation"):
        model.eval()(batch)
    with pytest.raises(InputError, match="slot_rotation_1: got nothing"):
        model.train()({key: value for key, value in batch.items() if key != "slot_rotation_1"})
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.backbone.pooling[0].norm = torch.nn.SyncBatchNorm(16)
    with pytest.raises(InputError, match="got SyncBatchNorm, wanted sync_bn=False"):
        model.double()(batch)
    for change in (dict(pad="power_of_two"), dict(decode=False)):
        other = regressor(ERWIN | change)
        for call, argument in ((other.padding, 128), (other, batch)):
            with pytest.raises(InputError, match="pad_clouds: got Erwin-v1m1 with decode="):
                call(argument)
    with pytest.raises(InputError, match="slot_valid: got clouds of .* multiples of the ball size 64"):
        regressor(BACKBONES["bsa"] | dict(ball_size=64))(padded(regressor(BACKBONES["bsa"]), samples, 32 * 3))
    other = regressor(PTV3)
    with pytest.raises(InputError, match="pad_clouds: PointTransformerV3 takes no padded clouds"):
        other.padding(128)
    with pytest.raises(InputError, match="which PT-v3m1 does not take"):
        other(batch)
    monkeypatch.setitem(LOSSES.module_dict, "OwnLoss", OwnLoss)
    with pytest.raises(InputError, match="pad_clouds: OwnLoss would count empty slots"):
        regressor(BACKBONES["bsa"], ("OwnLoss",)).padding(128)


CONFIGS = Path(__file__).parents[2] / "configs" / "airfrans"
SHORT = ("device=cpu", "num_worker=0", "seed=0", "batch_size=3", "max_iters=4", "eval_every=4", "log_interval=1",
         "test.pictures=False", "hooks.8.pictures=False")  # fmt: skip
NARROW = ("model.backbone.channels=16", "model.backbone.ball_size=32", "model.backbone.depth=2")


@pytest.fixture(scope="module")
def airfoils(tmp_path_factory):
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(20, 70, 20))])
    arrays = dict(
        offsets=offsets,
        points=rng.random((offsets[-1], 2)).astype(np.float32),
        cp=rng.normal(size=offsets[-1]).astype(np.float32),
        cp_inviscid=rng.normal(size=offsets[-1]).astype(np.float32),
        params=rng.random((20, 3)).astype(np.float32),
        case=np.array([f"case_{i}" for i in range(20)]),
    )
    folder = tmp_path_factory.mktemp("airfrans")
    np.savez(folder / "raw.npz", **arrays)
    prepare("airfrans", src=str(folder / "raw.npz"), dst=str(folder / "data"))
    return folder / "data"


def test_a_run_with_pad_clouds_is_the_run_without(airfoils, tmp_path):
    roots = [f"data.{split}.data_root={airfoils}" for split in ("train", "val", "test")]
    found = []
    for unit in (None, 96):
        folder = tmp_path / str(unit)
        options = [*SHORT, *NARROW, *roots, f"save_path={folder}", f"pad_clouds={unit}"]
        assert train_main(["--config", str(CONFIGS / "bsa.py"), "--options", *options]) == 0
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        numbers = [value for record in records for key, value in sorted(record.items()) if key in ("loss", "mse")]
        report = json.loads((folder / "test" / "metrics.json").read_text())
        found.append([*numbers, *(entry["mean"] for _, entry in sorted(report["metrics"].items()))])
    assert len(found[0]) > 8 and found[1] == pytest.approx(found[0], rel=1e-3)


def test_a_unit_that_does_not_fit_ends_the_run_in_one_line(airfoils, tmp_path, capsys):
    roots = [f"data.{split}.data_root={airfoils}" for split in ("train", "val", "test")]
    options = [*SHORT, *NARROW, *roots, f"save_path={tmp_path / 'run'}", "pad_clouds=50"]
    assert train_main(["--config", str(CONFIGS / "bsa.py"), "--options", *options]) == 2
    assert "pad_clouds: got 50, wanted a multiple of 32, the slots of a ball" in capsys.readouterr().err
