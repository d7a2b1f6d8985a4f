"""Which implementation of an operator runs: the Triton kernel or plain torch.

``PCBSA_OPS``
    ``auto``       (default) the kernel on CUDA for the types it is written for, else plain torch
    ``reference``  plain torch everywhere
    ``triton``     the kernel everywhere; an error where it cannot run. On the CPU this needs Triton's interpreter
                   (``TRITON_INTERPRET=1`` before the first import), which is slow and meant for tests
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from pointcept_bsa.errors import InputError

CHOICES = ("auto", "reference", "triton")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


_TRITON = importlib.util.find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")


def triton_installed() -> bool:
    """Whether the package triton is there. It is not imported."""
    return _TRITON


def interpreted() -> bool:
    """Whether Triton interprets its kernels, so that they run on the CPU: decided once, at import."""
    return _INTERPRETED


def choice() -> str:
    """The value of ``PCBSA_OPS``."""
    value = os.environ.get("PCBSA_OPS") or "auto"
    if value not in CHOICES:
        raise InputError(f"PCBSA_OPS: got {value!r}, wanted one of {', '.join(CHOICES)}")
    return value


def use_triton(operator: str, *tensors: Tensor | None, unsupported: str | None = None) -> bool:
    """Whether ``operator`` runs as a Triton kernel on these tensors.

    Args:
        operator: its name, for the error.
        tensors: those whose device and type decide.
        unsupported: what the kernel cannot do of this call, or None.

    Raises:
        InputError: ``PCBSA_OPS=triton`` where the kernel cannot run.
    """
    wanted = choice()
    if wanted == "reference":
        return False
    given = [t for t in tensors if t is not None]
    elsewhere = [t.device for t in given if not t.is_cuda]
    foreign = [t.dtype for t in given if t.dtype not in DTYPES]
    reason = unsupported
    if not triton_installed():
        reason = "triton is not installed"
    elif elsewhere and not interpreted():
        reason = f"tensors are on {elsewhere[0]}, wanted CUDA (or TRITON_INTERPRET=1)"
    elif foreign:
        reason = f"a tensor is {foreign[0]}, wanted float32, bf16 or fp16"
    if wanted == "triton" and reason:
        raise InputError(f"PCBSA_OPS: got 'triton', but {operator} cannot run so: {reason}")
    return reason is None and (wanted == "triton" or not elsewhere)


_captured: set[Tensor] = set()  # a tensor equals itself alone


def kept_for_graphs(table: Tensor) -> Tensor:
    """``table``, from a cache that may drop it. Used while a CUDA graph is captured, it is kept for good: every replay
    reads its memory, whatever has become of the cache."""
    if table.is_cuda and torch.cuda.is_current_stream_capturing():
        _captured.add(table)
    return table


_AS_IT_IS = nullcontext()


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Make the GPU of ``x`` the current one: Triton launches there. Mostly it is."""
    if not x.is_cuda or x.get_device() == torch.cuda.current_device():
        return _AS_IT_IS
    return torch.cuda.device(x.device)
