"""The residual stream between two layers, on which the next one's kernel does what is left to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from pointcept_bsa.layers.fused.linear import Summand, master_parameter
from pointcept_bsa.ops.permute import permute
from pointcept_bsa.ops.rms_norm import Place, residual_norm

if TYPE_CHECKING:
    from pointcept_bsa.geometry.ball_tree import BallTree
    from pointcept_bsa.layers.attention_layer import AttentionLayer
    from pointcept_bsa.layers.linear import Linear
    from pointcept_bsa.layers.norm import RMSNorm


class Residual(NamedTuple):
    """x + summand, its rows in another order.

    Attributes:
        x: (S, C).
        summand: (S, C), what the layer before adds.
        order: a permutation of the rows and its inverse: row r is row order[0][r] of the sum.
    """

    x: Tensor
    summand: Summand | None = None
    order: tuple[Tensor, Tensor] | None = None

    def turned(self, tree: BallTree, *, to_rotated: bool) -> Residual:
        """The stream in the order of the other tree: by the kernel that comes next, where its rows are all here."""
        if tree.is_part:
            return Residual(tree.turned(self.total(), to_rotated=to_rotated))
        return self._replace(order=tree.permutation(to_rotated=to_rotated))

    def total(self) -> Tensor:
        """(S, C)."""
        x = self.x if self.summand is None else self.x + self.summand.full()
        return x if self.order is None else permute(x, *self.order)

    def normed(
        self, norm: RMSNorm, place: Tensor | None = None, position: Linear | None = None
    ) -> tuple[Tensor, Tensor]:
        """The total, and its norm, to which ``position(place)`` is added."""
        map_of_place = None
        if place is not None and position is not None:
            map_of_place = _in_place(place, position)
            if map_of_place is None:
                x = self.total()
                return x, norm(x) + position(place)
        value, bias = self.summand or (None, None)
        return residual_norm(self.x, norm.weight, norm.eps_of(self.x), value, bias, self.order, map_of_place)


def norm_with_position(x: Tensor, norm: RMSNorm, place: Tensor, position: Linear) -> Tensor:
    """norm(x) + position(place): (S, C)."""
    return Residual(x).normed(norm, place, position)[1]


class Normed(NamedTuple):
    """What an attention layer begins with in a block.

    Attributes:
        x: (S, C) the residual stream.
        entered: (S, C) its norm, and W_pos position added.
    """

    x: Tensor
    entered: Tensor

    def before_position(self, layer: AttentionLayer, *geometry: Any) -> Tensor:
        """(S, C) what the plain layer is called with for the same result."""
        return self.entered - layer.position(layer.place(*geometry))


def _in_place(place: Tensor, position: Linear) -> Place | None:
    """``position(place)`` as the kernel takes it, or None if it cannot."""
    if place.requires_grad or place.shape[-1] > 3 or position.bias is None:
        return None
    return Place(place, master_parameter(position, "weight"), master_parameter(position, "bias"))
