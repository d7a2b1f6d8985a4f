"""Binding to an installed Pointcept: the same names as ``host.embedded``, from Pointcept's own modules.

Nothing is caught here: a Pointcept that is present but broken raises its own error.
"""

from pointcept.datasets.builder import DATASETS, build_dataset
from pointcept.datasets.transform import TRANSFORMS, Compose
from pointcept.datasets.utils import collate_fn
from pointcept.engines.hooks import HOOKS, HookBase
from pointcept.engines.test import TESTERS, TesterBase
from pointcept.engines.train import TRAINERS
from pointcept.models.builder import MODELS, build_model
from pointcept.models.losses.builder import LOSSES
from pointcept.models.utils.structure import Point
from pointcept.utils import comm
from pointcept.utils.config import Config
from pointcept.utils.logger import get_root_logger
from pointcept.utils.optimizer import OPTIMIZERS
from pointcept.utils.scheduler import SCHEDULERS

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
