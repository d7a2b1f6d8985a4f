"""The choice of the library kernel behind dense attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pointcept_bsa.errors import InputError
from pointcept_bsa.ops.dense_attention import backend, dense_attention

NAME = "_scaled_dot_product_flash_attention_for_cpu"


def test_the_cpu_is_left_to_torch_and_mistakes_are_named(monkeypatch):
    q = torch.randn(1, 2, 8, 16)
    assert backend.fastest_backend(q, q, q, None) is None
    monkeypatch.setenv("PCBSA_SDPA", "fast")
    wanted = "PCBSA_SDPA: got 'fast', wanted one of auto, torch, cudnn, flash, efficient, narrow"
    with pytest.raises(InputError, match=wanted):
        backend.attend(q, q, q, None)
    monkeypatch.setenv("PCBSA_SDPA", "narrow")
    with pytest.raises(InputError, match="PCBSA_SDPA: got 'narrow', but it cannot run so: "):
        backend.attend(q, q, q, None)  # float32


def test_what_the_cpu_does_not_have_is_left_out_and_measuring_leaves_no_trace(launches):
    """Neither in the random stream, nor for who lists operators or the tensors that are saved for a backward pass."""
    q, k = torch.randn(1, 2, 8, 16), torch.randn(1, 2, 4, 16)
    names, saved = [], []

    def timer(call):
        names.append(None)
        with launches() as seen:
            call()
        names[-1] = seen.names
        return 1.0

    state = torch.get_rng_state()
    with launches() as outside, torch.autograd.graph.saved_tensors_hooks(saved.append, saved.pop):
        assert backend.measured_fastest(q, k, k, None, backward=True, timer=timer) == "flash"
    cudnn, flash, efficient = names
    assert cudnn is efficient is None
    assert {NAME, f"{NAME}_backward"} <= set(flash) and not any(NAME in name for name in outside.names)
    assert not saved and torch.equal(torch.get_rng_state(), state)


def test_a_pass_without_gradients_is_measured_alone_and_a_shape_that_nothing_takes_is_left_to_torch(launches):
    q = torch.randn(1, 2, 8, 16)

    def timer(call):
        with launches() as seen:
            call()
        assert NAME in seen.names and f"{NAME}_backward" not in seen.names
        return 1.0

    assert backend.measured_fastest(q, q, q, None, backward=False, timer=timer) == "flash"
    wrong = torch.randn(1, 2, 8, 4)
    assert backend.measured_fastest(q, wrong, q, None, backward=False, timer=timer) is None


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_measured_once_and_right(dtype):
    before = backend.chosen_backends()
    q, k, v = (torch.randn(n, 4, 16, device="cuda", dtype=dtype, requires_grad=True) for n in (600, 300, 300))
    out = dense_attention(q, k, v, (600,), (300,))
    (shape,) = (chosen := backend.chosen_backends()).keys() - before.keys()
    assert chosen[shape] in (*backend.BACKENDS, backend.NARROW)
    dense_attention(q[:590], k, v, (590,), (300,))  # a length of the same power of two is not measured again
    assert backend.chosen_backends() == chosen
    truth = F.scaled_dot_product_attention(*(t.double().transpose(0, 1) for t in (q, k, v))).transpose(0, 1)
    assert (out - truth).norm() / truth.norm() < (1e-5 if dtype == torch.float32 else 1e-2)
    with torch.cuda.graph(torch.cuda.CUDAGraph()):  # where nothing can be measured, torch chooses
        dense_attention(q[:60].detach(), k.detach(), v.detach(), (60,), (300,))
    assert backend.chosen_backends() == chosen
