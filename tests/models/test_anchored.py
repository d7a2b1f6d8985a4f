"""Models that train on anchors and queries, and predict at any number of points."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS
from pointcept_bsa.samples import ANCHORS, to_device

BACKBONES = {
    "bsa": dict(type="BSA-v1m1", channels=16, depth=2, num_heads=2, ball_size=32, topk=2, qk_norm=True),
    "bsa group compression": dict(
        type="BSA-v1m1",
        channels=16,
        depth=2,
        num_heads=2,
        ball_size=32,
        topk=2,
        group_compression=True,
        query_pooling="mlp",
        rotary=4.0,
    ),
    "bsa levels": dict(
        type="BSA-v1m1", channels=16, depth=2, num_heads=2, ball_size=32, topk=2, near=64, fan=2, beam=2
    ),
    "bsa levels group compression": dict(
        type="BSA-v1m1",
        channels=16,
        depth=2,
        num_heads=2,
        ball_size=32,
        topk=2,
        near=32,
        fan=4,
        phi="mean",
        group_compression=True,
    ),
    "erwin nsa": dict(
        type="ErwinNSA-v1m1", channels=16, depth=2, num_heads=2, local_ball_size=32, compressed_ball_size=8
    ),
    # 40 channels: three threads share out the hidden values of 512 queries where no vector ends.
    "full": dict(type="FullAttention-v1m1", channels=40, depth=2, num_heads=2),
}
HEADS = {"DefaultRegressor": "RegressionHead", "GaussianRegressor": "GaussianHead"}


def model_of(backbone, kind="DefaultRegressor", **options):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type=kind,
            backbone=backbone,
            head=dict(
                type=HEADS[kind],
                in_channels=backbone["channels"] if isinstance(backbone["channels"], int) else 16,
                out_channels=2,
            ),
            normalizer=dict(type="TargetNormalizer", channels=2, mean=[0.0, 1.0], std=[1.0, 2.0]),
            criteria=[dict(type="MSELoss" if kind == "DefaultRegressor" else "GaussianNLLLoss")],
            **options,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.dim() > 1 else 1)
    return model.eval()


def batch_of(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coord = torch.randn(sum(lengths), 3, generator=generator)
    target = torch.randn(sum(lengths), 2, generator=generator)
    return dict(coord=coord, feat=coord, target=target, offset=torch.tensor(lengths).cumsum(0))


def cut(data, index):
    index = torch.as_tensor(index)
    return {key: data[key][index] for key in ("coord", "feat", "target")} | {"offset": torch.tensor([len(index)])}


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_query_is_predicted_bit_for_bit_the_same_in_any_chunk(name, threads):
    model, queries = model_of(BACKBONES[name]), batch_of(1100, seed=1)
    memory = model.encode_anchors(batch_of(300))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = model.decode(memory, queries)["pred"]
        for chunk in (700, 512, 300):
            parts = [cut(queries, range(first, min(first + chunk, 1100))) for first in range(0, 1100, chunk)]
            assert torch.equal(torch.cat([model.decode(memory, part)["pred"] for part in parts]), whole)
        for i in (0, 517, 1099):
            assert torch.equal(model.decode(memory, cut(queries, [i]))["pred"], whole[[i]])
        order = torch.randperm(1100)
        assert torch.equal(model.decode(memory, cut(queries, order), rows=64)["pred"], whole[order])
    finally:
        assert torch.get_num_threads() == threads
        torch.set_num_threads(before)
    assert whole.std(0).min() > 0.05


def test_a_distribution_has_its_variance_at_queries():
    model = model_of(BACKBONES["bsa"], "GaussianRegressor")
    anchors = batch_of(100)
    found = model.decode(model.encode_anchors(anchors), batch_of(30, seed=1))
    assert found["pred"].shape == found["variance"].shape == (30, 2) and (found["variance"] > 0).all()


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("name", BACKBONES)
def test_a_batch_of_anchors_and_queries(name, kind):
    """Anchors are predicted as if they were alone, queries as by ``decode``, both in the order of the batch."""
    model, batch = model_of(BACKBONES[name], kind), batch_of(90, 60)
    batch[ANCHORS] = torch.tensor([70, 110])  # 70 of the first cloud, 40 of the second
    with torch.no_grad():
        pred = model(batch)["pred"]
        for anchors, queries in ((range(70), range(70, 90)), (range(90, 130), range(130, 150))):
            alone = model(cut(batch, anchors))["pred"]
            torch.testing.assert_close(pred[list(anchors)], alone, rtol=1e-4, atol=1e-4)
            decoded = model.decode(model.encode_anchors(cut(batch, anchors)), cut(batch, queries))["pred"]
            torch.testing.assert_close(pred[list(queries)], decoded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("anchor_loss", [True, False])
def test_anchors_count_in_the_loss_where_they_shall(anchor_loss):
    model, batch = model_of(BACKBONES["bsa"], anchor_loss=anchor_loss), batch_of(90, 60)
    batch[ANCHORS] = torch.tensor([70, 110])
    with torch.no_grad():
        out = model(batch)
    wrong = ((out["pred"] - batch["target"]) / torch.tensor([1.0, 2.0])).square().mean(1)
    clouds = wrong.split([90, 60]) if anchor_loss else (wrong[70:90], wrong[130:])
    torch.testing.assert_close(out["loss"], torch.stack([c.mean() for c in clouds]).mean())
    torch.testing.assert_close(model.train()(batch)["loss"], out["loss"])


def test_training_reaches_every_parameter():
    model, batch = model_of(BACKBONES["bsa"], anchor_loss=False).train(), batch_of(90, 60)
    model(batch | {ANCHORS: torch.tensor([70, 110])})["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    "name", ["bsa", "bsa levels", "full"]
)  # Erwin-NSA searches neighbours, on the CPU in a k-d tree
def test_a_step_of_known_shapes_makes_no_table_and_asks_the_device_nothing(name, launches):
    """Else a CUDA graph could not hold it."""
    model, batch = model_of(BACKBONES[name], anchor_loss=False).train(), batch_of(90, 60)
    batch = to_device(batch | {ANCHORS: torch.tensor([70, 110])}, torch.device("cpu"))
    model(batch)["loss"].backward()
    with launches() as seen:
        model(batch)["loss"].backward()
    assert not {"_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "equal"} & set(seen.names)


@pytest.mark.parametrize("counts", [[90, 130], [0, 40], [70, 140], [70]])
def test_clouds_without_anchors_or_queries_are_refused(counts):
    model, batch = model_of(BACKBONES["bsa"]), batch_of(90, 60)
    with pytest.raises(InputError, match="wanted at least one anchor and one query"):
        model(batch | {ANCHORS: torch.tensor(counts)})


def test_other_networks_are_refused():
    erwin = dict(type="Erwin-v1m1", channels=(16,), ball_sizes=(32,), enc_num_heads=(2,), enc_depths=(2,))
    model = model_of(erwin | dict(dec_num_heads=(), dec_depths=(), strides=()))
    with pytest.raises(InputError, match="ErwinTransformer predicts at its own points alone, wanted BSA-v1m1"):
        model.encode_anchors(batch_of(40))


def test_models_that_would_take_queries_for_anchors_are_refused():
    segmentor = dict(type="DefaultSegmentorV2", num_classes=2, backbone_out_channels=16, backbone=BACKBONES["bsa"])
    model = MODELS.build(segmentor | dict(criteria=[dict(type="CrossEntropyLoss")]))
    batch = batch_of(40) | dict(segment=torch.zeros(40, dtype=torch.long))
    with pytest.raises(InputError, match="anchor_offset: got anchors and queries"):
        model(batch | {ANCHORS: torch.tensor([20])})


def test_parameters_stay_with_their_cloud():
    """Also where a cloud has one query, so that they have a row a point, too."""
    model = model_of(BACKBONES["bsa"] | dict(condition=3))
    parameters = dict(parameters=torch.randn(1, 3))
    memory, queries = model.encode_anchors(batch_of(100) | parameters), batch_of(40, seed=1)
    whole = model.decode(memory, queries | parameters)["pred"]
    assert torch.equal(model.decode(memory, cut(queries, [7]) | parameters)["pred"], whole[[7]])
    batch = batch_of(90, 60) | {ANCHORS: torch.tensor([70, 110]), "parameters": torch.randn(2, 3)}
    model.train()(batch)["loss"].backward()
    assert model.backbone.condition.layers[-1].weight.grad.abs().sum() > 0


def test_clouds_of_anchors_and_queries_are_not_padded():
    padding = model_of(BACKBONES["bsa"]).padding(32)
    with pytest.raises(InputError, match="pad_clouds: got anchors and queries .* wanted pad_clouds=None"):
        padding(batch_of(40) | {ANCHORS: torch.tensor([20])})


def test_numbers_of_whole_clouds_are_those_of_the_anchors():
    scalars = dict(
        head=dict(type="ScalarHead", in_channels=16, out_channels=1),
        normalizer=dict(type="TargetNormalizer", channels=1, mean=[0.0], std=[1.0]),
        criteria=[dict(type="MSELoss")],
    )
    model = model_of(BACKBONES["bsa"], scalars=scalars, anchor_loss=False)
    batch = batch_of(90, 60) | {ANCHORS: torch.tensor([70, 110]), "scalars": torch.tensor([[0.5], [-1.0]])}
    with torch.no_grad():
        both = model(batch)["scalars"]
        anchors = (cut(batch, range(70)), cut(batch, range(90, 130)))
        torch.testing.assert_close(both, torch.cat([model(each)["scalars"] for each in anchors]), rtol=1e-4, atol=1e-5)
        for number, each in enumerate(anchors):
            alone = model.scalars_of(model.encode_anchors(each))["scalars"]
            torch.testing.assert_close(alone, both[[number]], rtol=1e-4, atol=1e-5)
        losses = model.train()(batch)
    torch.testing.assert_close(losses["scalars_loss"], (both - batch["scalars"]).square().mean(), rtol=1e-4, atol=1e-5)
    assert model_of(BACKBONES["bsa"]).scalars_of(model.encode_anchors(anchors[0])) == {}
