"""Damage done to values: entries of nested dicts and lists taken out, exchanged, wrapped, or made something odd."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

ACTIONS = ("replace", "replace", "replace", "delete", "exchange", "wrap", "double", "rename", "add")
changes = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2**20), st.integers(0, 2**20)), min_size=1, max_size=3
)
NAMES = ("x", "", "type", "a b", "class", "_base_", "_delete_", "ключ", "{{ x }}", "a.b", "0", "\ud800")

NESTED: Any = []
for _ in range(60):
    NESTED = [NESTED]
# What JSON can say, as Python's writer and others' spell it: the words NaN and Infinity, halves of pairs, huge numbers.
JSON = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**63, 2**70, -(2**63), 10**299, 10**400),
    *(0.5, -0.5, 1.0, 1e-320, 1e300, 1e308, -1e308, float("inf"), float("-inf"), float("nan")),
    *("", "x", "nan", "None", "1", "a\nb", "\ud800", "{{ x }}", "../x", "/etc/passwd", "é" * 300, "\0", "\u2028"),
    *([], [1], [None], ["x"], [1, "x"], [[1.0]], [float("nan")], [1, 2, 3], {}, {"a": 1}, {"type": "x"}, {"": None}),
    NESTED,
)


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


class Raw:
    """An expression of Python that stands as it is in the text of a config."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


EXPRESSIONS = (
    *('float("inf")', '-float("inf")', 'float("nan")', "1e400", "-0.0", "1e-320", "2**70", "10**5000", "True", "None"),
    *("{1, 2}", "set()", 'frozenset({"x", 1})', "{float('nan')}", "()", "(1,)", "((1, 2), [3, (4,)])", "[]", "{}"),
    *("np.float32(0.1)", "np.float64('nan')", "np.int64(3)", "np.bool_(True)", "np.arange(3)", "np.zeros((2, 0))"),
    *("np.array(['a', 'b'])", "np.array([1, 'x'], object)", "np.datetime64('2020')", "np.str_('x')", "np.bytes_(b'x')"),
    *("np.longdouble(1)", "np.complex64(1j)", "np.float16(3)", "np.array(2.5)", "np.zeros(2, [('a', 'f4')])"),
    *("Path('x')", "b'x'", "1j", "complex('nan')", "lambda x: x", "object()", "int", "print", "range(3)"),
    "...", "NESTED",
    *("'{{ fileDirname }}'", "'{{'", "'a\\nb'", "'\\ud800'", "'\\0'", "'\"'", "'é'", "'$HOME'", "'#'", "r'\\N{x}'"),
    *("{1: 2, 'a': 3}", "{None: 1}", "{(1, 2): 3}", "{'a b': 1}", "{'class': 1}", "{'': 1}", "{'type': 'x'}"),
    *("{'_delete_': True}", "{'_scope_': 'mmengine'}", "dict(a=dict(b=[dict(c={1})]))", "OrderedDict(a=1)"),
)  # fmt: skip
HEAD = (
    "from collections import OrderedDict\nfrom pathlib import Path\nimport numpy as np\n"
    "NESTED = []\nfor _ in range(60):\n    NESTED = [NESTED]\ndel _\n"
)


def config_file(values: dict[str, Any]) -> bytes:
    """The text of a config; names that Python cannot have are left out."""
    lines = [f"{key} = {value!r}\n" for key, value in values.items() if isinstance(key, str) and key.isidentifier()]
    return (HEAD + "".join(lines) + "del np, Path, OrderedDict, NESTED\n").encode("utf-8", "backslashreplace")


def change(value: Any, steps: Sequence[tuple[str, int, int]], odd: Sequence[Any]) -> Any:
    """A copy of ``value`` after the steps, each ``(action, place, which)``; ``odd`` has what comes in."""
    for action, place, which in steps:
        found = list(_paths(value))
        value = _at(value, found[place % len(found)], _action(action, value, found, which, odd))
    return value


def _action(action: str, value: Any, places: list[tuple], which: int, odd: Sequence[Any]) -> Callable[[Any, Any], None]:
    other = places[which % len(places)]

    def act(parent: Any, key: Any) -> None:
        if action == "delete":
            del parent[key]
        elif action == "exchange":
            parent[key] = copy.copy(_get(value, other))
        elif action == "wrap":
            parent[key] = [[parent[key]], {"x": parent[key]}, (parent[key],), str(parent[key])[:300]][which % 4]
        elif action == "double" and isinstance(parent, list):
            parent.insert(key, parent[key])
        elif action in ("rename", "add") and isinstance(parent, dict):
            name = NAMES[which % len(NAMES)]
            parent[name] = parent.pop(key) if action == "rename" else odd[which // len(NAMES) % len(odd)]
        elif action == "add":
            parent.append(odd[which % len(odd)])
        else:
            parent[key] = odd[which % len(odd)]

    return act


def _paths(value: Any, path: tuple = ()) -> Any:
    """Paths of all entries; of long lists the first three and the last."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = [*enumerate(value[:3]), *([(len(value) - 1, value[-1])] if len(value) > 3 else [])]
    if not items and not path:
        yield ()
    for key, item in items:
        yield (*path, key)
        yield from _paths(item, (*path, key))


def _get(value: Any, path: tuple) -> Any:
    for key in path:
        value = value[key]
    return value


def _at(value: Any, path: tuple, act: Callable[[Any, Any], None]) -> Any:
    """A copy with ``act(container, key)`` done at a path; tuples are put together again."""
    if not path:
        return value
    new = list(value) if isinstance(value, tuple) else copy.copy(value)
    if len(path) == 1:
        act(new, path[0])
    else:
        new[path[0]] = _at(value[path[0]], path[1:], act)
    return tuple(new) if isinstance(value, tuple) else new
