"""The Anchored-Branched Universal Physics Transformer, its form for one surface."""

from __future__ import annotations

from torch import Tensor, nn

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.geometry.neighborhood import Neighborhood
from pointcept_bsa.geometry.padding import CloudPadding
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.attention import check_counts, check_heads
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.perceiver import AnchorAttention, PerceiverAttention, SelfAttention, Tokens
from pointcept_bsa.layers.prenorm import EPS, PrenormBlock, mlp
from pointcept_bsa.layers.query_key import RotaryEmbedding
from pointcept_bsa.layers.sinusoidal import SinusoidalEmbedding
from pointcept_bsa.layers.supernode_pooling import GeometryPooling
from pointcept_bsa.layers.supernodes import POINT_TREE, Supernodes
from pointcept_bsa.layers.transformer import init_weights


@MODELS.register_module("ABUPT-v1m1")
class AnchoredBranchedUPT(Backbone):
    """AB-UPT (Alkin et al. 2025, arXiv 2502.09692) where all points are of one domain.

    Geometry branch: supernodes hear from the positions around them, then transformer blocks. Physics branch: points
    start as MLP(phi(x)), attend to the geometry in a perceiver block, then in ``depth`` blocks to the anchors among
    them: anchors to each other, all other points to the anchors alone, so that no point changes another's output unless
    it is an anchor. Rotary position embedding in every attention.

    Where it differs from the authors' code: with one branch there is no attention between branches, and blocks that
    branches share are like those that they do not. Anchors and supernodes are chosen by :class:`.Supernodes`, not drawn
    anew each time, and training sees all points of the sample, not its anchors alone; of more than ``num_neighbors``
    points within the radius the nearest count. ``features`` adds a linear map of a point's features (there a point has
    but its position). The rotation is :class:`.RotaryEmbedding`, whose waves halve from ``rotary`` on; theirs are those
    of phi. A norm stands before the last map, and weights start from Xavier's distribution, both as in UPT: with a std
    of 0.02, as there, networks as narrow as here learn slower.

    Args:
        in_channels: channels of ``feat``.
        out_channels: of the features it returns.
        channels: C.
        num_heads: H.
        num_supernodes: of the geometry of a cloud, or all points of a smaller one.
        num_anchors: of a cloud, or all points of a smaller one.
        geometry_depth: blocks on the supernodes.
        depth: blocks on the points.
        radius, num_neighbors: whom a supernode hears from; a sample's ``neighbor_index`` (N, k) replaces the search.
        edges: "radius", or "knn" for the nearest whatever their distance.
        position_scale: of phi, see :class:`.SinusoidalEmbedding`. The authors' coordinates fill [0, 1000] at scale 1.
        rotary: the slowest wave of the rotation, see :class:`.RotaryEmbedding`.
        features: see above.
        mlp_ratio: hidden width of the blocks' MLP over C.
        dimensionality: space dimensions of ``coord``.
        recompute: less memory in training, see :class:`.TransformerBlock`.

    Raises:
        ValueError: arguments that do not fit each other.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 64,
        channels: int = 96,
        num_heads: int = 4,
        num_supernodes: int = 512,
        num_anchors: int = 1024,
        geometry_depth: int = 1,
        depth: int = 6,
        radius: float = 0.1,
        num_neighbors: int = 32,
        edges: str = "radius",
        position_scale: float = 100.0,
        rotary: float = 4.0,
        features: bool = True,
        mlp_ratio: int = 4,
        dimensionality: int = 3,
        recompute: bool | str = False,
    ):
        super().__init__(in_channels, out_channels, dimensionality)
        check_counts(channels=channels, num_heads=num_heads, num_supernodes=num_supernodes, num_anchors=num_anchors)
        check_heads(channels, num_heads)
        self.num_supernodes, self.num_anchors = num_supernodes, num_anchors
        check_counts(num_neighbors=num_neighbors)
        self.neighborhood = Neighborhood(num_neighbors, edges, radius)
        self.rotary = embedding = RotaryEmbedding(channels // num_heads, dimensionality, rotary)

        def block(attention: nn.Module) -> PrenormBlock:
            return PrenormBlock(attention, channels, mlp_ratio, recompute)

        self.geometry_pooling = GeometryPooling(channels, dimensionality, position_scale)
        self.geometry = nn.ModuleList(
            block(SelfAttention(channels, num_heads, embedding)) for _ in range(geometry_depth)
        )
        self.position = SinusoidalEmbedding(channels, dimensionality, position_scale)
        self.embedding = mlp(channels, channels, channels)
        self.features = Linear(in_channels, channels) if features else None
        self.to_geometry = block(PerceiverAttention(channels, num_heads, embedding))
        self.blocks = nn.ModuleList(block(AnchorAttention(channels, num_heads, embedding)) for _ in range(depth))
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.projection = Linear(channels, out_channels)
        init_weights(self, nn.init.xavier_uniform_)

    def static_geometry(self, coord: Tensor) -> dict[str, Tensor]:
        return {"tree_order": POINT_TREE.order(coord)} | self.neighborhood.of_one_cloud(coord)

    def padding(self, unit: int) -> CloudPadding:
        return POINT_TREE.padding(unit, type(self).__name__, self.neighborhood.arguments)

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        coord = point.coord
        tree = POINT_TREE.build(point, lengths)
        neighbors = self.neighborhood.table(point, lengths)
        geometry, supernodes = self.encode_geometry(coord, neighbors, Supernodes.choose(tree, self.num_supernodes))
        x = self.embedding(self.position(coord))
        if self.features is not None:
            x = x + self.features(point.feat)
        points = Tokens(lengths, None, self.rotary.cos_sin(coord))  # nobody attends to points as such
        x = self.to_geometry(x.to(coord.dtype), points, geometry, supernodes)
        anchors = Supernodes.choose(tree, self.num_anchors)
        of_anchors = anchors.tokens(self.rotary, coord)
        for block in self.blocks:
            x = block(x, points, anchors.index, of_anchors)
        return self.projection(self.norm(x))

    def encode_geometry(self, coord: Tensor, neighbors: Tensor, supernodes: Supernodes) -> tuple[Tensor, Tokens]:
        """(S, C) of the supernodes, and where they are; ``neighbors`` (N, k) are the neighbours of points at (N, d)."""
        x = self.geometry_pooling(coord, supernodes.index, neighbors.index_select(0, supernodes.index)).to(coord.dtype)
        tokens = supernodes.tokens(self.rotary, coord)
        for block in self.geometry:
            x = block(x, tokens)
        return x, tokens
