"""Whether levels of tokens meet clouds that have them for the first time in an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from pointcept_bsa.geometry.single_tree import SingleTree
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.evaluation.anchored import AnchoredModel
from pointcept_bsa.training.evaluation.bounded import BoundedModel
from pointcept_bsa.training.evaluation.evaluation import Record
from pointcept_bsa.training.evaluation.provenance import TrainingPoints


def untrained_levels(predict: BoundedModel, trained: TrainingPoints | None, records: Sequence[Record]) -> str | None:
    """A line where clouds with levels were predicted whole by a network that was trained on clouds without; or None.

    A cloud of at most ``levels_beyond`` slots is computed without the layers that pool the levels, which then stay as
    they began (weight decay makes them smaller).

    Args:
        predict: whose model may have a backbone with levels (BSA-v1m1 with ``near``).
        trained: points of the clouds of the training; None: not known, nothing is said.
        records: of the samples evaluated.
    """
    tree = getattr(getattr(unwrap(predict.model), "backbone", None), "tree", None)
    if trained is None or not isinstance(tree, SingleTree) or tree.levels is None:
        return None
    if isinstance(predict, AnchoredModel):  # which lays out anchors alone
        return None
    slots = -(-trained.max // tree.ball_size) * tree.ball_size
    whole = [record["points"] for record in records if "pieces" not in record]
    if tree.levels.divide((slots,)) or not whole or not tree.levels.divide((max(whole),)):
        return None
    return (
        f"Levels of tokens are NOT TRAINED: clouds of up to {max(whole):,} points have levels, those of the training, "
        f"of up to {trained.max:,} points, have none; train with model.backbone.levels_beyond of less, or predict in "
        "pieces (test_cfg.piece_points='training')"
    )
