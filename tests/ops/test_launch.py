"""The counters by which the last program of a launch knows itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pointcept_bsa.ops import launch
from pointcept_bsa.ops.column_sum import column_sum


def place(counters):
    return counters.data_ptr()


def test_counters_are_shared_along_a_stream_and_by_no_graph(monkeypatch):
    stream, capturing = SimpleNamespace(cuda_stream=1, synchronize=lambda: None), False
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    monkeypatch.setattr(launch, "_of_streams", {})
    monkeypatch.setattr(launch, "_of_graphs", {})
    monkeypatch.setattr(launch, "ARENA", 32)
    x = SimpleNamespace(is_cuda=True, device=torch.device("cpu"))
    first = launch.counters(x, 3)
    assert len(first) == 3 and not first.any() and place(launch.counters(x, 2)) == place(first)
    assert len(launch.counters(x, 10_000)) == 10_000
    stream.cuda_stream = 2
    assert place(launch.counters(x, 3)) != place(first)
    capturing = True
    taken = [launch.counters(x, 5) for _ in range(5)]  # 8 each: 4 times in the arena, then their own
    assert all(len(t) >= 5 and not t.any() and place(t) % 16 == 0 for t in taken)
    spans = sorted((place(t), place(t) + t.nbytes) for t in taken)
    assert all(stop <= start for (_, stop), (start, _) in zip(spans, spans[1:], strict=False))
    monkeypatch.setattr(launch, "_of_graphs", {})  # a capture that nothing ran before
    assert not launch.counters(x, 5).any()


@pytest.mark.gpu
def test_sums_taken_on_several_streams_at_once_are_right():
    x = torch.randn(4096, 256, device="cuda")
    wanted = column_sum(x)
    graphs, outs = [], []
    for _ in range(2):
        graphs.append(torch.cuda.CUDAGraph())
        with torch.cuda.graph(graphs[-1]):
            outs.append([column_sum(x) for _ in range(20)])
    streams = [torch.cuda.Stream() for _ in range(4)]
    torch.cuda.synchronize()
    eager = []
    for _ in range(5):
        for stream, graph in zip(streams, graphs, strict=False):
            with torch.cuda.stream(stream):
                graph.replay()
        for stream in streams[2:]:
            with torch.cuda.stream(stream):
                eager += [column_sum(x) for _ in range(20)]
    torch.cuda.synchronize()
    for out in (*outs[0], *outs[1], *eager):
        assert torch.equal(out, wanted)
