"""The choice of the library kernel behind dense attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from pointcept_bsa.errors import InputError
from pointcept_bsa.ops.dense_attention import backend, dense_attention


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


def test_the_fastest_is_taken_and_the_random_stream_stays(monkeypatch):
    q, k = torch.randn(1, 2, 8, 16), torch.randn(1, 2, 4, 16)
    times = dict(cudnn=RuntimeError("No available kernel"), flash=2.0, efficient=1.0, narrow=0.5)

    def time(name, query, key, value, mask):
        assert query.shape == q.shape and key.shape == value.shape == k.shape and query.requires_grad
        found = times[name]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(backend, "_time", time)
    state = torch.get_rng_state()
    for why_not, wanted in (("too wide", "efficient"), (None, "narrow")):
        monkeypatch.setattr(backend.narrow, "unsupported", lambda *t, why_not=why_not: why_not)
        assert backend._measure(q, k, k, None, backward=True) == wanted
    assert torch.equal(torch.get_rng_state(), state)


def test_measuring_is_not_counted(monkeypatch):
    q = torch.randn(1, 2, 8, 16)
    monkeypatch.setattr(backend, "_time", lambda name, query, *rest: (query @ query.mT).sum().item())
    with FlopCounterMode(display=False) as counter:
        backend._measure(q, q, q, None, backward=False)
        assert counter.get_total_flops() == 0
        q @ q.mT
    assert counter.get_total_flops() == 2 * 2 * 8 * 8 * 16


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_measured_once_and_right(dtype, monkeypatch):
    monkeypatch.setattr(backend, "_fastest", {})
    q, k, v = (torch.randn(n, 4, 16, device="cuda", dtype=dtype, requires_grad=True) for n in (600, 300, 300))
    out = dense_attention(q, k, v, (600,), (300,))
    assert list(backend.chosen_backends().values())[0] in (*backend.BACKENDS, backend.NARROW)
    monkeypatch.setattr(backend, "_measure", None)  # a length of the same power of two is not measured again
    dense_attention(q[:590], k, v, (590,), (300,))
    truth = F.scaled_dot_product_attention(*(t.double().transpose(0, 1) for t in (q, k, v))).transpose(0, 1)
    assert (out - truth).norm() / truth.norm() < (1e-5 if dtype == torch.float32 else 1e-2)
    with torch.cuda.graph(torch.cuda.CUDAGraph()):  # where nothing can be measured, torch chooses
        dense_attention(q[:60].detach(), k.detach(), v.detach(), (60,), (300,))
