"""Ways to run the same network: launched eagerly, replayed as a CUDA graph, compiled; kernels or plain torch.

The dense baseline has one more choice, the backend of ``scaled_dot_product_attention``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pointcept_bsa.host.captured import CapturedBatch
from pointcept_bsa.host.memory import is_out_of_memory
from pointcept_bsa.samples import Batch
from pointcept_bsa.training.evaluation.flops import environment_variable

OPS_VARIABLE = "PCBSA_OPS"  # read by pointcept_bsa.ops: auto, reference or triton
SDPA_VARIABLE = "PCBSA_SDPA"  # read by ops.dense_attention: flash, cudnn, efficient, narrow, torch or its own choice
AUTO, REFERENCE = "auto", "reference"
BACKENDS = {  # None: not one of torch's, but the own kernel for narrow heads
    "flash": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "narrow": None,
}
WARMUP_CALLS = 3  # before a capture: libraries and allocator settle

Call = Callable[[Any], Any]


class NotPossible(RuntimeError):
    """A network that cannot run in the mode asked for; the message says why."""


def operators(path: str | None) -> contextlib.AbstractContextManager[Any]:
    """Have ``pointcept_bsa.ops`` take its kernels where they apply (``auto``), or plain torch (``reference``).

    None leaves what the environment says.
    """
    return contextlib.nullcontext() if path is None else environment_variable(OPS_VARIABLE, path)


def dense_backends(cfg: Mapping[str, Any], device: torch.device) -> tuple[str | None, ...]:
    """The backends to try for a network of dense attention on CUDA.

    (None,), the choice of the operators, for any other, and for all where ``PCBSA_SDPA`` has made the choice.
    """
    chosen = os.environ.get(SDPA_VARIABLE, "auto") not in ("", "auto")
    return (None,) if chosen or not is_dense(cfg) or device.type != "cuda" else tuple(BACKENDS)


def is_dense(cfg: Mapping[str, Any]) -> bool:
    """Whether it is the network of dense attention, whose operators have no plain version beside the library's."""
    return str((cfg["model"].get("backbone") or {}).get("type", "")).startswith("FullAttention")


@contextlib.contextmanager
def attention_backend(name: str | None) -> Iterator[None]:
    """Have ``scaled_dot_product_attention`` run on this backend alone, wherever it is called from."""
    if name is None:
        yield
        return
    kernel = BACKENDS[name]
    with environment_variable(SDPA_VARIABLE, name.lower()), sdpa_kernel(kernel) if kernel else contextlib.nullcontext():
        yield


class Replay(CapturedBatch):
    """``call(batch)``, recorded once as a CUDA graph; calling this copies a batch of the same shape and replays it.

    Raises:
        NotPossible: the call cannot be recorded: it waits for the device, or its shapes depend on values.
    """

    def __init__(self, call: Call, example: Mapping[str, Tensor]) -> None:
        batch = Batch.of(example)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUP_CALLS):
                call(batch)
        torch.cuda.current_stream().wait_stream(stream)
        try:
            super().__init__(call, batch, stream=stream)
        except RuntimeError as error:
            for each in (error, error.__context__):
                if each is not None and is_out_of_memory(each):
                    raise MemoryError("out of memory while capturing") from error
            raise NotPossible(f"cannot be captured: {first_line(error)}") from error


def compiled(model: nn.Module) -> nn.Module:
    """The model under ``torch.compile`` for shapes that stay; nothing is kept of what was compiled before."""
    torch._dynamo.reset()
    return torch.compile(model, dynamic=False)  # type: ignore[return-value]


def is_compile_error(error: BaseException) -> bool:
    """Whether torch.compile gave up, rather than the network."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def first_line(error: BaseException) -> str:
    """Its message's first line, cut to a table's note."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160]
