"""Which of torch's attention kernels is fastest for a shape: measured once on the GPU, then remembered.

cuDNN, FlashAttention and the memory-efficient kernel differ by up to 3 times, and which one wins depends on the
lengths, the head width and on whether there is a backward pass. ``PCBSA_SDPA`` (``flash``, ``cudnn``, ``efficient``,
``torch``) fixes the choice; ``torch`` leaves it to torch, as does ``torch.use_deterministic_algorithms``.
"""

from __future__ import annotations

import os
import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pointcept_bsa.errors import InputError

BACKENDS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
WARM_UP, RUNS = 2, 3
_fastest: dict[tuple[object, ...], str | None] = {}


def fastest_backend(q: Tensor, k: Tensor, mask: Tensor | None) -> AbstractContextManager[object]:
    """The context in which ``scaled_dot_product_attention`` of (B, H, Q, D) and (B, H, K, D) runs fastest.

    A shape seen for the first time is measured (which waits for the device), except while a CUDA graph is captured or
    a compiler traces: then torch chooses. Lengths within a power of two count as the same shape.
    """
    wanted = os.environ.get("PCBSA_SDPA") or "auto"
    if wanted not in ("auto", "torch", *BACKENDS):
        raise InputError(f"PCBSA_SDPA: got {wanted!r}, wanted one of auto, torch, {', '.join(BACKENDS)}")
    if wanted in BACKENDS:
        return sdpa_kernel(BACKENDS[wanted])
    if wanted == "torch" or not q.is_cuda or torch.compiler.is_compiling():
        return nullcontext()
    if torch.are_deterministic_algorithms_enabled():
        return nullcontext()
    backward = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad)
    lengths = (q.shape[2].bit_length(), k.shape[2].bit_length())
    shape = (q.device, q.dtype, q.shape[0], q.shape[1], q.shape[3], *lengths, mask is not None, backward)
    if shape not in _fastest:
        if torch.cuda.is_current_stream_capturing():
            return nullcontext()
        _fastest[shape] = _measure(q, k, mask, backward)
    name = _fastest[shape]
    if name is None:
        return nullcontext()
    others = [b for n, b in BACKENDS.items() if n != name]  # for a length that the measured one does not take
    return sdpa_kernel([BACKENDS[name], *others, SDPBackend.MATH], set_priority=True)


def chosen_backends() -> dict[str, str]:
    """What was chosen so far, by shape, for reports."""
    return {str(shape): name or "torch" for shape, name in _fastest.items()}


@torch.enable_grad()
def _measure(q: Tensor, k: Tensor, mask: Tensor | None, backward: bool) -> str | None:
    """The backend with the shortest time, or None if none of them takes this shape.

    The numbers it is measured on come from a generator of their own: the run's random stream stays where it is.
    """
    times: dict[str, float] = {}
    generator = torch.Generator(q.device).manual_seed(0)
    for name, backend in BACKENDS.items():
        try:
            query, key, value = (
                torch.empty_like(t).normal_(generator=generator).requires_grad_(backward) for t in (q, k, k)
            )
            with sdpa_kernel(backend), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch tells why it leaves a backend out
                times[name] = _time(query, key, value, mask)
        except RuntimeError:  # the backend does not take the shape or type, or has no memory for it
            continue
    return min(times, key=times.__getitem__) if times else None


def _time(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for run in range(WARM_UP + RUNS):
        if run == WARM_UP:
            begin.record()
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        if query.requires_grad:
            torch.autograd.grad(out, (query, key, value), torch.ones_like(out))
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)
