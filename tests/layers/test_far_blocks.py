"""Blocks that each process finds where it was told, whatever runs of the clouds it has and whichever it has chosen.

The runs are laid out by hand, as no tree would cut them: a cloud in one part alone, parts without any of a cloud, and
runs of a cloud out of the order of the processes.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
import torch
from together import together
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pointcept_bsa.distributed import mesh
from pointcept_bsa.geometry.part_layout import Parts
from pointcept_bsa.layers.far_blocks import ChosenBlocks

BLOCK = 4
CUTS = {  # of each cloud its runs in blocks: (part, blocks)
    2: (((1, 3),), ((1, 2), (0, 4), (1, 1)), ((0, 5),)),
    3: (((1, 6),), ((2, 2), (0, 4), (1, 2), (0, 1)), ((0, 2), (2, 2))),
    4: (((3, 2), (1, 1)), ((1, 1),), ((1, 3), (3, 4), (1, 2))),  # parts 0 and 2 have nothing
}
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "_unique2", "unique_dim", "equal", "item"}


def owners(count: int) -> list[int]:
    """Whose each block is, cloud after cloud."""
    return [part for cloud in CUTS[count] for part, blocks in cloud for _ in range(blocks)]


def own_blocks(count: int, rank: int) -> list[int]:
    return [block for block, owner in enumerate(owners(count)) if owner == rank]


def chosen(case: str, count: int, rank: int) -> Tensor:
    """(G, 2, 3) blocks that a process wants, none twice in a row."""
    every, own = len(owners(count)), own_blocks(count, rank)
    if case == "nothing" or (case == "one alone" and rank != 1):
        return torch.full((4, 2, 3), -1)
    if case == "no group":
        return torch.full((0, 2, 3), -1)
    if case == "own":
        return torch.tensor([own[0] if own else -1, -1, own[-1] if own else -1]).expand(4, 2, 3)
    if case == "all":
        rest = -every % 6
        return torch.cat([torch.arange(every).flip(0), torch.full((rest,), -1)]).view(-1, 2, 3)
    random = torch.Generator().manual_seed(7 * rank + count)
    rows = [torch.randperm(every, generator=random)[:3] for _ in range(10)]
    return torch.stack(rows).masked_fill(torch.rand(10, 3, generator=random) < 0.3, -1).view(-1, 2, 3)


CASES = ("some", "nothing", "one alone", "own", "all", "no group")


def table(count: int, seed: int, dtype: torch.dtype) -> Tensor:
    """(L, 4, 2, 3) whole numbers, which every type here adds up exactly."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, (len(owners(count)), BLOCK, 2, 3), generator=random).to(dtype)


class Names(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


def weights(shape: torch.Size, seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def of_a_process(rank: int, count: int) -> dict:
    group, found = mesh.context_group(), {}
    slots = tuple(
        tuple(BLOCK * sum(n for part, n in cloud if part == r) for cloud in CUTS[count]) for r in range(count)
    )
    cuts = tuple(tuple((part, BLOCK * n) for part, n in cloud) for cloud in CUTS[count])
    parts, own = Parts(group, rank, slots, BLOCK, cuts), own_blocks(count, rank)
    for case in CASES:
        for dtype in (torch.float64, torch.bfloat16):
            want = chosen(case, count, rank)
            k = table(count, 1, dtype)[own].requires_grad_()
            v = table(count, 2, dtype)[own].requires_grad_(dtype == torch.float64)  # a table that wants no gradient
            ran = Names()
            with ran:
                far = ChosenBlocks(want, parts, "test").wait()
                tables = far.requests.extended(k, v)
            loss = sum((x * weights(x.shape, 10 * rank + i, dtype)).sum() for i, x in enumerate(tables))
            wanted = [x for x in (k, v) if x.requires_grad]
            with ran:
                gradients = torch.autograd.grad(loss, wanted)
            tables = [x.detach() for x in tables]
            found[case, dtype] = dict(
                places=far.places, names=far.names, tables=tables, gradients=gradients, ran=set(ran.names)
            )
    found["own slots"] = parts.own_slots(torch.device("cpu"))
    rows = torch.arange(len(owners(count)))  # part after part
    found["in order"] = parts.in_order(rows, BLOCK)
    return found


@pytest.fixture(scope="module")
def shared():
    return cache(lambda count: together(count, of_a_process, count))


@pytest.mark.parametrize("count", list(CUTS))
def test_blocks_of_others_are_found_and_their_gradients_go_back(count, shared):
    found = shared(count)
    whose = owners(count)
    for case in CASES:
        for dtype in (torch.float64, torch.bfloat16):
            back = [torch.zeros_like(table(count, 1, dtype)) for _ in range(2)]
            for rank, of_one in enumerate(found):
                one, want, own = of_one[case, dtype], chosen(case, count, rank), own_blocks(count, rank)
                far = {block for block in want.flatten().tolist() if block >= 0 and whose[block] != rank}
                assert Counter(one["names"].tolist()) == Counter(far)  # each once, though many groups want it
                here = own + one["names"].tolist()
                assert one["places"].shape == want.shape
                assert [here[p] if p >= 0 else -1 for p in one["places"].flatten().tolist()] == want.flatten().tolist()
                for i, got in enumerate(one["tables"]):
                    assert got.dtype == dtype and torch.equal(got, table(count, 1 + i, dtype)[here])
                    back[i].index_add_(
                        0, torch.tensor(here, dtype=torch.long), weights(got.shape, 10 * rank + i, dtype)
                    )
            for rank, of_one in enumerate(found):
                for wanted, got in zip(back, of_one[case, dtype]["gradients"], strict=False):
                    assert got.dtype == dtype and torch.equal(got, wanted[own_blocks(count, rank)])


@pytest.mark.parametrize("count", list(CUTS))
def test_the_host_waits_for_the_numbers_alone(count, shared):
    """From the second layer on. What is counted here on the CPU would be a wait on a GPU."""
    for of_one in shared(count):
        seen = [of_one[case, dtype]["ran"] for case in CASES for dtype in (torch.float64, torch.bfloat16)]
        assert "lift_fresh" in seen[0]  # the tables of the runs, made once
        assert not any(WAITS & names for names in seen[1:])


@pytest.mark.parametrize("count", list(CUTS))
def test_slots_and_rows_are_where_the_runs_say(count, shared):
    part_after_part = [block for rank in range(count) for block in own_blocks(count, rank)]
    for rank, of_one in enumerate(shared(count)):
        slots = [block * BLOCK + place for block in own_blocks(count, rank) for place in range(BLOCK)]
        assert of_one["own slots"].dtype == torch.long and of_one["own slots"].tolist() == slots
        assert [part_after_part[row] for row in of_one["in order"].tolist()] == list(range(len(part_after_part)))


@pytest.mark.parametrize("table", [Parts.of_others, Parts.in_order, Parts.own_slots])
def test_tables_of_many_runs_take_no_more_kernels_than_those_of_few(table, launches):
    """A tree of a thousand runs is made anew in every step, and each kernel costs the host some microseconds."""
    ran = []
    for runs in (2, 500):
        cuts = tuple((part, BLOCK) for _ in range(runs) for part in (2, 0, 1))
        parts = Parts(None, 1, ((BLOCK * runs,),) * 3, BLOCK, (cuts,))
        arguments = {
            Parts.of_others: (BLOCK, torch.device("cpu")),
            Parts.in_order: (torch.zeros(3 * runs, 1), BLOCK),
            Parts.own_slots: (torch.device("cpu"),),
        }
        with launches() as seen:
            table(parts, *arguments[table])
        ran.append(seen.names)
    assert ran[0] == ran[1]
