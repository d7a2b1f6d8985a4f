"""Every module that registers something, named once.

Importing this module fills the host's registries. A new backbone, data set, loss, model or hook adds its
line to its own package's ``__init__`` (of training: ``registered``); this file only names the packages, and registers
old names, too.
"""

from pointcept_bsa import backbones, datasets, losses, models  # noqa: F401
from pointcept_bsa.host import DATASETS
from pointcept_bsa.old_names import DATASETS as DATASETS_OF_BEFORE
from pointcept_bsa.training import registered  # noqa: F401

for _old, _new in DATASETS_OF_BEFORE.items():
    DATASETS.register_module(_old, module=DATASETS.get(_new))
