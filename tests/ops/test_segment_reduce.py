"""Segment reduction: the same as a loop over the segments, with gradients."""

import importlib.util

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.ops.segment_reduce import REDUCTIONS, segment_reduce
from pointcept_bsa.ops.segment_reduce.cloud_sum import cloud_sum

INDPTR = torch.tensor([0, 3, 3, 4, 9])  # the second segment is empty
LOOP = {
    "sum": lambda rows: rows.sum(0),
    "mean": lambda rows: rows.mean(0),
    "min": lambda rows: rows.min(0).values,
    "max": lambda rows: rows.max(0).values,
}


def rows(dtype=torch.float64) -> torch.Tensor:
    return torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_equals_a_loop(reduce):
    src = rows()
    expected = torch.zeros(4, 3, dtype=src.dtype)
    for i in (0, 2, 3):
        expected[i] = LOOP[reduce](src[INDPTR[i] : INDPTR[i + 1]])
    torch.testing.assert_close(segment_reduce(src, INDPTR, reduce, backend="torch"), expected)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_gradients(reduce):
    src = rows().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: segment_reduce(x, INDPTR, reduce, backend="torch"), (src,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keeps_the_dtype(dtype):
    out = segment_reduce(rows(dtype), INDPTR, "max", backend="torch")
    assert out.dtype == dtype
    assert out.isfinite().all()


@pytest.mark.skipif(importlib.util.find_spec("torch_scatter") is None, reason="missing: package torch_scatter")
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_torch_scatter_gives_the_same(reduce):
    src = rows()
    ours = segment_reduce(src, INDPTR, reduce, backend="torch")
    torch.testing.assert_close(segment_reduce(src, INDPTR, reduce, backend="torch_scatter"), ours)


def test_errors(monkeypatch):
    with pytest.raises(InputError, match="reduce: got 'maximum'"):
        segment_reduce(rows(), INDPTR, "maximum")
    monkeypatch.setenv("PCBSA_SEGMENT_REDUCE", "scatter")
    with pytest.raises(InputError, match="PCBSA_SEGMENT_REDUCE: got 'scatter'"):
        segment_reduce(rows(), INDPTR)


@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_sums_of_clouds(shape):
    x = torch.randn(7, *shape, dtype=torch.float64, requires_grad=True)
    offset = torch.tensor([2, 2, 7])  # the second cloud has no points
    out = cloud_sum(x, offset)
    torch.testing.assert_close(out, torch.stack([x[:2].sum(0), torch.zeros(shape).double(), x[2:].sum(0)]))
    assert torch.autograd.gradcheck(lambda x: cloud_sum(x, offset), (x,))
    assert torch.autograd.gradgradcheck(lambda x: cloud_sum(x, offset).square(), (x,))


def test_sums_of_clouds_under_transforms():
    x, offset = torch.randn(3, 7, dtype=torch.float64), torch.tensor([2, 7])
    wanted = torch.stack([x[:, :2].sum(1), x[:, 2:].sum(1)], 1)
    torch.testing.assert_close(torch.func.vmap(lambda row: cloud_sum(row, offset))(x), wanted)
    slopes = torch.func.grad(lambda row: cloud_sum(row, offset).square().sum())
    torch.testing.assert_close(slopes(x[0]), 2 * wanted[0].repeat_interleave(torch.tensor([2, 5])))
    torch.testing.assert_close(torch.func.vmap(slopes)(x)[0], slopes(x[0]))
