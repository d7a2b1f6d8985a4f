"""Which checkpoint a test takes; the same in both hosts."""

from __future__ import annotations

import os

from pointcept_bsa.errors import InputError


def resolve_weight(weight: str | None, save_path: str) -> str | None:
    """The checkpoint to test: ``weight``, or for None and ``"auto"`` the run's best, else its last, else None."""
    if weight not in (None, "auto"):
        return weight
    candidates = (os.path.join(save_path, "model", f"model_{which}.pth") for which in ("best", "last"))
    return next((path for path in candidates if os.path.isfile(path)), None)


def weight_to_test(weight: str | None, save_path: str) -> str:
    """As :func:`resolve_weight`; raises ``InputError`` where there is none."""
    path = resolve_weight(weight, save_path)
    if path is None:
        raise InputError(
            f"weight: none given, and no model_best.pth or model_last.pth in {save_path}/model; "
            f"name a checkpoint with --options weight=PATH"
        )
    return path
