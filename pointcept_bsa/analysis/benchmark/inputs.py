"""Synthetic clouds that fit a config's model.

Points lie on the surface of a random ellipsoid in space, or in a square in the plane. Features and targets are smooth
functions of the position, as in data: neighbours are alike, so that learned selections look as they do in use. A
neighbourhood given by a fixed radius has more neighbours the more points there are; one by number has not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.samples import PARAMETERS, to_device

Batch = dict[str, Any]


def input_shape(model: nn.Module, cfg: Mapping[str, Any]) -> tuple[int, int, int]:
    """Space dimensions, feature channels and target channels of a model that is a ``DefaultRegressor``.

    The dimensions are the backbone's ``dimensionality``; a backbone that takes any gets that of the box that
    ``ScaleCoord`` has in the training data's transforms, else 3.
    """
    backbone, normalizer = getattr(model, "backbone", None), getattr(model, "normalizer", None)
    in_channels = getattr(backbone, "in_channels", None)
    if normalizer is None or not isinstance(in_channels, int):
        raise InputError(
            f"model: got {type(model).__name__}, wanted one with a normalizer and a backbone with in_channels, "
            "as DefaultRegressor has"
        )
    dimensionality = getattr(backbone, "dimensionality", None)
    if not isinstance(dimensionality, int):
        transforms = cfg["data"]["train"].get("transform") or []
        boxes = [len(t["min"]) for t in transforms if t.get("type") == "ScaleCoord" and "min" in t]
        dimensionality = boxes[0] if boxes else 3
    return dimensionality, in_channels, len(normalizer.mean)


def make_batch(points: int, clouds: int, shape: tuple[int, int, int], seed: int, device: torch.device) -> Batch:
    """``clouds`` clouds of ``points`` points each; another ``seed``, other clouds.

    Returns:
        ``coord`` (N, d) within [-1, 1], ``feat`` (N, C), ``target`` (N, K) of mean 0 and deviation 1 over all seeds,
        ``offset`` (B,), ``grid_coord`` (N, d) cells so small that few points share one.
    """
    dimensionality, in_channels, out_channels = shape
    generator = torch.Generator().manual_seed(seed)
    coord = torch.cat([_cloud(points, dimensionality, generator) for _ in range(clouds)])
    cell = 0.5 * math.sqrt((4 * math.pi if dimensionality == 3 else 4) / points)
    low = coord.view(clouds, points, dimensionality).amin(1, keepdim=True).expand(-1, points, -1).reshape(coord.shape)
    batch = {
        "coord": coord,
        "feat": _field(coord, in_channels, generator),
        "target": _field(coord, out_channels, generator),
        "offset": torch.arange(1, clouds + 1) * points,
        "grid_coord": ((coord - low) / cell).floor().long(),
    }
    return to_device(batch, device)


def made_up_parameters(model: nn.Module, clouds: int, seed: int, device: torch.device) -> Batch:
    """``parameters`` (B, P), of mean 0 and deviation 1, for a backbone that is conditioned by some; else nothing."""
    condition = getattr(getattr(model, "backbone", None), "condition", None)
    if condition is None:
        return {}
    generator = torch.Generator().manual_seed(seed)
    return {PARAMETERS: torch.randn(clouds, condition.parameters_of_cloud, generator=generator).to(device)}


def _cloud(points: int, dimensionality: int, generator: torch.Generator) -> Tensor:
    if dimensionality == 2:
        return torch.rand(points, 2, generator=generator) * 2 - 1
    directions = nn.functional.normalize(torch.randn(points, dimensionality, generator=generator))
    return directions * (0.5 + 0.5 * torch.rand(dimensionality, generator=generator))


def _field(coord: Tensor, channels: int, generator: torch.Generator) -> Tensor:
    """Plane waves in random directions, mean 0 and deviation 1 over random phases."""
    waves = torch.randn(coord.shape[1], channels, generator=generator) * 3
    phases = torch.rand(channels, generator=generator) * 2 * math.pi
    return (coord @ waves + phases).cos() * math.sqrt(2)
