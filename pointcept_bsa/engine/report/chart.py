"""Line charts as inline SVG: a few lines over one x axis, linear or logarithmic, in the page's colours (``--c0``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 44
COLOURS = 8
MOST_POINTS = 600  # of a line; longer ones are averaged over neighbours
LOG_RATIO = 8.0  # a y axis with positive values that span more than this is logarithmic

SMALLEST = 1e-300  # on an axis, beside zero: the sums of an axis stay within float64


@dataclass(frozen=True)
class Line:
    """Points (x, y), in rising x; ``faint`` for one seed of several, ``steps`` for a share that jumps at each point."""

    points: Sequence[tuple[float, float]]
    colour: int
    faint: bool = False
    steps: bool = False


class Axis:
    """A scale from values to pixels, with round ticks."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool) -> None:
        self.log, self.start, self.end = log, start, end
        low, high = min(values), max(values)
        if high - low <= max(1e-12 * max(abs(low), abs(high)), SMALLEST):  # no two ticks in between
            room = max(0.5, 1e-3 * abs(low))
            low, high = (low / 2, high * 2) if log else (low - room, high + room)
        pad = 0.04
        if log:
            ratio = math.exp(pad * (math.log(high) - math.log(low)))
            low, high = max(low / ratio, SMALLEST / 1e7), min(high * ratio, 1e7 / SMALLEST)
        elif start > end:  # y: room above and below; x begins and ends with the data
            low, high = low - pad * (high - low), high + pad * (high - low)
        self.low, self.high = low, high

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """About five round values within the axis."""
        if not self.log:
            return linear_ticks(self.low, self.high)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for digits in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 8)):
            decades = range(first, last + 1)
            found = [d * 10.0**e for e in decades for d in digits if self.low <= d * 10.0**e <= self.high]
            if len(found) >= 4:
                return found if len(found) <= 9 else found[:: -(-len(found) // 8)]
        return linear_ticks(self.low, self.high)


def linear_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next((step * f for f in (1, 2, 5, 10) if (high - low) / (step * f) <= 6), step * 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def chart(title: str, lines: Sequence[Line], x_label: str, y_label: str, log_x: bool = False) -> str:
    """A ``figure`` with the chart; a sentence instead where no line has a point that can be drawn."""
    kept = [(line, _finite(line.points, log_x)) for line in lines]
    kept = [(line, thinned(points)) for line, points in kept if points]
    if not kept:
        return f"<figure><figcaption>{escape(title)}</figcaption><p>Nothing was recorded.</p></figure>"
    ys = [y for _, points in kept for _, y in points]
    log_y = not any(line.steps for line, _ in kept) and min(ys) > SMALLEST and max(ys) / min(ys) > LOG_RATIO
    x = Axis([v for _, points in kept for v, _ in points], LEFT, WIDTH - RIGHT, log_x)
    y = Axis(ys, HEIGHT - BOTTOM, TOP, log_y)
    parts = [_frame(x, y)]
    parts += [_polyline(line, points, x, y) for line, points in sorted(kept, key=lambda item: not item[0].faint)]
    scale = " (log)" if log_y else ""
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}">{escape(x_label)}</text>')
    parts.append(
        f'<text class="label" transform="translate(13 {middle}) rotate(-90)">{escape(y_label)}{escape(scale)}</text>'
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _finite(points: Sequence[tuple[float, float]], log_x: bool) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and (x > SMALLEST or not log_x)]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``MOST_POINTS`` points, each the mean of as many neighbours."""
    step = -(-len(points) // MOST_POINTS)
    if step == 1:
        return list(points)
    groups = [points[i : i + step] for i in range(0, len(points), step)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _frame(x: Axis, y: Axis) -> str:
    parts = []
    for value in y.ticks():
        at = y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick y" x="{LEFT - 6}" y="{at + 4:.1f}">{tick_text(value)}</text>')
    for value in x.ticks():
        at = x(value)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="tick x" x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}">{tick_text(value)}</text>')
    return "".join(parts)


def tick_text(value: float) -> str:
    """Short: 0.05, 20,000, 1e-05."""
    if value == 0:
        return "0"
    if abs(value) >= 1000 and abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _polyline(line: Line, points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    pairs = [(x(a), y(b)) for a, b in points]
    if line.steps:
        pairs = [corner for (a, b), (c, d) in zip(pairs, pairs[1:]) for corner in ((a, b), (c, b))] + pairs[-1:]
    style = f"stroke: var(--c{line.colour % COLOURS})"
    kind = "line faint" if line.faint else "line"
    if len(pairs) == 1:
        (a, b) = pairs[0]
        return f'<circle class="{kind}" style="{style}" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>'
    text = " ".join(f"{a:.1f},{b:.1f}" for a, b in pairs)
    return f'<polyline class="{kind}" style="{style}" points="{text}"/>'
