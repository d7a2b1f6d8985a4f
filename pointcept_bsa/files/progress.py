"""How far a piece of work is: one refreshed line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TextIO

REFRESH = 0.1  # seconds between two looks of a terminal


class Progress:
    """Shows what is done, the rate, the time left and a text.

    The rate is that of the last ``READINGS`` updates; the first update, in whose time kernels are compiled and workers
    start, counts only until the second.

    Args:
        label: what is done.
        total: how much in all; None if unknown.
        unit: name of a unit; "B" shows megabytes.
        start: what was done before.
        stream: which may be a terminal; by default standard error.
        say: takes the lines where it is none; None: they go to the stream.
        every: seconds between two of these lines.
        at_once: the first update has a line, whenever it comes; else it waits for its time.
    """

    READINGS = 10

    def __init__(
        self,
        label: str,
        total: int | None,
        unit: str = "samples",
        start: int = 0,
        stream: TextIO | None = None,
        say: Callable[[str], object] | None = None,
        every: float = 10.0,
        at_once: bool = False,
    ) -> None:
        stream = stream or sys.stderr
        self.label, self.total, self.unit, self.done, self.every = label, total, unit, start, every
        self.say = say or (lambda line: print(line, file=stream, flush=True))
        now = time.perf_counter()
        self._shown = -float("inf") if at_once else now
        self._readings: deque[tuple[float, int]] = deque([(now, start)], maxlen=self.READINGS + 1)
        self._updates, self._pending = 0, ""
        self._bar: Any = None
        if stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
            self._bar = Bar(*columns, console=Console(file=stream), auto_refresh=False)
            self._task = self._bar.add_task("", total=total, completed=start)
            self._bar.start()

    def update(self, count: int = 1, text: str = "") -> None:
        """So much more is done."""
        self.done += count
        now = time.perf_counter()
        self._pending = f"{self._describe(now)}{text and f' | {text}'}"
        self._updates += 1
        if self._updates == 1:
            self._readings.clear()
        self._readings.append((now, self.done))
        if now - self._shown >= (REFRESH if self._bar is not None else self.every):
            self.flush()

    def flush(self) -> None:
        """Let the latest line be seen."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=self._pending, refresh=True)
        elif self._pending:
            self.say(self._pending)
            self._pending = ""
        self._shown = time.perf_counter()

    def close(self) -> None:
        """The latest line, and the terminal as it was."""
        self.flush()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._pending = ""

    def _describe(self, now: float) -> str:
        since, before = self._readings[0]
        rate = (self.done - before) / max(now - since, 1e-9)
        scale, unit = (1e-6, "MB") if self.unit == "B" else (1, self.unit)
        amounts = [amount if scale == 1 else f"{scale * amount:.1f}" for amount in (self.done, self.total or 0)]
        done = f"{amounts[0]}" if self.total is None else f"{amounts[0]}/{amounts[1]}"
        text = f"{self.label} {done} | {scale * rate:.1f} {unit}/s"
        if self.total is None:
            return text
        known = rate > 0 and self._updates > 0
        return f"{text} | ETA {timedelta(seconds=int((self.total - self.done) / rate)) if known else '?'}"
