"""Whether levels of tokens meet clouds that have them for the first time in an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pointcept_bsa.geometry.single_tree import SingleTree
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.evaluation.anchored import AnchoredModel
from pointcept_bsa.training.evaluation.bounded import BoundedModel
from pointcept_bsa.training.evaluation.evaluation import Record
from pointcept_bsa.training.evaluation.provenance import TrainingPoints


def untrained_levels(
    predict: BoundedModel, trained: TrainingPoints | None, records: Sequence[Record], cfg: Mapping[str, Any]
) -> str | None:
    """A line where a network saw clouds with levels that was trained on clouds without in this run; or None.

    A cloud of at most ``levels_beyond`` slots is computed without the layers that pool the levels, which then stay as
    they began (weight decay makes them smaller).

    Args:
        predict: whose model may have a backbone with levels (BSA-v1m1 with ``near``).
        trained: points of the clouds of the training; None: not known, nothing is said.
        records: of the samples evaluated.
        cfg: of the run; ``pad_clouds`` are slots of the training.
    """
    model = unwrap(predict.model)
    (first, *_) = getattr(model, "members", (model,))
    tree = getattr(getattr(first, "backbone", None), "tree", None)
    levels = tree.levels if isinstance(tree, SingleTree) else None
    if trained is None or tree is None or levels is None or not records:
        return None
    seen = max(seen_at_once(predict, record["points"]) for record in records)
    padded = max(tree.ball_size, cfg.get("pad_clouds") or 0)
    if levels.divide((_slots(trained.max, padded),)) or not levels.divide((_slots(seen, tree.ball_size),)):
        return None
    return (
        f"Levels of tokens are NOT TRAINED in this run: up to {seen:,} points at once have levels in this evaluation, "
        f"clouds of the training, of up to {trained.max:,} points, none; train with less of model.backbone.near and "
        "levels_beyond, or predict in pieces (test_cfg.piece_points='training')"
    )


def seen_at_once(predict: BoundedModel, points: int) -> int:
    """How many points of a cloud of so many see each other: its anchors, or those of its largest piece."""
    if isinstance(predict, AnchoredModel):
        anchors = predict.anchors
        return min(points, sum(anchors.values()) if isinstance(anchors, Mapping) else anchors)
    split = predict.split(points)
    if split is None:
        return points
    return -(-points // split.count) if split.even else split.size


def _slots(points: int, unit: int) -> int:
    return -(-points // unit) * unit
