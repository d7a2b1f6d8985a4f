"""Binding to an installed Pointcept: the same names as ``host.embedded``, from Pointcept's own modules.

Importing it gives Pointcept a ``Config`` that registers the plugin again in spawned processes. Nothing of Pointcept's
own is replaced, and nothing is caught here: a Pointcept that is present but broken raises its own error.
"""

import copyreg
from typing import Any

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
from pointcept.utils.misc import import_modules_from_strings
from pointcept.utils.optimizer import OPTIMIZERS
from pointcept.utils.scheduler import SCHEDULERS

# Registration in the processes that Pointcept spawns for several GPUs.


def register_config_reducer(cls: type) -> None:
    """Have ``pickle`` (and so every spawned process) rebuild objects of ``cls`` with :func:`rebuild_config`."""
    copyreg.pickle(cls, _reduce)


def rebuild_config(state: Any) -> Config:
    """The config of ``state``, after its ``custom_imports``."""
    config = Config()
    config.__setstate__(state)
    imports = config.get("custom_imports")
    if imports:
        import_modules_from_strings(**imports)
    return config


def _reduce(config: Config) -> tuple[Any, tuple[Any]]:
    return rebuild_config, (config.__getstate__(),)


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
    "build_dataset",
    "build_model",
    "collate_fn",
    "comm",
    "get_root_logger",
]
