"""Submanifold convolution: a cubic convolution over the occupied voxels only, which keeps the set of occupied voxels.

Which code runs, by the argument ``backend`` or ``PCBSA_SUBM_CONV``:

- ``spconv``: spconv's CUDA kernels;
- ``torch``: in torch, on any device: one product of gathered neighbours, on a CPU one a kernel cell where they are few;
- ``reference``: gather, multiply, add, once a kernel cell: the truth for the tests;
- ``auto`` (default): ``spconv`` on CUDA where it is installed, else ``torch``.

All give the same numbers, also where several points share a voxel (see ``submanifold_conv``).
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.ops.submanifold_conv.cell_products import CellProducts
from pointcept_bsa.ops.submanifold_conv.gathered_product import GatheredProduct
from pointcept_bsa.ops.submanifold_conv.reference import submanifold_conv_reference
from pointcept_bsa.ops.submanifold_conv.spconv_backend import spconv_conv, spconv_unavailable
from pointcept_bsa.ops.submanifold_conv.voxel_index import VoxelIndex, check_kernel_size

BACKENDS = ("auto", "spconv", "torch", "reference")
# On a CPU one product is faster from about this share of places with a neighbour on: PT-v3m1 on hills (0.6 to 0.9)
# 1.0 s a step for 1.4, on the cars (0.1 to 0.5) 1.7 for 1.5.
FILLED = 0.5

__all__ = [
    "BACKENDS",
    "VoxelIndex",
    "check_backend",
    "check_kernel_size",
    "submanifold_conv",
    "submanifold_conv_reference",
]


def submanifold_conv(
    feat: Tensor, weight: Tensor, bias: Tensor | None, index: VoxelIndex, backend: str | None = None
) -> Tensor:
    """``y_i = b + W_centre x_i + sum_k W_k x(voxel that k reaches from i)`` over occupied voxels.

    Points that share a voxel: a neighbour's voxel is read as the mean of its points, the centre is the point's own
    feature. So the result does not depend on the order of the points, points of a voxel stay apart, and with one
    point a voxel it is spconv's convolution exactly. (spconv itself keeps, for a doubly occupied voxel, whichever
    point came last into its hash table, which depends on the thread order.)

    Under autocast the products run in the autocast dtype, sums in float32.

    Args:
        feat: ``(N, C_in)``.
        weight: ``(C_out, K, K, K, C_in)``, spconv's layout; K odd.
        bias: ``(C_out,)`` or None.
        index: the occupied voxels of these points, shared by all convolutions of a level.
        backend: overrides ``PCBSA_SUBM_CONV``.

    Returns:
        ``(N, C_out)``.

    Raises:
        InputError: unknown backend, or spconv asked for where it cannot run.
        ValueError: features of other points than the index is of, or a weight that does not fit them.
    """
    if len(feat) != index.num_points:
        raise ValueError(f"feat: got {len(feat)} rows, wanted {index.num_points}, one for each point of the voxels")
    if weight.shape[1:] != (*[weight.shape[1]] * 3, feat.shape[1]):
        raise ValueError(f"weight: got shape {tuple(weight.shape)}, wanted (C_out, K, K, K, {feat.shape[1]})")
    chosen = choose_backend(feat, backend)
    if torch.is_autocast_enabled(feat.device.type) and feat.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(feat.device.type)
        feat, weight = feat.to(dtype), weight.to(dtype)
    if chosen == "reference":
        out = submanifold_conv_reference(feat, weight, index)
    else:
        out = _convolve_voxels(feat, weight, index, chosen)
    return out if bias is None else out + bias.to(out.dtype)


def check_backend(backend: str, name: str = "backend") -> None:
    """Raise InputError unless it is one of ``BACKENDS``; ``name`` is what says so."""
    if backend not in BACKENDS:
        raise InputError(f"{name}: got {backend!r}, wanted one of {', '.join(BACKENDS)}{nearest(backend, BACKENDS)}")


def choose_backend(feat: Tensor, backend: str | None = None) -> str:
    """The code that will run on ``feat``: "spconv", "torch" or "reference". Raises as ``submanifold_conv``."""
    name = "PCBSA_SUBM_CONV" if backend is None else "backend"
    backend = os.environ.get(name, "auto") if backend is None else backend
    check_backend(backend, name)
    if backend in ("torch", "reference"):
        return backend
    reason = spconv_unavailable(feat)
    if backend == "spconv" and reason:
        raise InputError(f"{name}: got 'spconv', but {reason}; wanted 'auto' or 'torch'")
    return "torch" if reason else "spconv"


def _convolve_voxels(feat: Tensor, weight: Tensor, index: VoxelIndex, backend: str) -> Tensor:
    """Convolve the voxels' means; where points share voxels put each point's own feature back in at the centre."""
    voxel_feat = index.mean_of_points(feat)
    if backend == "spconv":
        out = spconv_conv(voxel_feat, weight, index)
    else:
        kernel = index.kernel_map(weight.shape[1])
        code = GatheredProduct if voxel_feat.is_cuda or kernel.filled >= FILLED else CellProducts
        out = code.apply(voxel_feat, weight.flatten(1, 3).transpose(0, 1), kernel)
    if index.point_to_voxel is None:
        return out
    centre = weight.shape[1] // 2
    own = feat - voxel_feat[index.point_to_voxel]
    return out[index.point_to_voxel] + own @ weight[:, centre, centre, centre].T
