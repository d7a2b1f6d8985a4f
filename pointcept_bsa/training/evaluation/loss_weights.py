"""What fields of a target weigh in a loss of physical units, where pascals are added to metres a second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

LIGHT = 0.1  # root mean square deviation over that of the heaviest field: below it a field has 1% of a squared error


def outweighed_lines(model: nn.Module, fields: Sequence[tuple[str, int]]) -> list[str]:
    """Return a line for each loss in physical units beside which some of ``fields`` (name, channels) hardly count.

    A field counts by its deviation in its own unit, which the model's target normaliser knows: where a pressure
    deviates by 100 Pa and a shear stress by 1 Pa, a squared error is one of the pressure alone. Domains have losses of
    their own. Nothing is said of a single field, of losses in normalised units, of those that weigh channels.
    """
    deviations = _deviations(model.normalizer.std, fields)  # type: ignore[arg-type]
    lines = []
    for key, domain, criterion in _criteria(model):
        own = {name: value for name, value in deviations.items() if domain is None or name.startswith(f"{domain}/")}
        if not getattr(criterion, "physical", False) or hasattr(criterion, "channel_weights") or len(own) < 2:
            continue
        heaviest = max(own, key=lambda name: own[name])
        light = [name for name in own if own[name] < LIGHT * own[heaviest]]
        if light:
            told = ", ".join(f"{name} {own[name]:.3g}" for name in light)
            lines.append(
                f"{key}: {type(criterion).__name__} is of physical units, in which {heaviest} deviates by "
                f"{own[heaviest]:.3g} and HARDLY COUNT: {told}; {key}.physical=False weighs all fields alike"
            )
    return lines


def _deviations(std: torch.Tensor, fields: Sequence[tuple[str, int]]) -> dict[str, float]:
    """Root mean square over the channels of each field."""
    parts = std.double().split([width for _, width in fields])
    return {name: float(part.square().mean().sqrt()) for (name, _), part in zip(fields, parts, strict=True)}


def _criteria(model: nn.Module) -> Iterator[tuple[str, str | None, nn.Module]]:
    """Each loss of the points with its key in a config and the domain that it is of, None for all points."""
    domains = getattr(model, "domain_criteria", None)
    if domains is None:
        for number, criterion in enumerate(getattr(model, "criteria", ())):
            yield f"model.criteria.{number}", None, criterion
        return
    for name, criteria in domains.items():
        for number, criterion in enumerate(criteria):
            yield f"model.domains.{name}.criteria.{number}", name, criterion
