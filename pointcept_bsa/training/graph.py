"""Faster steps of a training: forward and backward as a CUDA graph, for batches whose shapes come back, with all
gradients side by side; blocks by torch.compile.

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
import torch.distributed as dist
from torch import Tensor, nn

from pointcept_bsa.distributed.collectives import GRADIENTS, reduce
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host.captured import CapturedBatch
from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.samples import ENDS, Batch, entry, host_ends

ALIGNED = 64  # elements: every gradient starts where vector loads can


class FlatGradients:
    """The gradients of the trained parameters; their tensors stay the same for good.

    ``optimizer.zero_grad`` would part them from their parameters: call ``zero_``, or ``part`` and ``take``.
    """

    def __init__(self, model: nn.Module) -> None:
        groups: dict[torch.dtype, list[nn.Parameter]] = {}
        for parameter in model.parameters():
            if parameter.requires_grad:
                groups.setdefault(parameter.dtype, []).append(parameter)
        self.places: dict[nn.Parameter, Tensor] = {}
        self.buffers = [self._lay_out(parameters) for parameters in groups.values()]

    def _lay_out(self, parameters: list[nn.Parameter]) -> Tensor:
        starts, total = [], 0
        for parameter in parameters:
            starts.append(total)
            total += -(-parameter.numel() // ALIGNED) * ALIGNED
        buffer = parameters[0].new_zeros(total)
        for start, parameter in zip(starts, parameters, strict=True):
            parameter.grad = self.places[parameter] = buffer[start : start + parameter.numel()].view_as(parameter)
        return buffer

    def zero_(self) -> None:
        """Begin anew."""
        for buffer in self.buffers:
            buffer.zero_()

    def part(self) -> None:
        """Let the next backward pass leave gradients of its own, which it need not add to anything: ``take`` them."""
        for parameter in self.places:
            parameter.grad = None

    def take(self, others: dict[nn.Parameter, Tensor] | None = None) -> None:
        """Copy the gradients that the backward pass left, by a few kernels; those of parameters without any are zero.

        Args:
            others: gradients that arrived elsewhere, of any floating type.
        """
        found = {p: p.grad for p in self.places if p.grad is not None}
        for parameter, gradient in (others or {}).items():  # of one used in two ways a part arrives at each place
            own = found.get(parameter)
            found[parameter] = gradient if own is None else own + gradient
        for parameter, place in self.places.items():
            if parameter not in found:
                place.zero_()
            parameter.grad = place
        # One pair of types at a time, and laid out alike: otherwise torch copies them one by one.
        groups: dict[tuple[torch.dtype, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
        for parameter, gradient in found.items():
            places, gradients = groups.setdefault((parameter.dtype, gradient.dtype), ([], []))
            places.append(self.places[parameter].view(-1))
            gradients.append(gradient.reshape(-1))
        with torch.no_grad():
            for places, gradients in groups.values():
                torch._foreach_copy_(places, gradients)

    def average(self) -> None:
        """Make each gradient the mean over the processes."""
        processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if processes == 1:
            return
        everyone = dist.group.WORLD
        assert everyone is not None
        self.sum(everyone)
        for buffer in self.buffers:
            buffer /= processes

    def sum(self, group: dist.ProcessGroup) -> None:
        """Add up each gradient over the processes of a group."""
        for buffer in self.buffers:
            reduce(buffer, group, GRADIENTS)


Signature = tuple[tuple[Any, ...], ...]
WARMUP_STEPS = 3  # eager steps of a shape before it is captured: libraries and allocator settle
MAX_GRAPHS = 16  # kept at once: each keeps its own activations; shapes beyond them run eagerly
MAX_SHAPES = 4096  # of which it is known how often they came


class GraphsOfShapes:
    """The graphs of the shapes that come most often.

    Args:
        most: graphs kept at once.
        remembered: shapes of which it is known how often they came; then half of them, the rarest, are forgotten.
    """

    def __init__(self, most: int = MAX_GRAPHS, remembered: int = MAX_SHAPES) -> None:
        self.most, self.remembered = most, remembered
        self.seen: Counter[Signature] = Counter()
        self.graphs: dict[Signature, CapturedBatch] = {}

    def count(self, signature: Signature) -> int:
        """How often a shape has come, this time counted."""
        self.seen[signature] += 1
        if len(self.seen) > self.remembered:  # ragged data: nearly every batch has a shape of its own
            self.seen = Counter(dict(self.seen.most_common(self.remembered // 2)))
            self.seen.update(dict.fromkeys(self.graphs.keys() - self.seen.keys(), 1))
        return self.seen[signature]

    def make_room(self, signature: Signature) -> bool:
        """Whether another graph may be captured; the one least used goes if this shape came twice as often."""
        if len(self.graphs) < self.most:
            return True
        coldest = min(self.graphs, key=self.seen.__getitem__)
        if self.seen[signature] < 2 * self.seen[coldest]:
            return False
        del self.graphs[coldest]
        return True


class FlatStep:
    """Runs ``forward(batch) -> {"loss": ..., ...}`` and its backward pass: weights are cast, and gradients collected,
    all at once, by a few kernels in the place of several for each parameter.

    The gradients stay the same tensors throughout, and every call overwrites them.

    Args:
        model: whose gradients are computed.
        forward: the model under whatever autocast it trains with.
        cast_dtype: the type to which ``forward``'s autocast casts the weights of linear layers: done at once here.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[Batch], dict[str, Tensor]],
        cast_dtype: torch.dtype | None = None,
    ) -> None:
        self.forward = forward
        self.gradients = FlatGradients(model)
        self.cast = None if cast_dtype is None else CastWeights(model, cast_dtype)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Losses of the batch (tensors of their own); the gradients, those of all processes, are in the parameters."""
        losses = self.own(Batch.of(batch))  # which knows its lengths: nothing may be read while it is captured
        self.gradients.average()  # outside of a graph: processes meet other shapes, and capture at other times
        return losses

    def own(self, batch: Batch) -> dict[str, Tensor]:
        """The same with the gradients of this process alone."""
        self.gradients.part()
        with self.cast.swapped_in() if self.cast is not None else nullcontext():
            outputs = self.forward(batch)
            outputs["loss"].backward()
        self.gradients.take(self.cast.gradients() if self.cast is not None else None)
        return {key: value.detach() for key, value in outputs.items()}


class GraphedStep(FlatStep):
    """The same, captured per shape of the batch. The first steps of each shape are eager ones, and are training steps
    like any other. ``logger`` is told about captures."""

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[Batch], dict[str, Tensor]],
        logger: logging.Logger,
        cast_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(model, forward, cast_dtype)
        self.logger = logger
        self.stream = torch.cuda.Stream()
        self.pool = torch.cuda.graph_pool_handle()
        self.shapes = GraphsOfShapes()
        self.graphs = self.shapes.graphs
        self._told = False

    def own(self, batch: Batch) -> dict[str, Tensor]:
        signature = _signature(batch)
        times = self.shapes.count(signature)
        if signature not in self.graphs:
            outputs = self._eager(batch)
            # Captured on the heels of an eager step: all tables of these shapes are on the device, in whatever cache.
            if times >= WARMUP_STEPS and self.shapes.make_room(signature):
                self._capture(signature, batch)
            return outputs
        return {key: value.clone() for key, value in self.graphs[signature](batch).items()}

    def _eager(self, batch: Batch) -> dict[str, Tensor]:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            outputs = super().own(batch)
        torch.cuda.current_stream().wait_stream(self.stream)
        return outputs

    def _capture(self, signature: Signature, batch: Batch) -> None:
        self.graphs[signature] = CapturedBatch(super().own, batch, pool=self.pool, stream=self.stream)
        count = len(self.graphs)
        self.logger.info(f"CUDA graph {count} captured: {len(batch['coord'])} rows in {len(batch['offset'])} clouds")
        if count == MAX_GRAPHS and not self._told:
            self._told = True
            self.logger.warning(
                f"cuda_graph: {MAX_GRAPHS} shapes captured; batches of any other, unless it comes more often, run "
                f"eagerly (pad_clouds, or BucketPoints in data.train.transform, makes few shapes of many)"
            )


def _signature(batch: Batch) -> Signature:
    """What must be equal for a graph to serve another batch: shapes, types, and the sizes of the clouds."""
    return tuple(
        (key, tuple(value.shape), value.dtype, host_ends(batch, key) if entry(key).rows == ENDS else ())
        for key, value in batch.items()
        if isinstance(value, Tensor)
    )


def compile_blocks(model: nn.Module, backend: bool | str) -> int:
    """Compile each transformer block in place (names and checkpoints stay as they are); return how many there are.

    All blocks of a kind share their code, so that one of them is compiled for each shape of a batch. After 8 shapes
    torch runs others eagerly and says so.

    Args:
        backend: True for torch's default, or the name of a backend.

    Raises:
        InputError: a backend that torch does not know, or a model without blocks.
    """
    import torch._dynamo  # slow to import: only where it is wanted

    name = "inductor" if backend is True else str(backend)
    known = torch._dynamo.list_backends(exclude_tags=())
    if name not in known:
        wanted = f"wanted True or one of {', '.join(known)}"
        raise InputError(f"compile: got backend {name!r}, {wanted}{nearest(name, known)}")
    blocks = [module for module in model.modules() if getattr(module, "shard_unit", False)]
    if not blocks:
        raise InputError("compile: the model has no transformer blocks, wanted compile=False")
    for block in blocks:
        block.compile(backend=name, dynamic=False)
    return len(blocks)
