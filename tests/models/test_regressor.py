"""The regressor: units, outputs and refusals."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS


def model(**changes):
    config = dict(
        type="DefaultRegressor",
        backbone=dict(type="BSA-v1m1", channels=16, depth=1, num_heads=2, ball_size=32),
        head=dict(type="RegressionHead", in_channels=16, out_channels=2),
        normalizer=dict(type="TargetNormalizer", channels=2, mean=[10.0, -3.0], std=[2.0, 0.5]),
        criteria=[dict(type="MSELoss")],
    )
    torch.manual_seed(0)
    return MODELS.build(config | changes)


def batch(channels=2):
    return dict(
        coord=torch.randn(50, 3),
        feat=torch.randn(50, 3),
        target=torch.randn(50, channels) * 2 + 10,
        offset=torch.tensor([20, 50]),
        name=["a", "b"],
    )


def test_widths_that_are_left_out_are_those_of_the_part_before():
    for kind in ("DefaultRegressor", "GaussianRegressor"):
        head = "GaussianHead" if kind.startswith("Gaussian") else "RegressionHead"
        made = model(type=kind, head=dict(type=head, out_channels=3), normalizer=dict(type="TargetNormalizer"))
        assert (made.head.in_channels, len(made.normalizer.mean)) == (16, 3)
    with pytest.raises(InputError, match=r"^model.head \(RegressionHead\): missing argument 'out_channels'"):
        MODELS.build(dict(type="DefaultRegressor", **parts(head=dict(type="RegressionHead"))), path="model")
    with pytest.raises(InputError, match="head.in_channels: got 8, wanted 16"):
        model(head=dict(type="RegressionHead", in_channels=8, out_channels=2))


def parts(**changes):
    backbone = dict(type="PointNet-v1m1", point_channels=(8,), cloud_channels=(8,), channels=(8,))
    return dict(backbone=backbone, normalizer=dict(type="TargetNormalizer"), criteria=[]) | changes


def test_training_returns_scalars_only():
    out = model().train()(batch())
    assert set(out) == {"loss"}
    out = model(criteria=[dict(type="MSELoss"), dict(type="RelativeL2Loss", loss_weight=0.1)]).train()(batch())
    assert set(out) == {"loss", "MSELoss", "RelativeL2Loss"}
    assert all(v.dim() == 0 for v in out.values())
    assert out["loss"].item() == pytest.approx(out["MSELoss"].item() + out["RelativeL2Loss"].item())


def test_evaluation_returns_physical_units():
    net, data = model().eval(), batch()
    out = net(data)
    want = net.predict(data) * torch.tensor([2.0, 0.5]) + torch.tensor([10.0, -3.0])
    assert torch.allclose(out["pred"], want)
    del data["target"]
    assert set(net(data)) == {"pred"}


def test_the_loss_is_that_of_normalised_values():
    net, data = model().train(), batch()
    normalised = (data["target"] - torch.tensor([10.0, -3.0])) / torch.tensor([2.0, 0.5])
    error = (net.predict(data) - normalised).square()
    want = (error[:20].mean() + error[20:].mean()) / 2
    assert net(data)["loss"].item() == pytest.approx(want.item(), rel=1e-5)


def test_statistics_travel_in_the_checkpoint():
    fresh = model(normalizer=dict(type="TargetNormalizer", channels=2))
    with pytest.raises(InputError, match="FitTargetNormalizer"):
        fresh(batch())
    fresh.load_state_dict(model().state_dict())
    data = batch()
    assert torch.equal(fresh.eval()(data)["pred"], model().eval()(data)["pred"])


def test_a_target_of_another_width_is_refused():
    with pytest.raises(InputError, match="got 3 channels, the head has 2"):
        model()(batch(channels=3))


@pytest.mark.parametrize(
    ("normalizer", "word"),
    [
        (dict(mean=[1.0], std=[1.0]), "got 1 numbers, wanted 2"),
        (dict(mean=[1.0, 2.0], std=[1.0, 0.0]), "positive"),
        (dict(mean=[1.0, 2.0]), "both or none"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(normalizer, word):
    with pytest.raises(InputError, match=word):
        model(normalizer=dict(type="TargetNormalizer", channels=2) | normalizer)
