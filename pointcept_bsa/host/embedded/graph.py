"""Forward and backward of a training step as a CUDA graph, for batches whose shapes come back.

A network of many small kernels is bound by the host that launches them one by one; a graph launches all of them at
once. The arithmetic is the same.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Batch = dict[str, Any]
Signature = tuple[tuple[Any, ...], ...]
WARMUP_STEPS = 3  # eager steps of a shape before it is captured: libraries and allocator settle
MAX_GRAPHS = 16  # shapes beyond this run eagerly; each graph keeps its own activations


class GraphedStep:
    """Runs ``forward(batch) -> {"loss": ..., ...}`` and its backward pass; captured per shape of the batch.

    The gradients stay the same tensors throughout, and every call overwrites them. The first steps of each shape are
    eager ones, and are training steps like any other.

    Args:
        model: whose gradients are computed.
        forward: the model under whatever autocast it trains with.
        logger: told about captures.
    """

    def __init__(self, model: nn.Module, forward: Callable[[Batch], dict[str, Tensor]], logger: logging.Logger) -> None:
        self.forward, self.logger = forward, logger
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.stream = torch.cuda.Stream()
        self.pool = torch.cuda.graph_pool_handle()
        self.seen: Counter[Signature] = Counter()
        self.graphs: dict[Signature, tuple[torch.cuda.CUDAGraph, Batch, dict[str, Tensor]]] = {}
        self.gradients = [torch.zeros_like(p) for p in self.parameters]
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of the batch (tensors of their own); the gradients are in the parameters."""
        signature = _signature(batch)
        if signature not in self.graphs:
            self.seen[signature] += 1
            if self.seen[signature] <= WARMUP_STEPS or len(self.graphs) == MAX_GRAPHS:
                return self._eager(batch)
            self._capture(signature, batch)
        graph, inputs, outputs = self.graphs[signature]
        for key, value in batch.items():
            if isinstance(value, Tensor):
                inputs[key].copy_(value, non_blocking=True)
        graph.replay()
        return {key: value.clone() for key, value in outputs.items()}

    def _eager(self, batch: Batch) -> dict[str, Tensor]:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            outputs = self._forward_backward(batch)
        torch.cuda.current_stream().wait_stream(self.stream)
        return outputs

    def _capture(self, signature: Signature, batch: Batch) -> None:
        inputs: Batch = {key: value.clone() if isinstance(value, Tensor) else value for key, value in batch.items()}
        for key, value in inputs.items():
            if hasattr(batch[key], "host_values"):
                value.host_values = batch[key].host_values
        graph = torch.cuda.CUDAGraph()
        # Thread-local: the thread that pins the next batches goes on using CUDA meanwhile.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            outputs = self._forward_backward(inputs)
        self.graphs[signature] = (graph, inputs, outputs)
        count = len(self.graphs)
        self.logger.info(f"CUDA graph {count} captured: {len(batch['coord'])} points in {len(batch['offset'])} clouds")
        if count == MAX_GRAPHS:
            self.logger.warning(f"cuda_graph: {MAX_GRAPHS} shapes captured; batches of any other shape run eagerly")

    def _forward_backward(self, batch: Batch) -> dict[str, Tensor]:
        torch._foreach_zero_(self.gradients)
        outputs = self.forward(batch)
        outputs["loss"].backward()
        return {key: value.detach() for key, value in outputs.items()}


def _signature(batch: Batch) -> Signature:
    """What must be equal for a graph to serve another batch: shapes, types, and the sizes of the clouds."""
    return tuple(
        (key, tuple(value.shape), value.dtype, tuple(getattr(value, "host_values", ())))
        for key, value in batch.items()
        if isinstance(value, Tensor)
    )
