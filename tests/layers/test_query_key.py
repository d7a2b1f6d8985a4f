"""Normalised queries and keys; rotation by position."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.query_key import QueryKey, RotaryEmbedding

NETWORKS = {
    "BSA-v1m1": dict(num_heads=2, ball_size=32, block_size=8),
    "ErwinNSA-v1m1": dict(num_heads=2, local_ball_size=32, compressed_ball_size=8, num_selected=3, mp_steps=0),
    "FullAttention-v1m1": dict(num_heads=2),
}


def rotated(x, coord, wavelength):
    """Pair by pair, with complex numbers."""
    (slots, _, width), d = x.shape, coord.shape[1]
    pairs = width // (2 * d)
    out = x.clone()
    for s in range(slots):
        for a in range(d):
            for n in range(pairs):
                i, j = a * pairs + n, a * pairs + n + d * pairs
                turn = torch.polar(torch.ones((), dtype=x.dtype), 2 * math.pi * 2**n * coord[s, a] / wavelength)
                z = torch.complex(x[s, :, i], x[s, :, j]) * turn
                out[s, :, i], out[s, :, j] = z.real, z.imag
    return out


@pytest.mark.parametrize(("width", "d"), [(8, 2), (16, 3), (9, 2)])
def test_rotation_is_that_of_complex_numbers(width, d):
    x, coord = torch.randn(5, 2, width, dtype=torch.float64), torch.randn(5, d, dtype=torch.float64)
    rotary = RotaryEmbedding(width, d, 3.0)
    torch.testing.assert_close(rotary(x, rotary.cos_sin(coord)), rotated(x, coord, 3.0), rtol=1e-6, atol=1e-6)


def test_scores_depend_on_relative_positions_alone():
    q, k = torch.randn(2, 6, 2, 16, dtype=torch.float64)
    coord = torch.randn(6, 2, dtype=torch.float64)
    module = QueryKey(16, 2, norm=False, wavelength=4.0)

    def scores(at):
        a, b = module(q, k, at)
        return torch.einsum("ihd,jhd->hij", a, b)

    torch.testing.assert_close(scores(coord), scores(coord + torch.tensor([3.0, -1.5])), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(scores(coord), scores(2 * coord))


def test_normalised_queries_and_keys_have_unit_root_mean_square():
    q, k = torch.randn(4, 2, 8) * 100, torch.randn(4, 1, 8) * 10
    for x in QueryKey(8, 3, norm=True)(q, k, torch.randn(4, 3)):
        torch.testing.assert_close(x.square().mean(-1), torch.ones(x.shape[:-1]), rtol=1e-4, atol=0)


def test_nothing_wanted_is_no_module():
    assert QueryKey.wanted(8, 3, False, None) is None


@pytest.mark.parametrize(
    ("head_dim", "wavelength", "word"), [(5, 4.0, "at least 6"), (8, 0.0, "positive"), (8, math.inf, "positive")]
)
def test_what_cannot_rotate_is_refused(head_dim, wavelength, word):
    with pytest.raises(ValueError, match=f"rotary: got.*{word}"):
        QueryKey(head_dim, 3, wavelength=wavelength)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", [dict(qk_norm=True), dict(rotary=4.0), dict(qk_norm=True, rotary=4.0)])
def test_networks_take_them(name, options):
    torch.manual_seed(0)
    published = MODELS.build(dict(type=name, channels=32, depth=2, **NETWORKS[name]))
    torch.manual_seed(0)
    model = MODELS.build(dict(type=name, channels=32, depth=2, **NETWORKS[name], **options))
    new = {key for key in model.state_dict() if key not in published.state_dict()}
    assert new == ({k for k in model.state_dict() if ".norm_q." in k or ".norm_k." in k})
    assert bool(new) == options.get("qk_norm", False)
    coord = torch.rand(150, 3)
    data = dict(coord=coord, feat=torch.randn(150, 3), offset=torch.tensor([90, 150]))
    out = model(data)["feat"]
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for key, p in model.named_parameters() if key in new)
    single = model(
        {key: value[90:] for key, value in data.items() if key != "offset"} | dict(offset=torch.tensor([60]))
    )
    torch.testing.assert_close(out[90:], single["feat"], rtol=1e-4, atol=1e-5)
    if "rotary" in options:
        order = torch.randperm(90)
        moved = dict(coord=coord[:90][order], feat=data["feat"][:90][order], offset=torch.tensor([90]))
        torch.testing.assert_close(model(moved)["feat"], out[:90][order], rtol=1e-4, atol=1e-5)
