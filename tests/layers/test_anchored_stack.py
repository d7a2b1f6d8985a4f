"""Blocks through which queries go behind the anchors equal their equations, written query by query.

What the anchors are asked by (keys, values, coarse ones) is drawn at random, so that its gradients are compared, too.
Where a query falls in the tree of the anchors is the tree's business, which ``geometry`` tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.layers.anchored_stack import decode_block, decode_blocks, decode_stack
from pointcept_bsa.layers.anchors import CloudQueryPositions, KeysValues, Memory, TreeMemory
from pointcept_bsa.layers.attention import FullAttention
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.native_sparse_attention import NativeSparseAttention
from pointcept_bsa.layers.point_embedding import PointEmbedding
from pointcept_bsa.layers.transformer import BallTreeStack, BlockStack, TransformerBlock

from .by_hand import compare, gelu, layer_norm, linear, numbers, randomized, softmax_sum

DIM, HEADS, BALL, BLOCK, TOPK, DIMS, DEPTH = 8, 2, 8, 4, 2, 2, 4
LENGTHS = (35, 1, 13)  # anchors: several balls with empty slots and blocks; one; more than a ball
QUERIES = (4, 1, 3)
CLOUD = [cloud for cloud, n in enumerate(QUERIES) for _ in range(n)]
ATTENTION: dict[str, Callable] = {
    "full": lambda: FullAttention(DIM, HEADS, DIMS),
    "bsa": lambda: BallSparseAttention(
        DIM, HEADS, BALL, block_size=BLOCK, group_size=1, topk=TOPK, dimensionality=DIMS, phi="mean"
    ),
    "nsa": lambda: NativeSparseAttention(DIM, HEADS, 1, BLOCK, TOPK, mask_own_ball=True, dimensionality=DIMS),
}


def scaled_sum(q: Tensor, keys: list[Tensor], values: list[Tensor], bias: list[Tensor] | None = None) -> Tensor:
    """softmax(q k / sqrt(D) + bias) v; nothing to attend to gives zero."""
    if not keys:
        return torch.zeros_like(q)
    scores = [q @ k / math.sqrt(len(q)) for k in keys]
    return softmax_sum(scores if bias is None else [s + b for s, b in zip(scores, bias, strict=True)], values)


class Tree:
    """One of the trees of the anchors: where queries fall, which slots hold anchors."""

    def __init__(self, positions) -> None:
        self.positions, self.layout = positions, positions.layout
        self.valid = self.layout.known_valid.tolist()
        self.first = [sum(self.layout.slots[:c]) for c in range(len(self.layout.slots) + 1)]

    def points(self, first: int, size: int) -> list[int]:
        return [s for s in range(first, first + size) if self.valid[s]]

    def ball(self, i: int) -> list[int]:
        """Anchors of the ball into which query i falls."""
        return self.points(int(self.positions.ball[i]) * BALL, BALL)

    def blocks(self, i: int) -> list[int]:
        """Blocks with anchors of the query's cloud."""
        ends = (end // BLOCK for end in self.first[CLOUD[i] : CLOUD[i] + 2])
        return [b for b in range(*ends) if self.points(b * BLOCK, BLOCK)]

    def place(self, i: int, coord: Tensor) -> Tensor:
        near = self.ball(i)
        return coord[i] - sum(self.layout.coord[s] for s in near) / len(near)


def attend_sparse(p, h: Tensor, i: int, tree: Tree, kept: KeysValues, coord: Tensor, native: bool) -> Tensor:
    """The ball, all coarse keys, the anchors of the best blocks; a gate for each (BSA eq. 9, NSA eq. 4)."""
    q = linear(p, "attention.query", h) if native else linear(p, "attention.qkv", h)[:DIM]
    q = q.view(HEADS, -1)
    gate = torch.sigmoid(linear(p, "attention.gate", h)).view(3, HEADS)
    near, blocks, out = tree.ball(i), tree.blocks(i), []
    unit = 1 if native else BALL // BLOCK  # blocks that a query does not select: its own, or those of its ball
    others = [b for b in blocks if b // unit != int(tree.positions.block[i]) // unit]
    asked = [sum(q) / HEADS] * HEADS if native else q
    for head in range(HEADS):
        kv = 0 if native else head
        bias = [p["attention.sigma"][head] * (coord[i] - tree.layout.coord[s]).square().sum().sqrt() for s in near]
        local = scaled_sum(q[head], [kept.k[s, kv] for s in near], [kept.v[s, kv] for s in near], bias)
        coarse = scaled_sum(q[head], [kept.k_cmp[b, kv] for b in blocks], [kept.v_cmp[b, kv] for b in blocks])
        best = sorted(others, key=lambda b, head=head, kv=kv: -float((asked[head] @ kept.k_cmp[b, kv]).detach()))[:TOPK]
        slots = [s for b in best for s in tree.points(b * BLOCK, BLOCK)]
        chosen = scaled_sum(q[head], [kept.k[s, kv] for s in slots], [kept.v[s, kv] for s in slots])
        out.append(gate[0, head] * local + gate[1, head] * coarse + gate[2, head] * chosen)
    return torch.cat(out)


def attend_all(p, h: Tensor, i: int, kept: KeysValues) -> Tensor:
    """All anchors of the cloud."""
    first = sum(LENGTHS[: CLOUD[i]])
    rows = range(first, first + LENGTHS[CLOUD[i]])
    q = linear(p, "attention.qkv", h)[:DIM].view(HEADS, -1)
    return torch.cat(
        [scaled_sum(q[a], [kept.k[r, a] for r in rows], [kept.v[r, a] for r in rows]) for a in range(HEADS)]
    )


def block_by_hand(p, x: Tensor, place: Tensor, attend: Callable[[Tensor], Tensor], film: Tensor | None) -> Tensor:
    """x += attention(RMSNorm(x)); x += SwiGLU(RMSNorm(x)), of one query."""

    def rms(name: str, x: Tensor) -> Tensor:
        return x / (x.square().sum() / len(x) + torch.finfo(x.dtype).eps).sqrt() * p[f"{name}.weight"]

    h = rms("norm1", x) + linear(p, "attention.position", place)
    if film is not None:
        h = h * (1 + film[0]) + film[1]
    x = x + linear(p, "attention.projection", attend(h))
    h = rms("norm2", x)
    if film is not None:
        h = h * (1 + film[2]) + film[3]
    gate = linear(p, "swiglu.w1", h)
    return x + linear(p, "swiglu.w3", linear(p, "swiglu.w2", h) * gate / (1 + (-gate).exp()))


class Case:
    """A network's blocks, what it remembers of the anchors, queries, and where they fall."""

    def __init__(self, kind: str, depth: int = DEPTH, conditioned: bool = False):
        self.kind, self.coord = kind, numbers(sum(QUERIES), DIMS, seed=4, grad=False)
        self.blocks = [randomized(TransformerBlock(ATTENTION[kind](), DIM, 2), seed=i) for i in range(depth)]
        self.x = numbers(sum(QUERIES), DIM)
        self.films = [numbers(len(QUERIES), 4, DIM, seed=20 + i) for i in range(depth)] if conditioned else None
        anchors, offset = numbers(sum(LENGTHS), DIMS, seed=3, grad=False), torch.tensor(LENGTHS).cumsum(0)
        self.memory = TreeMemory(LENGTHS, offset, anchors)
        rows, coarse, shape = sum(LENGTHS), 0, (HEADS, DIM // HEADS)
        if kind != "full":
            self.memory.remember(BallTree.build(anchors, LENGTHS, BALL, BLOCK, rotate=45.0), 45.0)
            self.positions = self.memory.positions(self.coord, QUERIES)
            self.trees = [Tree(positions) for positions in self.positions]
            rows = len(self.trees[0].valid)
            coarse, shape = rows // BLOCK, (1, 16) if kind == "nsa" else shape  # heads of 16 channels at least
        for i in range(depth):
            sizes = (rows, rows) + ((coarse, coarse) if coarse else ())
            self.memory.layers.append(
                KeysValues(*(numbers(n, *shape, seed=40 + 4 * i + j) for j, n in enumerate(sizes)))
            )

    def attend(self, p, i: int, layer: int, tree: int) -> Callable[[Tensor], Tensor]:
        kept = self.memory.layers[layer]
        if self.kind == "full":
            return lambda h: attend_all(p, h, i, kept)
        return lambda h: attend_sparse(p, h, i, self.trees[tree], kept, self.coord, self.kind == "nsa")

    def run(self, i: int, x: Tensor, layer: int, tree: int = 0) -> Tensor:
        """Query i through a block."""
        p = dict(self.blocks[layer].named_parameters())
        place = self.place[i] if self.kind == "full" else self.trees[tree].place(i, self.coord)
        film = None if self.films is None else self.films[layer][CLOUD[i]]
        return block_by_hand(p, x, place, self.attend(p, i, layer, tree), film)

    @property
    def place(self) -> Tensor:
        """Relative to the mean of the cloud's anchors."""
        means = [part.sum(0) / len(part) for part in self.memory.coord.split(LENGTHS)]
        return torch.stack([row - means[CLOUD[i]] for i, row in enumerate(self.coord)])

    @property
    def cloud_positions(self) -> CloudQueryPositions:
        means = torch.stack([part.mean(0) for part in self.memory.coord.split(LENGTHS)])
        return CloudQueryPositions.of(self.coord, QUERIES, means, LENGTHS)

    @property
    def inputs(self) -> dict[str, Tensor]:
        found = {"x": self.x}
        for i, (block, kept) in enumerate(zip(self.blocks, self.memory.layers, strict=True)):
            names = ["k", "v"] + ([] if kept.k_cmp is None else ["k_cmp", "v_cmp"])
            found |= {f"{i} {name}": getattr(kept, name) for name in names}
            found |= {f"{i} {n}": p for n, p in block.named_parameters() if "key_value" not in n}
        return found | ({f"{i} film": film for i, film in enumerate(self.films)} if self.films is not None else {})


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("kind", ATTENTION)
def test_a_block_is_its_equations(kind, conditioned, fused, fuse):
    case = Case(kind, depth=1, conditioned=conditioned)
    want = torch.stack([case.run(i, row, 0) for i, row in enumerate(case.x)])
    if fused:
        fuse()
    if kind == "full":
        got = decode_blocks(BlockStack(case.blocks), case.x, case.cloud_positions, case.memory, case.films)
    else:
        stack = BallTreeStack(case.blocks, rotate=True)
        got = decode_stack(stack, case.x, case.positions, case.memory, case.films)
    compare(got, want, case.inputs)


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("skip_every", [0, 1, 2])
@pytest.mark.parametrize("rotate", [False, True])
def test_odd_blocks_see_the_rotated_tree_and_inputs_are_added_once_more(rotate, skip_every, conditioned):
    case, want = Case("bsa", conditioned=conditioned), []
    for i, x in enumerate(case.x):
        before = x
        for layer in range(DEPTH):
            x = case.run(i, x, layer, tree=layer % 2 if rotate else 0)
            if skip_every and (layer + 1) % skip_every == 0:
                x = before = x + before
        want.append(x)
    stack = BallTreeStack(case.blocks, rotate=rotate, skip_every=skip_every)
    compare(decode_stack(stack, case.x, case.positions, case.memory, case.films), torch.stack(want), case.inputs)
    assert not torch.equal(*(positions.ball for positions in case.positions))  # the trees differ where queries are


def test_blocks_in_sequence_with_their_own_keys_and_conditions():
    case, want = Case("full", depth=3, conditioned=True), []
    for i, x in enumerate(case.x):
        for layer in range(3):
            x = case.run(i, x, layer)
        want.append(x)
    got = decode_blocks(BlockStack(case.blocks), case.x, case.cloud_positions, case.memory, case.films)
    compare(got, torch.stack(want), case.inputs)


@pytest.mark.parametrize("kind", ATTENTION)
def test_what_becomes_of_a_query_depends_on_no_other(kind):
    case = Case(kind, depth=1)
    block, kept = case.blocks[0], case.memory.layers[0]
    whole = decode_block(block, case.x, case.cloud_positions if kind == "full" else case.positions[0], kept)
    for i, cloud in enumerate(CLOUD):
        alone = tuple(int(c == cloud) for c in range(len(QUERIES)))
        if kind == "full":
            positions = CloudQueryPositions(case.place[i : i + 1], alone, LENGTHS)
        else:
            positions, _ = case.memory.positions(case.coord[i : i + 1], alone)
        out = decode_block(block, case.x[i : i + 1], positions, kept)
        torch.testing.assert_close(out[0], whole[i], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ATTENTION)
def test_single_precision_is_near_double(kind):
    case = Case(kind, depth=1)
    positions = case.cloud_positions if kind == "full" else case.positions[0]
    want = decode_block(case.blocks[0], case.x, positions, case.memory.layers[0])
    kept = KeysValues(*(t.float() for t in vars(case.memory.layers[0]).values() if t is not None))
    case.memory.coord, case.coord = case.memory.coord.float(), case.coord.float()
    if kind != "full":
        case.memory.remember(BallTree.build(case.memory.coord, LENGTHS, BALL, BLOCK, rotate=45.0), 45.0)
    positions = case.cloud_positions if kind == "full" else case.memory.positions(case.coord, QUERIES)[0]
    out = decode_block(case.blocks[0].float(), case.x.float(), positions, kept)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), want, rtol=1e-4, atol=1e-4)


def test_what_was_remembered_of_other_layers_is_no_match():
    case = Case("bsa", depth=2)
    case.memory.layers.pop()
    with pytest.raises(ValueError, match="shorter"):
        decode_stack(BallTreeStack(case.blocks, rotate=True), case.x, case.positions, case.memory)


EDGES = {
    "nearest": dict(num_neighbors=3),
    "more than there are": dict(num_neighbors=16),
    "within a radius": dict(edges="radius", num_neighbors=4, radius=0.4),
}


def remembered(steps: int) -> Memory:
    memory = Memory(LENGTHS, torch.tensor(LENGTHS).cumsum(0), numbers(sum(LENGTHS), DIMS, seed=3, grad=False))
    memory.embedded = [numbers(sum(LENGTHS), DIM, seed=10 + step) for step in range(steps)]
    return memory


@pytest.mark.parametrize("options", EDGES.values(), ids=EDGES.keys())
def test_messages_to_queries_are_those_of_the_nearest_anchors(options):
    """m_ij = LN(GELU(W [h_j, h_i, x_j - x_i])), their mean, h_i + LN(V [h_i, m_i]); j are anchors of the cloud."""
    embedding = randomized(PointEmbedding(3, DIM, mp_steps=2, dimensionality=DIMS, **options))
    memory, p = remembered(2), dict(embedding.named_parameters())
    coord, feat = numbers(sum(QUERIES), DIMS, seed=4), numbers(sum(QUERIES), 3)
    want, counts = [], set()
    for i, cloud in enumerate(CLOUD):
        h, first = linear(p, "linear", feat[i]), sum(LENGTHS[:cloud])
        away = {j: float((memory.coord[j] - coord[i].detach()).norm()) for j in range(first, first + LENGTHS[cloud])}
        near = [j for j in sorted(away, key=away.get) if away[j] <= options.get("radius", math.inf)]
        near = near[: options["num_neighbors"]]
        counts.add(len(near))
        for step, sender in enumerate(memory.embedded):
            mean = torch.zeros_like(h)
            for j in near:
                said = torch.cat([sender[j], h, memory.coord[j] - coord[i].detach()])
                said = gelu(linear(p, f"steps.{step}.message", said))
                mean = mean + layer_norm(p, f"steps.{step}.message_norm", said) / len(near)
            told = linear(p, f"steps.{step}.update", torch.cat([h, mean]))
            h = h + layer_norm(p, f"steps.{step}.update_norm", told)
        want.append(h)
    assert len(counts) > 1 and (0 in counts) == ("radius" in options)  # some hear from fewer, or from none
    got = embedding.embed_queries({"feat": feat, "coord": coord}, QUERIES, memory)
    sent = {f"sent {step}": sender for step, sender in enumerate(memory.embedded)}
    compare(got, torch.stack(want), {"feat": feat, **sent, **p})
    assert torch.autograd.grad(got.sum(), coord, allow_unused=True) == (None,)


def test_without_message_passing_the_linear_map_is_all():
    embedding, feat = randomized(PointEmbedding(3, DIM, mp_steps=0, dimensionality=DIMS)), numbers(sum(QUERIES), 3)
    p = dict(embedding.named_parameters())
    got = embedding.embed_queries({"feat": feat}, QUERIES, remembered(0))
    compare(got, torch.stack([linear(p, "linear", row) for row in feat]), {"feat": feat, **p})


def test_anchors_whose_messages_are_not_known_are_refused_in_one_line():
    embedding = PointEmbedding(3, DIM, mp_steps=2, dimensionality=DIMS)
    point = {"feat": torch.randn(8, 3), "coord": torch.randn(8, DIMS)}
    with pytest.raises(
        InputError, match="anchors: the network remembers no messages of them, wanted those of encode_"
    ) as told:
        embedding.embed_queries(point, QUERIES, remembered(0))
    assert "\n" not in str(told.value)
