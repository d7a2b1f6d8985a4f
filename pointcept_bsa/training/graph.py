"""Faster steps of a training: forward and backward as a CUDA graph, for batches whose shapes come back, with all
gradients side by side; blocks by torch.compile.

A network of many small kernels is bound by the host that launches them one by one; a graph launches all of them at
once. The arithmetic is the same.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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

Unused = tuple[nn.Parameter, ...]
ALIGNED = 64  # elements: every gradient starts where vector loads can


class FlatGradients:
    """The gradients of the trained parameters side by side, each always in the same place.

    A backward pass leaves gradients of its own, which ``take`` copies there; ``part`` begins anew. The ``grad`` of a
    parameter that had no part in it, nor in that of any other process once gradients are summed, is None, as without
    this class: optimizers leave such a parameter alone, where one of zeros would have them decay it.
    """

    def __init__(self, model: nn.Module) -> None:
        groups: dict[torch.dtype, list[nn.Parameter]] = {}
        for parameter in model.parameters():
            if parameter.requires_grad:
                groups.setdefault(parameter.dtype, []).append(parameter)
        self.places: dict[nn.Parameter, Tensor] = {}
        self.used: list[dict[nn.Parameter, Tensor]] = []  # of each buffer, behind the gradients: in how many processes
        self.buffers = [self._lay_out(parameters) for parameters in groups.values()]
        self.part()

    def _lay_out(self, parameters: list[nn.Parameter]) -> Tensor:
        starts, total = [], 0
        for parameter in parameters:
            starts.append(total)
            total += -(-parameter.numel() // ALIGNED) * ALIGNED
        buffer = parameters[0].new_zeros(total + len(parameters))
        for start, parameter in zip(starts, parameters, strict=True):
            self.places[parameter] = buffer[start : start + parameter.numel()].view_as(parameter)
        self.used.append(dict(zip(parameters, buffer[total:], strict=True)))
        return buffer

    def part(self) -> None:
        """Let the next backward pass leave gradients of its own, which it need not add to anything: ``take`` them."""
        self.hold(self.places)

    def hold(self, unused: Iterable[nn.Parameter]) -> None:
        """Let the parameters have what lies in their places as gradients, but these of them none."""
        self.unused: Unused = tuple(unused)
        for parameter, place in self.places.items():
            parameter.grad = place
        for parameter in self.unused:
            parameter.grad = None

    def take(self, others: dict[nn.Parameter, Tensor] | None = None) -> None:
        """Copy the gradients that the backward pass left, by a few kernels.

        Args:
            others: gradients that arrived elsewhere, of any floating type.
        """
        found = {p: p.grad for p in self.places if p.grad is not None}
        for parameter, gradient in (others or {}).items():  # of one used in two ways a part arrives at each place
            own = found.get(parameter)
            found[parameter] = gradient if own is None else own + gradient
        self.hold(parameter for parameter in self.places if parameter not in found)
        for parameter in self.unused:  # another process may have used it
            self.places[parameter].zero_()
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
        """Make each gradient the mean over the processes; one that used a parameter in no way counts as zeros."""
        processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if processes == 1:
            return
        everyone = dist.group.WORLD
        assert everyone is not None
        self.sum(everyone)
        for buffer in self.buffers:
            buffer /= processes

    def sum(self, group: dist.ProcessGroup) -> None:
        """Add up each gradient over the processes of a group.

        The host waits for the device where this process has not used all parameters, as that of torch's DDP does.
        """
        for buffer, used in zip(self.buffers, self.used, strict=True):
            buffer[-len(used) :].fill_(1)
            for parameter in self.unused:
                if parameter in used:
                    used[parameter].zero_()
            reduce(buffer, group, GRADIENTS)
        if self.unused:
            counts: dict[nn.Parameter, float] = {}
            for buffer, used in zip(self.buffers, self.used, strict=True):
                counts |= zip(used, buffer[-len(used) :].tolist(), strict=True)
            self.hold(parameter for parameter in self.unused if counts[parameter] == 0)


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
        self.graphs: dict[Signature, tuple[CapturedBatch, Unused]] = {}

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

    A gradient is always in the same place, and every call overwrites it; a parameter that was used in no process has
    none.

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
        captured, unused = self.graphs[signature]
        outputs = {key: value.clone() for key, value in captured(batch).items()}
        self.gradients.hold(unused)  # which the host says, not the graph
        return outputs

    def _eager(self, batch: Batch) -> dict[str, Tensor]:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            outputs = super().own(batch)
        torch.cuda.current_stream().wait_stream(self.stream)
        return outputs

    def _capture(self, signature: Signature, batch: Batch) -> None:
        captured = CapturedBatch(super().own, batch, pool=self.pool, stream=self.stream)
        self.graphs[signature] = captured, self.gradients.unused
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
