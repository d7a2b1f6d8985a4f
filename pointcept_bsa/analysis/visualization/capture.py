"""What goes into every attention layer of a network while it looks at one cloud.

``N`` points, ``S`` slots of a layer (points in tree order, padded; at pooled levels several points a slot).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree
from pointcept_bsa.layers.attention import BallAttention, FullAttention
from pointcept_bsa.layers.attention_layer import AttentionLayer
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.fused.residual import Normed
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.transformer import BallTreeStack
from pointcept_bsa.training.evaluation.bounded import evaluation_mode

ATTENTION = (BallSparseAttention, NativeSparseAttention, BallAttention, FullAttention)


@dataclass(frozen=True)
class LayerCall:
    """One attention layer at work.

    Attributes:
        name: of the module in the network.
        module: the attention layer.
        x: (S, C) its input.
        layout: the slots; None for full attention, whose slots are the points.
        centred: (N, d) the positions full attention gets; else None.
        slot: (N,) slot of each point.
        rotated: the layer sees the balls of the rotated tree.
    """

    name: str
    module: nn.Module
    x: Tensor
    layout: BallLayout | None
    centred: Tensor | None
    slot: Tensor
    rotated: bool


@dataclass(frozen=True)
class Capture:
    """All attention layers in the order they ran, and the tree over the points (None without one)."""

    calls: list[LayerCall]
    tree: BallTree | None


@torch.no_grad()
def capture(model: nn.Module, batch: Mapping[str, Any]) -> Capture:
    """Run the model on one cloud and keep the inputs of its attention layers.

    Raises:
        InputError: more than one cloud, or no attention layer that is known here.
    """
    if len(batch["offset"]) != 1:
        raise InputError(f"batch: got {len(batch['offset'])} clouds, wanted one to look at")
    names = {module: name for name, module in model.named_modules()}
    calls: list[LayerCall] = []
    trees: list[BallTree] = []

    def on_stack(module: nn.Module, args: tuple[Any, ...]) -> None:
        trees.append(args[1])

    def on_attention(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        assert isinstance(module, AttentionLayer)
        x, geometry, film = args[0], args[1:], named.get("film")
        if isinstance(x, Normed):
            x = x.before_position(module, *geometry)
        elif film is not None:  # the norm, scaled and shifted by conditions
            position = module.position(module.relative_position(*geometry))
            x = film.of_attention(module.with_position(x, *geometry)) - position
        if isinstance(module, FullAttention):
            slot = torch.arange(len(x), device=x.device)
            calls.append(LayerCall(names[module], module, x=x, layout=None, centred=args[1], slot=slot, rotated=False))
            return
        layout, tree = args[1], trees[-1]
        slot = trees[0].inverse // (len(trees[0].index) // len(x))
        rotated = layout is tree.rotated
        if rotated:
            assert tree.rotation_inverse is not None
            slot = tree.rotation_inverse[slot]
        calls.append(LayerCall(names[module], module, x=x, layout=layout, centred=None, slot=slot, rotated=rotated))

    handles = [m.register_forward_pre_hook(on_stack) for m in model.modules() if isinstance(m, BallTreeStack)]
    handles += [
        m.register_forward_pre_hook(on_attention, with_kwargs=True) for m in model.modules() if isinstance(m, ATTENTION)
    ]
    try:
        with evaluation_mode(model):
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    if not calls:
        wanted = "BSA-v1m1, ErwinNSA-v1m1, Erwin-v1m1 or FullAttention-v1m1"
        raise InputError(f"RUN: its network has no attention layer that can be drawn, wanted {wanted}")
    return Capture(calls, trees[0] if trees else None)


def choose_layer(calls: list[LayerCall], layer: int) -> LayerCall:
    """The layer of that number, from the end if negative. Raises InputError."""
    if not -len(calls) <= layer < len(calls):
        raise InputError(f"--layer {layer}: the network has layers 0 to {len(calls) - 1}")
    return calls[layer]
