"""The rate and the time left that a training shows."""

from __future__ import annotations

import logging

from pointcept_bsa.host.embedded import progress
from pointcept_bsa.host.embedded.progress import ProgressDisplay


def test_the_rate_is_the_recent_one(monkeypatch, caplog):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])
    caplog.set_level(logging.INFO)
    display = ProgressDisplay(1000, 50, logging.getLogger("x"), quiet=False, line_every=0.0)

    def update(done, seconds):
        clock[0] += seconds
        display.update(done, "loss 1")
        return caplog.messages[-1]

    assert update(51, 20.0).startswith("iter 51/1000 | 0.1 it/s | ETA ? |")  # compiling, starting workers
    assert update(151, 10.0).startswith("iter 151/1000 | 10.0 it/s | ETA 0:01:24 |")
    for done in range(251, 951, 50):  # later twice as fast, and the first updates are forgotten
        line = update(done, 2.5)
    assert line.startswith("iter 901/1000 | 20.0 it/s | ETA 0:00:04 |")
