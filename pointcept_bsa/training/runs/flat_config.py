"""Configs as {dotted key: value}, to see in what they differ; the same in both hosts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

from pointcept_bsa.old_names import present

# Config keys that do not change what is trained: where a run is kept, its seed, how often it writes.
NOT_COMPARED = (
    "save_path",
    "weight",
    "resume",
    "seed",
    "log_interval",
    "save_every",
    "keep_last",
    "num_worker",
    "search",
)
_SHARED = ("batch_size", "batch_size_val", "batch_size_test", "num_worker")
DERIVED = ("seed_drawn", "data.train.loop", *(f"{key}_per_gpu" for key in _SHARED))
# As the backbone and the head have it, said or not.
WIDTHS = re.compile(r"model\.(domains\.[^.]+\.|scalars\.)?(head\.in_channels|normalizer\.channels)")


class _Absent:
    def __repr__(self) -> str:
        return "-"


ABSENT = _Absent()


def flat_config(cfg: Mapping[str, Any], skipped: Sequence[str] = NOT_COMPARED) -> dict[str, Any]:
    """{"model.backbone.depth": 4, "hooks.0.type": ...}, without the keys ``skipped``; empty containers keep theirs."""
    flat: dict[str, Any] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for key in value:
                visit(f"{prefix}.{key}" if prefix else str(key), value[key])
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                visit(f"{prefix}.{index}", item)
        else:
            key, value = present(prefix, value)
            flat[key] = list(value) if isinstance(value, tuple) else value

    visit("", {key: cfg[key] for key in cfg if key not in skipped and not key.startswith("_")})
    return {key: value for key, value in flat.items() if not is_derived(key)}


def is_derived(key: str) -> bool:
    """Whether a dotted key says what follows from others."""
    return key in DERIVED or WIDTHS.fullmatch(key) is not None


def config_differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """{key: its value in each flat config} for the keys that are not the same in all; ``ABSENT`` where one lacks it."""
    keys = sorted({key for config in configs for key in config})
    rows = {key: [config.get(key, ABSENT) for config in configs] for key in keys}
    return {key: row for key, row in rows.items() if len(set(map(canonical, row))) > 1}


def canonical(value: Any) -> str:
    """A text that equal values share: 1 and 1.0 do, NaN with itself, sets and dicts in any order, list and tuple."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(f'{canonical(key)}: {canonical(item)}' for key, item in value.items()))}}}"
    if isinstance(value, Set):
        return f"set({', '.join(sorted(map(canonical, value)))})"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(canonical, value))}]"
    if isinstance(value, int | float) and math.isfinite(value):
        return str(int(value)) if value == int(value) else repr(float(value))
    return repr(value)
