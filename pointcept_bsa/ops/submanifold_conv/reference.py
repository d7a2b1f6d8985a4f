"""The submanifold convolution in the plainest torch: gather, multiply, add, once a kernel cell.

Legend: ``N`` points, ``V`` voxels, ``k`` kernel cell.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pointcept_bsa.ops.submanifold_conv.voxel_index import VoxelIndex


def submanifold_conv_reference(feat: Tensor, weight: Tensor, index: VoxelIndex) -> Tensor:
    """``y_i = W_centre x_i + sum_k W_k mean(x of the points in the voxel that k reaches from i)``.

    Args:
        feat: ``(N, C_in)``.
        weight: ``(C_out, K, K, K, C_in)``, the last three kernel axes along x, y, z.
        index: the occupied voxels.

    Returns:
        ``(N, C_out)``.
    """
    kernel = index.kernel_map(weight.shape[1])
    cells = weight.flatten(1, 3).unbind(1)  # K**3 matrices (C_out, C_in)
    voxel_feat = index.mean_of_points(feat)
    around = feat.new_zeros(index.num_voxels, weight.shape[0])
    for k, (reads, writes) in kernel.pairs.items():
        around = around.index_add(0, writes, voxel_feat[reads] @ cells[k].T)
        around = around.index_add(0, reads, voxel_feat[writes] @ cells[kernel.volume - 1 - k].T)
    if index.point_to_voxel is not None:
        around = around[index.point_to_voxel]
    return torch.nn.functional.linear(feat, cells[kernel.centre]) + around
