"""The part of a config that weights carry with them: data alone, of which nothing is executed and no file opened.

JSON: ``{"format": "pointcept_bsa.config", "version": 1, "model": {...}, "data": {"train": {...}, "test": {...}}}``:
what builds the model, and what says how a sample becomes its input. Types are registered names; of the descriptions of
data only ``DATA_KEYS`` are taken, which name no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text, parse_json
from pointcept_bsa.host.embedded.config import DEFAULTS, Config, check_values, merge_options, run_custom_imports
from pointcept_bsa.host.embedded.config_text import json_values

FORMAT, VERSION = "pointcept_bsa.config", 1
KEYS = ("format", "version", "model", "data")
SPLITS = ("train", "val", "test")
# Arguments of data sets that say what a sample is. Not among them: data_root, parameters, split_file, cache, loop.
DATA_KEYS: tuple[str, ...] = ("type", "split", "protocol", "validation", "transform", "test_mode", "test_cfg")
DATA_KEYS += ("target", "fields", "scale_to_box", "dimension", "wall_mask", "cells_to_points", "drop_loose_points")
DATA_KEYS += ("columns", "units", "fractions", "seed", "beam", "stride", "first", "max_neighbors", "noise", "with_face")
DATA_KEYS += ("whole_series", "num_samples", "num_points", "axes", "with_normal", "ignore_index", "domain")
OLDER = (
    "its config is no data (written by an earlier version, as Python, which a file that came alone may not run); "
    "export the run again with tools/export.py"
)


def portable_config(cfg: Mapping[str, Any]) -> str:
    """The text that goes into a file of weights.

    Raises:
        InputError: values that JSON has not, by key; what :func:`read_portable_config` would refuse.
    """
    data = {split: cfg["data"][split] for split in SPLITS if isinstance(cfg["data"].get(split), dict)}
    chosen = {split: {key: part[key] for key in part if key in DATA_KEYS} for split, part in data.items()}
    content = {"model": json_values(cfg["model"], "model"), "data": json_values(chosen, "data")}
    content = {"format": FORMAT, "version": VERSION, **content}
    _check_shape(content, "config")
    _check_types(content, "config")
    return json_text(content, indent=None).strip()


def read_portable_config(text: str, where: str, options: Mapping[str, Any] | None = None) -> Config:
    """The config in a file of weights, with ``options`` of the user's and the defaults of all other keys.

    Raises:
        InputError: anything but what :func:`portable_config` writes; one line that begins with ``where``.
    """
    try:
        content = parse_json(text, where)
    except InputError as error:
        raise InputError(f"{where}: {OLDER}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{where}: {OLDER}")
    if content.get("version") != VERSION:
        version = str(content.get("version"))[:20]
        raise InputError(f"{where}: its config is of version {version}, this package reads {VERSION}; export again")
    _check_shape(content, where)
    _check_types(content, where)
    cfg = Config({**DEFAULTS, "model": content["model"], "data": content["data"]})
    merge_options(cfg, options or {})
    run_custom_imports(cfg)  # of the options: the file's own word is never taken for it
    check_values(cfg)
    return cfg


def _check_shape(content: dict[str, Any], where: str) -> None:
    """Refuse keys that no such file has, and other kinds of values where the package reads on."""
    _refuse_others(content, KEYS, where, "")
    model, data = content.get("model"), content.get("data")
    if not isinstance(model, dict) or not isinstance(data, dict):
        raise InputError(f"{where}: its config has no model or no data, wanted both")
    _refuse_others(data, SPLITS, where, "data.")
    for split in ("train", "test"):
        if split not in data:
            raise InputError(f"{where}: data.{split} is missing, wanted a description of the data")
    for split, part in data.items():
        if not isinstance(part, dict) or "type" not in part:
            raise InputError(f"{where}: data.{split} has no type, wanted a description of the data")
        _refuse_others(part, DATA_KEYS, where, f"data.{split}.")
        transforms = part.get("transform") or []
        if not isinstance(transforms, list) or not all(isinstance(t, dict) and "type" in t for t in transforms):
            raise InputError(f"{where}: data.{split}.transform is no list of transforms, each with a type")
        if not isinstance(part.get("test_cfg"), dict | None):
            raise InputError(f"{where}: data.{split}.test_cfg is no dict")


def _refuse_others(content: dict[str, Any], known: tuple[str, ...], where: str, prefix: str) -> None:
    for key in content:
        if key not in known:
            raise InputError(f"{where}: {prefix}{key[:60]}: a key that is not taken from a file of weights")


def _check_types(value: Any, where: str) -> None:
    """Every ``type`` is a name; no key that a reader of configs takes for an order (``_delete_``, ``_scope_``)."""
    if isinstance(value, list):
        for item in value:
            _check_types(item, where)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key.startswith("_"):
                raise InputError(f"{where}: {key[:60]}: a key that is not taken from a file of weights")
            if key == "type" and not isinstance(item, str):
                raise InputError(f"{where}: type={str(item)[:60]}: wanted a registered name")
            _check_types(item, where)
