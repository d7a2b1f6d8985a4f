"""Kernels against plain torch in float32: outputs and gradients."""

from __future__ import annotations

import torch

from pointcept_bsa.geometry.ball_tree import BallTree

from .interpreter import DEVICE

# Largest relative error ||kernel - reference|| / ||reference||, of outputs and of gradients; the reference in float32.
TOLERANCE = {torch.float32: (2e-6, 5e-6), torch.float16: (2e-3, 4e-3), torch.bfloat16: (1e-2, 2e-2)}
DTYPES = list(TOLERANCE) if DEVICE == "cuda" else [torch.float32, torch.bfloat16]
# Points of the clouds of a batch, by their names.
LENGTHS = {"7, 70": (7, 70), "64": (64,)} | (
    {"1": (1,), "255, 257": (255, 257), "3586, 1": (3586, 1), "65536": (65536,)} if DEVICE == "cuda" else {}
)


def layout_of(lengths, ball_size, dimensions=3):
    return BallTree.build(torch.randn(sum(lengths), dimensions).to(DEVICE), lengths, ball_size, 8).layout


def error(a, b):
    return ((a.float() - b.float()).norm() / b.float().norm().clamp(min=1e-20)).item()


def compare(kernel, reference, inputs, dtype):
    """Outputs and gradients of both for the same inputs; the reference computes in float32."""
    results = []
    for function, precision in ((kernel, dtype), (reference, torch.float32)):
        leaves = [t.to(dtype).to(precision).requires_grad_() for t in inputs]
        out = function(*leaves)
        probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
        grads = torch.autograd.grad((out * probe.to(dtype).to(out.dtype)).sum(), leaves)
        results.append((out, grads))
    (out, grads), (wanted, wanted_grads) = results
    assert out.dtype == dtype
    assert error(out, wanted) < TOLERANCE[dtype][0]
    for grad, wanted_grad in zip(grads, wanted_grads, strict=True):
        assert torch.isfinite(grad).all()
        # A gradient of few numbers (sigma) is a sum of very many terms of both signs: 16 bits lose more of it.
        cancelled = 8 if dtype.itemsize == 2 and grad.numel() < 8 else 1
        assert error(grad, wanted_grad) < TOLERANCE[dtype][1] * cancelled
