"""Forward and backward of a training step as a CUDA graph, for batches whose shapes come back.

A network of many small kernels is bound by the host that launches them one by one; a graph launches all of them at
once. The arithmetic is the same.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.host.captured import CapturedBatch
from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.samples import ENDS, Batch, entry, host_ends
from pointcept_bsa.training.flat_gradients import FlatGradients

Signature = tuple[tuple[Any, ...], ...]
WARMUP_STEPS = 3  # eager steps of a shape before it is captured: libraries and allocator settle
MAX_GRAPHS = 16  # kept at once: each keeps its own activations; shapes beyond them run eagerly
MAX_SHAPES = 4096  # of which it is known how often they came


class GraphedStep:
    """Runs ``forward(batch) -> {"loss": ..., ...}`` and its backward pass; captured per shape of the batch.

    The gradients stay the same tensors throughout, and every call overwrites them. The first steps of each shape are
    eager ones, and are training steps like any other.

    Args:
        model: whose gradients are computed.
        forward: the model under whatever autocast it trains with.
        logger: told about captures.
        cast_dtype: the type to which ``forward``'s autocast casts the weights of linear layers: done at once here.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[Batch], dict[str, Tensor]],
        logger: logging.Logger,
        cast_dtype: torch.dtype | None = None,
    ) -> None:
        self.forward, self.logger = forward, logger
        self.stream = torch.cuda.Stream()
        self.pool = torch.cuda.graph_pool_handle()
        self.seen: Counter[Signature] = Counter()
        self._told = False
        self.graphs: dict[Signature, CapturedBatch] = {}
        self.gradients = FlatGradients(model)
        self.cast = None if cast_dtype is None else CastWeights(model, cast_dtype)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Losses of the batch (tensors of their own); the gradients, those of all processes, are in the parameters."""
        losses = self._run(Batch.of(batch))  # which knows its lengths: nothing may be read while it is captured
        self.gradients.average()  # outside of the graph: processes meet other shapes, and capture at other times
        return losses

    def _run(self, batch: Batch) -> dict[str, Tensor]:
        signature = _signature(batch)
        self._count(signature)
        if signature not in self.graphs:
            outputs = self._eager(batch)
            # Captured on the heels of an eager step: all tables of these shapes are on the device, in whatever cache.
            if self.seen[signature] >= WARMUP_STEPS and self._make_room(signature):
                self._capture(signature, batch)
            return outputs
        return {key: value.clone() for key, value in self.graphs[signature](batch).items()}

    def _count(self, signature: Signature) -> None:
        self.seen[signature] += 1
        if len(self.seen) > MAX_SHAPES:  # ragged data: nearly every batch has a shape of its own
            self.seen = Counter(dict(self.seen.most_common(MAX_SHAPES // 2)))
            self.seen.update(dict.fromkeys(self.graphs.keys() - self.seen.keys(), 1))

    def _make_room(self, signature: Signature) -> bool:
        """Whether another graph may be captured; the one least used goes if this shape came twice as often."""
        if len(self.graphs) < MAX_GRAPHS:
            return True
        coldest = min(self.graphs, key=self.seen.__getitem__)
        if self.seen[signature] < 2 * self.seen[coldest]:
            return False
        del self.graphs[coldest]
        return True

    def _eager(self, batch: Batch) -> dict[str, Tensor]:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            outputs = self._forward_backward(batch)
        torch.cuda.current_stream().wait_stream(self.stream)
        return outputs

    def _capture(self, signature: Signature, batch: Batch) -> None:
        self.graphs[signature] = CapturedBatch(self._forward_backward, batch, pool=self.pool, stream=self.stream)
        count = len(self.graphs)
        self.logger.info(f"CUDA graph {count} captured: {len(batch['coord'])} rows in {len(batch['offset'])} clouds")
        if count == MAX_GRAPHS and not self._told:
            self._told = True
            self.logger.warning(
                f"cuda_graph: {MAX_GRAPHS} shapes captured; batches of any other, unless it comes more often, run "
                f"eagerly (pad_clouds, or BucketPoints in data.train.transform, makes few shapes of many)"
            )

    def _forward_backward(self, batch: Batch) -> dict[str, Tensor]:
        self.gradients.part()
        with self.cast.swapped_in() if self.cast is not None else nullcontext():
            outputs = self.forward(batch)
            outputs["loss"].backward()
        self.gradients.take(self.cast.gradients() if self.cast is not None else None)
        return {key: value.detach() for key, value in outputs.items()}


def _signature(batch: Batch) -> Signature:
    """What must be equal for a graph to serve another batch: shapes, types, and the sizes of the clouds."""
    return tuple(
        (key, tuple(value.shape), value.dtype, host_ends(batch, key) if entry(key).rows == ENDS else ())
        for key, value in batch.items()
        if isinstance(value, Tensor)
    )
