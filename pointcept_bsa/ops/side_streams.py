"""Work that does not wait for each other, side by side on the GPU.

On small clouds each kernel of a branch leaves most of the GPU idle. A captured graph runs what lies on streams of its
own at once, in the backward pass as well: autograd runs each operation on the stream of its forward pass. Outside of a
capture the host is the bound, which launches one kernel after the other: there everything stays on one stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

SLOTS = 16384  # of the batch, up to which it is worth it: above, kernels fill the GPU, and memory is freed later
SIDE, DEFERRED = -1, -2  # streams of :func:`on_side_stream` and :func:`deferred`; those of branches count from 0
_streams: dict[tuple[torch.device, int], torch.cuda.Stream] = {}
_single_stream = 0  # blocks of :func:`one_stream` that are open, in whatever thread


def worth_it(x: Tensor, rows: int | None = None) -> bool:
    """Whether work on x (S, ...), or on so many rows, is captured, and leaves room on the GPU."""
    return (
        not _single_stream
        and not torch.compiler.is_compiling()
        and x.is_cuda
        and torch.cuda.is_current_stream_capturing()
        and (x.shape[0] if rows is None else rows) <= SLOTS
    )


@contextmanager
def one_stream() -> Iterator[None]:
    """Nothing within is worth a stream of its own.

    For what is computed again in the backward pass: that happens on the stream of whichever operation asks first, and
    the others would not wait for it.
    """
    global _single_stream
    _single_stream += 1
    try:
        yield
    finally:
        _single_stream -= 1


def _stream(device: torch.device, number: int) -> torch.cuda.Stream:
    if (device, number) not in _streams:
        _streams[device, number] = torch.cuda.Stream(device)
    return _streams[device, number]


@contextmanager
def on_side_stream(x: Tensor) -> Iterator[None]:
    """What runs within has its backward pass on a stream of its own, whose results autograd waits for in the end.

    Within, nothing may be computed; tensors that its backward pass reads must be recorded on that stream.
    """
    with torch.cuda.stream(_stream(x.device, SIDE)):
        yield


@contextmanager
def deferred(x: Tensor) -> Iterator[None]:
    """Compute on a stream of its own, after everything so far, what nobody reads before :func:`wait_for_deferred`; what
    it reads must live until then."""
    stream = _stream(x.device, DEFERRED)
    stream.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(stream):
        yield


def wait_for_deferred(x: Tensor) -> None:
    """Go on only when everything is done that this capture put on the stream of :func:`deferred`."""
    if torch.compiler.is_compiling() or not x.is_cuda or (x.device, DEFERRED) not in _streams:
        return
    if torch.cuda.is_current_stream_capturing():
        stream = _stream(x.device, DEFERRED)
        # Only a stream that this capture has branched off to is capturing. To wait for one that is not would make the
        # graph depend on work outside of it, which breaks the capture.
        with torch.cuda.stream(stream):
            used = torch.cuda.is_current_stream_capturing()
        if used:
            torch.cuda.current_stream(x.device).wait_stream(stream)


class SideBySide:
    """Branches between which nothing is passed on.

    Within ``with SideBySide(x) as branches`` what stands under ``with branches.side_stream()`` may run beside what
    follows. Its results are there after the outer block; tensors it reads must live until then.

    Args:
        x: (S, ...), on whose device and size it depends.
        rows: count as S.
        first: number of the first stream; what may run at the same time has other numbers.
    """

    def __init__(self, x: Tensor, rows: int | None = None, first: int = 0) -> None:
        self.device = x.device
        self.at_work = worth_it(x, rows)
        self.first = first
        self.used: list[torch.cuda.Stream] = []

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(self, *error: object) -> None:
        for stream in self.used:
            torch.cuda.current_stream(self.device).wait_stream(stream)

    @contextmanager
    def side_stream(self) -> Iterator[None]:
        """Run on a stream of its own, after everything so far."""
        if not self.at_work:
            yield
            return
        stream = _stream(self.device, self.first + len(self.used))
        stream.wait_stream(torch.cuda.current_stream(self.device))
        self.used.append(stream)
        with torch.cuda.stream(stream):
            yield
