"""Values of a config against the annotations of what they build: ``depth="two"`` is told as what it is.

Only what is plain is judged (numbers, texts, True and False, None, lists); for all else the class speaks itself.
"""

from __future__ import annotations

import inspect
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

WORDS = {int: "an integer", float: "a number", bool: "True or False", str: "a text", type(None): "None"}
PLAIN = (bool, numbers.Number, str, type(None))


def constructors(cls: Callable[..., Any]) -> list[Callable[..., Any]]:
    """What the arguments of a class reach: its constructor, and, as long as one hands on what it does not know
    (``**common``), that of the class above. A function reaches itself."""
    if not isinstance(cls, type):
        return [cls]
    found: list[Callable[..., Any]] = []
    for above in cls.__mro__:
        if above is not object and "__init__" in vars(above):
            found.append(above.__init__)  # type: ignore[misc]
            if not takes_any_name(found[-1]):
                break
    return found


def takes_any_name(construct: Callable[..., Any]) -> bool:
    """Whether it has ``**options``."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(construct).parameters.values())


def wrong_kind(cls: Callable[..., Any], kwargs: Mapping[str, Any]) -> str | None:
    """What is wrong with the first of ``kwargs`` that is of another kind than ``cls`` says; None: nothing."""
    try:
        reached = constructors(cls)
        said = {construct: typing.get_type_hints(construct) for construct in reversed(reached)}
        parameters = {name: p for construct in said for name, p in inspect.signature(construct).parameters.items()}
    except (TypeError, ValueError, NameError, AttributeError):  # of C, or of names that are not there when it runs
        return None
    hints = {name: hint for of_one in said.values() for name, hint in of_one.items()}
    for name, value in kwargs.items():
        if name not in hints or name not in parameters:
            continue
        default = parameters[name].default
        if not (type(value) is type(default) and value == default) and not _fits(value, hints[name]):
            return f"{name}: got {value!r}, wanted {_words(hints[name])}"
    return None


def _fits(value: Any, hint: Any) -> bool:
    parts, inside = _parts(hint), typing.get_args(hint)
    if len(parts) > 1:
        return any(_fits(value, part) for part in parts)
    if hint in (int, float):
        wanted = numbers.Integral if hint is int else numbers.Real
        fits = isinstance(value, wanted) and not isinstance(value, bool)
        return fits if isinstance(value, PLAIN) else _is_free(value)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint) if isinstance(value, PLAIN) else _is_free(value)
    origin = typing.get_origin(hint) or hint
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return not isinstance(value, (*PLAIN, list, tuple))
    if isinstance(origin, type) and issubclass(origin, Iterable):
        if isinstance(value, list | tuple) and len({*inside, ...}) == 2 and not issubclass(origin, set):
            return all(_fits(each, inside[0]) for each in value)
        return not isinstance(value, PLAIN)
    return True


def _is_free(value: Any) -> bool:
    """Whether a value is neither plain nor a container of plain values, so that nothing is said of it."""
    return not isinstance(value, list | tuple | Mapping)


def _parts(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _words(hint: Any) -> str:
    parts = _parts(hint)
    if len(parts) > 1:
        return " or ".join(_words(part) for part in parts)
    origin, inside = typing.get_origin(hint) or hint, typing.get_args(hint)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a dict"
    if hint not in WORDS and isinstance(origin, type) and issubclass(origin, Iterable):
        plurals: dict[Any, str] = {int: "integers", float: "numbers", str: "texts"}
        return f"a list of {plurals.get(inside[0] if inside else None, 'values')}"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))
