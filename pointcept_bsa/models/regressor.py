"""Backbone, head, units and losses: the model of every regression task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from pointcept_bsa.backbones.parts import described
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.padding import CloudPadding
from pointcept_bsa.host import LOSSES, MODELS
from pointcept_bsa.layers.anchors import Memory
from pointcept_bsa.layers.cloud_norm import refuse_batch_norms, replace_batch_norms
from pointcept_bsa.models.anchored import anchored, by_rows, counted, features_of_both
from pointcept_bsa.models.heads import predicts_variance
from pointcept_bsa.models.padding import backbone_padding, valid_slots
from pointcept_bsa.models.scalars import scalar_branch, with_scalars
from pointcept_bsa.models.widths import filled
from pointcept_bsa.samples import ANCHORS, SCALARS


@MODELS.register_module("DefaultRegressor")
class DefaultRegressor(nn.Module):
    """Predicts a field on the points of each cloud.

    ``N`` points of ``B`` clouds, ``K`` target channels. The network sees normalised values, people see physical ones.

    Args:
        backbone: config of a backbone: sample -> Point with ``feat`` (N, C) (or (N, C) itself).
        head: config of a head: (N, C) -> (N, K) normalised. Without ``in_channels`` it has the backbone's
            ``out_channels``, where the backbone says them (backbones of Pointcept's own do not).
        normalizer: config of the target normaliser. Without ``channels`` it has the head's ``out_channels``.
        criteria: configs of the losses, which are added up.
        norm: what stands in the place of each BatchNorm of the backbone, whosever it is:
            ``"batch"`` as published; ``"layer"``, ``"cloud"`` and others compute the same in training and evaluation,
            see :func:`.replace_batch_norms`.
        anchor_loss: of batches of anchors and queries (see :mod:`.anchored`), whether the anchors count in the loss,
            too.
        scalars: ``dict(head=..., normalizer=..., criteria=[...])`` of numbers of whole clouds, which are predicted
            beside the field; see :class:`.ScalarBranch`. None: none. From anchors they are those of the anchors alone.
    """

    takes_variance = False  # whether heads of distributions fit
    hands_on = True  # the backbone gets the sample's coordinates and features as they are

    def __init__(
        self,
        backbone: Mapping[str, Any],
        head: Mapping[str, Any],
        normalizer: Mapping[str, Any],
        criteria: Sequence[Mapping[str, Any]],
        norm: str = "batch",
        anchor_loss: bool = True,
        scalars: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        replace_batch_norms(self.backbone, norm)
        self.head = MODELS.build(filled(head, in_channels=getattr(self.backbone, "out_channels", None)))
        given, taken = (
            getattr(m, name, None) for m, name in ((self.backbone, "out_channels"), (self.head, "in_channels"))
        )
        if isinstance(given, int) and isinstance(taken, int) and given != taken:
            raise InputError(f"head.in_channels: got {taken}, wanted {given} as the backbone has features")
        if predicts_variance(self.head) and not self.takes_variance:
            raise InputError(
                f"head.type: {type(self.head).__name__} predicts mean and deviation, {type(self).__name__} takes "
                "values; wanted GaussianRegressor, or another head"
            )
        self.normalizer = MODELS.build(filled(normalizer, channels=getattr(self.head, "out_channels", None)))
        self.criteria = nn.ModuleList(LOSSES.build(c) for c in criteria)
        self.anchor_loss = anchor_loss
        self.scalars = scalar_branch(scalars, taken)

    def forward(self, input_dict: Mapping[str, Any]) -> dict[str, Tensor]:
        """One batch.

        Returns:
            In training ``loss`` (and, with several losses, each of them by its class name): scalars only.
            In evaluation ``pred`` (N, K) in physical units, and ``loss`` if the batch has a ``target``.
            With ``scalars`` also ``scalars_loss``, a part of the loss, and in evaluation ``scalars`` (B, S), physical.

        Raises:
            InputError: a target of another width than the head, or a backbone that does not return all points.
        """
        valid = self.counted(input_dict)
        feat = self.features(input_dict)
        pred = self.normalized(feat)
        target = input_dict.get("target")
        if self.training and target is None:
            raise InputError("target: missing from the batch, wanted (N, K) values to train on")
        out = {} if target is None else self.losses(pred, target, input_dict["offset"], valid=valid)
        if not self.training:
            out["pred"] = self.normalizer.denormalize(pred)
        return with_scalars(out, self.scalars, feat, input_dict, self.training)

    def predict(self, input_dict: Mapping[str, Any]) -> Tensor:
        """Normalised prediction (N, K), in single precision."""
        return self.normalized(self.features(input_dict))

    def normalized(self, feat: Tensor) -> Tensor:
        """The same of features (N, C)."""
        pred = self.head(feat)
        return pred.float() if pred.itemsize < 4 else pred

    def counted(self, input_dict: Mapping[str, Any]) -> Tensor | None:
        """(N,) False for rows that do not count in the loss; None where all do."""
        valid = valid_slots(input_dict, self.training)
        return counted(input_dict, self.anchor_loss) if valid is None else valid

    def encode_anchors(self, input_dict: Mapping[str, Any]) -> Memory:
        """Encode the points of one cloud or several; :meth:`decode` then predicts anywhere.

        Raises:
            InputError: a backbone that has no way for queries.
        """
        return anchored(self.backbone).encode_anchors(input_dict)

    def scalars_of(self, memory: Memory) -> dict[str, Tensor]:
        """``scalars`` (B, S) of the clouds whose anchors are remembered, physical units; nothing of a model without."""
        if self.scalars is None:
            return {}
        assert memory.feat is not None
        return {SCALARS: self.scalars(memory.feat, {"offset": memory.offset}, None, False)[1]}

    def decode(self, memory: Memory, input_dict: Mapping[str, Any], rows: int | None = None) -> dict[str, Tensor]:
        """The outputs of evaluation without ``loss``, for queries of one cloud; of each query whatever the others are.

        ``rows``: how many pass through the network together, see :func:`.by_rows`.
        """
        network = anchored(self.backbone)
        return by_rows(lambda queries: self.outputs(network.decode(memory, queries)), input_dict, rows)

    def outputs(self, feat: Tensor) -> dict[str, Tensor]:
        """What evaluation makes of features (N, C)."""
        return {"pred": self.normalizer.denormalize(self.normalized(feat))}

    def features(self, input_dict: Mapping[str, Any]) -> Tensor:
        """Features (N, C) of the backbone, of all points."""
        points = len(input_dict["coord"])
        if ANCHORS in input_dict:
            return features_of_both(anchored(self.backbone), input_dict)
        encoded = self.backbone(input_dict)
        feat = encoded["feat"] if isinstance(encoded, Mapping) else encoded
        if feat.shape[0] != points:
            raise InputError(f"backbone: returned features of {feat.shape[0]} points, wanted all {points}")
        return feat

    def check_shares_clouds(self) -> None:
        """Raise InputError unless backbone, norms and losses go with parts of clouds (``context_parallel``)."""
        for module in (self.backbone, *self.losses_of_points()):
            if not getattr(module, "shares_clouds", False):
                raise InputError(f"context_parallel: {described(module)} takes whole clouds, wanted context_parallel=1")
        refuse_batch_norms(self.backbone)

    def losses_of_points(self) -> Iterable[nn.Module]:
        """All criteria whose values are taken over the points of clouds."""
        return self.criteria

    def padding(self, unit: int) -> CloudPadding:
        """What lays training samples into slots, a multiple of ``unit`` of them. Raises InputError if nothing does."""
        return backbone_padding(self.backbone, self.criteria, unit)

    def losses(
        self,
        pred: Tensor,
        target: Tensor,
        offset: Tensor,
        variance: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The total ``loss`` and, if there are several, its parts.

        Criteria that say so (``takes_variance``) are given the normalised ``variance`` (N, K) too, and all of them
        ``valid`` (N,) where the batch is padded.
        """
        if target.shape != pred.shape:
            raise InputError(
                f"target: got {target.shape[-1]} channels, the head has {pred.shape[-1]}; "
                "wanted head.out_channels (and normalizer.channels) equal to the targets of the data set"
            )
        normalized, physical = self.normalizer.normalize(target), None
        parts = {}
        masks = {} if valid is None else {"valid": valid}
        for criterion in self.criteria:
            if getattr(criterion, "physical", False):
                physical = self.normalizer.denormalize(pred) if physical is None else physical
                value = criterion(physical, target, offset, **masks)
            elif getattr(criterion, "takes_variance", False):
                value = criterion(pred, normalized, offset, variance, **masks)
            else:
                value = criterion(pred, normalized, offset, **masks)
            parts[type(criterion).__name__] = value
        total = sum(parts.values())
        return {"loss": total} if len(parts) == 1 else {"loss": total, **parts}
