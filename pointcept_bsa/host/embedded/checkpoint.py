"""Checkpoints: written whole or not at all, read without running code, loaded with a clear word if they do not fit."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError


def write_atomic(path: str | Path, write: Callable[[BinaryIO], None]) -> None:
    """Let ``write`` fill a file beside ``path``, flush it to the disk, then give it the name ``path``."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: str | Path, text: str) -> None:
    """``write_atomic`` of a text."""
    data = text.encode()

    def write(file: BinaryIO) -> None:
        file.write(data)

    write_atomic(path, write)


def save_checkpoint(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint."""
    write_atomic(path, lambda file: torch.save(dict(checkpoint), file))


def copy_atomic(source: str | Path, path: str | Path) -> None:
    """Copy a finished file."""
    with open(source, "rb") as original:
        write_atomic(path, lambda file: _copy(original, file))


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while chunk := source.read(1 << 20):
        target.write(chunk)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU: a dict with ``state_dict``. A bare state dict is taken as one.

    Only tensors and plain containers are read (``weights_only``). Raises ``InputError``.
    """
    if not os.path.isfile(path):
        raise InputError(f"weight={str(path)!r}: no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise InputError(f"weight={str(path)!r}: not a readable checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict):
        raise InputError(f"weight={str(path)!r}: expected a dict in the file, got {type(checkpoint).__name__}")
    if "state_dict" not in checkpoint:
        checkpoint = {"state_dict": checkpoint}
    weights = checkpoint["state_dict"]
    if not isinstance(weights, dict) or not any(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"weight={str(path)!r}: no model weights in the file (expected a key 'state_dict')")
    return checkpoint


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, without ``DistributedDataParallel`` around it."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], path: str | Path, strict: bool = True) -> None:
    """Load ``weights`` into ``model``; a leading ``module.`` in the names is dropped.

    Raises ``InputError`` in one line if they are another model's: tensors of other shapes, none in common, or
    (``strict``) names missing or left over.
    """
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    own = unwrap(model).state_dict()
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    misshapen = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if misshapen or (strict and (missing or unexpected)) or len(missing) == len(own):
        parts = []
        for count, what in ((missing, "missing"), (unexpected, "unexpected")):
            if count:
                parts.append(f"{len(count)} {what} keys (first: {count[0]})")
        if misshapen:
            name = misshapen[0]
            shapes = f"{tuple(weights[name].shape)}, the model has {tuple(own[name].shape)}"
            parts.append(f"{len(misshapen)} of another shape (first: {name} is {shapes})")
        raise InputError(f"weight={str(path)!r}: a checkpoint of another model: {', '.join(parts)}")
    unwrap(model).load_state_dict(weights, strict=False)


def resolve_weight(weight: str | None, save_path: str) -> str | None:
    """The checkpoint to test: ``weight``, or for None and ``"auto"`` the run's best, else its last, else None."""
    if weight not in (None, "auto"):
        return weight
    candidates = (os.path.join(save_path, "model", f"model_{which}.pth") for which in ("best", "last"))
    return next((path for path in candidates if os.path.isfile(path)), None)
