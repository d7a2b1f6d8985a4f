"""What is particular to Transolver: the authors' outputs, its slices, its cost.

``golden/transolver.npz`` holds outputs in float64 of this package for the weights and clouds of ``filled.py``. When it
was made, the authors' public code (thuml/Transolver, the model for irregular meshes) with the same weights gave the
same outputs, cloud by cloud, to 2e-15, and to 1.1e-6 in single precision.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.slice_attention import PhysicsAttention, from_slices, slice_tokens
from pointcept_bsa.training.evaluation.flops import count_flops

from .conftest import TRANSOLVER, sample
from .filled import fill, ragged_cloud

GOLDEN = Path(__file__).parent / "golden" / "transolver.npz"
SIZES = dict(channels=32, depth=3, num_heads=4, num_slices=10)


def test_outputs_of_the_authors_code():
    model = fill(MODELS.build(dict(type="Transolver-v1m1", in_channels=5, out_channels=12, **SIZES))).double().eval()
    with torch.no_grad():
        out = model(ragged_cloud(5))["feat"]
    torch.testing.assert_close(out, torch.tensor(np.load(GOLDEN)["out"]), rtol=1e-10, atol=1e-10)


def test_slices_are_means_with_the_weights_of_the_points_of_a_cloud():
    torch.manual_seed(0)
    lengths = (3, 1, 5)
    f, weights = torch.randn(9, 2, 4), torch.rand(9, 2, 3)
    tokens, back = slice_tokens(f, weights, lengths), from_slices(torch.ones(3, 3, 2, 4), weights, lengths)
    start = 0
    for cloud, n in enumerate(lengths):
        for g in range(3):
            for h in range(2):
                w, values = weights[start : start + n, h, g], f[start : start + n, h]
                torch.testing.assert_close(tokens[cloud, g, h], w @ values / (w.sum() + 1e-5))
        start += n
    torch.testing.assert_close(back, weights.sum(-1, keepdim=True).expand(9, 2, 4))
    equal = [
        slice_tokens(f, weights, (3, 3, 3)),
        *(slice_tokens(f[i::1][:3], weights[i:][:3], (3,)) for i in (0, 3, 6)),
    ]
    torch.testing.assert_close(equal[0], torch.cat(equal[1:]))


def test_every_point_is_divided_among_the_slices():
    layer = PhysicsAttention(16, 2, 5)
    weights = layer.weights(torch.randn(20, 16))
    assert weights.shape == (20, 2, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(20, 2))


def test_its_cost_grows_with_the_points_not_their_square():
    model = MODELS.build(TRANSOLVER | dict(depth=1))
    flops = {n: count_flops(model, sample((n,))) for n in (100, 200, 300)}
    channels, slices, heads, ratio = 16, 6, 2, 2
    per_point = 2 * (3 * 2 * channels + 2 * channels**2 + (3 + 2 * ratio) * channels**2 + channels**2)
    per_point += 2 * 3 * channels * slices  # weights, into slices, out of them
    assert flops[200] - flops[100] == flops[300] - flops[200] == 100 * per_point
    among_slices = 2 * slices * channels * (3 * channels // heads + 2 * slices)
    assert flops[100] == 100 * per_point + among_slices


def test_state_dict_keys_stay():
    model = MODELS.build(TRANSOLVER | dict(depth=1))
    linear = ["embedding.0", "embedding.2", "blocks.0.norm1", "blocks.0.norm2", "blocks.0.mlp.0", "blocks.0.mlp.2"]
    linear += [f"blocks.0.attention.{k}" for k in ("assigned", "value", "slice", "projection")] + ["norm", "projection"]
    wanted = {f"{name}.{kind}" for name in linear for kind in ("weight", "bias")}
    wanted |= {f"blocks.0.attention.{k}.weight" for k in "qkv"} | {"placeholder", "blocks.0.attention.temperature"}
    assert set(model.state_dict()) == wanted


def test_two_dimensions():
    model = MODELS.build(dict(TRANSOLVER, dimensionality=2)).eval()
    assert model(sample((70,), dims=2))["feat"].shape == (70, 16)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(num_heads=3), "num_heads: got 3"),
        (dict(num_slices=0), "num_slices: got 0, wanted an integer of at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(TRANSOLVER | option)
