"""Point Transformer V3 (Wu et al. 2024, arXiv 2312.10035), registered as ``PT-v3m1`` where the host has none.

Argument names, defaults, parameter names and shapes are Pointcept's, so that a config serves both hosts and
Pointcept's checkpoints load. Neither spconv, torch-scatter, flash-attn nor timm is needed; the first two are used
where they are installed (``ops.submanifold_conv``, ``ops.segment_reduce``).

Kept from Pointcept because trained weights depend on it: in a decoder stage the convolution of the first block reads
the skip connection alone, before the pooled features are added (``GridUnpooling`` returns both).

Different from Pointcept:

- points that share a voxel are all kept, and the convolution is well defined for them;
- ``shuffle_orders=False`` also holds in the pooling, so that evaluation is deterministic;
- ``grid_coord`` computed from ``grid_size`` starts at each cloud's own minimum, not the batch's;
- attention runs in the dtype of the features or of autocast; flash-attn always rounds to 16 bits.

Hilbert codes depend on the number of bits, which, as in Pointcept, the largest cell of the batch decides: under a
Hilbert order a cloud's result may depend on the clouds beside it unless ``serialization_depth`` is set.

Legend: ``N`` points of all clouds, ``B`` clouds, ``C`` channels.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.backbones.counts import with_checked_counts
from pointcept_bsa.backbones.parts import check_parts
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import cloud_lengths
from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.geometry.serialization import MAX_DEPTH, check_order
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.cloud_norm import normalize_rows
from pointcept_bsa.layers.grid_pooling import GridPooling, GridUnpooling
from pointcept_bsa.layers.patch_attention import check_drop
from pointcept_bsa.layers.patch_attention_block import PatchAttentionBlock
from pointcept_bsa.layers.serialized_level import SerializedLevel, read_cells
from pointcept_bsa.layers.submanifold_conv import SubmanifoldConv
from pointcept_bsa.samples import host_ends


class PointTransformerV3(nn.Module):
    """U-Net of patch attention along space-filling curves.

    Args:
        in_channels: channels of ``feat``.
        order: curves, of "z", "z-trans", "hilbert", "hilbert-trans"; block ``i`` of a stage walks curve ``i`` modulo
            their number.
        stride: grid pooling between the stages, powers of two.
        enc_depths, enc_channels, enc_num_head, enc_patch_size: blocks, channels, heads, patch size of each stage.
        dec_depths, dec_channels, dec_num_head, dec_patch_size: the same for the decoder, one stage fewer.
        mlp_ratio: hidden over outer channels in the MLP.
        qkv_bias, qk_scale, attn_drop, proj_drop: see ``PatchAttention``.
        drop_path: stochastic depth of the last block; it rises linearly from 0.
        pre_norm: normalise before attention and MLP instead of after.
        shuffle_orders: put the curves in a random order at every level of every forward pass, in evaluation too.
        enable_rpe, enable_flash, upcast_attention, upcast_softmax: see ``PatchAttention``.
        enc_mode: no decoder: the pooled points of the last stage come back, with ``pooling_parent`` and
            ``pooling_inverse`` leading to the finer levels. ``cls_mode`` is its name in the standalone code.
        pdnorm_*: accepted for the sake of shared configs; prompt-driven normalisation is not available here.
        serialization_depth: bits a coordinate in the codes; None takes as many as the largest cell needs.
        conv_backend: code of the submanifold convolutions; None leaves it to ``PCBSA_SUBM_CONV``.

    Raises:
        InputError: arguments that do not fit together; in ``forward``, missing or malformed inputs.
    """

    tells_clouds = True  # its norms are told which rows are of which cloud
    wants_widths = True  # feat as wide as in_channels says

    @with_checked_counts
    def __init__(
        self,
        in_channels: int = 6,
        order: str | Sequence[str] = ("z", "z-trans"),
        stride: Sequence[int] = (2, 2, 2, 2),
        enc_depths: Sequence[int] = (2, 2, 2, 6, 2),
        enc_channels: Sequence[int] = (32, 64, 128, 256, 512),
        enc_num_head: Sequence[int] = (2, 4, 8, 16, 32),
        enc_patch_size: Sequence[int] = (48, 48, 48, 48, 48),
        dec_depths: Sequence[int] = (2, 2, 2, 2),
        dec_channels: Sequence[int] = (64, 64, 128, 256),
        dec_num_head: Sequence[int] = (4, 4, 8, 16),
        dec_patch_size: Sequence[int] = (48, 48, 48, 48),
        mlp_ratio: float = 4,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        drop_path: float = 0.3,
        pre_norm: bool = True,
        shuffle_orders: bool = True,
        enable_rpe: bool = False,
        enable_flash: bool = True,
        upcast_attention: bool = False,
        upcast_softmax: bool = False,
        enc_mode: bool = False,
        pdnorm_bn: bool = False,
        pdnorm_ln: bool = False,
        pdnorm_decouple: bool = True,
        pdnorm_adaptive: bool = False,
        pdnorm_affine: bool = True,
        pdnorm_conditions: Sequence[str] = ("ScanNet", "S3DIS", "Structured3D"),
        cls_mode: bool = False,
        serialization_depth: int | None = None,
        conv_backend: str | None = None,
    ) -> None:
        super().__init__()
        if pdnorm_bn or pdnorm_ln:
            raise InputError("pdnorm_bn, pdnorm_ln: got True, wanted False: this PT-v3m1 has no prompt-driven norm")
        self.in_channels = in_channels
        self.order = (order,) if isinstance(order, str) else tuple(order)
        self.num_stages = len(enc_depths)
        self.enc_mode = enc_mode or cls_mode
        self.shuffle_orders = shuffle_orders
        self.serialization_depth = serialization_depth
        if not self.order:
            raise InputError("order: got no curve, wanted one at least")
        for name in self.order:
            check_order(name)
        check_drop(drop_path=drop_path)
        enc = {"stride": (*stride, 1), "enc_channels": enc_channels}
        enc |= {"enc_num_head": enc_num_head, "enc_patch_size": enc_patch_size}
        dec = {"dec_depths": dec_depths, "dec_channels": dec_channels}
        dec |= {"dec_num_head": dec_num_head, "dec_patch_size": dec_patch_size}
        _check_lengths(enc, self.num_stages)
        _check_lengths({} if self.enc_mode else dec, self.num_stages - 1)

        batch_norm = partial(nn.BatchNorm1d, eps=1e-3, momentum=0.01)
        block = partial(
            PatchAttentionBlock,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            qk_scale=qk_scale,
            attn_drop=attn_drop,
            proj_drop=proj_drop,
            pre_norm=pre_norm,
            enable_rpe=enable_rpe,
            enable_flash=enable_flash,
            upcast_attention=upcast_attention,
            upcast_softmax=upcast_softmax,
            conv_backend=conv_backend,
        )

        def blocks(rates: Sequence[float], channels: int, num_heads: int, patch_size: int) -> list[nn.Module]:
            orders = itertools.cycle(range(len(self.order)))
            return [
                block(channels, num_heads, patch_size, drop_path=rate, order_index=order_index)
                for rate, order_index in zip(rates, orders, strict=False)
            ]

        stem = SubmanifoldConv(in_channels, enc_channels[0], kernel_size=5, bias=False, backend=conv_backend)
        self.embedding = _Embedding(stem, batch_norm(enc_channels[0]), nn.GELU())
        rates = _drop_path_rates(drop_path, enc_depths)
        self.enc = nn.ModuleDict()
        for s in range(self.num_stages):
            down = None
            if s > 0:
                down = GridPooling(
                    enc_channels[s - 1],
                    enc_channels[s],
                    stride=stride[s - 1],
                    norm_layer=batch_norm,
                    act_layer=nn.GELU,
                    reduce="max",
                    shuffle_orders=shuffle_orders,
                )
            own = blocks(rates[s], enc_channels[s], enc_num_head[s], enc_patch_size[s])
            self.enc[f"enc{s}"] = _Stage(own, down=down)
        self.out_channels = enc_channels[-1]
        if self.enc_mode:
            return
        rates = _drop_path_rates(drop_path, dec_depths)
        channels = (*dec_channels, enc_channels[-1])
        self.dec = nn.ModuleDict()
        for s in reversed(range(self.num_stages - 1)):
            up = GridUnpooling(channels[s + 1], enc_channels[s], channels[s], batch_norm, nn.GELU)
            own = blocks(rates[s][::-1], channels[s], dec_num_head[s], dec_patch_size[s])
            self.dec[f"dec{s}"] = _Stage(own, up=up)
        self.out_channels = channels[0]

    def forward(self, data: Mapping[str, Any]) -> Point:
        """Encode (and decode) a batch of clouds.

        Args:
            data: ``feat (N, in_channels)``, ``coord (N, 2 or 3)``, ``offset (B,)``, and ``grid_coord`` (integer cells,
                ``(N, 2 or 3)``, not negative; of 2-D clouds the third column is not read) or ``grid_size`` (a number,
                or one a cloud).

        Returns:
            A new ``Point`` with the input's entries and ``feat (N, out_channels)`` in input order; under ``enc_mode``
            the pooled points.
        """
        check_parts(self, data)
        _check_inputs(data, self.in_channels)
        point = Point(data)
        level = self._serialize(point)
        feat = self.embedding(point["feat"], level)
        finer: list[tuple[Tensor, SerializedLevel, Tensor]] = []
        for stage in _stages(self.enc):
            if stage.down is not None:
                skip, skip_level = feat, level
                feat, level, cluster = stage.down(feat, level)
                finer.append((skip, skip_level, cluster))
            feat = stage(feat, level)
        if self.enc_mode:
            return _pooled_point(point, feat, level, finer)
        for stage in _stages(self.dec):
            assert stage.up is not None
            skip, skip_level, cluster = finer.pop()
            feat, skip = stage.up(feat, skip, cluster, level, skip_level)
            level = skip_level
            feat = stage(feat, level, position_input=skip)
        point.update(_level_entries(level), feat=feat)
        return point

    def _serialize(self, point: Point) -> SerializedLevel:
        grid_coord = _cells(point)
        low, high = (int(bound) for bound in torch.stack(torch.aminmax(grid_coord)).tolist())
        depth = (high + 1).bit_length() if self.serialization_depth is None else self.serialization_depth
        if low < 0 or high >= 1 << depth or depth > MAX_DEPTH:
            raise InputError(
                f"grid_coord: got cells from {low} to {high}, wanted 0 to {(1 << min(depth, MAX_DEPTH)) - 1}: "
                f"shift them to start at 0 or take a larger grid_size"
            )
        if 3 * depth + len(point["offset"]).bit_length() > 63:
            raise InputError(f"offset: got {len(point['offset'])} clouds, wanted fewer than {1 << (63 - 3 * depth)}")
        level = SerializedLevel.build(
            point["coord"], grid_coord, point["batch"].long(), point["offset"].long(), depth, self.order
        )
        return level.with_shuffled_orders() if self.shuffle_orders else level


class _Embedding(nn.Module):
    """5^3 submanifold convolution, normalisation, activation."""

    def __init__(self, conv: SubmanifoldConv, norm: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(OrderedDict(conv=conv, norm=norm, act=act))

    def forward(self, feat: Tensor, level: SerializedLevel) -> Tensor:
        conv, norm, act = self.stem
        return act(normalize_rows(norm, conv(feat, level.voxels), lambda: level.cloud_sizes))


class _Stage(nn.Module):
    """The blocks of one level, with the pooling ``down`` to it or the unpooling ``up`` to it, if any."""

    def __init__(
        self, blocks: Sequence[nn.Module], down: GridPooling | None = None, up: GridUnpooling | None = None
    ) -> None:
        super().__init__()
        self.down, self.up = down, up
        self.depth = len(blocks)
        for i, block in enumerate(blocks):
            self.add_module(f"block{i}", block)

    def forward(self, feat: Tensor, level: SerializedLevel, position_input: Tensor | None = None) -> Tensor:
        """Run the blocks; ``position_input`` is what the convolution of the first one reads instead of ``feat``."""
        for i in range(self.depth):
            feat = self.get_submodule(f"block{i}")(feat, level, position_input if i == 0 else None)
        return feat


def _stages(modules: nn.ModuleDict) -> list[_Stage]:
    return [module for module in modules.values() if isinstance(module, _Stage)]


def _check_lengths(arguments: Mapping[str, Sequence[Any]], wanted: int) -> None:
    for name, value in arguments.items():
        if len(value) != wanted:
            got, need = (len(value) - 1, wanted - 1) if name == "stride" else (len(value), wanted)
            raise InputError(f"{name}: got {got} entries, wanted {need} for the stages of enc_depths")


def _check_inputs(point: Mapping[str, Any], in_channels: int) -> None:
    for key in ("coord", "feat", "offset"):
        if key not in point:
            raise InputError(f"{key}: missing from the sample (it has {sorted(point)}), wanted by every backbone")
    if VALID in point:
        raise InputError(f"{VALID}: got a padded batch, which PT-v3m1 does not take; wanted pad_clouds=None")
    coord, feat = point["coord"], point["feat"]
    if feat.shape[-1] != in_channels:
        raise InputError(f"feat: got {feat.shape[-1]} channels, wanted in_channels={in_channels}")
    if coord.shape[-1] not in (2, 3):
        raise InputError(f"coord: got {coord.shape[-1]} channels, wanted 2 or 3")
    if len(coord) == 0:
        raise InputError("coord: got a cloud with no points, wanted at least one")
    if len(feat) != len(coord):
        raise InputError(f"feat: got {len(feat)} points, wanted {len(coord)} as coord has")
    try:
        cloud_lengths(host_ends(point), len(coord))
    except ValueError as error:
        raise InputError(str(error)) from error


def _cells(point: Point) -> Tensor:
    """Grid cells ``(N, 3)``; those of 2-D clouds may come with the column of zeros that ``AddGridCoord`` adds."""
    cells, dimensionality = point.get("grid_coord"), point["coord"].shape[1]
    if cells is not None and dimensionality == 2 and cells.shape[1:] == (3,):
        point = Point({**point, "grid_coord": cells[:, :2]})
    return read_cells(point)


def _drop_path_rates(last: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates rising linearly over all blocks, cut into stages."""
    return [part.tolist() for part in torch.linspace(0, last, sum(depths)).split(list(depths))]


def _level_entries(level: SerializedLevel) -> dict[str, Any]:
    return {
        "coord": level.coord,
        "grid_coord": level.grid_coord,
        "batch": level.batch,
        "offset": level.offset,
        "serialized_code": level.code,
        "serialized_order": level.order,
        "serialized_inverse": level.inverse,
        "serialized_depth": level.depth,
    }


def _pooled_point(
    point: Point, feat: Tensor, level: SerializedLevel, finer: list[tuple[Tensor, SerializedLevel, Tensor]]
) -> Point:
    """The last level; ``pooling_parent`` is the next finer one, ``pooling_inverse`` the pooled point of its points."""
    feats = [skip for skip, _, _ in finer] + [feat]
    levels = [skip_level for _, skip_level, _ in finer] + [level]
    point.update(_level_entries(levels[0]), feat=feats[0])
    for i, (_, _, cluster) in enumerate(finer, start=1):
        parent, point = point, Point(_level_entries(levels[i]), feat=feats[i])
        point["pooling_parent"], point["pooling_inverse"] = parent, cluster
    return point


if "PT-v3m1" not in MODELS._module_dict:
    MODELS.register_module("PT-v3m1")(PointTransformerV3)
