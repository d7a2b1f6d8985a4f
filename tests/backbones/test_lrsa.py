"""What is particular to LRSA: its equations written out, its cost, its keys."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pointcept_bsa.backbones.lrsa import LowRankSpatialAttention
from pointcept_bsa.host import MODELS
from pointcept_bsa.training.evaluation.flops import count_flops

from .conftest import LRSA, sample, scale_weights


def rms(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def attention(layer, q, y):
    """One cloud, head by head."""
    width = q.shape[-1]
    k, v = (y @ layer.key_value.weight.T).chunk(2, 1)
    heads = []
    for h in range(layer.num_heads):
        cut = slice(h * width, (h + 1) * width)
        score = (
            rms(q[:, h], layer.query_key.norm_q.weight, 1e-6) @ rms(k[:, cut], layer.query_key.norm_k.weight, 1e-6).T
        )
        heads.append((score / width**0.5).softmax(-1) @ v[:, cut])
    return F.linear(torch.cat(heads, 1), layer.projection.weight, layer.projection.bias)


def test_compress_process_reconstruct():
    torch.manual_seed(0)
    layer = LowRankSpatialAttention(8, 2, 3).double()
    scale_weights(layer, 2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(20, 8, dtype=torch.float64)

    def normed(norm, z):
        return rms(z, norm.weight, torch.finfo(torch.float64).eps)

    z = attention(layer.compress, layer.latents, x)
    z = z + layer.mlp1(normed(layer.norm1, z))
    h = normed(layer.norm, z)
    z = z + attention(layer.process, (h @ layer.query.weight.T).view(3, 2, 4), h)
    z = z + layer.mlp2(normed(layer.norm2, z))
    want = attention(layer.reconstruct, (x @ layer.point_query.weight.T).view(20, 2, 4), normed(layer.context_norm, z))
    torch.testing.assert_close(layer(x, (20,)), want)


def test_latents_begin_orthogonal():
    latents = LowRankSpatialAttention(16, 2, 6).latents.flatten(1)
    torch.testing.assert_close(latents @ latents.T, torch.eye(6))


def test_its_cost_grows_with_the_points_not_their_square():
    model = MODELS.build(LRSA | dict(depth=1))
    flops = {n: count_flops(model, sample((n,))) for n in (100, 200, 300)}
    channels, latents, ratio = 16, 6, 2
    per_point = 2 * (3 * ratio * channels + ratio * channels**2)  # embedding
    per_point += 2 * (2 + 2 + 2 * ratio) * channels**2  # keys and values; queries and projection; MLP
    per_point += 2 * 4 * latents * channels  # both attentions
    assert flops[200] - flops[100] == flops[300] - flops[200] == 100 * per_point
    among_latents = 2 * latents * channels * ((1 + 4 * ratio + 4 + 2) * channels + 2 * latents)
    assert flops[100] == 100 * per_point + among_latents


def test_state_dict_keys_stay():
    model = MODELS.build(LRSA | dict(depth=1))
    inner = "blocks.0.attention"
    linear = [*("embedding.0", "embedding.2", "blocks.0.mlp.0", "blocks.0.mlp.2")]
    linear += [f"{inner}.{name}.{i}" for name in ("mlp1", "mlp2") for i in (0, 2)]
    linear += [f"{inner}.{name}.projection" for name in ("compress", "process", "reconstruct")]
    wanted = {f"{name}.{kind}" for name in linear for kind in ("weight", "bias")}
    for name in ("compress", "process", "reconstruct"):
        wanted |= {f"{inner}.{name}.{k}.weight" for k in ("key_value", "query_key.norm_q", "query_key.norm_k")}
    bare = ("norm1", "norm", "norm2", "context_norm", "query", "point_query")
    wanted |= {f"{inner}.{name}.weight" for name in bare} | {f"{inner}.latents"}
    wanted |= {"blocks.0.norm1.weight", "blocks.0.norm2.weight", "norm.weight"}
    assert set(model.state_dict()) == wanted


def test_two_dimensions():
    model = MODELS.build(dict(LRSA, dimensionality=2)).eval()
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
        MODELS.build(LRSA | option)
