"""Binding to an installed Pointcept: the same names as ``host.embedded``, from Pointcept's own modules.

Importing it adds to Pointcept what its tools lack for the shipped configs: the schedule ``WarmupCosineLR``, the
optimizer ``Muon``, and a ``Config`` that registers the plugin again in spawned processes. Nothing of Pointcept's own is
replaced, and nothing is caught here: a Pointcept that is present but broken raises its own error.
"""

from pointcept.datasets.builder import DATASETS, build_dataset
from pointcept.datasets.transform import TRANSFORMS, Compose
from pointcept.datasets.utils import collate_fn
from pointcept.engines.hooks.builder import HOOKS
from pointcept.engines.hooks.default import HookBase
from pointcept.engines.test import TESTERS
from pointcept.engines.train import TRAINERS
from pointcept.models.builder import MODELS, build_model
from pointcept.models.losses.builder import LOSSES
from pointcept.models.utils.structure import Point
from pointcept.utils import comm
from pointcept.utils.config import Config
from pointcept.utils.logger import get_root_logger
from pointcept.utils.optimizer import OPTIMIZERS
from pointcept.utils.scheduler import SCHEDULERS

from pointcept_bsa.host.muon import Muon
from pointcept_bsa.host.pointcept.spawned import register_config_reducer
from pointcept_bsa.host.pointcept.tester import TesterBase
from pointcept_bsa.host.warmup_cosine import WarmupCosineLR

SCHEDULERS.register_module(module=WarmupCosineLR)
OPTIMIZERS.register_module(module=Muon)
register_config_reducer(Config)

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
