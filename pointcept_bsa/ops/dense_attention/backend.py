"""Which attention kernel is fastest for a shape: measured once on the GPU, then remembered.

cuDNN, FlashAttention, torch's memory-efficient kernel and, for heads of up to 32 channels, the one of :mod:`.narrow`
differ by up to 3 times, and which one wins depends on the lengths, the head width and on whether there is a backward
pass. ``PCBSA_SDPA`` (``flash``, ``cudnn``, ``efficient``, ``narrow``, ``torch``) fixes the choice; ``torch`` leaves it
to torch, as does ``torch.use_deterministic_algorithms``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import _disable_current_modes

from pointcept_bsa.errors import InputError

from . import narrow

BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
NARROW, TORCH = "narrow", "torch"
WARM_UP, RUNS = 2, 3
HEAD_START = 20_000_000  # cycles that the device waits, some 10 ms, while the launches queue up behind
_fastest: dict[tuple[object, ...], str | None] = {}
Timer = Callable[[Callable[[], object]], float]  # calls it, returns a time


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(D)) v by what runs fastest: (B, H, Q, D), (B, H, K, D), mask (B, 1, 1, K) -> (B, H, Q, D).

    A shape seen for the first time is measured (which waits for the device), except while a CUDA graph is captured or
    a compiler traces: then torch chooses. Lengths within a power of two count as the same shape.
    """
    wanted = _wanted()
    if wanted not in ("auto", TORCH, NARROW, *BACKENDS):
        names = ", ".join(("auto", TORCH, *BACKENDS, NARROW))
        raise InputError(f"PCBSA_SDPA: got {wanted!r}, wanted one of {names}")
    if wanted == NARROW and (why_not := narrow.unsupported(q, k, v)):
        raise InputError(f"PCBSA_SDPA: got 'narrow', but it cannot run so: {why_not}")
    if wanted != "auto":
        return _run(wanted, q, k, v, mask)
    name = fastest_backend(q, k, v, mask)
    if name is None or name == NARROW and narrow.unsupported(q, k, v):
        return _run(TORCH, q, k, v, mask)
    if name == NARROW:
        return _run(NARROW, q, k, v, mask)
    others = [b for n, b in BACKENDS.items() if n != name]  # for a length that the measured one does not take
    with sdpa_kernel([BACKENDS[name], *others, SDPBackend.MATH], set_priority=True):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def is_asked_for() -> bool:
    """Whether ``PCBSA_SDPA`` names a kernel."""
    return _wanted() != "auto"


def _wanted() -> str:
    return os.environ.get("PCBSA_SDPA") or "auto"


def fastest_backend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> str | None:
    """The name of what is fastest for :func:`attend`, or None where torch is to choose."""
    if not q.is_cuda or torch.compiler.is_compiling() or torch.are_deterministic_algorithms_enabled():
        return None
    backward = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad)
    lengths = (q.shape[2].bit_length(), k.shape[2].bit_length())
    shape = (q.device, q.dtype, q.shape[0], q.shape[1], q.shape[3], *lengths, mask is not None, backward)
    if shape not in _fastest:
        if torch.cuda.is_current_stream_capturing():
            return None
        _fastest[shape] = measured_fastest(q, k, v, mask, backward)
    return _fastest[shape]


def chosen_backends() -> dict[str, str]:
    """What was chosen so far, by shape, for reports."""
    return {str(shape): name or "torch" for shape, name in _fastest.items()}


def _run(name: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """By the named kernel alone; an error of torch's where it does not take the shape."""
    if name == NARROW:
        return narrow.narrow_attention(q, k, v, None if mask is None else mask.flatten(1))
    if name == TORCH:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with sdpa_kernel(BACKENDS[name]):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@contextmanager
def unobserved() -> Iterator[None]:
    """Nobody counts what is computed within, and nobody sees what it saves: neither counters of operations nor a
    checkpointed block, which compares what it saved with what its recomputation saves, where nothing is measured."""

    def as_it_is(x: Tensor) -> Tensor:
        return x

    with _disable_current_modes(), torch.autograd.graph.saved_tensors_hooks(as_it_is, as_it_is):
        yield


@torch.enable_grad()
def measured_fastest(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, backward: bool, timer: Timer | None = None
) -> str | None:
    """The kernel with the shortest time, or None if none of them takes this shape.

    The numbers it is measured on come from a generator of their own: the run's random stream stays where it is.

    Args:
        q, k, v, mask: as of :func:`attend`.
        backward: whether the backward pass counts, too.
        timer: how a call is timed; by default on the GPU, see :func:`gpu_timer`.
    """
    times: dict[str, float] = {}
    generator = torch.Generator(q.device).manual_seed(0)
    for name in (*BACKENDS, *([] if narrow.unsupported(q, k, v) else [NARROW])):
        try:
            leaves = [torch.empty_like(t).normal_(generator=generator).requires_grad_(backward) for t in (q, k, v)]
            with warnings.catch_warnings(), unobserved():
                warnings.simplefilter("ignore")  # torch tells why it leaves a backend out
                times[name] = (timer or gpu_timer)(partial(_passes, name, leaves, mask))
        except RuntimeError:  # the backend does not take the shape or type, or has no memory for it
            continue
    return min(times, key=times.__getitem__) if times else None


def _passes(name: str, leaves: Sequence[Tensor], mask: Tensor | None) -> None:
    q, k, v = leaves
    out = _run(name, q, k, v, mask)
    if out.requires_grad:
        torch.autograd.grad(out, leaves, torch.ones_like(out))


def gpu_timer(call: Callable[[], object]) -> float:
    """Time of a few calls on the device without that of their launches, which a CUDA graph does not pay."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for run in range(WARM_UP + RUNS):
        if run == WARM_UP:
            torch.cuda._sleep(HEAD_START)
            begin.record()
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)
