"""The same convolution over voxels as a product a kernel cell, of the pairs that see each other through it.

Nothing is multiplied in vain, so a CPU is faster by it where neighbours are few (else by :mod:`.gathered_product`).
The backward pass gathers again rather than keep a copy of the features a kernel cell. Within one kernel cell every
voxel is written at most once, so ``index_add_`` has no collisions and the result does not depend on the order of
threads.

Legend: ``V`` voxels, ``k`` kernel cell.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointcept_bsa.ops.submanifold_conv.gathered_product import sum_buffer
from pointcept_bsa.ops.submanifold_conv.voxel_index import KernelMap


class CellProducts(torch.autograd.Function):
    """``apply(feat (V, C_in), cells (K**3, C_out, C_in), kernel) -> (V, C_out)``; sums are kept in at least float32."""

    @staticmethod
    def forward(ctx: Any, feat: Tensor, cells: Tensor, kernel: KernelMap) -> Tensor:
        ctx.save_for_backward(feat, cells)
        ctx.kernel = kernel
        out = sum_buffer(feat @ cells[kernel.centre].T)
        for k, read, write in _directed(kernel):
            out.index_add_(0, write, (feat[read] @ cells[k].T).to(out.dtype))
        return out.to(feat.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        feat, cells = ctx.saved_tensors
        kernel = ctx.kernel
        need_feat, need_cells, _ = ctx.needs_input_grad
        grad_feat = sum_buffer(grad @ cells[kernel.centre]) if need_feat else None
        grad_cells = torch.zeros_like(cells) if need_cells else None
        if grad_cells is not None:
            grad_cells[kernel.centre] = grad.T @ feat
        for k, read, write in _directed(kernel):
            grad_out = grad[write]
            if grad_feat is not None:
                grad_feat.index_add_(0, read, (grad_out @ cells[k]).to(grad_feat.dtype))
            if grad_cells is not None:
                grad_cells[k] = grad_out.T @ feat[read]
        return grad_feat if grad_feat is None else grad_feat.to(feat.dtype), grad_cells, None


def _directed(kernel: KernelMap) -> Any:
    """Each kernel cell with pairs, as (cell, voxels read, voxels written)."""
    for k, (reads, writes) in kernel.pairs.items():
        yield k, reads, writes
        yield kernel.volume - 1 - k, writes, reads
