"""The Multi-Scale Patch Transformer: balls of a tree, and a few tokens that stand for each."""

from __future__ import annotations

from torch import Tensor, nn

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.geometry.padding import CloudPadding
from pointcept_bsa.geometry.single_tree import SingleTree
from pointcept_bsa.geometry.tree_plan import plan_tree
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.attention import check_counts
from pointcept_bsa.layers.multi_scale_attention import MultiScaleAttention
from pointcept_bsa.layers.prenorm import EPS, PrenormBlock, mlp
from pointcept_bsa.layers.transformer import init_weights


@MODELS.register_module("MSPT-v1m1")
class MultiScalePatchTransformer(Backbone):
    """MSPT (Curvo et al. 2025, arXiv 2512.01738).

    An MLP of the features, then ``depth`` blocks ``x += PMSA(LayerNorm(x)); x += MLP(LayerNorm(x))`` on one ball tree,
    LayerNorm. PMSA, see :class:`.MultiScaleAttention`: points attend to their ball (patch) and to the
    Q = ball_size / block_size pooled tokens (supernodes) of every ball of the cloud, in one softmax.

    From the paper. Patches have a fixed number of slots here, there a cloud has a fixed number of patches; empty slots
    are masked, not zero. Supernodes are the means of the tree's blocks, which are compact in space, and only keys: what
    comes out for themselves, which the paper drops, is not computed. The authors' code also hands that on to the next
    block, adds dropout, and nests a second residual block in each.

    Args:
        in_channels: channels of ``feat``.
        channels: C, also ``out_channels``.
        depth: number of blocks.
        num_heads: H.
        ball_size: slots of a patch, ``block_size`` times a power of two.
        block_size: slots that a supernode stands for.
        mlp_ratio: hidden width of the blocks' MLP over C.
        dimensionality: space dimensions of ``coord``.
        recompute: less memory in training, see :class:`.TransformerBlock`.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 64,
        depth: int = 12,
        num_heads: int = 4,
        ball_size: int = 256,
        block_size: int = 64,
        mlp_ratio: int = 4,
        dimensionality: int = 3,
        recompute: bool | str = False,
    ):
        super().__init__(in_channels, channels, dimensionality)
        check_counts(channels=channels, num_heads=num_heads, ball_size=ball_size, block_size=block_size)
        plan_tree((1,), ball_size, block_size)  # raises ValueError unless they fit each other
        self.tree = SingleTree(ball_size, block_size, rotate=0.0)
        self.embedding = mlp(in_channels, 2 * channels, channels)
        self.blocks = nn.ModuleList(
            PrenormBlock(MultiScaleAttention(channels, num_heads), channels, mlp_ratio, recompute) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(channels, eps=EPS)
        init_weights(self)

    def static_geometry(self, coord: Tensor) -> dict[str, Tensor]:
        return {"tree_order": self.tree.order(coord)}

    def padding(self, unit: int) -> CloudPadding:
        return self.tree.padding(unit, type(self).__name__)

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        tree = self.tree.build(point, lengths)
        x = tree.gather(self.embedding(point.feat).to(point.feat.dtype))  # under autocast the residual stays float32
        for block in self.blocks:
            x = block(x, tree.layout)
        return self.norm(tree.scatter(x))
