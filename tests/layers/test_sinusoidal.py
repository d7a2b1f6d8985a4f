"""Sines and cosines of positions equal their formula number by number; what the channels are."""

from __future__ import annotations

import math

import pytest
import torch

from pointcept_bsa.layers.sinusoidal import SinusoidalEmbedding

from .by_hand import compare, numbers


def by_hand(x: torch.Tensor, dim: int, scale: float) -> torch.Tensor:
    """Of one point: axis after axis all sines, then all cosines of w_i = 10000^(-2i / C'), and zeros for the rest."""
    dims = len(x)
    own = dim // dims - dim // dims % 2
    waves = [scale * 10000 ** (-2 * i / own) for i in range(own // 2)]
    out = []
    for a in range(dims):
        out += [torch.sin(w * x[a]) for w in waves] + [torch.cos(w * x[a]) for w in waves]
    return torch.stack(out + [torch.zeros((), dtype=x.dtype)] * (dim - len(out)))


@pytest.mark.parametrize("scale", [1.0, 0.3, 7.0])
@pytest.mark.parametrize(("dim", "dims"), [(12, 3), (13, 3), (17, 3), (8, 2), (2, 1), (6, 3), (40, 4)])
def test_it_is_its_formula_number_by_number(dim, dims, scale):
    made, x = SinusoidalEmbedding(dim, dims, scale), numbers(5, dims)
    count = len(made.frequencies)
    exact = scale * 10000 ** (-torch.arange(count, dtype=torch.float64) / count)
    torch.testing.assert_close(made.frequencies, exact.float())
    made.frequencies = exact  # of which the module has single precision
    compare(made(x), torch.stack([by_hand(row, dim, scale) for row in x]), {"x": x})


def test_the_fastest_wave_has_the_length_of_the_scale_and_each_point_its_row():
    made, x = SinusoidalEmbedding(12, 3, 2.0), torch.randn(6, 3, dtype=torch.float64)
    far = x + torch.tensor([math.pi, 0.0, 0.0])
    out = made(x)
    moved = (made(far) - out).abs().amax(0)
    assert moved[[0, 2]].max() < 1e-6 and moved[1] > 1e-3 and not moved[4:].any()
    assert torch.equal(made(x.flip(0)), out.flip(0)) and torch.equal(made(x[:1]), out[:1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_computed_in_single_precision_or_better_and_keeps_the_type(dtype):
    made, x = SinusoidalEmbedding(12, 3, 40.0), (torch.randn(50, 3) * 3).to(dtype)
    out = made(x)
    assert out.dtype == dtype and not made.state_dict()
    want = SinusoidalEmbedding(12, 3, 40.0)(x.double())
    assert (out.double() - want).abs().max() < {torch.bfloat16: 4e-3, torch.float32: 1e-4, torch.float64: 1e-12}[dtype]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 3, 1.0), "channels: got 5, wanted at least 6 for a wave an axis"),
        ((12, 3, 0.0), "position_scale: got 0.0, wanted a positive number"),
        ((12, 3, -1.0), "position_scale: got -1.0, wanted a positive number"),
        ((12, 3, math.inf), "position_scale: got inf, wanted a positive number"),
        ((12, 3, math.nan), "position_scale: got nan, wanted a positive number"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as told:
        SinusoidalEmbedding(*arguments)
    assert "\n" not in str(told.value)
