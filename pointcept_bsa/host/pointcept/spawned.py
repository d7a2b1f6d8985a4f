"""Registration in the processes that Pointcept spawns for several GPUs.

Such a process starts empty and gets the parsed ``Config`` by pickle; the ``custom_imports`` of the config file, which
register the plugin, ran in the parent only. So a pickled ``Config`` is rebuilt here: to reach this module the child
imports ``pointcept_bsa``, and then what else ``custom_imports`` names.
"""

from __future__ import annotations

import copyreg
from typing import Any

from pointcept.utils.config import Config
from pointcept.utils.misc import import_modules_from_strings


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
