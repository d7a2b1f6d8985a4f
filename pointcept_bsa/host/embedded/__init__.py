"""The embedded host: Pointcept's names and contract without Pointcept, on CPU or CUDA."""

from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.collate import Point, collate_fn
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.host.embedded.hook import HookBase
from pointcept_bsa.host.embedded.logger import get_root_logger
from pointcept_bsa.host.embedded.registry import (
    DATASETS,
    HOOKS,
    LOSSES,
    MODELS,
    OPTIMIZERS,
    SCHEDULERS,
    TESTERS,
    TRAINERS,
    TRANSFORMS,
    build_dataset,
    build_model,
)
from pointcept_bsa.host.embedded.transforms import Compose

__all__ = [
    "DATASETS",
    "HOOKS",
    "LOSSES",
    "MODELS",
    "OPTIMIZERS",
    "SCHEDULERS",
    "TESTERS",
    "TRAINERS",
    "TRANSFORMS",
    "Compose",
    "Config",
    "HookBase",
    "Point",
    "build_dataset",
    "build_model",
    "collate_fn",
    "comm",
    "get_root_logger",
]
