"""Checkpoints: read without running code, checked against their sums, loaded with a clear word if they do not fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.nn.parameter import is_lazy

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.checkpoint_file import read_checkpoint
from pointcept_bsa.host.weight import refuse_no_file
from pointcept_bsa.training.checkpoints.export import load_safetensors
from pointcept_bsa.training.checkpoints.files import checksum_path, is_intact
from pointcept_bsa.training.processes.sharding import load_model_state

SMALL_MODEL = 10_000  # numbers that a model may have beside those in its file


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU: a dict with ``state_dict``. A bare state dict is taken as one.

    Only tensors and plain containers are read (``weights_only``; or a ``.safetensors`` file). A file that does not fit
    the checksum beside it is refused. Raises ``InputError``.
    """
    refuse_no_file(path)
    try:
        intact = is_intact(Path(path))
    except OSError as error:
        raise InputError(f"weight={str(path)!r}: cannot be read ({error.strerror or error})") from error
    if not intact:
        raise InputError(f"weight={str(path)!r}: damaged, its sum is not that in {checksum_path(Path(path)).name}")
    if Path(path).suffix == ".safetensors":
        checkpoint: Any = {"state_dict": load_safetensors(path)[0]}
    else:
        checkpoint = read_checkpoint(path)
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


def evaluated_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights that were evaluated: the moving average where one was kept (``ema``), else those trained."""
    return {**checkpoint["state_dict"], **(checkpoint.get("ema") or {})}


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, without what torch wraps around it where several processes or GPUs train it."""
    wrapped = isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel)
    return model.module if wrapped else model  # type: ignore[return-value]


@contextlib.contextmanager
def no_larger_than(weights: Mapping[str, Tensor], path: str | Path) -> Iterator[None]:
    """Build a model for ``weights`` within: one that comes to be much larger than these is stopped, before it has taken
    all memory or time. (A file from a stranger says in a few letters what would.)

    Raises ``InputError``.
    """
    total = sum(value.numel() for value in weights.values())
    left = 2 * total + SMALL_MODEL  # constructors may put one tensor in the place of another

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal left
        if value is not None and not is_lazy(value):
            left -= value.numel()
        if left < 0:
            raise InputError(
                f"weight={str(path)!r}: the config describes a model of more than twice the {total} numbers in the file"
            )

    handles = [
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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
        of_norms = ("norm_is_", "running_mean")
        hint = "; another model.norm?" if any(n in name for name in missing + unexpected for n in of_norms) else ""
        raise InputError(f"weight={str(path)!r}: a checkpoint of another model: {', '.join(parts)}{hint}")
    load_model_state(unwrap(model), weights)
