"""What is particular to FLARE: the authors' outputs, the rank of its mixing, its cost.

``golden/flare.npz`` holds outputs in float64 of this package for the weights and clouds of ``filled.py``. When it was
made, the authors' public code (vpuri3/FLARE.py, its model without the last MLP) with the same weights gave the same
outputs, cloud by cloud, to 2e-15, and to 1.4e-6 in single precision.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.backbones.flare import LatentRouting
from pointcept_bsa.host import MODELS
from pointcept_bsa.training.evaluation.flops import count_flops

from .conftest import FLARE, sample
from .filled import fill, ragged_cloud

GOLDEN = Path(__file__).parent / "golden" / "flare.npz"
SIZES = dict(channels=32, depth=3, num_heads=4, num_latents=10)


def test_outputs_of_the_authors_code():
    model = fill(MODELS.build(dict(type="FLARE-v1m1", in_channels=5, **SIZES))).double().eval()
    with torch.no_grad():
        out = model(ragged_cloud(5))["feat"]
    torch.testing.assert_close(out, torch.tensor(np.load(GOLDEN)["out"]), rtol=1e-10, atol=1e-10)


def test_points_are_mixed_by_a_matrix_of_low_rank():
    torch.manual_seed(0)
    layer = LatentRouting(8, 2, 3, 0).double()
    x = torch.randn(30, 8, dtype=torch.float64)
    k, v = (project(x).view(30, 2, 4) for project in (layer.key, layer.value))
    heads = []
    for h in range(2):
        q = layer.latents[:, h]
        mixing = (k[:, h] @ q.T).softmax(-1) @ (q @ k[:, h].T).softmax(-1)
        assert torch.linalg.matrix_rank(mixing) == 3
        torch.testing.assert_close(mixing.sum(-1), torch.ones(30, dtype=torch.float64))
        heads.append(mixing @ v[:, h])
    torch.testing.assert_close(layer(x, (30,)), layer.projection(torch.cat(heads, 1)))


def test_its_cost_grows_with_the_points_not_their_square():
    model = MODELS.build(FLARE | dict(depth=1))
    flops = {n: count_flops(model, sample((n,))) for n in (100, 200, 300)}
    channels, latents = 16, 6
    layers = (
        3 + 3 * (2 + 1) + 1
    )  # of width C: the embedding's after the first; K, V and MLP of one inner layer; projection
    per_point = 2 * (3 * channels + layers * channels**2) + 2 * 4 * latents * channels
    assert flops[200] - flops[100] == flops[300] - flops[200] == 100 * per_point
    assert flops[100] == 100 * per_point


def test_state_dict_keys_stay():
    model = MODELS.build(FLARE | dict(depth=1, qk_norm=True))
    attention = "blocks.0.attention"
    residual = {"embedding": 2, f"{attention}.key": 1, f"{attention}.value": 1, "blocks.0.mlp": 1}
    linear = [f"{name}.{end}" for name in residual for end in ("enter", "leave")]
    linear += [f"{name}.layers.{i}" for name, depth in residual.items() for i in range(depth)]
    linear += ["blocks.0.norm1", "blocks.0.norm2", f"{attention}.projection", "norm"]
    wanted = {f"{name}.{kind}" for name in linear for kind in ("weight", "bias")}
    wanted |= {f"{attention}.latents", *(f"{attention}.query_key.norm_{k}.weight" for k in "qk")}
    assert set(model.state_dict()) == wanted


def test_two_dimensions():
    model = MODELS.build(dict(FLARE, dimensionality=2)).eval()
    assert model(sample((70,), dims=2))["feat"].shape == (70, 16)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(num_heads=3), "num_heads: got 3"),
        (dict(num_latents=0), "num_latents: got 0, wanted an integer of at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(FLARE | option)
