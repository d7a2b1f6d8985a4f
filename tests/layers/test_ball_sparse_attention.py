"""BSA, Erwin's ball attention and full attention equal attention written point by point from the papers' equations.

The oracle shares no code with the layers but their parameters: float64, loops over points and heads, indices from the
slots. Letters as in the papers: m slots a ball, l a block, g a group, H heads, D channels a head.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.layers.attention import BallAttention, FullAttention
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention

DIM, HEADS, BALL, BLOCK = 8, 2, 16, 4
LENGTHS = (75, 5, 33, 16)  # several balls with empty slots and blocks; less than a ball; one full ball
MLP = dict(group_compression=True, query_pooling="mlp")
OPTIONS = {
    "paper": {},
    "phi mean": dict(phi="mean"),
    "no group selection": dict(group_size=1),
    "groups of two blocks": dict(group_size=8),
    "group compression": MLP,
    "group compression, means": dict(group_compression=True, phi="mean"),
    "own ball allowed": dict(mask_own_ball=False),
    "no distance bias": dict(distance_bias=False),
    "more blocks than there are": dict(topk=40),
    "one block": dict(topk=1),
}


class Oracle:
    """A layer's parameters, and where the points of its slots are."""

    def __init__(self, layer: nn.Module, coord: Tensor, valid: list[bool], clouds: list[int]) -> None:
        self.p = dict(layer.named_parameters())
        self.coord, self.valid, self.cloud = coord, valid, clouds
        self.slots = range(len(valid))

    def linear(self, name: str, x: Tensor) -> Tensor:
        return self.p[f"{name}.weight"] @ x + self.p[f"{name}.bias"]

    def points(self, slots) -> list[int]:
        return [s for s in slots if self.valid[s]]

    def place(self, i: int, others: list[int]) -> Tensor:
        """Position relative to the mean of the others; zero in an empty slot."""
        if not self.valid[i]:
            return torch.zeros_like(self.coord[i])
        return self.coord[i] - sum(self.coord[j] for j in others) / len(others)

    def heads(self, h: Tensor) -> list[list[Tensor]]:
        """q, k and v of each head: [3][H] of (D,)."""
        parts = self.linear("qkv", h).split(DIM)
        return [list(part.split(DIM // HEADS)) for part in parts]

    @staticmethod
    def attend(q: Tensor, keys: list[Tensor], values: list[Tensor], bias: list[Tensor] | None = None) -> Tensor:
        """softmax(q k / sqrt(D) + bias) v; nothing to attend to gives zero."""
        if not keys:
            return torch.zeros_like(q)
        scores = [q @ k / math.sqrt(len(q)) for k in keys]
        if bias is not None:
            scores = [s + b for s, b in zip(scores, bias, strict=True)]
        largest = max(float(s.detach()) for s in scores)
        weights = [(s - largest).exp() for s in scores]
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def distance_bias(o: Oracle, i: int, others: list[int], head: int) -> list[Tensor] | None:
    if "sigma" not in o.p:
        return None
    return [o.p["sigma"][head] * (o.coord[i] - o.coord[j]).square().sum().clamp(min=0).sqrt() for j in others]


def neighbours(o: Oracle, i: int) -> list[int]:
    """The points of the ball of slot i."""
    return o.points(range(i // BALL * BALL, i // BALL * BALL + BALL))


def bsa(o: Oracle, x: Tensor, layer: BallSparseAttention, topk: int) -> Tensor:
    """Brita et al. 2025, eq. 5 to 7 and 9 to 15."""
    group, width = layer.group_size, DIM // HEADS

    def pool(name: str, vectors: list[Tensor], slots: range) -> Tensor:
        """phi: mean of the points, or an MLP of the slots side by side, where empty ones are zero."""
        if f"{name}.mlp.0.weight" not in o.p:
            real = o.points(slots)
            return sum(vectors[s] for s in real) / len(real) if real else torch.zeros(width, dtype=x.dtype)
        u = torch.cat([vectors[s] if o.valid[s] else torch.zeros_like(vectors[s]) for s in slots])
        return o.linear(f"{name}.mlp.2", o.linear(f"{name}.mlp.0", u).clamp(min=0))

    h = [x[i] + o.linear("position", o.place(i, neighbours(o, i))) for i in o.slots]
    q, k, v = ([[each[part][head] for each in map(o.heads, h)] for head in range(HEADS)] for part in range(3))  # [H][S]
    gates = [o.linear("gate", each).sigmoid().view(3, HEADS) for each in h]
    blocks = [range(b, b + BLOCK) for b in range(0, len(h), BLOCK)]
    out = [[torch.zeros(width, dtype=x.dtype)] * HEADS for _ in h]
    for head in range(HEADS):
        k_cmp = [pool("pool_k", k[head], block) for block in blocks]
        v_cmp = [pool("pool_v", v[head], block) for block in blocks]
        for first in range(0, len(h), group):
            members = range(first, first + group)
            of_cloud = [b for b, block in enumerate(blocks) if o.cloud[block[0]] == o.cloud[first] and o.points(block)]
            pooled = pool("pool_q", q[head], members) if group > 1 else q[head][first]
            candidates = [b for b in of_cloud if not layer.mask_own_ball or blocks[b][0] // BALL != first // BALL]
            scores = {b: float((pooled @ k_cmp[b]).detach()) for b in candidates}
            assert len({round(s, 5) for s in scores.values()}) == len(scores), "a tie: draw other inputs"
            chosen = sorted(candidates, key=scores.get, reverse=True)[:topk]
            selected = [s for b in chosen for s in o.points(blocks[b])]
            for i in o.points(members):
                near = neighbours(o, i)
                query = pooled if layer.group_compression else q[head][i]
                branches = (
                    o.attend(
                        q[head][i],
                        [k[head][j] for j in near],
                        [v[head][j] for j in near],
                        distance_bias(o, i, near, head),
                    ),
                    o.attend(query, [k_cmp[b] for b in of_cloud], [v_cmp[b] for b in of_cloud]),
                    o.attend(q[head][i], [k[head][j] for j in selected], [v[head][j] for j in selected]),
                )
                out[i][head] = sum(gates[i][b, head] * branch for b, branch in enumerate(branches))
    return torch.stack([o.linear("projection", torch.cat(heads)) for heads in out])


def ball_attention(o: Oracle, x: Tensor) -> Tensor:
    """Zhdanov et al. 2025, eq. 8 to 10."""
    h = [x[i] + o.linear("position", o.place(i, neighbours(o, i))) for i in o.slots]
    return attention(o, h, lambda i: neighbours(o, i), biased=True)


def full_attention(o: Oracle, x: Tensor) -> Tensor:
    """Vaswani et al. 2017, eq. 1, over the points of the cloud."""

    def others(i: int) -> list[int]:
        return [j for j in o.slots if o.cloud[j] == o.cloud[i]]

    h = [x[i] + o.linear("position", o.place(i, others(i))) for i in o.slots]
    return attention(o, h, others, biased=False)


def attention(o: Oracle, h: list[Tensor], seen, biased: bool) -> Tensor:
    parts = [o.heads(each) for each in h]
    out = []
    for i in o.slots:
        near = seen(i) if o.valid[i] else []
        heads = [
            o.attend(
                parts[i][0][head],
                [parts[j][1][head] for j in near],
                [parts[j][2][head] for j in near],
                distance_bias(o, i, near, head) if biased else None,
            )
            for head in range(HEADS)
        ]
        out.append(o.linear("projection", torch.cat(heads)))
    return torch.stack(out)


def randomized(layer: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            scale = 1 / math.sqrt(parameter.shape[-1]) if parameter.dim() > 1 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale)
    return layer


def layout_and_input(seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    coord = torch.randn(sum(LENGTHS), 3, generator=generator, dtype=torch.float64)
    layout = BallTree.build(coord, LENGTHS, BALL, BLOCK).layout
    x = torch.randn(len(layout.coord), DIM, generator=generator, dtype=torch.float64).requires_grad_()
    clouds = [c for c, slots in enumerate(layout.slots) for _ in range(slots)]
    valid = [bool(v) for v in layout.host_valid]
    assert sum(valid) == sum(LENGTHS) and not all(valid)
    return layout, x, valid, clouds


def compare(layer: nn.Module, got: Tensor, want: Tensor, x: Tensor, valid: list[bool]) -> None:
    """Outputs of the points, and all gradients of a sum weighed at random."""
    real = torch.tensor(valid)
    torch.testing.assert_close(got[real], want[real], rtol=1e-9, atol=1e-10)
    weight = torch.randn(want.shape, generator=torch.Generator().manual_seed(2), dtype=want.dtype) * real[:, None]
    inputs = {"x": x, **dict(layer.named_parameters())}
    gradients = [torch.autograd.grad((y * weight).sum(), list(inputs.values()), allow_unused=True) for y in (got, want)]
    for name, ours, theirs in zip(inputs, *gradients, strict=True):
        assert (ours is None or not ours.any()) == (theirs is None or not theirs.any()), name
        if theirs is not None and ours is not None:
            ours, theirs = (g[real] if name == "x" else g for g in (ours, theirs))
            torch.testing.assert_close(
                ours, theirs, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
            )


def build(options: dict) -> BallSparseAttention:
    options = dict(block_size=BLOCK, group_size=BLOCK, topk=2) | options
    return randomized(BallSparseAttention(DIM, HEADS, BALL, **options))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_bsa_equals_attention_point_by_point(options):
    layer = build(options)
    layout, x, valid, clouds = layout_and_input()
    want = bsa(Oracle(layer, layout.coord, valid, clouds), x, layer, options.get("topk", 2))
    compare(layer, layer(x, layout), want, x, valid)


def swap_gates(layer: BallSparseAttention) -> None:
    with torch.no_grad():
        for parameter in layer.gate.parameters():
            parameter.copy_(parameter[[2 * HEADS + h for h in range(HEADS)] + list(range(2 * HEADS))].clone())


def flip_sigma(layer: BallSparseAttention) -> None:
    with torch.no_grad():
        layer.sigma.neg_()


def one_block_less(layer: BallSparseAttention) -> None:
    layer.topk -= 1


def neighbours_ball(layer: BallSparseAttention) -> None:
    ball = layer.ball
    layer.ball = lambda q, k, v, layout: ball(q, k.roll(BALL, 0), v.roll(BALL, 0), layout)


@pytest.mark.parametrize("mutate", [one_block_less, swap_gates, flip_sigma, neighbours_ball], ids=lambda f: f.__name__)
def test_the_oracle_tells_a_wrong_layer(mutate):
    layer = build({})
    layout, x, valid, clouds = layout_and_input()
    with torch.no_grad():
        want = bsa(Oracle(layer, layout.coord, valid, clouds), x, layer, 2)
        mutate(layer)
        got = layer(x, layout)
    real = torch.tensor(valid)
    assert (got[real] - want[real]).abs().max() > 1e-3


@pytest.mark.parametrize("biased", [True, False])
def test_ball_attention_equals_attention_point_by_point(biased):
    layer = randomized(BallAttention(DIM, HEADS, distance_bias=biased))
    layout, x, valid, clouds = layout_and_input()
    compare(layer, layer(x, layout), ball_attention(Oracle(layer, layout.coord, valid, clouds), x), x, valid)


def test_full_attention_equals_attention_point_by_point():
    layer = randomized(FullAttention(DIM, HEADS))
    generator = torch.Generator().manual_seed(3)
    lengths = (23, 1, 40)
    coord = torch.randn(sum(lengths), 3, generator=generator, dtype=torch.float64)
    x = torch.randn(sum(lengths), DIM, generator=generator, dtype=torch.float64).requires_grad_()
    clouds = [c for c, n in enumerate(lengths) for _ in range(n)]
    centred = torch.cat([c - c.mean(0) for c in coord.split(lengths)])
    valid = [True] * len(coord)
    compare(layer, layer(x, centred, lengths), full_attention(Oracle(layer, coord, valid, clouds), x), x, valid)


@pytest.mark.parametrize(
    ("make", "sizes", "words"),
    [
        (BallSparseAttention, (32, 4), "got ball_size 32, wanted 16"),
        (BallSparseAttention, (16, 8), "got block_size 8, wanted 4"),
        (NativeSparseAttention, (16, 8), "got block_size 8, wanted 4"),
    ],
)
def test_a_layout_of_other_sizes_is_refused(make, sizes, words):
    own = (
        dict(compressed_ball_size=4)
        if make is NativeSparseAttention
        else dict(ball_size=16, block_size=4, group_size=4)
    )
    layer = make(DIM, HEADS, **own)
    layout = BallTree.build(torch.randn(60, 3), [40, 20], *sizes).layout
    with pytest.raises(ValueError, match=words):
        layer(torch.randn(len(layout.coord), DIM), layout)


def test_rows_of_another_number_are_refused():
    tree = BallTree.build(torch.randn(60, 3), [40, 20], 16, 4)
    for layer in (build({}), BallAttention(DIM, HEADS)):
        with pytest.raises(ValueError, match="got 60 rows, wanted 80, one for each slot"):
            layer(torch.randn(60, DIM), tree.layout)
    full, x, centred = FullAttention(DIM, HEADS), torch.randn(60, DIM), torch.randn(60, 3)
    assert torch.equal(full(x, centred, [40, 20]), full(x, centred, (40, 20)))
    with pytest.raises(ValueError, match=r"lengths: got \(40, 10\), which are 50 points, wanted 60"):
        full(x, centred, [40, 10])
