"""The embedded host: Pointcept's names and contract without Pointcept, on CPU or CUDA."""

from pointcept_bsa.host.embedded import (  # noqa: F401
    comm,
    optimizer,
    scheduler,
    semantic_segmentation,
)
from pointcept_bsa.host.embedded.collate import collate_fn
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.host.embedded.hooks import HookBase
from pointcept_bsa.host.embedded.logger import get_root_logger
from pointcept_bsa.host.embedded.point import Point
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
from pointcept_bsa.host.embedded.tester import TesterBase
from pointcept_bsa.host.embedded.trainer import DefaultTrainer  # noqa: F401
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
    "TesterBase",
    "build_dataset",
    "build_model",
    "collate_fn",
    "comm",
    "get_root_logger",
]
