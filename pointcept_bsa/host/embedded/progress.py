"""How far the training is: one refreshed line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


def format_duration(seconds: float) -> str:
    """``3723`` -> ``1:02:03``."""
    minutes, secs = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}"


class ProgressDisplay:
    """Shows iterations done, rate, time left and a text; ``quiet`` (other processes) shows nothing.

    Without a terminal a line goes to ``logger`` at most every ``line_every`` seconds, and at the end of an epoch. The
    rate is that of the last ``READINGS`` updates; the first update, in whose time kernels are compiled and workers
    start, counts only until the second.
    """

    READINGS = 10

    def __init__(self, total: int, done: int, logger: logging.Logger, quiet: bool, line_every: float = 10.0) -> None:
        self.total, self.logger, self.quiet, self.line_every = total, logger, quiet, line_every
        self._readings: deque[tuple[float, int]] = deque([(time.perf_counter(), done)], maxlen=self.READINGS + 1)
        self._started = False
        self._last_line, self._pending = -float("inf"), ""
        self._bar: Progress | None = None
        if not quiet and sys.stdout.isatty():
            columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, auto_refresh=False)
            self._task = self._bar.add_task("", total=total, completed=done)
            self._bar.start()

    def update(self, done: int, text: str) -> None:
        """Show that ``done`` iterations of the run are over."""
        if self.quiet:
            return
        now = time.perf_counter()
        since, before = self._readings[0]
        rate = (done - before) / max(now - since, 1e-9)
        left = format_duration((self.total - done) / rate) if rate > 0 and self._started else "?"
        if not self._started:
            self._started = True
            self._readings.clear()
        self._readings.append((now, done))
        text = f"{rate:.1f} it/s | ETA {left} | {text}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=text, refresh=True)
            return
        self._pending = f"iter {done}/{self.total} | {text}"
        if now - self._last_line >= self.line_every:
            self.end_epoch()

    def end_epoch(self) -> None:
        """Without a terminal: let the latest line be seen."""
        if self._pending:
            self.logger.info(self._pending)
            self._last_line, self._pending = time.perf_counter(), ""

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
