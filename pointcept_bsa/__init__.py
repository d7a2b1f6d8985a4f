"""Ball-tree attention backbones and physics regression for the Pointcept framework.

``import pointcept_bsa`` registers everything; a config does it with
``custom_imports = dict(imports=["pointcept_bsa"], allow_failed_imports=False)``. Inside Pointcept that happens at once;
the registries of the embedded host import the catalogue when they are first asked for a name that they do not know, so
that a part (``from pointcept_bsa.geometry import BallTree``) or the help of a tool does not wait for it.

``pointcept_bsa.load`` opens a trained network, see :mod:`pointcept_bsa.pretrained`.
"""

from typing import TYPE_CHECKING, Any

from pointcept_bsa.host_choice import HOST
from pointcept_bsa.version import __version__

if TYPE_CHECKING:
    from pointcept_bsa.pretrained import Predictor, load

__all__ = ["Predictor", "__version__", "load"]

if HOST == "pointcept":
    from pointcept_bsa import catalogue  # noqa: F401


def __getattr__(name: str) -> Any:
    if name in ("Predictor", "load"):
        from pointcept_bsa import pretrained

        return getattr(pretrained, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
