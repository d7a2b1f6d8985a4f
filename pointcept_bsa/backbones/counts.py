"""How small the numbers may be that a backbone is built with: depth=-1 is a mistake, not a network without blocks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from pointcept_bsa.errors import InputError

NONE_IS_FINE: tuple[str, ...] = (
    "skip_every",
    "mp_steps",
    "geometry_depth",
    "encoder_depth",
    "mlp_depth",
    "domain_depth",
)
NONE_IS_FINE += ("enc_depths", "dec_depths", "geometry_domain")
ONE: tuple[str, ...] = (
    "in_channels",
    "out_channels",
    "channels",
    "depth",
    "num_heads",
    "num_kv_heads",
    "mlp_ratio",
    "dimensionality",
)
ONE += ("ball_size", "block_size", "topk", "group_size", "near", "fan", "beam", "levels_beyond")
ONE += ("condition", "num_neighbors")
ONE += ("local_ball_size", "compressed_ball_size", "num_selected", "num_supernodes", "num_anchors", "num_latents")
ONE += ("num_slices", "domains", "ball_sizes", "strides", "enc_num_heads", "dec_num_heads", "point_channels")
ONE += ("cloud_channels", "stride", "enc_channels", "dec_channels", "enc_num_head", "dec_num_head")
ONE += ("enc_patch_size", "dec_patch_size", "serialization_depth")
LEAST = dict.fromkeys(NONE_IS_FINE, 0) | dict.fromkeys(ONE, 1)


def with_checked_counts(constructor: Callable[..., None]) -> Callable[..., None]:
    """A constructor that raises InputError for counts that are too small, alone or in a list."""
    signature = inspect.signature(constructor)

    @functools.wraps(constructor)
    def construct(self: Any, *values: Any, **arguments: Any) -> None:
        try:
            given = signature.bind(self, *values, **arguments).arguments
        except TypeError:  # its own words
            given = {}
        for name, value in {**given, **given.get("options", {})}.items():
            check_count(name, value)
        constructor(self, *values, **arguments)

    return construct


def check_count(name: str, value: Any) -> None:
    """Raise InputError where ``value``, a number or a list of them, is below the least of an argument ``name``."""
    least = LEAST.get(name)
    numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if least is not None and any(isinstance(each, int | float) and each < least for each in numbers):
        what = "an integer" if numbers == (value,) else "integers"
        raise InputError(f"{name}: got {value!r}, wanted {what} of at least {least}")
