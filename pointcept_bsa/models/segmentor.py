"""Backbone, linear head and losses: the model of segmentation, registered where the host has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.padding import CloudPadding
from pointcept_bsa.host import LOSSES, MODELS
from pointcept_bsa.layers.cloud_norm import replace_batch_norms
from pointcept_bsa.models.padding import backbone_padding, valid_slots


class DefaultSegmentorV2(nn.Module):
    """Labels the points of each cloud; Pointcept's arguments, outputs and checkpoint keys.

    ``N`` points of ``B`` clouds, ``K`` classes.

    Args:
        num_classes: K; 0 for no head: the features are the logits.
        backbone_out_channels: channels of the features. Those of a backbone that returns pooled points (with
            ``pooling_parent`` and ``pooling_inverse``) are led back to the points, each level's beside those of the
            coarser ones, and count together.
        backbone: config of a backbone: sample -> Point with ``feat`` (N, C) (or (N, C) itself).
        criteria: configs of the losses, which are added up.
        freeze_backbone: train the head only.
        norm: see :class:`.DefaultRegressor`. (Pointcept's own segmentor has no such argument.)

    Raises:
        InputError: no criteria.
    """

    hands_on = True  # the backbone gets the sample's coordinates and features as they are

    def __init__(
        self,
        num_classes: int,
        backbone_out_channels: int,
        backbone: Mapping[str, Any],
        criteria: Sequence[Mapping[str, Any]],
        freeze_backbone: bool = False,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if not criteria:
            raise InputError("criteria: got none, wanted at least one loss")
        self.seg_head = nn.Linear(backbone_out_channels, num_classes) if num_classes > 0 else nn.Identity()
        self.backbone = MODELS.build(backbone)
        replace_batch_norms(self.backbone, norm)
        self.criteria = nn.ModuleList(LOSSES.build(c) for c in criteria)
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            self.backbone.requires_grad_(False)

    def forward(self, input_dict: Mapping[str, Any]) -> dict[str, Tensor]:
        """One batch; its labels are ``segment`` (N,), integers.

        Returns:
            In training ``loss`` only. In evaluation ``seg_logits`` (N, K), and ``loss`` if the batch has a ``segment``.

        Raises:
            InputError: no ``segment`` to train on, or one label a point missing.
        """
        valid = valid_slots(input_dict, self.training)
        logits = self.seg_head(features_of_all_points(self.backbone(input_dict)))
        segment = input_dict.get("segment")
        if self.training and segment is None:
            raise InputError("segment: missing from the batch, wanted (N,) labels to train on")
        out = {} if segment is None else {"loss": self.loss(logits, segment, valid)}
        if not self.training:
            out["seg_logits"] = logits
        return out

    def padding(self, unit: int) -> CloudPadding:
        """What lays training samples into slots, a multiple of ``unit`` of them. Raises InputError if nothing does."""
        return backbone_padding(self.backbone, self.criteria, unit)

    def loss(self, logits: Tensor, segment: Tensor, valid: Tensor | None = None) -> Tensor:
        """Sum of the criteria; those ignore the labels of rows that are not ``valid`` (N,)."""
        if segment.shape != logits.shape[:1]:
            raise InputError(f"segment: got shape {tuple(segment.shape)}, wanted ({logits.shape[0]},), a label a point")
        values = [criterion(logits, _labels(segment, valid, criterion)) for criterion in self.criteria]
        return sum(values[1:], values[0])


def _labels(segment: Tensor, valid: Tensor | None, criterion: nn.Module) -> Tensor:
    return segment if valid is None else segment.masked_fill(~valid, criterion.ignore_index)  # type: ignore[arg-type]


def features_of_all_points(encoded: Any) -> Tensor:
    """Features (N, C) of what a backbone returned; pooled ones beside those of the points they were pooled from."""
    if not isinstance(encoded, Mapping):
        return encoded
    feat = encoded["feat"]
    while "pooling_parent" in encoded:
        inverse, encoded = encoded["pooling_inverse"], encoded["pooling_parent"]
        feat = torch.cat([encoded["feat"], feat[inverse]], dim=1)
    return feat


if "DefaultSegmentorV2" not in MODELS._module_dict:
    MODELS.register_module("DefaultSegmentorV2")(DefaultSegmentorV2)
