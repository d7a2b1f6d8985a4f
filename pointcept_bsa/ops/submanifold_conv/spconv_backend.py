"""The same convolution over voxels through spconv's CUDA kernels.

spconv decides the algorithm (masked implicit GEMM up to 32 kernel cells, gather-scatter above) and keeps its index
pairs in a dict, which the ``VoxelIndex`` carries from one convolution of a level to the next. Its kernels take
float32 and float16; bfloat16 is computed in float32, since casting gradients to float16 would need loss scaling.

Legend: ``V`` voxels.
"""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor

from pointcept_bsa.ops.submanifold_conv.voxel_index import VoxelIndex


def spconv_unavailable(feat: Tensor) -> str | None:
    """Why spconv cannot run on ``feat``, or None if it can. A broken installation raises its own error."""
    if feat.device.type != "cuda":
        return f"the features are on {feat.device.type}; its CPU build has no backward pass"
    if feat.dtype == torch.float64:
        return "it has no float64 kernels"
    if not _installed():
        return "it is not installed"
    from spconv.cppconstants import CPU_ONLY_BUILD

    return "it is its CPU build" if CPU_ONLY_BUILD else None


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("spconv") is not None


def spconv_conv(feat: Tensor, weight: Tensor, index: VoxelIndex) -> Tensor:
    """Convolve ``feat (V, C_in)`` with ``weight (C_out, K, K, K, C_in)``: ``(V, C_out)`` in the dtype of ``feat``."""
    from spconv.pytorch import SparseConvTensor
    from spconv.pytorch.conv import SparseConvolutionBase

    dtype = torch.float32 if feat.dtype == torch.bfloat16 else feat.dtype
    kernel_size, with_grad = weight.shape[1], torch.is_grad_enabled()
    key = f"subm{kernel_size}_grad{int(with_grad)}"  # without gradients spconv prepares no backward pairs
    voxels = SparseConvTensor(
        feat.to(dtype), index.cells, index.spatial_shape, index.batch_size, indice_dict=index.spconv_cache
    )
    conv = SparseConvolutionBase(
        3, weight.shape[4], weight.shape[0], kernel_size, padding=kernel_size // 2, subm=True, indice_key=key
    )
    with torch.autocast(feat.device.type, enabled=False):
        out = conv._conv_forward(with_grad, voxels, weight.to(dtype).contiguous(), None)
    index.spconv_cache.update(out.indice_dict)
    return out.features.to(feat.dtype)
