"""The kernels that average messages of neighbours give what torch gives, and its gradients."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.dispatch import triton_installed
from pointcept_bsa.layers.point_embedding import PointEmbedding
from pointcept_bsa.ops.mean_message import edges_of_senders, mean_message

from .interpreter import DEVICE, kernel_test, run_in_interpreter

if triton_installed():
    from pointcept_bsa.ops.mean_message import triton_backend as kernels

pytestmark = pytest.mark.skipif(not triton_installed(), reason="needs triton")
CASES = [(19, 5, 12, 3), (9, 16, 64, 2), (5, 1, 3, 3), (7, 3, 4, 6)]


def test_in_the_interpreter():
    run_in_interpreter(__file__)


def call(points, k, channels, dims):
    """Parameters and features that take gradients; the edges, some of which lead to nobody, some to points that hear
    nothing themselves; weights sum to 1."""
    senders = points + 4
    index = torch.randint(0, senders, (points, k))
    index[2], index[3, k // 2 :] = -1, -1
    there = (index >= 0).unsqueeze(-1)
    weight = there / there.sum(1, keepdim=True).clamp(min=1)
    shapes = ((senders, channels), (points, channels), (channels, dims), (channels,), (channels,), (channels,))
    parameters = [torch.randn(s, device=DEVICE, requires_grad=True) for s in shapes]
    return parameters, [t.to(DEVICE) for t in (torch.randn(points, k, dims), index, weight)]


def run(parameters, edges, ops, monkeypatch, dtype=torch.float32):
    """The result and the gradients of all parameters."""
    monkeypatch.setenv("PCBSA_OPS", ops)
    relative, index, weight = edges
    cast = [p.to(dtype) for p in parameters[:3]] + parameters[3:]
    senders = edges_of_senders(index, len(cast[0]))
    out = mean_message(*cast, relative.to(dtype), index.clamp(min=0), weight, 1e-5, senders).float()
    grad = torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out)
    return [out.detach(), *torch.autograd.grad(out, parameters, grad)]


@kernel_test
@pytest.mark.parametrize("case", [*CASES, *([(5000, 16, 64, 3), (700, 64, 128, 3)] if DEVICE == "cuda" else [])])
def test_kernels_agree_with_torch(case, monkeypatch):
    parameters, edges = call(*case)
    tolerance = 1e-5 if case[0] < 100 else 1e-4  # gradients of the parameters are sums over all points, which cancel
    for got, want in zip(*(run(parameters, edges, ops, monkeypatch) for ops in ("triton", "reference")), strict=True):
        assert got.dtype == want.dtype
        assert (got - want).abs().max() <= tolerance * want.abs().max()


@kernel_test
def test_kernels_agree_with_torch_in_16_bits(monkeypatch):
    parameters, edges = call(*CASES[0])
    with torch.no_grad():
        for p in parameters:
            p.copy_(p.bfloat16())
        edges[0].copy_(edges[0].bfloat16())
    got, want = (
        run(parameters, edges, "triton", monkeypatch, torch.bfloat16),
        run(parameters, edges, "reference", monkeypatch),
    )
    for a, b in zip(got, want, strict=True):
        assert (a - b).abs().max() <= 2e-2 * b.abs().max()


@kernel_test
def test_operator_is_well_registered():
    parameters, (relative, index, weight) = call(*CASES[2])
    edges = relative, index.clamp(min=0), weight, *edges_of_senders(index, len(parameters[0]))
    kinds = ("test_schema", "test_autograd_registration", "test_faketensor")  # the fourth takes long
    arguments = (*parameters, *edges, 1e-5, torch.float32)
    torch.library.opcheck(torch.ops.pcbsa.mean_message.default, arguments, test_utils=kinds)


@kernel_test
def test_the_embedding_by_kernels(monkeypatch, launches):
    lengths = (9, 4)
    data = dict(coord=torch.randn(13, 3, device=DEVICE), feat=torch.randn(13, 5, device=DEVICE))
    embedding = PointEmbedding(5, 6, mp_steps=2, num_neighbors=5).to(DEVICE)
    results = []
    for ops, used in (("triton", 4), ("reference", 0)):
        monkeypatch.setenv("PCBSA_OPS", ops)
        with launches() as seen:
            out = embedding(data, lengths)
            with torch.no_grad():
                assert torch.equal(embedding(data, lengths), out)
        assert seen.names.count("pcbsa::mean_message") == used
        results.append([out, *torch.autograd.grad(out.square().sum(), list(embedding.parameters()))])
    assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(*results, strict=True))


def test_edges_are_sorted_by_who_sends():
    order, starts = edges_of_senders(torch.tensor([[1, 0], [-1, 1], [0, -1]]))
    assert starts.tolist() == [0, 2, 4, 4]
    assert order[:4].tolist() == [1, 4, 0, 3]


def test_what_the_kernels_cannot_do():
    index = torch.zeros(3, 64, dtype=torch.long)
    reason = kernels.unsupported(torch.zeros(3, 512), index, torch.zeros(3, 64, 3))
    assert "wanted at most 8192" in str(reason)
    assert "coordinates" in str(kernels.unsupported(torch.zeros(3, 8), index, torch.zeros(3, 64, 9)))


@pytest.mark.gpu
def test_gradients_are_deterministic(monkeypatch):
    parameters, edges = call(5000, 16, 64, 3)
    first, second = (run(parameters, edges, "triton", monkeypatch) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
