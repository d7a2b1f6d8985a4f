"""Padded clouds in a model: who takes them, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.padding import VALID, CloudPadding


def backbone_padding(backbone: nn.Module, criteria: Iterable[nn.Module], unit: int) -> CloudPadding:
    """What lays samples into the slots of a backbone, see :meth:`.Backbone.padding`.

    Raises:
        InputError: a backbone or a loss that takes points only, or a unit that does not fit the backbone.
    """
    if not hasattr(backbone, "padding"):
        raise InputError(f"pad_clouds: {type(backbone).__name__} takes no padded clouds, wanted pad_clouds=None")
    for criterion in criteria:
        if not takes_padding(criterion):
            raise InputError(
                f"pad_clouds: {type(criterion).__name__} would count empty slots, wanted pad_clouds=None or a loss "
                "with takes_valid (of labels: with an integer ignore_index)"
            )
    padding: CloudPadding = backbone.padding(unit)  # type: ignore[operator]
    return padding


def takes_padding(criterion: nn.Module) -> bool:
    """Whether a loss can leave out empty slots: by a mask, or by a label that it ignores."""
    return bool(getattr(criterion, "takes_valid", False)) or isinstance(getattr(criterion, "ignore_index", None), int)


def valid_slots(batch: Mapping[str, Any], training: bool) -> Tensor | None:
    """(S,) True where a slot of a padded batch holds a point; None for a batch without padding.

    Raises:
        InputError: a padded batch in evaluation, whose outputs would be of slots and not of points.
    """
    valid: Tensor | None = batch.get(VALID)
    if valid is not None and not training:
        raise InputError(f"{VALID}: got a padded batch in evaluation, wanted points alone: pad_clouds is for training")
    return valid
