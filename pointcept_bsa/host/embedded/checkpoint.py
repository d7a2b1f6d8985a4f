"""Checkpoints: read without running code, checked against their sums, loaded with a clear word if they do not fit."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.export import load_safetensors
from pointcept_bsa.host.embedded.files import checksum_path, is_intact
from pointcept_bsa.host.embedded.sharding import load_model_state

# What torch.load raises on files that are cut, damaged, foreign or hold more than tensors and plain containers.
UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    KeyError,
    ValueError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    ArithmeticError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
)

# A number of numpy's, as Pointcept's own evaluators leave one in best_metric_value.
NUMPY_NUMBER: list[Any] = [np.float64(0).__reduce__()[0], np.dtype]
NUMPY_NUMBER += [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU: a dict with ``state_dict``. A bare state dict is taken as one.

    Only tensors and plain containers are read (``weights_only``; or a ``.safetensors`` file). A file that does not fit
    the checksum beside it is refused. Raises ``InputError``.
    """
    if not os.path.isfile(path):
        raise InputError(f"weight={str(path)!r}: no such file")
    try:
        if not is_intact(Path(path)):
            raise InputError(f"weight={str(path)!r}: damaged, its sum is not that in {checksum_path(Path(path)).name}")
        if Path(path).suffix == ".safetensors":
            checkpoint: Any = {"state_dict": load_safetensors(path)[0]}
        else:
            _check_archive(path)
            with torch.serialization.safe_globals(NUMPY_NUMBER):
                checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except UNREADABLE as error:
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise InputError(f"weight={str(path)!r}: not a readable checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict):
        raise InputError(f"weight={str(path)!r}: expected a dict in the file, got {type(checkpoint).__name__}")
    if "state_dict" not in checkpoint:
        checkpoint = {"state_dict": checkpoint}
    weights = checkpoint["state_dict"]
    if not isinstance(weights, dict) or not any(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"weight={str(path)!r}: no model weights in the file (expected a key 'state_dict')")
    _check_tensors(path, "state_dict", weights)
    if checkpoint.get("ema") is not None:
        _check_tensors(path, "ema", checkpoint["ema"])
    return checkpoint


def is_plain_tensor(value: Any) -> bool:
    """Whether it is a tensor of numbers that can be copied into another."""
    if not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not (value.is_quantized or value.is_meta or value.is_complex())


def _check_tensors(path: str | Path, entry: str, values: Any) -> None:
    if not isinstance(values, dict):
        raise InputError(f"weight={str(path)!r}: {entry}: got {type(values).__name__}, wanted tensors by name")
    for name, value in values.items():
        if not isinstance(name, str) or not is_plain_tensor(value):
            kind = type(value).__name__
            raise InputError(
                f"weight={str(path)!r}: {entry}[{name!r}]: got {kind}, wanted a dense tensor of real numbers"
            )


def _check_archive(path: str | Path) -> None:
    """Refuse what may announce more than the file holds: archives that are packed, and torch's format before 1.6."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise InputError(
                f"weight={str(path)!r}: not a readable checkpoint (no archive as torch 1.6 and later write)"
            )
        with zipfile.ZipFile(file) as archive:
            announced = sum(member.file_size for member in archive.infolist())
    size = os.path.getsize(path)
    if announced > size:
        raise InputError(f"weight={str(path)!r}: not a readable checkpoint (announces {announced} bytes, has {size})")


def evaluated_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights that were evaluated: the moving average where one was kept (``ema``), else those trained."""
    return {**checkpoint["state_dict"], **(checkpoint.get("ema") or {})}


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
    load_model_state(unwrap(model), weights)
