"""Norms in the place of BatchNorm: what they compute, and whose rows they know."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.host import Point
from pointcept_bsa.layers.cloud_norm import CloudNorm, replace_batch_norms


def by_hand(x, norm):
    """Of one cloud (n, C)."""
    return (x - x.mean(0)) / (x.var(0, correction=0) + norm.eps).sqrt() * norm.weight + norm.bias


def made_norm(channels=4, **arguments):
    norm = CloudNorm(channels, **arguments).double()
    with torch.no_grad():
        norm.weight.uniform_(1, 2)
        norm.bias.uniform_(1, 2)
    return norm


@pytest.mark.parametrize("sizes", [(30,), (7, 7, 7), (5, 1, 12), (1,)], ids=str)
def test_each_cloud_is_normalised_by_itself(sizes):
    norm = made_norm()
    x = (torch.randn(sum(sizes), 4, dtype=torch.double) * 5 + 3).requires_grad_()
    wanted = torch.cat([by_hand(part, norm) for part in x.split(sizes)])
    weight = torch.rand_like(x)
    gradient = torch.autograd.grad((wanted * weight).sum(), (x, norm.weight, norm.bias))
    for mode in (True, False):
        out = norm.train(mode)(x, sizes)
        torch.testing.assert_close(out, wanted)
        for got, other in zip(torch.autograd.grad((out * weight).sum(), (x, norm.weight, norm.bias)), gradient):
            torch.testing.assert_close(got, other)


@pytest.mark.parametrize("sizes", [(20,), (8, 8), (5, 11, 4)], ids=str)
def test_rows_that_are_no_points_do_not_count(sizes):
    norm, valid = made_norm(), torch.rand(sum(sizes)) < 0.6
    valid[0] = valid[-1] = valid[sizes[0] - 1] = valid[sizes[0] : sizes[0] + 1] = True
    valid = torch.cat([part | (torch.arange(len(part)) == 0) for part in valid.split(sizes)])
    x = torch.randn(sum(sizes), 4, dtype=torch.double)
    x[~valid] = 1e6
    x.requires_grad_()
    points = [int(part.sum()) for part in valid.split(sizes)]
    out, alone = norm(x, sizes, valid), norm(x[valid], points)
    torch.testing.assert_close(out[valid], alone)
    assert not out[~valid].any()
    torch.testing.assert_close(
        *(torch.autograd.grad(value.square().sum(), (x, norm.weight)) for value in (out, alone)), rtol=1e-6, atol=1e-8
    )


def test_types_are_those_of_the_input_and_sums_are_in_float32():
    norm, x = CloudNorm(4), torch.randn(3000, 4) + 100
    for sizes in ((3000,), (1000, 2000)):
        out = norm(x.bfloat16(), sizes)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.float(), norm(x.bfloat16().float(), sizes), rtol=0.01, atol=0.01)


class Conv(nn.Module):
    """Takes and gives a sparse tensor, as spconv's convolutions do."""

    def forward(self, x):
        return SimpleNamespace(features=x.features * 2, indices=x.indices, batch_size=x.batch_size)


class SparseBlock(nn.Module):
    """As a block of SpUNet: norms are given features alone, the pooled level has as many rows as the fine one."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.down, self.down_norm = Conv(), nn.BatchNorm1d(3), Conv(), nn.BatchNorm1d(3)

    def forward(self, data):
        batch = data["batch"]
        fine = self.conv(SimpleNamespace(features=data["feat"], indices=batch[:, None], batch_size=2))
        fine.features = self.norm(fine.features)
        other = SimpleNamespace(features=fine.features, indices=data["other"][:, None], batch_size=2)
        coarse = self.down_norm(self.down(other).features)
        return {"fine": fine.features, "coarse": coarse}


class PointLayer(nn.Sequential):
    """As Pointcept's ``PointSequential``."""

    def forward(self, point):
        for module in self:
            point["feat"] = module(point["feat"])
        return point


class PointNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.skip = PointLayer(nn.Linear(3, 3), nn.BatchNorm1d(3)), PointLayer(nn.BatchNorm1d(3))

    def forward(self, data):
        coarse = Point(feat=data["feat"].flip(0), offset=torch.tensor([2, len(data["feat"])]))
        coarse, fine = self.up(coarse), self.skip(Point(feat=data["feat"], offset=data["offset"]))
        return {"coarse": coarse["feat"], "fine": fine["feat"]}


def test_rows_in_a_network_of_others_are_those_of_the_last_structure():
    batch, other = torch.tensor([0, 0, 1, 0, 1, 1]), torch.tensor([1, 0, 0, 0, 1, 0])
    network = SparseBlock()
    assert replace_batch_norms(network, "cloud") == 2
    network = copy.deepcopy(network)  # hooks and watch go along
    feat = torch.randn(6, 3)
    out = network(dict(feat=feat, batch=batch, other=other, offset=torch.tensor([3, 6])))
    for cloud in (0, 1):
        fine = by_hand(feat[batch == cloud] * 2, network.norm)
        torch.testing.assert_close(out["fine"][batch == cloud], fine)
        coarse = by_hand(2 * out["fine"][other == cloud], network.down_norm)
        torch.testing.assert_close(out["coarse"][other == cloud], coarse)
    assert network.norm.watch is network.down_norm.watch and network.norm.watch.last is None

    network = PointNetwork()
    assert replace_batch_norms(network, "cloud") == 2
    out = network(dict(feat=feat, offset=torch.tensor([4, 6])))
    torch.testing.assert_close(out["fine"], torch.cat([by_hand(f, network.skip[0]) for f in feat.split([4, 2])]))
    mapped = network.up[0](feat.flip(0)).split([2, 4])
    torch.testing.assert_close(out["coarse"], torch.cat([by_hand(f, network.up[1]) for f in mapped]))


class Neighbours(nn.Module):
    """Norms over (N, C, L), as networks with neighbours a point have them, and over a row a cloud."""

    def __init__(self):
        super().__init__()
        self.norm, self.of_clouds = nn.BatchNorm1d(8), nn.BatchNorm1d(8)

    def forward(self, data):
        x = self.norm(data["feat"])
        return x if "short" not in data else self.of_clouds(x.mean(2)[:2])


def test_further_axes_and_rows_that_nobody_knows():
    feat = torch.randn(9, 8, 5)
    data = dict(feat=feat, offset=torch.tensor([4, 9]))
    network = Neighbours()
    replace_batch_norms(network, "cloud")
    flat = [part.movedim(1, -1).reshape(-1, 8) for part in feat.split([4, 5])]
    wanted = [by_hand(f, network.norm).view(-1, 5, 8).movedim(-1, 1) for f in flat]
    torch.testing.assert_close(network(data), torch.cat(wanted))
    with pytest.raises(InputError, match="given 2 rows behind a structure of 9 rows, wanted norm='layer'"):
        network(data | dict(short=True))
    with pytest.raises(InputError, match="got a padded batch"):
        network(data | {VALID: torch.ones(9, dtype=torch.bool)})
    with pytest.raises(InputError, match="nobody says which rows"):
        CloudNorm(8)(feat)
    for norm in ("layer", "rms", "group", "none"):
        network = Neighbours()
        replace_batch_norms(network, norm)
        out = network(data)
        rows = network.norm(feat.movedim(1, -1).reshape(-1, 8)).view(9, 5, 8).movedim(-1, 1)
        torch.testing.assert_close(out, rows)
        assert out.shape == feat.shape and out.isfinite().all()
        assert network.norm(feat.bfloat16()).dtype == torch.bfloat16


def test_what_is_replaced():
    shared = nn.BatchNorm1d(6, eps=0.1)
    network = nn.Sequential(shared, nn.Sequential(nn.Linear(6, 6), shared), nn.BatchNorm1d(6, affine=False)).eval()
    with torch.no_grad():
        shared.weight.fill_(3.0)
    shared.bias.requires_grad_(False)
    before = set(network.state_dict())
    assert replace_batch_norms(network, "batch") == 0 and set(network.state_dict()) == before
    assert replace_batch_norms(network, "cloud") == 3
    assert network[0] is network[1][1] and not network[0].training
    assert network[0].eps == 0.1 and network[0].weight.tolist() == [3.0] * 6
    assert network[0].weight.requires_grad and not network[0].bias.requires_grad
    assert network[2].weight is None
    assert set(network.state_dict()) == {key for key in before if "running" not in key and "tracked" not in key} | {
        "norm_is_cloud"
    }
    plain = nn.Sequential(nn.Linear(3, 3))
    assert replace_batch_norms(plain, "layer") == 0 and len(plain.state_dict()) == 2
    with pytest.raises(
        InputError, match=r"norm: got 'lyer', wanted one of batch, layer, .* \(did you mean 'layer'\?\)"
    ):
        replace_batch_norms(plain, "lyer")
