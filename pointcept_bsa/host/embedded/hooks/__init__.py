"""Hooks of the embedded host, under Pointcept's names."""

from pointcept_bsa.host.embedded.hooks.base import HookBase
from pointcept_bsa.host.embedded.hooks.checkpoint import CheckpointLoader, CheckpointSaver
from pointcept_bsa.host.embedded.hooks.information import InformationWriter, IterationTimer
from pointcept_bsa.host.embedded.hooks.model import ModelHook
from pointcept_bsa.host.embedded.hooks.precise import PreciseEvaluator

__all__ = [
    "CheckpointLoader",
    "CheckpointSaver",
    "HookBase",
    "InformationWriter",
    "IterationTimer",
    "ModelHook",
    "PreciseEvaluator",
]
