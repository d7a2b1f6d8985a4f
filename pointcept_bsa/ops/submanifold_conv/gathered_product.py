"""The same convolution over voxels as one product: the features of all neighbours of a voxel side by side, times all
the kernel's cells.

One gather and one matrix product in place of three operations a kernel cell, of which a network has thousands a step
and a GPU waits for each to be launched. A place without a neighbour reads zeros, so a sparse surface costs more
multiplications: on a CPU :mod:`.cell_products` is faster there. Kernel cells through which no voxel sees another are
left out. The backward pass gathers again rather than keep the neighbours' features, and only gathers: what reads
through a cell is read through the opposite one, so no sum depends on the order of threads.

Legend: ``V`` voxels, ``U`` kernel cells used, ``C_in``, ``C_out`` channels.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointcept_bsa.ops.submanifold_conv.voxel_index import KernelMap

ON_CUDA, ON_CPU = 1 << 26, 1 << 18  # numbers gathered at once: 256 MiB in float32, and what fits a cache


class GatheredProduct(torch.autograd.Function):
    """``apply(feat (V, C_in), cells (K**3, C_out, C_in), kernel) -> (V, C_out)``."""

    @staticmethod
    def forward(ctx: Any, feat: Tensor, cells: Tensor, kernel: KernelMap) -> Tensor:
        ctx.save_for_backward(feat, cells)
        ctx.kernel = kernel
        return _product(feat, kernel.table, cells[kernel.used].mT.flatten(0, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        feat, cells = ctx.saved_tensors
        table, used = ctx.kernel.table, ctx.kernel.used
        grad_feat = grad_cells = None
        if ctx.needs_input_grad[0]:
            grad_feat = _product(grad, table, cells[used.flip(0)].flatten(0, 1))  # (U C_out, C_in), opposite cells
        if ctx.needs_input_grad[1]:
            padded, at_once = _padded(feat), _at_once(feat, table)
            parts = zip(table.split(at_once), grad.split(at_once), strict=True)
            sums = (sum_buffer(_side_by_side(padded, places).mT @ part) for places, part in parts)
            of_used = reduce(torch.add, sums).view(len(used), feat.shape[1], -1).mT  # from (U C_in, C_out)
            grad_cells = torch.zeros_like(cells).index_copy_(0, used, of_used.to(cells.dtype))
        return grad_feat, grad_cells, None


def _product(feat: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """(V, C'): the features of the voxels in ``table (V, U)``, zeros for V, times ``weight (U C, C')``."""
    padded = _padded(feat)
    return torch.cat([_side_by_side(padded, places) @ weight for places in table.split(_at_once(feat, table))])


def _padded(feat: Tensor) -> Tensor:
    return torch.cat([feat, feat.new_zeros(1, feat.shape[1])])


def _side_by_side(padded: Tensor, places: Tensor) -> Tensor:
    return padded.index_select(0, places.flatten()).view(len(places), -1)


def _at_once(feat: Tensor, table: Tensor) -> int:
    return max(1, (ON_CUDA if feat.is_cuda else ON_CPU) // (table.shape[1] * feat.shape[1]))


def sum_buffer(value: Tensor) -> Tensor:
    """Sums of several products of 16 bits are kept in float32."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
