"""Registries: a name in a config to the class it builds.

mmengine's ``Registry`` keeps the names (``register_module(name=None, force=False, module=None)``, duplicates raise
``KeyError``). Building is our own: a user's mistake in a config becomes one line that names the config path, the
class and the nearest name, and an unknown name is never looked up anywhere else.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry as _Registry
from mmengine.utils import import_modules_from_strings

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host.embedded.kinds import constructors, takes_any_name, wrong_kind
from pointcept_bsa.host.memory import is_out_of_memory
from pointcept_bsa.old_names import old_arguments

_building: list[tuple[str, dict[str, Any]]] = []  # (config path, keyword arguments) of the constructors now running


# What constructors make of a value that has the right type and is out of range. Not of those that run a training.
WRONG_VALUES = (ArithmeticError, LookupError, AttributeError, AssertionError, RuntimeError)
RUNNERS = ("trainers", "testers")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


class LocatedError(InputError):
    """An ``InputError`` whose message already says where in the config it belongs."""


class Registry(_Registry):
    """Names to classes; ``build(dict(type="Name", ...))`` constructs one."""

    def __init__(self, name: str) -> None:
        super().__init__(name, scope="pointcept_bsa")

    def get(self, key: str) -> Any:
        """Return the class registered as ``key``, or ``None``."""
        if key not in self._module_dict:
            register_the_package()
        return self._module_dict.get(key)

    @property
    def module_dict(self) -> dict[str, Any]:
        """All names, with what is registered as each."""
        register_the_package()
        found: dict[str, Any] = self._module_dict
        return found

    def build(self, cfg: Mapping[str, Any], *, path: str | None = None) -> Any:
        """Build ``cfg["type"]`` with the other items as keyword arguments.

        ``path`` is where ``cfg`` stands in the config file (``"model"``, ``"hooks[2]"``), for messages; inside another
        constructor it is found from that constructor's own arguments. Raises ``InputError``.
        """
        where = path or _path_inside_parent(cfg) or self.name
        if not isinstance(cfg, Mapping):
            raise LocatedError(f"{where}: expected a dict with a key 'type', got {cfg!r}")
        kwargs = {str(key): value for key, value in cfg.items()}
        kind = kwargs.pop("type", None)
        if kind is None:
            raise LocatedError(f"{where}: no key 'type'; it names an entry of the {self.name} registry")
        cls = self.get(kind) if isinstance(kind, str) else kind
        if not callable(cls):
            known = ", ".join(sorted(self._module_dict))
            hint = nearest(str(kind), self._module_dict) or f"; registered: {known or 'nothing'}"
            raise LocatedError(f"{where}.type={kind!r} is not in the {self.name} registry{hint}")
        where_cls = f"{where} ({kind if isinstance(kind, str) else cls.__name__})"
        _check_signature(cls, kwargs, where_cls)
        if getattr(cls, "__module__", "").startswith("pointcept_bsa.") and (wrong := wrong_kind(cls, kwargs)):
            raise LocatedError(f"{where_cls}: {wrong}")
        _building.append((where, kwargs))
        try:
            return cls(**kwargs)
        except LocatedError:
            raise
        except (TypeError, ValueError) as error:
            # Annotations of other people's classes may be loose: they are asked only where something went wrong.
            wrong = wrong_kind(cls, kwargs) if isinstance(error, TypeError) else None
            raise LocatedError(f"{where_cls}: {wrong or _one_line(error)}") from error
        except WRONG_VALUES as error:
            if self.name in RUNNERS or is_out_of_memory(error):
                raise
            raise LocatedError(f"{where_cls}: {type(error).__name__}: {_one_line(error)}") from error
        finally:
            _building.pop()


def _path_inside_parent(cfg: Any) -> str | None:
    """Find ``cfg``, or what it adds to, among the arguments of the constructor that runs: ``model.backbone``."""
    if not _building:
        return None
    where, kwargs = _building[-1]
    for key, value in kwargs.items():
        if value is cfg or (_is_part(value, cfg) and "type" in value):
            return f"{where}.{key}"
        if isinstance(value, list | tuple):
            for index, item in enumerate(value):
                if item is cfg:
                    return f"{where}.{key}[{index}]"
    return where


def _is_part(less: Any, more: Any) -> bool:
    both = isinstance(less, Mapping) and isinstance(more, Mapping)
    return both and all(key in more and more[key] is value for key, value in less.items())


def _check_signature(cls: Any, kwargs: dict[str, Any], where: str) -> None:
    try:
        own = inspect.signature(cls).parameters.values()
        is_ours = getattr(cls, "__module__", "").startswith("pointcept_bsa.")  # others may hand on to anything
        reached = constructors(cls) if is_ours else [cls]
        parameters = [p for construct in reached for p in inspect.signature(construct).parameters.values()]
    except (TypeError, ValueError):  # some C classes have no signature: their own TypeError will tell
        return
    known = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = (p.name for p in parameters if p.kind in known and p.name != "self")
    names = list(dict.fromkeys([*named, *getattr(cls, "also_takes", ())]))
    if not (reached and takes_any_name(reached[-1])):
        for key in kwargs:
            if key not in names and key not in old_arguments(names):
                hint = nearest(key, names) or f"; it takes {', '.join(names) or 'no arguments'}"
                raise LocatedError(f"{where}: unknown argument {key!r}{hint}")
    missing = [p.name for p in own if p.kind in known and p.default is p.empty and p.name not in kwargs]
    if missing:
        raise LocatedError(f"{where}: missing argument {', '.join(map(repr, missing))}")


def register_the_package() -> None:
    """Import the package's catalogue, by name as a config's ``custom_imports`` would: it stands above this floor.

    Not while the host itself is being imported, whose modules may ask what is registered until then.
    """
    if hasattr(sys.modules["pointcept_bsa.host"], "__all__"):  # its last line
        import_modules_from_strings(["pointcept_bsa.catalogue"])


MODELS = Registry("models")
LOSSES = Registry("losses")
DATASETS = Registry("datasets")
TRANSFORMS = Registry("transforms")
HOOKS = Registry("hooks")
TRAINERS = Registry("trainers")
TESTERS = Registry("testers")
OPTIMIZERS = Registry("optimizers")
SCHEDULERS = Registry("schedulers")


def build_model(cfg: Mapping[str, Any], path: str | None = None) -> Any:
    """Build a model; ``path`` (``"model"``) is named in messages."""
    return MODELS.build(cfg, path=path)


def build_dataset(cfg: Mapping[str, Any], path: str | None = None) -> Any:
    """Build a data set; ``path`` (``"data.train"``) is named in messages."""
    return DATASETS.build(cfg, path=path)
