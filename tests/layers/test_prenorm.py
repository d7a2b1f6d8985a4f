"""The pre-norm block equals its sums number by number; rows in parts; what the backward pass computes again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pointcept_bsa.ops.ball_attention
import pointcept_bsa.ops.block_selection
import pointcept_bsa.ops.dense_attention
import pointcept_bsa.ops.selected_attention
import pointcept_bsa.ops.tree_attention
import pointcept_bsa.ops.tree_descent  # noqa: F401  # all that register operators
from pointcept_bsa.dispatch import triton_installed
from pointcept_bsa.layers import prenorm
from pointcept_bsa.layers.norm import RMSNorm
from pointcept_bsa.layers.prenorm import PrenormBlock, by_rows, check_recompute, mlp

from .by_hand import compare, gelu, layer_norm, linear, numbers, randomized

DIM = 6
HOW = [False, True, "selective"]


class Mixing(nn.Module):
    """In place of an attention: each row gets its map of the sum of all rows and of another input."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(DIM, DIM)
        self.calls = 0

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        self.calls += 1
        return self.map(x + x.sum(0)) * other


def built(recompute: bool | str = False, **options) -> PrenormBlock:
    return randomized(PrenormBlock(Mixing(), DIM, 2, recompute, **options))


def block_by_hand(p: dict[str, Tensor], x: Tensor, other: Tensor) -> Tensor:
    """x += attention(norm(x)); x += W_2 GELU(W_1 norm(x))."""
    normed = [layer_norm(p, "norm1", row, eps=1e-6) for row in x]
    total, out = sum(normed), []
    for row, own, o in zip(x, normed, other, strict=True):
        row = row + linear(p, "attention.map", own + total) * o
        hidden = gelu(linear(p, "mlp.0", layer_norm(p, "norm2", row, eps=1e-6)))
        out.append(row + linear(p, "mlp.2", hidden))
    return torch.stack(out)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("rows", [1, 7])
def test_it_is_its_sums_row_by_row(rows, how):
    block, x, other = built(how), numbers(rows, DIM), numbers(rows, DIM, seed=3)
    p = dict(block.named_parameters())
    compare(block(x, other), block_by_hand(p, x, other), {"x": x, "other": other, **p})
    # forward, and of that which is compared its gradient: once more where it is computed again
    assert block.attention.calls == (1 if how is False else 2)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("at_once", [1, 3, 7, 100])
def test_without_gradients_the_mlp_takes_some_rows_at_a_time(at_once, how, monkeypatch):
    block, x, other = built(how), numbers(7, DIM, grad=False), numbers(7, DIM, seed=3, grad=False)
    seen = []
    block.mlp.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    monkeypatch.setattr(prenorm, "ROWS_AT_ONCE", at_once)
    with torch.no_grad():
        out = block(x, other)
    assert seen == [min(at_once, 7 - first) for first in range(0, 7, at_once)]
    want = block_by_hand({name: p.detach() for name, p in block.named_parameters()}, x, other)
    torch.testing.assert_close(out, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rows", [1, 4, 5, 8])
def test_by_rows_gives_every_result_of_every_row(rows, monkeypatch):
    monkeypatch.setattr(prenorm, "ROWS_AT_ONCE", 4)
    x, y = numbers(rows, 3, grad=False), numbers(rows, 2, 2, seed=3, grad=False)
    parts = []

    def both(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        parts.append(len(a))
        return a.sum(1).float(), b * 2

    one, two = by_rows(both, x, y)
    assert torch.equal(one, x.sum(1).float()) and torch.equal(two, y * 2)
    assert max(parts) <= 4 and sum(parts) == rows


def test_other_norms_and_layers_take_their_places():
    block = built(norm=RMSNorm, feed_forward=nn.Linear(DIM, DIM))
    x, other = numbers(5, DIM, grad=False), torch.ones(5, DIM)
    y = x + block.attention(block.norm1(x), other)
    torch.testing.assert_close(block(x, other), y + block.mlp(block.norm2(y)))
    assert isinstance(block.norm1, RMSNorm) and isinstance(block.mlp, nn.Linear)


def test_an_mlp_has_gelu_between_its_layers_alone():
    layers, x = randomized(mlp(3, 5, 4, 2)), numbers(6, 3)
    p = dict(layers.named_parameters())
    want = [linear(p, "4", gelu(linear(p, "2", gelu(linear(p, "0", row))))) for row in x]
    compare(layers(x), torch.stack(want), {"x": x, **p})


@pytest.mark.skipif(not triton_installed(), reason="needs triton")
def test_selective_recomputation_keeps_every_attention_and_choice_there_is():
    """Names that are no operators would be passed over without a word, and so would new operators."""
    own = {name.split("::")[1].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name[:7] == "pcbsa::"}
    with_gradients = {name for name in own if name.endswith("attention") and f"{name}_backward" in own}
    wanted = with_gradients | {"select_blocks", "best_children", "selection_lists"}
    assert wanted <= own
    assert set(prenorm.KEPT) == wanted
    assert all(hasattr(torch.ops.aten, name) for name in prenorm.KEPT_OF_TORCH)


@pytest.mark.parametrize("how", ["all", "Selective", 1, None])
def test_another_way_to_recompute_is_refused_in_one_line(how):
    with pytest.raises(ValueError, match=f"recompute: got {how!r}, wanted True, False or 'selective'") as told:
        PrenormBlock(Mixing(), DIM, 2, how)
    assert "\n" not in str(told.value)
    assert [check_recompute(value) for value in HOW] == HOW
