"""Grid pooling and unpooling between levels (Wu et al. 2024, Point Transformer V3; Wu et al. 2022, PTv2, sec. 3.4).

Points in one cell of the coarser grid share the upper bits of their code on any of the curves, so that pooling is a
shift of the codes and a reduction of runs along one sorted curve.

Legend: ``N`` points, ``M`` pooled points, ``C`` channels, ``O`` orders.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.serialization import sort_codes
from pointcept_bsa.layers.cloud_norm import normalize_rows
from pointcept_bsa.layers.serialized_level import SerializedLevel
from pointcept_bsa.ops.segment_reduce import REDUCTIONS, segment_reduce


class GridPooling(nn.Module):
    """Linear map, maximum over each cell of a grid ``stride`` times coarser, normalisation, activation.

    Args:
        in_channels, out_channels: channels before and after.
        stride: a power of two.
        norm_layer, act_layer: called for the module, or None.
        reduce: "max", "mean", "sum" or "min" over the points of a cell.
        shuffle_orders: put the curves of the pooled level in a random order. (Pointcept's pooling always does, even
            under ``shuffle_orders=False``, which makes its evaluation random; here the model's setting holds.)

    Raises:
        InputError: another stride or reduction.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 2,
        norm_layer: Callable[[int], nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] | None = None,
        reduce: str = "max",
        shuffle_orders: bool = True,
    ) -> None:
        super().__init__()
        if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1 or stride & (stride - 1):
            raise InputError(f"stride: got {stride!r}, wanted a power of two")
        if reduce not in REDUCTIONS:
            hint = nearest(reduce, REDUCTIONS)
            raise InputError(f"reduce: got {reduce!r}, wanted one of {', '.join(REDUCTIONS)}{hint}")
        self.shift = stride.bit_length() - 1
        self.reduce = reduce
        self.shuffle_orders = shuffle_orders
        self.proj = nn.Linear(in_channels, out_channels)
        self.norm = nn.Sequential(norm_layer(out_channels)) if norm_layer else nn.Identity()
        self.act = nn.Sequential(act_layer()) if act_layer else nn.Identity()

    def forward(self, feat: Tensor, level: SerializedLevel) -> tuple[Tensor, SerializedLevel, Tensor]:
        """Pool ``feat (N, C_in)`` to ``(M, C_out)``; also return their level and each point's pooled point ``(N,)``.

        A grid with fewer bits left than the stride asks for stays as it is, except that points in one cell merge.
        """
        pooled_level, cluster, starts = pool_level(level, self.shift if self.shift <= level.depth else 0)
        feat = segment_reduce(self.proj(feat)[level.order[0]], starts, self.reduce)
        if self.shuffle_orders:
            pooled_level = pooled_level.with_shuffled_orders()
        return self.act(run_rows(self.norm, feat, pooled_level)), pooled_level, cluster


class GridUnpooling(nn.Module):
    """Pooled features back to their points, added to the skip connection; both pass through their own linear map.

    Args:
        in_channels: channels of the pooled features.
        skip_channels: channels of the skip connection.
        out_channels: channels of the result.
        norm_layer, act_layer: called for the modules after each linear map, or None.
    """

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        norm_layer: Callable[[int], nn.Module] | None = None,
        act_layer: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__()

        def branch(channels: int) -> nn.Sequential:
            modules: list[nn.Module] = [nn.Linear(channels, out_channels)]
            modules += [norm_layer(out_channels)] if norm_layer else []
            modules += [act_layer()] if act_layer else []
            return nn.Sequential(*modules)

        self.proj = branch(in_channels)
        self.proj_skip = branch(skip_channels)

    def forward(
        self, feat: Tensor, skip: Tensor, cluster: Tensor, pooled_level: SerializedLevel, level: SerializedLevel
    ) -> tuple[Tensor, Tensor]:
        """Add ``feat (M, C_in)`` to ``skip (N, C_skip)``: the sum and the skip branch alone, each ``(N, C_out)``.

        ``pooled_level`` and ``level`` are theirs.
        """
        skip = run_rows(self.proj_skip, skip, level)
        return skip + run_rows(self.proj, feat, pooled_level)[cluster], skip


def run_rows(modules: nn.Module, feat: Tensor, level: SerializedLevel) -> Tensor:
    """The modules of an ``nn.Sequential`` one after the other on the points of a level; nothing for another module."""
    for module in modules.children():
        feat = normalize_rows(module, feat, lambda: level.cloud_sizes)
    return feat


def pool_level(level: SerializedLevel, shift: int) -> tuple[SerializedLevel, Tensor, Tensor]:
    """Merge the points that share a cell of the grid coarsened by ``2**shift``.

    Returns:
        The pooled level, its points sorted along the first curve; the pooled point of each point ``(N,)``; where the
        run of each pooled point starts along the first curve, ``(M + 1,)``.
    """
    along = level.order[0]
    _, run_of_place, counts = torch.unique_consecutive(
        level.code[0][along] >> (3 * shift), return_inverse=True, return_counts=True
    )
    starts = nn.functional.pad(torch.cumsum(counts, 0), (1, 0))
    cluster = torch.empty_like(along).scatter_(0, along, run_of_place)
    heads = along[starts[:-1]]
    code = level.code[:, heads] >> (3 * shift)
    order, inverse = sort_codes(code)
    batch = level.batch[heads]
    per_cloud = torch.zeros_like(level.offset).index_add_(0, batch, torch.ones_like(batch, dtype=level.offset.dtype))
    pooled = SerializedLevel(
        coord=segment_reduce(level.coord[along], starts, "mean"),
        grid_coord=level.grid_coord[heads] >> shift,
        batch=batch,
        offset=torch.cumsum(per_cloud, 0),
        code=code,
        order=order,
        inverse=inverse,
        depth=level.depth - shift,
    )
    return pooled, cluster, starts
