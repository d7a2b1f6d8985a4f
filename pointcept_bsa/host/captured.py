"""Work that is recorded once as a CUDA graph and launched at once from then on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.samples import ENDS, Batch, entry, host_ends


class Captured:
    """``work()``, recorded on a CUDA device; ``replay()`` does it again, with the same tensors.

    Args:
        work: must not wait for the device, nor have shapes that depend on values.
        how: ``pool`` and ``stream`` of :class:`torch.cuda.graph`.

    Attributes:
        result: what ``work`` returned; a replay overwrites its tensors.
    """

    def __init__(self, work: Callable[[], Any], **how: Any) -> None:
        self.graph = torch.cuda.CUDAGraph()
        # Thread-local: the thread that pins the next batches goes on using CUDA meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local", **how):
            self.result = work()

    def replay(self) -> Any:
        self.graph.replay()
        return self.result


class CapturedBatch(Captured):
    """``work(batch)``, recorded with copies of a batch; called with another one of its shapes, which is copied in."""

    def __init__(self, work: Callable[[Batch], Any], batch: Mapping[str, Any], **how: Any) -> None:
        copies = {key: value.clone() if isinstance(value, Tensor) else value for key, value in batch.items()}
        self.inputs = Batch.of(copies, {key: host_ends(batch, key) for key in copies if entry(key).rows == ENDS})
        super().__init__(lambda: work(self.inputs), **how)

    def __call__(self, batch: Mapping[str, Any]) -> Any:
        for key, value in batch.items():
            if isinstance(value, Tensor):
                self.inputs[key].copy_(value, non_blocking=True)
        return self.replay()
