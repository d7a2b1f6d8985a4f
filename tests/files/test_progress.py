"""The rate and the time left that a training, a preparation and a download show."""

from __future__ import annotations

import io
import time

from pointcept_bsa.files.progress import Progress


def test_the_rate_is_the_recent_one(monkeypatch):
    clock, lines = [100.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    display = Progress("iter", 1000, "it", 50, say=lines.append, every=0.0)

    def update(done, seconds):
        clock[0] += seconds
        display.update(done - display.done, "loss 1")
        return lines[-1]

    assert update(51, 20.0) == "iter 51/1000 | 0.1 it/s | ETA ? | loss 1"  # compiling, starting workers
    assert update(151, 10.0) == "iter 151/1000 | 10.0 it/s | ETA 0:01:24 | loss 1"
    for done in range(251, 951, 50):  # later twice as fast, and the first updates are forgotten
        line = update(done, 2.5)
    assert line == "iter 901/1000 | 20.0 it/s | ETA 0:00:04 | loss 1"


def test_lines_come_now_and_then_and_at_the_end():
    stream = io.StringIO()
    progress = Progress("download", 3_000_000, "B", stream=stream)
    for _ in range(3):
        progress.update(1_000_000)
    assert stream.getvalue() == ""
    progress.close()
    assert stream.getvalue().startswith("download 3.0/3.0 | ") and stream.getvalue().count("\n") == 1
    lines = []
    progress = Progress("unpack", None, "files", say=lines.append, at_once=True)
    for _ in range(3):
        progress.update()
    assert len(lines) == 1 and lines[0].startswith("unpack 1 | ") and "ETA" not in lines[0]
    progress.flush()
    assert len(lines) == 2 and lines[1].startswith("unpack 3 | ")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_that_changes(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream, lines = Terminal(), []
    progress = Progress("iter", 10, "it", stream=stream, say=lines.append)
    progress.update(4, "loss [1]")
    progress.close()
    assert not lines and "iter 4/10" in stream.getvalue() and "loss [1]" in stream.getvalue()
