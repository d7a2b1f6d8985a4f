"""What holds for every backbone."""

from __future__ import annotations

import copy

import pytest
import torch
from leftovers import tensors_left

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS
from pointcept_bsa.training.checkpoints.export import load_safetensors, save_safetensors
from pointcept_bsa.training.evaluation.flops import count_flops

from .conftest import NETWORKS, sample, scale_weights

TOLERANCE = 2e-4  # float32, activations of order 10: sums run in another order


def run(network, data):
    with torch.no_grad():
        return network(data)["feat"]


def close(a, b):
    return torch.allclose(a, b, atol=TOLERANCE, rtol=TOLERANCE)


def test_every_registered_backbone_is_tested():
    homes = {name: kind.__module__ for name, kind in MODELS.module_dict.items()}
    registered = {name for name, home in homes.items() if home.startswith("pointcept_bsa.backbones.")}
    of_domains = {"ABUPTJoint-v1m1"}  # wants more than a cloud: test_abupt_joint.py
    assert {config["type"] for config in NETWORKS.values()} == registered - of_domains


@pytest.mark.parametrize("lengths", [(200,), (128,), (20,), (70, 130)])
def test_permuting_points_permutes_features(network, lengths):
    data = sample(lengths)
    ends = data["offset"].tolist()
    order = torch.cat([torch.randperm(n) + e - n for n, e in zip(lengths, ends, strict=True)])
    permuted = {k: v[order] if k != "offset" else v for k, v in data.items()}
    assert close(run(network, permuted), run(network, data)[order])


def test_a_batch_equals_its_clouds_one_by_one(network):
    lengths = (100, 1, 32, 77, 9)
    data = sample(lengths)
    parts = [{k: v[end - n : end] for k, v in data.items() if k != "offset"} for n, end in zip(lengths, data["offset"])]
    singles = [run(network, part | dict(offset=torch.tensor([n]))) for n, part in zip(lengths, parts, strict=True)]
    assert close(run(network, data), torch.cat(singles))


def test_clouds_of_a_batch_do_not_see_each_other(network):
    data = sample((64, 100))
    before = run(network, data)[:64]
    data["feat"][64:] += 100
    assert torch.equal(run(network, data)[:64], before)


def test_a_step_leaves_nothing_to_the_garbage_collector(network):
    data = sample((40, 70))

    def step():
        network.zero_grad()
        network(data)["feat"].square().sum().backward()

    assert tensors_left(step) == 0


def test_gradients_reach_every_parameter_and_are_finite(network):
    data = sample((100, 5))
    data["feat"].requires_grad_()
    network.train()(data)["feat"].square().sum().backward()
    assert data["feat"].grad.isfinite().all()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_the_input_is_left_alone(network):
    data = sample((40,))
    kept = {k: v.clone() for k, v in data.items()}
    out = network(data)
    assert all(torch.equal(data[k], kept[k]) for k in kept)
    assert out["feat"].shape == (40, network.out_channels)
    assert out["offset"] is data["offset"] or torch.equal(out["offset"], data["offset"])


def test_a_cloud_twice_is_twice_the_operations(network):
    one = sample((100,))
    twice = {key: torch.cat([value, value]) for key, value in one.items()} | dict(offset=torch.tensor([100, 200]))
    assert count_flops(network, twice) == 2 * count_flops(network, one) > 0


def test_exported_weights_are_all_that_a_network_needs(network, tmp_path):
    save_safetensors(tmp_path / "x.safetensors", network.state_dict(), {"name": "x"})
    weights, said = load_safetensors(tmp_path / "x.safetensors")
    other = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.zero_()
    data = sample((40, 3))
    assert not torch.equal(run(other, data), run(network, data))
    other.load_state_dict(weights)
    assert torch.equal(run(other, data), run(network, data)) and said == {"name": "x"}


def test_bfloat16_autocast_stays_near_single_precision(network):
    data = sample((150,))
    scale_weights(network, 1 / network.enlarged)  # as initialised: rounding grows with the weights
    want = run(network, data)
    with torch.autocast("cpu", torch.bfloat16):
        got = run(network, data)
    assert (got.float() - want).norm() / want.norm() < 0.05  # 8 bits of mantissa; near ties may select other blocks


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (dict(feat=torch.zeros(10, 5)), "feat: got 5 channels"),
        (dict(coord=torch.zeros(10, 4)), "coord: got 4 channels"),
        (dict(coord=torch.zeros(0, 3), feat=torch.zeros(0, 3), offset=torch.tensor([0])), "no points"),
        (dict(offset=torch.tensor([4, 4, 10])), "cloud 1 of the batch has 0 points"),
        (dict(offset=torch.tensor([4])), "offset: ends at 4"),
    ],
)
def test_bad_clouds_are_refused_in_one_line(network, change, word):
    with pytest.raises(InputError, match=word) as error:
        network(sample((10,)) | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("lengths", [(100, 5), (128,), (70, 130, 1)])
def test_gradients_of_the_features_are_differences(network, lengths):
    """Also where slots are empty, or copies: reordering rows takes the gradient of a point from its own slot alone."""
    data = {key: value.double() if value.is_floating_point() else value for key, value in sample(lengths).items()}
    probe = torch.randn(sum(lengths), network.out_channels, dtype=torch.float64)
    network.double().eval()

    def probed(feat):
        return (network(data | dict(feat=feat))["feat"] * probe).sum()

    feat = data["feat"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(probed(feat), feat)
    for _ in range(4):
        step = torch.randn_like(gradient)
        step *= 1e-6 / step.norm()
        with torch.no_grad():
            difference = (probed(data["feat"] + step) - probed(data["feat"] - step)) / 2
        # of the second order; the slot of one point is some 1e-2
        assert abs(difference - (gradient * step).sum()) < 1e-5 * gradient.norm() * step.norm()
