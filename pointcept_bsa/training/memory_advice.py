"""What to lower where a training does not fit the memory."""

from __future__ import annotations

import inspect
from typing import Any

from pointcept_bsa.distributed import mesh
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.host.embedded.registry import MODELS
from pointcept_bsa.old_names import argument

SIZES = ("ball_size", "ball_sizes", "local_ball_size", "patch_size", "enc_patch_size")


def training_advice(cfg: Config) -> str:
    """Remedies for ``cfg``, each with its present value, the harmless ones first."""
    backbone: dict[str, Any] = cfg.model.get("backbone", cfg.model)
    advice = []
    if cfg.batch_size > mesh.data_size():
        steps = f"gradient_accumulation_steps (now {cfg.gradient_accumulation_steps}) can make up for it"
        advice.append(f"batch_size (now {cfg.batch_size}; {steps})")
    advice.append("the points of a cloud (SamplePoints in data.train.transform)")
    advice += [f"model.backbone.{key} (now {backbone[key]})" for key in SIZES if key in backbone]
    text = f"lower {', '.join(advice)}"
    present = argument(backbone, "recompute", False)
    if _can_recompute(backbone) and present is not True:
        values = "True" if present else "selective or, for less, True"
        text += f"; or trade time for memory with model.backbone.recompute={values}"
    if not cfg.enable_amp:
        text += "; or enable_amp=True"
    return f"{text}; earlier checkpoints are intact"


def _can_recompute(backbone: dict[str, Any]) -> bool:
    built = MODELS.get(str(backbone.get("type")))
    return built is not None and "recompute" in inspect.signature(built).parameters
