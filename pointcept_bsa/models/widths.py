"""Widths that follow from a part of the model that is built already, so that configs need not repeat them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pointcept_bsa.host import MODELS


def filled(cfg: Any, **known: int | None) -> Any:
    """``cfg`` with those arguments of its class that it leaves out and that are ``known``."""
    kind = cfg.get("type") if isinstance(cfg, Mapping) else None
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if kind is None:  # to be refused where it is built
        return cfg
    takes = inspect.signature(kind).parameters
    missing = {key: value for key, value in known.items() if value is not None and key in takes and key not in cfg}
    return {**cfg, **missing} if missing else cfg
