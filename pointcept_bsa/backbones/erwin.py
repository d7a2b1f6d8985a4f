"""The Erwin network: ball attention on a U-Net along the ball tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.distributed.mesh import context_group
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree, tree_order
from pointcept_bsa.geometry.host_tables import indices
from pointcept_bsa.geometry.level_trees import LevelTrees
from pointcept_bsa.geometry.padding import VALID, CloudPadding, check_unit
from pointcept_bsa.geometry.published_tree import published_levels
from pointcept_bsa.geometry.tree_plan import plan_tree
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.attention import BallAttention
from pointcept_bsa.layers.ball_pooling import BallPooling, BallUnpooling
from pointcept_bsa.layers.point_embedding import PointEmbedding
from pointcept_bsa.layers.transformer import BallTreeStack, TransformerBlock, init_weights

TREES = ("own", "balltree")


@MODELS.register_module("Erwin-v1m1")
class ErwinTransformer(Backbone):
    """Erwin (Zhdanov et al. 2025, arXiv 2502.17019).

    Message passing embedding; per level blocks ``x += BallAttention(RMSNorm(x)); x += SwiGLU(RMSNorm(x))``, odd blocks
    on the balls of the tree over rotated coordinates; pooling of ``stride`` consecutive slots to the next level; the
    same way back, adding what each level held before pooling. The defaults are the small ShapeNet-Car network.

    Weights of the published code load through :func:`.load_erwin_weights`. They give the published output of every
    point with ``pad="power_of_two", tree="balltree"``. With ``tree="own"`` the balls hold the same points, but which of
    the two points of a leaf comes first, and which copy of a doubled point goes where, may differ: at stride 1 that
    changes a few points beside copies, at larger strides it is as if the points had come in another order.
    Pooling of stride 1 is the identity and has no parameters here; the published code keeps an unused map and norm.

    Args:
        in_channels: channels of ``feat``.
        channels: C of each encoder level and of the bottleneck; ``channels[0]`` is ``out_channels``.
        ball_sizes: m of each level and of the bottleneck.
        enc_num_heads, enc_depths: heads and blocks of each level and of the bottleneck.
        dec_num_heads, dec_depths: heads and blocks of each decoder level, the finest first.
        strides: slots pooled after each encoder level.
        rotate: degrees by which the second tree of each level is rotated; 0 for one tree.
        decode: False ends at the bottleneck, see below.
        mlp_ratio: hidden width of the SwiGLU over C.
        dimensionality: space dimensions of ``coord``, 2 or 3.
        mp_steps: message passing steps; 0 for a linear embedding.
        edges, num_neighbors, radius: whom a point hears from, see :func:`.find_neighbors`; a sample's
            ``neighbor_index`` (N, k) replaces the search, see :class:`.PointEmbedding`.
        distance_bias: sigma_h * distance in the attention.
        pad: ``"ball"``: empty slots are masked everywhere. ``"power_of_two"``: lonely points are doubled to fill a
            complete binary tree, as published, and their copies count in attention, pooling and BatchNorm.
        tree: ``"own"``; or, with ``pad="power_of_two"``, ``"balltree"``: built on the CPU by the published code's
            package, see :mod:`.published_tree`.
        recompute: less memory in training, see :class:`.TransformerBlock`.
        condition: see :class:`.BSATransformer`.

    Parts of clouds (``context_parallel``) have whole balls of every level; for ``pad="ball"`` with ``decode=True``.

    With ``decode=False`` the returned Point describes the bottleneck instead of the input: ``coord`` and ``feat``
    (N', channels[-1]) of the balls of ``prod(strides)`` points that hold any, in tree order, and their ``offset`` and
    ``batch``; nothing else.

    Raises:
        ValueError: lists of unequal lengths, or sizes that do not fit each other.
    """

    shares_clouds = batch_norms_of_parts = True
    tells_clouds = True  # its norms are told which rows are of which cloud

    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (64, 64),
        ball_sizes: Sequence[int] = (256, 256),
        enc_num_heads: Sequence[int] = (8, 8),
        enc_depths: Sequence[int] = (6, 6),
        dec_num_heads: Sequence[int] = (8,),
        dec_depths: Sequence[int] = (6,),
        strides: Sequence[int] = (1,),
        rotate: float = 45.0,
        decode: bool = True,
        mlp_ratio: int = 4,
        dimensionality: int = 3,
        mp_steps: int = 3,
        edges: str = "knn",
        num_neighbors: int = 16,
        radius: float | None = None,
        distance_bias: bool = True,
        pad: str = "ball",
        tree: str = "own",
        recompute: bool | str = False,
        condition: int | None = None,
    ):
        super().__init__(in_channels, channels[0] if decode else channels[-1], dimensionality)
        per_level = dict(ball_sizes=ball_sizes, enc_num_heads=enc_num_heads, enc_depths=enc_depths)
        per_step = dict(strides=strides, dec_num_heads=dec_num_heads, dec_depths=dec_depths)
        for expected, arguments in ((len(channels), per_level), (len(channels) - 1, per_step)):
            for name, values in arguments.items():
                if len(values) != expected:
                    raise ValueError(f"{name}: got {len(values)} numbers, wanted {expected} to fit channels {channels}")
        self.ball_sizes = tuple(ball_sizes)
        self.strides = tuple(strides)
        self.rotate = rotate
        self.decode = decode
        self.pad = pad
        self.tree = tree
        self.pooled = tuple(accumulate((1, *strides), mul))  # points of the input in a slot of each level
        self.unit = max(m * p for m, p in zip(ball_sizes, self.pooled))
        self.leaf = next((s for s in strides if s > 1), min(ball_sizes))
        self._check_sizes()
        if pad != "ball" or not decode:
            self.shares_clouds, self.wants_whole = False, f"pad={pad!r}, decode={decode}"

        def stack(width: int, heads: int, depth: int) -> BallTreeStack:
            blocks: list[nn.Module] = [
                TransformerBlock(
                    BallAttention(width, heads, dimensionality, distance_bias=distance_bias),
                    width,
                    mlp_ratio,
                    recompute,
                )
                for _ in range(depth)
            ]
            return BallTreeStack(blocks, rotate=bool(rotate))

        down, up = range(len(strides)), range(len(strides) - 1, -1, -1)
        self.embedding = PointEmbedding(
            in_channels,
            channels[0],
            mp_steps=mp_steps,
            edges=edges,
            num_neighbors=num_neighbors,
            radius=radius,
            dimensionality=dimensionality,
        )
        self.encoder = nn.ModuleList(stack(channels[i], enc_num_heads[i], enc_depths[i]) for i in down)
        self.pooling = nn.ModuleList(
            BallPooling(channels[i], channels[i + 1], strides[i], dimensionality) for i in down
        )
        self.bottleneck = stack(channels[-1], enc_num_heads[-1], enc_depths[-1])
        if decode:
            self.unpooling = nn.ModuleList(
                BallUnpooling(channels[i + 1], channels[i], strides[i], dimensionality) for i in up
            )
            self.decoder = nn.ModuleList(stack(channels[i], dec_num_heads[i], dec_depths[i]) for i in up)
        init_weights(self)
        widths = (*channels, *reversed(channels[:-1]))
        self.condition_on(condition, [c for c, blocks in zip(widths, self.stacks) for _ in blocks])

    def _check_sizes(self) -> None:
        if self.tree not in TREES or (self.tree == "balltree" and self.pad != "power_of_two"):
            raise ValueError(
                f"tree: got {self.tree!r} with pad {self.pad!r}, wanted 'own', or 'balltree' with 'power_of_two'"
            )
        for m, p in zip(self.ball_sizes, self.pooled):
            if self.unit % (m * p):
                raise ValueError(
                    f"ball_sizes: got {self.ball_sizes} with strides {self.strides}, wanted balls that nest"
                )
        plan_tree((1,), self.unit, self.leaf, self.pad)

    def forward(self, point: Mapping[str, Any]) -> Point:
        if self.decode:
            return super().forward(point)
        lengths = self.check(point)
        x, levels = self.encode_levels(Point(point), lengths, self.films_of_stacks(point, lengths))
        return bottleneck_point(x[-1], levels[-1].layout)

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        films = self.films_of_stacks(point, lengths)
        features, levels = self.encode_levels(point, lengths, films)
        x = features.pop()
        for unpool, blocks, film in zip(self.unpooling, self.decoder, films[len(levels) :], strict=True):
            i = len(features) - 1
            x = unpool(x, features.pop(), levels[i].layout, levels[i + 1].layout)
            x = blocks(x, levels[i], films=film)
        return levels[0].scatter(x)

    @property
    def stacks(self) -> list[BallTreeStack]:
        """The blocks of each level on the way down, of the bottleneck and of each level on the way up."""
        stacks = [*self.encoder, self.bottleneck, *(self.decoder if self.decode else ())]
        return [stack for stack in stacks if isinstance(stack, BallTreeStack)]

    def films_of_stacks(self, point: Mapping[str, Any], lengths: tuple[int, ...]) -> list[list[Tensor] | None]:
        """What the blocks of each of the ``stacks`` are conditioned by."""
        films = self.films(point, lengths)
        ends = list(accumulate(map(len, self.stacks)))
        return [None if films is None else films[end - len(stack) : end] for stack, end in zip(self.stacks, ends)]

    def static_geometry(self, coord: Tensor) -> dict[str, Tensor]:
        """The first level's tree and the neighbours; coarser levels are sorted anew, of half the points each."""
        found = self.embedding.static_geometry(coord)
        if self.pad != "ball":
            return found
        sizes = self.ball_sizes[0], min(self.leaf, self.ball_sizes[0])
        return found | {"tree_order": tree_order(coord, *sizes, unit=self.unit, rotate=self.rotate)}

    def encode_levels(
        self, point: Point, lengths: tuple[int, ...], films: Sequence[list[Tensor] | None]
    ) -> tuple[list[Tensor], list[BallTree]]:
        """Features of each level before pooling, the bottleneck's last, and the trees of the levels."""
        if VALID in point:
            self._check_padding()
            levels = self.level_trees.of_slots(point, lengths)
        else:
            levels = self.build_levels(point.coord, lengths, point.get("tree_order"))
        x = self.embedding.in_tree(point, lengths, levels[0])
        features = []
        for i, (blocks, pool) in enumerate(zip(self.encoder, self.pooling)):
            features.append(blocks(x, levels[i], films=films[i]))
            x = pool(features[-1], levels[i].layout, levels[i + 1].layout)
        return [*features, self.bottleneck(x, levels[-1], films=films[len(features)])], levels

    @torch.no_grad()
    def build_levels(self, coord: Tensor, lengths: tuple[int, ...], order: Tensor | None = None) -> list[BallTree]:
        """The tree of each level. ``index`` and ``inverse`` mean something in the first one only.

        Args:
            coord: (N, d) positions.
            lengths: points of each cloud.
            order: cached :func:`.tree_order` for ``block_size=self.leaf``, ``unit=self.unit``.
        """
        if self.tree == "balltree":
            return published_levels(coord, lengths, self.ball_sizes, self.strides, self.rotate)
        group = context_group()
        if group is not None:  # where a cached order of the whole cloud says nothing about a part
            return self.level_trees.share(coord, lengths, group)
        return self.level_trees.build(coord, lengths, order)

    @property
    def level_trees(self) -> LevelTrees:
        """What builds the trees, of the sizes alone."""
        return LevelTrees(
            self.ball_sizes,
            self.strides,
            pooled=self.pooled,
            unit=self.unit,
            leaf=self.leaf,
            rotate=self.rotate,
            pad=self.pad,
        )

    def padding(self, unit: int) -> CloudPadding:
        self._check_padding()
        unit = check_unit(unit, self.unit, type(self).__name__)
        return CloudPadding(unit, self.level_trees.of_cloud, self.embedding.wanted_neighbors)

    def _check_padding(self) -> None:
        if not self.decode or self.pad != "ball":
            raise InputError(
                f"pad_clouds: got Erwin-v1m1 with decode={self.decode} and pad={self.pad!r}, wanted decode=True and "
                "pad='ball' with padded clouds"
            )


def bottleneck_point(x: Tensor, layout: BallLayout) -> Point:
    """The slots of a level that hold points, as a Point of their own."""
    real = indices(layout.known_valid, True, x.device)
    ends = np.cumsum(layout.slots)
    offset = torch.from_numpy(np.cumsum(layout.known_valid)[ends - 1]).to(x.device)
    return Point(coord=layout.coord[real], feat=x[real], offset=offset)
