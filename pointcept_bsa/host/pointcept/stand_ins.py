"""Stand-ins for packages that are imported and never used. Standard library only: this runs before anything else.

Pointcept imports all of its models, and with them compiled extensions that most of them do not need. A stand-in can be
imported; its names can be inherited from and used in annotations and in ``isinstance``; a call raises ``StandInError``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any


class StandInError(RuntimeError):
    """Something of a package that is not installed was used."""


class _StandInClass(type):
    """Class of everything that a stand-in module contains."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return make_stand_in(cls.__module__, f"{cls.__qualname__}.{name}")

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        original = next(base for base in cls.__mro__ if "_is_stand_in" in vars(base))
        what = f"{original.__module__}.{original.__qualname__}"
        package = original.__module__.partition(".")[0]
        raise StandInError(
            f"{what} was called, but {package} is not installed: --stub-missing only lets it be imported. "
            f"Install {package}, or choose a model and data that do without it"
        )


class StandInModule(ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"the stand-in for {self.__name__} has no {name}")
        value = make_stand_in(self.__name__, name)
        setattr(self, name, value)
        return value


def make_stand_in(module: str, name: str) -> type:
    """The stand-in for ``module.name``."""
    namespace = {"__module__": module, "__qualname__": name, "_is_stand_in": True}
    return _StandInClass(name.rpartition(".")[2], (), namespace)


class StandInFinder(MetaPathFinder, Loader):
    """The last of the finders: gets to see only what no other one has found.

    Stands in for a package when a module of ``importers`` imports it at its top level, outside ``try``: what a module
    tries, or imports only in a function, it can do without.

    Args:
        importers: top-level name of the package whose imports are to succeed.
        announce: print the name of every package stood in for.
    """

    def __init__(self, importers: str, announce: bool = True) -> None:
        self.importers, self.announce = importers, announce
        self.packages: list[str] = []

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        if package not in self.packages:
            if rest or package == self.importers or not self._is_needed(_importing_frame()):
                return None
            self.packages.append(package)
            if self.announce:
                print(f"--stub-missing: {package} is not installed, a stand-in is imported", file=sys.stderr)
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandInModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""

    def _is_needed(self, frame: FrameType | None) -> bool:
        if frame is None or frame.f_globals.get("__name__", "").partition(".")[0] != self.importers:
            return False
        if frame.f_code.co_name != "<module>":
            return False
        return not any(first <= frame.f_lineno <= last for first, last in _tried_lines(frame.f_code.co_filename))


def install(importers: str, announce: bool = True) -> StandInFinder:
    """Put a :class:`StandInFinder` behind all other finders."""
    finder = StandInFinder(importers, announce)
    sys.meta_path.append(finder)
    return finder


def _importing_frame() -> FrameType | None:
    """The frame whose import statement is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name != __file__ and "importlib" not in Path(name).parts and not name.startswith("<frozen importlib"):
            return frame
        frame = frame.f_back
    return None


@cache
def _tried_lines(path: str) -> list[tuple[int, int]]:
    """First and last line of every statement under a ``try`` with handlers in a source file."""
    tree = ast.parse(Path(path).read_bytes())
    tries = [node for node in ast.walk(tree) if isinstance(node, ast.Try) and node.handlers]
    return [(body.lineno, body.end_lineno or body.lineno) for node in tries for body in node.body]
