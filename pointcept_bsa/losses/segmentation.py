"""Losses for segmentation, registered where the host has none. ``N`` points of all clouds, ``C`` classes.

Names, arguments and values are Pointcept's, so that a config serves both hosts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import LOSSES

REDUCTIONS = ("mean", "sum")


class CrossEntropyLoss(nn.Module):
    """Cross entropy of logits (N, C) and labels (N,), in single precision.

    Args:
        weight: weight of each class, C numbers.
        reduction: "mean" (weighed, over the points that count; NaN, as in torch, where none does) or "sum".
        label_smoothing: share of the label spread evenly over all classes, from 0 to 1.
        loss_weight: factor.
        ignore_index: label of points that do not count.

    Raises:
        InputError: an unknown reduction, a smoothing outside 0 to 1.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Sequence[float] | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            hint = nearest(str(reduction), REDUCTIONS)
            raise InputError(f"reduction: got {reduction!r}, wanted one of {list(REDUCTIONS)}{hint}")
        if not 0 <= label_smoothing <= 1:
            raise InputError(f"label_smoothing: got {label_smoothing!r}, wanted a number from 0 to 1")
        values = None if weight is None else torch.tensor(weight, dtype=torch.float32)
        self.register_buffer("weight", values, persistent=False)  # checkpoints hold no losses, as Pointcept's
        self.reduction = reduction
        self.label_smoothing = label_smoothing
        self.loss_weight = loss_weight
        self.ignore_index = ignore_index

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Scalar."""
        value = F.cross_entropy(
            pred.float(),
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
        return self.loss_weight * value


class LovaszLoss(nn.Module):
    """Lovász-Softmax loss of logits (N, C) and labels (N,) (Berman et al. 2018, arXiv 1705.08790, eq. 11 and 12).

    The Jaccard loss of a class, 1 - intersection over union, is a function of the set of its wrong points; here is its
    convex extension to errors between 0 and 1, averaged over the classes that occur in the labels. A batch without
    any labelled point gives 0.

    Args:
        mode: "multiclass", the only one of Pointcept's modes there is here.
        ignore_index: label of points that do not count; None for no such label.
        loss_weight: factor.

    Raises:
        InputError: another mode.
    """

    def __init__(self, mode: str = "multiclass", ignore_index: int | None = -1, loss_weight: float = 1.0) -> None:
        super().__init__()
        if mode != "multiclass":
            raise InputError(f"mode: got {mode!r}, wanted 'multiclass'")
        self.ignore_index = ignore_index
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Scalar."""
        valid = torch.ones_like(target, dtype=torch.bool) if self.ignore_index is None else target != self.ignore_index
        return self.loss_weight * lovasz_softmax(pred.float().softmax(1), target, valid)


def lovasz_softmax(prob: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean over the classes that occur of the Lovász extension of their Jaccard loss.

    Points that are not ``valid`` get error 0: they come last among the sorted errors and add nothing, so that none has
    to be taken out, for which a GPU would wait.

    Args:
        prob: (N, C) probabilities.
        target: (N,) labels, of any value where not valid.
        valid: (N,) bool.
    """
    classes = torch.arange(prob.shape[1], device=prob.device)
    foreground = ((target[:, None] == classes) & valid[:, None]).to(prob.dtype)  # (N, C)
    error = (foreground - prob).abs() * valid[:, None]
    error, order = error.sort(dim=0, descending=True)
    jaccard = jaccard_loss_of_first(foreground.gather(0, order))
    gradient = torch.diff(jaccard, dim=0, prepend=jaccard.new_zeros(1, len(classes)))
    occurs = foreground.any(0)
    return ((error * gradient).sum(0) * occurs).sum() / occurs.sum().clamp(min=1)


def jaccard_loss_of_first(foreground: Tensor) -> Tensor:
    """Row i, from 0: the Jaccard loss of each class if its first i + 1 points are wrong and all others right.

    Args:
        foreground: (N, C), 1 where the point is of the class, else 0.
    """
    total = foreground.sum(0)
    intersection = total - foreground.cumsum(0)
    union = total + (1 - foreground).cumsum(0)
    return 1 - intersection / union


for _loss in (CrossEntropyLoss, LovaszLoss):
    if LOSSES.get(_loss.__name__) is None:
        LOSSES.register_module(_loss.__name__)(_loss)
