"""What a process sends in a train step of a network, by the formulas of :mod:`pointcept_bsa.distributed.formulas`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from pointcept_bsa.analysis.benchmark.bandwidth import ALL_GATHER, ALL_TO_ALL
from pointcept_bsa.analysis.benchmark.inputs import make_batch
from pointcept_bsa.backbones.bsa import BSATransformer
from pointcept_bsa.backbones.full_attention import FullAttentionTransformer
from pointcept_bsa.distributed import formulas
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.part_assignment import moving_shares, pieces_of_cloud
from pointcept_bsa.geometry.part_plan import cuts_of, nodes_split_together
from pointcept_bsa.geometry.token_part import multiple_of_parts, shared_level
from pointcept_bsa.geometry.tree_plan import num_slots
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention

SAMPLE, SAMPLE_BALL, SAMPLE_BLOCK = 2**17, 16, 8  # of the cloud whose rows are counted: their share is about that of
# a cloud of any number of points


@dataclass(frozen=True)
class Load:
    """Bytes of one kind that a process sends in a train step, in so many calls of a collective."""

    collective: str
    calls: float
    size: float


@dataclass(frozen=True)
class Clouds:
    """A batch that R processes share: ``clouds`` of so many points, ``size`` bytes a number of keys and values."""

    points: int
    clouds: int
    processes: int
    size: int


def loads(model: Any, batch: Clouds, blocks_a_slot: float = 0.0) -> dict[str, Load] | None:
    """By kind, both directions together; None for a network without formulas.

    Args:
        model: with a backbone.
        batch: what it is trained on.
        blocks_a_slot: blocks of other processes that are fetched a layer, over the own slots, as measured.
    """
    backbone, parameters = model.backbone, sum(p.numel() for p in model.parameters() if p.requires_grad)
    if isinstance(backbone, BSATransformer):
        found = _of_bsa(backbone, batch, blocks_a_slot)
    elif isinstance(backbone, FullAttentionTransformer):
        found = _of_full_attention(backbone, batch)
    else:
        return None
    return found | {"gradients": Load(ALL_GATHER, 2, formulas.gradients(parameters, batch.processes))}


def _of_full_attention(backbone: FullAttentionTransformer, batch: Clouds) -> dict[str, Load]:
    depth, points = len(backbone.blocks), batch.clouds * math.ceil(batch.points / batch.processes)
    size = depth * formulas.keys(points, backbone.out_channels, batch.size, batch.processes)
    sends = 1 + _again(backbone.blocks[0]) + 1
    return {
        "keys": Load(ALL_GATHER, sends * depth, sends * size),
        "numbers": Load(ALL_GATHER, 1, formulas.numbers(batch.clouds, batch.processes)),
    }


def _of_bsa(backbone: BSATransformer, batch: Clouds, blocks_a_slot: float) -> dict[str, Load]:
    tree, parts, channels, b = backbone.tree, batch.processes, backbone.out_channels, batch.size
    depth, block = len(backbone.blocks), tree.block_size
    slots = num_slots(batch.points, tree.ball_size, "ball")
    levels = tree.levels if tree.levels is not None and tree.levels.divide((slots,)) else None
    level = 0 if levels is None else shared_level((slots,), parts, tree.ball_size, levels)
    multiple = tree.ball_size if levels is None else multiple_of_parts(level, tree.ball_size, levels)
    own = batch.clouds * int(np.diff(cuts_of(slots, parts, multiple)).max())
    forward = depth * (1 + _again(backbone.blocks[0]))
    if levels is None or level == 0:
        name = "coarse" if levels is None else "tokens"
        top, below = formulas.coarse(math.ceil(own / block), channels, b, parts), []
    else:
        rows = [math.ceil(own / levels.token(j)) for j in range(level + 1)]
        name, top, below = "tokens", formulas.tokens(rows[-1], channels, b, parts), rows[:-1]
    found = {name: Load(ALL_GATHER, forward + depth, (forward + depth) * top)}
    if below:
        size = forward * formulas.descent(below, channels, b, parts)
        found["descent"] = Load(ALL_GATHER, forward * len(below), size)
    fetched = blocks_a_slot * own
    size = (forward + depth) * formulas.selected(fetched, block, channels, b)
    size += forward * formulas.marks((parts - 1) * math.ceil(own / block))
    found["selected"] = Load(ALL_TO_ALL, 2 * forward + depth, size)
    away = own * (parts - 1) / parts  # rows of points that come in any order
    found |= _of_trees(backbone, batch, slots, multiple, own, away)
    pieces = batch.clouds * len(pieces_of_cloud(slots, parts, multiple)) if tree.rotate else 0
    integers = formulas.tree_numbers(batch.clouds, pieces, parts)
    found["numbers"] = Load(ALL_GATHER, len(integers), sum(formulas.numbers(n, parts) for n in integers))
    return found


def _of_trees(
    backbone: BSATransformer, batch: Clouds, slots: int, multiple: int, own: int, away: float
) -> dict[str, Load]:
    tree, parts, channels, d = backbone.tree, batch.processes, backbone.out_channels, backbone.dimensionality
    trees, lengths = 1 + bool(tree.rotate), (batch.points,) * batch.clouds
    nodes = nodes_split_together(lengths, tree.ball_size, tree.block_size, parts, multiple, trees)
    size = 2 * formulas.features(away, away, channels) + formulas.tree(away, d) + formulas.split(nodes, d, parts)
    if not tree.rotate:
        return {"tree": Load(ALL_TO_ALL, 5, size)}
    pieces = len(pieces_of_cloud(slots, parts, multiple)) // parts
    moving = own * moving_share_of_ellipsoids(parts, pieces, d)
    size += formulas.rotated_tree(away, away, away, moving, d)
    turns = 2 * _turns(len(backbone.blocks), backbone.blocks.skip_every)
    rotation = turns * formulas.rotation(moving, channels) + formulas.positions(moving, d)
    return {"tree": Load(ALL_TO_ALL, 8, size), "rotation": Load(ALL_TO_ALL, turns + 1, rotation)}


def _turns(depth: int, skip_every: int) -> int:
    """How often rows go from the order of one tree to that of the other in a forward pass."""
    skips = range(skip_every - 1, depth, skip_every) if skip_every else ()
    return 2 * (depth // 2) + 2 * sum(i % 2 for i in skips)


def _again(block: Any) -> int:
    """How often a block sends what its forward pass sends once more, for the backward pass."""
    return int(bool(block.recompute))


@lru_cache(maxsize=32)
def moving_share_of_ellipsoids(parts: int, pieces: int, dimensionality: int) -> float:
    """The most of its rows that a process sends to others between the two trees of a cloud as the benchmark makes it,
    with so many pieces of the rotated tree a process; counted, not measured."""
    target = _target_of_sample(dimensionality)
    return moving_shares(target, SAMPLE, parts, SAMPLE // (parts * pieces))[1]


@lru_cache(maxsize=2)
def _target_of_sample(dimensionality: int) -> np.ndarray:
    """Where each slot of the main tree lies in the rotated one."""
    coord = make_batch(SAMPLE, 1, (dimensionality, 1, 1), 0, torch.device("cpu"))["coord"]
    tree = BallTree.build(coord, (SAMPLE,), SAMPLE_BALL, SAMPLE_BLOCK, rotate=45.0)
    assert tree.rotation_inverse is not None
    return tree.rotation_inverse.numpy()


def by_kind(sent: Mapping[str, float]) -> dict[str, float]:
    """Bytes by the kinds of :func:`loads`: gradients, marks and requests with what they belong to."""
    found: dict[str, float] = {}
    for name, size in sent.items():
        kind = name.partition(" (")[0]
        found[kind] = found.get(kind, 0) + size
    return found


def formulas_of(model: Any, sent: Mapping[str, float], batch: Clouds) -> dict[str, float]:
    """Bytes by kind as the formulas have them for what was measured, but for what is sent by need; empty without."""
    kinds, measured = loads(model, batch) or {}, by_kind(sent)
    return {kind: load.size for kind, load in kinds.items() if kind in measured and kind != "selected"}


def blocks_a_slot(model: Any, sent: Mapping[str, float], batch: Clouds) -> float:
    """Blocks of other processes that were fetched a layer, over the own slots, from measured bytes."""
    layers = [layer for layer in model.modules() if isinstance(layer, BallSparseAttention)]
    if not layers or "selected" not in sent:
        return 0.0
    block, channels = layers[0].block_size, model.backbone.out_channels
    forward = len(layers) * (1 + _again(model.backbone.blocks[0]))
    blocks = sent["selected"] / forward / formulas.selected(1, block, channels, batch.size)
    return blocks * batch.processes / (batch.points * batch.clouds)
