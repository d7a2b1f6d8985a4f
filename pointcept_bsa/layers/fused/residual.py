"""The residual stream between two layers, on which the next one's kernel does what is left to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from pointcept_bsa.geometry.part_tree import PartTree
from pointcept_bsa.layers.fused.linear import Summand, master_parameter
from pointcept_bsa.ops.permute import permute
from pointcept_bsa.ops.rms_norm import MixedOrder, PositionMap, residual_norm

if TYPE_CHECKING:
    from pointcept_bsa.geometry.ball_tree import BallTree
    from pointcept_bsa.geometry.part_turn import Turn
    from pointcept_bsa.layers.attention_layer import AttentionLayer
    from pointcept_bsa.layers.linear import Linear
    from pointcept_bsa.layers.norm import RMSNorm


class Residual(NamedTuple):
    """x + summand, its rows in another order.

    Attributes:
        x: (S, C).
        summand: (S, C), what the layer before adds.
        order: a permutation of the rows and its inverse: row r is row order[0][r] of the sum.
        turn: in its place, where other processes have some of the rows; and whether it is the way back.
    """

    x: Tensor
    summand: Summand | None = None
    order: tuple[Tensor, Tensor] | None = None
    turn: tuple[Turn, bool] | None = None

    def permuted(self, tree: BallTree, *, to_rotated: bool) -> Residual:
        """The stream in the order of the other tree, by the kernel that comes next."""
        if isinstance(tree, PartTree):
            return self._replace(turn=tree.way(to_rotated=to_rotated))
        return self._replace(order=tree.permutation(to_rotated=to_rotated))

    def total(self) -> Tensor:
        """(S, C)."""
        x = self.x if self.summand is None else self.x + self.summand.to_tensor()
        if self.turn is not None:
            turn, back = self.turn
            return turn(x, back=back)
        return x if self.order is None else permute(x, *self.order)

    def normed(
        self, norm: RMSNorm, relative_position: Tensor | None = None, position: Linear | None = None
    ) -> tuple[Tensor, Tensor]:
        """The total, and its norm, to which ``position(relative_position)`` is added."""
        position_map = None
        if relative_position is not None and position is not None:
            position_map = _position_map(relative_position, position)
            if position_map is None:
                x = self.total()
                return x, norm(x) + position(relative_position)
        x, (value, bias) = self.x, self.summand or (None, None)
        order: tuple[Tensor, Tensor] | MixedOrder | None = self.order
        if self.turn is not None:
            turn, back = self.turn
            x, value, *mixed = turn.exchanged(x, value, back=back)
            order = MixedOrder(*mixed)
        return residual_norm(
            x,
            norm.weight,
            eps=norm.eps_of(x),
            summand=value,
            bias=bias,
            order=order,
            position=position_map,
        )


def norm_with_position(x: Tensor, norm: RMSNorm, relative_position: Tensor, position: Linear) -> Tensor:
    """norm(x) + position(relative_position): (S, C)."""
    return Residual(x).normed(norm, relative_position, position)[1]


class Normed(NamedTuple):
    """What an attention layer begins with in a block.

    Attributes:
        x: (S, C) the residual stream.
        h: (S, C) its norm, and W_pos position added.
    """

    x: Tensor
    h: Tensor

    def before_position(self, layer: AttentionLayer, *geometry: Any) -> Tensor:
        """(S, C) what the plain layer is called with for the same result."""
        return self.h - layer.position(layer.relative_position(*geometry))


def _position_map(relative_position: Tensor, position: Linear) -> PositionMap | None:
    """``position(relative_position)`` as the kernel takes it, or None if it cannot."""
    if relative_position.requires_grad or relative_position.shape[-1] > 3 or position.bias is None:
        return None
    # The parameters, not their stand-ins: the kernel takes the map in float32, and sums both gradients so.
    return PositionMap(relative_position, master_parameter(position, "weight"), master_parameter(position, "bias"))
