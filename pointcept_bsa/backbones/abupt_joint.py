"""The Anchored-Branched Universal Physics Transformer with a branch for each domain."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pointcept_bsa.backbones.abupt import AnchoredBranchedUPT
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.domains import DOMAIN, DomainOrder, places_in_domain, rows_of_domain, rows_of_others
from pointcept_bsa.geometry.host_tables import on_device
from pointcept_bsa.geometry.padding import VALID, CloudPadding
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.attention import check_counts
from pointcept_bsa.layers.perceiver import AnchorAttention, Tokens
from pointcept_bsa.layers.prenorm import PrenormBlock
from pointcept_bsa.layers.supernodes import POINT_TREE, Supernodes
from pointcept_bsa.layers.transformer import init_weights

SELF, CROSS = "s", "c"


@MODELS.register_module("ABUPTJoint-v1m1")
class JointAnchoredBranchedUPT(AnchoredBranchedUPT):
    """AB-UPT (Alkin et al. 2025, arXiv 2502.09692) on the points of several domains, a surface and a volume.

    Geometry branch: on the points of one domain, the surface. Every other branch is that of a domain: its points attend
    to the geometry in a perceiver block, then follow blocks whose weights all branches share, in turn "s": points
    attend to the anchors of their own domain, and "c": to those of the other domains. ``domain_depth`` blocks at the
    end are a domain's own, with anchors of its own. Anchors are chosen in each domain; no point changes another's
    output unless it is an anchor (or of the geometry a supernode or a neighbour of one).

    Where it differs from the authors' code: as ``ABUPT-v1m1`` does. A learned vector of the domain is added to a
    point's embedding, there a small network of the position does that. The heads are the model's.

    Args:
        domains: D, in the order of the data set.
        geometry_domain: which of them is the surface, from 0.
        blocks: the shared ones, "s" and "c".
        domain_depth: blocks of each domain's own.
        options: those of ``ABUPT-v1m1`` without ``depth``; ``num_anchors`` are of each domain of a cloud.

    Raises:
        ValueError: arguments that do not fit each other.
    """

    def __init__(
        self,
        domains: int = 2,
        geometry_domain: int = 0,
        blocks: str = "scsc",
        domain_depth: int = 2,
        channels: int = 96,
        num_heads: int = 4,
        mlp_ratio: int = 4,
        recompute: bool | str = False,
        **options: Any,
    ):
        check_counts(domains=domains)
        if "depth" in options:
            raise ValueError("depth: wanted blocks='scsc' and domain_depth, of which the depth is the sum")
        if not blocks or set(blocks) - {SELF, CROSS} or (domains == 1 and CROSS in blocks):
            raise ValueError(f"blocks: got {blocks!r} of {domains} domains, wanted letters s and, of several, c")
        if not 0 <= geometry_domain < domains or domain_depth < 0:
            raise ValueError(
                f"geometry_domain: got {geometry_domain}, wanted one of {domains} domains; domain_depth {domain_depth}"
            )
        options |= dict(channels=channels, num_heads=num_heads, mlp_ratio=mlp_ratio, recompute=recompute)
        super().__init__(depth=len(blocks), **options)
        self.domains, self.geometry_domain, self.pattern = domains, geometry_domain, blocks
        self.domain_embedding = nn.Embedding(domains, channels)
        nn.init.trunc_normal_(self.domain_embedding.weight, std=0.02)
        self.domain_blocks = nn.ModuleList(
            nn.ModuleList(
                PrenormBlock(AnchorAttention(channels, num_heads, self.rotary), channels, mlp_ratio, recompute)
                for _ in range(domain_depth)
            )
            for _ in range(domains)
        )
        init_weights(self.domain_blocks, nn.init.xavier_uniform_)

    def static_geometry(self, coord: Tensor) -> dict[str, Tensor]:
        return {}

    def padding(self, unit: int) -> CloudPadding:
        raise InputError(f"pad_clouds: {type(self).__name__} takes no padded clouds, wanted pad_clouds=None")

    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        if VALID in point:
            raise InputError(f"{VALID}: got a padded batch, which {type(self).__name__} does not take")
        order = DomainOrder.of(point, lengths, self.domains)
        parts, coord = order.lengths, point.coord[order.index]
        if 0 in parts:
            raise InputError(f"{DOMAIN}: a cloud has no points of domain {parts.index(0) % self.domains}, wanted some")
        geometry, supernodes = self.encode_surface(coord, parts)
        anchors = Supernodes.choose(POINT_TREE.build({"coord": coord}, parts), self.num_anchors)
        places, counts = rows_of_others(anchors.lengths, self.domains)
        others = Supernodes(anchors.index[on_device(places, coord.device)], counts)
        seen = {
            SELF: (anchors.index, anchors.tokens(self.rotary, coord)),
            CROSS: (others.index, others.tokens(self.rotary, coord)),
        }
        x = self.embedding(self.position(coord)) + self.domain_embedding(point[DOMAIN][order.index])
        if self.features is not None:
            x = x + self.features(point.feat[order.index])
        cos_sin = self.rotary.cos_sin(coord)
        x = self.to_geometry(x.to(coord.dtype), Tokens(lengths, None, cos_sin), geometry, supernodes)
        for kind, block in zip(self.pattern, self.blocks, strict=True):
            x = block(x, Tokens(parts, None, cos_sin), *seen[kind])
        x = self.decode(x, coord, parts, anchors)
        return self.projection(self.norm(x))[order.inverse]

    def encode_surface(self, coord: Tensor, parts: tuple[int, ...]) -> tuple[Tensor, Tokens]:
        """(S, C) of the supernodes of the geometry's domain, and where they are."""
        rows = on_device(rows_of_domain(parts, self.domains, self.geometry_domain), coord.device)
        surface = {"coord": coord[rows]}
        lengths = parts[self.geometry_domain :: self.domains]
        supernodes = Supernodes.choose(POINT_TREE.build(surface, lengths), self.num_supernodes)
        return self.encode_geometry(surface["coord"], self.neighborhood.table(surface, lengths), supernodes)

    def decode(self, x: Tensor, coord: Tensor, parts: tuple[int, ...], anchors: Supernodes) -> Tensor:
        """The blocks that are a domain's own: its points attend to its anchors."""
        places = on_device(places_in_domain(parts, self.domains), coord.device)[anchors.index]
        blocks: Any  # of a ModuleList of ModuleLists
        for number, blocks in enumerate(self.domain_blocks):
            rows, own = (
                on_device(rows_of_domain(lengths, self.domains, number), coord.device)
                for lengths in (parts, anchors.lengths)
            )
            there = Supernodes(places[own], anchors.lengths[number :: self.domains]).tokens(self.rotary, coord[rows])
            here = Tokens(parts[number :: self.domains], None, self.rotary.cos_sin(coord[rows]))
            y = x[rows]
            for block in blocks:
                y = block(y, here, places[own], there)
            x = x.index_copy(0, rows, y.to(x.dtype))
        return x
