"""The Universal Physics Transformer: a few latent tokens stand for the whole cloud."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pointcept_bsa.backbones.base import Backbone
from pointcept_bsa.geometry.neighborhood import Neighborhood
from pointcept_bsa.geometry.padding import CloudPadding
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.attention import check_counts
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.layers.perceiver import PerceiverAttention, SelfAttention, Tokens
from pointcept_bsa.layers.prenorm import EPS, PrenormBlock, mlp
from pointcept_bsa.layers.sinusoidal import SinusoidalEmbedding
from pointcept_bsa.layers.supernode_pooling import SupernodePooling
from pointcept_bsa.layers.supernodes import POINT_TREE, Supernodes
from pointcept_bsa.layers.transformer import init_weights


@MODELS.register_module("UPT-v1m1")
class UniversalPhysicsTransformer(Backbone):
    """UPT (Alkin et al. 2024, arXiv 2402.12365): encoder, approximator, decoder.

    h = MLP(features) + phi(x); supernodes hear from the points within ``radius``; transformer blocks on the supernodes;
    perceiver pooling into ``num_latents`` learned queries; transformer blocks on the latent tokens, the approximator;
    a perceiver block from queries MLP(phi(x)) at all points to the latent tokens; LayerNorm, a linear map.

    Where it differs from the authors' code: one width C throughout, one time step, no condition. Supernodes are chosen
    by :class:`.Supernodes` and not drawn anew each time; of more than ``num_neighbors`` points within the radius the
    nearest count, not any. ``query_features`` adds a linear map of a point's own features to its query (there a query
    is a position; the data sets here give normals and distances that latent tokens cannot hold for every point). The
    approximator's and the decoder's blocks, between which the code has one more linear map, are one stack here. Latent
    queries start with a std of 0.02, not 1, which hides what they hear: a third less error after 400 iterations.

    Args:
        in_channels: channels of ``feat``.
        out_channels: of the features it returns.
        channels: C.
        num_heads: H.
        num_supernodes: of a cloud, or all points of a smaller one.
        num_latents: latent tokens of a cloud.
        encoder_depth: blocks on the supernodes.
        depth: blocks on the latent tokens.
        radius, num_neighbors: whom a supernode hears from; a sample's ``neighbor_index`` (N, k) replaces the search.
        edges: "radius", or "knn" for the nearest whatever their distance.
        position_scale: of phi, see :class:`.SinusoidalEmbedding`. The authors' coordinates fill [0, 200] at scale 1:
            100 for coordinates in [-1, 1].
        query_features: see above.
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
        num_latents: int = 128,
        encoder_depth: int = 2,
        depth: int = 6,
        radius: float = 0.1,
        num_neighbors: int = 32,
        edges: str = "radius",
        position_scale: float = 100.0,
        query_features: bool = True,
        mlp_ratio: int = 4,
        dimensionality: int = 3,
        recompute: bool | str = False,
    ):
        super().__init__(in_channels, out_channels, dimensionality)
        check_counts(channels=channels, num_heads=num_heads, num_supernodes=num_supernodes, num_latents=num_latents)
        self.num_supernodes = num_supernodes
        check_counts(num_neighbors=num_neighbors)
        self.neighborhood = Neighborhood(num_neighbors, edges, radius)

        def block(attention: nn.Module) -> PrenormBlock:
            return PrenormBlock(attention, channels, mlp_ratio, recompute)

        self.position = SinusoidalEmbedding(channels, dimensionality, position_scale)
        self.embedding = mlp(in_channels, channels, channels, channels)
        self.supernode_pooling = SupernodePooling(channels)
        self.encoder = nn.ModuleList(block(SelfAttention(channels, num_heads)) for _ in range(encoder_depth))
        self.latent = nn.Parameter(torch.empty(num_latents, channels))
        self.pooling = block(PerceiverAttention(channels, num_heads))
        self.approximator = nn.ModuleList(block(SelfAttention(channels, num_heads)) for _ in range(depth))
        self.query = mlp(channels, channels, channels)
        self.query_features = Linear(in_channels, channels) if query_features else None
        self.decoder = block(PerceiverAttention(channels, num_heads))
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.projection = Linear(channels, out_channels)
        init_weights(self, nn.init.xavier_uniform_)
        nn.init.trunc_normal_(self.latent, std=0.02)

    def static_geometry(self, coord: Tensor) -> dict[str, Tensor]:
        return {"tree_order": POINT_TREE.order(coord)} | self.neighborhood.of_one_cloud(coord)

    def padding(self, unit: int) -> CloudPadding:
        return POINT_TREE.padding(unit, type(self).__name__, self.neighborhood.arguments)

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        where = self.position(point.coord)
        latent, tokens = self.latent_tokens(point, lengths, where)
        query = self.query(where)
        if self.query_features is not None:
            query = query + self.query_features(point.feat)
        x = self.decoder(query.to(where.dtype), Tokens(lengths), latent, tokens)
        return self.projection(self.norm(x))

    def latent_tokens(self, point: Point, lengths: tuple[int, ...], where: Tensor) -> tuple[Tensor, Tokens]:
        """(B L, C) tokens after the approximator, from points with phi(x) = ``where`` (N, C)."""
        chosen = Supernodes.choose(POINT_TREE.build(point, lengths), self.num_supernodes)
        index = self.neighborhood.table(point, lengths).index_select(0, chosen.index)
        h = self.embedding(point.feat) + where
        x = self.supernode_pooling(h, chosen.index, index).to(where.dtype)  # under autocast the residual stays float32
        supernodes = Tokens(chosen.lengths, chosen.valid)
        for block in self.encoder:
            x = block(x, supernodes)
        tokens = Tokens((len(self.latent),) * len(lengths))
        latent = self.pooling(self.latent.repeat(len(lengths), 1), tokens, x, supernodes)
        for block in self.approximator:
            latent = block(latent, tokens)
        return latent, tokens
