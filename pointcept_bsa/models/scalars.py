"""Numbers of whole clouds, as drag and lift, from the features of their points.

``N`` points of ``B`` clouds, ``C`` channels, ``S`` scalars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import LOSSES, MODELS
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.metrics import cloud_mean
from pointcept_bsa.models.anchored import anchors_alone
from pointcept_bsa.models.padding import valid_slots
from pointcept_bsa.models.widths import filled
from pointcept_bsa.samples import ANCHORS, SCALARS


@MODELS.register_module("ScalarHead")
class ScalarHead(nn.Module):
    """Linear, GELU, mean over the points of a cloud, Linear: (N, in_channels) -> (B, out_channels).

    Args:
        in_channels: the backbone's ``out_channels``.
        out_channels: S.
        hidden_channels: width between the two maps; default ``in_channels``.
    """

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int | None = None):
        super().__init__()
        hidden_channels = hidden_channels or in_channels
        self.in_channels, self.out_channels = in_channels, out_channels
        self.before = nn.Sequential(Linear(in_channels, hidden_channels), nn.GELU())
        self.after = Linear(hidden_channels, out_channels)

    def forward(self, feat: Tensor, offset: Tensor, valid: Tensor | None = None) -> Tensor:
        """Rows that are not ``valid`` (N,) do not count."""
        h = self.before(feat)
        pred: Tensor = self.after(cloud_mean(h.float() if h.itemsize < 4 else h, offset, valid))
        return pred.float() if pred.itemsize < 4 else pred


class ScalarBranch(nn.Module):
    """Head, target statistics and losses of the scalars of a regressor: its argument ``scalars``.

    Args:
        head: config of a head: (N, C), ``offset`` (B,), ``valid`` -> (B, S) normalised.
        normalizer: config of the normaliser of the scalars. Without ``channels`` it has the head's ``out_channels``.
        criteria: configs of the losses, of (B, S) predictions and targets, all clouds together; they are added up.
        width: C, of a head without ``in_channels``.
    """

    def __init__(
        self,
        head: Mapping[str, Any],
        normalizer: Mapping[str, Any],
        criteria: Sequence[Mapping[str, Any]],
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.head = MODELS.build(filled(head, in_channels=width))
        self.normalizer = MODELS.build(filled(normalizer, channels=getattr(self.head, "out_channels", None)))
        self.criteria = nn.ModuleList(LOSSES.build(c) for c in criteria)

    def forward(
        self, feat: Tensor, batch: Mapping[str, Any], valid: Tensor | None, training: bool
    ) -> tuple[Tensor | None, Tensor]:
        """The loss, None in evaluation without ``scalars`` (B, S) in the batch, and the prediction, physical units.

        Raises:
            InputError: a training batch without scalars, or scalars of another shape.
        """
        pred, target = self.head(feat, batch["offset"], valid), batch.get(SCALARS)
        if target is None and training:
            raise InputError(f"{SCALARS}: missing from the batch, wanted {tuple(pred.shape)}: scalars of the data set")
        if target is not None and target.shape != pred.shape:
            raise InputError(
                f"{SCALARS}: got shape {tuple(target.shape)}, wanted {tuple(pred.shape)} as model.scalars.head has"
            )
        physical = self.normalizer.denormalize(pred)
        return None if target is None else self.loss(pred, physical, target), physical

    def loss(self, pred: Tensor, physical: Tensor, target: Tensor) -> Tensor:
        """Sum of the criteria."""
        normalized = self.normalizer.normalize(target)
        pairs = {True: (physical, target), False: (pred, normalized)}
        values = [criterion(*pairs[bool(getattr(criterion, "physical", False))]) for criterion in self.criteria]
        return sum(values[1:], values[0])


def scalar_branch(config: Mapping[str, Any] | None, width: int | None = None) -> ScalarBranch | None:
    """The branch of the config ``dict(head=..., normalizer=..., criteria=[...])`` on features of ``width`` channels.

    None for none. Raises InputError.
    """
    if config is None:
        return None
    if set(config) != {"head", "normalizer", "criteria"} or not config["criteria"]:
        raise InputError(f"model.scalars: got {sorted(config)}, wanted head, normalizer and at least one of criteria")
    return ScalarBranch(**config, width=width)


def with_scalars(
    out: dict[str, Tensor],
    branch: ScalarBranch | None,
    feat: Tensor,
    batch: Mapping[str, Any],
    training: bool,
) -> dict[str, Tensor]:
    """A regressor's output with what the branch adds: to ``loss``, ``scalars_loss``; in evaluation ``scalars`` (B, S).

    Of a batch of anchors and queries they are predicted from the anchors: those know the cloud, whoever asks.

    Raises:
        InputError: scalars in the batch of a model without a branch, see also :class:`ScalarBranch`.
    """
    if branch is None:
        if SCALARS in batch:
            raise InputError(f"{SCALARS}: got some in the batch, wanted model.scalars to predict them, or none")
        return out
    valid = anchors_alone(batch) if ANCHORS in batch else valid_slots(batch, training)
    loss, pred = branch(feat, batch, valid, training)
    if loss is not None:
        out = out | {"loss": out["loss"] + loss if "loss" in out else loss, "scalars_loss": loss}
    return out if training else out | {SCALARS: pred}
