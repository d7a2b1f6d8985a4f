"""Ball-tree attention backbones and physics regression for the Pointcept framework.

``import pointcept_bsa`` registers everything; a config does it with
``custom_imports = dict(imports=["pointcept_bsa"], allow_failed_imports=False)``.
"""

__version__ = "0.1.0"

from pointcept_bsa import catalogue  # noqa: F401
