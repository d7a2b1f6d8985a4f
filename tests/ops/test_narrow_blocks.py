"""A block in 16 bits, by the kernels of narrow balls and of SwiGLU, against the plain layers in float32."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch

from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.layers.attention import BallAttention
from pointcept_bsa.layers.fused.block import swiglu_fits
from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.layers.fused.switch import switched
from pointcept_bsa.layers.transformer import BlockStack, RMSNorm, TransformerBlock
from pointcept_bsa.ops.ball_attention import narrow

from .interpreter import DEVICE, kernel_test, run_in_interpreter

DIM, HEADS, BALL, LENGTHS = 16, 2, 64, (70, 33)
TOLERANCE = 4e-2  # of norms: two blocks of bfloat16, whose numbers have eight bits


def test_in_the_interpreter():
    run_in_interpreter(__file__)


def layout():
    return BallTree.build(torch.randn(sum(LENGTHS), 3).to(DEVICE), LENGTHS, BALL, 8).layout


def stack():
    """Two blocks with attention far from uniform and biases that matter, and the norm behind them."""
    blocks = [TransformerBlock(BallAttention(DIM, HEADS), DIM) for _ in range(2)]
    module = torch.nn.ModuleDict(dict(blocks=BlockStack(blocks), norm=RMSNorm(DIM))).to(DEVICE)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(2)
            elif name.endswith("bias"):
                parameter.normal_(std=0.3)
    return module


def outcome(module, x, geometry, stand_ins):
    """Output and the gradients of all parameters by name, in float32."""
    cast = CastWeights(module, torch.bfloat16) if stand_ins else None
    names = {parameter: name for name, parameter in module.named_parameters()}
    with cast.swapped_in() if cast else contextlib.nullcontext():
        out = module["blocks"](x, module["norm"], geometry).float()
        (out * torch.linspace(-1, 1, out.numel(), device=DEVICE).view_as(out)).sum().backward()
    found = {} if cast is None else {names[p]: grad for p, grad in cast.gradients().items()}
    found |= {name: p.grad for p, name in names.items() if p.grad is not None}
    assert found.keys() == set(names.values())
    return {"out": out.detach()} | {name: grad.float() for name, grad in found.items()}


@kernel_test
@pytest.mark.parametrize("stand_ins", [False, True])
def test_blocks_in_16_bits(stand_ins, monkeypatch):
    torch.manual_seed(0)
    geometry, plain = layout(), stack()
    x = torch.randn(sum(geometry.slots), DIM, device=DEVICE)
    monkeypatch.setenv("PCBSA_OPS", "reference")
    with switched(False):
        wanted = outcome(copy.deepcopy(plain), x, geometry, False)
    monkeypatch.setenv("PCBSA_OPS", "triton")
    with switched(True), torch.autocast(DEVICE, torch.bfloat16):
        few = x[:1].bfloat16()
        assert swiglu_fits(few, plain["blocks"][0].swiglu.w3.weight)
        assert narrow.fits(*[few.unflatten(1, (HEADS, -1))] * 3, BALL)
        found = outcome(copy.deepcopy(plain), x, geometry, stand_ins)
    for name, value in wanted.items():
        assert (found[name] - value).norm() < TOLERANCE * value.norm() + 1e-3, name
