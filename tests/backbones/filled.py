"""Weights and clouds for golden outputs, the same on every machine."""

from __future__ import annotations

import numpy as np
import torch


def fill(model: torch.nn.Module) -> torch.nn.Module:
    """Draw the state dict entry by entry: matrices scaled by their fan-in, vectors around 0 or, for norms, 1."""
    rng = np.random.RandomState(5)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            noise = torch.tensor(rng.standard_normal(tuple(value.shape)))
            if value.ndim > 1 and "rpe_table" not in name:
                value.copy_(noise / (value.numel() / value.shape[0]) ** 0.5)
            else:
                is_scale = name.endswith(("running_var", "temperature")) or (
                    name.endswith("weight") and value.ndim == 1
                )
                value.copy_(noise.tanh() * 0.5 + float(is_scale))
    return model


def ragged_cloud(channels: int) -> dict[str, torch.Tensor]:
    """Clouds of 90, 1 and 13 points whose features begin with their coordinates."""
    feat = torch.tensor(np.random.RandomState(11).standard_normal((104, channels)))
    return dict(coord=feat[:, :3], feat=feat, offset=torch.tensor([90, 91, 104]))
