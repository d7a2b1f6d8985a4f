"""The counters by which the last program of a launch knows itself."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from pointcept_bsa.dispatch import on_device_of
from pointcept_bsa.ops import launch
from pointcept_bsa.ops.column_sum import column_sum
from pointcept_bsa.ops.launch import Counters


def place(counters):
    return counters.data_ptr()


def test_counters_are_shared_along_a_stream():
    counters = Counters(torch.device("cpu"))
    first = counters.along(1, 3)
    assert len(first) == 3 and not first.any() and place(counters.along(1, 2)) == place(first)
    assert place(counters.along(2, 3)) != place(first)
    many = counters.along(1, 10_000)
    assert len(many) == 10_000 and not many.any() and place(counters.along(1, 3)) == place(many)


def test_no_graph_shares_its_counters():
    counters = Counters(torch.device("cpu"), arena=32)
    taken = [counters.along(1, 3), *(counters.of_graph(5) for _ in range(5))]  # 8 each: 4 from the arena, then its own
    assert all(len(t) >= 5 and not t.any() and place(t) % 16 == 0 for t in taken[1:])
    spans = sorted((place(t), place(t) + t.nbytes) for t in taken)
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))


def test_each_launch_on_the_cpu_has_counters_of_its_own():
    one, other = (launch.counters(torch.ones(2), 3) for _ in range(2))
    assert one.tolist() == other.tolist() == [0, 0, 0] and place(one) != place(other)


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


def test_the_gpu_that_is_current_is_left_alone(monkeypatch):
    class OnGPU:
        is_cuda, device = True, torch.device("cuda", 1)

        def get_device(self):
            return self.device.index

    changes = []
    monkeypatch.setattr(torch.cuda, "_exchange_device", lambda index: changes.append(index) or 0)
    monkeypatch.setattr(torch.cuda, "_maybe_exchange_device", lambda index: changes.append(index) or 1)
    for current, wanted in ((1, []), (0, [1, 0])):
        changes.clear()
        monkeypatch.setattr(torch.cuda, "current_device", lambda current=current: current)
        with on_device_of(OnGPU()), on_device_of(torch.zeros(1)):
            pass
        assert changes == wanted
