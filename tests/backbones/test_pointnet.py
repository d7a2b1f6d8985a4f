"""What is particular to PointNet: its figure written out, its norm, its cost."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.host import MODELS
from pointcept_bsa.training.evaluation.flops import count_flops

from .conftest import POINTNET, sample


def test_points_and_the_maximum_over_their_cloud_go_on_together():
    torch.manual_seed(0)
    model = MODELS.build(POINTNET).double().eval()
    data = sample((30, 1, 12), dtype=torch.float64)
    joint = torch.cat([model.of_point.weight, model.of_cloud.weight], 1)
    want = []
    for feat in data["feat"].split([30, 1, 12]):
        local = model.point_mlp(feat)
        whole = torch.stack([column.max() for column in model.cloud_mlp(local).T])
        both = torch.cat([local, whole.expand(len(local), -1)], 1)
        want.append(model.joined(both @ joint.T + model.of_point.bias))
    torch.testing.assert_close(model(data)["feat"], torch.cat(want))


def test_a_batch_of_one_cloud_trains_and_is_evaluated_alike():
    model = MODELS.build(POINTNET)
    data = sample((40,))
    assert torch.equal(model.train()(data)["feat"], model.eval()(data)["feat"])


def test_the_cloud_is_heard():
    """The norm leaves what is constant over a cloud: another cloud around the same point changes its features."""
    model = MODELS.build(POINTNET).eval()
    data = sample((40,))
    before = model(data)["feat"]
    data["feat"][1:] += 1
    assert (model(data)["feat"] - before)[0].abs().max() > 1e-3


def test_operations():
    widths = [(3, 16), (16, 16), (16, 16), (16, 32), (16, 24), (24, 16)]
    points = 2 * 100 * sum(a * b for a, b in widths)
    assert count_flops(MODELS.build(POINTNET), sample((60, 40))) == points + 2 * 2 * 32 * 24


def test_the_published_widths():
    model = MODELS.build(dict(type="PointNet-v1m1"))
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linear] == [64, 64, 64, 128, 1024, 512, 512, 256, 128]
    assert model.out_channels == 128


def test_two_dimensions():
    model = MODELS.build(dict(POINTNET, dimensionality=2)).eval()
    assert model(sample((70,), dims=2))["feat"].shape == (70, 16)


@pytest.mark.parametrize(
    ("widths", "wanted"),
    [((), "at least one width"), (16, "a list of integers"), ((16, 0), "integers of at least 1")],
)
def test_widths_that_are_none_are_refused(widths, wanted):
    with pytest.raises(ValueError, match=f"cloud_channels: got .*wanted {wanted}"):
        MODELS.build(POINTNET | dict(cloud_channels=widths))
