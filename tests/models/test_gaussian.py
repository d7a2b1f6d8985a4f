"""Predicted distributions: units, the loss against torch's own, refusals."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import LOSSES, MODELS
from pointcept_bsa.models.ensemble import Ensemble
from pointcept_bsa.training.evaluation.evaluation import evaluate

MEAN, STD = [1.0, -3.0], [2.0, 0.5]


def model(**changes):
    config = dict(
        type="GaussianRegressor",
        backbone=dict(type="BSA-v1m1", channels=16, depth=1, num_heads=2, ball_size=32),
        head=dict(type="GaussianHead", in_channels=16, out_channels=2),
        normalizer=dict(type="TargetNormalizer", channels=2, mean=MEAN, std=STD),
        criteria=[dict(type="GaussianNLLLoss")],
    )
    torch.manual_seed(0)
    return MODELS.build(config | changes)


def batch():
    return dict(
        coord=torch.randn(50, 3),
        feat=torch.randn(50, 3),
        target=torch.randn(50, 2) * 2,
        offset=torch.tensor([20, 50]),
        name=["a", "b"],
    )


def test_the_loss_is_the_likelihood_of_the_normalised_target():
    net, data = model().train(), batch()
    out = net(data)
    assert set(out) == {"loss"}
    mean, std = net.distribution(data)
    normalised = (data["target"] - torch.tensor(MEAN)) / torch.tensor(STD)
    nll = -torch.distributions.Normal(mean, std).log_prob(normalised)
    assert out["loss"].item() == pytest.approx(((nll[:20].mean() + nll[20:].mean()) / 2).item(), rel=1e-5)
    out["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.head.parameters())


def test_evaluation_is_in_physical_units_and_its_metric_is_the_loss():
    net, data = model().eval(), batch()
    with torch.no_grad():
        out = net(data)
        mean, std = net.distribution(data)
    assert torch.allclose(out["pred"], mean * torch.tensor(STD) + torch.tensor(MEAN))
    assert torch.allclose(out["variance"], (std.double() * torch.tensor(STD)) ** 2)
    records = evaluate(net, [data], ["nll", "mse"], normalized=True)
    normalised = [record["normalized"]["nll"] for record in records]
    assert sum(normalised) / 2 == pytest.approx(out["loss"].item(), rel=1e-5)
    # physical = normalised + mean of log std over the channels
    assert records[0]["nll"] == pytest.approx(normalised[0] + torch.tensor(STD).log().mean().item(), rel=1e-5)


@pytest.mark.parametrize("unit", [1e-30, 1e25])  # dipoles in C m, densities of electrons in 1 / m^3
def test_variances_of_very_small_and_large_units(unit):
    """The same numbers in another unit: all but the physical likelihood are the same."""
    data, records = batch(), []
    for scale in (1.0, unit):
        std = [scale * value for value in STD]
        net = model(normalizer=dict(type="TargetNormalizer", channels=2, mean=[0.0, 0.0], std=std)).eval()
        other = model(normalizer=dict(type="TargetNormalizer", channels=2, mean=[0.0, 0.0], std=std)).eval()
        with torch.no_grad():
            other.head.layers[-1].bias += 0.1
        members = Ensemble([net, other])
        scaled = data | {"target": data["target"] * scale}
        records += [
            evaluate(each, [scaled], ["nll", "spread", "coverage_68"], normalized=True)[0] for each in (net, members)
        ]
    for plain, other in zip(records[:2], records[2:]):
        assert other["spread"] == pytest.approx(plain["spread"] * unit, rel=1e-5)
        assert other["nll"] == pytest.approx(plain["nll"] + math.log(unit), rel=1e-5)
        assert other["normalized"]["nll"] == pytest.approx(plain["normalized"]["nll"], rel=1e-5)
        assert 0 < other["coverage_68"] == plain["coverage_68"] < 1


def test_the_deviation_is_positive_and_at_least_the_smallest():
    head = MODELS.build(dict(type="GaussianHead", in_channels=4, out_channels=2))
    with torch.no_grad():
        head.layers[-1].weight.zero_()
        head.layers[-1].bias.copy_(torch.tensor([0.0, 1.0, -200.0, 0.0]))
        mean, std = head(torch.randn(3, 4))
        assert torch.equal(mean, torch.tensor([[0.0, 1.0]]).expand(3, 2))
        assert std[:, 0].tolist() == pytest.approx([1e-6] * 3)
        assert std[:, 1].tolist() == pytest.approx([1e-6 + 2**0.5 * 0 + torch.log(torch.tensor(2.0)).item()] * 3)
        halves = head.bfloat16()(torch.randn(3, 4).bfloat16())
        assert all(part.dtype == torch.float32 for part in halves)


def test_losses_of_values_are_given_the_mean():
    criteria = [dict(type="GaussianNLLLoss", loss_weight=2.0), dict(type="MSELoss")]
    net, data = model(criteria=criteria).train(), batch()
    out = net(data)
    assert set(out) == {"loss", "GaussianNLLLoss", "MSELoss"}
    normalised = (data["target"] - torch.tensor(MEAN)) / torch.tensor(STD)
    error = (net.predict(data) - normalised).square()
    assert out["MSELoss"].item() == pytest.approx(((error[:20].mean() + error[20:].mean()) / 2).item(), rel=1e-5)
    assert out["GaussianNLLLoss"].item() == pytest.approx(2 * model().train()(data)["loss"].item(), rel=1e-5)


def test_a_loss_worked_by_hand():
    loss = LOSSES.build(dict(type="GaussianNLLLoss"))
    pred, target = torch.tensor([[0.0], [0.0], [1.0]]), torch.tensor([[0.0], [2.0], [1.0]])
    variance = torch.tensor([[1.0], [4.0], [1.0]])
    half_log_2pi = 0.9189385332
    first = (half_log_2pi + (half_log_2pi + 0.5 + 0.6931471806)) / 2
    assert loss(pred, target, torch.tensor([2, 3]), variance).item() == pytest.approx((first + half_log_2pi) / 2)
    assert loss(pred, target, None, variance).item() == pytest.approx(half_log_2pi + (0.5 + 0.6931471806) / 3)


def test_heads_of_the_other_kind_are_refused():
    with pytest.raises(InputError, match="GaussianHead predicts mean and deviation, DefaultRegressor takes values"):
        model(type="DefaultRegressor")
    with pytest.raises(InputError, match="RegressionHead predicts no deviation, wanted GaussianHead"):
        model(head=dict(type="RegressionHead", in_channels=16, out_channels=2))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="GaussianNLLLoss: got a model that predicts no variance"):
        model(type="DefaultRegressor", head=dict(type="RegressionHead", in_channels=16, out_channels=2))(batch())
    data = batch()
    del data["target"]
    assert set(model().eval()(data)) == {"pred", "variance"}
    with pytest.raises(InputError, match="target: missing"):
        model().train()(data)
