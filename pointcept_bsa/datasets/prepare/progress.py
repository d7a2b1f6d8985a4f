"""A line of progress: how many, how fast, how long still."""

from __future__ import annotations

import sys
import time


class Progress:
    """Print ``label: done/total, rate, ETA`` to stderr, at most once a second (every 10 s where stderr is no terminal).

    Args:
        label: what is being done.
        total: how many units in all; None if unknown.
        unit: name of a unit; "B" prints megabytes.
        start: units that were there before (they do not count for the rate).
    """

    def __init__(self, label: str, total: int | None, unit: str = "samples", start: int = 0) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = start
        self._start = start
        self._began = self._shown = time.monotonic()

    def update(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        if now - self._shown >= (1.0 if sys.stderr.isatty() else 10.0):
            self._shown = now
            self._print(now)

    def close(self) -> None:
        self._print(time.monotonic())
        if sys.stderr.isatty():
            print(file=sys.stderr)

    def _print(self, now: float) -> None:
        rate = (self.done - self._start) / max(now - self._began, 1e-9)
        text = f"{self.label}: {self._amount(self.done)}"
        text += "" if self.total is None else f"/{self._amount(self.total)}"
        text += f" {'MB' if self.unit == 'B' else self.unit}, {self._amount(rate)}/s"
        if self.total is not None and rate > 0:
            text += f", ETA {_clock((self.total - self.done) / rate)}"
        terminal = sys.stderr.isatty()
        print(f"\r{text}   " if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)

    def _amount(self, value: float) -> str:
        if self.unit == "B":
            return f"{value / 1e6:.1f}"
        return f"{value}" if isinstance(value, int) else f"{value:.1f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
