"""The transformer block on a residual stream that leaves its last sum, and its order, to the kernel that comes next.

``S`` slots, ``C`` channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pointcept_bsa.layers.conditioning import Film, scaled
from pointcept_bsa.layers.fused.linear import (
    Summand,
    alike,
    hands_over_bias,
    joined_linear,
    master_parameter,
    summand,
    worth_joining,
)
from pointcept_bsa.layers.fused.residual import Normed, Residual
from pointcept_bsa.layers.prenorm import by_rows
from pointcept_bsa.ops.silu_product import silu_halves, silu_product
from pointcept_bsa.ops.swiglu import fits as swiglu_fits
from pointcept_bsa.ops.swiglu import swiglu

if TYPE_CHECKING:
    from pointcept_bsa.layers.transformer import SwiGLU, TransformerBlock


def feed_forward(layer: SwiGLU, x: Tensor) -> Summand:
    """layer(x) for who adds it to a residual stream beyond the block; in 16 bits by one operator, which keeps nothing
    of the hidden values."""
    layers = layer.w1, layer.w2, layer.w3
    if not (alike(*layers) and swiglu_fits(x, layer.w3.weight)):
        return summand(layer.w3, hidden(layer, x), within=False)
    biases = [master_parameter(each, "bias") for each in layers]
    left = biases[-1] if hands_over_bias(layer.w3, within=False) else None
    if left is not None:
        biases[-1] = left.detach()
    weights = [t for each, bias in zip(layers, biases, strict=True) for t in (each.weight, bias)]
    return Summand(swiglu(x, weights), left)


def hidden(layer: SwiGLU, x: Tensor) -> Tensor:
    """w2 x * silu(w1 x), by one matrix product."""
    if worth_joining(layer.w1, layer.w2):
        return silu_halves(joined_linear(x, layer.w1, layer.w2))
    return silu_product(layer.w1(x), layer.w2(x))


def run_block(
    block: TransformerBlock, x: Tensor | Residual, *geometry: Any, film: Film | None = None
) -> Tensor | Residual:
    """block(x, ...); of a stream the next one."""
    if isinstance(x, Tensor):
        return _run(block, Residual(x), *geometry, film=film).total()
    return _run(block, x, *geometry, film=film)


def _run(block: TransformerBlock, stream: Residual, *geometry: Any, film: Film | None) -> Residual:
    layer = block.attention
    x, h = stream.normed(block.norm1, layer.relative_position(*geometry), layer.position)
    if film is not None:
        h = film.of_attention(h)
    a = layer(Normed(x, h), *geometry)
    # With gradients the feed-forward runs at once, and leaves its sum to the kernel that comes next. Without them
    # nothing of it is kept, so it goes by rows: of many slots the hidden layer, 4 C wide, is never there for all.
    if torch.is_grad_enabled():
        x, normed = Residual(x, a).normed(block.norm2)
        if film is not None:
            normed = film.of_feed_forward(normed)
        return Residual(x, feed_forward(block.swiglu, normed))

    def of_rows(x: Tensor, a: Tensor, *film: Tensor) -> tuple[Tensor, Tensor]:
        x, normed = Residual(x, Summand(a)).normed(block.norm2)
        return x, block.swiglu(scaled(normed, *film) if film else normed)

    x, a = by_rows(of_rows, x, a.value, *(() if film is None else film.rows_of_feed_forward()))
    return Residual(x, Summand(a))
