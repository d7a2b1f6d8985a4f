"""Sizes that are no counts are refused where a layer is made, in one line that names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from pointcept_bsa.layers.attention import BallAttention, FullAttention, check_counts
from pointcept_bsa.layers.ball_pooling import BallPooling, BallUnpooling
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.multi_scale_attention import MultiScaleAttention
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.perceiver import SelfAttention
from pointcept_bsa.layers.point_embedding import PointEmbedding
from pointcept_bsa.layers.prenorm import PrenormBlock
from pointcept_bsa.layers.slice_attention import PhysicsAttention
from pointcept_bsa.layers.transformer import BallTreeStack, TransformerBlock

BSA = dict(ball_size=16, block_size=4, group_size=4, topk=2)
LEVELS = dict(near=16, fan=2, beam=4)
MAKE: dict[str, Callable[..., nn.Module]] = {
    "ball": lambda num_heads=2: BallAttention(8, num_heads),
    "full": lambda num_heads=2: FullAttention(8, num_heads),
    "multi-scale": lambda num_heads=2: MultiScaleAttention(8, num_heads),
    "self": lambda num_heads=2: SelfAttention(8, num_heads),
    "physics": lambda num_heads=2: PhysicsAttention(8, num_heads, 4),
    "bsa": lambda num_heads=2, **more: BallSparseAttention(8, num_heads, **BSA | more),
    "levels": lambda **more: BallSparseAttention(8, 2, **BSA | LEVELS | more),
    "nsa": lambda **more: NativeSparseAttention(8, **dict(num_heads=2, num_kv_heads=1, compressed_ball_size=4) | more),
    "block": lambda mlp_ratio=2: TransformerBlock(FullAttention(8, 2), 8, mlp_ratio),
    "pre-norm block": lambda mlp_ratio=2: PrenormBlock(nn.Identity(), 8, mlp_ratio),
    "embedding": lambda num_neighbors=4: PointEmbedding(3, 8, num_neighbors=num_neighbors),
    "pooling": lambda strides=2: BallPooling(8, 8, strides),
    "unpooling": lambda strides=2: BallUnpooling(8, 8, strides),
}
COUNTS = {
    **dict.fromkeys(("ball", "full", "multi-scale", "self", "physics"), ("num_heads",)),
    "bsa": ("num_heads", "ball_size", "block_size", "group_size", "topk"),
    "levels": ("near", "fan", "beam"),
    "nsa": ("num_heads", "num_kv_heads", "compressed_ball_size", "num_selected"),
    **dict.fromkeys(("block", "pre-norm block"), ("mlp_ratio",)),
    "embedding": ("num_neighbors",),
    **dict.fromkeys(("pooling", "unpooling"), ("strides",)),
}


@pytest.mark.parametrize("wrong", [0, -2, 2.0, 2.5, "2", True, (2,)], ids=repr)
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in COUNTS.items() for name in names])
def test_what_is_no_count_is_refused(kind, name, wrong):
    MAKE[kind]()
    with pytest.raises(ValueError) as told:
        MAKE[kind](**{name: wrong})
    assert str(told.value) == f"{name}: got {wrong!r}, wanted an integer of at least 1"


@pytest.mark.parametrize("wrong", [-1, 1.0, 1.5, "1", True], ids=repr)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda n: BallTreeStack([], rotate=True, skip_every=n), "skip_every"),
        (lambda n: PointEmbedding(3, 8, mp_steps=n), "mp_steps"),
    ],
)
def test_what_may_be_zero_is_a_count_else(make: Callable[[Any], nn.Module], name, wrong):
    make(0)
    make(2)
    with pytest.raises(ValueError) as told:
        make(wrong)
    assert str(told.value) == f"{name}: got {wrong!r}, wanted an integer of at least 0"


def test_heads_divide_the_channels():
    for kind in ("ball", "full", "multi-scale", "self", "physics", "bsa"):
        with pytest.raises(ValueError, match="num_heads: got 3, wanted a divisor of the 8 channels"):
            MAKE[kind](num_heads=3)
    with pytest.raises(ValueError, match="num_kv_heads: got 2, wanted a divisor of num_heads 3"):
        MAKE["nsa"](num_heads=3, num_kv_heads=2)
    with pytest.raises(ValueError, match=r"channels: got 8.0, wanted an integer of at least 1"):
        FullAttention(8.0, 2)
    check_counts(1, one=1, two=2)
    with pytest.raises(ValueError, match="two: got 2, wanted an integer of at least 3"):
        check_counts(3, three=3, two=2)
