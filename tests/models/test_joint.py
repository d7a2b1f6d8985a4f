"""A head, losses and a weight for each domain: what is trained on, and what is refused in one line."""

from __future__ import annotations

import copy

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import LOSSES, MODELS, collate_fn
from pointcept_bsa.host.embedded.collate import PaddedCollate

HEAD = dict(type="RegressionHead", in_channels=16)
LOSS = dict(type="RelativeL2Loss", physical=False)
CONFIG = dict(
    type="JointRegressor",
    backbone=dict(type="FullAttention-v1m1", in_channels=4, channels=16, depth=1, num_heads=2),
    domains=dict(
        surface=dict(head=HEAD | dict(out_channels=1), criteria=[LOSS]),
        volume=dict(head=HEAD | dict(out_channels=3), criteria=[LOSS, dict(type="MSELoss", physical=True)], weight=0.5),
    ),
    normalizer=dict(type="TargetNormalizer", channels=4, mean=[0.5, 1.0, 2.0, 3.0], std=[2.0, 1.0, 0.5, 3.0]),
)


def cloud(points: int, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    domain = torch.arange(points) % 3 // 2  # two of three points are of the surface
    counts = torch.bincount(domain)
    return dict(
        coord=torch.randn(points, 3),
        feat=torch.randn(points, 4),
        target=torch.randn(points, 4) + 1,
        domain=domain,
        offset=torch.tensor([points]),
        domain_offset=counts.cumsum(0),
    )


def batch():
    return collate_fn([cloud(20, 0), cloud(13, 1)])


def build(**change):
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy({**CONFIG, **change}))


def test_the_loss_is_that_of_each_domain_alone_times_its_weight():
    model, data = build(), batch()
    losses = model.train()(data)
    pred = model.predict(data)
    expected = 0.0
    for number, (own, criteria, weight) in enumerate(
        [(slice(0, 1), [LOSS], 1.0), (slice(1, 4), [LOSS, dict(type="MSELoss", physical=True)], 0.5)]
    ):
        rows = data["domain"] == number
        offset = rows.cumsum(0)[data["offset"] - 1]
        for config in criteria:
            values, truth = pred, model.normalizer.normalize(data["target"])
            if config.get("physical"):
                values, truth = model.normalizer.denormalize(pred), data["target"]
            expected += weight * LOSSES.build(config)(values[rows][:, own], truth[rows][:, own], offset)
    torch.testing.assert_close(losses["loss"], expected)
    torch.testing.assert_close(losses["loss"], losses["surface_loss"] + losses["volume_loss"])


def test_channels_of_other_domains_are_nobodys_business():
    model, data = build().train(), batch()
    foreign = data["domain"][:, None] != model.owner
    other = {**data, "target": torch.where(foreign, torch.randn(33, 4) * 100, data["target"])}
    gradients = []
    for each in (data, other):
        model.zero_grad()
        model(each)["loss"].backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    with torch.no_grad():
        pred = model.eval()(data)["pred"]
    assert pred.isnan().equal(foreign)
    torch.testing.assert_close(pred[~foreign], model.normalizer.denormalize(model.predict(data))[~foreign])


def test_a_weight_of_zero_leaves_a_domain_out():
    domains = copy.deepcopy(CONFIG["domains"])
    domains["volume"]["weight"] = 0.0
    model = build(domains=domains).train()
    losses = model(batch())
    losses["loss"].backward()
    assert losses["volume_loss"] == 0 and losses["surface_loss"] == losses["loss"]
    assert all(not p.grad.any() for p in model.head.heads["volume"].parameters())


def test_padded_clouds_have_the_loss_of_the_points_alone():
    model = build().train()
    clouds = [cloud(20, 0), cloud(13, 1)]
    padded = PaddedCollate(model.padding(16))(clouds)
    assert len(padded["coord"]) == 48
    torch.testing.assert_close(model(padded)["loss"], model(collate_fn(clouds))["loss"])


def test_a_batch_without_counts_is_counted():
    model, data = build().train(), batch()
    counted = {key: value for key, value in data.items() if key != "domain_offset"}
    assert model(counted)["loss"] == model(data)["loss"]


def changed(**values):
    return {**{key: value for key, value in batch().items() if key != "domain_offset"}, **values}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({key: value for key, value in batch().items() if key != "domain"}, "domain: missing"),
        (changed(domain=torch.arange(33) % 3), "got 0 to 2, wanted 0 to 1"),
        (changed(domain=(torch.arange(33) > 19).long()), "cloud 0 of the batch has no points of 'volume'"),
        ({**batch(), "domain_offset": torch.tensor([14, 20, 29])}, "3 ends of domains for 2 clouds"),
        (changed(target=torch.zeros(33, 2)), "target: got 2 channels, wanted 4"),
    ],
)
def test_wrong_batches_are_named(data, message):
    with pytest.raises(InputError, match=message) as raised:
        build().train()(data)
    assert "\n" not in str(raised.value)


def with_surface(**change):
    domains = copy.deepcopy(CONFIG["domains"])
    domains["surface"] = {key: value for key, value in {**domains["surface"], **change}.items() if value is not None}
    return dict(domains=domains)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(domains={}), "domains: got none"),
        (with_surface(wieght=2.0), "domains.surface: got 'wieght'.*did you mean 'weight'"),
        (with_surface(weight=-1), "domains.surface.weight: got -1"),
        (with_surface(head=None), "domains.surface.head: got none"),
        (with_surface(criteria=[]), "domains.surface.criteria: got none"),
        (with_surface(criteria=[dict(type="CrossEntropyLoss")]), "would count points of other domains"),
        (with_surface(head=HEAD | dict(out_channels=2)), "normalizer.channels: got 4, wanted 5"),
        (with_surface(head=dict(type="RegressionHead", in_channels=8, out_channels=1)), "heads have in_channels"),
    ],
)
def test_wrong_configs_are_named(change, message):
    with pytest.raises(InputError, match=message):
        build(**change)


def test_widths_that_are_left_out_follow_from_the_backbone_and_the_domains():
    head, statistics = dict(type="RegressionHead"), dict(type="TargetNormalizer")
    domains = {name: dict(head=head | dict(out_channels=n), criteria=[LOSS]) for name, n in (("a", 1), ("b", 3))}
    made = build(domains=domains, normalizer=statistics)
    assert (made.head.in_channels, made.domains, len(made.normalizer.mean)) == (16, {"a": 1, "b": 3}, 4)


def test_anchors_and_queries_of_several_domains():
    model, data = build(), batch()
    both = {**data, "anchor_offset": torch.tensor([12, 20])}
    model.train()(both)["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    one = {key: value for key, value in cloud(20, 0).items() if key not in ("target", "domain_offset")}
    with torch.no_grad():
        pred = model.decode(model.encode_anchors(one), one)["pred"]
        whole = model(one)["pred"]
    torch.testing.assert_close(pred, whole, equal_nan=True, rtol=1e-4, atol=1e-4)


def gaussian():
    domains = copy.deepcopy(CONFIG["domains"])
    for domain in domains.values():
        domain["head"]["type"] = "GaussianHead"
        domain["criteria"] = [dict(type="GaussianNLLLoss")]
    return build(domains=domains)


def test_distributions_of_several_domains():
    model, data = gaussian(), batch()
    losses = model.train()(data)
    mean, variance = model.distribution(model.features(data))
    normal = torch.distributions.Normal(mean, variance.sqrt())
    nll = -normal.log_prob(model.normalizer.normalize(data["target"]))
    cloud_of = (torch.arange(33) >= 20).long()
    wanted = 0.0
    for number, (own, weight) in enumerate([(slice(0, 1), 1.0), (slice(1, 4), 0.5)]):
        rows = [(data["domain"] == number) & (cloud_of == i) for i in (0, 1)]
        wanted += weight * sum(nll[own_rows][:, own].mean() for own_rows in rows) / 2
    torch.testing.assert_close(losses["loss"], wanted)

    with torch.no_grad():
        out = model.eval()(data)
    assert model.predicts_variance and not build().predicts_variance
    there = data["domain"][:, None] == torch.tensor([0, 1, 1, 1])
    for key in ("pred", "variance"):
        assert torch.equal(out[key].isfinite(), there), key
    deviation = out["variance"].sqrt()[there]
    torch.testing.assert_close(deviation, (variance.double().sqrt() * model.normalizer.std)[there])
    one = {key: value for key, value in cloud(20, 0).items() if key not in ("target", "domain_offset")}
    with torch.no_grad():
        found = model.decode(model.encode_anchors(one), one)
    for key in ("pred", "variance"):
        torch.testing.assert_close(found[key], out[key][:20], equal_nan=True, rtol=1e-4, atol=1e-4)


def test_a_distribution_in_one_domain_alone_is_refused():
    with pytest.raises(InputError, match=r"heads of \['volume'\] predict no variance, wanted GaussianHead"):
        build(**with_surface(head=dict(type="GaussianHead", in_channels=16, out_channels=1)))
