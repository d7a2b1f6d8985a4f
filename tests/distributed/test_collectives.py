"""Collectives give what one process would have, and so do their gradients (float64, gloo)."""

from __future__ import annotations

import pytest
import torch
from together import together

from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.collectives import Beside, Gathering, all_gather, all_sum, all_to_all
from pointcept_bsa.distributed.traffic import counted

ROWS = {2: (3, 5), 4: (2, 1, 4, 3)}
SEND = {  # rows that each process sends to each
    2: ((1, 2), (0, 4)),
    4: ((1, 0, 2, 1), (0, 0, 0, 0), (3, 1, 1, 1), (0, 2, 0, 1)),
}


def numbers(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def reordered(rows: tuple[int, ...]) -> list[tuple[int, int]]:
    """All rows in runs, the second half of each process's rows first."""
    ends = [sum(rows[:rank]) for rank in range(len(rows) + 1)]
    return [(start + n // 2, start + n) for start, n in zip(ends, rows, strict=False)] + [
        (start, start + n // 2) for start, n in zip(ends, rows, strict=False)
    ]


def exchanges(rank: int, count: int) -> dict:
    group, rows, found = mesh.context_group(), ROWS[count], {}
    own = numbers(rows[rank], 2, seed=rank).requires_grad_()
    for name, pieces, sizes in (("plain", None, rows), ("pieces", reordered(rows), rows)):
        with counted() as sent:
            out = all_gather(own, sizes, group, name, pieces)
            (grad,) = torch.autograd.grad(out, own, numbers(*out.shape, seed=10 + rank))
        found[name] = out.detach(), grad, dict(sent)

    own = numbers(rows[rank], 2, seed=rank).requires_grad_()
    along = [numbers(n, 2, seed=40 + rank).requires_grad_() for n in (rank, 2)]
    for name, pieces in (("plain with others", None), ("pieces with others", reordered(rows))):
        with counted() as sent:
            beside = Beside(tuple(along), tuple(r + 2 for r in range(count)), "beside")
            gathering = Gathering(own, rows, group, name, pieces, beside)
            out = gathering.wait()
            (grad,) = torch.autograd.grad(out, own, numbers(*out.shape, seed=10 + rank))
        found[name] = out.detach(), grad, dict(sent)
        assert gathering.far is not None and not gathering.far.requires_grad
        found["beside"] = gathering.far

    even = numbers(3, 2, seed=20 + rank).requires_grad_()
    gathering = Gathering(even, [3] * count, group, "even")
    meanwhile = all_sum(even, group, "sum")
    out = gathering.wait()
    (grad,) = torch.autograd.grad(out.square().sum() + meanwhile.square().sum(), even)
    found["even"] = out.detach(), grad, meanwhile.detach()

    send, receive = SEND[count][rank], [row[rank] for row in SEND[count]]
    own = numbers(sum(send), 2, seed=30 + rank).requires_grad_()
    with counted() as sent:
        out = all_to_all(own, send, receive, group, "there")
        (grad,) = torch.autograd.grad(out.square().sum(), own)
    found["there"] = out.detach(), grad, dict(sent)
    return found


@pytest.mark.parametrize("count", [2, 4])
def test_collectives_and_gradients(count):
    found, rows = together(count, exchanges, count), ROWS[count]
    whole = torch.cat([numbers(n, 2, seed=rank) for rank, n in enumerate(rows)])
    orders = {
        "plain": torch.arange(len(whole)),
        "pieces": torch.cat([torch.arange(a, b) for a, b in reordered(rows)]),
    }
    orders |= {f"{name} with others": order for name, order in orders.items()}
    for name, order in orders.items():
        grad = torch.zeros_like(whole)
        for rank in range(count):
            grad.index_add_(0, order, numbers(*whole.shape, seed=10 + rank))
        for each, wanted in zip(found, grad.split(rows), strict=True):
            out, own, sent = each[name]
            assert torch.equal(out, whole[order])
            torch.testing.assert_close(own, wanted)
            share = (count - 1) * max(rows) * 2 * 8
            also = {"beside": (count - 1) * (count + 1) * 2 * 8} if name.endswith("with others") else {}
            assert sent == {name: share, f"{name} (gradient)": share} | also
    along = [numbers(n, 2, seed=40 + rank) for rank in range(count) for n in (rank, 2)]
    assert all(torch.equal(each["beside"], torch.cat(along)) for each in found)

    parts = [numbers(3, 2, seed=20 + rank) for rank in range(count)]
    for each, part in zip(found, parts, strict=True):
        out, own, total = each["even"]
        assert torch.equal(out, torch.cat(parts))
        torch.testing.assert_close(total, sum(parts))
        torch.testing.assert_close(own, 2 * count * part + 2 * count * sum(parts))

    for rank, each in enumerate(found):
        blocks = [numbers(sum(row), 2, seed=30 + r).split(row)[rank] for r, row in enumerate(SEND[count])]
        out, own, sent = each["there"]
        assert torch.equal(out, torch.cat(blocks))
        torch.testing.assert_close(own, 2 * numbers(sum(SEND[count][rank]), 2, seed=30 + rank))
        others = sum(SEND[count][rank]) - SEND[count][rank][rank]
        came = sum(len(block) for r, block in enumerate(blocks) if r != rank)
        assert sent == {"there": others * 16, "there (gradient)": came * 16}
