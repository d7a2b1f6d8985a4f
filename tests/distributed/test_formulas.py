"""What processes send is what the formulas say, to the byte (float32, gloo)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from together import together

from pointcept_bsa.distributed import formulas, mesh
from pointcept_bsa.distributed.traffic import counted
from pointcept_bsa.geometry import token_part
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.neighbors import find_neighbors
from pointcept_bsa.geometry.part_assignment import pieces_of_cloud, rows_between
from pointcept_bsa.geometry.part_plan import nodes_split_together, plan_part
from pointcept_bsa.geometry.token_tree import TokenSizes
from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.native_sparse_attention import MIN_HEAD_DIM
from pointcept_bsa.training.graph import FlatGradients

C, HEADS, DEPTH, BALL, BLOCK, TOPK, NEAR, FAN, B = 8, 2, 3, 16, 4, 2, 32, 2, 4
TOKENS = TokenSizes(BLOCK, NEAR, FAN, NEAR)
STEPS, NEAREST = 2, 4  # of Erwin-NSA
SIZES = dict(in_channels=3, channels=C, depth=DEPTH, num_heads=HEADS)
BSA = dict(type="BSA-v1m1", **SIZES, ball_size=BALL, block_size=BLOCK, group_size=4, topk=TOPK)
NETWORKS: dict[str, dict[str, Any]] = {
    "bsa": BSA,
    "one tree": BSA | dict(rotate=0),
    "levels": BSA | dict(near=NEAR, fan=FAN, beam=2),
    "nsa": dict(type="ErwinNSA-v1m1", in_channels=3, channels=C, depth=DEPTH, num_heads=HEADS, local_ball_size=BALL)
    | dict(compressed_ball_size=BLOCK, num_selected=TOPK, mp_steps=STEPS, num_neighbors=NEAREST),
    "full": dict(type="FullAttention-v1m1", **SIZES),
}
CLOUDS = {2: (83, 150), 4: (201, 130)}


def coord(count: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(count)
    return [torch.randn(n, 3, generator=random) for n in CLOUDS[count]]


def sent_in_a_step(rank: int, count: int) -> dict[str, dict[str, int]]:
    found, token_part.SPARE = {}, 1
    own = [x.tensor_split(count)[rank] for x in coord(count)]
    sample = {"coord": torch.cat(own), "feat": torch.cat(own)}
    sample["offset"] = torch.tensor([len(x) for x in own]).cumsum(0)
    for name, config in NETWORKS.items():
        torch.manual_seed(0)
        network = MODELS.build(config)
        gradients, group = FlatGradients(network), mesh.context_group()
        assert group is not None
        with counted() as sent:
            network(dict(sample))["feat"].square().sum().backward()
            gradients.take()
            gradients.sum(group)
        found[name] = dict(sent) | {"parameters": sum(map(len, gradients.buffers))}
    return found


@pytest.fixture(scope="module")
def sent():
    return cache(lambda count: together(count, sent_in_a_step, count))


class Shared:
    """Who has what of the clouds, from the trees over the whole of them."""

    def __init__(self, count: int, levels: bool):
        self.count, lengths = count, CLOUDS[count]
        tree = BallTree.build(torch.cat(coord(count)), lengths, BALL, BLOCK, rotate=45.0)
        slots = tree.layout.slots
        self.level = token_part.shared_level(slots, count, BALL, TOKENS) if levels else 0
        multiple = token_part.multiple_of_parts(self.level, BALL, TOKENS) if levels else BALL
        self.plan = plan_part(lengths, BALL, BLOCK, count, 0, multiple)
        self.slots, self.nodes = self.plan.slots, [int(level.split.sum()) for level in self.plan.levels]
        assert self.nodes == nodes_split_together(lengths, BALL, BLOCK, count, multiple, 1)
        self.pieces = sum(len(pieces_of_cloud(s, count, multiple)) for s in slots)
        owner = np.concatenate([np.repeat(range(count), of) for of in zip(*self.slots, strict=True)])
        here = np.concatenate([np.repeat(range(count), [len(x) for x in c.tensor_split(count)]) for c in coord(count)])
        self.owner = owner[tree.inverse]  # of each point, once it is in the tree
        there, turned = self.owner, owner[tree.rotation_inverse[tree.inverse]]
        self.leaving, self.arriving = self.moves(here, there)
        self.leaving_rotated, self.arriving_rotated = self.moves(here, turned)
        ends = np.cumsum((0, *slots))
        rows = [rows_between(tree.rotation_inverse[a:b].numpy() - a, b - a, count, multiple)
                for a, b in zip(ends, ends[1:], strict=False)]  # fmt: skip
        stay = np.diag(sum(rows))
        self.turning, self.returning = sum(rows).sum(1) - stay, sum(rows).sum(0) - stay

    def moves(self, here: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points that leave each process, and arrive there."""
        moved = here != there
        return tuple(np.bincount(x[moved], minlength=self.count) for x in (here, there))

    def rows(self, size: int) -> int:
        """Runs of so many slots of the longest part."""
        return max(sum(-(-s // size) for s in part) for part in self.slots)

    def of_tree(self, rank: int, rotated: bool) -> float:
        """Both trees, without features."""
        moving = self.leaving[rank], self.leaving_rotated[rank], self.arriving_rotated[rank], self.turning[rank]
        nodes = [(1 + rotated) * of_level for of_level in self.nodes]
        trees = formulas.split(nodes, 3, self.count) + formulas.tree(self.leaving[rank], 3)
        trees += formulas.rotated_tree(*moving, 3) if rotated else 0
        return trees + formulas.filled(self.rows(BLOCK), self.count)


def without_need(sent: dict[str, int]) -> dict[str, int]:
    return {name: size for name, size in sent.items() if not name.startswith("selected") and name != "parameters"}


@pytest.mark.parametrize("count", CLOUDS)
@pytest.mark.parametrize("name", ["bsa", "one tree", "levels"])
def test_bsa_sends_what_the_formulas_say(count, name, sent, monkeypatch):
    monkeypatch.setattr(token_part, "SPARE", 1)
    shared, rotated = Shared(count, name == "levels"), name != "one tree"
    assert (name == "levels") == (shared.level > 0)
    for rank, found in enumerate(each[name] for each in sent(count)):
        wanted: dict[str, float] = {}
        if shared.level:
            below = [shared.rows(BLOCK * FAN**level) for level in range(shared.level)]
            top = formulas.tokens(shared.rows(BLOCK * FAN**shared.level), C, B, count)
            wanted |= {"tokens": DEPTH * top, "tokens (gradient)": DEPTH * top}
            wanted["descent"] = DEPTH * formulas.descent(below, C, B, count)
        else:
            blocks = formulas.coarse(shared.rows(BLOCK), C, B, count)
            wanted |= {"coarse": DEPTH * blocks, "coarse (gradient)": DEPTH * blocks}
        if rotated:
            there, back = (formulas.rotation(rows[rank], C) for rows in (shared.turning, shared.returning))
            wanted["rotation"] = there + back + formulas.positions(shared.turning[rank], 3, masked=True)
            wanted["rotation (gradient)"] = there + back
        moved = formulas.features(shared.leaving[rank], shared.arriving[rank], C)
        wanted |= {"tree": shared.of_tree(rank, rotated) + moved, "tree (gradient)": moved}
        integers = formulas.tree_numbers(2, shared.pieces if rotated else 0, count)
        wanted["numbers"] = sum(formulas.numbers(n, count) for n in integers)
        wanted["gradients"] = formulas.gradients(found["parameters"], count)
        assert without_need(found) == pytest.approx(wanted, rel=1e-3)  # sums of tensors that R does not divide


@pytest.mark.parametrize("count", CLOUDS)
def test_messages_are_sent_once_to_each_process_that_hears_them(count, sent):
    owner, d = Shared(count, False).owner, 3
    found = find_neighbors(torch.cat(coord(count)), torch.tensor(CLOUDS[count]), NEAREST).numpy()
    hears, says = np.repeat(np.arange(len(found)), NEAREST), found.ravel()
    far = (says >= 0) & (owner[hears] != owner[says])
    pairs = np.unique(np.stack([owner[hears[far]], says[far]]), axis=1)  # process that hears, point that says
    for rank, each in enumerate(of["nsa"] for of in sent(count)):
        rows, heard = int((owner[pairs[1]] == rank).sum()), int((pairs[0] == rank).sum())
        assert each["messages"] == STEPS * formulas.messages(rows, C, B)
        assert each["messages (gradient)"] == STEPS * formulas.messages(heard, C, B)
        assert each["messages (requests)"] == formulas.requests(heard)
        balls, points = int((owner == rank).sum()) // BALL + 2, int((owner == rank).sum())
        least, most = formulas.neighbors(0, rows, d, 2, count), (count - 1) * np.array([balls, points])
        assert least <= each["neighbors"] <= formulas.neighbors(*most, d, 2, count)


@pytest.mark.parametrize("count", CLOUDS)
def test_erwin_nsa_sends_the_blocks_of_its_one_head_of_keys(count, sent):
    blocks = formulas.coarse(Shared(count, False).rows(BLOCK), MIN_HEAD_DIM, B, count)
    for each in (of["nsa"] for of in sent(count)):
        assert each["coarse"] == each["coarse (gradient)"] == DEPTH * blocks


@pytest.mark.parametrize("count", CLOUDS)
def test_selected_blocks_are_sent_to_those_who_want_them(count, sent):
    for name in ("bsa", "one tree", "levels"):
        found = [each[name] for each in sent(count)]
        of_others = (count - 1) * sum(-(-n // BALL) * BALL // BLOCK for n in CLOUDS[count])
        assert sum(each["selected (marks)"] for each in found) == DEPTH * formulas.marks(of_others)
        size = sum(each["selected"] for each in found)
        assert size == sum(each["selected (gradient)"] for each in found)
        fetched = size / formulas.selected(1, BLOCK, C, B)
        groups = sum(-(-n // BALL) * BALL // 4 for n in CLOUDS[count])
        assert fetched == int(fetched)
        assert 0 < fetched <= DEPTH * formulas.most_selected(groups, HEADS, TOPK, (count - 1) * groups)


@pytest.mark.parametrize("count", CLOUDS)
def test_full_attention_sends_keys_and_values_of_all_points(count, sent):
    points = sum(-(-n // count) for n in CLOUDS[count])
    for found in (each["full"] for each in sent(count)):
        size = DEPTH * formulas.keys(points, C, B, count)
        assert found["keys"] == found["keys (gradient)"] == size
        assert found["numbers"] == formulas.numbers(2, count)
        assert found["gradients"] == pytest.approx(formulas.gradients(found["parameters"], count), rel=1e-3)
        assert set(found) <= {"keys", "keys (gradient)", "numbers", "gradients", "sums over clouds", "parameters"} | {
            "sums over clouds (gradient)"
        }
