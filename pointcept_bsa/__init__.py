"""Ball-tree attention backbones and physics regression for the Pointcept framework.

``import pointcept_bsa`` registers everything; a config does it with
``custom_imports = dict(imports=["pointcept_bsa"], allow_failed_imports=False)``. Inside Pointcept that happens at once;
the registries of the embedded host import the catalogue when they are first asked for a name that they do not know, so
that a part (``from pointcept_bsa.geometry.ball_tree import BallTree``) or the help of a tool does not wait for it.
"""

from pointcept_bsa.host_choice import HOST

__version__ = "0.1.0"

if HOST == "pointcept":
    from pointcept_bsa import catalogue  # noqa: F401
