"""The segmentor: its outputs, its losses against worked numbers and definitions, and a task for every backbone."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import LOSSES, MODELS

CRITERIA = [dict(type="CrossEntropyLoss", ignore_index=-1), dict(type="LovaszLoss", mode="multiclass", ignore_index=-1)]
STACK = dict(in_channels=3, channels=32, depth=2, num_heads=2)
BACKBONES = {
    "bsa": dict(type="BSA-v1m1", **STACK, ball_size=32, block_size=4, group_size=4, topk=2),
    "full": dict(type="FullAttention-v1m1", **STACK),
    "pointnet": dict(type="PointNet-v1m1", in_channels=3, cloud_channels=(64, 128), channels=(64, 32)),
    "transolver": dict(type="Transolver-v1m1", **STACK, num_slices=16),
    "erwin": dict(
        type="Erwin-v1m1",
        in_channels=3,
        channels=[32, 32],
        ball_sizes=[32, 32],
        enc_num_heads=[2, 2],
        enc_depths=[1, 1],
        dec_num_heads=[2],
        dec_depths=[1],
        strides=[2],
        mp_steps=1,
        num_neighbors=8,
    ),
    "erwin nsa": dict(
        type="ErwinNSA-v1m1",
        in_channels=3,
        channels=32,
        depth=2,
        num_heads=2,
        local_ball_size=32,
        compressed_ball_size=8,
        num_selected=3,
        num_neighbors=8,
        mp_steps=1,
    ),
    "ptv3": dict(
        type="PT-v3m1",
        in_channels=3,
        stride=(2,),
        enc_depths=(1, 1),
        enc_channels=(32, 32),
        enc_num_head=(2, 2),
        enc_patch_size=(64, 64),
        dec_depths=(1,),
        dec_channels=(32,),
        dec_num_head=(2,),
        dec_patch_size=(64,),
        drop_path=0.0,
        shuffle_orders=False,
    ),
}


def segmentor(backbone=BACKBONES["full"], num_classes=2, channels=32, criteria=CRITERIA, **arguments):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type="DefaultSegmentorV2",
            num_classes=num_classes,
            backbone_out_channels=channels,
            backbone=backbone,
            criteria=criteria,
            **arguments,
        )
    )


def shells(lengths, seed):
    """Points of two spheres about a common centre, which differs from cloud to cloud; label 1 on the outer one.

    The place of a point alone tells its label in 65 of 100 cases; for more the cloud has to be looked at.
    """
    generator = torch.Generator().manual_seed(seed)
    clouds = []
    for n in lengths:
        label = torch.randint(2, (n,), generator=generator)
        direction = F.normalize(torch.randn(n, 3, generator=generator))
        centre = torch.rand(3, generator=generator) * 2 - 1
        clouds.append((centre + direction * (0.5 + 0.5 * label[:, None]), label))
    coord = torch.cat([c for c, _ in clouds])
    return dict(
        coord=coord,
        feat=coord,
        grid_coord=((coord + 2) / 0.1).long(),
        segment=torch.cat([label for _, label in clouds]),
        offset=torch.tensor(lengths).cumsum(0),
    )


def accuracy(net, data):
    with torch.no_grad():
        return (net.eval()(data)["seg_logits"].argmax(1) == data["segment"]).float().mean().item()


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_learns_to_label_points(name):
    net = segmentor(BACKBONES[name])
    # no places relative to others enter these two: they have to find the centre of a cloud first
    steps, lr = (250, 2e-3) if name in ("pointnet", "transolver") else (70, 5e-3)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps)
    for step in range(steps):
        optimizer.zero_grad()
        net.train()(shells((256, 200, 256, 230), seed=step))["loss"].backward()
        optimizer.step()
        schedule.step()
    unseen = shells((256, 100, 256, 256), seed=1000)
    assert max(unseen["segment"].float().mean(), 1 - unseen["segment"].float().mean()) < 0.55  # the best constant
    assert accuracy(net, unseen) > 0.75


def test_outputs():
    net, data = segmentor(num_classes=3), shells((40, 25), seed=0)
    out = net.train()(data)
    assert set(out) == {"loss"} and out["loss"].dim() == 0
    out = net.eval()(data)
    assert set(out) == {"loss", "seg_logits"} and out["seg_logits"].shape == (65, 3)
    logits = out["seg_logits"]
    assert out["loss"].item() == pytest.approx(sum(LOSSES.build(c)(logits, data["segment"]).item() for c in CRITERIA))
    del data["segment"]
    out = net(data)
    assert set(out) == {"seg_logits"} and torch.equal(out["seg_logits"], logits)


def test_the_checkpoint_holds_backbone_and_head_alone():
    weighted = [dict(type="CrossEntropyLoss", weight=[1.0, 2.0])]
    assert {key.split(".")[0] for key in segmentor(criteria=weighted).state_dict()} == {"backbone", "seg_head"}
    assert not list(segmentor(num_classes=0).seg_head.parameters())


def test_a_frozen_backbone_is_not_trained():
    net = segmentor(freeze_backbone=True)
    net.train()(shells((30,), seed=0))["loss"].backward()
    assert {name for name, p in net.named_parameters() if p.grad is not None} == {"seg_head.weight", "seg_head.bias"}


def test_pooled_features_are_led_back_to_the_points():
    net = segmentor(BACKBONES["ptv3"] | dict(enc_mode=True), channels=64)
    data = shells((60, 20), seed=0)
    assert net.eval()(data)["seg_logits"].shape == (80, 2)
    pooled = net.backbone(data)
    both = torch.cat([pooled["pooling_parent"]["feat"], pooled["feat"][pooled["pooling_inverse"]]], 1)
    assert torch.allclose(net(data)["seg_logits"], net.seg_head(both))


def test_a_backbone_may_return_features_alone():
    class Features(nn.Module):
        def forward(self, data):
            return data["feat"]

    net, data = segmentor(num_classes=0), shells((30,), seed=0)
    net.backbone = Features()
    assert torch.equal(net.eval()(data)["seg_logits"], data["feat"])


@pytest.mark.parametrize(
    ("segment", "word"),
    [
        (None, "segment: missing"),
        (torch.zeros(29, dtype=torch.long), "segment: got shape"),
        (torch.zeros(30, 1), "30,"),
    ],
)
def test_labels_that_do_not_fit_are_refused(segment, word):
    data = {k: v for k, v in (shells((30,), seed=0) | dict(segment=segment)).items() if v is not None}
    with pytest.raises(InputError, match=word):
        segmentor().train()(data)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (dict(type="LovaszLoss", mode="binary"), "wanted 'multiclass'"),
        (dict(type="CrossEntropyLoss", reduction="none"), "reduction"),
        (dict(type="CrossEntropyLoss", label_smoothing=2.0), "label_smoothing"),
    ],
)
def test_arguments_of_losses_that_do_not_fit_are_refused(config, word):
    with pytest.raises(InputError, match=word):
        LOSSES.build(config)


def test_no_losses_are_refused():
    with pytest.raises(InputError, match="criteria"):
        segmentor(criteria=[])


PROB = torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]])  # errors 0.2, 0.4, 0.1
LABEL = torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (dict(), -(math.log(0.8) + math.log(0.6) + math.log(0.9)) / 3),
        (dict(reduction="sum", loss_weight=2.0), -2 * (math.log(0.8) + math.log(0.6) + math.log(0.9))),
        (dict(weight=[3.0, 1.0]), -(3 * math.log(0.8) + math.log(0.6) + math.log(0.9)) / 5),
        (dict(ignore_index=0), -(math.log(0.6) + math.log(0.9)) / 2),
        (
            dict(label_smoothing=0.2),
            -sum(0.9 * math.log(p) + 0.1 * math.log(1 - p) for p in (0.8, 0.6, 0.9)) / 3,
        ),
    ],
)
def test_cross_entropy_by_hand(arguments, value):
    loss = LOSSES.build(dict(type="CrossEntropyLoss", **arguments))
    assert loss(PROB.log(), LABEL).item() == pytest.approx(value)


@pytest.mark.parametrize(
    ("label", "value"),
    [
        # Class 1 is {1, 2}. Wrong points in the order of their errors: 1, 0, 2. Jaccard losses of the first one, two
        # and three: 1/2, 2/3, 1. So 0.4/2 + 0.2 (2/3 - 1/2) + 0.1 (1 - 2/3) = 4/15.
        # Class 0 is {0}: 1/2, 1, 1. So 0.4/2 + 0.2/2 = 3/10.
        ([0, 1, 1], (4 / 15 + 3 / 10) / 2),
        # Without point 0 only class 1 occurs: 0.4/2 + 0.1/2.
        ([-1, 1, 1], 0.25),
        ([-1, -1, -1], 0.0),
    ],
)
def test_lovasz_by_hand(label, value):
    loss = LOSSES.build(dict(type="LovaszLoss", mode="multiclass", loss_weight=10.0, ignore_index=-1))
    assert loss(PROB.log(), torch.tensor(label)).item() == pytest.approx(10 * value, abs=1e-6)


def lovasz_by_definition(prob, label):
    """The Jaccard loss of the points with an error of at least t, integrated over t from 0 to 1; mean over classes."""
    values = []
    for c in label[label >= 0].unique().tolist():
        own = (label == c)[label >= 0]
        error = (own.double() - prob[label >= 0, c]).abs()
        levels = torch.cat([torch.zeros(1), error.sort().values])
        parts = ((high - low) * jaccard_loss(own, error >= high) for low, high in zip(levels, levels[1:], strict=False))
        values.append(sum(parts))
    return sum(values) / len(values)


def jaccard_loss(own, wrong):
    """1 - |labelled and predicted| / |labelled or predicted| of one class when the points of ``wrong`` are wrong."""
    predicted = own ^ wrong
    return 1 - (own & predicted).sum() / (own | predicted).sum()


@pytest.mark.parametrize(("points", "classes", "ignored"), [(1, 2, 0), (7, 3, 0), (40, 4, 9), (12, 20, 3)])
def test_lovasz_by_definition(points, classes, ignored):
    logits = torch.randn(points, classes, requires_grad=True)
    label = torch.randint(classes, (points,))
    label[torch.randperm(points)[:ignored]] = -1
    values = [LOSSES.build(dict(type="LovaszLoss"))(logits, label), lovasz_by_definition(logits.softmax(1), label)]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)
    gradients = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in values]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_lovasz_of_certain_predictions_is_one_minus_the_mean_intersection_over_union():
    label = torch.tensor([0, 0, 0, 1, 1, 2])
    logits = F.one_hot(torch.tensor([0, 0, 1, 1, 2, 2]), 3) * 100.0
    value = LOSSES.build(dict(type="LovaszLoss"))(logits, label).item()
    assert value == pytest.approx(1 - (2 / 3 + 1 / 3 + 1 / 2) / 3)
