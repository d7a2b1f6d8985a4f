"""How much each branch of a sparse attention contributes: the means of its gates."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.distributed.parts import sum_over_parts
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention

BRANCHES: dict[type[nn.Module], tuple[str, str, str]] = {
    BallSparseAttention: ("ball", "compression", "selection"),
    NativeSparseAttention: ("local", "compressed", "selected"),
}


class GateMeans:
    """Means of sigmoid gates over the real points and the heads, of the forward passes that were watched; of anchors
    and queries those of the anchors.

    Blocks are counted in the order of the model's modules.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = [m for m in model.modules() if type(m) in BRANCHES]
        self.sums: dict[int, Tensor] = {}  # block -> (3,)
        self.counts: dict[int, int] = {}
        self._valid: dict[int, Tensor | None] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """A context in which forward passes are watched. Only within it the layers have hooks: none is left to be
        captured in a CUDA graph."""
        handles = []
        for block, layer in enumerate(self.layers):
            handles.append(layer.register_forward_pre_hook(self._see_layout(block)))
            handles.append(layer.get_submodule("gate").register_forward_hook(self._see_gate(block)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _see_layout(self, block: int) -> Any:
        def hook(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
            self._valid[block] = arguments[1].valid

        return hook

    def _see_gate(self, block: int) -> Any:
        def hook(gate: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
            if block not in self._valid:  # of queries behind anchors
                return
            values = output.detach().float().sigmoid().unflatten(-1, (3, -1)).mean(-1)  # (S, 3)
            valid = self._valid.pop(block)
            if valid is not None:
                values = values[valid]
            self.sums[block] = self.sums.get(block, torch.zeros_like(values[0])) + values.sum(0)
            self.counts[block] = self.counts.get(block, 0) + len(values)

        return hook

    def result(self) -> list[dict[str, float]]:
        """{branch: mean} of each block that was run; of whole clouds, also where processes have parts of them."""
        found = []
        for block, layer in enumerate(self.layers):
            if self.counts.get(block):
                sums, count = self.sums[block], self.sums[block].new_tensor([self.counts[block]])
                means = (sum_over_parts(sums) / sum_over_parts(count)).tolist()
                found.append(dict(zip(BRANCHES[type(layer)], means, strict=True)))
        return found
