"""UPT, AB-UPT and MSPT: outputs that agreed with the authors' code, and what is particular to each.

``golden/upt.npz`` and ``golden/abupt.npz`` hold outputs of this package, kept when it agreed with the public code of
the authors on the CPU, from the same random weights, for whole networks in two and three dimensions:

- ml-jku/UPT, commit 34e8549 (``CfdPoolTransformerPerceiver``, ``TransformerModel``, ``RansPerceiver``, with
  kappamodules 748c370), ``query_features=False``, linear maps between its parts set to the identity: 8e-7, of outputs
  up to 5. Its frequencies are in single precision.
- Emmi-AI/anchored-branched-universal-physics-transformers, commit 2211068 (``AnchoredBranchedUPT``, its surface
  branch), ``features=False``, no last norm, with its frequencies in the rotation: 1e-5, of outputs up to 18, in single
  precision.

What they import was stood in for: ``torch_scatter.segment_csr`` by a loop, torch-geometric's radius search by all
distances. Weights and clouds are those of ``fill`` and ``batch`` below.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.geometry import find_neighbors
from pointcept_bsa.geometry.ball_tree import BallTree, sort_into_tree
from pointcept_bsa.host import MODELS, collate_fn
from pointcept_bsa.layers.supernodes import POINT_TREE, Supernodes
from pointcept_bsa.training.evaluation.flops import count_flops

from .conftest import ABUPT, SMALL, UPT, sample

GOLDEN = Path(__file__).parent / "golden"
CASES = {"upt": UPT | dict(query_features=False), "abupt": ABUPT | dict(features=False)}
MSPT = dict(type="MSPT-v1m1", **SMALL, ball_size=32, block_size=8)


def batch(dims):
    """Clouds of 60 and 25 points."""
    rng = np.random.RandomState(3)
    coord, feat = (torch.tensor(rng.standard_normal((85, k))) for k in (dims, 3))
    return dict(coord=coord, feat=feat, offset=torch.tensor([60, 85]))


@torch.no_grad()
def fill(model):
    """Parameters drawn one after the other: matrices scaled by their width, vectors around 0, of norms around 1."""
    rng = np.random.RandomState(5)
    for name, parameter in model.named_parameters():
        values = torch.tensor(rng.standard_normal(parameter.shape))
        if parameter.dim() > 1:
            values = values / parameter.shape[1] ** 0.5
        else:
            values = 0.2 * values + ("norm" in name and name.endswith("weight"))
        parameter.copy_(values)
    return model.eval()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_that_agreed_with_the_public_code(name, dims):
    model = fill(MODELS.build(CASES[name] | dict(dimensionality=dims)).double())
    with np.load(GOLDEN / f"{name}.npz") as golden, torch.no_grad():
        wanted = torch.tensor(golden[f"dims_{dims}"])
        torch.testing.assert_close(model(batch(dims))["feat"], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("config", [UPT, ABUPT, MSPT], ids=lambda config: config["type"])
def test_points_in_the_plane(config):
    model = fill(MODELS.build(config | dict(dimensionality=2)))
    data = sample((70, 30), dims=2)
    order = torch.cat([torch.randperm(70), 70 + torch.randperm(30)])
    with torch.no_grad():
        out = model(data)["feat"]
        permuted = model({k: v[order] if k != "offset" else v for k, v in data.items()})["feat"]
        single = model({k: v[:70] for k, v in data.items()} | dict(offset=torch.tensor([70])))["feat"]
    torch.testing.assert_close(permuted, out[order], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(single, out[:70], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("number", [1, 7, 50, 200])
def test_supernodes_are_points_of_their_clouds_spread_evenly(number):
    lengths = (50, 1, 120)
    data = sample(lengths)
    order = torch.cat([torch.randperm(n) + start for n, start in zip(lengths, (0, 50, 51), strict=True)])
    chosen, other = (
        Supernodes.choose(POINT_TREE.build(dict(coord=coord), lengths), number)
        for coord in (data["coord"], data["coord"][order])
    )
    assert chosen.lengths == tuple(min(n, number) for n in lengths) and chosen.valid is None
    assert torch.equal(order[other.index], chosen.index)  # the same points, whatever their order
    for rows, cloud in zip(chosen.index.split(chosen.lengths), torch.arange(171).split(lengths), strict=True):
        assert len(rows.unique()) == len(rows) and set(rows.tolist()) <= set(cloud.tolist())


def test_every_part_of_a_cloud_has_its_share_of_supernodes():
    coord = sample((512,))["coord"]
    chosen = Supernodes.choose(POINT_TREE.build(dict(coord=coord), (512,)), 64)
    balls = BallTree.build(coord, (512,), 64, 8).inverse[chosen.index] // 64
    assert balls.bincount().tolist() == [8] * 8


@torch.no_grad()
def test_a_point_that_is_no_anchor_changes_its_own_output_alone():
    model = fill(MODELS.build(ABUPT))
    data = sample((100,))
    before = model(data)["feat"]
    anchors = set(Supernodes.choose(POINT_TREE.build(data, (100,)), model.num_anchors).index.tolist())
    anchor, other = min(anchors), min(set(range(100)) - anchors)
    for point, alone in ((other, True), (anchor, False)):
        changed = data | dict(feat=data["feat"].clone().index_fill_(0, torch.tensor(point), 3.0))
        moved = (model(changed)["feat"] - before).abs().amax(1) > 1e-6
        assert moved[point] and moved.sum() == 1 if alone else moved.all()


@torch.no_grad()
def test_all_points_as_anchors_are_full_attention():
    enough, more = (fill(MODELS.build(ABUPT | dict(num_anchors=n)))(sample((90, 20)))["feat"] for n in (90, 4000))
    torch.testing.assert_close(enough, more, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_latent_tokens_are_what_points_hear_from():
    """With a decoder that reads nothing, a point's output is that of its query."""
    model = fill(MODELS.build(UPT))
    model.decoder.attention.projection.weight.zero_()
    data = sample((60,))
    changed = data | dict(feat=torch.cat([data["feat"][:1], torch.randn(59, 3)]))
    assert torch.equal(model(data)["feat"][0], model(changed)["feat"][0])
    model.decoder.attention.projection.weight.fill_(0.1)
    assert not torch.equal(model(data)["feat"][0], model(changed)["feat"][0])


def block_flops(rows, channels, hidden=4):
    """Of q, k, v, projection and MLP."""
    return 2 * rows * channels**2 * (4 + 2 * hidden)


def test_operations_are_those_of_the_formulas():
    n, c, out, near = 96, 24, 16, 6
    data = sample((n,))
    data_in = 2 * n * (3 * c + 2 * c * c)  # the MLP of the features
    s, latents, a = UPT["num_supernodes"], UPT["num_latents"], ABUPT["num_anchors"]
    messages = 2 * (n + s) * 2 * c * c + 2 * s * near * 2 * c * c + 2 * s * c * c
    upt = data_in + messages
    upt += block_flops(s, c) + 4 * s * s * c  # encoder
    upt += block_flops(latents, c) - 4 * latents * c * c + 4 * s * c * c + 4 * latents * s * c  # pooling: k, v of s
    upt += 2 * (block_flops(latents, c) + 4 * latents**2 * c)
    upt += 2 * n * (2 * c * c + 3 * c) + block_flops(n, c) - 4 * n * c * c + 4 * latents * c * c + 4 * n * latents * c
    assert count_flops(MODELS.build(UPT), data) == upt + 2 * n * c * out
    abupt = 2 * s * near * c * c + 2 * s * 3 * c * c  # messages, their last map, projection
    abupt += block_flops(s, c) + 4 * s * s * c + 2 * n * (2 * c * c + 3 * c)
    abupt += block_flops(n, c) - 4 * n * c * c + 4 * s * c * c + 4 * n * s * c
    abupt += 2 * (block_flops(n, c) - 4 * n * c * c + 4 * a * c * c + 4 * n * a * c)
    assert count_flops(MODELS.build(ABUPT), data) == abupt + 2 * n * c * out
    c = SMALL["channels"]
    mspt = 2 * n * (3 * 2 * c + 2 * c * c) + SMALL["depth"] * (block_flops(n, c) + 4 * n * (32 + n // 8) * c)
    assert count_flops(MODELS.build(MSPT), data) == mspt


@pytest.mark.parametrize("config", [UPT, ABUPT, MSPT], ids=lambda config: config["type"])
def test_cached_geometry_changes_nothing_and_spares_the_search(config, calls):
    model = fill(MODELS.build(config))
    clouds = [sample((n,), seed=n) for n in (70, 40)]
    given = [cloud | model.static_geometry(cloud["coord"]) for cloud in clouds]
    plain, cached = (collate_fn(part) for part in (clouds, given))
    with torch.no_grad(), calls(sort_into_tree, find_neighbors) as made:
        wanted = model(plain)["feat"]
        assert made
        made.clear()
        assert torch.equal(model(cached)["feat"], wanted)
        assert not made


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (UPT | dict(num_supernodes=0), "num_supernodes: got 0"),
        (UPT | dict(num_latents=0), "num_latents: got 0"),
        (UPT | dict(num_supernodes=0.5), "num_supernodes: got 0.5, wanted an integer"),
        (UPT | dict(position_scale=float("nan")), "position_scale: got nan"),
        (UPT | dict(radius=0.0), "radius: got 0.0"),
        (UPT | dict(channels=2), "channels: got 2, wanted at least 6"),
        (UPT | dict(num_heads=5), "num_heads: got 5"),
        (ABUPT | dict(num_anchors=0), "num_anchors: got 0"),
        (ABUPT | dict(num_heads=6), "rotary: got heads of 4 channels"),
        (MSPT | dict(block_size=5), "ball_size: got 32 with block_size 5"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(config, word):
    with pytest.raises(ValueError, match=word):
        MODELS.build(config)(sample((10,)))
