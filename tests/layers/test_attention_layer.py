"""How attention layers begin and end: positions, conditions, the projection; held against loops over the slots."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.layers.attention import BallAttention, FullAttention
from pointcept_bsa.layers.attention_layer import AttentionLayer
from pointcept_bsa.layers.conditioning import Film
from pointcept_bsa.layers.linear import Linear

from .by_hand import compare, linear, numbers, randomized, softmax_sum

DIM, HEADS, BALL, DIMS = 6, 2, 8, 2
LENGTHS = (21, 1, 8, 5)  # balls with empty slots; one point; a full ball; less than a ball


class TwiceTheBall(AttentionLayer):
    """An attention that gives each slot so many times the sum of its ball, empty slots and all, and a square."""

    def __init__(self, out: int = DIM) -> None:
        super().__init__()
        self.position = Linear(DIMS, DIM)
        self.projection = Linear(2 * DIM, out)

    def attend(self, h: Tensor, *geometry: Any) -> Tensor:
        layout, factor = geometry
        total = h.unflatten(0, (-1, layout.ball_size)).sum(1).repeat_interleave(layout.ball_size, 0)
        return torch.cat([factor * total, h * h], -1)

    def fused_attend(self, h: Tensor, *geometry: Any) -> Tensor:  # type: ignore[override]
        return self.attend(h, *geometry)


class Slots:
    """The tree of the points: where the slots are, which hold points, of which clouds."""

    def __init__(self, lengths=LENGTHS):
        coord = numbers(sum(lengths), DIMS, seed=3, grad=False)
        self.layout = BallTree.build(coord, lengths, BALL, 2).layout
        self.valid = self.layout.known_valid.tolist()
        self.cloud = [c for c, slots in enumerate(self.layout.slots) for _ in range(slots)]
        self.real = [s for s, real in enumerate(self.valid) if real]

    def members(self, s: int) -> list[int]:
        """The points in the ball of a slot."""
        return [j for j in range(s // BALL * BALL, s // BALL * BALL + BALL) if self.valid[j]]

    def place(self, s: int) -> Tensor:
        """Relative to the mean of the ball's points; zero in an empty slot."""
        coord, near = self.layout.coord, self.members(s)
        return coord[s] - sum(coord[j] for j in near) / len(near) if self.valid[s] else torch.zeros_like(coord[s])


def conditions() -> Tensor:
    """(B, 4, C)."""
    return numbers(len(LENGTHS), 4, DIM, seed=8)


def begun(p, x: Tensor, place, film: Tensor | None, cloud: list[int]) -> list[Tensor]:
    """h = x + W_pos position; then h (1 + scale) + shift, of the cloud."""
    h = [row + linear(p, "position", place(s)) for s, row in enumerate(x)]
    return h if film is None else [row * (1 + film[c, 0]) + film[c, 1] for row, c in zip(h, cloud, strict=True)]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("conditioned", [False, True])
def test_position_condition_attention_and_projection_in_this_order(conditioned, fused, fuse):
    slots, layer = Slots(), randomized(TwiceTheBall(out=4))
    x, values, p = numbers(len(slots.valid), DIM), conditions(), dict(layer.named_parameters())
    h = begun(p, x, slots.place, values if conditioned else None, slots.cloud)
    want = []
    for s, row in enumerate(h):
        ball = s // BALL * BALL
        want.append(linear(p, "projection", torch.cat([3 * sum(h[ball : ball + BALL]), row * row])))
    if fused:
        fuse()
    film = Film(values, slots.layout.slots) if conditioned else None
    got = layer(x, slots.layout, 3, film=film)
    inputs = {"x": x, **p}

    compare(got, torch.stack(want), inputs | ({"values": values} if conditioned else {}))


def test_the_second_half_of_the_conditions_is_not_for_attention():
    slots, layer, values = Slots(), randomized(TwiceTheBall()), conditions()
    x = numbers(len(slots.valid), DIM)
    out = layer(x, slots.layout, 3, film=Film(values, slots.layout.slots))
    (gradient,) = torch.autograd.grad(out.sum(), values)
    assert gradient[:, :2].all() and not gradient[:, 2:].any()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("kind", ["ball", "full"])
def test_the_layers_of_the_networks_point_by_point(kind, conditioned, fused, fuse):
    """Zhdanov et al. 2025, eq. 8 to 10, and attention among all points of a cloud, with positions that are given."""
    slots, values = Slots(), conditions()
    layer = randomized((BallAttention if kind == "ball" else FullAttention)(DIM, HEADS, DIMS))
    p, film, width = dict(layer.named_parameters()), values if conditioned else None, DIM // HEADS
    if kind == "ball":
        rows, cloud, geometry, counts = slots.real, slots.cloud, (slots.layout,), slots.layout.slots
        seen, place, coord = slots.members, slots.place, slots.layout.coord
    else:
        rows, cloud = range(sum(LENGTHS)), [c for c, n in enumerate(LENGTHS) for _ in range(n)]
        coord = numbers(sum(LENGTHS), DIMS, seed=5, grad=False)
        geometry, counts, place = (coord, LENGTHS), LENGTHS, coord.__getitem__

        def seen(i: int) -> list[int]:
            return [j for j in rows if cloud[j] == cloud[i]]

    x = numbers(len(cloud), DIM)
    qkv = [linear(p, "qkv", row) for row in begun(p, x, place, film, cloud)]
    want = []
    for i in rows:
        heads = []
        for head in range(HEADS):
            q, k, v = ({j: qkv[j][part * DIM + head * width :][:width] for j in seen(i)} for part in range(3))
            scores = [q[i] @ k[j] / math.sqrt(width) for j in k]
            if kind == "ball":
                away = [sum((a - b) ** 2 for a, b in zip(coord[i], coord[j], strict=True)).sqrt() for j in k]
                scores = [score + p["sigma"][head] * far for score, far in zip(scores, away, strict=True)]
            heads.append(softmax_sum(scores, list(v.values())))
        want.append(linear(p, "projection", torch.cat(heads)))
    if fused:
        fuse()
    got = layer(x, *geometry, film=Film(values, tuple(counts)) if conditioned else None)[list(rows)]
    compare(got, torch.stack(want), {"x": x, **p} | ({"values": values} if conditioned else {}))


def test_a_batch_is_its_clouds():
    lengths, slots = (8, 16, 8), Slots((8, 16, 8))  # no empty slot, so that the trees of the clouds are cut out simply
    layer, x = randomized(BallAttention(DIM, HEADS, DIMS)), numbers(32, DIM, grad=False)
    values, coord = numbers(3, 4, DIM, seed=8, grad=False), numbers(32, DIMS, seed=3, grad=False)
    whole = layer(x, slots.layout, film=Film(values, slots.layout.slots))
    for i, (first, n) in enumerate(zip(itertools.accumulate(lengths, initial=0), lengths, strict=False)):
        alone = BallTree.build(coord[first : first + n], (n,), BALL, 2).layout
        out = layer(x[first : first + n], alone, film=Film(values[i : i + 1], (n,)))
        torch.testing.assert_close(out, whole[first : first + n], rtol=1e-10, atol=1e-10)


def test_single_precision_is_near_double():
    slots, layer = Slots(), randomized(TwiceTheBall())
    x = numbers(len(slots.valid), DIM, grad=False)
    want = layer(x, slots.layout, 3)
    slots.layout = BallTree.build(numbers(sum(LENGTHS), DIMS, seed=3, grad=False).float(), LENGTHS, BALL, 2).layout
    out = layer.float()(x.float(), slots.layout, 3)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_rows_of_another_number_are_refused_in_one_line(fused, fuse):
    slots, layer = Slots(), TwiceTheBall()
    if fused:
        fuse()
    for rows in (1, sum(LENGTHS), len(slots.valid) + BALL):
        with pytest.raises(ValueError, match=f"x: got {rows} rows, wanted 48, one for each slot or point") as told:
            layer(torch.randn(rows, DIM), slots.layout, 3)
        assert "\n" not in str(told.value)
