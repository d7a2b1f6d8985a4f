"""Global parameters that scale and shift the blocks: against plain loops, and nothing changed where there are none."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS
from pointcept_bsa.layers import prenorm as by_rows
from pointcept_bsa.layers.conditioning import Conditioning, Film

TREE = dict(channels=16, depth=2, num_heads=2, ball_size=16, block_size=4, group_size=4, topk=2)
ERWIN = dict(type="Erwin-v1m1", channels=[8, 16], ball_sizes=[16, 8], enc_num_heads=[2, 2], enc_depths=[1, 2],
             dec_num_heads=[2], dec_depths=[2], strides=[2], num_neighbors=4, mp_steps=1)  # fmt: skip
NETWORKS = {
    "bsa": dict(type="BSA-v1m1", **TREE),
    "bsa skip, one tree": dict(type="BSA-v1m1", **TREE, skip_every=1, rotate=0),
    "bsa recompute": dict(type="BSA-v1m1", **TREE, recompute=True),
    "bsa selective": dict(type="BSA-v1m1", **TREE, recompute="selective"),
    "nsa": dict(type="ErwinNSA-v1m1", channels=16, depth=2, num_heads=4, local_ball_size=16, compressed_ball_size=8,
                num_selected=2, mp_steps=0),
    "full": dict(type="FullAttention-v1m1", channels=16, depth=2, num_heads=2),
    "erwin": ERWIN,
    "erwin without decoder": ERWIN | dict(decode=False),
}  # fmt: skip
LENGTHS = (40, 7, 21)


def clouds(lengths=LENGTHS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coord = torch.randn(sum(lengths), 3, generator=generator)
    feat = torch.randn(sum(lengths), 3, generator=generator)
    return dict(coord=coord, feat=feat, offset=torch.tensor(lengths).cumsum(0))


def parameters(seed=1):
    return torch.randn(len(LENGTHS), 2, generator=torch.Generator().manual_seed(seed))


def build(config, **changes):
    torch.manual_seed(3)
    return MODELS.build(config | changes)


@torch.no_grad()
def stirred(network):
    """Conditions that do something."""
    last = network.condition.layers[-1]
    last.weight.normal_(std=0.5)
    last.bias.normal_(std=0.1)
    return network


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_a_network_begins_as_the_one_without_conditions(config):
    plain, after = build(config), torch.rand(3)
    conditioned, then = build(config, condition=2), torch.rand(3)
    assert torch.equal(after, then)  # nothing else of a model is drawn otherwise
    own = dict(conditioned.named_parameters())
    for name, value in plain.named_parameters():
        assert torch.equal(value, own[name]), name
    batch = clouds()
    wanted, got = plain(batch)["feat"], conditioned(batch | dict(parameters=parameters()))["feat"]
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)
def test_every_cloud_is_conditioned_by_its_own_row_and_gradients_reach_all(config):
    network = stirred(build(config, condition=2)).eval()  # batch norms are of the batch in training
    batch, given = clouds(), parameters()
    out = network(batch | dict(parameters=given))["feat"]
    if config.get("decode", True):
        starts = [0, *batch["offset"].tolist()]
        for i, (a, b) in enumerate(zip(starts[:-1], starts[1:])):
            one = dict(coord=batch["coord"][a:b], feat=batch["feat"][a:b], offset=torch.tensor([b - a]))
            alone = network(one | dict(parameters=given[i : i + 1]))["feat"]
            torch.testing.assert_close(out[a:b], alone, rtol=1e-4, atol=2e-5)
            other = network(one | dict(parameters=given[i : i + 1] + 1))["feat"]
            assert not torch.allclose(alone, other, atol=1e-3)
    out.square().sum().backward()
    for name, value in network.condition.named_parameters():
        assert value.grad is not None and value.grad.abs().sum() > 0, name


def test_scale_and_shift_are_those_of_a_loop_and_of_equal_sizes():
    values = torch.randn(2, 4, 5, dtype=torch.float64)
    for rows in ((3, 3), (4, 2)):
        h, film = torch.randn(6, 5, dtype=torch.float64), Film(values, rows)
        which = torch.tensor([0] * rows[0] + [1] * rows[1])
        for got, first in ((film.of_attention(h), 0), (film.of_feed_forward(h), 2)):
            wanted = torch.stack([h[r] * (1 + values[i, first]) + values[i, first + 1] for r, i in enumerate(which)])
            torch.testing.assert_close(got, wanted, rtol=1e-14, atol=0)
        for got, first in zip(film.rows_of_feed_forward(), (2, 3), strict=True):
            assert torch.equal(got, values[which, first])


@pytest.mark.parametrize("name", ["bsa", "full", "erwin"])
def test_without_gradients_rows_are_taken_in_parts(name, monkeypatch):
    network, batch = stirred(build(NETWORKS[name], condition=2)), clouds() | dict(parameters=parameters())
    wanted = network(batch)["feat"]
    monkeypatch.setattr(by_rows, "ROWS_AT_ONCE", 24)
    with torch.no_grad():
        torch.testing.assert_close(network(batch)["feat"], wanted, rtol=1e-4, atol=1e-5)


def test_half_precision_stays_near_single():
    network, batch = stirred(build(NETWORKS["bsa"], condition=2)), clouds() | dict(parameters=parameters())
    wanted = network(batch)["feat"]
    with torch.autocast("cpu", torch.bfloat16):
        got = network(batch)["feat"]
    assert (got.float() - wanted).norm() / wanted.norm() < 0.05


@pytest.mark.parametrize(
    ("condition", "given", "message"),
    [
        (2, {}, "parameters: missing from the batch"),
        (3, dict(parameters=torch.zeros(3, 2)), r"got shape \(3, 2\), wanted \(3, 3\)"),
        (2, dict(parameters=torch.zeros(68, 2)), r"got shape \(68, 2\), wanted \(3, 2\)"),
        (None, dict(parameters=torch.zeros(3, 2)), "condition=None does not use"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(condition, given, message):
    network = build(NETWORKS["full"], condition=condition)
    with pytest.raises(InputError, match=message) as error:
        network(clouds() | given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, "flow"])
def test_a_condition_is_a_number_of_parameters(wrong):
    with pytest.raises(InputError, match="condition: got"):
        Conditioning(wrong, [16])
