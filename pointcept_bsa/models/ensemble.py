"""Several trained models of the same field as one that knows where they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.models.gaussian import SMALLEST_STD, mixture


class Ensemble(nn.Module):
    """Mean of the members' predictions, and the variance of their mixture (Lakshminarayanan et al. 2017).

    ``N`` points, ``K`` target channels. In equal parts: see :func:`.mixture`; members without a variance of their own
    count as points. The deviation is at least 1e-6 in normalised units, as a Gaussian head's.

    Args:
        members: models in evaluation mode with ``pred`` (N, K) and maybe ``variance`` (N, K), all in physical units,
            and with a ``normalizer``.
    """

    predicts_variance = True

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def normalizer(self) -> Any:
        """The target's statistics, the same in all members."""
        return self.members[0].normalizer

    @property
    def domains(self) -> Mapping[str, int]:
        """Channels of each domain, the same in all members; none of models without domains."""
        return getattr(self.members[0], "domains", None) or {}

    def forward(self, input_dict: Mapping[str, Any]) -> dict[str, Tensor]:
        """``pred``, ``variance`` (N, K), physical units; means of what else all members say (``loss``, ``scalars``)."""
        return self.mixed([member(input_dict) for member in self.members])

    def encode_anchors(self, input_dict: Mapping[str, Any]) -> list[Any]:
        """What each member remembers of the anchors; raises InputError as :meth:`.DefaultRegressor.encode_anchors`."""
        return [member.encode_anchors(input_dict) for member in self.members]  # type: ignore[operator]

    def decode(
        self, memory: Sequence[Any], input_dict: Mapping[str, Any], rows: int | None = None
    ) -> dict[str, Tensor]:
        """The outputs for queries, see :meth:`.DefaultRegressor.decode`."""
        pairs = zip(self.members, memory, strict=True)
        return self.mixed([member.decode(own, input_dict, rows) for member, own in pairs])  # type: ignore[operator]

    def scalars_of(self, memory: Sequence[Any]) -> dict[str, Tensor]:
        """``scalars`` (B, S), the mean of those of the members, see :meth:`.DefaultRegressor.scalars_of`."""
        pairs = zip(self.members, memory, strict=True)
        found = [member.scalars_of(own) for member, own in pairs]  # type: ignore[operator]
        return {key: torch.stack([each[key] for each in found]).mean(0) for key in found[0]}

    def mixed(self, outputs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """One output of those of the members."""
        keys = [key for key in outputs[0] if all(key in output for output in outputs)]
        stacked = {key: torch.stack([output[key] for output in outputs]) for key in keys}
        out = {key: values.mean(0) for key, values in stacked.items()}
        variances = [output.get("variance", torch.zeros_like(output["pred"])) for output in outputs]
        out["pred"], variance = mixture(stacked["pred"], torch.stack(variances))
        out["variance"] = variance.clamp_min((SMALLEST_STD * self.normalizer.std.double()).square())
        return out
